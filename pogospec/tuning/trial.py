"""One trial: the spec with its values, trained as any run is, scored, and told to the study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console

from pogospec.checking.check import checked, located
from pogospec.data import load_for
from pogospec.errors import RunDirectoryError, RunError, SpecError
from pogospec.launch import local
from pogospec.launch.job import Job
from pogospec.launch.record import begin, check_data
from pogospec.launch.view import View
from pogospec.runs.columns import LAST
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import Document, Override
from pogospec.spec.schema import DataSpec, Spec
from pogospec.spec.sweep import cell_title
from pogospec.spec.yaml import Node
from pogospec.training import events, stop
from pogospec.tuning.score import Found, score, spent
from pogospec.tuning.search import Search
from pogospec.types import Dataset

KEEP = 20
"""Trials after which compiled programs are forgotten, which would fill the memory."""
Read = Callable[[Sequence[Override]], Document]
"""Reads the spec with values at paths, as a sweep has them."""


class Watched:
    """The live view of a trial, which also tells the study of every evaluation, and ends a run that falls behind."""

    def __init__(self, view: View, run: RunDirectory, report: Callable[[float, int], bool]):
        self.view, self.run, self.report, self.total = view, run, report, 0

    def __enter__(self) -> Watched:
        self.view.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.view.__exit__(*error)

    def __call__(self, event: events.Event) -> None:
        """Take one event."""
        self.view(event)
        if isinstance(event, events.Started):
            self.total = event.total_updates
        elif isinstance(event, events.Scored) and event.policy != "behavior" and not event.policy.endswith(LAST):
            values = event.returns if event.scores is None else event.scores
            behind = self.report(float(np.mean(values)), self._number(event.total_done))
            if behind and event.total_done < self.total:
                raise local.Halted("stopped by the search, for its evaluations fell behind")

    def _number(self, total: int) -> int:
        """Which evaluation this is, from 1: those of a run that was interrupted count."""
        rows = self.run.read("returns.csv")
        return 1 + len({row["total_update"] for row in rows if row["policy"] != "behavior"} - {str(total)})


class Trials:
    """Runs the trials of a search, one after another."""

    def __init__(self, console: Console, search: Search, read: Read, device: str):
        self.console, self.search, self.read, self.device = console, search, read, device
        self.data: dict[DataSpec, Dataset] = {}
        self.count = 0

    def run(self, number: int, most: int) -> None:
        """Train what is left of a trial, score it and tell the study.

        One that fails is told as such, and stops no other. Raises RunError where a disk is full, DataError and
        RunDirectoryError where files are not as they were, and KeyboardInterrupt; the trial goes on with the search.
        """
        search = self.search
        values = search.engine.values(search.engine.trials()[number])
        self.console.print(f"[{number + 1}/{most}] {cell_title(values)}", style="bold", highlight=False, markup=False)
        state, value, about = self._ended(number, values)
        with stop.held():
            search.engine.tell(number, value, state, about)
        stop.check()
        what = f"{about['unit']} {value:.4g}" if value is not None else about["message"]
        what += f"; {about['episodes']:,} episodes rolled out" if about["episodes"] else ""
        self.console.print(f"      {what}", highlight=False, markup=False, soft_wrap=True)
        self.count += 1
        if self.count % KEEP == 0:
            jax.clear_caches()

    def _ended(self, number: int, values: dict[str, Any]) -> tuple[str, float | None, dict[str, Any]]:
        """How a trial ends: its state, its score, and what is kept of it."""
        path = self.search.path(number)
        try:
            document = self.document(values)
            found = self._scored(number, document, checked(document))
        except local.Halted as halted:
            policies, episodes = spent(RunDirectory.open(path))
            return "pruned", None, {"message": str(halted), "policies": policies, "episodes": episodes}
        except SpecError as error:
            told = "; ".join(problem.message for problem in error.problems[:2])
            return "fail", None, {"message": told, "policies": 0, "episodes": 0}
        except RunError as error:
            if stop.asked() or isinstance(error, RunDirectoryError) or isinstance(error.__context__, OSError):
                raise
            policies, episodes = spent(RunDirectory.open(path)) if (path / "manifest.json").is_file() else (0, 0)
            return "fail", None, {"message": str(error), "policies": policies, "episodes": episodes}
        return "complete", float(found.scores.mean()), found.plain()

    def document(self, values: dict[str, Any]) -> Document:
        """The spec with the values of a trial."""
        given: list[Override] = []
        for path, value in values.items():
            node = self.search.plan.ranges[path].node_of(value)
            given.append((path, Node([node], node.origin, None, path)))
        return self.read(given)

    def _scored(self, number: int, document: Document, spec: Spec) -> Found:
        """Train what is left of a run, and score it."""
        plan = self.search.plan
        job = Job(cell_title(document.cell), spec.data.dataset, document, spec, self.search.path(number))
        with located(document):
            run = RunDirectory.open(job.path) if job.begun else begin(job, self._loaded(spec), self.device, number)
            if run.status()["state"] != "done":
                self._train(number, spec, run)
        return score(run, spec, plan.by, plan.spec, plan.critics)

    def _train(self, number: int, spec: Spec, run: RunDirectory) -> None:
        from pogospec.explain import require_memory

        data = self._loaded(spec)
        check_data(run, data)
        require_memory([spec], data.space, data)
        view: Any = View(self.console, [run], [], after=0.0)
        if self.search.plan.by == "returns":
            view = Watched(view, run, lambda value, step: self.search.engine.report(number, value, step))
        local.train([spec], data, [run], view, resume=True)

    def _loaded(self, spec: Spec) -> Dataset:
        if spec.target is not None:
            return load_for(spec)
        if spec.data not in self.data:
            self.data = {spec.data: load_for(spec)}
        return self.data[spec.data]
