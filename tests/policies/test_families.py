"""What every registered policy family keeps to."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pogospec import registry
from pogospec.policies.base import DiagonalNormal, Sample, normals, row_of
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.policies.tanh_gaussian import TanhGaussianPolicy
from pogospec.types import Space

SPACE = Space(5, 3, (-1.0,) * 3, (1.0,) * 3)
KINDS = [registry.load("policy", kind)() for kind in registry.table("policy")]
OWN = [policy for policy in KINDS if not policy.borrows]
"""Those with networks of their own."""
FAMILIES = [
    *OWN,
    GaussianPolicy(std="shared"),
    GaussianPolicy(log_std_map="tanh", log_std=(-5.0, 0.0), initialization="glorot"),
    GaussianPolicy(initialization="rebrac", layer_norm="after"),
    GaussianPolicy(initialization="orthogonal", mean="linear"),
    TanhGaussianPolicy(log_std=(-20.0, 2.0), log_std_affine=(1.5, -1.0), initialization="cql_policy"),
]


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


@functools.cache
def fresh(policy):
    """Networks on the host."""
    return computed(lambda key: policy.init(key, SPACE), jax.random.key(0))


def observations(rows):
    return np.random.default_rng(1).normal(size=(rows, 5)).astype(np.float32)


@pytest.mark.parametrize("policy", FAMILIES, ids=str)
def test_actions_have_the_shape_of_the_batch(policy):

    def asked(key):
        parameters = policy.parameters(policy.init(key, SPACE), observations(7))
        assert isinstance(parameters, policy.parameter_type)
        choices = [c for c in ("mean", "quadrature", Sample(4)) if isinstance(c, Sample) or c in policy.looks]
        found = {
            "one": [policy.mean_action(parameters), policy.sample(parameters, key)],
            "many": [policy.actions(choice, parameters, key) for choice in choices],
            "values": [policy.fit_loss(parameters, jnp.zeros((7, 3)), key)],
        }
        if policy.has_density:
            found["values"] += [policy.entropy(parameters, key)]
            found["values"] += [policy.log_likelihood(parameters, jnp.zeros((7, 3)))]
        return found

    shapes = jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(asked, jax.random.key(0)))
    assert shapes["one"] == [(7, 3)] * 2
    assert shapes["many"] == [(1, 7, 3), *[(6, 7, 3)] * ("quadrature" in policy.looks), (4, 7, 3)]
    assert shapes["values"] == [(7,)] * (3 if policy.has_density else 1)


@pytest.mark.thinned(6, "trains a policy for each")
@pytest.mark.parametrize("policy", FAMILIES, ids=str)
def test_fitting_moves_the_policy_to_the_data(policy):
    rows, adam = observations(64), optax.adam(1e-3)
    actions = 0.5 * np.tanh(rows[:, :3])

    def loss(network, key):
        return policy.fit_loss(policy.parameters(network, rows), actions, key).mean()

    def step(carry, key):
        network, state = carry
        value, gradient = jax.value_and_grad(loss)(network, key)
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(network, updates), state), value

    def fitted(network):
        return jax.lax.scan(step, (network, adam.init(network)), jax.random.split(jax.random.key(2), 150))[1]

    first, *losses = computed(fitted, fresh(policy))
    assert min(losses) < first - 0.05


@pytest.mark.parametrize("policy", [p for p in FAMILIES if p.has_density], ids=str)
def test_log_stds_stay_inside_their_bounds_in_every_state(policy):
    def log_std(network):
        parameters = policy.parameters(network, observations(7))
        return next(getattr(parameters, n) for n in ("log_diagonal", "log_stds", "log_std") if hasattr(parameters, n))

    (low, high), program = policy.log_std, jax.jit(log_std)
    wild = jax.tree.map(lambda w: 100 * w + 100, fresh(policy))
    found = [np.asarray(program(network)) for network in (fresh(policy), wild)]
    for values in found:
        assert ((values >= low) & (values <= high)).all()
    if getattr(policy, "std", None) == "shared":
        assert (found[0] == 0).all()


def test_cubature_is_exact_for_cubics_and_samples_tend_to_the_same(float64):
    rng, sizes, policy = np.random.default_rng(3), (1, 2, 3, 17), GaussianPolicy()
    cases = [DiagonalNormal(rng.normal(size=(4, size)), rng.uniform(-1, 0.5, (4, size))) for size in sizes]

    def actions(parameters, key):
        return policy.actions("quadrature", parameters, key), policy.actions(Sample(40_000), parameters, key)

    found = computed(lambda cases, key: [actions(parameters, key) for parameters in cases], cases, jax.random.key(1))
    for parameters, size, (points, samples) in zip(cases, sizes, found, strict=True):
        matrix, third = rng.normal(size=(size, size)), rng.normal(size=size)
        function = lambda a, m=matrix, t=third: ((a @ m) * a).sum(-1) + (a @ t) ** 2 * (a @ t)  # noqa: E731
        std = np.exp(parameters.log_std)
        quadratic = ((parameters.mean @ matrix) * parameters.mean).sum(-1) + (np.diag(matrix) * std**2).sum(-1)
        along = parameters.mean @ third
        exact = quadratic + along**3 + 3 * along * ((std * third) ** 2).sum(-1)
        np.testing.assert_allclose(function(points).mean(0), exact, rtol=1e-10, atol=1e-10)
        sampled = function(samples)
        assert (np.abs(sampled.mean(0) - exact) < 5 * sampled.std(0) / 200).all()


def test_rebrac_initialisation_has_its_bounds():
    policy = GaussianPolicy(initialization="rebrac", hidden=(64, 64))
    network = computed(lambda key: policy.init(key, SPACE), jax.random.key(0))
    hidden, last = network.layers[1], network.layers[-1]
    assert (hidden.bias == np.float32(0.1)).all()
    assert 0.1 < np.abs(hidden.weight).max() <= 1 / 8
    assert max(np.abs(last.weight).max(), np.abs(last.bias).max()) <= 1e-3
    assert np.abs(last.bias).max() > 0


@pytest.mark.parametrize("policy", OWN, ids=str)
def test_stacked_networks_act_as_each_alone_and_rows_as_their_batch(policy):
    """Networks of two seeds have parameters, mean actions and actions at noise that are those of either."""
    rows = np.stack([observations(4), 1 - observations(4)])

    def act(network, rows, z):
        parameters = policy.parameters(network, rows)
        return policy.mean_action(parameters), parameters.at(z), row_of(parameters, 1).at(z[1])

    def both(key):
        networks = jax.vmap(lambda key: policy.init(key, SPACE))(jax.random.split(key))
        parameters = jax.vmap(policy.parameters)(networks, rows)
        z = normals(parameters, 3, key)
        one = jax.tree.map(lambda leaf: leaf[1], networks)
        alone = act(one, rows[1], z[0, 1])
        return (policy.mean_action(parameters), parameters.at(z)), alone

    (means, actions), (mean, action, row) = computed(both, jax.random.key(0))
    assert actions.shape == (3, 2, 4, 3)
    np.testing.assert_allclose(means[1], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(actions[0, 1], action, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(action[1], row, rtol=1e-4, atol=1e-5)
