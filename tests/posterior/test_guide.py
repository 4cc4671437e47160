"""The end of a flow as NumPyro's guide, as the start and the mass matrix of NUTS, and guides as the start of a flow."""

from typing import Any

import jax
import jax.numpy as jnp
import models
import numpy as np
import optax
import pytest
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from numpyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal

import pogospec
from pogospec.errors import UsageError
from pogospec.policies.mixtures import Mixture
from pogospec.posterior import guide as guides
from pogospec.posterior.start import found
from pogospec.targets.given import given

KEY = jax.random.key(0)
BEGUN: dict[str, Any] = {"scheme": "natural", "steps": 1, "tau": 1e-9}
"""A flow that stays where it starts."""


@pytest.fixture(scope="module")
def flow():
    return pogospec.flow(models.regression, models.X, models.Y, family="full_gaussian", scheme="natural", steps=60)


@pytest.fixture(scope="module")
def guide(flow):
    return flow.guide()


def test_a_guide_draws_what_the_flow_draws(flow, guide):
    """Through NumPyro's own vector, whose order is another, and its constraints."""
    assert list(guide.params) == ["auto_loc", "auto_scale_tril"]
    draws = Predictive(models.regression, guide=guide, params=guide.params, num_samples=4000)(KEY, models.X)
    assert draws["y"].shape == (4000, len(models.X))
    mean, covariance = models.regression_posterior()
    fitted = models.X * mean[0] + mean[1]
    spread = covariance[0, 0] * models.X**2 + 2 * models.X * covariance[0, 1] + covariance[1, 1]
    np.testing.assert_allclose(draws["mean"].mean(0), fitted, atol=5 * np.sqrt(spread.max() / 4000))
    np.testing.assert_allclose(draws["mean"].std(0), np.sqrt(spread), rtol=0.06)
    np.testing.assert_allclose(draws["y"].std(0), np.sqrt(spread + 0.25), rtol=0.06)
    sites = guide.sample_posterior(KEY, guide.params, sample_shape=(4000,))
    found = np.cov(sites["slope"], sites["intercept"])
    np.testing.assert_allclose(found, covariance, atol=0.08 * covariance.max())


def test_the_loss_of_a_guide_is_minus_the_bound_of_the_flow(flow, guide):
    loss: Any = Trace_ELBO(num_particles=500).loss(KEY, guide.params, models.regression, guide, models.X, models.Y)
    bound = flow.elbo(KEY, 2000)
    assert float(loss) == pytest.approx(-bound.value, abs=1e-2)  # at the exact posterior neither has noise


@pytest.mark.exhaustive("compiles an SVI")
def test_svi_goes_on_from_a_guide(flow, guide):
    svi = SVI(models.regression, guide, optax.sgd(1e-5), Trace_ELBO())
    state = svi.init(KEY, models.X, models.Y)
    np.testing.assert_allclose(svi.get_params(state)["auto_loc"], guide.params["auto_loc"], rtol=1e-6)
    np.testing.assert_allclose(svi.get_params(state)["auto_scale_tril"], guide.params["auto_scale_tril"], atol=1e-6)


@pytest.mark.exhaustive("the same guide with a diagonal")
def test_guides_of_independent_dimensions():
    flow = pogospec.flow(models.regression, models.X, models.Y, start=([0.5, -1.0], [0.3, 0.7]), **BEGUN)
    guide: Any = flow.guide()
    assert AutoDiagonalNormal in type(guide).mro()
    sites = guide.sample_posterior(KEY, guide.params, sample_shape=(4000,))
    for name, mean, std in (("slope", 0.5, 0.3), ("intercept", -1.0, 0.7)):
        assert float(sites[name].mean()) == pytest.approx(mean, abs=0.05)
        assert float(sites[name].std()) == pytest.approx(std, rel=0.05)
    start = flow.nuts_start()
    assert not start.dense_mass
    np.testing.assert_allclose(start.inverse_mass_matrix, [0.49, 0.09], rtol=1e-5)  # by the alphabet


def test_guides_of_other_families_have_nothing_to_learn(flow):
    """Of half N((0, 5), 0.1^2) and half N((2, 5), 0.1^2)."""
    mixture = Mixture(jnp.zeros(2), jnp.array([[0.0, 5.0], [2.0, 5.0]]), jnp.full((2, 2), jnp.log(0.1)))
    guide: Any = guides.guide(flow.target, mixture)
    assert guide.params == {}
    draws = Predictive(models.regression, guide=guide, num_samples=500)(KEY, models.X)
    np.testing.assert_allclose(draws["mean"][:, 0].mean(), 5.0 - 1.0, atol=0.2)  # at x = -1: intercept - slope
    np.testing.assert_allclose(draws["mean"][:, 0].std(), 1.0, atol=0.1)
    start = guides.nuts_start(flow.target, mixture, None, 1)
    assert start.dense_mass
    np.testing.assert_allclose(start.inverse_mass_matrix, np.diag([0.01, 1.01]), atol=0.02)
    np.testing.assert_allclose(start.init_params["slope"], 1.0, atol=0.05)
    with pytest.raises(UsageError, match="start: found the guide _Fixed, allowed AutoNormal"):
        found((guide, {}), flow.target, 1.0, KEY)


def test_nuts_takes_start_and_mass_matrix(flow):
    mean, covariance = models.regression_posterior()
    start = flow.nuts_start()
    assert start.dense_mass
    order = [1, 0]  # intercept, slope
    np.testing.assert_allclose(start.inverse_mass_matrix, covariance[np.ix_(order, order)], rtol=0.02)
    np.testing.assert_allclose([start.init_params["slope"], start.init_params["intercept"]], mean, atol=0.01)
    kernel = NUTS(
        models.regression,
        inverse_mass_matrix=start.inverse_mass_matrix,
        dense_mass=start.dense_mass,
        adapt_mass_matrix=False,
    )
    chain = MCMC(kernel, num_warmup=30, num_samples=300, progress_bar=False)
    chain.run(KEY, models.X, models.Y, init_params=start.init_params, extra_fields=("num_steps",))
    state: Any = chain.last_state
    used = state.adapt_state.inverse_mass_matrix
    np.testing.assert_allclose(next(iter(used.values())), start.inverse_mass_matrix, rtol=1e-6)
    samples = chain.get_samples()
    for index, name in enumerate(("slope", "intercept")):
        assert float(samples[name].mean()) == pytest.approx(mean[index], abs=0.5 * np.sqrt(covariance[index, index]))
    assert chain.get_extra_fields()["num_steps"].max() <= 7  # as where the mass matrix is right


def test_chains_start_apart(flow):
    start = flow.nuts_start(KEY, chains=3)
    assert {name: value.shape for name, value in start.init_params.items()} == {"slope": (3,), "intercept": (3,)}
    assert np.unique(start.init_params["slope"]).size == 3
    assert flow.nuts_start(KEY).init_params["slope"].shape == ()
    with pytest.raises(UsageError, match="nuts_start: found 3 chains and no key"):
        flow.nuts_start(chains=3)
    with pytest.raises(UsageError, match="nuts_start: chains: found 0"):
        flow.nuts_start(KEY, chains=0)


def trained(kind):
    guide = kind(models.regression)
    result = SVI(models.regression, guide, optax.adam(0.05), Trace_ELBO()).run(
        KEY, 200, models.X, models.Y, progress_bar=False
    )
    return guide, result


@pytest.mark.thinned(("AutoMultivariateNormal",), "each trains a guide")
@pytest.mark.parametrize("kind", [AutoNormal, AutoMultivariateNormal], ids=lambda kind: kind.__name__)
def test_a_flow_starts_at_what_a_guide_has_learned(kind):
    guide, result = trained(kind)
    options: dict[str, Any] = {"family": "full_gaussian"} | BEGUN
    flow = pogospec.flow(models.regression, models.X, models.Y, start=(guide, result), **options)
    first: Any = flow.distribution(0)
    sites = guide.sample_posterior(KEY, result.params, sample_shape=(20_000,))
    rows = np.stack([sites["slope"], sites["intercept"]])
    np.testing.assert_allclose(first.mean, rows.mean(1), atol=5 * rows.std(1).max() / np.sqrt(20_000))
    covariance = np.cov(rows)
    np.testing.assert_allclose(first.covariance_matrix, covariance, atol=0.05 * covariance.max())
    assert (abs(first.covariance_matrix[0, 1]) > 1e-3) == (kind is AutoMultivariateNormal)
    again = pogospec.flow(models.regression, models.X, models.Y, start=(guide, result.params), **options)
    np.testing.assert_allclose(again.parameters.mean[0], flow.parameters.mean[0])


def test_a_point_of_a_guide_comes_with_its_curvature():
    guide, result = trained(AutoDelta)
    options: dict[str, Any] = {"family": "full_gaussian"} | BEGUN
    first: Any = pogospec.flow(models.regression, models.X, models.Y, start=(guide, result), **options).distribution(0)
    mean, covariance = models.regression_posterior()
    np.testing.assert_allclose(first.covariance_matrix, covariance, rtol=1e-3)
    np.testing.assert_allclose(first.mean, [result.params["slope_auto_loc"], result.params["intercept_auto_loc"]])


def test_a_point_need_not_be_a_maximum_in_unconstrained_space():
    """Of a Gamma(18, 7) posterior at rate 2, where Q(u) = 18 u - 7 e^u rises and bends by 14."""
    guide, target = AutoDelta(models.rate), given(models.rate, (models.COUNTS,), None, None)
    SVI(models.rate, guide, optax.adam(0.1), Trace_ELBO()).init(KEY, models.COUNTS)
    start = found((guide, {"rate_auto_loc": jnp.array(2.0)}), target, 1.0, KEY)
    assert start is not None
    assert start.mean[0] == pytest.approx(np.log(2.0), rel=1e-5)
    assert start.covariance[0, 0] == pytest.approx(1 / 14, rel=1e-5)


def test_guides_that_are_no_start(flow, guide):
    target = flow.target
    other = AutoNormal(models.rate)
    with pytest.raises(UsageError, match=r"start: found AutoNormal and dict, allowed .* after svi.run"):
        found((other, {}), target, 1.0, KEY)
    SVI(models.rate, other, optax.adam(0.1), Trace_ELBO()).init(KEY, models.COUNTS)
    with pytest.raises(UsageError, match="start: the guide has no site intercept, slope"):
        found((other, {}), target, 1.0, KEY)
    with pytest.raises(UsageError, match="start: the params are not those of the guide _Full"):
        found((guide, {}), target, 1.0, KEY)
    with pytest.raises(UsageError, match="^flow: start: found a guide, allowed for flows of NumPyro models"):
        pogospec.flow(lambda x: -(x**2).sum(), dimensions=2, start=(guide, guide.params))
    density = pogospec.flow(lambda x: -jnp.sum(x**2), dimensions=2, **BEGUN)
    for ask in (density.guide, density.nuts_start):
        with pytest.raises(UsageError, match=f"^{ask.__name__}: allowed for flows of NumPyro models"):
            ask()
