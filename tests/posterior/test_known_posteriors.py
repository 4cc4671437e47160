"""Flows of conjugate models beside their exact posteriors.

Normal sites end at the posterior itself. A Gaussian in unconstrained space is not the posterior of Gamma, Beta,
Dirichlet and LKJ sites: it is held against the best Gaussian, whose moments have a closed form for the Gamma, and its
importance weights against the exact moments, within Monte Carlo errors.
"""

from typing import Any

import jax
import jax.numpy as jnp
import models
import numpy as np
import pytest
from scipy import stats
from scipy.special import betaln

import pogospec

KEY, N = jax.random.key(0), 20_000
FULL: dict[str, Any] = {"family": "full_gaussian", "scheme": "natural"}
GRID: dict[str, Any] = FULL | {"tau": 0.5, "steps": 60, "actions": {"hermite": 24}}
DIRICHLET = 1 + models.KINDS


def weighted(flow, site, n=N):
    """Mean and standard deviation of a site by weights, and their standard errors by the delta method."""
    samples, weights = flow.weighted_samples(KEY, n)
    x, w = np.asarray(samples[site], float), np.asarray(weights, float)
    w = w.reshape(-1, *(1,) * (x.ndim - 1))
    mean = (w * x).sum(0)
    variance = (w * (x - mean) ** 2).sum(0)
    errors = [np.sqrt((w**2 * gap**2).sum(0)) for gap in (x - mean, (x - mean) ** 2 - variance)]
    return mean, np.sqrt(variance), errors[0], errors[1] / (2 * np.sqrt(variance))


def agrees(flow, site, mean, std):
    found = weighted(flow, site)
    for value, exact, error in ((found[0], mean, found[2]), (found[1], std, found[3])):
        assert (np.abs(value - exact) < 4.5 * error + 1e-6).all(), (value, exact, error)
        assert (error < 0.03 * std).all()  # and that says something


@pytest.mark.exhaustive("as the conjugate flows of tests/test_flow.py")
def test_normal_sites_end_at_the_posterior():
    mean, covariance = models.regression_posterior()
    end: Any = pogospec.flow(models.regression, models.X, models.Y, **FULL).distribution()
    np.testing.assert_allclose(end.mean, mean, atol=1e-3 * np.sqrt(covariance.diagonal()).min())
    np.testing.assert_allclose(end.covariance_matrix, covariance, rtol=1e-3)


def test_a_gamma_site_ends_at_the_best_gaussian_of_its_logarithm(float64):
    """Of Q(u) = a u - b e^u that is N(log(a/b) - 1/(2a), 1/a), whose e^u has the posterior's own mean a/b."""
    a, b = 2.0 + models.COUNTS.sum(), 1.0 + len(models.COUNTS)
    flow = pogospec.flow(models.rate, models.COUNTS, **GRID)
    end: Any = flow.distribution()
    assert float(end.mean[0]) == pytest.approx(np.log(a / b) - 1 / (2 * a), abs=1e-6)
    assert float(end.covariance_matrix[0, 0]) == pytest.approx(1 / a, rel=1e-6)
    u = float(end.mean[0]) + float(end.covariance_matrix[0, 0]) / 2
    assert np.exp(u) == pytest.approx(a / b, rel=1e-6)
    assert flow.pareto_k(KEY, 4000).effective > 0.97
    agrees(flow, "rate", a / b, np.sqrt(a) / b)


@pytest.mark.exhaustive("by weights, as the Gamma site")
def test_a_beta_site_by_its_weights():
    ones = models.ANSWERS.sum()
    exact = stats.beta(2 + ones, 2 + len(models.ANSWERS) - ones)
    flow = pogospec.flow(models.share, models.ANSWERS, **GRID)
    agrees(flow, "share", exact.mean(), exact.std())
    # minus the energy is at most the log evidence, and near it
    evidence = betaln(2 + ones, 2 + len(models.ANSWERS) - ones) - betaln(2, 2)
    assert evidence - 0.02 < -flow.energies[-1] < evidence


@pytest.mark.exhaustive("by weights, as the Gamma site")
def test_dirichlet_sites_by_their_weights():
    mean = DIRICHLET / DIRICHLET.sum()
    std = np.sqrt(mean * (1 - mean) / (DIRICHLET.sum() + 1))
    flow = pogospec.flow(models.shares, models.KINDS, **GRID)
    agrees(flow, "shares", mean, std)


@pytest.mark.exhaustive("by weights, as the Gamma site")
def test_a_correlation_by_its_weights_and_quadrature():
    pairs = np.random.default_rng(3).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 15)
    rho = np.linspace(-1, 1, 200_001)[1:-1]
    density = np.log1p(-(rho**2))  # LKJ(2): det^(2 - 1)
    (x, y), n = pairs.T, len(pairs)
    density += -n / 2 * np.log1p(-(rho**2)) - (x @ x + y @ y - 2 * rho * (x @ y)) / (2 * (1 - rho**2))
    mass = np.exp(density - density.max())
    mass /= mass.sum()
    mean = mass @ rho
    flow = pogospec.flow(models.correlation, pairs, **GRID)
    agrees(flow, "rho", mean, np.sqrt(mass @ (rho - mean) ** 2))


@pytest.mark.exhaustive("hundreds of steps; a minibatch is right on average in tests/targets")
def test_minibatches_end_at_the_posterior_of_all_data():
    """On average over the last steps, whose noise is that of 16 minibatches of a tenth of the rows each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = 0.7 + 1.5 * x + 0.5 * rng.normal(size=400)
    mean, covariance = models.regression_posterior(x, y)
    std = np.sqrt(covariance.diagonal())
    flow = pogospec.flow(models.minibatches, x, y, 40, actions={"antithetic": 8}, **FULL)
    ends = np.asarray(flow.parameters.mean[-60:])
    assert (np.abs(ends.mean(0) - mean) < 0.1 * std).all()
    assert 1e-4 < (ends.std(0) / std).max() < 0.3  # fresh minibatches move it, and little
    end: Any = flow.distribution()
    np.testing.assert_allclose(end.covariance_matrix.diagonal(), std**2, rtol=0.1)
    assert flow.kl is None
    bound = flow.elbo(KEY, 500)
    joint = np.diag([4.0, 9.0])
    design = np.stack([x, np.ones_like(x)], 1)
    covariance = design @ joint @ design.T + 0.25 * np.eye(400)
    normal: Any = stats.multivariate_normal
    evidence = normal.logpdf(y, np.zeros(400), covariance)
    assert evidence - 0.1 < bound.value < evidence + 4 * bound.error
    assert jnp.isfinite(flow.energies).all()
