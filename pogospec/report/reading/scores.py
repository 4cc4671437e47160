"""Evaluations of a run -> a number a seed, by the rule last, best or mean-last-K, or fqe, wis or dr of ope.csv.

The seed is the unit of replication: episodes of one seed are averaged first. The std has ddof 1. A score is
100 (return - low) / (high - low), so that its std is the std of the returns over the reference range alone.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pogospec.errors import RunDirectoryError, UsageError
from pogospec.report.reading.estimates import bounds_of, decimals, estimated, spread_of
from pogospec.report.statistics import spread
from pogospec.runs.columns import LAST
from pogospec.runs.directory import RunDirectory, order
from pogospec.runs.manifest import numbers_of

ESTIMATORS = {
    "fqe": "fitted Q evaluation",
    "wis": "weighted importance sampling",
    "dr": "doubly robust estimate",
}


class Rule(NamedTuple):
    """Which evaluations of a policy make its number."""

    kind: Literal["last", "best", "mean-last", "fqe", "wis", "dr"]
    count: int = 1

    @property
    def offline(self) -> bool:
        """Whether the number is an estimate from the data alone."""
        return self.kind in ("fqe", "wis", "dr")

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read last, best, mean-last-K, fqe, wis or dr; raises UsageError."""
        if text in ("last", "best", "fqe", "wis", "dr"):
            return cls(text)
        match = re.fullmatch(r"mean-last-([1-9][0-9]{0,8})", text)
        if match is None:
            raise UsageError(
                f"--score: found '{text}', allowed last, best, or mean-last-K with whole K >= 1, such as mean-last-10; "
                "or the estimates fqe, wis and dr that `pogospec evaluate RUN --offline` makes"
            )
        return cls("mean-last", int(match[1]))

    def pick(self, returns: np.ndarray) -> np.ndarray:
        """Returns [evaluations, seeds], in the order of training -> [seeds]."""
        if self.kind == "best":
            return returns.max(0)
        return returns[-self.count :].mean(0)

    def used(self, evaluations: int) -> int:
        """How many of so many evaluations enter the number."""
        return evaluations if self.kind == "best" else min(self.count, evaluations)

    def __str__(self) -> str:
        if self.kind == "last":
            return "last evaluation of each policy"
        if self.offline:
            return ESTIMATORS[self.kind]
        if self.kind == "mean-last":
            return f"mean of the last {self.count} evaluations of each policy"
        return "best evaluation of each policy and seed (optimistic: chosen by the returns that it reports)"


class Cell(NamedTuple):
    """One policy of a run: a number a seed, raw and normalised."""

    returns: np.ndarray
    scores: np.ndarray | None
    total_update: int
    evaluations: int
    bounds: np.ndarray | None = None  # [2, seeds]: intervals of values that are estimated from the data alone

    @property
    def unit(self) -> str:
        """What the values are."""
        return "value" if self.bounds is not None else "return" if self.scores is None else "score"

    @property
    def values(self) -> np.ndarray:
        """Scores where a reference is known, else returns."""
        return self.returns if self.scores is None else self.scores

    def __str__(self) -> str:
        if self.bounds is None:
            return spread(self.values)
        places = decimals(self.bounds[1] - self.bounds[0])
        return f"{spread_of(self.values, places)} {bounds_of(self.bounds, places)}"


def seeds_of(run: RunDirectory) -> list[int]:
    """The seeds of a run, in the order of its columns."""
    return numbers_of(run.manifest)


def curves(run: RunDirectory) -> dict[str, dict[int, np.ndarray]]:
    """Policy -> total updates -> raw mean return of each seed; evaluations cut short are left out."""
    path = run.path / "returns.csv"
    try:
        stat = path.stat()
    except OSError:
        raise RunDirectoryError(f"{path} is missing") from None
    manifest = run.manifest
    return _curves(path, stat.st_mtime_ns, stat.st_size, manifest["seeds"], manifest["episodes"])


@functools.lru_cache(maxsize=256)
def _curves(path: Path, _changed: int, _size: int, count: int, episodes: int) -> dict[str, dict[int, np.ndarray]]:
    """Read a file once for all tables; its time and size say when it must be read again."""
    found: dict[str, dict[int, dict[int, list[float]]]] = {}
    try:
        for row in RunDirectory(path.parent).read(path.name):
            points = found.setdefault(row["policy"], {})
            seeds = points.setdefault(int(row["total_update"]), {})
            seeds.setdefault(int(row["seed"]), []).append(float(row["return"]))
    except (KeyError, ValueError) as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from None
    return {
        policy: {
            total: np.array([np.mean(seeds[seed]) for seed in sorted(seeds)])
            for total, seeds in sorted(found[policy].items())
            if len(seeds) == count and all(len(returns) == episodes for returns in seeds.values())
        }
        for policy in sorted(found, key=order)
    }


def normalised(run: RunDirectory, returns: np.ndarray) -> np.ndarray | None:
    """Scores of returns by the reference of a run; None where it has none."""
    reference = run.manifest["reference"]
    if reference is None:
        return None
    return 100 * (np.asarray(returns) - reference["low"]) / (reference["high"] - reference["low"])


def final(run: RunDirectory, score: str = "last") -> dict[str, Cell]:
    """The behaviour and each Euler step, in that order, by a rule: last, best, mean-last-K, fqe, wis or dr."""
    rule, cells = Rule.parse(score), {}
    if rule.offline:
        found = estimated(run, rule.kind)
        totals = _totals(run) if found else {}
        return {p: Cell(e.values, None, totals.get(p.removesuffix(LAST), 0), 1, e.bounds) for p, e in found.items()}
    for policy, points in curves(run).items():
        if points:
            returns = rule.pick(np.stack(list(points.values())))
            cells[policy] = Cell(returns, normalised(run, returns), max(points), rule.used(len(points)))
    return cells


def _totals(run: RunDirectory) -> dict[str, int]:
    """Updates of the run at the end of what each policy learned."""
    totals: dict[str, int] = {}
    for row in run.read("metrics.csv"):
        label = "behavior" if row.get("behavior_loss") else row["stage"]
        for name in {label, row["stage"]}:
            totals[name] = max(totals.get(name, 0), int(row["total_update"]))
    return totals


def last_step(cells: dict[str, Cell]) -> str | None:
    """The policy that was trained last: the last Euler step, averaged if it is; None where none was evaluated."""
    steps = [policy for policy in cells if policy != "behavior" and not policy.endswith(LAST)]
    return max(steps, key=lambda policy: cells[policy].total_update, default=None)
