"""Explicit steps where they are hard: long ones, few points, many dimensions, squashed families; and what stays put.

A step is settled for parameters that many independent rows share, so that the mean over their samples is what a run's
updates average over. The policies of all families are parameters themselves; there are no networks.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pogospec import registry
from pogospec.energies.base import AbstractTerm, Context
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.policies.base import DiagonalNormal, FullNormal, Point, TanhNormal, below
from pogospec.policies.dirac import DiracPolicy
from pogospec.policies.full_gaussian import FullGaussianPolicy
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.policies.tanh_gaussian import TanhGaussianPolicy
from pogospec.steps.base import Problem, Proximal
from pogospec.steps.explicit import Explicit, Hermite, Sample
from pogospec.steps.gradient import Euclidean
from pogospec.steps.implicit import Implicit

MANY = 200_000
OPTIMISED: Any = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
"""How steps of many updates are compiled, as users' are, whatever programs of other tests."""
FAMILIES = {
    Point: DiracPolicy(),
    DiagonalNormal: GaussianPolicy(),
    FullNormal: FullGaussianPolicy(),
    TanhNormal: TanhGaussianPolicy(entropy_samples=MANY),
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def energy(heat) -> dict[str, AbstractTerm]:
    terms: dict[str, AbstractTerm] = {"q": QTerm(actions="quadrature")}
    return terms | ({"entropy": EntropyTerm(weight=heat)} if heat else {})


def problem(geometry, tau, heat, **options):
    kind = registry.load("geometry", geometry)
    return Problem(energy(heat), (Proximal(kind(**options), "previous", tau),), Euclidean())


def gradient(scheme, problem, policy, reference, q, key=0):
    """Gradient at the parameters, and numbers for people; parameters [rows, d], Q of actions."""
    rows, size = reference.mean.shape
    family = FAMILIES[type(reference)]
    seen = Context(
        jnp.zeros((rows, 0)), jnp.zeros((rows, size)), family, lambda a, count=None, slow=False: q(a)[None], {}
    )
    go = jax.jit(lambda *sides: scheme.gradient(problem, lambda heads: heads, sides[0], sides[1:2], seen, sides[2]))
    return go(policy, reference, jax.random.key(key))


def settled(scheme, problem, reference, q, rows=256, updates=600, rate=0.03):
    """Parameters [d] at which a step from a reference [d] comes to rest, and what the last updates told."""
    spread = lambda heads: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape)), heads)  # noqa: E731
    adam = optax.adam(optax.cosine_decay_schedule(rate, updates))

    def update(carry, key):
        heads, state = carry
        found, info = gradient(scheme, problem, spread(heads), spread(reference), q, key)
        changes, state = adam.update(jax.tree.map(lambda leaf: leaf.sum(0), found), state)
        return (optax.apply_updates(heads, changes), state), info

    go = jax.jit(
        lambda heads: jax.lax.scan(update, (heads, adam.init(heads)), jnp.arange(updates)), compiler_options=OPTIMISED
    )
    (heads, _), info = go(reference)
    return heads, {name: float(values[-20:].mean()) for name, values in info.items()}


def quadratic(curvature, center):
    curvature, center = jnp.asarray(curvature, float), jnp.asarray(center, float)
    return lambda a: -0.5 * jnp.einsum("...i,ij,...j->...", a - center, curvature, a - center)


def normal(mean, std):
    return DiagonalNormal(jnp.asarray(mean, float), jnp.log(jnp.asarray(std, float)))


def full(mean, covariance):
    factor = np.linalg.cholesky(covariance)
    return FullNormal(jnp.asarray(mean, float), jnp.log(np.diag(factor)), jnp.asarray(below(jnp.asarray(factor))))


@pytest.mark.thinned(1, "trains a policy for each")
@pytest.mark.parametrize("points", [Hermite(6), Sample(16)])
def test_transport_that_turns_a_dimension_over_keeps_its_width(points):
    """Std s -> |s + tau (lambda/s - A s)|: A = 1, tau = 1.5, lambda = .1 from N(1, 1) gives .350."""
    curvature, heat, tau = np.array([1.0, 0.2, 1.25]), 0.1, 1.5
    mean, std = np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.7, 0.6])
    found, _ = settled(
        Explicit(points), problem("wasserstein2", tau, heat), normal(mean, std), quadratic(np.diag(curvature), 0 * mean)
    )
    wanted = std + tau * (heat / std - curvature * std)
    assert (wanted < 0).tolist() == [True, False, True]
    np.testing.assert_allclose(np.exp(found.log_std), np.abs(wanted), atol=0.01)
    np.testing.assert_allclose(found.mean, mean - tau * curvature * mean, atol=0.02)


@pytest.mark.exhaustive("trains a policy for each")
@pytest.mark.parametrize("size", [1, 3])
def test_few_samples_do_not_narrow_a_full_gaussian_that_turns_over(size):
    """A linear map S -> M S M^T, M = 1 + tau (lambda S^-1 - A), is seen whole in more samples than dimensions."""
    rng = np.random.default_rng(size)
    axes = np.linalg.qr(rng.normal(size=(size, size)))[0]
    curvature, heat, tau = axes * np.linspace(1.0, 0.4, size) @ axes.T, 0.1, 1.5
    start = full(np.zeros(size), np.eye(size))
    found, _ = settled(
        Explicit(Sample(16)),
        problem("wasserstein2", tau, heat),
        start,
        quadratic(curvature, np.zeros(size)),
    )
    move = (1 + tau * heat) * np.eye(size) - tau * curvature
    factor = np.asarray(found.factor())
    np.testing.assert_allclose(factor @ factor.T, move @ move.T, atol=0.02)


@pytest.mark.exhaustive("follows two flows")
def test_a_squashed_policy_that_turns_over_is_that_of_the_mirrored_map():
    """tanh(u) -> -tanh(u)/2 has the law of tanh(u) -> tanh(u)/2 where u is symmetric."""
    start, found = TanhNormal(jnp.zeros(1), jnp.log(jnp.array([0.8]))), []
    for tau in (0.5, 1.5):
        heads, _ = settled(Explicit(Hermite(12)), problem("wasserstein2", tau, 0.0), start, quadratic([[1.0]], [0.0]))
        found.append(float(jnp.exp(heads.log_std[0])))
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert 0.3 < found[0] < 0.5


def test_an_exact_grid_is_not_clipped_by_default():
    """From N(-1.25, .5^2), A = 4, m = 1, tau = 1.5, lambda = .5: precision 1 + 6, mean (6 - 1.25)/7, four std away."""
    start, q = normal([-1.25], [0.5]), quadratic([[4.0]], [1.0])
    found, _ = settled(Explicit(Hermite(48)), problem("fisher_rao", 1.5, 0.5), start, q, rows=1)
    assert float(found.mean[0]) == pytest.approx(4.75 / 7, abs=1e-3)
    assert float(jnp.exp(found.log_std[0])) == pytest.approx(7**-0.5, abs=1e-2)
    clipped, info = settled(Explicit(Hermite(48), clip=100.0), problem("fisher_rao", 1.5, 0.5), start, q, rows=1)
    assert float(clipped.mean[0]) < 0.6
    assert 0.1 < info["clipped"] < 1


HARD = problem("fisher_rao", 1.0, 0.1)


def test_few_weights_that_count_are_told():
    """The share of N(0, 1)^6 that counts: per dimension (E r)^2/E r^2 = .415 of r = exp(2 a - .45 a^2)."""
    start, q = normal([0.0] * 6, [1.0] * 6), quadratic(np.eye(6), [2.0] * 6)
    found, info = settled(Explicit(Sample(16)), HARD, start, q, updates=200, rate=0.1)
    assert 1.5 < info["effective_samples"] < 2.5
    assert float(found.mean.mean()) == pytest.approx(0.644, abs=0.05)
    _, info = gradient(
        Explicit(Sample(100_000)), HARD, (one_row := jax.tree.map(lambda leaf: leaf[None], start)), one_row, q
    )
    one = np.sqrt(1 / 1.9) * np.exp(4 / 3.8), np.sqrt(1 / 2.8) * np.exp(16 / 5.6)
    assert info["effective_samples"] == pytest.approx(1e5 * (one[0] ** 2 / one[1]) ** 6, rel=0.25)


@pytest.mark.thinned(1, "trains a policy for each")
@pytest.mark.parametrize("geometry", ["fisher_rao", "kl", "hellinger"])
def test_a_step_that_splits_itself_arrives_with_sixteen_points_in_six_dimensions(geometry):
    start, q = normal([0.0] * 6, [1.0] * 6), quadratic(np.eye(6), [2.0] * 6)
    found, info = settled(Explicit(Sample(16), split=0.5), problem(geometry, 1.0, 0.1), start, q)
    np.testing.assert_allclose(found.mean, 2 / 1.9, atol=0.01)
    np.testing.assert_allclose(np.exp(found.log_std), 1.9**-0.5, rtol=0.01)
    assert info["effective_samples"] > 15.9
    assert info["clipped"] == 0


@pytest.mark.exhaustive("follows a flow, as those of a step that splits itself do")
def test_a_full_gaussian_splits_itself_too():
    """P -> (1 - tau lambda) P + tau A, and the mean by these precisions; a very long step of correlated dimensions."""
    curvature, center, tau, heat = np.array([[4.0, 1.8], [1.8, 1.0]]), np.array([3.0, -2.0]), 5.0, 0.1
    covariance, mean = np.array([[1.0, -0.5], [-0.5, 0.5]]), np.array([-2.0, 1.0])
    found, info = settled(
        Explicit(Sample(16), split=0.3), problem("kl", tau, heat), full(mean, covariance), quadratic(curvature, center)
    )
    kept = (1 - tau * heat) * np.linalg.inv(covariance)
    factor = np.asarray(found.factor())
    np.testing.assert_allclose(np.linalg.inv(factor @ factor.T), kept + tau * curvature, rtol=0.05)
    wanted = np.linalg.solve(kept + tau * curvature, kept @ mean + tau * curvature @ center)
    np.testing.assert_allclose(found.mean, wanted, atol=0.02)
    assert info["effective_samples"] > 15


EXTREMES = [(0.0, 1.0), (2.0, 1.5), (-3.0, np.exp(-5.0)), (5.0, np.exp(2.0)), (0.3, np.exp(2.0))]
"""Mean and std, before the tanh of those that have one: to the bounds of the families."""


def extreme(family):
    mean, std = (jnp.asarray(part)[:, None] * jnp.ones(2) for part in np.array(EXTREMES).T)
    if family is Point:
        return Point(mean)
    if family is FullNormal:
        return FullNormal(mean, jnp.log(std), 0.7 * std[:, :1])
    return family(mean, jnp.log(std))


SCHEMES = {
    "grid": Explicit(Hermite(7)),
    "split": Explicit(Hermite(7), split=0.5),
    "clip": Explicit(Hermite(7), clip=2.0),
    "implicit": Implicit(),
}
GEOMETRIES = [name for name in registry.table("geometry") if not registry.load("geometry", name)().estimated()]
COMBINATIONS = [
    (family, geometry, scheme)
    for family in FAMILIES
    for geometry in GEOMETRIES
    for scheme in SCHEMES
    if registry.load("geometry", geometry)().supports(family, family)
    and (scheme == "implicit" or registry.load("geometry", geometry).retraction)
    and (scheme in ("grid", "implicit") or registry.load("geometry", geometry).retraction == "reweight")
]


def length(heads, reference):
    """The largest gradient of each row, with the mean in units of its std."""
    std = 1.0 if isinstance(reference, Point) else jnp.exp(reference[1])
    return np.max([np.abs(part).max(-1) for part in (heads.mean * std, *heads[1:])], 0)


@pytest.mark.thinned(5, "compiles a step for each combination")
@pytest.mark.parametrize(("family", "geometry", "scheme"), COMBINATIONS)
def test_a_flat_energy_moves_nothing(family, geometry, scheme):
    """Q = 0 without entropy: the reference is where the step ends, at all its parameters."""
    reference = extreme(family)
    found, info = gradient(SCHEMES[scheme], problem(geometry, 0.9, 0.0), reference, reference, lambda a: 0 * a.sum(-1))
    assert (length(found, reference) < 1e-9).all()
    if "effective_samples" in info:
        assert info["clipped"] < 1e-12


@pytest.mark.thinned(5, "compiles a step for each combination")
@pytest.mark.parametrize(("family", "geometry", "scheme"), COMBINATIONS)
def test_the_optimum_stays(family, geometry, scheme):
    """Q = lambda log pi has its optimum at pi, however long the step; a point has it where Q is largest."""
    mean, log_std = jnp.array([[0.3, -0.4]]), jnp.log(jnp.array([[0.6, 0.3]]))
    reference = family(mean, *([] if family is Point else [log_std]), *([jnp.array([[0.2]])] * (family is FullNormal)))
    heat = 0.0 if family is Point else 0.5

    def q(a):
        return -jnp.square(a - mean).sum(-1) if family is Point else heat * reference.distribution().log_prob(a)

    own, tolerance = problem(geometry, 0.9, heat), 1e-7
    if scheme == "implicit" and heat:  # by many points in the place of two for each dimension
        energies = {"q": QTerm(actions=Sample(MANY)), "entropy": EntropyTerm(weight=heat)}
        own, tolerance = own._replace(energy=energies), 0.02
    found, _ = gradient(SCHEMES[scheme], own, reference, reference, q)
    assert length(found, reference) < tolerance
