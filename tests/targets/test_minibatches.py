"""Subsampled plates: what a minibatch is, and that the density by it is right on average; discrete sites summed out."""

import itertools
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy.special import logsumexp

import pogospec
from pogospec.errors import UsageError
from pogospec.steps.explicit import Explicit
from pogospec.steps.forward_backward import ForwardBackward
from pogospec.steps.implicit import Implicit
from pogospec.steps.natural import Natural
from pogospec.steps.points import Antithetic
from pogospec.targets.given import GivenModel, given
from pogospec.targets.traced import joint, minibatch

Y = np.array([0.3, -1.2, 2.2, 0.8, 4.1, -0.5, 1.9])
KEYS = jax.vmap(jax.random.key)(jnp.arange(20_000))


def model(y, rows=None, more=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("rows", len(y), subsample_size=rows) as index:
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[index])
    with numpyro.plate("columns", 4, subsample_size=more):
        numpyro.sample("x", dist.Normal(mu, 2.0), obs=numpyro.subsample(jnp.arange(4.0), event_dim=0))


def target_of(*arguments) -> GivenModel:
    found = given(model, arguments, None, None)
    assert isinstance(found, GivenModel)
    return found


@pytest.mark.parametrize(("size", "taken"), [(7, 3), (6, 3), (5, 1), (9, 8)])
def test_each_row_is_as_likely_as_any_other_and_none_is_taken_twice(size, taken):
    rows = np.asarray(jax.jit(jax.vmap(lambda key: minibatch(key, size, taken)))(KEYS))
    assert (np.diff(np.sort(rows, 1), axis=1) > 0).all()
    counts = np.bincount(rows.ravel(), minlength=size)
    expected = len(KEYS) * taken / size
    assert len(counts) == size
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_the_density_and_its_gradient_are_right_on_average(float64):
    """Of two plates, whose minibatches are scaled apart; the mean over many within five standard errors."""
    whole, part = target_of(Y, None, None), target_of(Y, 3, 2)
    assert not whole.estimated
    assert part.estimated
    x = jnp.array([0.7])

    @jax.jit
    def both(keys):
        one = lambda key: jax.value_and_grad(lambda x: joint(part.bound, {"mu": x[0]}, key))(x)  # noqa: E731
        return jax.vmap(one)(keys)

    values, slopes = both(KEYS)
    exact = jax.value_and_grad(whole.log_density)(x)
    for found, wanted in ((values, exact[0]), (slopes[:, 0], exact[1][0])):
        assert float(found.std()) > 0.1
        assert abs(float(found.mean() - wanted)) < 5 * float(found.std()) / np.sqrt(len(KEYS))
    np.testing.assert_allclose(part.whole().log_density(x), exact[0], rtol=1e-12)
    assert part.log_normalizer(1.0) is None
    assert part.optimum(1.0) is None


def test_rows_of_actions_see_minibatches_of_their_own_or_the_same_one():
    part, same = target_of(Y, 3), jnp.full((6, 1, 1), 0.7)
    own = part.drawn(jax.random.key(1), alike=False).log_density(same)
    assert own.shape == (6, 1)
    assert np.unique(own).size > 3
    assert np.unique(part.drawn(jax.random.key(1), alike=True).log_density(same)).size == 1
    again = part.drawn(jax.random.key(2), alike=True).log_density(same)[0, 0]
    others = [part.drawn(jax.random.key(k), alike=True).log_density(same)[0, 0] for k in range(3, 7)]
    assert any(float(other) != float(again) for other in others)
    np.testing.assert_array_equal(part.log_density(same), part.log_density(same))  # without a key always the same
    whole = target_of(Y)
    assert whole.drawn(jax.random.key(0), alike=False) is whole


def test_schemes_that_compare_their_points_see_the_same_rows():
    assert Natural(curvature="plane").compares(2)
    assert ForwardBackward().compares(2)
    assert Explicit().compares(2)
    assert Natural().compares(2)
    assert not Natural(actions=Antithetic(8)).compares(2)
    assert Natural(actions=Antithetic(8)).compares(1000)  # where a plane is laid
    assert not Implicit().compares(2)


def test_sites_of_subsampled_models_are_those_of_all_rows():
    def local(y):
        mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
        numpyro.deterministic("twice", 2 * mu)
        with numpyro.plate("rows", len(y), subsample_size=2) as index:
            numpyro.deterministic("here", mu + y[index])
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[index])

    target = given(local, (Y,), None, None)
    assert isinstance(target, GivenModel)
    assert {name: x.shape for name, x in target.constrain(jnp.zeros((3, 1))).items()} == {"mu": (3,), "twice": (3,)}


def batch_as_argument(batch):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    with numpyro.plate("rows", 100, subsample_size=len(batch)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=batch)


def local_latent(y):
    with numpyro.plate("rows", len(y), subsample_size=2) as index:
        mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[index])


def hidden(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with handlers.block():
        noise = numpyro.sample("noise", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu + noise, 1.0), obs=y)


def renamed(y, calls=itertools.count()):  # noqa: B008 - one counter for all calls
    mu = numpyro.sample(f"mu_{next(calls)}", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def counted(y):
    k = numpyro.sample("k", dist.Poisson(3.0))
    mu = numpyro.sample("mu", dist.Normal(k, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            batch_as_argument,
            "with all rows of the plate rows it fails: .*; give it all data, and take rows by the plate",
        ),
        (local_latent, "the latent site mu lies in the subsampled plate rows, .*; allowed the whole plate"),
        (hidden, "the site noise has no value in the density and is drawn anew each time, .*: handlers.block hides it"),
        (renamed, r"the site mu_\d has no value in the density and .* or it has another name in each run"),
        (counted, r"the latent site k is discrete \(Poisson\), with values that cannot all be listed to be summed out"),
    ],
)
def test_models_without_a_density_are_told_in_one_line(function, message):
    with pytest.raises(UsageError, match=f"^flow: the model {function.__name__} cannot be used: {message}") as caught:
        pogospec.flow(function, Y)
    assert "\n" not in str(caught.value)


def mixture(y, rows=None):
    share = numpyro.sample("share", dist.Beta(2.0, 3.0))
    with numpyro.plate("rows", len(y), subsample_size=rows) as index:
        kind = numpyro.sample("kind", dist.Bernoulli(share))
        numpyro.deterministic("centre", 3.0 * kind)
        numpyro.sample("y", dist.Normal(3.0 * kind, 1.0), obs=y[index])


def test_discrete_sites_ask_for_what_sums_them_out(monkeypatch):
    monkeypatch.setattr("pogospec.extras.find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"kind is discrete .* is missing: funsor not installed; pip install .*enumerate"
    ):
        pogospec.flow(mixture, Y)
    with pytest.raises(UsageError, match="coin is discrete"):
        pogospec.flow(lambda: numpyro.sample("coin", dist.Bernoulli(0.5)))


@pytest.mark.skipif(find_spec("funsor") is None, reason="the extra enumerate is not installed")
def test_discrete_sites_are_summed_out(float64):
    """log sum_k p(k) p(y | k) of each row, the Beta and its slope."""
    target = given(mixture, (Y,), None, None)
    assert isinstance(target, GivenModel)
    u = np.array([[-0.4], [0.9]])
    p = 1 / (1 + np.exp(-u[:, 0]))

    def log_normal(x):
        return -0.5 * x**2 - 0.5 * np.log(2 * np.pi)

    parts = np.stack([np.log1p(-p)[:, None] + log_normal(Y), np.log(p)[:, None] + log_normal(Y - 3.0)])
    exact = np.asarray(logsumexp(parts, 0)).sum(1) + np.log(12 * p * (1 - p) ** 2) + np.log(p * (1 - p))
    np.testing.assert_allclose(target.log_density(jnp.asarray(u)), exact, rtol=1e-12)
    assert set(target.constrain(jnp.asarray(u))) == {"share"}
    with pytest.raises(UsageError, match="the plate rows is subsampled and the discrete site kind summed out"):
        given(mixture, (Y, 3), None, None)
    with pytest.raises(UsageError, match="it has no latent sites that are continuous"):
        given(lambda: numpyro.sample("coin", dist.Bernoulli(0.5)), (), None, None)


@pytest.mark.exhaustive("a flow on a sum over discrete sites, whose density is tested above")
@pytest.mark.skipif(find_spec("funsor") is None, reason="the extra enumerate is not installed")
def test_a_flow_of_a_mixture_ends_at_the_posterior_of_its_share():
    from numpyro.infer import Predictive

    flow = pogospec.flow(mixture, Y, scheme="natural", tau=0.5, steps=40, actions={"hermite": 16})
    samples, weights = flow.weighted_samples(jax.random.key(0), 20_000)
    u = np.linspace(-12, 12, 20_001)
    density = np.asarray(flow.target.log_density(jnp.asarray(u)[:, None]), float)
    mass = np.exp(density - density.max())
    mean = (mass / (1 + np.exp(-u))).sum() / mass.sum()
    assert float(jnp.sum(weights * samples["share"])) == pytest.approx(mean, abs=0.005)
    new = flow.predictive(jax.random.key(1), 500, Y[:2])
    assert set(np.unique(new["kind"])) == {0, 1}
    kinds = Predictive(mixture, flow.posterior_samples(jax.random.key(2), 200), infer_discrete=True)(
        jax.random.key(3), jnp.asarray(Y)
    )["kind"]
    assert kinds[:, 4].mean() > 0.9 > 0.1 > kinds[:, 1].mean()  # 4.1 and -1.2
    guide = flow.guide()
    assert guide.sample_posterior(jax.random.key(0), guide.params)["share"].shape == ()
