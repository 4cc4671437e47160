"""Suites and sweeps on an engine: their runs as units, in the order in which they may begin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pogospec.engines.base import AbstractEngine
from pogospec.engines.unit import UNITS
from pogospec.launch import units
from pogospec.launch.branches import trunks_of
from pogospec.launch.forecast import Forecast
from pogospec.launch.grid import record
from pogospec.launch.job import Failure, Job
from pogospec.launch.resources import asked
from pogospec.launch.spread import Task, spread
from pogospec.launch.states import State, states
from pogospec.launch.sweep import apart, groups_of, lost_with
from pogospec.spec.suite import ResourcesSpec


class Remote:
    """An engine that trains the runs of a folder; entered and left around them. Raises UsageError where it cannot."""

    def __init__(
        self,
        console: Console,
        engine: AbstractEngine,
        folder: Path,
        device: str | None,
        resources: ResourcesSpec | None = None,
    ):
        self.console, self.engine, self.folder, self.device, self.resources = console, engine, folder, device, resources

    def __enter__(self) -> Remote:
        self.size = self.engine.open((self.folder / UNITS).absolute())
        return self

    def __exit__(self, *error: object) -> None:
        self.engine.close()

    def suite(self, jobs: Sequence[Job], found: Sequence[State], forecast: Forecast) -> list[Failure]:
        """Train the runs of a suite that are not done, each a unit; those that fail are returned."""
        todo = [([job], [0]) for job, state in zip(jobs, found, strict=True) if state.left]
        return self._train(todo, forecast)

    def sweep(self, jobs: Sequence[Job]) -> list[Failure]:
        """Train the cells of a sweep that are not done, those of one program a unit; first what branches share."""
        todo = {job.path: state.word for job, state in zip(jobs, states(jobs), strict=True) if state.left}
        record(jobs, self.folder)
        forecast = Forecast(self.folder, jobs)
        failures = self._trunks([job for job in jobs if todo.get(job.path) == "missing"], forecast)
        lost = {failure.job.path for failure in failures}
        numbers = {job.path: number for number, job in enumerate(jobs)}
        left = apart([job for job in jobs if job.path in todo and job.path not in lost], todo)
        return failures + self._train([(group, [numbers[job.path] for job in group]) for group in left], forecast)

    def _trunks(self, jobs: Sequence[Job], forecast: Forecast) -> list[Failure]:
        trunks = [*trunks_of(jobs).values()]
        begun = zip(trunks, states(trunks), strict=True)
        groups = groups_of([job for job, state in begun if state.left])
        failures = self._train([(group, [0] * len(group)) for group in groups], forecast)
        return lost_with({failure.job.path: failure.message for failure in failures}, jobs)

    def _train(self, groups: Sequence[tuple[Sequence[Job], Sequence[int]]], forecast: Forecast) -> list[Failure]:
        tasks = []
        for group, numbers in groups:
            job = group[0]._replace(path=group[0].path.absolute())
            wanted = asked(group, forecast, self.resources, self.size, self.device)
            tasks.append(Task(group, units.write([job, *group[1:]], numbers, wanted, self.device)))
        at_once = None if self.resources is None else self.resources.at_once
        return spread(self.console, self.engine, tasks, at_once)
