"""Explicit density steps of Gaussian mixtures: two hills, from samples and logged actions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pogospec
from pogospec.checking.check import checked
from pogospec.energies.base import Context
from pogospec.energies.q import QTerm
from pogospec.errors import SpecError
from pogospec.geometries.kl import KL
from pogospec.policies.base import Point
from pogospec.policies.gaussian_mixture import GaussianMixturePolicy
from pogospec.policies.mixtures import Mixture
from pogospec.spec.resolve import read_text
from pogospec.steps.base import Problem, Proximal
from pogospec.steps.explicit import Explicit
from pogospec.steps.gradient import Euclidean

WEIGHTS, MEANS, STDS = np.array([0.3, 0.7]), np.array([-1.5, 1.2]), np.array([0.4, 0.6])


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def hills(a):
    """The log density of two hills, but for a constant."""
    parts = jnp.log(WEIGHTS) - jnp.square((a - MEANS) / STDS) / 2 - jnp.log(STDS)
    return jax.scipy.special.logsumexp(parts, -1)


def exact(count, tau, std=1.5):
    """KL to the optimum of exact steps pi^(1 - tau) exp(tau Q)/Z from N(0, std^2), on a grid; lambda = 1."""
    x = np.linspace(-9, 9, 20_001)
    end = np.asarray(hills(jnp.asarray(x)[:, None]))
    log, found = -np.square(x / std) / 2, []
    end = end - np.log(np.exp(end).sum())
    for _ in range(count + 1):
        log = log - np.log(np.exp(log).sum())
        found.append((np.exp(log) * (log - end)).sum())
        log = (1 - tau) * log + tau * end
    return np.array(found)


def flow(family, samples, steps, **scheme):
    return pogospec.flow(
        hills,
        dimensions=1,
        family=family,
        geometry="fisher_rao",
        tau=0.5,
        steps=steps,
        updates=300,
        scheme={"kind": "explicit"} | scheme,
        actions={"sample": samples},
        start=(0.0, 1.5),
    )


@pytest.mark.exhaustive("follows a flow")
def test_steps_of_a_mixture_end_at_both_hills_as_fast_as_exact_ones():
    """KL to exp(Q/lambda)/Z, 0.78 nats at the start, falls with that of exact steps while samples can tell."""
    found, wanted = flow({"kind": "gaussian_mixture", "components": 2}, 256, 4), exact(4, 0.5)
    assert found.kl is not None
    assert found.kl[0] == pytest.approx(wanted[0], rel=0.02)  # components begin a little apart
    np.testing.assert_allclose(found.kl[1:], wanted[1:], rtol=0.2, atol=2e-3)
    assert found.kl[-1] < 5e-3


@pytest.mark.exhaustive("follows a flow for each")
@pytest.mark.parametrize(("samples", "scheme", "least"), [(16, {"split": 0.5}, 8e-3), (256, {"split": 0.5}, 1e-3)])
def test_few_samples_that_split_the_step_arrive_too_and_a_gaussian_never_does(samples, scheme, least):
    found = flow({"kind": "gaussian_mixture", "components": 2}, samples, 12, **scheme)
    assert found.kl is not None
    assert found.kl[-1] < least
    weights = np.exp(np.asarray(found.parameters.log_weights)[-1])
    order = np.argsort(np.asarray(found.parameters.means)[-1, :, 0])
    np.testing.assert_allclose(weights[order], WEIGHTS, atol=0.05)
    alone = flow("gaussian", samples, 12, **scheme)
    assert alone.kl is not None
    assert alone.kl[-1] > 0.45


@functools.cache
def logged():
    """Actions of two narrow hills, alike."""
    rng = np.random.default_rng(0)
    return jnp.asarray(np.where(rng.random(4000) < 0.5, -0.6, 0.5)[:, None] + 0.1 * rng.normal(size=(4000, 1)))


def test_from_data_the_weights_of_components_follow_those_of_logged_actions():
    """pi_D exp(tau Q)/Z: with Q = log 3 at the right hill and tau = 1 it has the share 3/4 of the weighted points."""
    actions, family = logged(), GaussianMixturePolicy(components=2)
    q = lambda a, count=None, slow=False: jnp.log(3.0) * (a[..., 0] > 0)[None]  # noqa: E731
    seen = Context(jnp.zeros((len(actions), 0)), actions, family, q, {})
    step = Problem({"q": QTerm(critics="first")}, (Proximal(KL(), "data", 1.0),), Euclidean())
    start = Mixture(jnp.zeros(2), jnp.array([[-0.1], [0.1]]), jnp.full((2, 1), -1.0))
    spread = lambda one: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(actions), *leaf.shape)), one)  # noqa: E731
    adam = optax.adam(optax.cosine_decay_schedule(0.03, 600))

    def update(carry, key):
        heads, state = carry
        gradient, info = Explicit().gradient(step, spread, heads, (Point(actions),), seen, key)
        changes, state = adam.update(gradient, state)
        return (optax.apply_updates(heads, changes), state), info

    go = jax.jit(
        lambda heads: jax.lax.scan(update, (heads, adam.init(heads)), jax.random.split(jax.random.key(0), 600))
    )
    (heads, _), info = go(start)
    right = np.asarray(actions)[:, 0] > 0
    share = 3 * right.sum() / (3 * right.sum() + (~right).sum())
    order = np.argsort(np.asarray(heads.means)[:, 0])
    np.testing.assert_allclose(np.exp(np.asarray(heads.log_weights))[order], [1 - share, share], atol=1e-3)
    for side, place in ((~right, order[0]), (right, order[1])):
        own = np.asarray(actions)[side, 0]
        assert float(heads.means[place, 0]) == pytest.approx(own.mean(), abs=1e-3)
        assert float(jnp.exp(heads.log_stds[place, 0])) == pytest.approx(own.std(), abs=1e-3)
    assert "distance" not in info


LOGGED = """\
data: {dataset: pocket/reacher-mixed, holdout: 0.2}
policy: {kind: gaussian_mixture, components: 2, hidden: [16]}
energy: {q: {}}
geometry: fisher_rao
critic: {kind: clipped_double_q, hidden: [16]}
schedule:
  steps:
    - {learn: [critic, behavior], updates: 9}
    - {from: behavior, tau: 0.4, updates: 9, learn: [policy], scheme: explicit}
"""


def test_a_distance_is_asked_for_where_one_is_needed():
    checked(read_text(LOGGED))
    checked(read_text(LOGGED.replace("fisher_rao", "hellinger")))
    for old, new, message in (
        (", scheme: explicit", "", "geometry: fisher_rao knows no distance"),
        ("tau: 0.4", "tau: {kind: backtracking, start: 1}", "tau: backtracking compares distances, which fisher_rao"),
        ("scheme: explicit", "scheme: explicit, gradient: natural", "fisher_rao has no metric on gaussian_mixture"),
    ):
        with pytest.raises(SpecError, match=message):
            checked(read_text(LOGGED.replace(old, new)))
