"""The folder of a search: what it looks for, its trials and their claims, shared by processes and by commands in turn.

search.json      the spec, its ranges and how it is searched: a search of others is refused
search.journal   the trials, as Optuna's JournalStorage has them
trial-0000, …    a run directory for each
best.yaml        the spec of the best trial, whole; results.json, expected-best.png: what was found, and at which cost
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pogospec.data import kept
from pogospec.errors import RunDirectoryError, UsageError, reason
from pogospec.offline.settings import Settings
from pogospec.runs import files
from pogospec.spec.build import decisive
from pogospec.spec.schema import Spec
from pogospec.spec.sweep import leaves, value_text
from pogospec.spec.tune import Range, grid_size
from pogospec.training import stop
from pogospec.tuning.engine import Engine, Pruner, Sampler
from pogospec.tuning.score import By

FILE, JOURNAL = "search.json", "search.journal"
OPEN = ("WAITING", "RUNNING")


class Plan(NamedTuple):
    """What is searched, and how."""

    spec: Spec
    ranges: dict[str, Range]
    by: By
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    seed: int = 0
    fqe_updates: int | None = None
    fqe_hidden: tuple[int, ...] | None = None

    @property
    def maximize(self) -> bool:
        """Whether a high score is a good one."""
        return self.by != "energy"

    def most(self, trials: int | None) -> int:
        """How many trials there are to be: 20 unless it is said, of a grid all and never more."""
        cells = grid_size(self.ranges)
        if self.sampler == "grid":
            return cells if trials is None else min(trials, cells)
        return DEFAULT if trials is None else trials

    @property
    def critics(self) -> Settings:
        """How fitted Q evaluation fits its critics."""
        asked = {"updates": self.fqe_updates, "hidden": self.fqe_hidden}
        return Settings(**{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]

    def plain(self) -> dict[str, Any]:
        """As plain data, by which searches are told apart."""
        ranges = {path: one.plain for path, one in self.ranges.items()}
        how = {"by": self.by, "sampler": self.sampler, "pruner": self.pruner, "seed": self.seed}
        how |= {} if self.fqe_updates is None else {"fqe_updates": self.fqe_updates}
        how |= {} if self.fqe_hidden is None else {"fqe_hidden": list(self.fqe_hidden)}
        whole = {"spec": decisive(kept(self.spec)), "tune": ranges, **how}
        return json.loads(json.dumps(whole))


DEFAULT = 20
"""Trials where nobody says how many."""


class Search:
    """The trials of one plan in one folder."""

    def __init__(self, plan: Plan, folder: Path):
        """Begin a search, or go on with it; raises RunDirectoryError where the folder is of something else."""
        self.plan, self.folder = plan, folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot be made: {reason(error)}; choose another --out") from None
        with self.alone():
            _same(plan, folder)
            evaluations = _evaluations(plan.spec)
            place = folder / JOURNAL
            self.engine = Engine(
                place, plan.ranges, plan.sampler, plan.pruner, plan.seed, evaluations, plan.maximize
            )  # fmt: skip

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from taking trials or writing results meanwhile."""
        with files.locked(self.folder, wait=True):
            yield

    def path(self, number: int) -> Path:
        """The run directory of a trial."""
        return self.folder / f"trial-{number:04d}"

    @contextlib.contextmanager
    def claimed(self, most: int) -> Iterator[int | None]:
        """A trial that this process is to run: one that was stopped, or a new one while there are fewer than `most`.

        None where there is none. No other process has it meanwhile.
        """
        with contextlib.ExitStack() as held:
            with stop.held(), self.alone():
                number = self._stopped(held)
                if number is not None:
                    self.engine.complete(number)
                elif len(self.engine.trials()) < most:
                    number = self.engine.ask()
                    if number is not None:
                        self._claim(number, held)
            stop.check()
            yield number

    def _stopped(self, held: contextlib.ExitStack) -> int | None:
        """The first trial that has not ended and that nobody runs, claimed; None where there is none."""
        for trial in self.engine.trials():
            if trial.state.name in OPEN:
                try:
                    self._claim(trial.number, held)
                except RunDirectoryError:
                    continue
                return trial.number
        return None

    def _claim(self, number: int, held: contextlib.ExitStack) -> None:
        place = self.folder / ".claims" / f"{number:04d}"
        place.mkdir(parents=True, exist_ok=True)
        held.enter_context(files.locked(place))


def _evaluations(spec: Spec) -> int:
    """Evaluations of a whole run, at least one a step."""
    return sum(-(-step.updates // spec.evaluate.every) * step.solves for step in spec.schedule.in_turn)


def _same(plan: Plan, folder: Path) -> None:
    """Write down what is searched; raises RunDirectoryError where the folder holds something else."""
    file, now = folder / FILE, plan.plain()
    if not os.path.lexists(file):
        others = sorted(entry.name for entry in folder.iterdir() if entry.name != ".lock")
        if others and others != [f"{FILE}.part"]:
            raise RunDirectoryError(f"{folder} exists and holds no search; choose another --out")
        files.write_json(file, now)
        return
    before = dict(files.read_json(file))
    one, two = (dict(leaves(content, "")) for content in (before, now))
    changes = [path for path in {**one, **two} if one.get(path) != two.get(path)]
    if changes:
        told = [f"{path.removeprefix('spec.')} {_text(one, path)}, now {_text(two, path)}" for path in changes[:3]]
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise RunDirectoryError(
            f"{folder} holds another search: {'; '.join(told)}{more}; choose another --out, or remove it"
        )


def _text(content: Mapping[str, Any], path: str) -> str:
    return value_text(content[path]) if path in content else "not there"
