"""Points that move: closed forms of quadratic energies, Stein's velocity written out, and where its flow ends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from written_out import Adam

from pogospec.checking.check import checked
from pogospec.energies.base import AbstractTerm, Context
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.errors import SpecError
from pogospec.geometries.wasserstein2 import SharedNoise, Wasserstein2
from pogospec.policies.base import Sample
from pogospec.policies.flow_matching import FlowMatchingPolicy
from pogospec.policies.gaussian_mixture import GaussianMixturePolicy
from pogospec.policies.mixtures import Mixture
from pogospec.policies.transport_map import TransportMapPolicy
from pogospec.spec.resolve import read_text
from pogospec.steps.base import Problem, Proximal
from pogospec.steps.explicit import Explicit
from pogospec.steps.gradient import Euclidean
from pogospec.steps.transport import Fixed, carried, stein
from pogospec.types import Space

A, CENTER = np.array([[2.0, 0.6], [0.6, 0.8]]), np.array([0.7, -0.4])
SPACE = Space(0, 2, (-1.0,) * 2, (1.0,) * 2)
NOTHING = jnp.zeros((1, 0))


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def quadratic(actions):
    return -0.5 * jnp.einsum("...i,ij,...j->...", actions - CENTER, A, actions - CENTER)


def seen(policy, q=quadratic, rows=1):
    known = lambda a, count=None, slow=False: q(a)[None]  # noqa: E731
    return Context(jnp.zeros((rows, 0)), jnp.zeros((rows, 2)), policy, known, {})


def problem(tau, heat=0.0, **options):
    energy: dict[str, AbstractTerm] = {"q": QTerm()}
    energy |= {"entropy": EntropyTerm(weight=heat)} if heat else {}
    return Problem(energy, (Proximal(Wasserstein2(coupling=SharedNoise(4), **options), "previous", tau),), Euclidean())


def affine(matrix, shift):
    """The network of a transport map a = M z + b."""
    policy = TransportMapPolicy(hidden=(), mean="linear")
    network = policy.init(jax.random.key(0), SPACE)
    weight, bias = jnp.asarray(matrix, float).T, jnp.asarray(shift, float)
    layer = network.layers[0]
    assert (layer.weight.shape, layer.bias.shape) == (weight.shape, bias.shape)
    return policy, jax.tree.unflatten(jax.tree.structure(network), _fitting(network, weight, bias))


def _fitting(network, weight, bias):
    return [weight if leaf.ndim == 2 else bias for leaf in jax.tree.leaves(network)]


def loss(scheme, own, policy, network, reference, key=0):
    """The loss of a step, and the gradient of the network."""
    go = jax.jit(
        lambda net: scheme.gradient(
            own, lambda n: policy.parameters(n, NOTHING), net, (reference,), seen(policy), jax.random.key(key)
        )
    )
    gradient, info = go(network)
    return float(info["objective"]), gradient


MATRIX, SHIFT = np.array([[0.5, 0.2], [-0.1, 0.9]]), np.array([-1.0, 0.6])


@pytest.mark.parametrize(("moves", "options"), [(1, {}), (6, {}), (3, {"reduction": "mean", "weight": 4.0})])
def test_a_map_comes_to_rest_where_linear_forces_carry_its_points(moves, options):
    """a -> c + (1 - eta A)^L (a - c), eta = tau k/(w L); the loss is 0 there, and a policy learns that."""
    tau = 0.5
    eta = tau / options.get("weight", 1.0) * (2 if "reduction" in options else 1) / moves
    move = np.linalg.matrix_power(np.eye(2) - eta * A, moves)
    scheme, own = Explicit(Sample(8), moves=moves), problem(tau, **options)
    policy, start = affine(MATRIX, SHIFT)
    reference = policy.parameters(start, NOTHING)
    _, end = affine(move @ MATRIX, CENTER + move @ (SHIFT - CENTER))
    least, gradient = loss(scheme, own, policy, end, reference)
    assert least < 1e-20
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) < 1e-10
    assert loss(scheme, own, policy, start, reference)[0] > 0.05
    found = learned(scheme, own, policy, start, reference)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(end), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def learned(scheme, own, policy, network, reference, updates=400):
    adam = optax.adam(optax.cosine_decay_schedule(0.05, updates))

    def update(carry, key):
        network, state = carry
        heads = lambda n: policy.parameters(n, NOTHING)  # noqa: E731
        gradient, _ = scheme.gradient(own, heads, network, (reference,), seen(policy), key)
        changes, state = adam.update(gradient, state)
        return (optax.apply_updates(network, changes), state), None

    keys = jax.random.split(jax.random.key(1), updates)
    return jax.jit(lambda n: jax.lax.scan(update, (n, adam.init(n)), keys)[0][0])(network)


@pytest.mark.parametrize("kernel", ["none", "stein"])
def test_a_mixture_is_shifted_and_shrunk_by_an_isotropic_energy(kernel):
    """Of Q = -k |a - c|^2/2: means c + m (mu - c), stds m s, m = (1 - eta k)^L; a kernel without width is none."""
    k, moves, tau = 0.8, 4, 0.7
    m = (1 - tau / moves * k) ** moves
    q = lambda a: -0.5 * k * jnp.square(a - CENTER).sum(-1)  # noqa: E731
    means, stds = np.array([[[-1.0, 0.5], [0.4, 1.2]]]), np.array([[[0.3, 0.5], [0.2, 0.1]]])
    logits = jnp.array([[0.3, -0.6]])
    mixture = lambda means, stds: Mixture(logits, jnp.asarray(means), jnp.log(stds))  # noqa: E731
    reference, end = mixture(means, stds), mixture(CENTER + m * (means - CENTER), m * stds)
    scheme = Explicit(Sample(8), moves=moves, kernel="none" if kernel == "none" else Fixed(1e-6))
    own = problem(tau if kernel == "none" else 8 * tau)  # of 8 points each is pulled by an eighth of its own force
    family = seen(GaussianMixturePolicy(), q)
    _, info = scheme.gradient(own, lambda heads: heads, end, (reference,), family, jax.random.key(0))
    assert float(info["objective"]) < 1e-12
    _, info = scheme.gradient(own, lambda heads: heads, reference, (reference,), family, jax.random.key(0))
    assert float(info["objective"]) > 1e-2


def test_a_flow_learns_to_end_where_forces_carry_its_own_ends():
    """A linear flow z -> z + (W z + b) of one Euler step is affine, and so is what it is regressed on."""
    policy = FlowMatchingPolicy(steps=1, hidden=(), bound="none")
    network = policy.init(jax.random.key(0), SPACE)
    flowing = lambda matrix, shift: jax.tree.unflatten(  # noqa: E731
        jax.tree.structure(network),
        _fitting(network, jnp.concatenate([(matrix - np.eye(2)).T, np.zeros((1, 2))]), shift),
    )
    move, tau = np.eye(2) - 0.5 * A, 0.5
    start, end = flowing(MATRIX, SHIFT), flowing(move @ MATRIX, CENTER + move @ (SHIFT - CENTER))
    scheme, reference = Explicit(Sample(8)), policy.parameters(start, NOTHING)
    assert loss(scheme, problem(tau), policy, end, reference)[0] < 1e-20
    found = policy.parameters(learned(scheme, problem(tau), policy, start, reference), NOTHING)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 1, 2)))
    np.testing.assert_allclose(found.at(z), policy.parameters(end, NOTHING).at(z), atol=1e-3)


def kernel_of(points, width):
    n = len(points)
    squares = np.array([[np.sum((x - y) ** 2) for y in points] for x in points])
    h = np.median(squares.ravel()) / (2 * np.log(n + 1)) if width is None else width**2
    return lambda x, y: jnp.exp(-jnp.square(x - y).sum() / (2 * h + 1e-6))


@pytest.mark.parametrize("width", [None, 0.7])
def test_steins_velocity_is_that_of_its_definition(width):
    """sum_j w_j [k(x_i, x_j) F_j + lambda grad_j k(x_j, x_i)], gradients by autodiff, state by state."""
    rng, heat = np.random.default_rng(0), 0.3
    points, shares = rng.normal(size=(5, 3, 2)), np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    forces = rng.normal(size=points.shape)
    kernel = "stein" if width is None else Fixed(width)
    found = stein(kernel, jnp.asarray(points), jnp.asarray(forces), heat, jnp.asarray(shares))
    for state in range(3):
        x, force = points[:, state], forces[:, state]
        k = kernel_of(x, width)
        slope = jax.jit(jax.grad(k))
        for i in range(5):
            pairs = zip(shares, x, force, strict=True)
            wanted = sum(w * (k(x[i], y) * f + heat * slope(y, x[i])) for w, y, f in pairs)
            np.testing.assert_allclose(found[i, state], wanted, rtol=1e-10)


def test_moves_follow_adam_and_stay_inside_bounds():
    rng = np.random.default_rng(0)
    start = jnp.asarray(rng.uniform(-1, 1, size=(6, 4, 2)))
    force = lambda x: (CENTER * 3 - x) @ A  # noqa: E731
    found = carried(start, force, 0.2, 5, "adam", True)
    adam, points = Adam(0.2, start), start
    for _ in range(5):
        points = jnp.clip(adam(points, -force(points)), -1, 1)
    np.testing.assert_allclose(found, points, rtol=1e-6)
    assert float(jnp.abs(found).max()) == 1
    far = carried(start, force, 0.2, 5, "adam", False)
    assert float(jnp.abs(far).max()) > 1.2


@pytest.mark.parametrize(("heat", "kernel", "tolerance"), [(0.25, Fixed(1.0), 0.02), (1.0, "stein", 0.15)])
def test_many_points_come_to_the_density_of_the_energy(heat, kernel, tolerance):
    """exp(Q/lambda)/Z is N(c, lambda A^-1); the width by the median leaves fifty points an eighth too narrow."""
    count = 100 if kernel != "stein" else 50
    start = jnp.asarray(np.random.default_rng(0).normal(size=(count, 1, 2)) * 0.5 + [-1.0, 1.0])
    scheme, own = Explicit(Sample(count), kernel=kernel, moves=1500), problem(150.0, heat)
    shares = jnp.full(count, 1 / count)
    go = jax.jit(lambda x: scheme.carried(own, x, shares, seen(None)))
    points = np.asarray(go(start))[:, 0]
    np.testing.assert_allclose(points.mean(0), CENTER, atol=0.005)
    np.testing.assert_allclose(np.cov(points.T, ddof=0), heat * np.linalg.inv(A), rtol=tolerance)


@pytest.mark.exhaustive("takes 500 steps of 400 points")
def test_a_map_without_a_density_comes_to_the_density_of_the_energy():
    """Many steps, each from the map before; z is white, so that one gradient of rate 1 regresses an affine map.

    Each of n points is pulled by its own force too, which narrows the end by about 10/n here.
    """
    heat = 0.25
    policy, start = affine(MATRIX, SHIFT)
    scheme, own = Explicit(Sample(400), kernel=Fixed(1.0)), problem(0.5, heat)
    heads = lambda n: policy.parameters(n, NOTHING)  # noqa: E731

    def step(network, key):
        gradient, _ = scheme.gradient(own, heads, network, (heads(network),), seen(policy), key)
        network = jax.tree.map(jnp.subtract, network, gradient)
        return network, network

    keys = jax.random.split(jax.random.key(0), 500)
    path = jax.jit(lambda network: jax.lax.scan(step, network, keys)[1])(start)
    weight, bias = (np.asarray(leaf)[-250:] for leaf in sorted(jax.tree.leaves(path), key=lambda leaf: -leaf.ndim))
    np.testing.assert_allclose(bias.mean(0), CENTER, atol=0.02)
    covariance = np.einsum("nij,nik->jk", weight, weight) / len(weight)
    np.testing.assert_allclose(covariance, heat * np.linalg.inv(A), rtol=0.06)


TEXT = """
data: {dataset: pocket/hopper-mixed}
policy: {kind: transport_map, hidden: [8]}
behavior: {kind: flow_matching, hidden: [8]}
energy: {q: {}, entropy: {weight: 0.1}}
geometry: {kind: wasserstein2, coupling: shared_noise}
critic: {kind: clipped_double_q, hidden: [8], target_actions: policy_sample}
schedule: {steps: [{from: behavior, tau: 0.1, updates: 6, scheme: {kind: explicit, kernel: stein}}]}
"""
REFUSED = [
    ("kernel: stein", "kernel: none", "energy.entropy", "(or scheme.kernel: stein of an explicit step)"),
    ("kernel: stein", "kernel: stein, actions: {hermite: 3}", "scheme.actions", "found hermite"),
    ("kernel: stein", "kernel: {stein: 0}", "scheme.kernel.stein", "found 0, allowed a number > 0"),
    ("kernel: stein", "moves: 0", "scheme.moves", "found 0, allowed a whole number >= 1"),
]
DENSE = [
    ("geometry: wasserstein2", "moves: 3", "scheme.moves", "after the first the density of the points, which entropy"),
    ("geometry: kl", "kernel: stein", "scheme.kernel", "but this step weighs points and moves none"),
    ("geometry: kl", "mover: adam", "scheme.mover", "allowed in wasserstein2"),
    ("geometry: kl, from: data, energy: {q: {}}", "bound: clip", "scheme.bound", "weighs the logged actions"),
]


def problems(text):
    with pytest.raises(SpecError) as error:
        checked(read_text(text))
    return error.value.problems


def test_maps_move_along_a_kernel_and_all_else_is_refused_with_its_place():
    checked(read_text(TEXT))
    checked(read_text(TEXT.replace("stein}", "{stein: 0.3}, moves: 4, mover: adam, bound: clip}")))
    for old, new, where, message in REFUSED:
        found = problems(TEXT.replace(old, new))
        assert any(one.path.endswith(where) and message in one.message for one in found), found
    plain = TEXT.replace("transport_map", "gaussian").replace("flow_matching", "gaussian")
    plain = plain.replace("geometry: {kind: wasserstein2, coupling: shared_noise}", "geometry: wasserstein2")
    for more, scheme, where, message in DENSE:
        text = plain.replace("from: behavior", more if "from" in more else f"from: behavior, {more}")
        found = problems(text.replace("kernel: stein", scheme))
        assert any(one.path == f"schedule.steps[0].{where}" and message in one.message for one in found), found
    known = """
target: {kind: quadratic, center: [0.0], curvature: [1.0]}
policy: gaussian
energy: {q: {actions: quadrature}, entropy: {weight: 0.5}}
geometry: wasserstein2
schedule: {steps: [{updates: 6, tau: 1, scheme: {kind: explicit, kernel: stein, moves: 5, bound: clip}}]}
"""
    (one,) = problems(known)
    assert "actions of a known energy have no bounds" in one.message
    checked(read_text(known.replace(", bound: clip", "")))
