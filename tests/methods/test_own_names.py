"""Terms, gradients and norms that bear names of their own, against their definitions in double precision."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from written_out import gradient_of, moved, real_transitions

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.critics.clipped_double_q import ClippedDoubleQ
from pogospec.critics.conservative import Conservative
from pogospec.critics.ensemble import Ensemble
from pogospec.critics.expectile import Expectile
from pogospec.errors import SpecError
from pogospec.explain.mathematics.blocks import block
from pogospec.explain.stages import stages
from pogospec.nets import Normalized
from pogospec.policies.dirac import DiracPolicy
from pogospec.policies.full_gaussian import FullGaussianPolicy
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.policies.tanh_gaussian import TanhGaussianPolicy
from pogospec.steps.optimizer import Adam

TEXT = """
data: {dataset: pocket/hopper-mixed}
policy: {kind: FAMILY, hidden: [12, 8]}
energy: ENERGY
geometry: GEOMETRY
critic: {kind: clipped_double_q, hidden: [8]}
schedule:
  defaults: {tau: 0.7, gradient: GRADIENT, behavior_gradient: GRADIENT}
  steps:
    - {from: behavior, updates: 10}
"""


def spec_of(tmp_path, family="gaussian", geometry="wasserstein2", gradient="pogo_printed"):
    text = TEXT.replace("FAMILY", family).replace("GEOMETRY", geometry).replace("GRADIENT", gradient)
    (tmp_path / "spec.yaml").write_text(text.replace("ENERGY", "{log_likelihood: {}, entropy: {weight: 0.2}}"))
    return load(tmp_path / "spec.yaml")


def forward(net, x):
    for layer in net.layers[:-1]:
        x = jnp.maximum(x @ layer.weight + layer.bias, 0)
    return x @ net.layers[-1].weight + net.layers[-1].bias


@pytest.mark.exhaustive("compiles two programs")
def test_the_printed_scaling_of_pogo_halves_the_gradient_of_the_variance(tmp_path, float64):
    """Eqs. 19 and 20: d/dmu as it is and half of d/dsigma^2, then backpropagated, for policy and behaviour alike."""
    spec, (batch, space) = spec_of(tmp_path), real_transitions()
    program = compile_spec(spec, space)
    state = program.init(program.numbers, jax.random.key(0))
    state = program.stages[0].enter(program.numbers, state, batch, jax.random.key(1))
    policy, behavior = (moved(net, jax.random.key(n), 0.3) for n, net in enumerate((state.policy, state.behavior)))
    state = state._replace(policy=policy, behavior=behavior)

    def moments(net):
        mean, log_std = jnp.split(forward(net, batch.observations), 2, -1)
        return jnp.tanh(mean), jnp.exp(2 * jnp.clip(log_std, -5, 2))

    def likelihood(mean, variance):
        return ((batch.actions - mean) ** 2 / variance + jnp.log(2 * np.pi * variance)).sum(1).mean() / 2

    at, held = moments(behavior)

    def objective(mean, variance):
        gaps = (mean - at) ** 2 + (jnp.sqrt(variance) - jnp.sqrt(held)) ** 2
        entropy = jnp.log(2 * np.pi * np.e * variance).sum(1).mean() / 2
        return likelihood(mean, variance) - 0.2 * entropy + gaps.sum(1).mean() / 2 / 0.7

    def printed(loss, net):
        (mean, variance), pull_back = jax.vjp(moments, net)
        of_mean, of_variance = jax.grad(loss, (0, 1))(mean, variance)
        return pull_back((of_mean, of_variance / 2))[0]

    found, _ = jax.jit(program.stages[0].actor_gradient)(program.numbers, state, batch, jax.random.key(3))
    close(found, printed(objective, policy))
    new, _ = jax.jit(program.stages[0].update)(program.numbers, state, batch, jax.random.key(3), jnp.int32(0))
    close(gradient_of(new.optimizer["behavior"]), printed(likelihood, behavior))
    rows = dict(block(spec, stages(spec)[0], space.act_dim).rows)
    assert "pogo_printed gradient (1 on the mean, ½ on log σ)" in rows[""]
    assert "pogo_printed gradient in wasserstein2; Adam" in rows["behaviour"]


@pytest.mark.parametrize(("family", "geometry"), [("gaussian", "kl"), ("full_gaussian", "wasserstein2")])
def test_the_printed_scaling_is_for_diagonal_gaussians_under_wasserstein(family, geometry, tmp_path):
    with pytest.raises(SpecError) as caught:
        spec_of(tmp_path, family, geometry)
    message = f"pogo_printed is for wasserstein2 on gaussian, found {geometry} on {family}; use natural"
    places = {f"schedule.steps[0].{key}": message for key in ("gradient", "behavior_gradient")}
    assert {problem.path: problem.message for problem in caught.value.problems} == places


def close(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(
    ("policy", "reduction"),
    [("{kind: gaussian, std: shared, hidden: [12, 8]}", "mean"), ("{kind: dirac, hidden: [12, 8]}", "sum")],
)
def test_cloning_by_squared_error_asks_nothing_of_the_std(policy, reduction, float64):
    """The loss of CORL's BC: no dimension weighs more than another, whatever its std, and the std stays."""
    changes = [("policy", policy), ("energy", f"{{squared_error: {{reduction: {reduction}}}}}")]
    batch, space = real_transitions()
    program = compile_spec(load("bc", changes), space)
    state = program.init(program.numbers, jax.random.key(0))
    state = program.stages[0].enter(program.numbers, state, batch, jax.random.key(1))
    net = moved(state.policy, jax.random.key(2), 0.3)
    found, info = program.stages[0].actor_gradient(
        program.numbers, state._replace(policy=net), batch, jax.random.key(3)
    )
    deterministic = "dirac" in policy
    mean, of_mean = (net, found) if deterministic else (net.mean, found.mean)

    def loss(net):
        squares = (jnp.tanh(forward(net, batch.observations)) - batch.actions) ** 2
        return squares.mean() if reduction == "mean" else squares.sum() / len(squares)

    value, gradient = jax.value_and_grad(loss)(mean)
    assert float(info["energy"]) == pytest.approx(float(value), rel=1e-12)
    close(of_mean, gradient)
    if not deterministic:
        assert float(jnp.abs(net.log_std).max()) > 0.1
        assert not found.log_std.any()


CRITICS = [ClippedDoubleQ, Expectile, Ensemble, Conservative]
FAMILIES = [DiracPolicy, GaussianPolicy, TanhGaussianPolicy, FullGaussianPolicy, *CRITICS]


@pytest.mark.thinned(2, "compiles a program for each network")
@pytest.mark.parametrize(("cls", "place"), list(zip(FAMILIES, ["before", "after"] * 4, strict=True)))
def test_every_network_takes_the_epsilon_of_its_norm(cls, place, float64):
    """A word adds 1e-5 to the variance; in units of the variance, 0.3 is far from it."""
    batch, space = real_transitions(12)

    def out(layer_norm):
        node = cls(hidden=(6, 5), layer_norm=layer_norm)
        net = moved(node.init(jax.random.key(0), space), jax.random.key(1), 0.2)
        if hasattr(node, "values"):
            found = [*node.values(net, batch.observations, batch.actions)]
            found += [node.values(net, batch.observations, batch.actions, 1)[0]]
            found += [node.state_values(net, batch.observations)] if cls is Expectile else []
            return net, found
        return net, [node.parameters(net, batch.observations).mean]

    def by_hand(net, x, eps):
        for layer, norm in zip(net.layers[:-1], net.norms, strict=True):
            x = x @ layer.weight + layer.bias
            x = x if place == "before" else jnp.maximum(x, 0)
            x = norm.offset + norm.scale * (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + eps)
            x = jnp.maximum(x, 0) if place == "before" else x
        return x @ net.layers[-1].weight + net.layers[-1].bias

    for layer_norm, eps in ((place, 1e-5), (Normalized(place, 0.3), 0.3)):
        net, found = out(layer_norm)
        inputs = jnp.concatenate([batch.observations, batch.actions], -1)
        if cls in CRITICS:
            q = getattr(net, "q", net)
            members = range(10 if cls is Ensemble else 2)
            nets = [jax.tree.map(lambda leaf, n=n: leaf[n], q) for n in (*members, 0)]
            expected = [by_hand(one, inputs, eps)[:, 0] for one in nets]
            expected += [by_hand(net.v, batch.observations, eps)[:, 0]] if cls is Expectile else []
        else:
            mean = by_hand(net, batch.observations, eps)[:, : space.act_dim]
            expected = [mean if cls is TanhGaussianPolicy else jnp.tanh(mean)]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_an_epsilon_is_a_number_that_sweeps_and_overrides_reach(tmp_path):
    """`{place, eps}` replaces a word whole, and its numbers are leaves of one program."""
    from pogospec.spec.resolve import read_cells
    from pogospec.spec.shipped import spec_path

    swept: Any = read_cells(spec_path("rebrac"), [("critic.layer_norm", "{place: before}")], [])
    assert swept[0].spec.critic.layer_norm == Normalized("before", 1e-5)
    path = tmp_path / "over.yaml"
    path.write_text("extends: rebrac\ncritic: {layer_norm: {place: after, eps: 1/1000}}\n")
    over: Any = load(path)
    assert over.critic.layer_norm == Normalized("after", 0.001)
    _, space = real_transitions(12)
    programs = [compile_spec(load(path, [("critic.layer_norm.eps", eps)]), space) for eps in ("1e-6", "1e-5")]
    a, b = (jax.tree.structure(program.numbers) for program in programs)
    assert a == b


def test_the_cosine_is_computed_in_the_precision_of_the_run(float64):
    """Rates of 7 updates to 1e-15; a float32 cosine is off by 1e-8."""
    transform = Adam(learning_rate=jnp.asarray(0.3), decay="cosine", eps=1e-300).transform(7)  # type: ignore[arg-type]
    network = jnp.zeros(())
    state = transform.init(network)
    for count in range(9):
        change: Any
        change, state = transform.update(jnp.ones(()), state)  # of a constant gradient, Adam's step is the rate
        wanted = 0.3 * (1 + np.cos(np.pi * min(count / 7, 1))) / 2
        assert float(change) == pytest.approx(-wanted, rel=1e-14, abs=1e-16)
