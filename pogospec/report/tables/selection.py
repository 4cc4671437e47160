"""Which policy to deploy where nobody may try: policies ranked by what the data alone say of them.

Where rollouts exist, what the choice costs: regret@k, the best score of all less the best of the first k (Paine et al.,
"Hyperparameter selection for offline reinforcement learning", 2020; Fu et al., "Benchmarks for deep off-policy
evaluation", 2021), and Spearman's correlation of estimates and scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import rankdata

from pogospec.errors import UsageError
from pogospec.report.reading.estimates import SAME, estimated, what
from pogospec.report.reading.find import inside
from pogospec.report.reading.names import by_dataset
from pogospec.report.reading.scores import ESTIMATORS, final, seeds_of
from pogospec.runs.directory import RunDirectory
from pogospec.terminal import command

By = Literal["low", "value"]
Unit = Literal["seed", "policy"]
FEWEST = 3
"""Policies below which a correlation says nothing."""


class Choice(NamedTuple):
    """One candidate; `seed` is None where it stands for all seeds of its policy."""

    run: RunDirectory
    title: str
    policy: str
    seed: int | None
    value: float
    error: float
    low: float
    high: float
    truth: float | None  # its score by rollouts, or its return where no reference is known

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.title}, {self.policy}" + ("" if self.seed is None else f", seed {self.seed}")


class Ranking(NamedTuple):
    """The candidates on one dataset, the best first."""

    dataset: str
    choices: list[Choice]
    what: str  # what is estimated
    level: float
    truth: str  # score or return
    regrets: dict[int, float]  # k -> regret@k in units of the truth; none without rollouts
    spread: float  # best less worst truth
    correlation: float | None  # Spearman's, of estimates and truths
    notes: list[str]
    estimator: str
    by: By  # what it is ranked by
    unit: Unit  # what is chosen


def rankings(runs: Sequence[RunDirectory], estimator: str, by: By, unit: Unit, first: Sequence[int]) -> list[Ranking]:
    """A ranking for each dataset; `first`: the k of regret@k.

    Raises UsageError where a run holds no estimates, or where they are of different numbers.
    """
    lacking = [run for run in runs if not estimated(run, estimator)]
    if lacking:
        again = "\n".join(f"  {one}" for one in _commands(lacking, estimator))
        raise UsageError(
            f"no {ESTIMATORS[estimator]} of {len(lacking)} of {len(runs)} runs yet; make it with:\n{again}"
        )
    return [_ranking(dataset, members, estimator, by, unit, first) for dataset, members in by_dataset(runs).items()]


def _commands(lacking: Sequence[RunDirectory], estimator: str) -> list[str]:
    """What makes estimates that lack: of the folder of the runs at once, where it holds no others."""
    asked = {run.path: _acting(run, estimator) for run in lacking}
    folder, more = lacking[0].path.parent, {*asked.values()}
    if len(asked) > 1 and len(more) == 1 and {*inside(folder)} == {*asked}:
        asked = {folder: more.pop()}
    return [command("evaluate", path, "--offline", *options) for path, options in asked.items()]


def _acting(run: RunDirectory, estimator: str) -> tuple[str, ...]:
    """The option without which a run has no such estimate: densities are known of samples alone."""
    return ("--action", "sample") if estimator != "fqe" and run.manifest["action"] == "mean" else ()


def _ranking(
    dataset: str,
    members: Sequence[tuple[str, RunDirectory]],
    estimator: str,
    by: By,
    unit: Unit,
    first: Sequence[int],
) -> Ranking:
    asked = [(title, next(iter(estimated(run, estimator).values())).asked) for title, run in members]
    for key in SAME:
        owners = {one[key]: title for title, one in reversed(asked)}
        if len(owners) > 1:
            texts = " and ".join(f"{value} ({title})" for value, title in owners.items())
            raise UsageError(
                f"{dataset}: the estimates differ in their {key}: {texts}; evaluate the runs alike, by --{key}"
            )
    levels = sorted({one.asked["level"] for _, run in members for one in estimated(run, estimator).values()})
    if len(levels) > 1 and by == "low":
        texts = " and ".join(levels)
        raise UsageError(f"{dataset}: the intervals are of levels {texts}; evaluate the runs alike, by --level")
    choices = [choice for title, run in members for choice in _choices(title, run, estimator, unit)]
    choices.sort(key=lambda choice: -getattr(choice, by))
    known = [choice for choice in choices if choice.truth is not None]
    truths = np.array([choice.truth for choice in known], float)
    regrets = {k: float(truths.max() - truths[:k].max()) for k in first if k <= len(known)} if len(known) > 1 else {}
    correlation = _spearman([getattr(choice, by) for choice in known], truths) if len(known) >= FEWEST else None
    scored = all(run.manifest["reference"] is not None for _, run in members)
    notes = []
    if 0 < len(known) < len(choices):
        notes.append(
            f"{len(choices) - len(known)} of {len(choices)} were never rolled out, and are left out of regrets"
        )
    close = sum(choice.high >= choices[0].value for choice in choices[1:])
    if close:
        others = "interval of 1 other reaches" if close == 1 else f"intervals of {close} others reach"
        notes.append(f"the {others} the estimate of the first: the data hardly tell them apart")
    spread = float(np.ptp(truths)) if len(known) else math.nan
    level, truth = float(asked[0][1]["level"]), "score" if scored else "return"
    told = regrets, spread, correlation, notes
    return Ranking(dataset, choices, what(asked[0][1]), level, truth, *told, estimator, by, unit)


def _choices(title: str, run: RunDirectory, estimator: str, unit: Unit) -> list[Choice]:
    cells, found = final(run), []
    for policy, said in estimated(run, estimator).items():
        cell = cells.get(policy)
        truths = [None] * len(said.values) if cell is None else cell.values.tolist()
        columns = {name: said.columns[name] for name in ("value", "error", "low", "high")}
        if unit == "policy":
            mean = {name: float(column.mean()) for name, column in columns.items()}
            truth = None if cell is None else float(cell.values.mean())
            found.append(Choice(run, title, policy, None, truth=truth, **mean))
            continue
        for place, (seed, truth) in enumerate(zip(seeds_of(run), truths, strict=True)):
            own = {name: float(column[place]) for name, column in columns.items()}
            found.append(Choice(run, title, policy, seed, truth=truth, **own))
    return found


def _spearman(values: Sequence[float], truths: np.ndarray) -> float | None:
    """Pearson's correlation of ranks, ties at their mean rank; None where all are equal."""
    one, two = rankdata(values), rankdata(truths)
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    return float(np.corrcoef(one, two)[0, 1])
