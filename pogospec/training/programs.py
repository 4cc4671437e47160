"""The compiled functions of a run: how networks are drawn, how a stage is entered, and a chunk of its updates."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.chain import keys_at_begin
from pogospec.compiler.program import Stage, State
from pogospec.compiler.stage import BEGIN_ROWS, begin_rows
from pogospec.data.used import Used
from pogospec.spec.schema import Spec
from pogospec.training.cells import Cells
from pogospec.training.chunk import (
    INIT,
    SECOND,
    Totals,
    chunk_function,
    double,
    fold,
    metrics_of,
    nothing,
    piece_function,
    stream,
)
from pogospec.training.decisions import sizes_of, trial_of
from pogospec.training.place import Place
from pogospec.training.stream import Stream
from pogospec.types import Transitions


class Ran(NamedTuple):
    """What came of a chunk: all but the seconds with a leading dimension of runs."""

    state: State
    sums: dict[str, Any]  # of each metric, over the updates
    squares: Any  # sum of the squared critic loss
    bad: dict[str, Any]  # of each metric: the first update at which it was not finite, -1 where none
    whole: Any  # whether the state is finite
    seconds: float


class Programs:
    """Compiled when they are first needed, for all runs at once; repetitions of a step share those of the first."""

    def __init__(self, spec: Spec, cells: Cells, data: Transitions | Used):
        self.spec, self.cells, self.data, self.batching = spec, cells, data, cells.batching
        self.stream = None
        if isinstance(data, Used):
            self.stream = Stream(data, spec.train.batch_size, self.batching, double(spec))
        program = cells.all[0].program
        self.stages = program.stages
        self.roots = jax.vmap(jax.random.key)(jnp.tile(jnp.asarray(spec.seed_numbers), len(cells.all)))
        self._initial = self.batching.jit(program.init, (cells.axis, 0))
        self._entries: dict[int, Callable] = {}
        self._chunks: dict[int, Callable] = {}
        self._nothing: dict[int, Totals] = {}  # totals of no updates
        self._hold = jax.jit(lambda mask, old, new: jax.tree.map(lambda o, n: _where(mask, o, n), old, new))

    def fresh(self) -> State:
        """The state before any update."""
        keys = jax.vmap(lambda root: stream(fold(root, 0), INIT, 0))(self.roots)
        return self._initial(self.cells.numbers_of(0), keys)

    def axis(self, number: int) -> int | None:
        """The axis of a stage's numbers over runs: each seed has its own where step sizes are tried."""
        return self.cells.axis if trial_of(self.stages[number].step) is None else 0

    def numbers(self, number: int, place: Place) -> Any:
        """The numbers of a stage, with the step size that each seed tries there."""
        numbers, rule = self.cells.numbers_of(number), trial_of(self.stages[number].step)
        if rule is None:
            return numbers
        numbers = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.spec.seed_count, *leaf.shape)), numbers)
        source = self.stages[number].source
        sized = functools.partial(sizes_of, rule, place)
        tried = eqx.tree_at(lambda n: [t.tau for t in n[source].problem.proximal], numbers, replace_fn=sized)
        return self.batching.own(tried)

    def enter(self, number: int, state: State, place: Place) -> State:
        """The state at the beginning of a stage."""
        keys = self._keys_at_begin(number)
        if self.stream is None:
            return self._enter(number, state, place, self.data, keys)
        return self._enter(number, state, place, self._seen_at_begin(number, keys), keys)

    def _seen_at_begin(self, number: int, keys: Any) -> Any:
        """The rows of the file that each run looks at where a stage begins; of several actors those of each."""
        assert self.stream is not None
        actors, count = len(self.stages[number].actors), self.stream.used.count
        rows = jax.vmap(lambda key: [begin_rows(own, count) for own in keys_at_begin(actors, key)])(keys)
        seen = [self.stream.take(each) for each in rows]
        return seen if actors > 1 else seen[0]

    def _keys_at_begin(self, number: int) -> Any:
        return jax.vmap(lambda root: stream(fold(root, number), INIT, 1))(self.roots)

    def _enter(self, number: int, state: State, place: Place, data: Any, keys: Any) -> State:
        """The same; `data`: all rows, or of rows in a file those that each run looks at."""
        state, entry = state._replace(doubled=()), self.stages[number].entry
        if entry not in self._entries:
            enter, axes = self.stages[entry].enter, (self.axis(number), 0, None if self.stream is None else 0, 0)
            self._entries[entry] = self.batching.jit(enter, axes)
        return self._entries[entry](self.numbers(number, place), state, data, keys)

    def look(self, stage: Stage, place: Place, state: State) -> dict[str, np.ndarray]:
        """What is measured of the policies of a stage on held-out rows."""
        numbers = self.numbers(place.number, place)
        return self.cells.watch.look(stage, numbers, self.axis(place.number), state)

    def template(self, number: int) -> State:
        """Shapes of the state inside a stage."""
        fresh = Place.fresh(len(self.roots))
        template = jax.eval_shape(self.fresh)
        data, sources = self.data, dict.fromkeys(stage.source for stage in self.stages[: number + 1])
        for entered in sources:
            keys = self._keys_at_begin(entered)
            if self.stream is not None:
                seen = self.stream.shapes(len(self.roots), min(BEGIN_ROWS, self.stream.used.count))
                actors = len(self.stages[entered].actors)
                data = [seen] * actors if actors > 1 else seen
            template = jax.eval_shape(
                lambda state, data, entered=entered, keys=keys: self._enter(entered, state, fresh, data, keys),
                template,
                data,
            )
        return template

    def compile_first(self, double: bool) -> None:
        """Compile the first stage in another thread, which does not know the precision of this one."""
        with jax.enable_x64(double):
            self._chunks = {0: self._compiled(0)}
            if self.stream is not None:
                self._first_of(0)

    def run(self, place: Place, state: State, stop: int) -> Ran:
        """Updates of the stage from where the run is to `stop`; a seed whose step is accepted keeps its state.

        The state that goes in is gone then.
        """
        chunk = self._chunk(self.stages[place.number].source)
        roots = jax.vmap(lambda root: fold(root, place.number))(self.roots)
        if place.phase == 2:  # else the second of two steps would draw what the first one did
            roots = jax.vmap(lambda root: fold(root, SECOND))(roots)
        roots = self.batching.own(roots)
        state, numbers = self.batching.own(state), self.numbers(place.number, place)
        kept = jax.tree.map(jnp.copy, state) if any(place.accepted) else None
        clock = time.perf_counter()
        if self.stream is None:
            state, sums, squares, bad, whole = chunk(numbers, self.data, state, roots, place.done, stop)
        else:
            state, sums, squares, bad, whole = self._pieces(chunk, numbers, state, roots, place, stop)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - clock
        state = state if kept is None else self.hold(place.accepted, kept, state)
        return Ran(state, sums, squares, bad, whole, seconds)

    def _pieces(self, piece: Callable, numbers: Any, state: State, roots: Any, place: Place, stop: int) -> tuple:
        """What a chunk gives, from pieces of updates whose batches are read ahead of them; the next piece too."""
        assert self.stream is not None
        number, stage, done, whole = place.number, self.stages[place.number], place.done, None
        name, size, totals = (number, place.phase // 2), self._size(number), self._nothing[stage.source]
        while done < stop:
            begin = done // size * size
            until = min(begin + size, stop)
            read = self.stream.piece(name, roots, stage.batches, begin, size)
            if begin + size < stage.updates:
                self.stream.ahead(name, roots, stage.batches, begin + size, size)
            elif number + 1 < len(self.stages):
                self._first_of(number + 1)
            state, *found, whole = piece(numbers, read, state, totals, roots, done, until, begin)
            totals, done = Totals(*found), until
        return state, *totals, whole

    def _first_of(self, number: int) -> None:
        """Have the first batches of a stage read."""
        assert self.stream is not None
        roots = self.batching.own(jax.vmap(lambda root: fold(root, number))(self.roots))
        self.stream.ahead((number, 0), roots, self.stages[number].batches, 0, self._size(number))

    def _size(self, number: int) -> int:
        """Updates of a stage whose batches are read at once."""
        assert self.stream is not None
        return self.stream.updates_of_piece(self.stages[number].batches, self.stages[number].updates)

    def close(self) -> None:
        """Let go of the file that rows are read from."""
        if self.stream is not None:
            self.stream.close()

    def hold(self, mask: Sequence[bool] | np.ndarray, old: State, new: State) -> State:
        """The old state of the seeds in the mask, the new one of the others."""
        return self._hold(jnp.asarray(mask), old, new)

    def _chunk(self, source: int) -> Callable:
        if source not in self._chunks:
            self._chunks = {source: self._compiled(source)}  # that of the stage before is not needed any more
        return self._chunks[source]

    def _compiled(self, source: int) -> Callable:
        stage, size = self.stages[source], self.spec.train.batch_size
        roots, template = jax.vmap(lambda root: fold(root, source))(self.roots), self.template(source)
        numbers = self.numbers(source, Place.fresh(len(self.roots)))
        if self.stream is None:
            chunk = chunk_function(stage, size, self.axis(source), self.batching, donate=True)
            return chunk.lower(numbers, self.data, template, roots, 0, 1).compile()
        row = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), template)
        own = numbers if self.axis(source) is None else jax.tree.map(lambda leaf: leaf[0], numbers)
        totals = nothing(metrics_of(stage, own, row, roots[0], self.stream.shapes(size)))
        repeat = lambda leaf: np.repeat(np.asarray(leaf)[None], len(roots), axis=0)  # noqa: E731
        self._nothing[source] = jax.tree.map(repeat, totals)
        piece = piece_function(stage, size, self.axis(source), self.batching)
        read = self.stream.shapes(len(self.roots), self._size(source) * stage.batches * size)
        return piece.lower(numbers, read, template, self._nothing[source], roots, 0, 1, 0).compile()


def _where(mask, old, new):
    return jnp.where(mask.reshape(-1, *(1,) * (old.ndim - 1)), old, new)
