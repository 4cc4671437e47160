"""Gaussian mixtures: quantiles and their gradients, densities, entropy, KL, and transport of components, by oracles."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, stats

import pogospec
from pogospec.geometries.base import Seen
from pogospec.geometries.kl import KL
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import DiagonalNormal, Point, Sample, normals
from pogospec.policies.gaussian_mixture import GaussianMixturePolicy
from pogospec.policies.mixtures import Mixture, transport_cost
from pogospec.targets.base import log_volume
from pogospec.types import Space

ROOT = np.sqrt(2 * np.pi)


def computed(function, *arguments):
    """What one program gives, on the host."""
    return jax.device_get(jax.jit(function)(*arguments))


def mixture(seed, rows=(), count=3, size=2, spread=0.6):
    rng = np.random.default_rng(seed)
    logits, means = rng.normal(size=(*rows, count)), spread * rng.normal(size=(*rows, count, size))
    return Mixture(logits, means, rng.uniform(-1.5, -0.3, size=(*rows, count, size)))


def weights_of(p):
    exps = np.exp(p.logits - p.logits.max(-1, keepdims=True))
    return exps / exps.sum(-1, keepdims=True)


def density(p, x):
    """Of one mixture at actions [n, act], by the sum."""
    s = np.exp(p.log_stds)
    parts = np.exp(-(((x[:, None] - p.means) / s) ** 2) / 2) / (s * ROOT)
    return (weights_of(p) * parts.prod(-1)).sum(-1)


def test_quantiles_invert_the_distribution_function_dimension_by_dimension(float64):
    """The first dimension by its marginal, the second by its density given the first, far into both tails."""
    p = mixture(0)
    z = np.array([[-7.5, 6.0], [-2.0, 0.3], [0.0, -3.0], [1.0, 1.0], [8.0, -8.0]])
    found, w, s = computed(lambda z: p.at(z), z), weights_of(p), np.exp(p.log_stds)
    for (a, b), (first, second) in zip(found, z, strict=True):
        given = w * np.exp(-(((a - p.means[:, 0]) / s[:, 0]) ** 2) / 2) / s[:, 0]
        for weights, dimension, x, level in ((w, 0, a, first), (given / given.sum(), 1, b, second)):
            side = -1 if level > 0 else 1  # the nearer tail keeps its digits
            tail = (weights * stats.norm.cdf(side * (x - p.means[:, dimension]) / s[:, dimension])).sum()
            assert tail == pytest.approx(stats.norm.cdf(side * level), rel=1e-9)


def test_gradients_of_expectations_are_exact_for_every_parameter(float64):
    """E f of a one-dimensional mixture by quadrature, differentiated by central differences."""
    p, f = mixture(1, size=1), lambda x: np.sin(2 * x) + x**2
    grid = np.linspace(-7, 7, 40_001)

    def exact(vector):
        q = Mixture(vector[:3], vector[3:6, None], vector[6:, None])
        return integrate.trapezoid(density(q, grid[:, None]) * f(grid), grid)

    flat = np.concatenate([p.logits, p.means[:, 0], p.log_stds[:, 0]])
    steps = 1e-5 * np.eye(9)
    expected = np.array([(exact(flat + step) - exact(flat - step)) / 2e-5 for step in steps])

    z = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)[:, None]
    sampled = lambda p: (jnp.sin(2 * p.at(z)) + jnp.square(p.at(z))).mean()  # noqa: E731
    value, gradient = computed(jax.value_and_grad(sampled), p)
    assert value == pytest.approx(exact(flat), abs=5e-5)
    np.testing.assert_allclose(np.concatenate([leaf.ravel() for leaf in gradient]), expected, atol=2e-3)


def test_gradients_by_samples_agree_with_exact_ones_where_dimensions_hang_together(float64):
    """E of a function that no dimension splits, in two dimensions, over the grid."""
    p, count = mixture(2), 40_000
    axis = np.linspace(-5, 5, 301)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    values = np.cos(grid[:, 0] * grid[:, 1] + grid[:, 0])

    def exact(vector):
        q = Mixture(vector[:3], vector[3:9].reshape(3, 2), vector[9:].reshape(3, 2))
        return (density(q, grid) * values).sum() * (axis[1] - axis[0]) ** 2

    flat = np.concatenate([np.ravel(part) for part in p])
    expected = [(exact(flat + step) - exact(flat - step)) / 2e-4 for step in 1e-4 * np.eye(15)]

    def one(p, z):
        a = p.at(z)
        return jnp.cos(a[0] * a[1] + a[0])

    z = jax.random.normal(jax.random.key(0), (count, 2))
    slopes = computed(jax.vmap(jax.grad(one), (None, 0)), p, z)
    slopes = np.concatenate([leaf.reshape(count, -1) for leaf in slopes], 1)
    errors = slopes.std(0) / np.sqrt(count)
    assert (np.abs(slopes.mean(0) - expected) < 4.5 * errors).all()
    assert (errors < 0.02).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_and_narrow_components_have_finite_actions_and_gradients(dtype, float64):
    """Between components the quantile is steep: its gradient is large there, and never a number that is none."""
    logits = np.zeros((1, 2), dtype)
    p = Mixture(logits, np.array([[[-1.0], [1.0]]], dtype), np.full((1, 2, 1), -5, dtype))
    z = np.concatenate([np.linspace(-12, 12, 241), [0.0, 1e-7, -1e-7, 1e-4]]).astype(dtype)[:, None, None]
    actions, slopes = computed(
        lambda p, z: (p.at(z), jax.vmap(jax.grad(lambda p, z: p.at(z).sum()), (None, 0))(p, z)), p, z
    )
    assert actions.dtype == dtype
    assert (np.abs(actions) < 1.2).all()
    assert (np.diff(actions[:241, 0, 0]) >= 0).all()
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() < 1e4 for leaf in slopes)


def test_density_entropy_and_kl(float64):
    """The log density of NumPyro and SciPy; entropy and KL in both directions, by quadrature."""
    p, q, gaussian = mixture(3, size=1), mixture(4, size=1), DiagonalNormal(np.array([0.2]), np.array([-0.7]))
    policy, runs = GaussianMixturePolicy(components=3, entropy_samples=2), 4000
    x = np.linspace(-9, 9, 60_001)
    at = density(p, x[:, None])
    own = p.distribution().log_prob(x[::5000, None])
    np.testing.assert_allclose(computed(policy.log_likelihood, p, x[::5000, None]), np.log(at[::5000]), rtol=1e-10)
    np.testing.assert_allclose(own, np.log(at[::5000]), rtol=1e-10)
    normal = stats.norm.pdf(x, 0.2, np.exp(-0.7))
    log = {"p": np.log(at), "q": np.log(density(q, x[:, None])), "n": stats.norm.logpdf(x, 0.2, np.exp(-0.7))}
    wanted = [
        -(at * log["p"]).sum(),
        (at * (log["p"] - log["q"])).sum(),
        (at * (log["p"] - log["n"])).sum(),
        (normal * (log["n"] - log["p"])).sum(),
        (normal * (log["n"] - log["p"])).sum(),
    ]
    rows = lambda one: jax.tree.map(lambda leaf: np.broadcast_to(leaf, (runs, *leaf.shape)), one)  # noqa: E731
    ps, qs, ns, seen = rows(p), rows(q), rows(gaussian), Seen(np.zeros((runs, 1)), jax.random.key(0))
    kl, back = KL(samples=2), KL(samples=2, direction="reference_to_policy")

    def values(ps, qs, ns):
        pairs = (kl, ps, qs), (kl, ps, ns), (kl, ns, ps), (back, ps, ns)
        return [policy.entropy(ps, jax.random.key(1)), *(g.divergence(a, b, seen) for g, a, b in pairs)]

    for found, expected in zip(computed(values, ps, qs, ns), np.array(wanted) * (x[1] - x[0]), strict=True):
        error = found.std() / np.sqrt(runs)
        assert abs(found.mean() - expected) < 4.5 * error
        assert error < 0.03


def test_entropy_has_the_whole_gradient(float64):
    """With respect to all parameters, the weights too, against differences of the entropy by quadrature."""
    p, policy = mixture(5, size=1), GaussianMixturePolicy(components=3, entropy_samples=2000)
    grid = np.linspace(-7, 7, 20_001)

    def exact(vector):
        at = density(Mixture(vector[:3], vector[3:6, None], vector[6:, None]), grid[:, None])
        return -integrate.trapezoid(at * np.log(at), grid)

    flat = np.concatenate([np.ravel(part) for part in p])
    expected = [(exact(flat + step) - exact(flat - step)) / 2e-4 for step in 1e-4 * np.eye(9)]
    gradient = computed(jax.grad(lambda p: policy.entropy(p, jax.random.key(0))), p)
    np.testing.assert_allclose(np.concatenate([leaf.ravel() for leaf in gradient]), expected, atol=0.05)


def test_means_over_a_mixture_have_exact_gradients_where_components_are_far_apart(float64):
    """Where hardly a sample lies between components, their weights still learn which is better."""
    p = Mixture(np.array([0.3, -0.2]), np.array([[-1.0], [1.0]]), np.array([[-4.0], [-4.0]]))
    policy, better = GaussianMixturePolicy(components=2), lambda a: 3 * a[..., 0] + 100
    mean = lambda p: policy.average(Sample(2), better, p, jax.random.key(0))  # noqa: E731
    value, gradient = computed(jax.value_and_grad(mean), p)
    w = weights_of(p)
    assert value == pytest.approx(100 + 3 * (w[1] - w[0]), abs=0.1)
    np.testing.assert_allclose(gradient.logits, 6 * w[0] * w[1] * np.array([-1, 1]), atol=0.05)
    np.testing.assert_allclose(gradient.means[:, 0], 3 * w, rtol=1e-9)


@pytest.mark.exhaustive("follows a flow")
def test_a_flow_on_two_hills_ends_at_both_with_their_weights():
    """By W2 steps from one Gaussian; the best Gaussian stays 3 nats away."""
    hills = lambda a: jnp.logaddexp(*(-jnp.square(a - m).sum(-1) / 0.18 for m in (1.5, -1.5)))  # noqa: E731
    family = {"kind": "gaussian_mixture", "components": 2}
    found = pogospec.flow(hills, dimensions=1, family=family, tau=1.0, steps=2, updates=200)
    assert found.kl is not None
    assert found.kl[0] > 3
    assert found.kl[-1] < 0.01
    np.testing.assert_allclose(sorted(np.asarray(found.parameters.means)[-1, :, 0]), [-1.5, 1.5], atol=0.05)


def program(costs, a, b):
    """The transport by linear programming: its least cost."""
    count, other = costs.shape
    rows = np.concatenate([np.kron(np.eye(count), np.ones(other)), np.kron(np.ones(count), np.eye(other))])
    found = optimize.linprog(costs.ravel(), A_eq=rows, b_eq=np.concatenate([a, b]), method="highs")
    return found.fun


@pytest.mark.parametrize("equal", [False, True])
def test_transport_of_weights_is_that_of_linear_programming(equal, float64):
    """Of weights that tie everywhere too, where a basis holds zeros; gradients by differences of the program."""
    rng = np.random.default_rng(6)
    for count, other in ((2, 2), (3, 5), (6, 6)):
        costs = rng.uniform(size=(8, count, other))
        a, b = rng.dirichlet(np.ones(count), 8), rng.dirichlet(np.ones(other), 8)
        if equal:
            a, b = np.full_like(a, 1 / count), np.full_like(b, 1 / other)
        found, slopes = computed(jax.value_and_grad(lambda *x: transport_cost(*x).sum(), (0, 1, 2)), costs, a, b)
        assert found == pytest.approx(sum(map(program, costs, a, b)), rel=1e-9)
        np.testing.assert_allclose(slopes[0].sum((1, 2)), 1, rtol=1e-9)
        if equal:
            continue
        for row, i in itertools.product(range(2), range(count)):  # weight that moves from the first to another
            h = 1e-5 * (np.eye(count)[i] - np.eye(count)[0])
            by_hand = (program(costs[row], a[row] + h, b[row]) - program(costs[row], a[row] - h, b[row])) / 2e-5
            assert slopes[1][row, i] - slopes[1][row, 0] == pytest.approx(by_hand, abs=1e-6)


def test_the_mixture_distance_is_the_transport_of_its_components(float64):
    """At W2^2 of the pairs; of a mixture and a Gaussian or a point it is the weighted mean, and W2^2 for a point."""
    p, q, rows = mixture(7, (6,)), mixture(8, (6,), count=4), range(6)
    one, point = DiagonalNormal(p.means[:, 0], p.log_stds[:, 0]), Point(p.means[:, 1])
    geometry = Wasserstein2(weight=2.0)
    found = computed(
        lambda *x: [geometry.divergence(*x[:2]), *(geometry.divergence(x[0], y) for y in x[2:])], p, q, one, point
    )

    def between(i, means, stds):
        gaps = ((p.means[i, :, None] - means) ** 2).sum(-1)
        return gaps + ((np.exp(p.log_stds[i])[:, None] - stds) ** 2).sum(-1)

    w, v = weights_of(p), weights_of(q)
    whole = [program(between(i, q.means[i], np.exp(q.log_stds[i])), w[i], v[i]) for i in rows]
    single = [w[i] @ between(i, one.mean[i], np.exp(one.log_std[i]))[:, 0] for i in rows]
    to_point = [w[i] @ between(i, point.mean[i], 0.0)[:, 0] for i in rows]
    for values, expected in zip(found, (whole, single, to_point), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-9)  # weight 2 of half the square


def test_it_bounds_the_distance_from_above(float64):
    """W2^2 in one dimension by quantiles; equal for components that are far apart, and above elsewhere."""
    z = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    for spread, close in ((0.4, False), (30.0, True)):
        p, q = mixture(9, size=1, spread=spread), mixture(10, size=1, spread=spread)
        bound, gaps = computed(lambda p, q: (2 * Wasserstein2().divergence(p, q), p.at(z) - q.at(z)), p, q)
        square = np.square(gaps).mean()
        assert bound > square * (1 + 1e-3 * (not close))
        if close:
            assert bound == pytest.approx(square, rel=0.02)


def test_volume_of_the_map_is_that_of_its_jacobian(float64):
    p, z = mixture(11, (2,)), np.random.default_rng(0).normal(size=(5, 2))
    found = computed(log_volume, p, z)
    jacobians = computed(jax.vmap(lambda z: jax.vmap(lambda p: jax.jacfwd(p.at)(z))(p)), z)
    np.testing.assert_allclose(found, np.linalg.slogdet(jacobians)[1], rtol=1e-6)


def test_components_start_apart_and_a_placed_mixture_has_the_moments():
    policy, space = GaussianMixturePolicy(components=4, hidden=(16,), logit=2.0), Space(3, 2, (-1.0,) * 2, (1.0,) * 2)
    known = GaussianMixturePolicy(components=4, hidden=(), mean="linear")

    def asked(key):
        placed = known.placed(known.init(key, Space(0, 2, (-1.0,) * 2, (1.0,) * 2)), (0.5, -3.0), (0.2, 2.0))
        fresh = policy.init(key, space)
        wild = jax.tree.map(lambda leaf: 100 * leaf + 100, fresh)
        return [policy.parameters(net, jnp.ones((5, 3))) for net in (fresh, wild)], known.parameters(
            placed, jnp.zeros(0)
        )

    (fresh, wild), placed = computed(asked, jax.random.key(0))
    gaps = np.abs(fresh.means[:, :, None] - fresh.means[:, None]).max(-1)[:, ~np.eye(4, dtype=bool)]
    assert gaps.min() > 0.05
    assert weights_of(wild).min() >= np.exp(-4.0) / 4
    assert wild.log_stds.min() >= -5
    assert wild.log_stds.max() <= 2
    w, variances = weights_of(placed), np.exp(2 * placed.log_stds)
    np.testing.assert_allclose(w @ placed.means, [0.5, -3.0], rtol=1e-5)
    second = w @ (variances + (placed.means - w @ placed.means) ** 2)
    np.testing.assert_allclose(second, [0.04, 4.0], rtol=1e-5)
    assert np.ptp(placed.means, 0).min() > 0.01


def test_the_mean_action_is_the_mean_or_that_of_the_heaviest(float64):
    p = mixture(12, (6,))
    found = computed(lambda p: [GaussianMixturePolicy(action=how).mean_action(p) for how in ("mean", "heaviest")], p)
    w = weights_of(p)
    np.testing.assert_allclose(found[0], (w[..., None] * p.means).sum(1), rtol=1e-12)
    np.testing.assert_allclose(found[1], p.means[np.arange(6), w.argmax(1)], rtol=1e-12)
    actions = computed(lambda p: p.at(normals(p, 3, jax.random.key(0))), p)
    assert actions.shape == (3, 6, 2)
