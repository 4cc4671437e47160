"""Importance weights, the evidence lower bound and Pareto k, beside closed forms and ArviZ."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import pogospec
from pogospec.errors import UsageError
from pogospec.posterior.weights import Estimate, ParetoK, elbo, fitted, pareto_k, smoothed

KEY = jax.random.key(0)
HOT: dict[str, Any] = {"steps": 40, "scheme": "natural", "tau": 0.2, "actions": {"hermite": 8}}


def gaussian(x):
    return -0.5 * ((x - 1.0) ** 2).sum()


@pytest.fixture(scope="module")
def wide():
    """A flow that has not begun: N(0, 1)^2 beside N(1, 1)^2, which is not normalised."""
    return pogospec.flow(gaussian, dimensions=2, scheme="natural", steps=1, tau=1e-6)


def test_the_bound_is_that_of_closed_forms_within_its_error(wide):
    """log Z - KL = log 2 pi - 1."""
    found = wide.elbo(KEY, 4000)
    exact = np.log(2 * np.pi) - 1.0
    assert abs(found.value - exact) < 4 * found.error
    assert found.error == pytest.approx(np.sqrt(2 / 4000), rel=0.05)  # log w = z_1 + z_2 and a constant
    assert str(found) == f"{found.value:.3f} ± {found.error:.3f}"
    again = wide.elbo(jax.random.key(1), 4000)
    assert again.value != found.value


def test_the_bound_is_that_of_the_density_at_other_temperatures():
    flow = pogospec.flow(gaussian, dimensions=2, temperature=4.0, **HOT)
    found = flow.elbo(KEY, 100)
    assert found.value == pytest.approx(np.log(2 * np.pi * 4.0), abs=1e-4)
    assert found.value == pytest.approx(-flow.energies[-1] / 4, abs=1e-4)
    assert float(flow.pareto_k(KEY, 1000)) == -np.inf
    assert "all weights are alike" in str(flow.pareto_k(KEY, 1000))


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.6, 1.2])
def test_the_shape_of_a_pareto_distribution_is_found(shape):
    """By its quantiles, of which the prior of ten values takes a known share back."""
    n = 20_000
    levels = (np.arange(n) + 0.5) / n
    k, scale = fitted(3.0 * ((1 - levels) ** -shape - 1) / shape)
    assert (k * (n + 10) - 5) / n == pytest.approx(shape, abs=0.01)
    assert scale == pytest.approx(3.0, rel=0.02)


def test_k_of_known_tails():
    """Weights exp(a^2 z^2/2) of normal z have P(w > t) ~ t^(-1/a^2): the shape a^2."""
    z = np.random.default_rng(0).normal(size=200_000)
    for shape in (0.3, 0.6, 0.9):
        assert float(pareto_k(shape * z**2 / 2)) == pytest.approx(shape, abs=0.1)


@pytest.mark.parametrize("n", [30, 1000, 4001])
def test_smoothing_is_that_of_arviz(n):
    arviz = _arviz()
    rng = np.random.default_rng(n)
    for log_weight in (rng.normal(size=n), 3 * rng.normal(size=n), rng.standard_t(3, size=n), rng.gamma(2, 2, size=n)):
        expected, k = arviz.psislw(log_weight.copy())
        own, own_k = smoothed(log_weight)
        assert own_k == pytest.approx(float(k), abs=1e-9)
        np.testing.assert_allclose(own, expected, rtol=1e-8)
        assert np.exp(own).sum() == pytest.approx(1.0)


def test_nearly_equal_weights_without_a_tail_are_told_from_a_poor_end():
    """Of a Gaussian for the logarithm of a Gamma(18): the largest weights stand on a plateau; ArviZ finds k = 3 too."""
    z = np.random.default_rng(0).normal(size=4000)
    u = z / np.sqrt(18) - 1 / 36
    found = pareto_k(18 * u - 18 * np.exp(u) + z**2 / 2)
    assert found > 1
    assert found.effective > 0.98
    assert found.meaning.startswith("open: as many as 99% of the draws count")
    assert pareto_k(np.array([0.0] * 60 + [-np.inf] * 40)).effective == pytest.approx(0.6)


def test_weights_that_are_no_numbers():
    assert float(pareto_k(np.array([0.0] * 99 + [np.nan]))) == np.inf
    assert "far off" in str(pareto_k(np.array([0.0] * 99 + [np.inf])))
    value, k = smoothed(np.array([-np.inf] * 50 + list(np.linspace(0, 1, 50))))  # where the density is 0
    assert np.exp(value).sum() == pytest.approx(1.0)
    assert np.isfinite(k)
    assert elbo(np.array([0.0, -np.inf])).value == -np.inf


@pytest.mark.parametrize(
    ("k", "n", "effective", "words"),
    [
        (0.2, 1000, 0.8, "good"),
        (0.6, 10_000, 0.5, "usable: smoothed"),
        (0.69, 100_000, 0.99, "usable: smoothed"),
        (0.6, 100, 0.3, "usable with more samples: 100 are sound up to 0.50"),
        (0.8, 1000, 0.2, "poor"),
        (1.3, 1000, 0.1, "far off"),
        (1.3, 1000, 0.97, "open: as many as 97% of the draws count"),
    ],
)
def test_k_says_what_it_means(k, n, effective, words):
    found = ParetoK(k, n, effective)
    assert found == k
    assert str(found).startswith(f"{k:.2f} ({words}")


def test_digits_follow_the_error():
    assert str(Estimate(-31.55123, 0.0231)) == "-31.551 ± 0.023"
    assert str(Estimate(1234.5, 25.0)) == "1234 ± 25"
    assert str(Estimate(1.0, 0.0)) == "1.0000 ± 0.0000"


def test_what_cannot_be_weighed(wide):
    for ask, least in ((wide.elbo, 2), (wide.pareto_k, 25)):
        with pytest.raises(UsageError, match=f"n: found {least - 1}, allowed a whole number >= {least}"):
            ask(KEY, least - 1)
        with pytest.raises(UsageError, match="found step 7"):
            ask(KEY, 100, step=7)
    point = pogospec.flow(gaussian, dimensions=2, family="dirac", temperature=0, steps=1, updates=1)
    with pytest.raises(UsageError, match="^elbo: found a flow at temperature 0"):
        point.elbo(KEY, 10)
    with pytest.raises(UsageError, match="^weighted_samples: allowed for flows of NumPyro models"):
        wide.weighted_samples(KEY, 100)


@pytest.mark.exhaustive("two flows; test_known_posteriors.py has one")
def test_the_bound_of_a_subsampled_model_looks_at_all_data():
    y = jnp.linspace(-1.0, 3.0, 40)

    def model(rows):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", len(y), subsample_size=rows) as index:
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[index])

    options: dict[str, Any] = {"scheme": "natural", "steps": 1, "tau": 1e-6}
    whole, part = (pogospec.flow(model, rows, **options) for rows in (None, 8))
    assert part.elbo(KEY, 50).value == pytest.approx(whole.elbo(KEY, 50).value, rel=1e-5)


def _arviz():
    pytest.importorskip("arviz", reason="the extra arviz is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    return arviz
