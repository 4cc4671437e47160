"""The natural gradient on the behaviour's likelihood (Algorithm 1 of the POGO paper) against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from written_out import Adam, forward, gradient_of, moved, real_transitions, same

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.explain.mathematics.blocks import block
from pogospec.explain.stages import stages

TEXT = """
data: {dataset: pocket/hopper-mixed}
policy: {kind: gaussian, hidden: [24, 16], mean: tanh, log_std: [-5, 2]}
energy: {q: {}}
geometry: GEOMETRY
critic: {kind: clipped_double_q, hidden: [8]}
schedule:
  defaults: {tau: 1.0, behavior_gradient: GRADIENT}
  steps:
    - {name: cloning, learn: [behavior], updates: 10}
    - {from: behavior, updates: 10OVERRIDE}
    - {from: previous, learn: [policy], updates: 10}
optimizer: {kind: adam, learning_rate: 1.0e-3}
"""
FISHER = lambda std: (jnp.clip(std**2, 1e-6, 1e2), 0.5)  # noqa: E731
W2 = lambda std: (1.0, jnp.clip(std**-2, 1e-3, 1e3))  # noqa: E731
CASES = [
    ("fisher_rao", "natural", "", 0, FISHER),
    ("kl", "{kind: natural, clip: [0.2, 0.3]}", "", 0, lambda std: (jnp.clip(std**2, 0.2, 0.3), 0.5)),
    ("{kind: fisher_rao, weight: 2}", "natural", "", 1, lambda std: tuple(part / 2 for part in FISHER(std))),
    ("wasserstein2", "natural", "", 0, W2),
    ("fisher_rao", "natural", ", geometry: wasserstein2", 1, W2),
    ("fisher_rao", "euclidean", "", 0, lambda std: (1.0, 1.0)),
    ("fisher_rao", "null", "", 1, lambda std: (1.0, 1.0)),
]


def likelihood(mean, log_std, actions):
    """Mean over states of -log density."""
    return (0.5 * ((actions - mean) / jnp.exp(log_std)) ** 2 + log_std + 0.5 * np.log(2 * np.pi)).sum(1).mean()


@pytest.mark.thinned(2, "compiles a program for each")
@pytest.mark.parametrize(("geometry", "gradient", "override", "number", "factors"), CASES)
def test_the_behaviour_follows_the_natural_gradient(geometry, gradient, override, number, factors, tmp_path, float64):
    """Each state's gradient of mean and log-std is multiplied by the inverse metric before it enters the network."""
    path = tmp_path / "spec.yaml"
    path.write_text(TEXT.replace("GEOMETRY", geometry).replace("GRADIENT", gradient).replace("OVERRIDE", override))
    spec = load(path)
    batch, space = real_transitions()
    program = compile_spec(spec, space)
    state = program.init(program.numbers, jax.random.key(0))
    state = program.stages[number].enter(program.numbers, state, batch, jax.random.key(1))
    state = state._replace(behavior=moved(state.behavior, jax.random.key(2), 0.3))

    def heads(net):
        mean, log_std = jnp.split(forward(net, batch.observations), 2, -1)
        return jnp.tanh(mean), jnp.clip(log_std, -5, 2)

    new, info = jax.jit(program.stages[number].update)(program.numbers, state, batch, jax.random.key(3), jnp.int32(0))
    (mean, log_std), pull_back = jax.vjp(heads, state.behavior)
    value, parts = jax.value_and_grad(likelihood, (0, 1))(mean, log_std, batch.actions)
    scaled = tuple(factor * part for factor, part in zip(factors(jnp.exp(log_std)), parts, strict=True))
    (expected,) = pull_back(scaled)
    np.testing.assert_allclose(info["behavior_loss"], value, rtol=1e-9)
    same(gradient_of(new.optimizer["behavior"]), expected, 1e-6)
    same(new.behavior, Adam(1e-3, state.behavior)(state.behavior, expected), 1e-5)
    row = dict(block(spec, stages(spec)[number], space.act_dim).rows)["behaviour"]
    kind = override.rpartition(" ")[2] or geometry.removeprefix("{kind: ").partition(",")[0]
    assert (f"natural gradient in {kind}; Adam" in row) == ("natural" in gradient)


def test_natural_likelihood_reaches_a_gaussian_in_fewer_updates():
    """For one Gaussian, plain descent along the Fisher natural gradient contracts at a rate free of its std."""
    from pogospec.geometries.fisher_rao import FisherRao
    from pogospec.policies.base import DiagonalNormal
    from pogospec.steps.base import Proximal
    from pogospec.steps.gradient import Natural

    data = 0.3 + 0.01 * jax.random.normal(jax.random.key(0), (4096, 1))
    p = DiagonalNormal(jnp.zeros((1, 1)), jnp.full((1, 1), jnp.log(0.5)))
    loss = lambda p: likelihood(p.mean, p.log_std, data)  # noqa: E731
    for _ in range(60):
        gradient = Natural().precondition((Proximal(FisherRao(), "behavior", 1.0),), p, jax.grad(loss)(p))
        p = jax.tree.map(lambda x, g: x - 0.2 * g, p, gradient)
    assert float(p.mean[0, 0]) == pytest.approx(float(data.mean()), abs=1e-4)
    assert float(jnp.exp(p.log_std[0, 0])) == pytest.approx(float(data.std()), rel=0.02)
