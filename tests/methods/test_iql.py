"""specs/iql.yaml against IQL written out from its formulas, in its order, on real transitions in double precision."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
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
from scipy.stats import expectile as scipy_expectile
from written_out import grad, value_and_grad

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.critics.expectile import Expectile, Networks

SPEC = Path(__file__).parents[2] / "specs" / "iql.yaml"
TAU, BETA, DISCOUNT, RATE, UPDATES = 0.8, 2.0, 0.97, 0.1, 6
CHANGES = [
    *(("policy.hidden", "[24, 16]"), ("critic.hidden", "[24, 16]"), ("schedule.steps[0].updates", f"{UPDATES}")),
    *(("critic.expectile", f"{TAU}"), ("schedule.steps[0].tau", f"{BETA}"), ("critic.discount", f"{DISCOUNT}")),
    ("critic.target_rate", f"{RATE}"),
]


class Nets(NamedTuple):
    """All networks of IQL as plain arrays."""

    v: list
    q: list
    slow: list
    actor: Actor

    @classmethod
    def of(cls, state):
        return cls(plain(state.critic.v), pair(state.critic.q), pair(state.critic_target.q), Actor.of(state.policy))


def value_loss(v, slow, batch):
    """E |tau - 1(u < 0)| u^2, u = min_i Qbar_i(s, a) - V(s)."""
    u = smaller(slow, batch.observations, batch.actions) - forward(v, batch.observations)[:, 0]
    return (jnp.abs(TAU - (u < 0)) * u**2).mean()


def critic_loss(q, v, batch):
    """Both mean squared errors, y = r + discount (1 - d) V(s')."""
    y = batch.rewards + DISCOUNT * (1 - batch.terminated) * forward(v, batch.next_observations)[:, 0]
    return squared_errors(q, y, batch)


def weights(slow, v, batch):
    """min(exp(beta (min_i Qbar_i(s, a) - V(s))), 100)."""
    advantage = smaller(slow, batch.observations, batch.actions) - forward(v, batch.observations)[:, 0]
    return jnp.minimum(jnp.exp(BETA * advantage), CLIP)


def actor_loss(actor, slow, v, batch):
    """-E[weight log pi(a | s)] of N(tanh(mean(s)), exp(log_std)^2), log_std within [-5, 2]."""
    mean, log_std = jnp.tanh(forward(actor.mean, batch.observations)), jnp.clip(actor.log_std, -5, 2)
    return -(weights(slow, v, batch) * log_prob(mean, log_std, batch.actions)).mean()


def official_update(nets, optimizers, batch):
    """V, then the policy, then Q, each beside the new V and the old slow copies; then the slow copies."""
    of_v, of_q, of_actor = optimizers
    v = of_v(nets.v, grad(value_loss)(nets.v, nets.slow, batch))
    actor = of_actor(nets.actor, grad(actor_loss)(nets.actor, nets.slow, v, batch))
    q = of_q(nets.q, grad(critic_loss)(nets.q, v, batch))
    return Nets(v, q, polyak(nets.slow, q, RATE), actor)


@pytest.fixture
def compiled(float64):
    """The program, a state whose networks all differ, and a batch."""
    batch, space = logged()
    assert 0 < float(batch.terminated.mean()) < 1
    program = compile_spec(load(SPEC, CHANGES), space)
    state = program.init(program.numbers, jax.random.key(0))
    state = apart(program.stages[0].enter(program.numbers, state, batch, jax.random.key(1)))
    lower = eqx.tree_at(lambda s: s.critic.v.layers[-1].bias, state, replace_fn=lambda bias: bias - 6)
    return program, lower, batch  # advantages of both signs


def test_losses_and_gradients(compiled):
    program, state, batch = compiled
    nets = Nets.of(state)
    new, info = jax.jit(program.stages[0].update)(program.numbers, state, batch, jax.random.key(3), jnp.int32(0))
    v = Adam(3e-4, nets.v)(nets.v, grad(value_loss)(nets.v, nets.slow, batch))
    losses = float(value_loss(nets.v, nets.slow, batch)), float(critic_loss(nets.q, v, batch))
    assert float(info["critic_loss"]) == pytest.approx(sum(losses), rel=1e-9)
    assert min(losses) > 0.1
    found = first_gradient(new.optimizer["critic"])
    assert difference(plain(found.v), grad(value_loss)(nets.v, nets.slow, batch)) < 1e-6
    assert difference(pair(found.q), grad(critic_loss)(nets.q, v, batch)) < 1e-6
    assert difference(pair(found.q), grad(critic_loss)(nets.q, nets.v, batch)) > 1e-5  # V before its update
    found, info = jax.jit(program.stages[0].actor_gradient)(program.numbers, state, batch, jax.random.key(4))
    value, gradient = value_and_grad(actor_loss)(nets.actor, nets.slow, nets.v, batch)
    assert float(info["objective"]) == pytest.approx(float(value), rel=1e-9)
    assert difference(Actor.of(found), gradient) < 1e-6
    clipped = weights(nets.slow, nets.v, batch) == CLIP
    assert 0 < float(clipped.mean()) < 1


def test_whole_updates_are_those_of_the_official_order(compiled):
    """The actor's rate falls by a cosine over all updates, those of V and Q stay."""
    program, state, batch = compiled
    nets, update = Nets.of(state), jax.jit(program.stages[0].update)
    cosine = lambda count: 3e-4 * (1 + np.cos(np.pi * count / UPDATES)) / 2  # noqa: E731
    optimizers = Adam(3e-4, nets.v), Adam(3e-4, nets.q), Adam(cosine, nets.actor)
    for index in range(UPDATES):
        state, _ = update(program.numbers, state, batch, jax.random.key(10 + index), jnp.int32(index))
        nets = official_update(nets, optimizers, batch)
        for name, found, expected in zip(Nets._fields, Nets.of(state), nets, strict=True):
            assert difference(found, expected) < 1e-5, (name, index)
    assert state.critic_target.v is None


def test_what_is_measured_is_of_the_advantage(compiled):
    """Energy is minus the advantage of the mean action, the objective what is minimised; no distance is taken."""
    program, state, batch = compiled
    nets, found = Nets.of(state), program.stages[0].measure(program.numbers, state, batch, jax.random.key(0))
    mean = jnp.tanh(forward(nets.actor.mean, batch.observations))
    advantage = smaller(nets.slow, batch.observations, mean) - forward(nets.v, batch.observations)[:, 0]
    assert float(found["energy"]) == pytest.approx(-float(advantage.mean()), rel=1e-9)
    assert float(found["objective"]) == pytest.approx(float(actor_loss(nets.actor, nets.slow, nets.v, batch)), rel=1e-9)
    assert float(found["tau"]) == BETA
    assert not {"distance", "gap", "effective_tau"} & found.keys()


def test_fresh_networks_are_those_of_the_original(float64):
    """Orthogonal weights of gain sqrt(2) in every layer, heads included; zero biases and log-stds."""
    _, space = logged()
    program = compile_spec(load(SPEC), space)
    state = program.init(program.numbers, jax.random.key(0))
    for layers in (plain(state.policy.mean), plain(state.critic.v), *pair(state.critic.q)):
        for weight, bias in layers:
            wide = weight if weight.shape[0] > weight.shape[1] else weight.T
            np.testing.assert_allclose(wide.T @ wide, 2 * np.eye(wide.shape[1]), atol=1e-12)
            assert not bias.any()
    assert not state.policy.log_std.any()
    assert difference(pair(state.critic_target.q), pair(state.critic.q)) == 0


@pytest.mark.parametrize("level", [0.3, 0.5, 0.9])
def test_v_settles_at_the_expectile_of_q(level, float64):
    """With one value for all states the loss of V is least at the expectile of the smaller slow Q over the data."""
    batch, space = logged()
    critic = Expectile(expectile=level, hidden=())
    network = critic.init(jax.random.key(0), space)
    least = critic.values(network, batch.observations, batch.actions).min(0)
    assert network.v is not None
    place = jnp.asarray([scipy_expectile(np.asarray(least), level)])
    constant = Networks(network.q, network.v.placed(place))
    keep = lambda gradient: network  # noqa: E731
    gradient, info = critic.gradient(constant, critic.slow(network), batch, None, jax.random.key(0), keep)  # type: ignore[arg-type]
    assert float(info["v"]) == pytest.approx(float(place[0]))
    assert gradient.v is not None
    assert abs(float(gradient.v.layers[-1].bias[0])) < 1e-12
    assert float(jnp.abs(gradient.q.layers[-1].weight).max()) > 1e-3


@pytest.mark.parametrize("task", ["hopper", "halfcheetah", "walker2d"])
@pytest.mark.parametrize("quality", ["medium", "medium-replay", "medium-expert"])
def test_published_settings_of_locomotion(task, quality):
    spec = load(SPEC, [("data.dataset", f"d4rl/{task}-{quality}-v2")])
    assert sizes(spec) == ((256, 256), (256, 256), 1_000_000, 5)
    assert (critic_of(spec).expectile, spec.schedule.steps[0].tau) == (0.7, 3.0)
    assert (spec.data.reward.return_range, spec.data.reward.shift) == (1000.0, 0.0)
    assert (spec.data.normalize_observations, spec.evaluate.every, spec.evaluate.episodes) == (False, 5000, 10)


@pytest.mark.parametrize(
    "maze", ["umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse"]
)
def test_published_settings_of_mazes(maze):
    spec = load(SPEC, [("data.dataset", f"d4rl/antmaze-{maze}-v2")])
    assert sizes(spec) == ((256, 256), (256, 256), 1_000_000, 5)
    assert (critic_of(spec).expectile, spec.schedule.steps[0].tau) == (0.9, 10.0)
    assert (spec.data.reward.return_range, spec.data.reward.shift) == (None, -1.0)
    assert (spec.evaluate.every, spec.evaluate.episodes) == (100_000, 100)


def critic_of(spec) -> Expectile:
    critic = spec.critic
    assert (critic.discount, critic.target_rate) == (0.99, 0.005)
    return critic


def sizes(spec):
    return spec.policy.hidden, spec.critic.hidden, spec.schedule.steps[0].updates, spec.seeds
