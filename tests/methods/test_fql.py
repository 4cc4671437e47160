"""specs/fql.yaml against flow Q-learning written out from its formulas, in double precision."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from written_out import Adam, averaged, gradient_of, member, moved, real_transitions, same, value_and_grad

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.compiler.stage import FITTING

SPEC = Path(__file__).parents[2] / "specs" / "fql.yaml"
RATES = {"critic": 3e-3, "policy": 1e-3, "behavior": 2e-3}
STEPS, ALPHA, DISCOUNT, RATE = 4, 2.5, 0.97, 0.005
CHANGES = [
    *((f"{slot}.hidden", "[20, 12]") for slot in RATES),
    *((f"optimizer.{slot}.learning_rate", f"{rate}") for slot, rate in RATES.items()),
    ("behavior.steps", f"{STEPS}"),
    ("schedule.steps[0].tau", f"{1 / (2 * ALPHA)!r}"),
    ("critic.discount", f"{DISCOUNT}"),
]


def gelu(x):
    return x / 2 * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def forward(net, x):
    """GELU layers, each followed by its layer normalisation where there is one; a linear end."""
    for index, layer in enumerate(net.layers[:-1]):
        x = gelu(x @ layer.weight + layer.bias)
        if net.norms:
            x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
            x = x * net.norms[index].scale + net.norms[index].offset
    return x @ net.layers[-1].weight + net.layers[-1].bias


def one_step(policy, observations, z):
    return forward(policy, jnp.concatenate([observations, z], -1))


def flow(behavior, observations, z):
    """The end of Euler steps from noise, clipped."""
    for step in range(STEPS):
        t = jnp.full((len(z), 1), step / STEPS)
        z = z + forward(behavior, jnp.concatenate([observations, z, t], -1)) / STEPS
    return jnp.clip(z, -1, 1)


def q_of(critic, observations, actions):
    inputs = jnp.concatenate([observations, jnp.clip(actions, -1, 1)], -1)
    return jnp.stack([forward(member(critic, number), inputs)[..., 0] for number in range(2)])


def actor_loss(policy, critic, behavior, batch, key):
    """-mean Q / mean|mean Q| + alpha times the mean square of T(s, z) - flow(s, z), over dimensions too."""
    z, other = (jax.random.normal(jax.random.fold_in(key, n), (1, *batch.actions.shape), float)[0] for n in (0, 1))
    q = q_of(critic, batch.observations, one_step(policy, batch.observations, z)).mean(0)
    imitated = flow(behavior, batch.observations, other)
    gap = jnp.square(one_step(policy, batch.observations, other) - imitated).mean()
    return -q.mean() / jax.lax.stop_gradient(jnp.abs(q).mean()) + ALPHA * gap


def critic_loss(critic, slow, policy, batch, key):
    """Mean over critics and rows; the target takes the mean of the slow ones at a sample of the one-step policy."""
    z = jax.random.normal(key, (1, *batch.actions.shape), float)[0]
    actions = one_step(policy, batch.next_observations, z)
    y = batch.rewards + DISCOUNT * (1 - batch.terminated) * q_of(slow, batch.next_observations, actions).mean(0)
    return jnp.square(q_of(critic, batch.observations, batch.actions) - y).mean()


def flow_loss(behavior, batch, key):
    """The velocity on the line from noise to the logged action is their difference."""
    noise_key, time_key = jax.random.split(key)
    z = jax.random.normal(noise_key, batch.actions.shape, float)
    t = jax.random.uniform(time_key, (len(z), 1), float)
    at = jnp.concatenate([batch.observations, (1 - t) * z + t * batch.actions, t], -1)
    return jnp.square(forward(behavior, at) - (batch.actions - z)).mean()


def test_losses_gradients_and_whole_updates(float64):
    batch, space = real_transitions()
    program = compile_spec(load(SPEC, CHANGES), space)
    state = program.init(program.numbers, jax.random.key(0))
    state = program.stages[0].enter(program.numbers, state, batch, jax.random.key(1))
    names = ("critic", "critic_target", "policy", "behavior")
    keys = jax.random.split(jax.random.key(2), len(names))
    state = state._replace(
        **{name: moved(getattr(state, name), key, 0.2) for name, key in zip(names, keys, strict=True)}
    )
    far = one_step(state.policy, batch.observations, jax.random.normal(jax.random.key(3), batch.actions.shape, float))
    assert 0.05 < float((jnp.abs(far) > 1).mean()) < 0.95  # actions inside the bounds and outside
    networks = {name: getattr(state, name) for name in RATES}
    slow, adams = state.critic_target, {name: Adam(rate, networks[name]) for name, rate in RATES.items()}
    update = jax.jit(program.stages[0].update)
    for index in range(4):
        key = jax.random.key(10 + index)
        critic_key, actor_key = jax.random.split(key)
        state, info = update(program.numbers, state, batch, key, jnp.int32(index))
        critic, policy, behavior = (networks[name] for name in ("critic", "policy", "behavior"))
        losses = {
            "critic": value_and_grad(critic_loss)(critic, slow, policy, batch, critic_key),
            "policy": value_and_grad(actor_loss)(policy, critic, behavior, batch, actor_key),
            "behavior": value_and_grad(flow_loss)(behavior, batch, jax.random.fold_in(key, FITTING)),
        }
        told = {"critic": "critic_loss", "policy": "objective", "behavior": "behavior_loss"}
        for name, (loss, gradient) in losses.items():
            np.testing.assert_allclose(info[told[name]], loss, rtol=1e-6)
            if index == 0:
                same(gradient_of(state.optimizer[name]), gradient, 1e-6)
            networks[name] = adams[name](networks[name], gradient)
            same(getattr(state, name), networks[name], 1e-5)
        slow = averaged(slow, networks["critic"], RATE)
        same(state.critic_target, slow, 1e-5)


def test_published_settings():
    settings = {"umaze": 10, "umaze-diverse": 10, "medium-play": 10, "large-play": 3, "large-diverse": 3}
    for maze, alpha in settings.items():
        spec = load(SPEC, [("data.dataset", f"d4rl/antmaze-{maze}-v2")])
        (step,) = spec.schedule.steps
        assert spec.critic is not None
        assert step.energy is not None
        assert step.tau == 1 / (2 * alpha)
        assert (step.updates, spec.train.batch_size, spec.data.reward.shift) == (500_000, 256, -1.0)
        assert spec.policy.hidden == spec.behavior.hidden == spec.critic.hidden == (512,) * 4
        assert step.energy["q"].scale == "none"
        assert (spec.critic.discount, spec.critic.q_agg, spec.behavior.steps) == (0.99, "mean", 10)
