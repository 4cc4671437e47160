"""What a compiled flow costs: operations counted in its jaxpr, and an estimate of the time from them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.compile import compile_spec
from pogospec.spec.build import digest
from pogospec.spec.schema import Spec
from pogospec.types import Space, Transitions

EFFICIENCY = 0.4
"""Rate of whole updates over the rate of a bare matrix product of 256 rows and 128 units; measured on two CPU cores."""
ELEMENT = 20.0
"""Operations in whose time an element of any other result is made, where products are few; measured likewise."""
OVERHEAD = 1e-6
"""Seconds that an update takes beside its matrix products, at least; measured on two CPU cores."""
_KNOWN: dict[tuple[str, Space], list[float]] = {}
"""What was counted before: digest of the spec and space -> `operations`."""


def operations(spec: Spec, space: Space) -> list[float]:
    """Floating-point operations of a mean update of one seed in each stage, those of matrix products.

    On a known energy, where there are few of them, all other results count by their elements.
    """
    if spec.target is not None:
        return _counted(spec, space)
    key = digest(spec), space
    if key not in _KNOWN:
        _KNOWN[key] = _counted(spec, space)
    return list(_KNOWN[key])


def _counted(spec: Spec, space: Space) -> list[float]:
    program = compile_spec(spec, space)
    batch, key = batch_shapes(space, spec.train.batch_size), jax.random.key(0)
    state, counts = jax.eval_shape(program.init, program.numbers, key), []
    for index, stage in enumerate(program.stages):
        if stage.source != index:
            counts.append(counts[stage.source])
            continue
        state = jax.eval_shape(stage.enter, program.numbers, state, batch, key)
        counts.append(0.0)
        for actor in stage.actors:
            jaxpr = jax.make_jaxpr(actor.update)(program.numbers, state, batch, key, jnp.int32(0))
            counts[-1] += sum(_products(jaxpr.jaxpr, 1.0 / actor.step.actor_every))
            if spec.target is not None:
                counts[-1] += ELEMENT * _elements(jaxpr.jaxpr) / actor.step.actor_every
    return counts


def stage_seconds(spec: Spec, counts: list[float], rate: float) -> list[tuple[int, float]]:
    """Of each stage, its updates and the seconds that one takes for all seeds, at a `matrix_rate`."""
    each = [spec.seed_count * count / (EFFICIENCY * rate) + OVERHEAD for count in counts]
    return [(step.spent, cost) for step, cost in zip(spec.schedule.in_turn, each, strict=True)]


def batch_shapes(space: Space, rows: int) -> Transitions:
    """Shapes of a minibatch."""
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
            times = equation.params["length"] if equation.primitive.name == "scan" else 1
            for value in equation.params.values():
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    yield times * sum(_products(inner, share))


def _elements(jaxpr: Any) -> int:
    """Elements of the results of all that is computed."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [getattr(value, "jaxpr", value) for value in jax.tree.leaves(list(equation.params.values()))]
        inside = [part for part in inner if hasattr(part, "eqns")]
        sizes = [int(np.prod(result.aval.shape)) for result in equation.outvars]
        total += sum(_elements(part) for part in inside) if inside else sum(sizes)
    return total


def intermediates(jaxpr: Any) -> int:
    """Bytes of the results of all matrix products; of a branch, those of its largest alternative."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            result = equation.outvars[0].aval
            total += math.prod(result.shape) * result.dtype.itemsize
        elif equation.primitive.name == "cond":
            total += max(intermediates(branch.jaxpr) for branch in equation.params["branches"])
        else:
            inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
            total += sum(intermediates(part) for part in inner if hasattr(part, "eqns"))
    return total


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
