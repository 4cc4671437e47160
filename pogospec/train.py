"""The training loop: many updates in one device call, then the host looks, saves and goes on."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compile import compile_spec
from pogospec.data.arrays import identity_normalizer, standardize
from pogospec.errors import RunDirectoryError, RunError
from pogospec.evaluate import Evaluator
from pogospec.program import Program, Stage, State
from pogospec.runs import RunDirectory
from pogospec.saved import SavedPolicy
from pogospec.spec.schema import Spec
from pogospec.types import Dataset, Normalizer, Transitions

INIT, BATCH, UPDATE = range(3)
FIRST = 100
"""Updates of a stage's first chunk: short, so that numbers and an estimate of the time come soon."""


class Started(NamedTuple):
    """The plan: labels and updates of the stages."""

    stages: list[tuple[str, int]]
    seeds: int
    total_updates: int


class Progress(NamedTuple):
    """One chunk is done; metrics are means over its updates and over seeds."""

    stage: str
    update: int
    updates: int
    total_done: int
    rate: float
    metrics: dict[str, float]


class Scored(NamedTuple):
    """A policy was rolled out; returns [seeds, episodes] are raw, scores normalised where known."""

    policy: str
    total_done: int
    returns: np.ndarray
    scores: np.ndarray | None


class Finished(NamedTuple):
    """The run came to its end."""


Event = Started | Progress | Scored | Finished


def stream(root, stage: int, name: int, index):
    """The key of an update: a function of its counters alone, so that any update can be replayed."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(root, stage), name), index)


def chunk_function(stage: Stage, number: int, batch_size: int):
    """Jitted: run updates start..stop of a stage for all seeds; metrics are reduced on the device.

    Returns the state, the sum of each metric, and for each loss the first update at which it was not
    finite (-1: never); all with a leading seed dimension.
    """

    def one_seed(numbers, data: Transitions, state: State, root, start, stop):
        rows = data.rewards.shape[0]

        def one(state, index):
            indices = jax.random.randint(stream(root, number, BATCH, index), (batch_size,), 0, rows)
            batch = jax.tree.map(lambda column: column[indices], data)
            return stage.update(numbers, state, batch, stream(root, number, UPDATE, index), index)

        shapes = eqx.filter_eval_shape(one, state, start)[1]
        sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        bad = {name: jnp.int32(-1) for name in shapes}

        def body(index, carry):
            state, sums, bad = carry
            state, info = one(state, index)
            sums = jax.tree.map(jnp.add, sums, info)
            bad = {
                name: jnp.where((bad[name] < 0) & ~jnp.isfinite(value), index, bad[name])
                for name, value in info.items()
            }
            return state, sums, bad

        state, sums, bad = jax.lax.fori_loop(start, stop, body, (state, sums, bad))
        whole = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))
        return state, sums, bad, whole

    return jax.jit(jax.vmap(one_seed, in_axes=(None, None, 0, 0, None, None)))


def train(
    spec: Spec,
    dataset: Dataset,
    run: RunDirectory,
    on_event: Callable[[Event], None],
    resume: bool = False,
) -> None:
    """Run a spec on a dataset into a run directory; `resume` goes on from its newest checkpoint."""
    _Trainer(spec, dataset, run, on_event).go(resume)


class _Trainer:
    def __init__(self, spec: Spec, dataset: Dataset, run: RunDirectory, on_event: Callable[[Event], None]):
        self.spec, self.dataset, self.run, self.on_event = spec, dataset, run, on_event
        self.program: Program = compile_spec(spec, dataset.space)
        transitions, self.normalizer = (
            standardize(dataset.transitions)
            if spec.data.normalize_observations
            else (dataset.transitions, identity_normalizer(dataset.space.obs_dim))
        )
        self.data = jax.device_put(Transitions(*(jnp.asarray(column) for column in transitions)))
        self.roots = jax.vmap(jax.random.key)(jnp.arange(spec.seeds))
        self.evaluator = None
        if dataset.environment is not None:
            self.evaluator = Evaluator(dataset.environment, spec.evaluate.episodes, spec.evaluate.seed, dataset.space)
            self.evaluator.check()
        self.actors: dict[str, Callable] = {}

    def go(self, resume: bool) -> None:
        stages = self.program.stages
        total = sum(stage.updates for stage in stages)
        self.on_event(Started([(stage.label, stage.updates) for stage in stages], self.spec.seeds, total))
        with ThreadPoolExecutor(1) as pool:  # the networks are drawn while the first stage compiles
            ahead = None if resume else pool.submit(self._compile, 0)
            state, first, done = self._restore() if resume else (self._fresh(), 0, 0)
            self.compiled = {} if ahead is None else {0: ahead.result()}
        for number in range(first, len(stages)):
            before = sum(stage.updates for stage in stages[:number])
            state = self._stage(number, state, before, done if number == first else 0)
        if self.evaluator is not None:
            self.evaluator.close()
        self.on_event(Finished())

    def _fresh(self) -> State:
        keys = jax.vmap(lambda root: stream(root, 0, INIT, 0))(self.roots)
        return jax.jit(jax.vmap(self.program.init))(keys)

    def _enter(self, number: int, state: State) -> State:
        keys = jax.vmap(lambda root: stream(root, number, INIT, 1))(self.roots)
        enter = jax.vmap(self.program.stages[number].enter, in_axes=(None, 0, None, 0))
        return enter(self.program.numbers, state, self.data, keys)

    def _template(self, number: int) -> State:
        """Shapes of the state inside a stage."""
        template = jax.eval_shape(self._fresh)
        for entered in range(number + 1):
            template = jax.eval_shape(functools.partial(self._enter, entered), template)
        return template

    def _compile(self, number: int) -> Callable:
        chunk = chunk_function(self.program.stages[number], number, self.spec.train.batch_size)
        return chunk.lower(self.program.numbers, self.data, self._template(number), self.roots, 0, 1).compile()

    def _stage(self, number: int, state: State, before: int, done: int) -> State:
        stage = self.program.stages[number]
        if done == 0:
            state = jax.jit(lambda state: self._enter(number, state))(state)
        every = self.spec.evaluate.every
        steps = [step for step in self.spec.schedule.steps for _ in range(step.repeat)]
        chunk = self.compiled.pop(number, None) or self._compile(number)
        while done < stage.updates:
            stop = self._next_stop(done, stage.updates)
            clock = time.perf_counter()
            new, sums, bad, whole = chunk(self.program.numbers, self.data, state, self.roots, done, stop)
            jax.block_until_ready(new)
            seconds = time.perf_counter() - clock
            self._guard(stage, bad, whole, stop, before + done, state, number, done)
            state = new
            self._log(stage, sums, steps[number].actor_every, done, stop, before, seconds)
            done = stop
            if "policy" in stage.learn and (done % every == 0 or done == stage.updates):
                self._score(stage.label, self.program.policy, state.policy, before + done)
            if done == stage.updates:
                self._finish_stage(stage, state, before + done)
            if done % self.spec.train.checkpoint_every == 0 or done == stage.updates:
                self._checkpoint(state, number, done, before + done)
        return state

    def _next_stop(self, done: int, updates: int) -> int:
        marks = (self.spec.train.log_every, self.spec.evaluate.every, self.spec.train.checkpoint_every)
        first = (FIRST,) if done < FIRST else ()
        return min(updates, *first, *(done - done % mark + mark for mark in marks))

    def _guard(self, stage, bad, whole, stop, total, state, number, done) -> None:
        """Stop at the first value that is not finite; the state before the chunk is the last good one."""
        found = [
            (int(index), name, seed)
            for name, column in bad.items()
            for seed, index in enumerate(np.asarray(column))
            if index >= 0
        ]
        found += [
            (stop - 1, "a network or optimiser state", seed) for seed, ok in enumerate(np.asarray(whole)) if not ok
        ]
        if not found:
            return
        index, name, seed = min(found)
        if done > 0:
            self._checkpoint(state, number, done, total)
        raise RunError(
            f"{stage.label}, update {index + 1}, seed {seed}: {name} is not finite. "
            f"The state after update {total} (the last good one) is kept in {self.run.path}/checkpoints. "
            f"Try a smaller learning rate, for example --set optimizer.learning_rate=1e-4"
        )

    def _log(self, stage, sums, actor_every, done, stop, before, seconds) -> None:
        actor_updates = stop // actor_every - done // actor_every
        metrics = {}
        for name, column in sums.items():
            actor = name in ("energy", "distance", "objective") or name.startswith("energy.")
            count = actor_updates if actor else stop - done
            if count:
                metrics[name] = np.asarray(column, np.float64) / count
        rate = (stop - done) / seconds
        for seed in range(self.spec.seeds):
            row = {name: float(values[seed]) for name, values in metrics.items()}
            self.run.append_metrics(seed, stage.label, stop, before + stop, seconds, rate, row)
        means = {name: float(values.mean()) for name, values in metrics.items()}
        self.on_event(Progress(stage.label, stop, stage.updates, before + stop, rate, means))

    def _finish_stage(self, stage: Stage, state: State, total: int) -> None:
        if "behavior" in stage.learn:
            self._score("behavior", self.program.behavior, state.behavior, total)
            self._save("behavior", self.program.behavior, state.behavior)
        if "policy" in stage.learn:
            self._save(stage.label, self.program.policy, state.policy)

    def _save(self, label: str, family, network) -> None:
        saved = SavedPolicy(family, network, self.normalizer, self.dataset.space)
        self.run.save_policy(label, *saved.dump())

    def _score(self, label: str, family, network, total: int) -> None:
        if self.evaluator is None:
            return
        saved = SavedPolicy(family, network, self.normalizer, self.dataset.space)
        act = saved.batched(self.spec.evaluate.action)
        returns = self.evaluator.rollout(act, self.spec.seeds)
        scores = None if self.dataset.reference is None else self.dataset.reference.score(returns)
        self.run.append_returns(label, total, returns)
        self.on_event(Scored(label, total, returns, scores))

    def _checkpoint(self, state: State, number: int, done: int, total: int) -> None:
        leaves, _ = jax.tree_util.tree_flatten_with_path(state)
        arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        self.run.save_checkpoint(total, arrays, {"stage": number, "update": done, "total_update": total})

    def _restore(self) -> tuple[State, int, int]:
        loaded = self.run.load_checkpoint()
        if loaded is None:
            self.run.truncate_after(0)
            return self._fresh(), 0, 0
        arrays, meta = loaded
        leaves, structure = jax.tree_util.tree_flatten_with_path(self._template(meta["stage"]))
        try:
            values = [jnp.asarray(arrays[jax.tree_util.keystr(path)]) for path, _ in leaves]
        except KeyError as error:
            raise RunDirectoryError(
                f"{self.run.path}: the checkpoint lacks {error}; it was made by another spec"
            ) from None
        self.run.truncate_after(meta["total_update"])
        return jax.tree_util.tree_unflatten(structure, values), meta["stage"], meta["update"]


__all__ = ["Event", "Finished", "Normalizer", "Progress", "Scored", "Started", "chunk_function", "train"]
