"""A tracker of one run in a thread of its own: training never waits for it, and what it raises becomes a sentence.

RUN/tracking/KIND.json holds by which id the library knows the run, and how many rows of each table it was told: a run
that goes on is told from there, whatever was cut back to its checkpoint, and no point is there twice; only a process
that is killed may repeat or lose its newest points.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import defaultdict
from queue import SimpleQueue
from typing import NamedTuple

from pogospec.errors import printable
from pogospec.runs import files
from pogospec.tracking.base import AbstractTracker, End, Results, Session, Subject
from pogospec.tracking.points import Point

FOLDER = "tracking"
LONGEST = 300
"""Characters of what is told of an error."""
_STARTING: dict[str, threading.Lock] = defaultdict(threading.Lock)
"""Sessions of one kind begin one after another: libraries make projects and databases then."""


class _Last(NamedTuple):
    end: End
    results: Results | None


class Channel:
    """Takes points, and hands them to a tracker; `trouble` says why it no longer does."""

    def __init__(self, kind: str, tracker: AbstractTracker, subject: Subject):
        self.kind, self.tracker, self.subject = kind, tracker, subject
        self.file = subject.path / FOLDER / f"{kind}.json"
        self.where = self.trouble = ""
        self._alone = _STARTING[kind]
        self._jobs: SimpleQueue[list[Point] | _Last] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"tracking by {kind}", daemon=True)
        try:
            self.thread.start()
        except RuntimeError as error:  # there are too many
            self.trouble = str(error)

    def put(self, points: list[Point]) -> None:
        """Hand points over."""
        self._jobs.put(points)

    def end(self, end: End, results: Results | None) -> None:
        """Hand the table over; nothing comes after."""
        self._jobs.put(_Last(end, results))

    def _work(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # libraries raise SystemExit too
            text = " ".join(str(error).split()) or "no reason given"
            self.trouble = printable(f"{type(error).__name__}: {text}", LONGEST)

    def _serve(self) -> None:
        known, told = self._known()
        with self._alone:
            session = self.tracker.start(self.subject, known)
        self.where = session.where
        self._remember(session, told)
        try:
            job = self._followed(session, told)
        except BaseException:
            with contextlib.suppress(Exception):
                session.finish("failed", None)
            raise
        session.finish(*job)

    def _followed(self, session: Session, told: dict[str, int]) -> _Last:
        """Hand on what comes, up to the end."""
        while not isinstance(job := self._jobs.get(), _Last):
            new = [point for point in job if point.rows > told.get(point.table, 0)]
            for point in new:
                if point.values:
                    session.log(point.step, point.values)
                told[point.table] = point.rows
            if new:
                session.flush()
                self._remember(session, told)
        return job

    def _known(self) -> tuple[str | None, dict[str, int]]:
        """The id and the rows of an earlier session; a file that cannot be read begins anew."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = json.loads(self.file.read_text())
            return str(found["id"]), {str(table): int(rows) for table, rows in found["rows"].items()}
        return None, {}

    def _remember(self, session: Session, told: dict[str, int]) -> None:
        self.file.parent.mkdir(exist_ok=True)
        files.write_json(self.file, {"id": session.id, "rows": told})
