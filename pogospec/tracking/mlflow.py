"""MLflow: where `MLFLOW_TRACKING_URI` points, a server or a file; by default mlflow.db in the working directory."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import ClassVar

from pogospec.extras import Needs
from pogospec.spec.sweep import leaves
from pogospec.tracking.base import End, ProjectTracker, Results, Session, Subject, library

ENDS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
PARAMETERS, LONGEST, METRICS = 100, 500, 1000
"""What the server takes at once: parameters, characters of one, numbers."""


class _Session(Session):
    """A run of the experiment; parameters are the values of the spec, which is an artifact too."""

    def __init__(self, project: str, subject: Subject, known: str | None):
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.entities, self.client = library("mlflow.entities"), library("mlflow").MlflowClient()
        if known is None:
            self.id = self._new(project, subject)
        else:
            self.id = known
            self.client.update_run(known, status="RUNNING")
        self.where = f"run {self.id} of experiment {project}"

    def _new(self, project: str, subject: Subject) -> str:
        make = self.entities
        found = self.client.get_experiment_by_name(project)
        experiment = self.client.create_experiment(project) if found is None else found.experiment_id
        facts = {key: str(value) for key, value in subject.facts.items() if isinstance(value, (str, int, float))}
        tags = facts | ({} if subject.group is None else {"group": subject.group})
        run = self.client.create_run(experiment, run_name=subject.name).info.run_id
        self.client.log_batch(run, tags=[make.RunTag(_name(key), value[:LONGEST]) for key, value in tags.items()])
        parameters = [make.Param(_name(path), str(value)[:LONGEST]) for path, value in leaves(subject.spec, "")]
        for first in range(0, len(parameters), PARAMETERS):
            self.client.log_batch(run, params=parameters[first : first + PARAMETERS])
        self.client.log_artifact(run, str(subject.file))
        return run

    def log(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one moment, at once."""
        now = int(1000 * time.time())
        metrics = [self.entities.Metric(_name(name), value, now, step) for name, value in values.items()]
        for first in range(0, len(metrics), METRICS):
            self.client.log_batch(self.id, metrics=metrics[first : first + METRICS])

    def flush(self) -> None:
        """The store has it already."""

    def finish(self, end: End, results: Results | None) -> None:
        """The table is an artifact."""
        if results is not None:
            self.client.log_text(self.id, results.markdown(), "results.md")
        self.client.set_terminated(self.id, ENDS[end])


@dataclass(frozen=True)
class MLflow(ProjectTracker):
    """MLflow; where it writes comes from its variables, such as MLFLOW_TRACKING_URI=sqlite:///mlflow.db."""

    needs: ClassVar[tuple[Needs, ...]] = (Needs("mlflow", "mlflow"),)
    session = _Session


def _name(text: str) -> str:
    """A name that MLflow takes: letters, digits, and some signs."""
    return re.sub(r"[^\w\-./ ]", "_", text)
