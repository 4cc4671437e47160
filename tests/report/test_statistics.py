"""Interquartile means, intervals and probabilities of improvement against scipy, and against rliable where it is."""

import itertools

import numpy as np
import pytest
from scipy import stats

from pogospec.report.statistics import better, expected_best, interval, iqm, mean

SHAPES = [(1, 1), (2, 3), (5, 1), (5, 9), (4, 2), (10, 6), (3, 4)]  # seeds, tasks


def scores(seed, seeds, tasks):
    """A random matrix [seeds, tasks], with ties and tasks of unlike spread."""
    random = np.random.default_rng(seed)
    return np.round(random.normal(50, random.uniform(1, 30, tasks), (seeds, tasks)), 0)


def columns(matrix):
    return [matrix[:, task] for task in range(matrix.shape[1])]


@pytest.mark.parametrize("shape", SHAPES)
def test_iqm_is_the_mean_trimmed_by_a_quarter(shape):
    for seed in range(20):
        matrix = scores(seed, *shape)
        assert iqm(columns(matrix)) == pytest.approx(stats.trim_mean(matrix.ravel(), 0.25))


def test_unlike_numbers_of_seeds():
    tasks = [np.array([1.0, 2.0, 3.0]), np.array([10.0])]
    assert iqm(tasks) == pytest.approx(2.5)
    assert mean(tasks) == pytest.approx(6.0)


def test_nan_is_not_trimmed_away():
    tasks = [np.array([1.0, 2.0, 3.0, np.nan])]
    assert np.isnan(iqm(tasks))
    assert np.isnan(interval(iqm, tasks)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_better_is_the_mann_whitney_statistic(shape):
    for seed in range(20):
        one, two = scores(seed, *shape), scores(seed + 100, shape[0] + 1, shape[1])
        u = [stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(one.T, two.T, strict=True)]
        assert better(columns(one), columns(two)) == pytest.approx(np.mean(u))
        assert better(columns(two), columns(one)) == pytest.approx(1 - np.mean(u))


def test_intervals_are_percentiles_of_the_bootstrap():
    for seed, seeds in ((0, 5), (1, 10), (2, 30)):
        sample = np.random.default_rng(seed).normal(50, 10, seeds)
        low, high = interval(mean, [sample])
        other = stats.bootstrap((sample,), np.mean, method="percentile", n_resamples=100_000, rng=seed)
        width = high - low
        assert (low, high) == pytest.approx(tuple(other.confidence_interval), abs=0.05 * width)


def test_the_bootstrap_is_stratified():
    """Seeds of one task never stand in for those of another: constant tasks have no interval."""
    tasks = [np.full(5, 10.0), np.full(5, 90.0), np.full(5, 50.0)]
    assert interval(iqm, tasks) == (iqm(tasks), iqm(tasks))
    assert interval(better, tasks, [task - 1 for task in tasks]) == (1.0, 1.0)


def test_intervals_are_the_same_every_time():
    tasks = columns(scores(3, 5, 9))
    assert interval(iqm, tasks) == interval(iqm, tasks)


@pytest.mark.exhaustive("imports and resamples by another package")
@pytest.mark.filterwarnings("ignore:random_state is deprecated:FutureWarning")
@pytest.mark.parametrize(("seed", "shape"), [(0, (3, 4)), (1, (5, 9)), (2, (10, 6))])
def test_rliable_agrees(seed, shape):
    library = pytest.importorskip("rliable.library", reason="rliable is not installed: pip install 'pogospec[peers]'")
    metrics = pytest.importorskip("rliable.metrics")
    one, two = scores(seed, *shape), scores(seed + 50, *shape)
    assert iqm(columns(one)) == pytest.approx(metrics.aggregate_iqm(one))
    assert better(columns(one), columns(two)) == pytest.approx(metrics.probability_of_improvement(one, two))
    state = np.random.RandomState(seed)
    _, bounds = library.get_interval_estimates(
        {"one": one}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=5_000, random_state=state
    )
    low, high = interval(iqm, columns(one), resamples=20_000)  # more of those that cost little
    assert (low, high) == pytest.approx(tuple(bounds["one"].ravel()), abs=0.06 * (high - low))
    _, bounds = library.get_interval_estimates(
        {"one,two": (one, two)}, metrics.probability_of_improvement, reps=2_500, random_state=state
    )
    low, high = interval(better, columns(one), columns(two), resamples=20_000)
    pairs = shape[0] ** 2 * shape[1]  # it takes values of 1 / pairs alone: a quantile may fall on the neighbour
    assert (low, high) == pytest.approx(tuple(bounds["one,two"].ravel()), abs=max(0.06 * (high - low), 1.001 / pairs))


@pytest.mark.parametrize("values", [[3.0, 1.0, 4.0, 1.0, 5.0, 9.0], [2.0], [1e6, 1e6 + 1, 1e6 + 3]])
def test_the_expected_best_of_k_is_the_mean_over_all_subsets(values):
    means, stds = expected_best(np.array(values))
    for k in range(1, len(values) + 1):
        best = [max(subset) for subset in itertools.combinations(values, k)]
        assert means[k - 1] == pytest.approx(np.mean(best), rel=1e-14)
        assert stds[k - 1] == pytest.approx(np.std(best), abs=1e-7)


def test_the_expected_best_of_many_values_is_that_of_their_ranks():
    n = 2000
    means, _ = expected_best(np.arange(1.0, n + 1))
    k = np.arange(1, n + 1)
    np.testing.assert_allclose(means, k * (n + 1) / (k + 1), rtol=1e-12)  # of k ranks out of n
