"""Units on an engine: handed over, watched, and handed over again where a worker is lost, until all have ended.

Whoever watches may be killed and begin again: what ended is in the run directories, what is at work in the leases, and
what is queued the engine knows.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pogospec import regular
from pogospec.engines import lease
from pogospec.engines.base import AbstractEngine
from pogospec.engines.unit import Unit
from pogospec.errors import RunDirectoryError, RunError, printable
from pogospec.launch.job import Failure, Job
from pogospec.launch.states import states
from pogospec.launch.view import span
from pogospec.report.reading import final, last_step
from pogospec.runs import files
from pogospec.runs.directory import RunDirectory
from pogospec.terminal import say
from pogospec.training import stop

MOST_LOST = 5
"""Workers that a unit may lose one after another without coming as far as a new checkpoint."""
EVERY, TOLD = 1.0, 60.0
"""Seconds between two looks, and between two lines about all of it."""
IDS = "jobs.json"


@dataclass
class Task:
    """A unit with its jobs, and what is known of it; `id`: by which the engine knows it, while it does."""

    jobs: Sequence[Job]
    unit: Unit
    id: str | None = None
    lost: int = 0
    reached: int = -1
    elsewhere: bool = False

    @property
    def title(self) -> str:
        """What to call it."""
        first = self.jobs[0]
        if not first.document.cell:
            return first.name
        return first.method if len(self.jobs) == 1 else f"{len(self.jobs)} cells, {first.method} and others"


def spread(
    console: Console, engine: AbstractEngine, tasks: Sequence[Task], at_once: int | None = None
) -> list[Failure]:
    """Train units to their ends on an engine that is open; runs that fail are returned, and stop no other.

    `at_once`: the most that are handed over at a time. Raises RunError where workers have other versions, and
    KeyboardInterrupt.
    """
    watch = _Watch(console, engine, tasks, at_once)
    try:
        watch.adopt()
        while watch.open:
            stop.check()
            watch.look()
            if watch.open:
                time.sleep(EVERY)
    except KeyboardInterrupt:
        if engine.lives_on and watch.going():
            told = engine.stopping([task.id for task in watch.going() if task.id is not None])
            say(f"what was handed over goes on; stop it with: {told}", error=True)
        raise
    return watch.failures


class _Watch:
    """Who watches the units of an engine."""

    def __init__(self, console: Console, engine: AbstractEngine, tasks: Sequence[Task], at_once: int | None):
        self.console, self.engine, self.at_once = console, engine, at_once
        self.open, self.count = [*tasks], len(tasks)
        self.failures: list[Failure] = []
        self.told = time.monotonic()

    def going(self) -> list[Task]:
        """Those that the engine has."""
        return [task for task in self.open if task.id is not None]

    def adopt(self) -> None:
        """Find what an earlier command handed over, and is still queued or at work."""
        if not self.engine.lives_on or not self.open:
            return
        try:
            known = dict(files.read_json(self._ids))
        except RunDirectoryError:
            return
        for task in self.open:
            id = known.get(task.unit.name)
            if isinstance(id, str) and self.engine.knows(id):
                task.id = id

    def look(self) -> None:
        """Look at all units once, and hand over what nobody has."""
        free = []
        for task in [*self.open]:
            if task.id is not None:
                self._look_at(task)
            if task in self.open and task.id is None and not self._elsewhere(task):
                free.append(task)
        room = len(free) if self.at_once is None else max(self.at_once - len(self.going()), 0)
        self._submit(free[:room])
        if time.monotonic() - self.told > TOLD:
            self._tell()

    def _submit(self, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        for task in tasks:
            with contextlib.suppress(FileNotFoundError):  # of an earlier worker
                task.unit.lease.unlink()
        for task, id in zip(tasks, self.engine.submit([task.unit for task in tasks]), strict=True):
            task.id = id
        if self.engine.lives_on:
            files.write_json(self._ids, {task.unit.name: task.id for task in self.going()})

    @property
    def _ids(self) -> Path:
        return self.open[0].unit.file.with_name(IDS)

    def _look_at(self, task: Task) -> None:
        """Whether a unit that the engine has is over, one way or the other."""
        assert task.id is not None
        ended = self.engine.ended(task.id)
        if ended is None and not self.engine.lives_on:
            return
        found = lease.read(task.unit.lease)
        if found is not None and found.over:
            self._settle(task, found.about)
        elif ended is not None:
            id, task.id = task.id, None
            if all(
                not state.left for state in states(task.jobs)
            ):  # its worker was killed as it said so, or told another's
                self._settle(task, {})
            elif found is None or found.about.get("job") == id or not found.live:
                self._lost(task, ended)

    def _elsewhere(self, task: Task) -> bool:
        """Whether a worker is at work that the engine does not know, of an earlier command or of another engine."""
        found = lease.read(task.unit.lease)
        live = found is not None and found.live
        if found is not None and live and not task.elsewhere:
            self._say(f"{task.title}: is trained already, on {_where(found.about)}")
        if task.elsewhere and not live and all(not state.left for state in states(task.jobs)):
            self._settle(task, {} if found is None else found.about)
            return True
        task.elsewhere = live
        return live

    def _settle(self, task: Task, about: dict[str, Any]) -> None:
        """Take a unit for ended, and say how."""
        if about.get("state") == "refused":
            self.engine.cancel([one.id for one in self.going() if one.id is not None])
            raise RunError(f"nothing is trained: {about.get('message')}")
        self.open.remove(task)
        told: dict[str, str] = about.get("failures") or {}
        place = f"[{self.count - len(self.open)}/{self.count}]"
        for job in task.jobs:
            if job.path.name in told:
                self._fail(job, printable(told[job.path.name]), place)
        good = [job for job in task.jobs if job.path.name not in told]
        if good:
            took = f" in {span(about['seconds'])}" if "seconds" in about else ""
            on = f" on {_where(about)}" if "host" in about else ""
            self._say(f"{place} {task.title}: done{on}{took}{_score(good)}")

    def _fail(self, job: Job, message: str, place: str) -> None:
        self.failures.append(Failure(job, message))
        name = job.name if not job.document.cell else job.method
        self.console.print(
            f"{place} {name} failed: {message}", style="red", highlight=False, markup=False, soft_wrap=True
        )

    def _lost(self, task: Task, why: str) -> None:
        """Have a unit go on from its newest checkpoint, unless it never comes any further."""
        reached = sum(_reached(job) for job in task.jobs)
        task.lost = 1 if reached > task.reached else task.lost + 1
        task.reached = max(reached, task.reached)
        if task.lost < MOST_LOST:
            self._say(f"{task.title}: its worker was lost ({why}); goes on from {reached:,} updates")
            return
        self.open.remove(task)
        last = _last_line(task.unit.log)
        message = f"{MOST_LOST} workers were lost without coming further than {reached:,} updates ({why}); {last}"
        for job in task.jobs:
            self._fail(job, message, f"[{self.count - len(self.open)}/{self.count}]")

    def _tell(self) -> None:
        """A line about all of it."""
        self.told = time.monotonic()
        found = [(task, lease.read(task.unit.lease)) for task in self.open]
        at_work = [one.about for _, one in found if one is not None and one.state == "running"]
        rate = sum(float(about.get("rate") or 0.0) for about in at_work)
        left = sum(job.updates - _status(job) for task in self.open for job in task.jobs)
        time_left = f", about {span(left / rate)} left" if rate else ""
        over = self.count - len(self.open)
        waiting = len(self.open) - len(at_work)
        self._say(
            f"{over} of {self.count} over, {len(at_work)} at work ({rate:,.0f} updates/s), {waiting} wait{time_left}"
        )

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _where(about: dict[str, Any]) -> str:
    """The machine of a worker, and as what the engine knows it."""
    job = f" ({about.get('engine')} {about['job']})" if about.get("job") else ""
    return f"{about.get('host')}{job}"


def _score(jobs: Iterable[Job]) -> str:
    """The score of the last step, of a run alone."""
    found = [*jobs]
    if len(found) > 1:
        return ""
    cells = final(RunDirectory.open(found[0].path))
    label = last_step(cells)
    return "" if label is None else f", {label} {cells[label]}"


def _reached(job: Job) -> int:
    """Updates of the newest checkpoint; of a run that is done all."""
    return max(RunDirectory(job.path).checkpoints(), default=0) if job.begun else 0


def _status(job: Job) -> int:
    try:
        return RunDirectory(job.path).status()["update"] if job.begun else 0
    except RunDirectoryError:
        return 0


def _last_line(log: Path) -> str:
    """The last line that a worker printed."""
    try:
        lines = regular.read(log).decode(errors="replace").split("\n")
    except OSError:
        return f"see {log}"
    said = [line.strip() for line in lines if line.strip() and not line.startswith("--- ")]
    return printable(f"{log} ends: {said[-1]}", 400) if said else f"{log} says nothing"
