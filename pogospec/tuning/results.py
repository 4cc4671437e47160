"""What a search found and what it cost: its trials, the best of them, and the expected best of k of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pogospec.checking.check import checked
from pogospec.data import kept
from pogospec.report.statistics import expected_best
from pogospec.runs import files
from pogospec.spec.build import dump
from pogospec.spec.sweep import cell_title
from pogospec.text import json_text
from pogospec.tuning.search import OPEN, Search
from pogospec.tuning.trial import Trials

BEST, RESULTS, PICTURE = "best.yaml", "results.json", "expected-best.png"
STATES = {"COMPLETE": "done", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "running", "WAITING": "running"}


class Tried(NamedTuple):
    """A trial as it is told: its values, its score and what was rolled out for it."""

    number: int
    values: dict[str, Any]
    state: str
    score: float | None
    scores: list[float]
    online: list[float] | None
    unit: str
    policies: int
    episodes: int
    message: str


class Results(NamedTuple):
    """All trials, and the curve of what k of them are expected to reach; in the order of their numbers."""

    trials: list[Tried]
    maximize: bool
    by: str

    @property
    def ranked(self) -> list[Tried]:
        """Finished trials, the best first."""
        done = [trial for trial in self.trials if trial.score is not None]
        return sorted(done, key=lambda trial: -trial.score if self.maximize else trial.score)  # type: ignore[operator]

    @property
    def best(self) -> Tried | None:
        """The best trial, the first of equals."""
        return next(iter(self.ranked), None)

    @property
    def unit(self) -> str:
        """What scores are: score, return, value or energy."""
        return self.ranked[0].unit if self.ranked else self.by

    @property
    def measured(self) -> str:
        """What the curve of the expected best is of."""
        return "score in rollouts" if self.by == "fqe" else self.unit

    @property
    def policies(self) -> int:
        """Policies of single seeds that were rolled out."""
        return sum(trial.policies for trial in self.trials)

    @property
    def episodes(self) -> int:
        """Episodes that were rolled out."""
        return sum(trial.episodes for trial in self.trials)

    @property
    def expected(self) -> list[dict[str, float]]:
        """For k = 1, 2, … the mean and std of the best of k finished trials, and the episodes that k cost on average.

        Of a search by the data it is the online performance, where all trials were rolled out.
        """
        done = self.ranked
        offline = self.by == "fqe"
        if not done or (offline and any(trial.online is None for trial in done)):
            return []
        values = np.array([np.mean(trial.online) if offline and trial.online else trial.score for trial in done], float)
        sign = 1.0 if self.maximize else -1.0
        means, stds = expected_best(sign * values)
        each = float(np.mean([trial.episodes for trial in done]))
        return [
            {"k": k + 1, "mean": sign * float(mean), "std": float(std), "episodes": each * (k + 1)}
            for k, (mean, std) in enumerate(zip(means, stds, strict=True))
        ]

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        best = self.best
        return {
            "by": self.by,
            "maximize": self.maximize,
            "best": None if best is None else best.number,
            "online": {"policies": self.policies, "episodes": self.episodes},
            "expected_best": self.expected,
            "trials": [trial._asdict() for trial in self.trials],
        }


def results(search: Search) -> Results:
    """What a search has found so far."""
    found = []
    for trial in search.engine.trials():
        if trial.params.keys() < search.engine.ranges.keys():
            continue  # another process is giving it values
        about = trial.user_attrs
        score = trial.value if trial.state.name == "COMPLETE" else None
        found.append(
            Tried(
                trial.number,
                search.engine.values(trial),
                STATES[trial.state.name],
                score,
                about.get("scores", []),
                about.get("online"),
                about.get("unit", ""),
                about.get("policies", 0),
                about.get("episodes", 0),
                about.get("message", "") if trial.state.name not in OPEN else "",
            )
        )
    return Results(found, search.plan.maximize, search.plan.by)


def write(search: Search, found: Results, trials: Trials) -> None:
    """Write best.yaml, results.json and the picture of the curve into the folder of a search; raises OSError."""
    from pogospec.report.figures import expected_best_figure
    from pogospec.report.figures import write as write_picture

    with search.alone():
        files.publish(search.folder / RESULTS, (json_text(found.plain(), indent=1) + "\n").encode())
        best = found.best
        if best is not None:
            spec = checked(trials.document(best.values))
            about = f"# the best of {len(found.ranked)} trials, {best.number}: {best.unit} {best.score:.6g}, "
            about += cell_title(best.values) + (f"; {found.episodes:,} episodes rolled out" if found.episodes else "")
            files.publish(search.folder / BEST, f"{_line(about)}\n{dump(kept(spec))}".encode())
        if len(found.expected) > 1:
            title = f"best of k of {len(found.expected)} trials drawn at random, mean ± std"
            title += f"; {found.episodes:,} episodes rolled out" if found.episodes else ""
            write_picture(expected_best_figure(found.expected, found.measured, title), search.folder / PICTURE)


def _line(text: str) -> str:
    return " ".join(text.split())
