"""The runs that train together in one program, a cell of a sweep each: what is read from and written into each.

Arrays of all runs have a row for each seed of each cell, cell by cell. A cell that fails is left out from then on; its
rows are computed further, and nothing looks at them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.chain import OF, by_actor
from pogospec.compiler.compile import compile_spec
from pogospec.compiler.program import Program, Stage, State
from pogospec.errors import ForeignError, RunDirectoryError
from pogospec.nets import with_products
from pogospec.runs.directory import RunDirectory
from pogospec.runs.saved import SavedPolicy
from pogospec.spec.schema import Spec
from pogospec.training.batching import Batching
from pogospec.training.place import Place
from pogospec.training.watch import Watch
from pogospec.types import Normalizer, Space, Transitions

OF_POLICY = ("energy", "distance", "objective", "dual_loss", "effective_samples", "clipped")
"""Metrics of the policy's updates, which may be fewer than those of the stage."""

LOWER = "Run the spec again with a smaller learning rate, for example --set optimizer.learning_rate=1e-4"
FROM_THE_START = (
    "That is before anything was learned, so look at the numbers that it is made of: Q where the flow starts (start), "
    "the data of a model, rewards, weights and taus of the spec"
)


@dataclass
class Cell:
    """One of the runs; `rows`: its seeds among all."""

    index: int
    spec: Spec
    run: RunDirectory
    program: Program
    watch: Watch
    rows: slice
    failed: bool = False


class Cells:
    """All of them; `space` and `normalizer` are those of their data, which they share, as `held`."""

    def __init__(
        self,
        specs: Sequence[Spec],
        runs: Sequence[RunDirectory],
        space: Space,
        normalizer: Normalizer,
        held: Transitions,
        batching: Batching,
    ):
        self.seeds, self.space, self.normalizer, self.batching = specs[0].seed_count, space, normalizer, batching
        self.all: list[Cell] = []
        for index, (spec, run) in enumerate(zip(specs, runs, strict=True)):
            program = compile_spec(spec, space)
            watch = Watch(spec, program, held, run, batching, self.seeds * len(specs))
            rows = slice(index * self.seeds, (index + 1) * self.seeds)
            self.all.append(Cell(index, spec, run, program, watch, rows))
        self.axis = None if len(self.all) == 1 else 0
        """The axis of the numbers over runs: cells have their own, seeds share them."""

    @property
    def watch(self) -> Watch:
        """What measures all runs at once."""
        return self.all[0].watch

    def going(self) -> list[Cell]:
        """The runs that have not failed."""
        return [cell for cell in self.all if not cell.failed]

    def part(self, tree: Any, cell: Cell) -> Any:
        """The rows of one run."""
        return tree if len(self.all) == 1 else jax.tree.map(lambda leaf: leaf[cell.rows], tree)

    def numbers_of(self, number: int) -> Any:
        """The numbers of a stage; of several cells a row for each run."""
        every = [cell.program.numbers_of(number) for cell in self.all]
        if self.axis is None:
            return self.batching.shared(every[0])
        repeat = lambda *leaves: jnp.repeat(jnp.stack(leaves), self.seeds, axis=0)  # noqa: E731
        return self.batching.own(jax.tree.map(repeat, *every))

    def write_flow(self, stage: Stage, place: Place, found: dict, state: State, accepted=None, only=None) -> None:
        """Write what was measured of the policies."""
        for cell in self.going():
            own = {name: values[cell.rows] for name, values in found.items()}
            cell.watch.write(stage, place.part(cell.rows), own, self.part(state, cell), accepted, only)

    def write_metrics(self, stage: Stage, place: Place, sums, squares, done: int, seconds: float) -> dict[str, float]:
        """Write the metrics of a chunk, from the sums over its updates; their means over all runs."""
        stop, means = place.done, {}
        rate = (stop - done) / seconds
        rows = np.concatenate([np.arange(cell.rows.start, cell.rows.stop) for cell in self.going()])
        for actor, own in by_actor(stage, sums):
            of_policies, metrics = actor.step.policy_updates, {}
            for name, column in own.items():
                of_policy = name in OF_POLICY or name.startswith("energy.")
                count = of_policies(stop) - of_policies(done) if of_policy else stop - done
                if count:
                    metrics[name] = np.asarray(column, np.float64) / count
            if "critic_loss" in metrics:
                square = np.asarray(squares, np.float64) / (stop - done)
                metrics["critic_loss_std"] = np.sqrt(np.maximum(square - metrics["critic_loss"] ** 2, 0.0))
            for cell in self.going():
                for position, seed in enumerate(cell.spec.seed_numbers):
                    row = {name: float(values[cell.rows][position]) for name, values in metrics.items()}
                    cell.run.append_metrics(seed, actor.label, stop, place.total, seconds, rate, row)
            means = {name: float(values[rows].mean()) for name, values in metrics.items()} | means
        return means

    def broken(self, stage: Stage, place: Place, bad: dict, whole: Any, stop: int) -> list[tuple[Cell, str]]:
        """Runs with a value that is not finite, newly found, and what to say of the first of each.

        `place`: where they were before the chunk, which ends at `stop`.
        """
        found = [
            (int(index), name, row)
            for name, column in bad.items()
            for row, index in enumerate(np.asarray(column))
            if index >= 0
        ]
        found += [(stop - 1, "a network or optimiser state", row) for row, ok in enumerate(np.asarray(whole)) if not ok]
        told = []
        for cell in self.going():
            own = [one for one in found if cell.rows.start <= one[2] < cell.rows.stop]
            if own:
                index, name, row = min(own)
                actor, _, name = name.rpartition(OF)
                seed = cell.spec.seed_numbers[row - cell.rows.start]
                where = f"{actor or stage.label}, update {index + 1}, seed {seed}"
                total = max(cell.run.checkpoints(), default=0)
                kept = f" The state after update {total} is kept in {cell.run.path}/checkpoints."
                before = name in ("critic_loss", "behavior_loss") or cell.spec.target is not None
                then = FROM_THE_START if before and not (actor or index or place.total) else LOWER
                told.append((cell, f"{where}: {name} is not finite.{kept if total else ''} {then}"))
        return told

    def _saved(self, label: str, network: Any, cell: Cell) -> SavedPolicy:
        family = cell.program.family(label)
        network = with_products(self.part(network, cell), rounded=False)  # a saved policy acts in full
        network = jax.device_put(network, self.batching.devices[0])
        return SavedPolicy(family, network, self.normalizer, self.space)

    def save(self, label: str, network: Any) -> None:
        """Save the policies of all runs, behavior or those of a step."""
        for cell in self.going():
            cell.run.save_policy(label, *self._saved(label, network, cell).dump())

    def acting(self, label: str, network: Any, action: str) -> Callable:
        """A function (observations [runs, batch, obs], t) -> actions [runs, batch, act], of those that have not failed.

        Each acts as it would alone.
        """
        acts = [_among(self._saved(label, network, cell), cell, action) for cell in self.going()]

        def act(observations, t):
            seeds = self.seeds
            return np.concatenate([one(observations[i * seeds : (i + 1) * seeds], t) for i, one in enumerate(acts)])

        return act

    def write_returns(self, label: str, total: int, returns: np.ndarray, stage: str) -> None:
        """Write raw returns [runs, episodes], of those that have not failed."""
        going = self.going()
        for cell, own in zip(going, np.split(returns, len(going)), strict=True):
            cell.run.append_returns(label, total, own, stage)

    def checkpoint(self, place: Place, state: State, kept: Sequence[int] = ()) -> None:
        """Save the state, of each run what a run alone would save; `kept`: total updates of those that stay."""
        leaves, _ = jax.tree_util.tree_flatten_with_path(state)
        arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        for cell in self.going():
            own = {name: array[cell.rows] for name, array in arrays.items()}
            meta = {"total_update": place.total, "place": place.part(cell.rows).plain()}
            cell.run.save_checkpoint(place.total, own, meta, kept)

    def restore(self) -> tuple[dict[str, np.ndarray], Place] | None:
        """Arrays of the newest whole checkpoint and its place; of several runs, of the newest that all have.

        None where there is none.
        """
        loaded = self._newest()
        if not loaded:
            return None
        try:
            arrays = {name: np.concatenate([own[name] for own, _ in loaded]) for name in loaded[0][0]}
            return arrays, Place.of_parts([Place(**meta["place"]) for _, meta in loaded])
        except (KeyError, TypeError, ValueError) as error:
            raise unfit(self.all[0].run, error) from None

    def truncate_after(self, total: int) -> None:
        """Drop what was written after an update from the files of all runs."""
        for cell in self.all:
            cell.run.truncate_after(total)

    def _newest(self) -> list[tuple[dict[str, np.ndarray], dict[str, Any]]]:
        if len(self.all) == 1:
            loaded = self.all[0].run.load_checkpoint()
            return [] if loaded is None else [loaded]
        common = set.intersection(*(set(cell.run.checkpoints()) for cell in self.all))
        for total in sorted(common, reverse=True):
            try:
                return [cell.run.load_checkpoint_of(total) for cell in self.all]
            except ForeignError:
                raise
            except RunDirectoryError as error:
                self.all[0].run.notes.append(f"{error}; going on from an earlier checkpoint")
        return []


def _among(saved: SavedPolicy, cell: Cell, action: str) -> Callable:
    """How the seeds of a run act; of one whose seeds go to others, as they do among these: samples tell by place."""
    among = cell.run.manifest.get("among")
    if among is None:
        return saved.batched(action)
    own = [among.index(seed) for seed in cell.spec.seed_numbers]
    places = np.array([own.index(place) if place in own else 0 for place in range(len(among))])
    all_of_them = saved._replace(network=jax.tree.map(lambda leaf: leaf[places], saved.network)).batched(action)

    def act(observations, t):
        return all_of_them(observations[places], t)[own]

    return act


def unfit(run: RunDirectory, why: object) -> RunDirectoryError:
    """What to say of a checkpoint that cannot be gone on from."""
    return RunDirectoryError(f"{run.path}: the checkpoint does not fit ({why}); it was made by another spec or version")
