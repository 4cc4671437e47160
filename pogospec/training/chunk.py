"""Many updates of a stage in one device call, and the keys that they draw from."""

from __future__ import annotations

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.program import Stage, State
from pogospec.spec.schema import Spec
from pogospec.training.batching import Batching
from pogospec.types import Batch, Transitions

INIT, BATCH, UPDATE, OWN_BATCH = range(4)
SECOND = 1_000_006
"""Folded into the key of a stage for the second step of an attempt by step doubling."""


def double(spec: Spec) -> bool:
    """Whether a program computes in double precision: where the spec, or the caller, asks for it."""
    return spec.train.precision == "float64" or bool(jax.config.read("jax_enable_x64"))


def precision(spec: Spec) -> contextlib.AbstractContextManager:
    """The precision of a spec; a context of the thread that it is entered in."""
    return jax.enable_x64(double(spec))


def as_floats(column):
    """A column on the device, in the floating-point type of the run."""
    column = np.asarray(column)
    return jnp.asarray(column, float if np.issubdtype(column.dtype, np.floating) else None)


def fold(root, stage: int):
    """The key of a stage."""
    return jax.random.fold_in(root, stage)


def stream(root, name: int, index):
    """The key of an update, from that of its stage: a function of counters, so that any update can be replayed."""
    return jax.random.fold_in(jax.random.fold_in(root, name), index)


def chunk_function(
    stage: Stage, batch_size: int, axis: int | None = None, batching: Batching | None = None, donate: bool = False
):
    """Jitted: run updates start..stop of a stage for all runs; metrics are reduced on the device.

    A run is a seed, or a seed of a cell. `axis`: the axis of the numbers that goes over runs, None where they share
    them. `batching`: how the runs are laid out, by default side by side (vmap). `donate`: the state that comes out
    takes the memory of the one that goes in, which is gone then. `roots` are the keys of the stage. Returns the state,
    the sum of each metric and of the squared critic loss, for each loss the first update at which it was not finite
    (-1: never), and whether the state is finite; all with a leading dimension of runs.
    """

    def one_run(numbers, data: Transitions, state: State, root, start, stop):
        rows = data.rewards.shape[0]

        def one(state, index):
            batch, *own = (drawn(stream(root, name, index)) for name in (BATCH, OWN_BATCH)[: stage.batches])
            return stage.update(numbers, state, batch, stream(root, UPDATE, index), index, *own)

        def drawn(key) -> Batch:
            indices = jax.random.randint(key, (batch_size,), 0, rows)
            return jax.tree.map(lambda column: column[indices], data)

        shapes = eqx.filter_eval_shape(one, state, start)[1]
        sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        bad = {name: jnp.int32(-1) for name in shapes}

        def body(index, carry):
            state, sums, squares, bad = carry
            state, info = one(state, index)
            sums = jax.tree.map(jnp.add, sums, info)
            squares = squares + info.get("critic_loss", 0.0) ** 2
            bad = {
                name: jnp.where((bad[name] < 0) & ~jnp.isfinite(value), index, bad[name])
                for name, value in info.items()
            }
            return state, sums, squares, bad

        state, sums, squares, bad = jax.lax.fori_loop(start, stop, body, (state, sums, jnp.zeros(()), bad))
        whole = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))
        return state, sums, squares, bad, whole

    layout = batching or Batching("vmap")
    return layout.jit(one_run, (axis, None, 0, 0, None, None), donate=(2,) if donate else ())
