"""Small NumPyro models that are registered as targets; each function returns a model, or (model, args, kwargs)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

Bound = tuple[Callable[..., None], tuple[Any, ...], dict[str, Any]]

READINGS = (1.2, 0.4, 2.1, 1.6, 0.9)
"""Made-up readings of the conjugate model, noise of standard deviation 1."""
EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)
ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)
"""Estimated effects of coaching in eight schools and their standard errors (Rubin 1981, table 1)."""


def conjugate_normal() -> Bound:
    """Mean mu ~ N(0, 2^2) and five readings ~ N(mu, 1): the posterior is N(sum y / (n + 1/4), 1 / (n + 1/4))."""

    def model(readings):
        mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
        with numpyro.plate("readings", len(readings)):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=readings)

    return model, (np.asarray(READINGS),), {}


def eight_schools() -> Bound:
    """Eight schools, non-centred: effect_j = mu + tau base_j, mu ~ N(0, 5^2), tau ~ HalfCauchy(5)."""

    def model(errors, effects):
        mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
        with numpyro.plate("schools", len(errors)):
            base = numpyro.sample("base", dist.Normal(0.0, 1.0))
            theta = numpyro.deterministic("theta", mu + tau * base)
            numpyro.sample("y", dist.Normal(theta, errors), obs=effects)

    return model, (np.asarray(ERRORS),), {"effects": np.asarray(EFFECTS)}


def logistic_regression() -> Bound:
    """Logistic regression of 100 made-up binary answers on three inputs; priors N(0, 2.5^2) and N(0, 1)."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(100, 3))
    logits = 0.5 + inputs @ np.array([1.0, -1.5, 0.5])
    answers = (rng.uniform(size=100) < 1 / (1 + np.exp(-logits))).astype(int)

    def model(inputs, answers):
        intercept = numpyro.sample("intercept", dist.Normal(0.0, 2.5))
        slopes = numpyro.sample("slopes", dist.Normal(0.0, 1.0).expand([inputs.shape[-1]]).to_event(1))
        logits = intercept + jnp.asarray(inputs) @ slopes
        with numpyro.plate("answers", len(inputs)):
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=answers)

    return model, (inputs, answers), {}
