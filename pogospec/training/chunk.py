"""Many updates of a stage in one device call, and the keys that they draw from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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

        def batches(index) -> list[Batch]:
            keys = (stream(root, name, index) for name in (BATCH, OWN_BATCH)[: stage.batches])
            return [_at(indices(key, batch_size, rows), data) for key in keys]

        one = update_of(stage, numbers, root, batches)
        shapes = eqx.filter_eval_shape(one, state, start)[1]
        return updates(one, state, nothing(shapes), start, stop)

    layout = batching or Batching("vmap")
    return layout.jit(one_run, (axis, None, 0, 0, None, None), donate=(2,) if donate else ())


def piece_function(stage: Stage, batch_size: int, axis: int | None, batching: Batching):
    """Jitted: as `chunk_function`, of batches that are given: those of updates from `begin` on, one after another.

    Each run has `read` of its own, all rows of these batches, and totals, what updates before have summed up.
    """

    def one_run(numbers, read: Transitions, state: State, totals: Totals, root, start, stop, begin):
        def batches(index) -> list[Batch]:
            first = (index - begin) * stage.batches * batch_size
            rows = jnp.arange(batch_size)
            return [_at(first + number * batch_size + rows, read) for number in range(stage.batches)]

        return updates(update_of(stage, numbers, root, batches), state, totals, start, stop)

    return batching.jit(one_run, (axis, 0, 0, 0, 0, None, None, None), donate=(2, 3))


def _at(rows: Any, columns: Transitions) -> Batch:
    return jax.tree.map(lambda column: column[rows], columns)


def metrics_of(stage: Stage, numbers: Any, state: State, root: Any, batch: Batch) -> dict[str, Any]:
    """Shapes of the metrics of an update of one run, from shapes of its state and of a batch."""

    def one(state, batch):
        return update_of(stage, numbers, root, lambda index: [batch] * stage.batches)(state, jnp.int32(0))

    return eqx.filter_eval_shape(one, state, batch)[1]


def indices(key, batch_size: int, rows: int):
    """The rows of a minibatch, of so many, with replacement."""
    return jax.random.randint(key, (batch_size,), 0, rows)


class Totals(NamedTuple):
    """What a chunk sums up of its updates."""

    sums: dict[str, Any]  # of each metric
    squares: Any  # of the critic loss
    bad: dict[str, Any]  # of each metric, the first update at which it was not finite; -1: none


def nothing(shapes: dict[str, Any]) -> Totals:
    """That of no updates; `shapes`: of the metrics of one."""
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return Totals(sums, jnp.zeros(()), {name: jnp.int32(-1) for name in shapes})


def update_of(stage: Stage, numbers: Any, root: Any, batches: Callable[[Any], Sequence[Batch]]) -> Callable:
    """A function (state, index) -> state, metrics; `batches` gives those of an update."""

    def one(state: State, index):
        batch, *own = batches(index)
        return stage.update(numbers, state, batch, stream(root, UPDATE, index), index, *own)

    return one


def updates(one: Callable, state: State, totals: Totals, start: Any, stop: Any) -> tuple:
    """State, sums, squares and bad ones after the updates from `start` to `stop`, and whether the state is finite."""

    def body(index, carry):
        state, (sums, squares, bad) = carry
        state, info = one(state, index)
        sums = jax.tree.map(jnp.add, sums, info)
        squares = squares + info.get("critic_loss", 0.0) ** 2
        bad = {
            name: jnp.where((bad[name] < 0) & ~jnp.isfinite(value), index, bad[name]) for name, value in info.items()
        }
        return state, Totals(sums, squares, bad)

    state, totals = jax.lax.fori_loop(start, stop, body, (state, totals))
    whole = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))
    return state, *totals, whole
