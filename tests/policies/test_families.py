"""What every registered policy family keeps to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pogospec import registry
from pogospec.policies.base import DiagonalNormal, Sample
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.types import Space

SPACE = Space(5, 3, (-1.0,) * 3, (1.0,) * 3)
FAMILIES = [
    *(registry.load("policy", kind)() for kind in registry.table("policy")),
    GaussianPolicy(std="shared"),
    GaussianPolicy(log_std_map="tanh", log_std=(-5.0, 0.0), initialization="glorot"),
    GaussianPolicy(initialization="rebrac", layer_norm="after"),
    GaussianPolicy(initialization="orthogonal", mean="linear"),
]


def made(policy, rows=7):
    network = policy.init(jax.random.key(0), SPACE)
    observations = jax.random.normal(jax.random.key(1), (rows, 5))
    return network, observations, policy.parameters(network, observations)


@pytest.mark.parametrize("policy", FAMILIES, ids=str)
def test_actions_have_the_shape_of_the_batch(policy):
    _, _, parameters = made(policy)
    key = jax.random.key(2)
    assert isinstance(parameters, policy.parameter_type)
    assert policy.mean_action(parameters).shape == policy.sample(parameters, key).shape == (7, 3)
    assert policy.actions("mean", parameters, key).shape == (1, 7, 3)
    assert policy.actions("quadrature", parameters, key).shape == (6, 7, 3)
    assert policy.actions(Sample(4), parameters, key).shape == (4, 7, 3)
    assert policy.fit_loss(parameters, jnp.zeros((7, 3))).shape == (7,)
    if policy.has_density:
        assert policy.entropy(parameters, key).shape == policy.log_likelihood(parameters, jnp.zeros((7, 3))).shape


@pytest.mark.parametrize("policy", FAMILIES, ids=str)
def test_fitting_moves_the_policy_to_the_data(policy):
    network, observations, _ = made(policy, 64)
    actions = 0.5 * jnp.tanh(observations[:, :3])

    def loss(network):
        return policy.fit_loss(policy.parameters(network, observations), actions).mean()

    first, adam = loss(network), optax.adam(1e-3)

    @jax.jit
    def step(network, state):
        updates, state = adam.update(jax.grad(loss)(network), state)
        return optax.apply_updates(network, updates), state

    state, losses = adam.init(network), []
    for _ in range(150):
        network, state = step(network, state)
        losses.append(loss(network))
    assert min(losses) < first - 0.05


@pytest.mark.parametrize("policy", [p for p in FAMILIES if p.has_density], ids=str)
def test_log_stds_stay_inside_their_bounds_in_every_state(policy):
    network, observations, _ = made(policy)
    low, high = policy.log_std
    wild = jax.tree.map(lambda w: 100 * w + 100, network)
    for net in (network, wild):
        parameters = policy.parameters(net, observations)
        log_std = getattr(parameters, "log_std", None)
        log_std = parameters.log_diagonal if log_std is None else log_std
        assert ((log_std >= low) & (log_std <= high)).all()
    if getattr(policy, "std", None) == "shared":
        assert (policy.parameters(network, observations).log_std == 0).all()


def test_cubature_is_exact_for_cubics_and_samples_tend_to_the_same(float64):
    rng = np.random.default_rng(3)
    for size in (1, 2, 3, 17):
        parameters = DiagonalNormal(
            jnp.asarray(rng.normal(size=(4, size))), jnp.asarray(rng.uniform(-1, 0.5, (4, size)))
        )
        matrix, third = rng.normal(size=(size, size)), rng.normal(size=size)
        function = lambda a, m=matrix, t=third: ((a @ m) * a).sum(-1) + (a @ t) ** 2 * (a @ t)  # noqa: E731
        std = np.exp(parameters.log_std)
        quadratic = ((parameters.mean @ matrix) * parameters.mean).sum(-1) + (np.diag(matrix) * std**2).sum(-1)
        along = parameters.mean @ third
        exact = quadratic + along**3 + 3 * along * ((std * third) ** 2).sum(-1)
        points = GaussianPolicy().actions("quadrature", parameters, jax.random.key(0))
        np.testing.assert_allclose(function(points).mean(0), exact, rtol=1e-10, atol=1e-10)
        sampled = function(GaussianPolicy().actions(Sample(40_000), parameters, jax.random.key(1)))
        error = sampled.std(0) / 200
        assert (np.abs(sampled.mean(0) - exact) < 5 * error).all()


def test_rebrac_initialisation_has_its_bounds():
    network = GaussianPolicy(initialization="rebrac", hidden=(64, 64)).init(jax.random.key(0), SPACE)
    hidden, last = network.layers[1], network.layers[-1]
    assert (hidden.bias == np.float32(0.1)).all()
    assert 0.1 < np.abs(hidden.weight).max() <= 1 / 8
    assert max(np.abs(last.weight).max(), np.abs(last.bias).max()) <= 1e-3
    assert np.abs(last.bias).max() > 0
