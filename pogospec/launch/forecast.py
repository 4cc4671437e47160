"""How long the runs of a suite take: estimates, and what was measured beside them.

times.csv in the folder of the suite has a row a stretch of updates that was run: the run, its first and last update,
and seconds of wall time, rollouts and compiling among them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from pogospec.data import load_for
from pogospec.errors import DataError
from pogospec.explain import known_space, matrix_rate, operations, stage_seconds
from pogospec.launch.compiling import expected, shape_of
from pogospec.launch.job import Job
from pogospec.spec.build import to_plain
from pogospec.types import Space

TIMES = "times.csv"
LEAST = 0.1
"""Share of a run that is taken for a measurement."""


class Forecast:
    """Seconds that runs take: estimates from operations, by the ratio of what took place here to its estimate."""

    def __init__(self, folder: Path, jobs: Sequence[Job]):
        self.file = folder / TIMES
        self.counts: dict[str, list[float]] = {}
        self.stages: dict[Path, list[tuple[int, float]] | None] = {}
        self.spaces: dict[Path, Space] = {}
        self.rate = matrix_rate()
        self.measured: dict[str, tuple[float, float]] = {}
        self._read(jobs)

    def _read(self, jobs: Sequence[Job]) -> None:
        """Take in what was measured before; a row cut short is left out."""
        names = {job.path.name: job for job in jobs}
        try:
            with self.file.open(newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))
        except OSError:
            return
        for row in rows:
            if len(row) == 4 and row[0] in names:
                try:
                    self.learn(names[row[0]], int(row[1]), int(row[2]), float(row[3]))
                except ValueError:
                    continue

    def learn(self, job: Job, first: int, last: int, seconds: float) -> None:
        """Take in a stretch of updates that was run; a short one, mostly compiling, says nothing."""
        early, late = self.estimate(job, first), self.estimate(job, last)
        if early is None or late is None or last - first < LEAST * job.updates:
            return
        for key in ("", job.method):
            taken, estimated = self.measured.get(key, (0.0, 0.0))
            self.measured[key] = taken + seconds, estimated + early - late

    def note(self, job: Job, first: int, last: int, seconds: float) -> None:
        """Take in a stretch of updates, and write it down."""
        with self.file.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([job.path.name, first, last, f"{seconds:.1f}"])
        self.learn(job, first, last, seconds)

    def left(self, job: Job, update: int = 0) -> float | None:
        """Seconds from an update to the end of a run; None where the sizes of its task are unknown.

        Before anything was measured here, with what compiling took other runs on this machine, where that is known.
        """
        estimate, measured = self.estimate(job, update), self.measured.get(job.method) or self.measured.get("")
        if estimate is None:
            return None
        if measured is None:
            return estimate + (self.compiling(job) or 0.0)
        return estimate * measured[0] / measured[1]

    def compiling(self, job: Job) -> float | None:
        """Seconds that a run will compile, by other runs on this machine; None where there were none."""
        space = self.space(job)
        return None if space is None else expected(job.spec, space)

    def estimate(self, job: Job, update: int) -> float | None:
        """The same from operations alone."""
        if job.path not in self.stages:
            self.stages[job.path] = self._stages(job)
        stages, total = self.stages[job.path], 0.0
        if stages is None:
            return None
        for updates, each in stages:
            total += max(updates - update, 0) * each
            update = max(update - updates, 0)
        return total

    def space(self, job: Job) -> Space | None:
        """Sizes of the task of a run; None where they are unknown, since its data are not at hand."""
        if job.path not in self.spaces:
            space = known_space(job.dataset) if job.spec.target is None else None
            if space is None:
                try:
                    space = load_for(job.spec).space
                except DataError:
                    return None
            self.spaces[job.path] = space
        return self.spaces[job.path]

    def _stages(self, job: Job) -> list[tuple[int, float]] | None:
        space = self.space(job)
        if space is None:
            return None
        key = json.dumps([shape_of(to_plain(job.spec)), space.obs_dim, space.act_dim])
        if key not in self.counts:
            self.counts[key] = operations(job.spec, space)
        return stage_seconds(job.spec, self.counts[key], self.rate)
