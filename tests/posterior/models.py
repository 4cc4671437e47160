"""NumPyro models whose posteriors are known, and small ones that NumPyro's own examples are like."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
COUNTS = np.array([3, 1, 4, 1, 5, 2])
ANSWERS = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 0])
KINDS = np.array([7.0, 2.0, 4.0])


def regression(x, y=None):
    """Sites in an order that is not that of the alphabet; observed rows of a plate."""
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 3.0))
    with numpyro.plate("rows", len(x)):
        mean = numpyro.deterministic("mean", intercept + slope * x)
        numpyro.sample("y", dist.Normal(mean, 0.5), obs=y)


X = np.linspace(-1.0, 2.0, 12)
Y = 0.7 + 1.5 * X + 0.3 * np.sin(9 * X)


def regression_posterior(x=X, y=Y):
    """Mean and covariance of (slope, intercept)."""
    design = np.stack([x, np.ones_like(x)], 1)
    covariance = np.linalg.inv(design.T @ design / 0.25 + np.diag([1 / 4, 1 / 9]))
    return covariance @ design.T @ y / 0.25, covariance


def minibatches(x, y, rows=None):
    """The same by minibatches, which NumPyro scales."""
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 3.0))
    with numpyro.plate("rows", len(x), subsample_size=rows) as index:
        numpyro.deterministic("mean", intercept + slope * x[index])
        numpyro.sample("y", dist.Normal(intercept + slope * x[index], 0.5), obs=y[index])


def rate(counts):
    """A Gamma(2, 1) rate of Poisson counts: its posterior is Gamma(2 + sum, 1 + n)."""
    value = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    with numpyro.plate("n", len(counts)):
        numpyro.sample("y", dist.Poisson(value), obs=counts)


def share(answers):
    """A Beta(2, 2) share of answers: its posterior is Beta(2 + ones, 2 + zeros)."""
    value = numpyro.sample("share", dist.Beta(2.0, 2.0))
    with numpyro.plate("n", len(answers)):
        numpyro.sample("y", dist.Bernoulli(value), obs=answers)


def shares(kinds):
    """Dirichlet(1, 1, 1) shares of kinds: their posterior is Dirichlet(1 + counts)."""
    value = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
    numpyro.sample("y", dist.Multinomial(int(KINDS.sum()), value), obs=kinds)


def correlation(pairs):
    """An LKJ(2) correlation of pairs of unit variance."""
    factor: Any = numpyro.sample("factor", dist.LKJCholesky(2, 2.0))
    numpyro.deterministic("rho", factor[1, 0])
    with numpyro.plate("n", len(pairs)):
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(2), scale_tril=factor), obs=pairs)
