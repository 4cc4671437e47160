"""Statistics over few seeds: mean and std, interquartile means, probabilities of improvement, and their intervals.

Scores of a method are `tasks`: an array [..., seeds] a task; leading axes hold other draws of the same.

Interquartile means and probabilities of improvement are those of Agarwal et al., "Deep Reinforcement Learning at the
Edge of the Statistical Precipice" (2021). Their intervals are percentiles of a stratified bootstrap, see `interval`,
which draws seeds anew within each task. Of few seeds these are too narrow: with n seeds the bootstrap takes the
variance for (n - 1)/n of what it is, and the normal quantile for Student's. So `mean_interval` and `iqm_interval` are
Student's, from the variances within tasks with degrees of freedom by Satterthwaite (1946), and `better_interval` is by
scores. What they hold was measured, see COVERAGE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import stdtrit

RESAMPLES, PAIRED_RESAMPLES, LEVEL = 10_000, 2_000, 0.95
COVERAGE = {
    "mean": {2: (95, 91, 82), 3: (95, 88, 72), 5: (95, 88, 82), 10: (95, 90, 94)},
    "iqm": {2: (95, 93, 88), 3: (95, 93, 88), 5: (94, 92, 84), 10: (94, 93, 79)},
    "bootstrap": {2: (50, 49, 45), 3: (75, 73, 70), 5: (91, 89, 84), 10: (94, 94, 93)},
}
"""Seeds -> how often, of 100, an interval of 95% holds what it estimates, for one task.

Of normal scores, of exponential ones, and of two modes 3 apart, the lower with probability 0.3, each normal with std
0.3. `mean` and `iqm`: Student's; `bootstrap`: percentiles, of the IQM. Of 3 and 9 tasks `mean` holds 86 or more, `iqm`
79 or more with 2 seeds and 84 with 3; `better_interval` holds 93 or more of one task, 89 of three and 87 of nine.
"""
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


def coverage(kind: str, seeds: int) -> str:
    """What an interval of a kind of COVERAGE holds with so many seeds, in words."""
    known = max((count for count in COVERAGE[kind] if count <= seeds), default=min(COVERAGE[kind]))
    normal, skewed, bimodal = COVERAGE[kind][known]
    scores = f"{normal}% of normal, {skewed}% of skewed and {bimodal}% of bimodal scores"
    return f"of one dataset with {known} seeds it covers {scores}"


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


def mean_interval(tasks: Tasks, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of `mean`; NaN where a task has one seed, or none has a spread."""
    variances = [task.var(-1, ddof=1) / len(tasks) ** 2 / task.shape[-1] for task in tasks if task.shape[-1] > 1]
    return _student(mean(tasks), tasks, variances, [np.array(task.shape[-1] - 1.0) for task in tasks], level)


def iqm_interval(tasks: Tasks, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of `iqm`; NaN where a task has one seed, or none a spread within the middle half.

    The scores of all tasks are winsorised where `iqm` trims them, and the variance is that within tasks. With h of N
    scores left, h_k of which are of task k, whose winsorised squares about their mean sum up to S_k, it is the sum of
    S_k h_k/(h_k - 1)/h^2 with h_k - 1 degrees of freedom each: for one task that of Yuen, "The two-sample trimmed t for
    unequal population variances" (1974), and without trimming that of the mean. A task with h_k < 2 counts as with 2.
    """
    scores = np.sort(np.concatenate(tasks, axis=-1), axis=-1)
    count = scores.shape[-1]
    low, high = scores[..., count // 4, None], scores[..., count - count // 4 - 1, None]
    held = [np.clip(task, low, high) for task in tasks]
    left = [np.maximum(((low <= task) & (task <= high)).sum(-1), 2) for task in tasks]
    squares = [np.square(task - task.mean(-1, keepdims=True)).sum(-1) for task in held]
    whole = (count - 2 * (count // 4)) ** 2
    variances = [own * h / (h - 1) / whole for own, h in zip(squares, left, strict=True)]
    return _student(iqm(tasks), held, variances, [h - 1.0 for h in left], level)


def _student(
    centre: np.ndarray, tasks: Tasks, variances: Sequence[np.ndarray], freedom: Sequence[np.ndarray], level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval about a sum of independent parts, whose variances were estimated with such freedom."""
    spread_out = np.any([np.ptp(task, axis=-1) > 0 for task in tasks], axis=0)
    known = spread_out & (min(task.shape[-1] for task in tasks) > 1)
    if not known.any():
        return np.full_like(centre, np.nan), np.full_like(centre, np.nan)
    whole = np.where(known, np.sum(variances, axis=0), np.nan)
    parts = [np.square(own) / free for own, free in zip(variances, freedom, strict=True)]
    freedom_of_all = np.square(whole) / np.sum(parts, axis=0)
    half = stdtrit(freedom_of_all, (1 + level) / 2) * np.sqrt(whole)
    return centre - half, centre + half


def better_interval(tasks: Tasks, others: Tasks, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """The interval of `better`: by scores within a task, joined over tasks by the squares of their distances.

    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2" (2006),
    method 5; Zou and Donner, "Construction of confidence limits about effect measures" (2008). It has a width where all
    seeds of one method are above all of the other. Student's quantile, with all seeds less two degrees of freedom,
    stands in for the normal one, with which too little is covered of several tasks.
    """
    sides = [
        _by_score(better([one], [two]), one.shape[-1], two.shape[-1], level)
        for one, two in zip(tasks, others, strict=True)
    ]
    below, above = (np.sqrt(np.sum(np.square(side), axis=0)) / len(sides) for side in zip(*sides, strict=True))
    centre = better(tasks, others)
    return centre - below, centre + above


def _by_score(found: np.ndarray, m: int, n: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """How far below and above an estimate the probabilities lie that it does not rule out, by Student's quantiles."""
    z = stdtrit(m + n - 2, (1 + level) / 2)

    def ruled_out(p: np.ndarray) -> np.ndarray:
        tail = 1 + ((m + n) / 2 - 1) * ((1 - p) / (2 - p) + p / (1 + p))
        return np.square(found - p) > z**2 * p * (1 - p) * tail / (m * n)

    distances = []
    for end in (0.0, 1.0):
        inside, outside = found, np.full_like(found, end)
        for _ in range(50):
            middle = (inside + outside) / 2
            out = ruled_out(middle)
            inside, outside = np.where(out, inside, middle), np.where(out, middle, outside)
        distances.append(np.abs(found - inside))
    return distances[0], distances[1]


def expected_best(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of the best of k of n values, drawn without replacement, for k = 1, …, n; each [n].

    The largest of k is the i-th smallest of all with probability C(i-1, k-1)/C(n, k): the expected online performance
    of Kurenkov and Kolesnikov, "Showing Your Offline Reinforcement Learning Work: Online Evaluation Budget Matters"
    (2022), when k policies are chosen at random among n and tried.
    """
    ordered, n = np.sort(np.asarray(values, np.float64)), len(values)
    means, squares = np.empty(n), np.empty(n)
    centre = ordered.mean() if n else 0.0  # squares about it lose nothing where values are large
    lower = np.arange(n - 1, 0, -1)  # ranks below the highest, downwards
    for k in range(1, n + 1):
        ratios = np.maximum(lower - k + 1, 0) / lower
        weights = (k / n) * np.concatenate([[1.0], np.cumprod(ratios)])[::-1]
        means[k - 1], squares[k - 1] = weights @ ordered, weights @ np.square(ordered - centre)
    return means, np.sqrt(np.maximum(squares - np.square(means - centre), 0.0))


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
