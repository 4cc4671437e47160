"""The training loop: many updates in one device call, then the host looks, saves and goes on."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.program import Program, Stage, State
from pogospec.data.arrays import identity_normalizer, normalized, split, standardize, transform_rewards
from pogospec.errors import RunError
from pogospec.runs.directory import RunDirectory
from pogospec.spec.schema import Spec
from pogospec.training.batching import Batching
from pogospec.training.cells import Cells, lacking
from pogospec.training.chunk import INIT, as_floats, chunk_function, fold, precision, stream
from pogospec.training.events import Event, Failed, Finished, Noted, Progress, Scored, Started
from pogospec.training.rollout import Evaluator
from pogospec.training.watch import Place, backtracking_of
from pogospec.types import Dataset

FIRST = 100
"""Updates of a stage's first chunk: short, so that numbers and an estimate of the time come soon."""


def _where(mask, old, new):
    return jnp.where(mask.reshape(-1, *(1,) * (old.ndim - 1)), old, new)


def train(
    spec: Spec,
    dataset: Dataset,
    run: RunDirectory,
    on_event: Callable[[Event], None],
    resume: bool = False,
) -> None:
    """Run a spec on a dataset into a run directory; `resume` goes on from its newest checkpoint."""
    train_all([spec], dataset, [run], on_event, resume)


def train_all(
    specs: Sequence[Spec],
    dataset: Dataset,
    runs: Sequence[RunDirectory],
    on_event: Callable[[Event], None],
    resume: bool = False,
) -> None:
    """Run specs that differ in the numbers of their programs alone, each into its directory, in one program.

    `resume` goes on from the newest checkpoint that all have. Raises RunError where a number is not finite; of several
    runs the others go on, and it is raised where all have failed.
    """
    with precision(specs[0]):
        _Trainer(specs, dataset, runs, on_event).go(resume)


class _Trainer:
    def __init__(
        self,
        specs: Sequence[Spec],
        dataset: Dataset,
        runs: Sequence[RunDirectory],
        on_event: Callable[[Event], None],
    ):
        spec, self.dataset, self.on_event = specs[0], dataset, on_event
        self.spec, self.count = spec, spec.seeds * len(specs)
        self.batching = Batching.of(spec.train.batch_runs, self.count)
        used, held = split(transform_rewards(dataset.transitions, spec.data.reward), spec.data.holdout)
        self.normalizer = identity_normalizer(dataset.space.obs_dim)
        if spec.data.normalize_observations:
            used, self.normalizer = standardize(used)
            held = normalized(held, self.normalizer)
        data, held = (jax.tree.map(as_floats, part) for part in (used, held))
        self.data = self.batching.shared(data)
        self.cells = Cells(specs, runs, dataset.space, self.normalizer, held, self.batching)
        self.program: Program = self.cells.all[0].program
        self.watch = self.cells.all[0].watch  # what is measured of all runs at once
        self.roots = jax.vmap(jax.random.key)(jnp.tile(jnp.arange(spec.seeds), len(specs)))
        self.evaluator = None
        if dataset.environment is not None:
            self.evaluator = Evaluator(dataset.environment, spec.evaluate.episodes, spec.evaluate.seed, dataset.space)
            self.evaluator.check()
        self.place = Place.fresh(self.count)
        self.compiled: dict[int, Callable] = {}
        self.initial = self.batching.jit(self.program.init, (self.cells.axis, 0))
        self.entries: dict[int, Callable] = {}
        self.hold = jax.jit(lambda mask, old, new: jax.tree.map(lambda o, n: _where(mask, o, n), old, new))

    def go(self, resume: bool) -> None:
        stages = self.program.stages
        total = sum(stage.updates for stage in stages)
        self.on_event(Started([(stage.label, stage.updates) for stage in stages], self.spec.seeds, total))
        with ThreadPoolExecutor(1) as pool:  # the networks are drawn while the first stage compiles
            ahead = None if resume else pool.submit(self._compile_apart, jax.config.jax_enable_x64)  # type: ignore[attr-defined]
            state = self._restore() if resume else self._fresh()
            if ahead is not None:
                self.compiled[0] = ahead.result()
        while self.place.number < len(stages):
            state = self._stage(state)
        if self.evaluator is not None:
            self.evaluator.close()
        self.on_event(Finished())

    def _fresh(self) -> State:
        keys = jax.vmap(lambda root: stream(fold(root, 0), INIT, 0))(self.roots)
        return self.initial(self.cells.numbers_of(0), keys)

    def _axis(self, number: int) -> int | None:
        """The axis of a stage's numbers over runs: each seed has its own where step sizes are tried."""
        return self.cells.axis if backtracking_of(self.program.stages[number]) is None else 0

    def _numbers(self, number: int) -> Any:
        """The numbers of a stage, with the step size that each seed tries now."""
        numbers, rule = self.cells.numbers_of(number), backtracking_of(self.program.stages[number])
        if rule is None:
            return numbers
        numbers = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.spec.seeds, *leaf.shape)), numbers)
        shares = jnp.asarray([rule.factor**count for count in self.place.tries])
        source = self.program.stages[number].source
        tried = eqx.tree_at(lambda n: [t.tau for t in n[source].problem.proximal], numbers, replace_fn=shares.__mul__)
        return self.batching.own(tried)

    def _enter(self, number: int, state: State) -> State:
        source = self.program.stages[number].source
        if source not in self.entries:
            enter, axes = self.program.stages[source].enter, (self._axis(number), 0, None, 0)
            self.entries[source] = self.batching.jit(enter, axes)
        keys = jax.vmap(lambda root: stream(fold(root, number), INIT, 1))(self.roots)
        return self.entries[source](self._numbers(number), state, self.data, keys)

    def _template(self, number: int) -> State:
        """Shapes of the state inside a stage."""
        template = jax.eval_shape(self._fresh)
        sources = dict.fromkeys(stage.source for stage in self.program.stages[: number + 1])
        for entered in sources:
            template = jax.eval_shape(functools.partial(self._enter, entered), template)
        return template

    def _compile(self, source: int) -> Callable:
        stage, size = self.program.stages[source], self.spec.train.batch_size
        chunk = chunk_function(stage, size, self._axis(source), self.batching, donate=True)
        roots = jax.vmap(lambda root: fold(root, source))(self.roots)
        return chunk.lower(self._numbers(source), self.data, self._template(source), roots, 0, 1).compile()

    def _compile_apart(self, double: bool) -> Callable:
        """The program of the first stage, compiled in another thread, which does not know this one's precision."""
        with jax.enable_x64(double):
            return self._compile(0)

    def _chunk(self, source: int) -> Callable:
        if source not in self.compiled:
            self.compiled = {source: self._compile(source)}
        return self.compiled[source]

    def _stage(self, state: State) -> State:
        """Run one stage from where the run is, with all step sizes that it tries; go to the next where it has ended."""
        place, stage = self.place, self.program.stages[self.place.number]
        if place.ended:
            self._leave(stage)
            return state
        if place.done == 0 and not any(place.tries):
            state = self._enter(place.number, state)
            if self.watch.needed(stage):
                found = self._look(stage, state)
                self.watch.check(place, found)
                self.cells.write_flow(stage, place, found, state)
        while place.done < stage.updates:
            state, settled = self._advance(stage, state)
            if not settled and place.done < stage.updates:
                continue
            again = False
            for actor in stage.actors:
                found = self._look(actor, state) if "policy" in stage.learn else {}
                state, again = self._decide(actor, state, found)
            if not again:
                break
        self._finish_stage(stage, state)
        place.ended = True
        if place.total % self.spec.train.checkpoint_every < place.done or self._last_repetition(stage):
            self._checkpoint(state)
        return state

    def _advance(self, stage: Stage, state: State) -> tuple[State, bool]:
        """Run a chunk, then log, look, evaluate and save where it is due; whether the rule of the stage has settled."""
        place, rule = self.place, stage.step.until
        chunk, done = self._chunk(stage.source), place.done
        stop = self._next_stop(done, stage)
        roots = self.batching.own(jax.vmap(lambda root: fold(root, place.number))(self.roots))
        state, numbers = self.batching.own(state), self._numbers(place.number)
        kept = jax.tree.map(jnp.copy, state) if any(place.accepted) else None
        clock = time.perf_counter()
        state, sums, squares, bad, whole = chunk(numbers, self.data, state, roots, done, stop)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - clock
        self._guard(stage, bad, whole, stop)
        state = state if kept is None else self.hold(jnp.asarray(place.accepted), kept, state)
        place.done, place.total = stop, place.total + stop - done
        self.watch.losses(place, sums, squares, stop - done)
        self._log(stage, sums, squares, done, seconds)
        due = stop % self.spec.evaluate.every == 0 and stop < stage.updates
        check = rule is not None and stop % rule.every == 0
        settled = False
        for actor in stage.actors if check or (due and "policy" in stage.learn) else ():
            found = self._look(actor, state)
            if check and rule is not None:
                settled = bool(rule.settled(self.watch.check(place, found)).all())
            self.cells.write_flow(actor, place, found, state)
        if settled:
            self.on_event(Noted(f"{stage.label} has settled after {stop:,} updates"))
        elif due and "policy" in stage.learn:
            self._score_policies(stage, state)
        if not settled and stop % self.spec.train.checkpoint_every == 0 and stop < stage.updates:
            self._checkpoint(state)
        return state, settled

    def _next_stop(self, done: int, stage: Stage) -> int:
        marks = [self.spec.train.log_every, self.spec.evaluate.every, self.spec.train.checkpoint_every]
        marks += [] if stage.step.until is None else [stage.step.until.every]
        first = (FIRST,) if done < FIRST and self.spec.target is None else ()
        return min(stage.updates, *first, *(done - done % mark + mark for mark in marks))

    def _look(self, stage: Stage, state: State) -> dict[str, np.ndarray]:
        number = self.place.number
        return self.watch.look(stage, self._numbers(number), self._axis(number), state)

    def _decide(self, stage: Stage, state: State, found: dict[str, np.ndarray]) -> tuple[State, bool]:
        """Accept the step of each seed, or take it back; whether some seed tries a smaller step size."""
        place, rule = self.place, backtracking_of(stage)
        if rule is None:
            if "tau" in found:
                place.flow_time = (np.asarray(place.flow_time) + found["tau"]).tolist()
            self._end_repetition(stage, found, state)
            return state, False
        open_ = ~np.asarray(place.accepted)
        holds = found["gap"] + rule.errors * found["gap_error"] < 0
        failed = open_ & ~holds
        tries = np.asarray(place.tries) + failed
        spent = failed & (tries >= rule.tries)
        place.flow_time = (np.asarray(place.flow_time) + np.where(open_ & holds, found["tau"], 0.0)).tolist()
        self.cells.write_flow(stage, place, found, state, holds, only=open_)
        for seed in np.flatnonzero(failed):
            tau, gap, error = (float(found[name][seed]) for name in ("tau", "gap", "gap_error"))
            then = "the policy stays" if spent[seed] else f"trying tau = {tau * rule.factor:.4g}"
            why = f"tau = {tau:.4g} rejected (inequality {gap:.3g} ± {error:.2g})"
            self.on_event(Noted(f"{stage.label}, seed {seed}: {why}; {then}"))
        place.tries, place.accepted = tries.tolist(), (~failed | spent).tolist()
        if failed.any():
            before = self._enter(place.number, state._replace(policy=state.reference))
            state = self.hold(jnp.asarray(failed), before, state)
        if all(place.accepted):
            place.stuck = spent.tolist()
            self._end_repetition(stage, self._look(stage, state) if failed.any() else found, state, written=True)
            return state, False
        place.again()
        return state, True

    def _end_repetition(self, stage, found, state, written: bool = False) -> None:
        """Remember what the policy of a repetition came to."""
        self.place.ends.setdefault("objective", []).append(found["energy"].tolist()) if "energy" in found else None
        if not written:
            self.cells.write_flow(stage, self.place, found, state)

    def _last_repetition(self, stage: Stage) -> bool:
        """Whether no further repetition of the same step follows."""
        stages, rule, place = self.program.stages, stage.step.repeat_until, self.place
        following = place.number + 1
        if following >= len(stages) or stages[following].source != stage.source or all(place.stuck or [False]):
            return True
        return rule is not None and bool(rule.settled(self.watch.arrays(place.ends)).all())

    def _leave(self, stage: Stage) -> None:
        """Go to the next repetition, or past the last."""
        stages, number = self.program.stages, self.place.number
        last = self._last_repetition(stage)
        following = [n for n in range(number + 1, len(stages)) if not last or stages[n].source != stage.source]
        if last and number + 1 < len(stages) and stages[number + 1].source == stage.source:
            self.on_event(Noted(f"the flow has settled: no further repetition after {stage.label}"))
        self.place.enter(following[0] if following else len(stages))
        if last:
            self.place.ends = {}

    def _guard(self, stage, bad, whole, stop) -> None:
        """Stop runs at the first value that is not finite; the newest checkpoint of each is its last good state."""
        for cell, message in self.cells.broken(stage, bad, whole, stop):
            cell.failed = True
            if not self.cells.going():
                raise RunError(message)
            self.on_event(Failed(cell.index, message))

    def _log(self, stage: Stage, sums, squares, done: int, seconds: float) -> None:
        place = self.place
        means = self.cells.write_metrics(stage, place, sums, squares, done, seconds)
        rate = (place.done - done) / seconds
        self.on_event(Progress(place.number, stage.label, place.done, stage.updates, place.total, rate, means))

    def _finish_stage(self, stage: Stage, state: State) -> None:
        if "policy" in stage.learn:
            self._score_policies(stage, state)
        if "behavior" in stage.learn:
            self._score("behavior", state.behavior, stage.actors[0])
            self.cells.save("behavior", state.behavior)
        if "policy" in stage.learn:
            for actor, network in zip(stage.actors, state.policies, strict=True):
                self.cells.save(actor.label, network)

    def _score_policies(self, stage: Stage, state: State) -> None:
        for actor, network in zip(stage.actors, state.policies, strict=True):
            self._score(actor.label, network, actor)

    def _score(self, label: str, network, stage: Stage) -> None:
        """Roll out the policies of all runs in one vector environment."""
        if self.evaluator is None:
            return
        act = self.cells.acting(label, network, self.spec.evaluate.action)
        returns = self.evaluator.rollout(act, self.spec.seeds * len(self.cells.going()))
        scores = None if self.dataset.reference is None else self.dataset.reference.score(returns)
        self.cells.write_returns(label, self.place.total, returns, stage.label)
        self.on_event(Scored(label, self.place.total, returns, scores))

    def _checkpoint(self, state: State) -> None:
        self.cells.checkpoint(self.place, state)

    def _restore(self) -> State:
        restored = self.cells.restore()
        if restored is None:
            self.cells.truncate_after(0)
            return self._fresh()
        arrays, self.place = restored
        leaves, structure = jax.tree_util.tree_flatten_with_path(self._template(self.place.number))
        try:
            values = [jnp.asarray(arrays[jax.tree_util.keystr(path)]) for path, _ in leaves]
        except KeyError as error:
            raise lacking(self.cells.all[0].run, error) from None
        self.cells.truncate_after(self.place.total)
        return jax.tree_util.tree_unflatten(structure, values)


__all__ = ["Event", "Finished", "Noted", "Progress", "Scored", "Started", "chunk_function", "train", "train_all"]
