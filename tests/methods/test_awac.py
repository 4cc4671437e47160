"""specs/awac.yaml against AWAC written out from its formulas, on real transitions in double precision."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_iql import (
    CLIP,
    Actor,
    Adam,
    apart,
    difference,
    first_gradient,
    forward,
    log_prob,
    logged,
    pair,
    plain,
    polyak,
    smaller,
    squared_errors,
)
from written_out import grad, value_and_grad

from pogospec.checking.check import checked, load
from pogospec.compiler.compile import compile_spec
from pogospec.spec.resolve import read_text

SPEC = Path(__file__).parents[2] / "specs" / "awac.yaml"
LAMBDA, DISCOUNT, RATE = 0.015, 0.97, 0.1
CHANGES = [
    *(("policy.hidden", "[24, 16, 12]"), ("critic.hidden", "[24, 16, 12]"), ("critic.target_rate", f"{RATE}")),
    *(("schedule.steps[0].tau", f"{1 / LAMBDA}"), ("critic.discount", f"{DISCOUNT}")),
]


class Nets(NamedTuple):
    """All networks of AWAC as plain arrays."""

    q: list
    slow: list
    actor: Actor

    @classmethod
    def of(cls, state):
        return cls(pair(state.critic), pair(state.critic_target), Actor.of(state.policy))


def gaussian(actor, observations):
    """N(mean(s), exp(log_std)^2), the mean as it is, log_std within [-20, 2]."""
    return forward(actor.mean, observations), jnp.clip(actor.log_std, -20, 2)


def sample(actor, observations, noise):
    """An action of the policy, clipped to the bounds."""
    mean, log_std = gaussian(actor, observations)
    return jnp.clip(mean + jnp.exp(log_std) * noise, -1, 1)


def critic_loss(q, slow, actor, batch, noise):
    """Both mean squared errors, y = r + discount (1 - d) min_i Qbar_i(s', a'), a' of the policy as it is."""
    following = sample(actor, batch.next_observations, noise)
    value = smaller(slow, batch.next_observations, following)
    return squared_errors(q, batch.rewards + DISCOUNT * (1 - batch.terminated) * value, batch)


def weights(q, actor, batch, noise):
    """min(exp(A / lambda), 100), A = min_i Q_i(s, a) - min_i Q_i(s, a_pi)."""
    own = smaller(q, batch.observations, sample(actor, batch.observations, noise))
    advantage = smaller(q, batch.observations, batch.actions) - own
    return jnp.minimum(jnp.exp(advantage / LAMBDA), CLIP)


def actor_loss(actor, q, batch, noise):
    """-E[weight log pi(a | s)], nothing flows into the weight."""
    weight = jax.lax.stop_gradient(weights(q, actor, batch, noise))
    return -(weight * log_prob(*gaussian(actor, batch.observations), batch.actions)).mean()


def noises(key, shape):
    """The normals of the next actions and of the actions that the advantage is measured from."""
    of_critic, of_actor = jax.random.split(key)
    return jax.random.normal(of_critic, (1, *shape), float)[0], actor_noise(of_actor, shape)


def actor_noise(key, shape):
    key = jax.random.fold_in(jax.random.fold_in(key, 0), 1)  # of the first term, of its baseline
    return jax.random.normal(key, (1, *shape), float)[0]


@pytest.fixture
def compiled(float64):
    """The program, a state whose networks all differ, and a batch."""
    batch, space = logged()
    program = compile_spec(load(SPEC, CHANGES), space)
    state = program.init(program.numbers, jax.random.key(0))
    return program, apart(program.stages[0].enter(program.numbers, state, batch, jax.random.key(1))), batch


def test_losses_and_gradients(compiled):
    program, state, batch = compiled
    nets, key = Nets.of(state), jax.random.key(3)
    new, info = jax.jit(program.stages[0].update)(program.numbers, state, batch, key, jnp.int32(0))
    noise, _ = noises(key, batch.actions.shape)
    value, gradient = value_and_grad(critic_loss)(nets.q, nets.slow, nets.actor, batch, noise)
    assert float(info["critic_loss"]) == pytest.approx(float(value), rel=1e-9)
    assert difference(pair(first_gradient(new.optimizer["critic"])), gradient) < 1e-6
    found, info = jax.jit(program.stages[0].actor_gradient)(program.numbers, state, batch, key)
    noise = actor_noise(key, batch.actions.shape)
    value, gradient = value_and_grad(actor_loss)(nets.actor, nets.q, batch, noise)
    assert float(info["objective"]) == pytest.approx(float(value), rel=1e-9)
    assert difference(Actor.of(found), gradient) < 1e-6
    found = weights(nets.q, nets.actor, batch, noise)
    assert 0 < float((found == CLIP).mean()) < 1
    assert (jnp.abs(sample(nets.actor, batch.observations, noise)) == 1).any()


def test_whole_updates(compiled):
    """Critics, then the policy beside the new critics, then the slow copies."""
    program, state, batch = compiled
    nets, update = Nets.of(state), jax.jit(program.stages[0].update)
    optimizers = Adam(3e-4, nets.q), Adam(3e-4, nets.actor)
    for index in range(5):
        key = jax.random.key(10 + index)
        state, _ = update(program.numbers, state, batch, key, jnp.int32(index))
        first, second = noises(key, batch.actions.shape)
        q = optimizers[0](nets.q, grad(critic_loss)(nets.q, nets.slow, nets.actor, batch, first))
        actor = optimizers[1](nets.actor, grad(actor_loss)(nets.actor, q, batch, second))
        nets = Nets(q, polyak(nets.slow, q, RATE), actor)
        for name, found, expected in zip(Nets._fields, Nets.of(state), nets, strict=True):
            assert difference(found, expected) < 1e-5, (name, index)


def test_fresh_networks_are_those_of_torch(float64):
    """Weights and biases within 1/sqrt(fan in), log-stds 0."""
    _, space = logged()
    program = compile_spec(load(SPEC), space)
    state = program.init(program.numbers, jax.random.key(0))
    for layers in (plain(state.policy.mean), *pair(state.critic)):
        assert len(layers) == 4
        for weight, bias in layers:
            bound = weight.shape[0] ** -0.5
            assert 0.95 * bound < float(jnp.abs(weight).max()) <= bound
            assert 0 < float(jnp.abs(bias).max()) <= bound
    assert not state.policy.log_std.any()


IMPLICIT = """
data: {dataset: pocket/hopper-mixed}
policy: {kind: gaussian, hidden: [16]}
energy: ENERGY
geometry: kl
critic: {kind: clipped_double_q, hidden: [16]}
schedule: {steps: [{from: behavior, tau: 0.7, updates: 5}]}
"""


@pytest.mark.parametrize("actions", ["mean", "quadrature", "{sample: 3}"])
@pytest.mark.parametrize("baseline", ["mean", "quadrature", "{sample: 2}"])
def test_an_implicit_step_on_the_advantage_is_one_on_q(actions, baseline, float64):
    """What a state is worth moves the energy, and no policy."""
    batch, space = logged()
    found = []
    for kind, more in (("q", ""), ("advantage", f", baseline: {baseline}")):
        energy = f"{{{kind}: {{critics: min, actions: {actions}{more}}}}}"
        program = compile_spec(checked(read_text(IMPLICIT.replace("ENERGY", energy))), space)
        state = program.init(program.numbers, jax.random.key(0))
        state = apart(program.stages[0].enter(program.numbers, state, batch, jax.random.key(1)))
        found.append(program.stages[0].actor_gradient(program.numbers, state, batch, jax.random.key(2)))
    (of_q, q), (of_advantage, advantage) = found
    assert difference(of_advantage, of_q) < 1e-12
    worth = float(advantage["energy.advantage"] - q["energy.q"])
    assert abs(worth) > 1e-3


@pytest.mark.parametrize("task", ["hopper", "halfcheetah", "walker2d"])
@pytest.mark.parametrize("quality", ["medium", "medium-replay", "medium-expert"])
def test_published_settings_of_locomotion(task, quality):
    spec = load(SPEC, [("data.dataset", f"d4rl/{task}-{quality}-v2")])
    published(spec, 0.3333)
    assert (spec.data.reward.shift, spec.evaluate.episodes) == (0.0, 10)


@pytest.mark.parametrize(
    "maze", ["umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse"]
)
def test_published_settings_of_mazes(maze):
    spec = load(SPEC, [("data.dataset", f"d4rl/antmaze-{maze}-v2")])
    published(spec, 0.1)
    assert (spec.data.reward.shift, spec.evaluate.episodes) == (-1.0, 100)


def published(spec, temperature):
    (step,) = spec.schedule.steps
    np.testing.assert_allclose(1 / step.tau, temperature, rtol=1e-4)
    assert (spec.policy.hidden, spec.critic.hidden) == ((256, 256, 256), (256, 256, 256))
    assert (step.updates, spec.seeds, spec.train.batch_size) == (1_000_000, 5, 256)
    assert (spec.critic.discount, spec.critic.target_rate, spec.data.normalize_observations) == (0.99, 0.005, True)
