"""Thirteen posteriors as NumPyro models, with data from fixed seeds or small well-known ones: for `posteriors.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from pogospec.targets.models import EFFECTS, ERRORS, Bound, eight_schools


def eight_schools_centred() -> Bound:
    """Eight schools, effect_j ~ N(mu, tau^2): the neck of a funnel in 10 dimensions."""

    def model(errors, effects):
        mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
        with numpyro.plate("schools", len(errors)):
            theta = numpyro.sample("theta", dist.Normal(mu, tau))
            numpyro.sample("y", dist.Normal(theta, errors), obs=effects)

    return model, (np.asarray(ERRORS), np.asarray(EFFECTS)), {}


def logistic(inputs: int) -> Bound:
    """Logistic regression on correlated inputs, five answers an input, at least 100; priors N(0, 1), N(0, 2.5^2)."""
    rng = np.random.default_rng(inputs)
    count = max(100, 5 * inputs)
    common = rng.normal(size=(count, 1))
    x = np.sqrt(0.7) * rng.normal(size=(count, inputs)) + np.sqrt(0.3) * common
    slopes = rng.normal(size=inputs) / np.sqrt(inputs / 4)
    answers = (rng.uniform(size=count) < 1 / (1 + np.exp(-0.5 - x @ slopes))).astype(int)

    def model(x, answers):
        intercept = numpyro.sample("intercept", dist.Normal(0.0, 2.5))
        slopes = numpyro.sample("slopes", dist.Normal(0.0, 1.0).expand([x.shape[-1]]).to_event(1))
        numpyro.sample("y", dist.Bernoulli(logits=intercept + x @ slopes).to_event(1), obs=answers)

    return model, (x, answers), {}


def hierarchical() -> Bound:
    """Lines of twelve groups of 3 to 14 rows: intercepts and slopes of unknown scales, 29 dimensions."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(12), np.arange(3, 15))
    x = rng.normal(size=len(groups))
    lines = np.stack([1.5 + 0.8 * rng.normal(size=12), -0.7 + 0.4 * rng.normal(size=12)])
    y = lines[0, groups] + lines[1, groups] * x + 0.6 * rng.normal(size=len(groups))

    def model(groups, x, y):
        level = numpyro.sample("level", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
        scale = numpyro.sample("scale", dist.HalfNormal(2.0).expand([2]).to_event(1))
        noise = numpyro.sample("noise", dist.HalfNormal(2.0))
        lines = numpyro.sample("lines", dist.Normal(level, scale).expand([12, 2]).to_event(2))
        mean = lines[groups, 0] + lines[groups, 1] * x
        numpyro.sample("y", dist.Normal(mean, noise).to_event(1), obs=y)

    return model, (groups, x, y), {}


def _covariance(x: Any, amplitude: Any, length: Any) -> Any:
    return amplitude**2 * jnp.exp(-0.5 * jnp.square((x[:, None] - x) / length))


def process() -> Bound:
    """Amplitude, length and noise of a Gaussian process that is seen at 20 places, 3 dimensions."""
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(-3, 3, 20))
    y = np.sin(1.5 * x) + 0.3 * rng.normal(size=20)

    def model(x, y):
        amplitude = numpyro.sample("amplitude", dist.LogNormal(0.0, 1.0))
        length = numpyro.sample("length", dist.LogNormal(0.0, 1.0))
        noise = numpyro.sample("noise", dist.LogNormal(-1.0, 1.0))
        covariance = _covariance(x, amplitude, length) + (noise**2 + 1e-6) * jnp.eye(len(x))
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance), obs=y)

    return model, (x, y), {}


def counts() -> Bound:
    """Counts whose log rate is a Gaussian process at 15 places, with its amplitude and length, 17 dimensions."""
    rng = np.random.default_rng(4)
    x = np.linspace(-3, 3, 15)
    y = rng.poisson(np.exp(1.0 + np.sin(1.2 * x)))

    def model(x, y):
        amplitude = numpyro.sample("amplitude", dist.LogNormal(0.0, 0.5))
        length = numpyro.sample("length", dist.LogNormal(0.0, 0.5))
        white = numpyro.sample("white", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
        root = jnp.linalg.cholesky(_covariance(x, amplitude, length) + 1e-4 * jnp.eye(len(x)))
        numpyro.sample("y", dist.Poisson(jnp.exp(1.0 + root @ white)).to_event(1), obs=y)

    return model, (x, y), {}


def volatility() -> Bound:
    """Stochastic volatility of 40 returns, whose log variances are an autoregression, 43 dimensions."""
    rng = np.random.default_rng(5)
    level = np.zeros(40)
    for t in range(40):
        level[t] = 0.95 * (level[t - 1] if t else 0.0) + 0.3 * rng.normal()
    returns = np.exp((-1.0 + level) / 2) * rng.normal(size=40)

    def model(returns):
        mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
        phi = numpyro.sample("phi", dist.Uniform(-1.0, 1.0))
        sigma = numpyro.sample("sigma", dist.HalfNormal(0.5))
        white = numpyro.sample("white", dist.Normal(0.0, 1.0).expand([len(returns)]).to_event(1))
        steps = jnp.arange(len(returns))
        gap = steps[:, None] - steps
        path = jnp.where(gap >= 0, phi ** jnp.maximum(gap, 0), 0.0) @ (sigma * white)
        numpyro.sample("y", dist.Normal(0.0, jnp.exp((mu + path) / 2)).to_event(1), obs=returns)

    return model, (returns,), {}


def funnel() -> Bound:
    """Neal's funnel: v ~ N(0, 3^2), nine x ~ N(0, exp(v))."""

    def model():
        v = numpyro.sample("v", dist.Normal(0.0, 3.0))
        numpyro.sample("x", dist.Normal(0.0, jnp.exp(v / 2)).expand([9]).to_event(1))

    return model, (), {}


def ill_conditioned() -> Bound:
    """A Gaussian in 20 dimensions whose variances go from 1e-2 to 1e2 along random axes, its mean a draw from it."""
    rng = np.random.default_rng(6)
    axes = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    variances = np.geomspace(1e-2, 1e2, 20)
    mean = axes @ (np.sqrt(variances) * rng.normal(size=20))
    precision = axes / variances @ axes.T

    def model(mean, precision):
        numpyro.sample("x", dist.MultivariateNormal(mean, precision_matrix=precision))

    return model, (mean, precision), {}


def two_modes() -> Bound:
    """Two modes of the same weight in 2 dimensions, correlated and mirrored, not on both sides of the start."""
    means = np.array([[-2.0, 0.5], [2.5, -0.5]])
    factors = np.array([[[0.7, 0.0], [0.4, 0.5]], [[0.7, 0.0], [-0.4, 0.5]]])

    def model(means, factors):
        which = dist.Categorical(probs=jnp.array([0.5, 0.5]))
        numpyro.sample("x", dist.MixtureSameFamily(which, dist.MultivariateNormal(means, scale_tril=factors)))

    return model, (means, factors), {}


def student() -> Bound:
    """A line through 30 points with errors of Student's t, its freedom and scale unknown, 4 dimensions."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=30)
    y = 0.5 + 1.2 * x + 0.4 * rng.standard_t(2.5, size=30)

    def model(x, y):
        line = numpyro.sample("line", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
        scale = numpyro.sample("scale", dist.HalfNormal(2.0))
        freedom = numpyro.sample("freedom", dist.Gamma(2.0, 0.1))
        numpyro.sample("y", dist.StudentT(freedom, line[0] + line[1] * x, scale).to_event(1), obs=y)

    return model, (x, y), {}


PROBLEMS: dict[str, Callable[[], Bound]] = {
    "eight_schools": eight_schools,
    "eight_schools_centred": eight_schools_centred,
    "logistic_4": partial(logistic, 4),
    "logistic_25": partial(logistic, 25),
    "logistic_100": partial(logistic, 100),
    "hierarchical": hierarchical,
    "process": process,
    "counts": counts,
    "volatility": volatility,
    "student": student,
    "funnel": funnel,
    "ill_conditioned": ill_conditioned,
    "two_modes": two_modes,
}
"""Names of the posteriors -> functions that return a model with its arguments."""
