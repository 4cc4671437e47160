"""Gaussians of low rank beside their diagonal, against dense covariances in NumPy, in double precision."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from commands import pogospec as command

import pogospec
from pogospec.geometries.kl import KL
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import DiagonalNormal, LowRankNormal
from pogospec.policies.low_rank_gaussian import LowRankGaussianPolicy
from pogospec.report.reading.known_energy import moments
from pogospec.roots import root
from pogospec.steps.patch import nearest
from pogospec.targets.base import log_volume
from pogospec.types import Space

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def drawn(rows=4, size=5, rank=2, seed=0):
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.uniform(-3, 2, (rows, 1, 1)))
    return LowRankNormal(
        jnp.asarray(rng.normal(size=(rows, size))),
        jnp.asarray(rng.uniform(-2, 1, (rows, size))),
        jnp.asarray(scale * rng.normal(size=(rows, size, rank))),
    )


def covariance(p):
    std, a = np.exp(np.asarray(p.log_std)), np.asarray(p.loadings)
    return std[..., :, None] * (np.eye(std.shape[-1]) + a @ np.swapaxes(a, -1, -2)) * std[..., None, :]


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_factor_volume_density_and_entropy_are_those_of_the_covariance(rank):
    p, z = drawn(rank=rank), jnp.asarray(RNG.normal(size=(3, 4, 5)))
    s = covariance(p)
    factor = np.asarray(p.factor())
    np.testing.assert_allclose(factor @ np.swapaxes(factor, -1, -2), s, rtol=1e-8, atol=1e-8 * np.abs(s).max())
    np.testing.assert_allclose(p.at(z), p.mean + np.einsum("bij,nbj->nbi", factor, z), atol=1e-9)
    np.testing.assert_allclose(moments(p).covariance, s, rtol=1e-9)
    whole = np.asarray(p.whole().factor())
    np.testing.assert_allclose(whole, np.linalg.cholesky(s), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(log_volume(p, z[:, 0]), np.tile(np.linalg.slogdet(s)[1] / 2, (3, 1)), rtol=1e-9)
    actions = np.asarray(p.at(z))
    for row in range(4):
        law = scipy.stats.multivariate_normal(np.asarray(p.mean)[row], s[row])
        found = LowRankGaussianPolicy().log_likelihood(p, actions)[:, row]
        np.testing.assert_allclose(found, law.logpdf(actions[:, row]), rtol=1e-7)
        np.testing.assert_allclose(LowRankGaussianPolicy().entropy(p, None)[row], law.entropy(), rtol=1e-8)


def test_samples_have_the_moments_of_the_covariance():
    """Of 40,000 draws, within five standard errors."""
    p = jax.tree.map(lambda leaf: leaf[1:2], drawn())
    wide = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (40_000, *leaf.shape[1:])), p)
    found = np.asarray(LowRankGaussianPolicy().sample(wide, jax.random.key(0)))
    s = covariance(p)[0]
    np.testing.assert_array_less(np.abs(found.mean(0) - p.mean[0]), 5 * np.sqrt(np.diag(s) / 40_000))
    error = np.sqrt((np.outer(np.diag(s), np.diag(s)) + s**2) / 40_000)
    np.testing.assert_array_less(np.abs(np.cov(found.T) - s), 5 * error)


def test_the_root_has_a_derivative_where_eigenvalues_are_equal():
    """That of 4 I by finite differences, and in a random direction at a random matrix."""
    for matrix in (4 * np.eye(3), np.cov(RNG.normal(size=(3, 9)))):
        change = RNG.normal(size=(3, 3))
        change = change + change.T
        found = jax.jvp(root, (jnp.asarray(matrix),), (jnp.asarray(change),))[1]
        ends: Any = [scipy.linalg.sqrtm(matrix + sign * 1e-5 * change) for sign in (1, -1)]
        np.testing.assert_allclose(found, (ends[0] - ends[1]) / 2e-5, atol=1e-7)


def test_divergences_are_those_of_the_dense_gaussians():
    p, q = drawn(), drawn(rank=3, seed=1)
    diagonal = DiagonalNormal(q.mean, q.log_std)
    for other, dense in ((q, covariance(q)), (diagonal, np.exp(2 * np.asarray(q.log_std))[..., None] * np.eye(5))):
        kl, w2 = KL().divergence(p, other), Wasserstein2().divergence(p, other)
        gaps = np.asarray(p.mean - q.mean)
        for row, (s, t) in enumerate(zip(covariance(p), dense, strict=True)):
            gap = gaps[row]
            inverse = np.linalg.inv(t)
            wanted = np.trace(inverse @ s) + gap @ inverse @ gap - 5 + np.linalg.slogdet(t)[1] - np.linalg.slogdet(s)[1]
            assert kl[row] == pytest.approx(wanted / 2, rel=1e-6)
            middle = scipy.linalg.sqrtm(s)
            cross = np.real(scipy.linalg.sqrtm(middle @ t @ middle))
            wanted = gap @ gap + np.trace(s) + np.trace(t) - 2 * np.trace(cross)
            assert w2[row] == pytest.approx(wanted / 2, rel=1e-5)


@pytest.mark.parametrize("rank", [None, 1, 6])
def test_networks_put_out_what_they_are_set_to(rank):
    family, space = LowRankGaussianPolicy(rank=rank, hidden=(8,)), Space(3, 4, (-1.0,) * 4, (1.0,) * 4)
    network = family.init(jax.random.key(0), space)
    wanted = jax.tree.map(lambda leaf: leaf[0], drawn(size=4, rank=family.rank_in(4)))
    wanted = wanted._replace(mean=jnp.tanh(wanted.mean), loadings=wanted.loadings / 10)
    found = family.parameters(family.assigned(network, wanted), jnp.asarray(RNG.normal(size=(7, 3))))
    for leaf, one in zip(found, wanted, strict=True):
        np.testing.assert_allclose(leaf, np.broadcast_to(one, leaf.shape), rtol=1e-6, atol=1e-7)
    placed = family.parameters(family.placed(network, [0.1] * 4, [0.5] * 4), jnp.zeros((1, 3)))
    np.testing.assert_allclose(covariance(placed)[0], 0.25 * np.eye(4), atol=1e-6)
    assert (np.abs(placed.loadings).max((0, 1)) > 1e-5).all()


def gap(psi, loadings, s):
    """KL(N(0, s) || N(0, diag(psi) + L L^T))."""
    t = np.diag(psi) + loadings @ loadings.T
    return (np.trace(np.linalg.solve(t, s)) - len(s) + np.linalg.slogdet(t)[1] - np.linalg.slogdet(s)[1]) / 2


def test_the_nearest_of_low_rank_is_found():
    """Exactly where there is one; elsewhere each sweep comes nearer, and the end is within 0.002 nats of BFGS's."""
    a = RNG.normal(size=(9, 2))
    psi, loadings = nearest(jnp.asarray(a), jnp.ones(2), 2)
    np.testing.assert_allclose(psi, 1.0, atol=1e-9)
    np.testing.assert_allclose(loadings @ loadings.T, a @ a.T, atol=1e-9)
    columns = np.concatenate([RNG.normal(size=(9, 5)), 0.2 * np.linalg.qr(RNG.normal(size=(9, 2)))[0]], 1)
    signs = np.array([1.0] * 5 + [-1.0] * 2)
    s = np.eye(9) + (columns * signs) @ columns.T
    near = lambda sweeps: map(np.asarray, nearest(jnp.asarray(columns), jnp.asarray(signs), 2, sweeps))  # noqa: E731
    gaps = [gap(psi, loadings, s) for psi, loadings in map(near, range(9))]
    assert (np.diff(gaps) < 1e-12).all()
    psi, loadings = near(300)

    def objective(x):
        return gap(np.exp(x[:9]), x[9:].reshape(9, 2), s)

    best = scipy.optimize.minimize(objective, np.concatenate([np.log(psi), loadings.ravel()]))
    assert gap(psi, loadings, s) == pytest.approx(best.fun, abs=2e-3)


def test_more_rank_than_the_dimensions_have_is_no_trouble():
    psi, loadings = nearest(jnp.asarray(RNG.normal(size=(2, 3))), jnp.ones(3), 5)
    assert loadings.shape == (2, 5)
    assert np.isfinite(loadings).all()
    assert (psi > 0).all()


def factors(size, rank):
    """A Gaussian of low rank: covariance and centre."""
    rng = np.random.default_rng(3)
    std, a = np.exp(rng.uniform(-2, 2, size)), rng.normal(size=(size, rank))
    return std[:, None] * (np.eye(size) + a @ a.T) * std, rng.normal(size=size)


def test_batch_and_match_finds_a_gaussian_of_its_rank_in_many_dimensions():
    """Sixteen points a step in sixty dimensions, stds from 0.1 to 20; the dense step has to find more numbers."""
    s, center = factors(60, 3)
    precision = np.linalg.inv(s)
    q = lambda a: -0.5 * (a - center) @ precision @ (a - center)  # noqa: E731
    family = {"kind": "low_rank_gaussian", "rank": 3}
    found = pogospec.flow(q, dimensions=60, family=family, scheme="batch_and_match", actions={"antithetic": 8})
    end = jax.tree.map(lambda leaf: leaf[-1], found.parameters)
    np.testing.assert_allclose(end.mean, center, atol=1e-6)
    np.testing.assert_allclose(covariance(end) @ precision, np.eye(60), atol=1e-5)


def test_what_is_of_higher_rank_is_met_where_its_own_steps_rest():
    """Correlations of rank 3 by one of rank 1: means within 0.2, and the energy rests at the end."""
    s, center = factors(12, 3)
    precision = np.linalg.inv(s)
    q = lambda a: -0.5 * (a - center) @ precision @ (a - center)  # noqa: E731
    family = {"kind": "low_rank_gaussian", "rank": 1}
    found = pogospec.flow(q, dimensions=12, family=family, scheme="batch_and_match")
    ends = [jax.tree.map(lambda leaf, at=at: leaf[at], found.parameters) for at in (-20, -1)]
    np.testing.assert_allclose(ends[1].mean, center, atol=0.2)
    assert found.energies[-1] < found.energies[0]
    assert abs(found.energies[-1] - found.energies[-20]) < 0.05


def test_an_implicit_flow_finds_correlations_from_a_start_without():
    s, center = factors(3, 1)
    precision = np.linalg.inv(s / np.abs(s).max())
    q = lambda a: -0.5 * (a - center) @ precision @ (a - center)  # noqa: E731
    options = {"family": "low_rank_gaussian", "geometry": "wasserstein2", "actions": "quadrature"}
    found = pogospec.flow(q, dimensions=3, tau=1.0, steps=12, updates=300, **options)
    end = jax.tree.map(lambda leaf: leaf[-1], found.parameters)
    exact = np.trace(precision @ covariance(end)) - 3 - np.linalg.slogdet(precision @ covariance(end))[1]
    assert exact / 2 < 0.02


@pytest.mark.exhaustive("runs commands")
def test_a_spec_with_it_trains_on_data_and_on_a_known_energy(tmp_path):
    """Policies of four kinds of steps are saved, opened and act."""
    for name, text in (
        ("data", DATA),
        ("flow", "target: banana\npolicy: low_rank_gaussian\nenergy: {q: {}, entropy: {}}\n" + STEP),
    ):
        (tmp_path / f"{name}.yaml").write_text(text)
        command("run", tmp_path / f"{name}.yaml", "--out", tmp_path / name)
    command("evaluate", tmp_path / "data", "--episodes", "1")


STEP = """\
geometry: {kind: kl, direction: reference_to_policy}
schedule: {steps: [{tau: 1, repeat: 9, scheme: batch_and_match}]}
"""
DATA = """\
data: {dataset: pocket/reacher-mixed}
policy: {kind: low_rank_gaussian, hidden: [16]}
energy: {q: {}, entropy: {weight: 0.1}}
geometry: {kind: kl, direction: reference_to_policy}
critic: {kind: clipped_double_q, hidden: [16]}
schedule:
  defaults: {tau: 0.5, learn: [critic, behavior, policy], updates: 40}
  steps:
    - {from: behavior}
    - {from: previous, scheme: batch_and_match}
    - {from: previous, geometry: wasserstein2}
    - {from: previous, geometry: fisher_rao, scheme: explicit}
evaluate: {episodes: 1}
"""
