"""Weights & Biases: its server, and files in the run directory; `WANDB_MODE=offline` leaves the server out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pogospec.extras import Needs
from pogospec.tracking.base import End, ProjectTracker, Results, Session, Subject, library

CODES = {"done": 0, "failed": 1, "interrupted": 255}
"""What a run ends with there; 255 is that of a run that was killed."""
UPDATES, SECONDS = "updates", 50.0
"""The axis of all numbers; for how long the server is waited for at the beginning and at the end."""


class _Session(Session):
    """A run of the project, beside others of this process; its config is the spec."""

    def __init__(self, project: str, subject: Subject, known: str | None):
        wandb = library("wandb")
        offline = wandb.setup().settings.mode in ("offline", "disabled", "dryrun")
        if not offline and not wandb.login(prompt=False, verify=False):  # init would ask, in the middle of the run
            raise PermissionError("it has no key; `wandb login` takes one, WANDB_MODE=offline needs none")
        subject.folder.mkdir(parents=True, exist_ok=True)
        self.run: Any = wandb.init(
            project=project,
            name=subject.name,
            group=subject.group,
            config=subject.spec | {"facts": subject.facts},
            dir=str(subject.folder),
            id=known,
            resume=None if known is None else "allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True, console="off", finish_timeout=SECONDS, finish_timeout_raises=True, init_timeout=SECONDS
            ),
        )
        self.id = self.run.id
        self.where = self.run.url or f"wandb sync {shlex.quote(str(Path(self.run.dir).parent))}"
        self.run.define_metric(UPDATES, hidden=True)
        self.run.define_metric("*", step_metric=UPDATES)
        if known is None:
            self.run.save(str(subject.file), base_path=str(subject.path), policy="now")

    def log(self, step: int, values: dict[str, float]) -> None:
        """A row, whose axis is the updates: rows of one moment need not come together, nor in order."""
        self.run.log({UPDATES: step, **values})

    def flush(self) -> None:
        """A process of the library has it already."""

    def finish(self, end: End, results: Results | None) -> None:
        """The table, and the summary of it."""
        if results is not None:
            rows = [[None if value == "" else value for value in row] for row in results.rows]
            self.run.log({"results": library("wandb").Table(columns=results.columns, data=rows)})
        self.run.finish(exit_code=CODES[end])


@dataclass(frozen=True)
class WandB(ProjectTracker):
    """Weights & Biases; key, server and mode come from `wandb login` and its variables, such as WANDB_MODE=offline."""

    needs: ClassVar[tuple[Needs, ...]] = (Needs("wandb", "wandb"),)
    session = _Session
