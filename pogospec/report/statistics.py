"""Statistics over few seeds: mean and std, interquartile means, bootstrap intervals, probabilities of improvement.

All but the first as in Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).
Scores of a method are `tasks`: an array [seeds] a task. The bootstrap is stratified, seeds are drawn anew within each
task, and its intervals are percentiles; the draws are the same in every call, so that a table is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES, PAIRED_RESAMPLES, LEVEL = 10_000, 2_000, 0.95
Tasks = Sequence[np.ndarray]
"""Scores [..., seeds] of each task; a leading axis holds resamples."""


def std(values: np.ndarray) -> float | None:
    """Standard deviation over seeds, ddof 1; None for one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def spread(values: np.ndarray) -> str:
    """Mean ± std over seeds; the mean alone for one seed."""
    deviation = std(values)
    return f"{values.mean():.1f}" if deviation is None else f"{values.mean():.1f} ± {deviation:.1f}"


def over_seeds(counts: Sequence[int]) -> str:
    """What a number of runs of so many seeds each is, in words; lines and bands alike."""
    several = sorted(set(counts))
    return "one seed" if several == [1] else f"mean ± std over {' or '.join(map(str, several))} seeds"


def iqm(tasks: Tasks) -> np.ndarray:
    """Mean of all scores of all tasks without the lowest and the highest quarter; NaN where one is NaN."""
    scores = np.sort(np.concatenate(tasks, axis=-1), axis=-1)
    count = scores.shape[-1]
    middle = scores[..., count // 4 : count - count // 4].mean(-1)
    return np.where(np.isnan(scores).any(-1), np.nan, middle)


def mean(tasks: Tasks) -> np.ndarray:
    """Mean over tasks of the means over seeds."""
    return np.mean([task.mean(-1) for task in tasks], axis=0)


def better(tasks: Tasks, others: Tasks) -> np.ndarray:
    """Probability that a run of one method scores above one of the other, ties halved; the mean over tasks."""
    pairs = [(task[..., :, None], other[..., None, :]) for task, other in zip(tasks, others, strict=True)]
    return np.mean([np.mean((a > b) + 0.5 * (a == b), axis=(-2, -1)) for a, b in pairs], axis=0)


def interval(
    statistic: Callable[..., np.ndarray], *methods: Tasks, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float]:
    """The bootstrap interval of a statistic of the tasks of one or more methods."""
    random = np.random.default_rng(0)
    values = statistic(*([_drawn(task, resamples, random) for task in tasks] for tasks in methods))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _drawn(task: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Seeds of a task drawn with replacement, as many as there are; [resamples, seeds]."""
    return task[random.integers(len(task), size=(resamples, len(task)))]
