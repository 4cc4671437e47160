"""The training loop: many updates in one device call, then the host looks, saves and goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.program import Stage, State
from pogospec.data.arrays import held_out, identity_normalizer, normalized, split, standardize, transform_rewards
from pogospec.data.used import Used, use
from pogospec.errors import DataError, RunError
from pogospec.runs.directory import RunDirectory
from pogospec.spec.branching import stages_of
from pogospec.spec.schema import Spec
from pogospec.training import decisions, doubling
from pogospec.training.batching import Batching
from pogospec.training.cells import Cells, unfit
from pogospec.training.chunk import as_floats, precision
from pogospec.training.evaluation import Evaluation
from pogospec.training.events import Event, Failed, Finished, Noted, Progress, Started
from pogospec.training.judging import Judging
from pogospec.training.place import Place
from pogospec.training.programs import Programs, Ran
from pogospec.training.verdicts import Verdicts
from pogospec.types import Dataset, Normalizer, Transitions


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
        trainer = _Trainer(specs, dataset, runs, on_event)
        with contextlib.closing(trainer.programs):
            trainer.go(resume)


class _Prepared(NamedTuple):
    """The data as the spec wants them."""

    used: Transitions | Used  # to train on
    held: Transitions  # rows to measure on
    whole: Transitions | None  # the held-out episodes, where a step is judged by them
    normalizer: Normalizer


def _prepared(spec: Spec, dataset: Dataset) -> _Prepared:
    """The data as the spec wants them; raises DataError where too few episodes are held out."""
    if dataset.stored is not None:
        used, held, normalizer = use(dataset.stored, spec.data)
        _require_error(spec, held)
        return _Prepared(used, jax.tree.map(as_floats, held), None, normalizer)
    transitions = transform_rewards(dataset.transitions, spec.data.reward)
    used, held = split(transitions, spec.data.holdout)
    judged = any(step.judge is not None for step in spec.schedule.steps)
    whole = held_out(transitions, spec.data.holdout) if judged else None
    if whole is not None and len(np.unique(whole.episodes)) < (least := decisions.episodes_needed(spec)):
        found, total = len(np.unique(whole.episodes)), len(np.unique(transitions.episodes))
        raise DataError(
            f"data.holdout: {spec.data.holdout:g} holds out {found} of {total} episodes, allowed shares of {least} "
            "episodes or more: the judge of a step takes its standard error over them; raise it"
        )
    _require_error(spec, held)
    normalizer = identity_normalizer(dataset.space.obs_dim)
    if spec.data.normalize_observations:
        used, normalizer = standardize(used)
        held = normalized(held, normalizer)
        whole = None if whole is None else normalized(whole, normalizer)
    used, held = (jax.tree.map(as_floats, part) for part in (used, held))
    return _Prepared(used, held, whole, normalizer)


def _require_error(spec: Spec, held: Transitions) -> None:
    """Raise DataError where a standard error over the episodes of one is asked for."""
    if spec.target is None and decisions.needs_error(spec) and len(np.unique(held.episodes)) < 2:
        raise DataError(
            f"data.holdout: {spec.data.holdout:g} holds out 1 episode, allowed shares of 2 episodes or more: "
            "backtracking asks for a standard error over episodes; raise it, or set errors: 0 of tau"
        )


class _Trainer:
    """Trains specs that are one program: stage after stage, of a stage chunk after chunk."""

    def __init__(
        self,
        specs: Sequence[Spec],
        dataset: Dataset,
        runs: Sequence[RunDirectory],
        on_event: Callable[[Event], None],
    ):
        self.spec, self.on_event, count = specs[0], on_event, specs[0].seed_count * len(specs)
        batching = Batching.of(self.spec.train.batch_runs, count)
        data, held, whole, normalizer = _prepared(self.spec, dataset)
        data = data if isinstance(data, Used) else batching.shared(data)
        self.cells = Cells(specs, runs, dataset.space, normalizer, held, batching)
        self.watch = self.cells.watch
        self.programs = Programs(self.spec, self.cells, data)
        self.verdicts = Verdicts(
            self.cells, self.programs, Judging(self.spec, self.cells, self.programs, whole), on_event
        )
        self.evaluation = Evaluation(self.spec, dataset, self.cells, on_event)
        self.stages = self.programs.stages[: stages_of(self.spec.schedule)]
        self.place = Place.fresh(count)

    def go(self, resume: bool) -> None:
        """Train to the end."""
        stages = [(stage.label, stage.step.spent) for stage in self.stages]
        self.on_event(Started(stages, self.spec.seed_count, sum(updates for _, updates in stages)))
        state = self._restored() if resume else self._fresh()
        while self.place.number < len(self.stages):
            if not self.place.ended:
                state = self._stage(self.stages[self.place.number], state)
            self._leave()
        self.evaluation.close()
        self.on_event(Finished())

    def _fresh(self) -> State:
        """The first state; networks are drawn while the first stage compiles."""
        with ThreadPoolExecutor(1) as pool:
            compiling = pool.submit(self.programs.compile_first, jax.config.jax_enable_x64)  # type: ignore[attr-defined]
            state = self.programs.fresh()
            compiling.result()
        return state

    def _stage(self, stage: Stage, state: State) -> State:
        """Run a stage from where the run is to its end, with all step sizes that it tries."""
        place = self.place
        if place.done == 0 and not any(place.tries) and not place.phase:
            state = self._enter(stage, state)
        trying = True
        while trying:
            settled = False
            if place.done < stage.updates:  # a branch begins where the updates are done
                state, settled = self._advance(stage, state)
            if settled or place.done == stage.updates:
                state, trying = self._end_try(stage, state)
        self.evaluation.finish(stage, state, place.total)
        place.ended = True
        if decisions.checkpoint_at_end(self.spec, self.stages, place):
            self._checkpoint(state)
        return state

    def _enter(self, stage: Stage, state: State) -> State:
        """Begin a stage, and measure where it begins if that is asked for."""
        doubling.begin(stage.step, self.place)
        state = self.programs.enter(self.place.number, state, self.place)
        if decisions.measured_at_start(self.spec, stage):
            found = self._look(stage, state)
            if self.place.taus:  # not twice that
                found["tau"] = np.asarray(self.place.taus)
            self.watch.check(self.place, found)
            self.cells.write_flow(stage, self.place, found, state)
        return state

    def _advance(self, stage: Stage, state: State) -> tuple[State, bool]:
        """Run a chunk, then log, measure, score and save where it is due; whether the rule of the stage has settled."""
        place, done = self.place, self.place.done
        stop = decisions.next_stop(self.spec, stage, done)
        ran = self.programs.run(place, state, stop)
        self._guard(stage, ran, stop)
        place.done, place.total = stop, place.total + stop - done
        self.watch.losses(place, ran.sums, ran.squares, stop - done)
        self._log(stage, ran, done)
        state, due, settled = ran.state, decisions.due_at(self.spec, stage, stop), False
        if stage.step.doubles and place.phase < doubling.SECOND:  # its policies are not those of the flow
            due = due._replace(score=False)
        for actor in stage.actors if due.check or due.score else ():
            found = self._look(actor, state)
            if due.check:
                if decisions.asks_judge(stage):
                    state = self.verdicts.find(stage, place, state, found)
                settled = decisions.settled(stage, self.watch.check(place, found))
            self.cells.write_flow(actor, place, found, state)
        if settled:
            self.on_event(Noted(f"{stage.label} has settled after {stop:,} updates"))
        elif due.score:
            self.evaluation.score(stage, state, place.total)
        if due.checkpoint and not settled:
            self._checkpoint(state)
        return state, settled

    def _end_try(self, stage: Stage, state: State) -> tuple[State, bool]:
        """Take the step, or have it judged; whether some seed tries another step size."""
        if stage.step.judge is not None or decisions.trial_of(stage.step) is not None:
            return self.verdicts.end(stage, self.place, state)
        for actor in stage.actors:
            found = self._look(actor, state) if "policy" in stage.learn else {}
            decisions.take(self.place, found)
            decisions.remember_end(self.place, found)
            self.cells.write_flow(actor, self.place, found, state)
        return state, False

    def _leave(self) -> None:
        """Go to the next repetition, or past the last."""
        stage = self.stages[self.place.number]
        for note in doubling.unreached(self.stages, self.place, self.spec.seed_numbers):
            self.on_event(Noted(note))
        if decisions.leave(self.stages, self.place):
            why = "the flow time is reached" if stage.step.doubles else "the flow has settled"
            self.on_event(Noted(f"{why}: no further repetition after {stage.label}"))

    def _look(self, stage: Stage, state: State) -> dict[str, np.ndarray]:
        """Measure on held-out rows."""
        return self.programs.look(stage, self.place, state)

    def _guard(self, stage: Stage, ran: Ran, stop: int) -> None:
        """Stop runs at the first value that is not finite; the newest checkpoint of each is its last good state."""
        for cell, message in self.cells.broken(stage, self.place, ran.bad, ran.whole, stop):
            cell.failed = True
            if not self.cells.going():
                raise RunError(message)
            self.on_event(Failed(cell.index, message))

    def _log(self, stage: Stage, ran: Ran, done: int) -> None:
        """Write the metrics of a chunk, and tell them."""
        place = self.place
        means = self.cells.write_metrics(stage, place, ran.sums, ran.squares, done, ran.seconds)
        rate = (place.done - done) / ran.seconds
        here = place.done + stage.updates * decisions.solved(stage.step, place)
        self.on_event(Progress(place.number, stage.label, here, stage.step.spent, place.total, rate, means))

    def _checkpoint(self, state: State) -> None:
        stage = self.stages[self.place.number]
        self.cells.checkpoint(self.place, state, decisions.kept(self.spec, stage, self.place))

    def _restored(self) -> State:
        """The state of the newest checkpoint, and where the run was; the first one where there is none."""
        restored = self.cells.restore()
        if restored is None:
            self.cells.truncate_after(0)
            return self.programs.fresh()
        arrays, self.place = restored
        leaves, structure = jax.tree_util.tree_flatten_with_path(self.programs.template(self.place.number))
        values = [self._leaf(arrays, jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
        self.cells.truncate_after(self.place.total)
        return jax.tree_util.tree_unflatten(structure, values)

    def _leaf(self, arrays: dict[str, np.ndarray], name: str, wanted: jax.ShapeDtypeStruct) -> jax.Array:
        found = arrays.get(name)
        if found is None or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            what = "is missing" if found is None else f"is {found.dtype}{list(found.shape)}"
            raise unfit(self.cells.all[0].run, f"{name} {what}, needed {wanted.dtype}{list(wanted.shape)}")
        return jnp.asarray(found)
