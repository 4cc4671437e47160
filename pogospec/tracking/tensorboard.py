"""TensorBoard: event files in the run directory, so that `tensorboard --logdir FOLDER` shows all runs of a folder."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from pogospec.extras import Needs
from pogospec.tracking.base import AbstractTracker, End, Results, Session, Subject, library


@dataclass(frozen=True)
class TensorBoard(AbstractTracker):
    """TensorBoard: event files in the run directory; it needs no server and no network."""

    needs: ClassVar[tuple[Needs, ...]] = (Needs("tensorboard", "tensorboard"),)

    def start(self, subject: Subject, known: str | None) -> Session:
        """A file of its own in the folder of the run; the spec is a text."""
        return _Session(subject, known is None)


class _Session(Session):
    def __init__(self, subject: Subject, new: bool):
        writing = library("tensorboard.summary.writer.event_file_writer")
        summaries, events = (library(f"tensorboard.compat.proto.{name}_pb2") for name in ("summary", "event"))
        self.Summary, self.Event = summaries.Summary, events.Event
        self.id, self.where = str(subject.folder), f"tensorboard --logdir {shlex.quote(str(subject.path))}"
        self.writer, self.step = writing.EventFileWriter(self.id), 0
        if new:
            self._text("spec", f"```yaml\n{subject.file.read_text()}\n```", 0)

    def log(self, step: int, values: dict[str, float]) -> None:
        """One event of plain scalars."""
        self.step, summary = step, self.Summary
        self._add(summary(value=[summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]), step)

    def flush(self) -> None:
        """Write to the file."""
        self.writer.flush()

    def finish(self, end: End, results: Results | None) -> None:
        """The table is a text."""
        if results is not None:
            self._text("results", results.markdown(), self.step)
        self.writer.close()

    def _text(self, tag: str, text: str, step: int) -> None:
        self._add(library("tensorboard.plugins.text.summary_v2").text_pb(tag, text), step)

    def _add(self, summary: Any, step: int) -> None:
        self.writer.add_event(self.Event(wall_time=time.time(), step=step, summary=summary))
