"""Forward-backward steps against closed forms in NumPy, in double precision: short and long, wide and narrow, repeated.

Q(a) = -1/2 (a - m)^T A (a - m), so that E grad Q = -A (mean - m) and E Hess Q = -A under every Gaussian.
"""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import pogospec
from pogospec.checking.check import checked
from pogospec.energies.base import AbstractTerm, Context
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.errors import SpecError, UsageError
from pogospec.explain.cautions.rules import cautions
from pogospec.explain.stages import stages
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import DiagonalNormal, FullNormal, Sample, below
from pogospec.policies.full_gaussian import FullGaussianPolicy
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.spec.resolve import read_text
from pogospec.steps.base import Problem, Proximal
from pogospec.steps.forward_backward import ForwardBackward
from pogospec.steps.gradient import Euclidean
from pogospec.steps.points import Hermite

FAMILIES = {DiagonalNormal: GaussianPolicy(), FullNormal: FullGaussianPolicy()}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def problem(tau, heat, **options):
    energy: dict[str, AbstractTerm] = {"q": QTerm(critics="first")}
    energy |= {"entropy": EntropyTerm(weight=heat)} if heat else {}
    return Problem(energy, (Proximal(Wasserstein2(**options), "previous", tau),), Euclidean())


def path(scheme, problem, reference, q, count):
    """Where each of so many steps from references [rows, d] ends, on the host."""

    def go(reference, key):
        rows, family = jnp.zeros((len(reference.mean), 0)), FAMILIES[type(reference)]
        seen = Context(rows, jnp.zeros_like(reference.mean), family, lambda a, count=None, slow=False: q(a)[None], {})
        return (scheme.target(problem, reference, seen, key),) * 2

    keys = jax.random.split(jax.random.key(0), count)
    return jax.device_get(jax.jit(lambda start: jax.lax.scan(go, start, keys)[1])(reference))


def target(scheme, problem, reference, q):
    """Where steps from references [rows, d] end, on the host."""
    return jax.tree.map(lambda leaf: leaf[0], path(scheme, problem, reference, q, 1))


def quadratic(matrix, center):
    return lambda a: -0.5 * jnp.einsum("...i,ij,...j->...", a - center, jnp.asarray(matrix), a - center)


def full(means, covariances):
    factors = np.linalg.cholesky(covariances)
    diagonal = np.diagonal(factors, axis1=1, axis2=2)
    return FullNormal(jnp.asarray(means), jnp.log(diagonal), below(jnp.asarray(factors)))


def covariance(p):
    factor = np.asarray(p.factor())
    return factor @ np.swapaxes(factor, -1, -2)


def by_matrices(mean, s, matrix, center, tau, heat):
    """The step of Diao et al. with the matrix root of SciPy."""
    identity = np.eye(len(mean))
    m = identity - tau * matrix
    s = m @ s @ m
    root = np.real(scipy.linalg.sqrtm(s @ (s + 4 * tau * heat * identity)))
    return mean - tau * matrix @ (mean - center), (s + 2 * tau * heat * identity + root) / 2


def scattered(rng, size, rows=6):
    """Gaussians from narrow to wide, stds from 1e-3 to 1e2, correlated."""
    axes = np.linalg.qr(rng.normal(size=(rows, size, size)))[0]
    variances = np.exp(2 * rng.uniform(np.log(1e-3), np.log(1e2), (rows, size)))
    return 3 * rng.normal(size=(rows, size)), np.einsum("nij,nj,nkj->nik", axes, variances, axes)


@pytest.mark.parametrize("tau", [1e-3, 0.3, 4.0, 300.0])
@pytest.mark.parametrize("scheme", [ForwardBackward(), ForwardBackward(Sample(5)), ForwardBackward(Hermite(2))])
def test_the_step_of_a_full_gaussian_is_the_formula(tau, scheme):
    """At any points of more than the dimensions, samples too, since the plane through grad Q is exact."""
    rng, heat, center = np.random.default_rng(0), 0.7, np.array([1.0, -2.0, 0.5])
    root = rng.normal(size=(3, 3))
    matrix = root @ root.T / 3
    means, covariances = scattered(rng, 3)
    found = target(scheme, problem(tau, heat), full(means, covariances), quadratic(matrix, center))
    for row in range(len(means)):
        mean, s = by_matrices(means[row], covariances[row], matrix, center, tau, heat)
        np.testing.assert_allclose(found.mean[row], mean, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(covariance(found)[row], s, rtol=1e-6, atol=1e-9 * np.abs(s).max())


@pytest.mark.parametrize("tau", [1e-3, 0.3, 4.0, 300.0])
def test_the_step_of_a_diagonal_gaussian_has_the_diagonal_of_the_curvature(tau):
    rng, heat, center = np.random.default_rng(1), 0.7, np.array([1.0, -2.0, 0.5])
    root = rng.normal(size=(3, 3))
    matrix = root @ root.T / 3
    means, stds = 3 * rng.normal(size=(8, 3)), np.exp(rng.uniform(-7, 5, (8, 3)))
    found = target(
        ForwardBackward(), problem(tau, heat), DiagonalNormal(means, np.log(stds)), quadratic(matrix, center)
    )
    moved = np.abs(1 - tau * np.diag(matrix)) * stds
    np.testing.assert_allclose(found.mean, means - tau * (means - center) @ matrix, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(np.exp(found.log_std), (moved + np.sqrt(moved**2 + 4 * tau * heat)) / 2, rtol=1e-7)


@pytest.mark.parametrize("options", [{"weight": 2.5}, {"reduction": "mean"}, {"reduction": "mean", "weight": 0.3}])
def test_weight_and_reduction_of_the_geometry_scale_the_step(options):
    """As in the implicit step: w D/tau with D = W2^2/2, or W2^2/(2 d) of the mean over dimensions."""
    rng, matrix, center = np.random.default_rng(2), np.array([[2.0, 0.4], [0.4, 0.5]]), np.array([0.5, -1.0])
    means, covariances = scattered(rng, 2)
    length = 0.4 / options.get("weight", 1.0) * (2 if "reduction" in options else 1)
    found = target(ForwardBackward(), problem(0.4, 0.7, **options), full(means, covariances), quadratic(matrix, center))
    same = target(ForwardBackward(), problem(length, 0.7), full(means, covariances), quadratic(matrix, center))
    np.testing.assert_allclose(found.mean, same.mean, rtol=1e-12)
    np.testing.assert_allclose(covariance(found), covariance(same), rtol=1e-9)
    mean, s = by_matrices(means[0], covariances[0], matrix, center, length, 0.7)
    np.testing.assert_allclose(found.mean[0], mean, rtol=1e-9)
    np.testing.assert_allclose(covariance(found)[0], s, rtol=1e-6)


def test_repeated_steps_converge_to_the_optimum_at_their_rates():
    """Per eigenvalue A of the curvature gaps of the mean shrink by 1 - tau A, of the std by (1 - tau A)/(1 + tau A)."""
    values, heat, tau = np.array([2.0, 0.5]), 0.5, 0.3
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(2, 2)))[0]
    matrix, center = axes * values @ axes.T, np.array([1.0, -0.5])
    start = full(np.array([[4.0, 3.0]]), np.array([[[9.0, 1.0], [1.0, 0.3]]]))
    found = path(ForwardBackward(), problem(tau, heat), start, quadratic(matrix, center), 150)
    gaps, s = (found.mean[:, 0] - center) @ axes, covariance(found)[:, 0]
    widths = np.sqrt(np.diagonal(axes.T @ s @ axes, axis1=1, axis2=2)) - np.sqrt(heat / values)
    np.testing.assert_allclose(s[-1], heat * np.linalg.inv(matrix), rtol=1e-9)
    np.testing.assert_allclose(found.mean[-1, 0], center, atol=1e-9)
    np.testing.assert_allclose(gaps[11] / gaps[10], 1 - tau * values, rtol=1e-6)
    for place, late in enumerate((8, 30)):  # before rounding
        rate = (1 - tau * values[place]) / (1 + tau * values[place])
        assert widths[late + 1][place] / widths[late][place] == pytest.approx(rate, rel=5e-3)


@pytest.mark.parametrize("tau", [1e-3, 0.1, 0.5])
def test_the_optimum_is_a_fixed_point_up_to_the_length_that_the_curvature_allows(tau):
    """tau A <= 1."""
    values, heat, center = np.array([2.0, 0.5]), 0.5, np.array([1.0, -0.5])
    start = DiagonalNormal(center[None], np.log(heat / values)[None] / 2)
    found = target(ForwardBackward(), problem(tau, heat), start, quadratic(np.diag(values), center))
    np.testing.assert_allclose(np.concatenate([*found]), np.concatenate([*start]), atol=1e-12)


def test_longer_steps_come_to_rest_at_a_wider_gaussian():
    """Where 1 < tau A < 2 the std is sqrt(lambda tau/(2 - tau A)), as `explain` warns."""
    values, heat, center, tau = np.array([2.0, 0.5]), 0.5, np.array([1.0, -0.5]), 0.8
    start = DiagonalNormal(center[None], np.log(heat / values)[None] / 2)
    found = path(ForwardBackward(), problem(tau, heat), start, quadratic(np.diag(values), center), 200)
    wide = np.sqrt(heat * np.array([tau / (2 - tau * values[0]), 1 / values[1]]))
    np.testing.assert_allclose(np.exp(found.log_std[-1, 0]), wide, rtol=1e-9)


def test_short_steps_tend_to_the_implicit_step_at_order_two():
    """Per dimension the implicit step has std (s + sqrt(s^2 + 4 tau lambda (1 + tau A)))/(2 (1 + tau A))."""
    a, heat, center = np.array([4.0, 0.5]), 0.5, np.array([1.0, -0.5])
    mean, std = np.array([[0.2, 0.4]]), np.array([[0.8, 0.6]])
    gaps, taus = [], np.array([0.02, 0.01, 0.005, 0.0025])
    for tau in taus:
        found = target(
            ForwardBackward(), problem(tau, heat), DiagonalNormal(mean, np.log(std)), quadratic(np.diag(a), center)
        )
        implicit = (std + np.sqrt(std**2 + 4 * tau * heat * (1 + tau * a))) / (2 * (1 + tau * a))
        gaps.append(
            np.abs(np.exp(found.log_std) - implicit).max()
            + np.abs(found.mean - (mean + tau * a * center) / (1 + tau * a)).max()
        )
    assert np.polyfit(np.log(taus), np.log(gaps), 1)[0] == pytest.approx(2, abs=0.1)


def test_a_step_that_flattens_a_direction_stays_finite():
    """tau A = 1 without entropy leaves no width; with entropy it leaves sqrt(tau lambda), whatever the start."""
    means, covariances = scattered(np.random.default_rng(4), 2)
    for heat in (0.0, 0.5):
        for start in (full(means, covariances), DiagonalNormal(means, np.zeros_like(means))):
            found = target(ForwardBackward(), problem(0.5, heat), start, quadratic(2 * np.eye(2), np.zeros(2)))
            assert all(np.isfinite(leaf).all() for leaf in found)
            logs = found.log_std if isinstance(start, DiagonalNormal) else found.log_diagonal
            if heat:
                np.testing.assert_allclose(np.exp(logs), np.sqrt(0.5 * heat), rtol=1e-6)
            else:
                assert (np.exp(logs) < 1e-8).all()


def test_bends_of_a_critic_without_second_derivatives_are_seen():
    """E|a|'' = 2 N(0; m, s^2) under N(m, s^2), where the second derivative of |a| is 0 almost everywhere."""
    mean, std, rows = 0.3, 0.8, 2000
    start = DiagonalNormal(jnp.full((rows, 1), mean), jnp.full((rows, 1), np.log(std)))
    found = target(ForwardBackward(Sample(64)), problem(0.2, 0.0), start, lambda a: -jnp.abs(a).sum(-1))
    curvature = 2 * np.exp(-((mean / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
    widths = np.exp(found.log_std)
    assert widths.mean() == pytest.approx(std * (1 - 0.2 * curvature), abs=0.004)
    assert found.mean.mean() == pytest.approx(mean - 0.2 * scipy.special.erf(mean / std / np.sqrt(2)), abs=0.004)


@pytest.mark.thinned(1, "compiles a flow for each")
@pytest.mark.parametrize("family", ["full_gaussian", "gaussian"])
def test_a_flow_takes_the_steps_of_the_formula(family):
    """From Python, without an optimiser; three steps of a correlated energy."""
    matrix, center, heat, tau = np.array([[2.0, 0.6], [0.6, 0.5]]), np.array([1.0, -0.5]), 0.5, 0.4
    mean, s = np.zeros(2), np.eye(2)
    found = pogospec.flow(
        quadratic(matrix, center),
        dimensions=2,
        family=family,
        temperature=heat,
        tau=tau,
        steps=3,
        scheme="forward_backward",
        actions={"sample": 6},
    )
    for step in range(1, 4):
        if family == "gaussian":
            mean, moved = mean - tau * matrix @ (mean - center), np.abs(1 - tau * np.diag(matrix)) ** 2 * np.diag(s)
            s = np.diag((moved + 2 * tau * heat + np.sqrt(moved * (moved + 4 * tau * heat))) / 2)
        else:
            mean, s = by_matrices(mean, s, matrix, center, tau, heat)
        policy = jax.tree.map(lambda leaf, step=step: leaf[step], found.parameters)
        own = np.diag(np.exp(2 * policy.log_std)) if family == "gaussian" else covariance(policy)
        np.testing.assert_allclose(policy.mean, mean, atol=1e-10)
        np.testing.assert_allclose(own, s, atol=1e-10)
    with pytest.raises(UsageError, match="found 2 samples in 2 dimensions, .*; allowed 3 or more"):
        pogospec.flow(
            quadratic(matrix, center),
            dimensions=2,
            scheme="forward_backward",
            actions={"sample": 2},
        )


KNOWN = """\
target: {kind: quadratic, center: [1, -0.5], curvature: [2, 0.5]}
policy: gaussian
energy: {q: {}, entropy: {weight: 0.5}}
geometry: wasserstein2
schedule: {steps: [{tau: 0.4, scheme: forward_backward}]}
"""
REFUSED = [
    (
        "policy: gaussian",
        "policy: tanh_gaussian",
        "5:39: schedule.steps[0].scheme: found forward_backward, whose step is a Gaussian in closed form, which "
        "tanh_gaussian is none of (of policies gaussian, full_gaussian are); use scheme: implicit",
    ),
    ("geometry: wasserstein2", "geometry: kl", "4:11: schedule.steps[0].geometry: forward_backward is a step of Wass"),
    (
        "wasserstein2",
        "{kind: wasserstein2, coupling: shared_noise}",
        "schedule.steps[0].geometry.coupling: forward_backward regresses on a Gaussian in closed form; allowed optimal",
    ),
    ("wasserstein2", "{kind: wasserstein2, weight: 0}", "found 0, which leaves a forward-backward step no length"),
    (
        "{tau: 0.4,",
        "{proximal: [{reference: previous, tau: 0.4}],",
        "forward_backward moves one reference; allowed with from",
    ),
    (
        "forward_backward}",
        "{kind: forward_backward, actions: {sample: 2}}}",
        "schedule.steps[0].scheme.actions: found 2 samples in 2 dimensions, which leave the curvature of Q open; "
        "allowed 3 or more",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_what_has_no_such_step_is_refused_where_it_stands(old, new, message):
    with pytest.raises(SpecError) as error:
        checked(read_text(KNOWN.replace(old, new, 1)))
    assert any(message in str(one) for one in error.value.problems), [str(one) for one in error.value.problems]


@pytest.mark.parametrize(("tau", "name"), [(0.4, None), (0.8, "too wide"), (1.2, "overshoot"), (0.02, None)])
def test_explain_warns_of_steps_that_are_longer_than_the_curvature_allows(tau, name):
    spec = checked(read_text(KNOWN.replace("tau: 0.4", f"tau: {tau}")))
    found = {one.name for one in cautions(spec, stages(spec), 2)}
    assert found & {"too wide", "overshoot", "swinging std"} == ({name} if name else set())


LOGGED = """\
data: {dataset: pocket/reacher-mixed}
policy: {kind: gaussian, hidden: [16]}
energy: {q: {}, entropy: {weight: 0.1}}
geometry: wasserstein2
critic: {kind: clipped_double_q, hidden: [16]}
schedule: {steps: [{from: behavior, tau: 0.4, updates: 9, scheme: forward_backward}]}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "from: behavior",
            "from: data",
            "6:27: schedule.steps[0].from: found 'data', where the reference is a point",
        ),
        ("energy: {q: {},", "energy: {q: {}, log_likelihood: {},", "log_likelihood: has no first variation for a forw"),
        ("geometry:", "behavior: full_gaussian\ngeometry:", "where forward_backward needs a policy of the same family"),
        (
            "weight: 0.1",
            "temperature: {start: 2}",
            "is learned from minibatches, which a forward-backward step has no use for",
        ),
        ("tau: 0.4", "tau: {kind: multiplier, bound: 0.1}", "which a forward-backward step has not"),
    ],
)
def test_what_it_cannot_take_from_data_is_refused(old, new, message):
    with pytest.raises(SpecError) as error:
        checked(read_text(LOGGED.replace(old, new, 1)))
    assert any(message in str(one) for one in error.value.problems), [str(one) for one in error.value.problems]
