"""Flows on quadratic energies against closed forms, orders of convergence and rates, in double precision.

E[pi] = -E_pi[Q] - lambda H, Q(a) = -1/2 (a - m)^T A (a - m), A diagonal; every reference is written out here.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pogospec.checking.check import checked
from pogospec.compiler.compile import compile_spec
from pogospec.data.known import known
from pogospec.spec.resolve import read_text
from pogospec.training.chunk import chunk_function
from pogospec.types import Transitions

A, M, LAMBDA = np.array([4.0, 0.5]), np.array([1.0, -0.5]), 0.5
TEXT = """
target: {{kind: quadratic, center: [1.0, -0.5], curvature: [4.0, 0.5]}}
policy: gaussian
energy: {{q: {{actions: quadrature}}, entropy: {{weight: {heat}}}}}
geometry: {geometry}
schedule:
  steps:
    - {{tau: 1.0, updates: {updates}, scheme: {scheme}, gradient: {gradient}}}
optimizer: {{kind: adam, learning_rate: {rate}, decay: cosine}}
"""
EXPLICIT = "{kind: explicit, actions: {hermite: 40}, clip: 1.0e+30}"


class Flow:
    """One compiled Euler step, from any Gaussian and for any tau; many at once."""

    def __init__(self, geometry, scheme="implicit", updates=1500, heat=LAMBDA, rate=0.05, gradient="euclidean"):
        closed = scheme in ("forward_backward", "natural")  # which have no optimiser
        updates = 1 if closed else updates
        text = TEXT.format(geometry=geometry, scheme=scheme, updates=updates, heat=heat, rate=rate, gradient=gradient)
        text = text.partition("optimizer:")[0] if closed else text
        spec = checked(read_text(text))
        dataset = known(spec.target, "target/quadratic")
        self.spec, self.program, self.updates = spec, compile_spec(spec, dataset.space), updates
        self.data = Transitions(
            *(jnp.asarray(c, float if c.dtype == np.float32 else None) for c in dataset.transitions)
        )
        chunk = chunk_function(self.program.stages[0], 1)
        self.go = jax.jit(functools.partial(self._go, chunk))

    def _go(self, chunk, tau, mean, log_std):
        numbers = eqx.tree_at(lambda n: n[0].problem.proximal[0].tau, self.program.numbers, tau)
        keys = jax.vmap(jax.random.key)(jnp.arange(len(mean)))
        state = jax.vmap(self.program.init, in_axes=(None, 0))(self.program.numbers, keys)
        bias = jnp.concatenate([mean, log_std], -1)
        network = eqx.tree_at(lambda net: net.layers[-1].bias, state.policy, bias)
        state = state._replace(policy=network, behavior=network)
        enter = jax.vmap(self.program.stages[0].enter, in_axes=(None, 0, None, 0))
        state = enter(numbers, state, self.data, keys)
        state, *_ = chunk(numbers, self.data, state, keys, 0, self.updates)
        return tuple(jnp.split(state.policy.layers[-1].bias, 2, -1))

    def step(self, mean, std, tau):
        """Mean and std after one step from Gaussians [n, 2]."""
        mean, log_std = self.go(jnp.asarray(float(tau)), jnp.asarray(mean), jnp.log(jnp.asarray(std)))
        return np.asarray(mean), np.exp(np.asarray(log_std))

    def path(self, mean, std, tau, count):
        """Gaussians along repeated steps from one, [count + 1, 2] each."""
        means, stds = [np.asarray(mean)], [np.asarray(std)]
        for _ in range(count):
            mean, std = self.step(means[-1][None], stds[-1][None], tau)
            means.append(mean[0])
            stds.append(std[0])
        return np.array(means), np.array(stds)


@pytest.fixture(scope="module", autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def starts():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 2)) * 2, np.exp(rng.uniform(-2, 1, (60, 2)))


@functools.cache
def flow(*arguments, **options):
    return Flow(*arguments, **options)


def w2_step(mean, std, tau):
    heat = 4 * tau * LAMBDA * (1 + tau * A)
    return (mean + tau * A * M) / (1 + tau * A), (std + np.sqrt(std**2 + heat)) / (2 * (1 + tau * A))


def kl_step(mean, std, tau):
    precision = std**-2
    mean = (precision * mean + tau * A * M) / (precision + tau * A)
    return mean, ((precision + tau * A) / (1 + tau * LAMBDA)) ** -0.5


def mirror_step(mean, std, tau):
    kept = (1 - tau * LAMBDA) * std**-2
    return (kept * mean + tau * A * M) / (kept + tau * A), (kept + tau * A) ** -0.5


def transport_step(mean, std, tau):
    return mean - tau * A * (mean - M), np.abs(std - tau * (A * std - LAMBDA / std))


def w2_flow(mean, std, time):
    end = LAMBDA / A
    return M + (mean - M) * np.exp(-A * time), np.sqrt(end + (std**2 - end) * np.exp(-2 * A * time))


def fr_flow(mean, std, time):
    kept, end = np.exp(-LAMBDA * time), A / LAMBDA
    precision = end + (std**-2 - end) * kept
    return (end * M * (1 - kept) + std**-2 * mean * kept) / precision, precision**-0.5


STEPS = [
    ("wasserstein2", "implicit", w2_step, (0.05, 0.5, 3.0)),
    ("kl", "implicit", kl_step, (0.05, 0.5, 3.0)),
    ("fisher_rao", EXPLICIT, mirror_step, (0.05, 0.4)),
    ("kl", EXPLICIT, mirror_step, (0.05, 0.4)),
    ("wasserstein2", EXPLICIT, transport_step, (0.05, 0.2)),
]


@pytest.mark.parametrize(("geometry", "scheme", "closed", "taus"), STEPS)
def test_one_step_from_any_gaussian_is_the_closed_form(geometry, scheme, closed, taus, starts):
    mean, std = starts
    if scheme == EXPLICIT:  # the grid must see the reweighted density
        mean, std = mean[:12] / 4, np.clip(std[:12], 0.4, 1.2)
    for tau in taus:
        found = flow(geometry, scheme).step(mean, std, tau)
        expected = closed(mean, std, tau)
        tolerance = 1e-6 if scheme != EXPLICIT or geometry == "wasserstein2" else 2e-5
        np.testing.assert_allclose(found[0], expected[0], atol=tolerance)
        np.testing.assert_allclose(found[1], expected[1], atol=tolerance)


@pytest.mark.thinned(2, "solves steps with an optimiser")
@pytest.mark.parametrize("geometry", ["wasserstein2", "kl", "fisher_rao", "hellinger", "gaussian_fisher_rao"])
def test_the_optimum_is_the_fixed_point_of_every_geometry(geometry):
    std = np.sqrt(LAMBDA / A)
    found = flow(geometry).step(M[None], std[None], 0.7)
    np.testing.assert_allclose(found[0][0], M, atol=1e-9)
    np.testing.assert_allclose(found[1][0], std, atol=1e-9)


def test_errors_contract_as_theory_says(starts):
    mean, std = starts
    for tau in (0.1, 2.0):
        found, _ = flow("wasserstein2").step(mean, std, tau)
        np.testing.assert_allclose((found - M) / (mean - M), np.broadcast_to(1 / (1 + tau * A), mean.shape), rtol=1e-6)
    tau, end = 0.4, A / LAMBDA
    mean, near = mean[:12], np.clip(std[:12], 0.4, 1.2)
    _, found = flow("kl", EXPLICIT).step(M + 0 * mean, near, tau)
    np.testing.assert_allclose((found**-2 - end) / (near**-2 - end), 1 - tau * LAMBDA, rtol=1e-6)


def slope(x, y):
    """Exponent of a power law, fitted."""
    return np.polyfit(np.log(x), np.log(y), 1)[0]


LONG = pytest.mark.exhaustive("tests/methods/ has the closed forms of single steps")
FLOWS = [
    ("wasserstein2", "implicit", w2_flow),
    ("wasserstein2", EXPLICIT, w2_flow),
    pytest.param("wasserstein2", "forward_backward", w2_flow, marks=LONG),
    pytest.param("kl", "natural", fr_flow, marks=LONG),
    ("fisher_rao", EXPLICIT, fr_flow),
    ("kl", "implicit", fr_flow),
    ("fisher_rao", "implicit", fr_flow),
    ("gaussian_fisher_rao", "implicit", fr_flow),
]


@pytest.mark.parametrize(("geometry", "scheme", "closed"), FLOWS)
def test_steps_converge_to_the_continuous_flow_at_order_one(geometry, scheme, closed):
    mean, std, time = np.array([0.2, 0.4]), np.array([0.8, 0.6]), 0.4
    expected, errors, counts = closed(mean, std, time), [], (10, 20, 40, 80)
    for count in counts:
        means, stds = flow(geometry, scheme).path(mean, std, time / count, count)
        gaps = [np.linalg.norm(f[-1] - e) for f, e in zip((means, stds), expected, strict=True)]
        errors.append(np.linalg.norm(gaps))
    assert slope(np.array(counts), np.array(errors)) == pytest.approx(-1, abs=0.1)


@pytest.mark.thinned(2, "solves steps with an optimiser")
@pytest.mark.parametrize("geometry", ["wasserstein2", "fisher_rao", "kl", "hellinger", "gaussian_fisher_rao"])
def test_a_small_step_is_the_first_order_formula(geometry, starts):
    mean, std = starts[0][:8] / 2, np.clip(starts[1][:8], 0.3, 0.9)
    gradient, hessian = -A * (mean - M), -A
    taus, errors = (0.008, 0.004, 0.002, 0.001), []
    for tau in taus:
        found = flow(geometry).step(mean, std, tau)
        if geometry == "wasserstein2":
            first = mean + tau * gradient, std**2 + 2 * tau * (hessian * std**2 + LAMBDA)
        else:
            first = mean + tau * std**2 * gradient, std**2 + tau * (hessian * std**4 + LAMBDA * std**2)
        errors.append(max(np.abs(found[0] - first[0]).max(), np.abs(found[1] ** 2 - first[1]).max()))
    assert slope(np.array(taus), np.array(errors)) == pytest.approx(2, abs=0.1)


def kl_to_optimum(mean, std):
    end = np.sqrt(LAMBDA / A)
    return (np.log(end / std) + (std**2 + (mean - M) ** 2) / (2 * end**2) - 0.5).sum(-1)


@pytest.mark.parametrize(("geometry", "rate"), [("wasserstein2", 2 * A.min()), ("kl", 2 * LAMBDA)])
def test_kl_to_the_optimum_decays_exponentially_at_the_known_rate(geometry, rate):
    tau, count = 0.05, 240
    means, stds = flow(geometry).path(np.array([-1.0, 1.0]), np.array([0.5, 2.0]), tau, count)
    values = kl_to_optimum(means, stds)
    assert (np.diff(values) < 0).all()
    late = slice(160, 220)
    found = -np.polyfit(tau * np.arange(count + 1)[late], np.log(values[late]), 1)[0]
    implicit = 2 * np.log1p(tau * rate / 2) / tau if geometry == "wasserstein2" else 2 * np.log1p(tau * LAMBDA) / tau
    assert found == pytest.approx(implicit, rel=0.03)  # of the implicit scheme, which tends to the rate with tau
    assert found == pytest.approx(rate, rel=0.08)


def test_natural_gradients_end_at_the_same_step(starts):
    mean, std = starts[0][:10], np.clip(starts[1][:10], 0.3, 1.5)
    for geometry, closed in (("wasserstein2", w2_step), ("kl", kl_step)):
        found = flow(geometry, gradient="natural", updates=3000, rate=0.02).step(mean, std, 0.5)
        np.testing.assert_allclose(found, closed(mean, std, 0.5), atol=1e-6)
