"""What a compiled flow costs: operations counted in its jaxpr, and a first estimate of the time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.program import Program, Stage
from pogospec.types import Space, Transitions

EFFICIENCY = 0.5
"""Rate of whole updates over the rate of a bare matrix product of 256 rows and 128 units; measured on two CPU cores."""


def operations(program: Program, stage: Stage, batch_size: int, actor_every: int) -> float:
    """Floating-point operations of one update of one seed, matrix products only; the policy's part every so often."""
    state = jax.eval_shape(program.init, jax.random.key(0))
    for earlier in program.stages[: program.stages.index(stage) + 1]:
        state = jax.eval_shape(earlier.enter, program.numbers, state, jax.random.key(0))
    batch = _batch_shapes(program.space, batch_size)
    jaxpr = jax.make_jaxpr(stage.update)(program.numbers, state, batch, jax.random.key(0), jnp.int32(0))
    return sum(_products(jaxpr.jaxpr, 1.0 / actor_every))


def _batch_shapes(space: Space, rows: int) -> Transitions:
    shape = lambda *sizes: jax.ShapeDtypeStruct((rows, *sizes), float)  # noqa: E731
    observations, actions, scalar = shape(space.obs_dim), shape(space.act_dim), shape()
    episodes = jax.ShapeDtypeStruct((rows,), int)
    return Transitions(observations, actions, scalar, observations, scalar, scalar, actions, scalar, episodes)


def _products(jaxpr: Any, share: float) -> Iterator[float]:
    """Two operations for each multiply-add of each matrix product; a branch counts for its share of updates."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = np.prod([equation.invars[0].aval.shape[axis] for axis in contracted])
            yield 2.0 * float(np.prod(equation.outvars[0].aval.shape) * inner)
        elif equation.primitive.name == "cond":
            yield share * max(sum(_products(branch.jaxpr, share)) for branch in equation.params["branches"])
        else:
            for value in equation.params.values():
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    yield from _products(inner, share)


def matrix_rate(rows: int = 256, units: int = 128, repeats: int = 400) -> float:
    """Floating-point operations per second of a chain of matrix products on the default device, measured now."""
    chain = jax.jit(
        lambda x, w: jax.lax.fori_loop(0, repeats, lambda _, x: jnp.tanh(x @ w), x).sum(),
    )
    x, w = jnp.ones((rows, units)), jnp.eye(units)
    chain(x, w).block_until_ready()
    seconds = []
    for _ in range(3):
        clock = time.perf_counter()
        chain(x, w).block_until_ready()
        seconds.append(time.perf_counter() - clock)
    return 2.0 * rows * units * units * repeats / min(seconds)
