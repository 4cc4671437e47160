"""specs/rebrac.yaml against ReBRAC written out from its formulas, on real transitions in double precision."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from written_out import (
    Adam,
    averaged,
    both_q,
    forward,
    grad,
    gradient_of,
    moved,
    real_transitions,
    same,
    value_and_grad,
)

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec

SPEC = Path(__file__).parents[2] / "specs" / "rebrac.yaml"
BETA1, BETA2, DISCOUNT, RATE = 0.02, 0.3, 0.97, 0.005
CHANGES = [
    *((f"{slot}.hidden", "[24, 16, 12]") for slot in ("policy", "critic")),
    *(("schedule.steps[0].tau", f"{1 / (2 * BETA1)}"), ("critic.target_penalty.weight", f"{BETA2}")),
    ("critic.discount", f"{DISCOUNT}"),
]


def act(actor, observations):
    return jnp.tanh(forward(actor, observations))


def critic_loss(critic, slow_critic, slow_actor, batch, noise):
    """Sum over critics of the mean (Q_i - y)^2, with beta2 times the squared distance to the logged next action."""
    a = jnp.clip(act(slow_actor, batch.next_observations) + jnp.clip(0.2 * noise, -0.5, 0.5), -1, 1)
    strays = jnp.where(batch.next_action_valid == 1, ((a - batch.next_actions) ** 2).sum(1), 0)
    value = both_q(slow_critic, batch.next_observations, a).min(0) - BETA2 * strays
    y = batch.rewards + DISCOUNT * (1 - batch.terminated) * value
    q = both_q(critic, batch.observations, batch.actions)
    return ((q[0] - y) ** 2).mean() + ((q[1] - y) ** 2).mean()


def actor_loss(actor, critic, batch):
    """Mean of beta1 |pi(s) - a|^2 - lambda min_i Q_i(s, pi(s)), lambda = 1 / mean|min_i Q_i|."""
    pi = act(actor, batch.observations)
    q = both_q(critic, batch.observations, pi).min(0)
    scale = 1 / jax.lax.stop_gradient(jnp.abs(q).mean())
    return (BETA1 * ((pi - batch.actions) ** 2).sum(1) - scale * q).mean()


@pytest.fixture
def compiled(float64):
    """The program, a state whose networks all differ, and a batch that holds ends of episodes of both kinds."""
    batch, space = real_transitions()
    ends = batch.next_action_valid == 0
    assert (ends & (batch.terminated == 0)).any()
    assert (ends & (batch.terminated == 1)).any()
    assert 0.5 < float(batch.next_action_valid.mean()) < 0.8
    program = compile_spec(load(SPEC, CHANGES), space)
    state = program.init(program.numbers, jax.random.key(0))
    state = program.stages[0].enter(program.numbers, state, batch, jax.random.key(1))
    names = ("critic", "critic_target", "policy", "policy_target")
    keys = jax.random.split(jax.random.key(2), len(names))
    return program, state._replace(**{n: moved(getattr(state, n), k) for n, k in zip(names, keys, strict=True)}), batch


def test_losses_and_gradients(compiled):
    program, state, batch = compiled
    key = jax.random.key(3)
    new, info = jax.jit(program.stages[0].update)(program.numbers, state, batch, key, jnp.int32(0))
    noise = jax.random.normal(jax.random.split(key)[0], batch.actions.shape, float)
    slow = state.critic_target, state.policy_target
    value, gradient = value_and_grad(critic_loss)(state.critic, *slow, batch, noise)
    np.testing.assert_allclose(info["critic_loss"], value, rtol=1e-9)
    same(gradient_of(new.optimizer["critic"]), gradient, 1e-6)
    found, info = jax.jit(program.stages[0].actor_gradient)(program.numbers, state, batch, key)
    value, gradient = value_and_grad(actor_loss)(state.policy, state.critic, batch)
    np.testing.assert_allclose(info["objective"], value, rtol=1e-9)
    same(found, gradient, 1e-6)


def test_whole_updates(compiled):
    """Critics at each update, the actor and the slow copies at every second, the actor seeing the new critics."""
    program, state, batch = compiled
    critic, slow, actor, slow_actor = state.critic, state.critic_target, state.policy, state.policy_target
    steps = Adam(1e-3, critic), Adam(1e-3, actor)
    update = jax.jit(program.stages[0].update)
    for index in range(5):
        key = jax.random.key(10 + index)
        state, _ = update(program.numbers, state, batch, key, jnp.int32(index))
        noise = jax.random.normal(jax.random.split(key)[0], batch.actions.shape, float)
        critic = steps[0](critic, grad(critic_loss)(critic, slow, slow_actor, batch, noise))
        if index % 2 == 1:
            actor = steps[1](actor, grad(actor_loss)(actor, critic, batch))
            slow, slow_actor = averaged(slow, critic, RATE), averaged(slow_actor, actor, RATE)
        for found, expected in (
            (state.critic, critic),
            (state.critic_target, slow),
            (state.policy, actor),
            (state.policy_target, slow_actor),
        ):
            same(found, expected, 1e-5)


def test_fresh_networks_are_those_of_the_paper(float64):
    """Hidden biases 0.1, last layers within 1e-3 and 3e-3, weights within 1/sqrt(fan in), no bound but reached."""
    _, space = real_transitions()
    program = compile_spec(load(SPEC), space)
    state = program.init(program.numbers, jax.random.key(0))
    for net, end in ((state.policy, 1e-3), (state.critic, 3e-3)):
        *hidden, last = net.layers
        for layer in hidden:
            bound = layer.weight.shape[-2] ** -0.5
            np.testing.assert_allclose(layer.bias, 0.1)
            assert 0.99 * bound < float(jnp.abs(layer.weight).max()) <= bound
        assert 0.9 * end < float(jnp.abs(last.weight).max()) <= end
        assert float(jnp.abs(last.bias).max()) <= end
    assert not state.policy.norms
    assert len(state.critic.norms) == 3


PUBLISHED = {
    "halfcheetah-medium": (0.001, 0.01),
    "halfcheetah-medium-replay": (0.01, 0.001),
    "halfcheetah-medium-expert": (0.01, 0.1),
    "hopper-medium": (0.01, 0.001),
    "hopper-medium-replay": (0.05, 0.5),
    "hopper-medium-expert": (0.1, 0.01),
    "walker2d-medium": (0.05, 0.1),
    "walker2d-medium-replay": (0.05, 0.01),
    "walker2d-medium-expert": (0.01, 0.01),
    "antmaze-umaze": (0.003, 0.002),
    "antmaze-umaze-diverse": (0.003, 0.001),
    "antmaze-medium-play": (0.001, 0.0005),
    "antmaze-medium-diverse": (0.001, 0.0),
    "antmaze-large-play": (0.002, 0.001),
    "antmaze-large-diverse": (0.002, 0.002),
}
"""(beta1, beta2) of the paper's Table 11."""


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_published_settings(dataset):
    spec = load(SPEC, [("data.dataset", f"d4rl/{dataset}-v2")])
    beta1, beta2 = PUBLISHED[dataset]
    (step,) = spec.schedule.steps
    assert 1 / (2 * step.tau) == pytest.approx(beta1, rel=1e-6)  # type: ignore[operator]
    assert spec.critic.target_penalty.weight == beta2  # type: ignore[union-attr]
    maze = dataset.startswith("antmaze")
    rates = step.optimizer.critic.learning_rate, step.optimizer.policy.learning_rate
    assert rates == ((5e-5, 3e-4) if maze else (1e-3, 1e-3))
    assert spec.train.batch_size == (256 if maze else 1024)
    assert (spec.critic.discount, spec.data.reward.scale) == ((0.999, 100.0) if maze else (0.99, 1.0))  # type: ignore[union-attr]
    assert (spec.evaluate.every, spec.evaluate.episodes) == ((50_000, 100) if maze else (5_000, 10))
    assert (spec.policy.hidden, step.updates, spec.seeds) == ((256,) * 3, 1_000_000, 10)
