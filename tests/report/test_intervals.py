"""Intervals over few seeds against scipy and the papers' formulas, and what they hold, by simulation."""

import functools

import numpy as np
import pytest
from scipy import stats

from pogospec.report import statistics
from pogospec.report.statistics import COVERAGE, better, better_interval, iqm, iqm_interval, mean, mean_interval

SHAPES = ("normal", "skewed", "bimodal")
LOW = 0.3


def draws(shape, size, random):
    """Scores of mean zero."""
    if shape == "normal":
        return random.normal(size=size)
    if shape == "skewed":
        return random.exponential(size=size) - 1
    return np.where(random.random(size) < LOW, -2.1, 0.9) + 0.3 * random.normal(size=size)


def middle_of(shape):
    """The mean of the middle half of all scores, by the trapezoidal rule on their density between the quartiles."""
    x = np.linspace(-8, 8, 400_001)
    if shape == "normal":
        density = stats.norm.pdf(x)
    elif shape == "skewed":
        density = stats.expon.pdf(x, -1)
    else:
        density = LOW * stats.norm.pdf(x, -2.1, 0.3) + (1 - LOW) * stats.norm.pdf(x, 0.9, 0.3)
    below = np.cumsum(density) / density.sum()
    middle = (below > 0.25) & (below < 0.75)
    return float((x * density)[middle].sum() / density[middle].sum())


def held(interval, truth):
    return float(np.mean((interval[0] <= truth) & (truth <= interval[1])))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_one_task_is_student_and_two_are_welch(seeds):
    random = np.random.default_rng(seeds)
    one, two = random.normal(3, 2, seeds), random.normal(1, 9, seeds + 1)
    assert mean_interval([one]) == pytest.approx(stats.t.interval(0.95, seeds - 1, one.mean(), stats.sem(one)))
    welch = stats.ttest_ind(one, two, equal_var=False).confidence_interval()
    assert 2 * np.array(mean_interval([one, -two])) == pytest.approx(np.array(welch))


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 10, 13])
def test_interquartile_means_are_yuen(seeds):
    scores = np.random.default_rng(seeds).exponential(size=seeds)
    trimmed = seeds // 4
    left = seeds - 2 * trimmed
    squares = np.var(stats.mstats.winsorize(scores, (trimmed / seeds,) * 2)) * seeds
    error = np.sqrt(squares / (left * (left - 1)))
    expected = stats.t.interval(0.95, left - 1, stats.trim_mean(scores, 0.25), error)
    assert iqm_interval([scores]) == pytest.approx(expected)


@pytest.mark.parametrize(("m", "n"), [(2, 2), (3, 3), (3, 7), (10, 10), (1, 4)])
def test_probabilities_of_improvement_are_by_scores(m, n):
    """The ends solve |found - p| = t sqrt(V(p)), V of Hanley and McNeil with Newcombe's mean of both sizes."""
    random = np.random.default_rng(m)
    quantile = stats.t.ppf(0.975, m + n - 2)
    for shift in (0.0, 1.0, 9.0):
        one, two = random.normal(shift, 1, m), random.normal(0, 1, n)
        found = float(better([one], [two]))

        def beyond(p, found=found):
            size = (m + n) / 2 - 1
            variance = p * (1 - p) * (1 + size * ((1 - p) / (2 - p) + p / (1 + p))) / (m * n)
            return abs(found - p) - quantile * np.sqrt(variance)

        low, high = (float(end) for end in better_interval([one], [two]))
        assert low <= found <= high
        assert all(abs(beyond(end)) < 1e-9 for end in (low, high) if end != found)
        assert low < 0.999
        mirrored = better_interval([two], [one])
        assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))
    tasks, others = [one, one + 1], [two, two - 1]
    ends = np.array([better_interval([a], [b]) for a, b in zip(tasks, others, strict=True)])
    centre = better(tasks, others)
    gaps = (
        np.sqrt(np.square(ends - np.array([[better([a], [b])] for a, b in zip(tasks, others, strict=True)])).sum(0)) / 2
    )
    assert better_interval(tasks, others) == pytest.approx((centre - gaps[0], centre + gaps[1]))


def test_where_seeds_tell_nothing():
    for interval in (mean_interval, iqm_interval):
        assert np.isnan(interval([np.array([0.1 + 0.2] * 3)])).all()
        assert np.isnan(interval([np.array([1.0])])).all()
        assert np.isnan(interval([np.array([1.0, 2.0]), np.array([1.0])])).all()
        assert np.isnan(interval([np.array([1.0, np.nan, 2.0])])).all()
        assert np.isfinite(interval([np.array([1.0, 2.0, 4.0]), np.array([9.0, 9.0, 9.0])])).all()


def test_three_normal_seeds():
    tasks = [np.random.default_rng(0).normal(size=(20_000, 3))]
    for interval in (mean_interval, iqm_interval):
        assert held(interval(tasks), 0.0) == pytest.approx(0.95, abs=0.006)


@functools.cache
def how_often_better(shape, shift):
    """The probability that a draw of a shape, shifted, is above another one."""
    one, two = draws(shape, (2, 4_000_000), np.random.default_rng(0))
    return float(np.mean(one + shift > two))


@pytest.mark.exhaustive("simulates tens of thousands of tables")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_coverage_is_what_is_said(shape, seeds):
    random, place = np.random.default_rng(seeds), SHAPES.index(shape)
    tasks, middle = [draws(shape, (40_000, seeds), random)], middle_of(shape)
    said = {name: 0.01 * rows[seeds][place] for name, rows in COVERAGE.items()}
    assert held(mean_interval(tasks), 0.0) == pytest.approx(said["mean"], abs=0.011)
    assert held(iqm_interval(tasks), middle) == pytest.approx(said["iqm"], abs=0.011)
    few = tasks[0][:2000]
    drawn = few[np.arange(2000)[:, None, None], random.integers(seeds, size=(2000, 1000, seeds))]
    ends = np.quantile(iqm([drawn]), [0.025, 0.975], axis=-1)
    assert held(ends, middle) == pytest.approx(said["bootstrap"], abs=0.03)
    least = {1: 0.93, 3: 0.89, 9: 0.87}
    for count in (1, 3, 9):
        scaled = [(1 + 2 * (k % 3)) * draws(shape, (8000, seeds), random) for k in range(count)]
        if count > 1:
            assert held(mean_interval(scaled), 0.0) > 0.85
        for shift in (0.0, 1.0, 2.0):
            better_by = how_often_better(shape, shift)
            above = [task + shift * (1 + 2 * (k % 3)) for k, task in enumerate(scaled)]
            others = [(1 + 2 * (k % 3)) * draws(shape, (8000, seeds), random) for k in range(count)]
            assert held(better_interval(above, others), better_by) > least[count] - 0.01


@pytest.mark.exhaustive("simulates tens of thousands of tables")
@pytest.mark.parametrize("shape", SHAPES)
def test_equal_methods_are_rarely_in_bold(shape):
    """Bold asks that intervals do not overlap: of four methods that are alike, far less than 5% of rows have any."""
    random = np.random.default_rng(1)
    for seeds in (3, 5, 10):
        ends = [mean_interval([draws(shape, (40_000, seeds), random)]) for _ in range(4)]
        low, high = (np.stack(side) for side in zip(*ends, strict=True))
        best = low.argmax(0)
        others = np.where(np.arange(4)[:, None] == best, -np.inf, high).max(0)
        assert np.mean(low.max(0) > others) < 0.05


def test_names_of_what_is_held():
    assert set(COVERAGE) == {"mean", "iqm", "bootstrap"}
    assert statistics.coverage("mean", 4).startswith("of one dataset with 3 seeds it covers 95%")
    assert statistics.coverage("mean", 1).startswith("of one dataset with 2 seeds")
    assert statistics.coverage("mean", 99).startswith("of one dataset with 10 seeds")
    assert mean([np.array([1.0, 3.0])]) == 2.0
