"""The trackers of runs that train together: they are told what the runs write, and never end one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

from pogospec import registry
from pogospec.errors import printable
from pogospec.report.reading import PLAN
from pogospec.runs.directory import RunDirectory
from pogospec.spec.build import to_plain
from pogospec.spec.schema import Spec
from pogospec.tracking.base import End, Subject
from pogospec.tracking.channel import FOLDER, Channel
from pogospec.tracking.points import Tables, results
from pogospec.training.events import Event, Failed, Finished, Noted, Progress, Scored

FOLDERS = (PLAN, "sweep.json")
"""What the folders of suites and sweeps hold."""
SECONDS, FEWER = 60.0, 10.0
"""For which trackers are waited at the end of a run, and of one that was stopped."""


class Tracking:
    """Hears the events of runs that train together; entered before the first of them, left after the last.

    `tell` hears of trackers that fail, each once, and where a person finds what the others took.
    """

    def __init__(self, specs: Sequence[Spec], runs: Sequence[RunDirectory], tell: Callable[[Event], Any]):
        self.specs, self.runs, self.tell = specs, runs, tell
        self.going: dict[int, tuple[Tables, list[Channel]]] = {}
        self.closing: list[Channel] = []

    def __enter__(self) -> Tracking:
        for number, (spec, run) in enumerate(zip(self.specs, self.runs, strict=True)):
            if spec.train.track:
                self.going[number] = Tables(run), [_channel(tracker, spec, run) for tracker in spec.train.track]
        return self

    def __call__(self, event: Event) -> None:
        """Tell the trackers what was written."""
        if isinstance(event, Failed) and event.index in self.going:
            self._end(event.index, "failed")
        elif isinstance(event, (Progress, Scored, Finished)):
            for number in list(self.going):
                self._send(number)
        self._troubles()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        for number in list(self.going):
            self._end(number, "done" if kind is None else "interrupted" if stopped else "failed")
        deadline = time.monotonic() + (FEWER if stopped else SECONDS)
        for channel in self.closing:
            while channel.thread.is_alive() and time.monotonic() < deadline:
                channel.thread.join(0.2)
            if channel.thread.is_alive():
                channel.trouble = f"has not taken everything within {FEWER if stopped else SECONDS:.0f} s"
        told = [channel for channel in self.closing if not channel.trouble and channel.where]
        self._troubles()
        if len(self.runs) == 1:
            for channel in told:
                self.tell(Noted(f"{channel.kind}: {channel.where}"))

    def _send(self, number: int) -> None:
        tables, channels = self.going[number]
        try:
            points = tables.new()
        except Exception as error:  # training goes on, whatever became of the files
            for channel in channels:
                channel.trouble = printable(f"the tables cannot be read ({error})", 300)
            return
        for channel in channels if points else ():
            channel.put(points)

    def _end(self, number: int, end: End) -> None:
        self._send(number)
        _, channels = self.going.pop(number)
        try:
            table = results(self.runs[number]) if end == "done" else None
        except Exception:  # it is missing there, and in the directory
            table = None
        for channel in channels:
            channel.end(end, table)
        self.closing += channels

    def _troubles(self) -> None:
        """Say what has failed, and drop it."""
        for _, channels in self.going.values():
            for channel in [one for one in channels if one.trouble]:
                self._drop(channel, channels, going=True)
        for channel in [one for one in self.closing if one.trouble]:
            self._drop(channel, self.closing, going=False)

    def _drop(self, channel: Channel, among: list[Channel], going: bool) -> None:
        among.remove(channel)
        if going:
            channel.end("failed", None)
        which = f" of {channel.subject.name}" if len(self.runs) > 1 else ""
        then = "the run goes on without it" if going else "the run directory has all of it"
        self.tell(Noted(f"tracking{which} by {channel.kind} failed: {channel.trouble}; {then}"))


def _channel(tracker: Any, spec: Spec, run: RunDirectory) -> Channel:
    kind, path = registry.kind_of("tracker", type(tracker)), run.path.resolve()
    group = path.parent.name if any((path.parent / name).is_file() for name in FOLDERS) else None
    folder = path / FOLDER / kind
    return Channel(
        kind,
        tracker,
        Subject(path, folder, path.name, group, run.manifest, to_plain(spec), path / "spec.yaml"),
    )


def tell_anew(run: RunDirectory, spec: Spec, tell: Callable[[Event], Any]) -> None:
    """Tell the trackers of a spec all of a run that is over, as a run of its own."""
    shutil.rmtree(run.path / FOLDER, ignore_errors=True)
    with Tracking([spec], [run], tell) as tracking:
        tracking(Finished())
