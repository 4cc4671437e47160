"""Posterior predictive draws, and InferenceData of ArviZ."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import models
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import log_likelihood

import pogospec
from pogospec.errors import UsageError

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def flow():
    return pogospec.flow(models.regression, models.X, models.Y, family="full_gaussian", scheme="natural", steps=60)


def test_new_inputs_without_observations(flow):
    """Moments of the posterior predictive in closed form."""
    new = np.array([-3.0, 0.0, 4.0])
    draws = flow.predictive(KEY, 4000, new)
    assert {name: x.shape for name, x in draws.items()} == {"mean": (4000, 3), "y": (4000, 3)}
    mean, covariance = models.regression_posterior()
    design = np.stack([new, np.ones(3)], 1)
    spread = np.sqrt((design @ covariance * design).sum(1) + 0.25)
    np.testing.assert_allclose(draws["y"].mean(0), design @ mean, atol=5 * spread.max() / np.sqrt(4000))
    np.testing.assert_allclose(draws["y"].std(0), spread, rtol=0.06)
    named = flow.predictive(KEY, 4000, x=new, y=None)
    np.testing.assert_allclose(named["y"], draws["y"], rtol=1e-6)
    seen = flow.predictive(KEY, 5, models.X, models.Y)  # as NumPyro's Predictive: what is observed stays
    np.testing.assert_allclose(seen["y"], np.broadcast_to(models.Y, (5, len(models.Y))), rtol=1e-6)


def test_replicates_of_the_data_without_arguments(flow):
    draws = flow.predictive(KEY, 2000)
    assert draws["y"].shape == (2000, len(models.X))
    assert not np.allclose(draws["y"][0], models.Y)
    mean, _ = models.regression_posterior()
    np.testing.assert_allclose(draws["y"].mean(0), models.X * mean[0] + mean[1], atol=0.1)
    other = flow.predictive(jax.random.key(1), 2000)
    assert not np.allclose(draws["y"], other["y"])


def test_arguments_with_which_the_model_fails(flow):
    with pytest.raises(UsageError, match="^predictive: the model regression fails with these arguments: TypeError"):
        flow.predictive(KEY, 10, 1, 2, 3)
    with pytest.raises(UsageError, match="^predictive: n: found 0, allowed a whole number >= 1"):
        flow.predictive(KEY, 0)
    density = pogospec.flow(lambda x: -jnp.sum(x**2), dimensions=1, scheme="natural", steps=1)
    for ask in (density.predictive, density.to_arviz):
        with pytest.raises(UsageError, match=f"^{ask.__name__}: allowed for flows of NumPyro models"):
            ask(KEY, 10)


@pytest.mark.exhaustive("a flow of minibatches, which the bound looks at too")
def test_subsampled_plates_are_whole():
    options = {"scheme": "natural", "steps": 2, "tau": 0.5}
    flow = pogospec.flow(models.minibatches, models.X, models.Y, model_kwargs={"rows": 4}, **options)  # type: ignore[arg-type]
    draws = flow.predictive(KEY, 7)
    assert {name: x.shape for name, x in draws.items()} == {"mean": (7, 12), "y": (7, 12)}


def test_arviz_is_named_where_it_is_missing(flow, monkeypatch):
    monkeypatch.setattr("pogospec.extras.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'^to_arviz: arviz not installed; pip install "pogospec\[arviz\]"$'):
        flow.to_arviz(KEY, 10)


def test_inference_data_of_arviz(flow):
    pytest.importorskip("arviz", reason="the extra arviz is not installed")
    data = flow.to_arviz(KEY, 300)
    assert set(data.groups()) == {"posterior", "posterior_predictive", "log_likelihood", "observed_data"}
    assert dict(data.posterior.sizes) == {"chain": 1, "draw": 300, "rows": 12}
    assert data.posterior["mean"].dims == ("chain", "draw", "rows")
    assert data.posterior["slope"].dims == ("chain", "draw")
    np.testing.assert_allclose(data.observed_data["y"], models.Y, rtol=1e-6)
    assert data.posterior_predictive["y"].dims == ("chain", "draw", "rows")
    latent = {name: jnp.asarray(data.posterior[name].values[0]) for name in ("slope", "intercept")}
    expected = log_likelihood(models.regression, latent, models.X, models.Y)["y"]
    np.testing.assert_allclose(data.log_likelihood["y"].values[0], expected, rtol=1e-4)


@pytest.mark.exhaustive("ArviZ's own estimates of what is tested above")
def test_arviz_takes_the_data(flow):
    pytest.importorskip("arviz", reason="the extra arviz is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        data = flow.to_arviz(KEY, 2000)
        loo: Any = arviz.loo(data)
        assert np.max(loo.pareto_k) < 0.7
        mean, covariance = models.regression_posterior()
        table = arviz.summary(data, var_names=["slope"], round_to=6)
    assert float(table["mean"].iloc[0]) == pytest.approx(mean[0], abs=0.03)
    assert float(table["sd"].iloc[0]) == pytest.approx(np.sqrt(covariance[0, 0]), rel=0.1)


def test_dimensions_are_those_of_plates_and_events():
    pytest.importorskip("arviz", reason="the extra arviz is not installed")

    def model(y):
        with numpyro.plate("groups", 2, dim=-2):
            weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
            with numpyro.plate("rows", 4, dim=-1):
                numpyro.sample("y", dist.Normal(jnp.sum(weights, -1), 1.0), obs=y)
        numpyro.factor("pull", 0.0)

    options = {"scheme": "natural", "steps": 1, "tau": 0.1}
    data = pogospec.flow(model, np.zeros((2, 4)), **options).to_arviz(KEY, 5)  # type: ignore[arg-type]
    assert data.posterior["weights"].dims == ("chain", "draw", "groups", "weights_dim_1", "weights_dim_2")
    assert data.log_likelihood["y"].dims == ("chain", "draw", "groups", "rows")
    assert set(data.observed_data) == {"y"}
