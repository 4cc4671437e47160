"""Trackio: a database in the user's cache, or in `TRACKIO_DIR`; `trackio show` is its dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pogospec.extras import Needs
from pogospec.tracking.base import End, ProjectTracker, Results, Session, Subject, library


class _Session(Session):
    """A run of the project; its config is the spec, which is a text too."""

    def __init__(self, project: str, subject: Subject, known: str | None):
        module = library("trackio.run")
        module.print = _silent  # what it prints would be taken for output of the command
        self.markdown, self.step = library("trackio.markdown").Markdown, 0
        names = {"name": subject.name, "group": subject.group}
        config = subject.spec | {"facts": subject.facts}
        self.run: Any = module.Run(url=None, client=None, project=project, run_id=known, config=config, **names)
        self.id, self.where = self.run.id, f"trackio show --project {project}"
        if known is None:
            self.run.log({"spec": self.markdown(f"```yaml\n{subject.file.read_text()}\n```")}, step=0)

    def log(self, step: int, values: dict[str, float]) -> None:
        """A row; the library writes rows twice a second."""
        self.step = step
        self.run.log(values, step=step)

    def flush(self) -> None:
        """A thread of the library does it."""

    def finish(self, end: End, results: Results | None) -> None:
        """The table is a text."""
        if results is not None:
            self.run.log({"results": self.markdown(results.markdown())}, step=self.step)
        self.run.finish()


@dataclass(frozen=True)
class Trackio(ProjectTracker):
    """Trackio: a local database, without a server; `trackio show` is its dashboard."""

    needs: ClassVar[tuple[Needs, ...]] = (Needs("trackio", "trackio"),)
    session = _Session


def _silent(*_: Any, **__: Any) -> None:
    pass
