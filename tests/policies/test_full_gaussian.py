"""Gaussian policies with full covariance, against SciPy and by fitting correlated actions."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import multivariate_normal

sys.path.insert(0, str(Path(__file__).parents[1]))
import closed_forms

from pogospec.policies.base import DiagonalNormal, FullNormal, Sample, below, coupled, triangle
from pogospec.policies.full_gaussian import FullGaussianPolicy
from pogospec.types import Space


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


def space(act_dim):
    return Space(4, act_dim, (-1.0,) * act_dim, (1.0,) * act_dim)


def drawn(size, rows=5):
    rng = np.random.default_rng(size)
    below = size * (size - 1) // 2
    columns = rng.normal(size=(rows, size)), rng.uniform(-1, 0.5, (rows, size)), rng.normal(size=(rows, below))
    return FullNormal(*columns)


def factors(p):
    """The factor of each row, written out."""
    size = p.mean.shape[-1]
    found = np.exp(p.log_diagonal)[..., None] * np.eye(size)
    found[..., *np.tril_indices(size, -1)] = p.lower
    return found


def test_the_factor_is_filled_row_by_row(float64):
    p = FullNormal(np.zeros(3), np.log([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))

    def filled(p):
        return p.factor(), below(p.factor()), triangle(jnp.ones((2, 1)), jnp.zeros((2, 0)))

    factor, lower, single = computed(filled, p)
    np.testing.assert_allclose(factor, [[1, 0, 0], [4, 2, 0], [5, 6, 3]], rtol=1e-15)
    np.testing.assert_array_equal(lower, p.lower)
    assert single.shape == (2, 1, 1)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_densities_and_entropies_are_those_of_the_covariance(float64, size):
    p, policy = drawn(size), FullGaussianPolicy()
    actions = np.random.default_rng(1).normal(size=(5, size))

    def asked(p, actions):
        return (
            policy.log_likelihood(p, actions),
            policy.entropy(p, jax.random.key(0)),
            policy.fit_loss(p, actions, jax.random.key(1)),
        )

    likelihood, entropy, loss = computed(asked, p, actions)
    for row, factor in enumerate(factors(p)):
        covariance: Any = factor @ factor.T
        exact = multivariate_normal(p.mean[row], covariance)
        assert likelihood[row] == pytest.approx(exact.logpdf(actions[row]), rel=1e-10)
        assert entropy[row] == pytest.approx(exact.entropy(), rel=1e-10)
    np.testing.assert_array_equal(loss, -likelihood)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_cubature_is_exact_for_cubics_and_samples_tend_to_the_same(float64, size):
    p, policy, rng = drawn(size), FullGaussianPolicy(), np.random.default_rng(2)
    matrix, third = rng.normal(size=(size, size)), rng.normal(size=size)
    function = lambda a: ((a @ matrix) * a).sum(-1) + (a @ third) ** 3  # noqa: E731
    covariance = factors(p) @ np.swapaxes(factors(p), 1, 2)
    along = p.mean @ third
    exact = ((p.mean @ matrix) * p.mean).sum(-1) + np.einsum("ij,nij->n", matrix, covariance)
    exact = exact + along**3 + 3 * along * np.einsum("i,nij,j->n", third, covariance, third)
    choices = "quadrature", Sample(40_000)
    points, samples = computed(lambda p: [policy.actions(choice, p, jax.random.key(1)) for choice in choices], p)
    assert points.shape == (2 * size, 5, size)
    np.testing.assert_allclose(function(points).mean(0), exact, rtol=1e-10, atol=1e-10)
    sampled = function(samples)
    assert (np.abs(sampled.mean(0) - exact) < 5 * sampled.std(0) / 200).all()


@pytest.mark.parametrize("std", ["state", "shared"])
@pytest.mark.parametrize("size", [1, 2, 3, 17])
def test_heads_have_the_shapes_of_the_action_space(std, size):
    policy = FullGaussianPolicy(hidden=(8,), std=std)

    def made():
        p = policy.parameters(policy.init(jax.random.key(0), space(size)), jnp.ones((7, 4)))
        return p, p.factor()

    p, factor = computed(made) if std == "shared" else jax.eval_shape(made)
    assert [leaf.shape for leaf in p] == [(7, size), (7, size), (7, size * (size - 1) // 2)]
    assert factor.shape == (7, size, size)
    if std == "shared":
        np.testing.assert_array_equal(factor, np.broadcast_to(np.eye(size), (7, size, size)))


@pytest.mark.parametrize("std", ["state", "shared"])
@pytest.mark.parametrize("how", ["clamp", "tanh"])
def test_the_diagonal_stays_inside_its_bounds_and_no_gradient_passes_a_clamp(std, how):
    policy = FullGaussianPolicy(hidden=(8,), std=std, log_std=(-2.0, 1.0), log_std_map=how)
    diagonal = lambda net: policy.parameters(net, jnp.ones((7, 4))).log_diagonal  # noqa: E731

    def value_and_slopes():
        wild = jax.tree.map(lambda w: 100 * w + 100, policy.init(jax.random.key(0), space(3)))
        return diagonal(wild), jax.grad(lambda net: diagonal(net).sum())(wild)

    found, slopes = computed(value_and_slopes)
    assert ((found >= -2) & (found <= 1)).all()
    if how == "clamp":
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("std", ["state", "shared"])
@pytest.mark.parametrize("how", ["clamp", "tanh"])
def test_a_placed_network_has_these_moments(std, how):
    policy = FullGaussianPolicy(hidden=(8,), std=std, log_std_map=how)

    def moments(observations):
        network = policy.placed(policy.init(jax.random.key(0), space(2)), (0.3, -0.6), (0.2, 0.5))
        p = policy.parameters(network, observations)
        return p.mean, p.factor()

    mean, factor = computed(moments, np.random.default_rng(1).normal(size=(6, 4)))
    np.testing.assert_allclose(mean, np.broadcast_to([0.3, -0.6], (6, 2)), rtol=1e-5)
    np.testing.assert_allclose(factor, np.broadcast_to(np.diag([0.2, 0.5]), (6, 2, 2)), rtol=1e-5)


@pytest.mark.parametrize("std", ["state", "shared"])
def test_fitting_finds_the_correlation_of_the_actions(std):
    rng = np.random.default_rng(0)
    factor = np.array([[0.3, 0.0], [-0.24, 0.1]])
    observations = rng.normal(size=(2000, 4)).astype(np.float32)
    actions = (0.2 + rng.normal(size=(2000, 2)) @ factor.T).astype(np.float32)
    policy, adam = FullGaussianPolicy(hidden=(), std=std, mean="linear"), optax.adam(0.02)

    def fitted(observations, actions):
        def step(_, carry):
            network, state = carry
            loss = lambda net: policy.fit_loss(policy.parameters(net, observations), actions, jax.random.key(1)).mean()  # noqa: E731
            updates, state = adam.update(jax.grad(loss)(network), state)
            return optax.apply_updates(network, updates), state

        network = policy.init(jax.random.key(0), space(2))
        network, _ = jax.lax.fori_loop(0, 600, step, (network, adam.init(network)))
        p = policy.parameters(network, jnp.zeros((1, 4)))
        return p.mean[0], p.factor()[0]

    mean, found = computed(fitted, observations, actions)
    np.testing.assert_allclose(found, factor, atol=0.02)
    np.testing.assert_allclose(mean, 0.2, atol=0.03)


def test_points_coupled_to_moved_ones_have_the_wasserstein_distance_of_their_laws(float64):
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    z = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 1, 2)
    z, shares = np.broadcast_to(z, (16, 5, 2)), np.outer(weights, weights).ravel() / weights.sum() ** 2
    reference, rng = drawn(2), np.random.default_rng(3)
    p = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape), reference)
    push = np.array([[1.2, -0.5], [-0.5, 0.8]])

    def squares(p, reference):
        change = reference.at(z) @ push - reference.at(z)
        gaps = coupled(p, reference, z, change, shares) - reference.at(z) - change
        return jnp.tensordot(shares, jnp.square(gaps).sum(-1), 1)

    found = computed(squares, p, reference)
    for row, (own, other) in enumerate(zip(factors(p), push @ factors(reference), strict=True)):
        means = p.mean[row] - reference.mean[row] @ push
        expected = closed_forms.w2_squared_full(means, own @ own.T, 0.0, other @ other.T)
        assert found[row] == pytest.approx(expected, rel=1e-9)


def test_points_without_a_change_are_those_of_the_reference_whatever_the_sample(float64):
    reference = drawn(3)
    z, flat = np.random.default_rng(4).normal(size=(4, 5, 3)), DiagonalNormal(reference.mean, reference.log_diagonal)
    both = lambda p, z: (coupled(p, p, z, 0 * z, jnp.full(4, 0.25)), p.at(z))  # noqa: E731
    found, expected = computed(both, reference, z)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(*computed(both, flat, z))
