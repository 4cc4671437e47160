"""What a trial is worth: the returns of its last policy, fitted Q evaluation of it, or the energy where a flow ends."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from pogospec.errors import RunError, UsageError
from pogospec.launch.offline import DISCOUNT, Asked, evaluate
from pogospec.offline.settings import Settings
from pogospec.report.reading import final, last_step, read_flow
from pogospec.runs.directory import RunDirectory
from pogospec.spec.schema import Spec
from pogospec.types import Dataset

By = Literal["returns", "fqe", "energy"]


class Found(NamedTuple):
    """Scores of a trial, one a seed, and what was rolled out for it."""

    scores: np.ndarray  # [seeds]: what the search goes by
    unit: str
    online: np.ndarray | None  # [seeds]: scores or returns of the last policy in the environment
    policies: int  # policies of single seeds that were rolled out
    episodes: int

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        online = None if self.online is None else self.online.tolist()
        about = {"scores": self.scores.tolist(), "unit": self.unit, "online": online}
        return about | {"policies": self.policies, "episodes": self.episodes}


def by_of(spec: Spec, by: str | None) -> By:
    """What the trials of a spec are scored by; raises UsageError for what cannot be."""
    if spec.target is not None:
        if by is not None:
            raise UsageError(f"--by: found {by}, but a flow on a known energy is scored by its energy; leave it out")
        return "energy"
    return "fqe" if by == "fqe" else "returns"


def require_scores(spec: Spec, dataset: Dataset, by: By, halves: bool) -> None:
    """Raise UsageError where trials could not be scored, or not while they train."""
    if by == "returns" and dataset.environment is None:
        raise UsageError(
            f"{spec.data.dataset} names no environment to roll policies out in; --by fqe scores them from the data, "
            "or set data.environment"
        )
    if halves and by != "returns":
        raise UsageError(f"--pruner: found a search by {by}, allowed one by returns: it stops trials by their rollouts")


def score(run: RunDirectory, spec: Spec, by: By, base: Spec, critics: Settings) -> Found:
    """Score a finished run; by the data with the discount of the `base` spec, and the rewards as they were logged.

    Raises RunError where there is no finite score.
    """
    policies, episodes = spent(run)
    if by == "energy":
        flow = read_flow(run)
        return Found(_finite(flow.columns["energy"][-1] if flow.labels else np.array([])), "energy", None, 0, 0)
    cells = final(run)
    label = last_step(cells) or next(iter(cells), None)
    online = None if label is None else cells[label].values
    online = online if online is not None and np.isfinite(online).all() else None
    if by == "returns":
        if label is None or online is None:
            raise RunError("its last policy has no finite return")
        return Found(_finite(online), cells[label].unit, online, policies, episodes)
    discount = getattr(base.critic, "discount", DISCOUNT)
    wanted = Asked(run.policies()[-1], discount=discount, rewards="logged", estimators=("fqe",), settings=critics)
    rows = evaluate(run, wanted).rows
    return Found(_finite(np.array([row["value"] for row in rows])), "value", online, policies, episodes)


def spent(run: RunDirectory) -> tuple[int, int]:
    """Policies of single seeds that a run has rolled out, and in how many episodes."""
    rows = run.read("returns.csv")
    return len({(row["policy"], row["total_update"], row["seed"]) for row in rows}), len(rows)


def _finite(values: np.ndarray) -> np.ndarray:
    if not len(values) or not np.isfinite(values).all():
        raise RunError("its score is not finite")
    return values
