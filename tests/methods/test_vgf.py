"""specs/vgf.yaml against value gradient flow written out from its formulas, in double precision."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from written_out import Adam, averaged, gradient_of, member, moved, real_transitions, same, value_and_grad

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.compiler.stage import FITTING
from pogospec.runs.saved import SavedPolicy
from pogospec.types import Normalizer

SPEC = Path(__file__).parents[2] / "specs" / "vgf.yaml"
RATES = {"critic": 3e-3, "behavior": 2e-3}
STEPS, PARTICLES, ALPHA, MOVES, LENGTH, DISCOUNT, RATE = 3, 4, 0.3, 3, 0.1, 0.97, 0.005
CHANGES = [
    *((f"{slot}.hidden", "[20, 12]") for slot in RATES),
    *((f"optimizer.{slot}.learning_rate", f"{rate}") for slot, rate in RATES.items()),
    ("behavior.steps", f"{STEPS}"),
    ("policy.count", f"{PARTICLES}"),
    ("policy.moves", "2"),
    ("critic.target_actions.samples", f"{PARTICLES}"),
    ("energy.entropy.weight", f"{ALPHA}"),
    ("schedule.steps[0].tau", f"{MOVES * LENGTH!r}"),
    ("schedule.steps[0].scheme.moves", f"{MOVES}"),
    ("critic.discount", f"{DISCOUNT}"),
]


def forward(net, x):
    """ReLU layers, each after its layer normalisation where there is one; a linear end."""
    for index, layer in enumerate(net.layers[:-1]):
        x = x @ layer.weight + layer.bias
        if net.norms:
            x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
            x = x * net.norms[index].scale + net.norms[index].offset
        x = jnp.maximum(x, 0)
    return x @ net.layers[-1].weight + net.layers[-1].bias


def flow(behavior, observations, z):
    """The end of Euler steps from noise, clipped."""
    for step in range(STEPS):
        t = jnp.full((*z.shape[:-1], 1), step / STEPS)
        z = z + forward(behavior, jnp.concatenate([observations, z, t], -1)) / STEPS
    return jnp.clip(z, -1, 1)


def q_of(critic, observations, actions):
    inputs = jnp.concatenate([observations, actions], -1)
    return jnp.stack([forward(member(critic, number), inputs)[..., 0] for number in range(2)])


def velocity(critic, state, x):
    """(1/n) sum_j [k(x_i, x_j) grad Q(x_j) + alpha grad_j k(x_j, x_i)] of the particles [n, act] of one state.

    The code divides it by alpha, which Adam would not see but for its epsilon.
    """
    rows = jnp.broadcast_to(state, (len(x), len(state)))
    pull = jax.grad(lambda a: q_of(critic, rows, a).mean(0).sum())(x)
    squares = jnp.square(x[:, None] - x[None]).sum(-1)
    twice = jnp.median(squares) / jnp.log(len(x) + 1)  # 2 h^2, h^2 = median/(2 log(n + 1))
    k = jnp.exp(-squares / (twice + 1e-6))
    push = 2 / (twice + 1e-6) * (x[:, None] - x[None]) * k[..., None]
    return (k[..., None] * pull[None] + ALPHA * push).mean(1)


def carried(critic, behavior, observations, z, moves):
    """Particles [n, rows, act] after steps of Adam along their velocity, each followed by a clip."""
    rows = jnp.broadcast_to(observations, (len(z), *observations.shape))
    x = flow(behavior, rows, z)
    along = jax.vmap(lambda state, x: velocity(critic, state, x), (0, 1), 1)
    first = second = jnp.zeros_like(x)
    for t in range(1, moves + 1):
        phi = along(observations, x)
        first, second = 0.9 * first + 0.1 * phi, 0.999 * second + 0.001 * phi**2
        x = x + LENGTH * (first / (1 - 0.9**t)) / (jnp.sqrt(second / (1 - 0.999**t)) + 1e-8)
        x = jnp.clip(x, -1, 1)
    return x


def particles(critic, behavior, observations, key, moves):
    z = jax.random.normal(key, (PARTICLES, len(observations), 3), float)
    return carried(critic, behavior, observations, z, moves)


def critic_loss(critic, slow, now, behavior, batch, key):
    """Both critics; the target is the mean of the smaller slow one over particles that the critics of now move."""
    nexts = batch.next_observations
    x = particles(now, behavior, nexts, key, MOVES)
    values = q_of(slow, jnp.broadcast_to(nexts, (len(x), *nexts.shape)), x).min(0).mean(0)
    y = jax.lax.stop_gradient(batch.rewards + DISCOUNT * (1 - batch.terminated) * values)
    return jnp.square(q_of(critic, batch.observations, batch.actions) - y).mean(-1).sum()


def flow_loss(behavior, batch, key):
    """The velocity on the line from noise to the logged action is their difference."""
    noise_key, time_key = jax.random.split(key)
    z = jax.random.normal(noise_key, batch.actions.shape, float)
    t = jax.random.uniform(time_key, (len(z), 1), float)
    at = jnp.concatenate([batch.observations, (1 - t) * z + t * batch.actions, t], -1)
    return jnp.square(forward(behavior, at) - (batch.actions - z)).mean()


@pytest.fixture(scope="module")
def compiled():
    """A program, a state whose networks all differ, a batch and its space."""
    with jax.enable_x64(True):
        batch, space = real_transitions()
        program = compile_spec(load(SPEC, CHANGES), space)
        state = jax.jit(program.init)(program.numbers, jax.random.key(0))
        state = jax.jit(program.stages[0].enter)(program.numbers, state, batch, jax.random.key(1))
        names = ("critic", "critic_target", "behavior")
        keys = jax.random.split(jax.random.key(2), len(names))
        new = {name: moved(getattr(state, name), key, 0.3) for name, key in zip(names, keys, strict=True)}
        state = state._replace(**new)
        state = state._replace(policy=state.policy._replace(behavior=state.behavior, critic=state.critic))
        yield program, state, batch, space


def test_losses_gradients_and_whole_updates(compiled, float64):
    program, state, batch, _ = compiled
    ends = particles(state.critic, state.behavior, batch.next_observations, jax.random.key(3), MOVES)
    assert 0.02 < float((jnp.abs(ends) == 1).mean()) < 0.9  # particles at the bounds and inside
    networks = {name: getattr(state, name) for name in RATES}
    slow, adams = state.critic_target, {name: Adam(rate, networks[name]) for name, rate in RATES.items()}
    update = jax.jit(program.stages[0].update)
    for index in range(4):
        key = jax.random.key(10 + index)
        critic_key, _ = jax.random.split(key)
        state, info = update(program.numbers, state, batch, key, jnp.int32(index))
        critic, behavior = (networks[name] for name in RATES)
        losses = {
            "critic": value_and_grad(critic_loss)(critic, slow, critic, behavior, batch, critic_key),
            "behavior": value_and_grad(flow_loss)(behavior, batch, jax.random.fold_in(key, FITTING)),
        }
        for name, (loss, gradient) in losses.items():
            np.testing.assert_allclose(info[f"{name}_loss"], loss, rtol=1e-6)
            if index == 0:
                same(gradient_of(state.optimizer[name]), gradient, 1e-6)
            networks[name] = adams[name](networks[name], gradient)
            same(getattr(state, name), networks[name], 1e-5)
        slow = averaged(slow, networks["critic"], RATE)
        same(state.critic_target, slow, 1e-5)
        same(state.policy.critic, networks["critic"], 1e-5)
        same(state.policy.behavior, networks["behavior"], 1e-5)


@pytest.mark.exhaustive("compiles a policy for each number of moves")
def test_the_best_of_fresh_particles_acts_after_its_own_number_of_moves(compiled, float64):
    """As saved and loaded, of two seeds, whose networks are stacked; the mean action is that of fixed noise."""
    program, state, batch, space = compiled
    other = jax.tree.map(lambda leaf: 1.1 * leaf, state.policy)
    network = jax.tree.map(lambda *leaves: jnp.stack(leaves), state.policy, other)
    whole = Normalizer(np.zeros(space.obs_dim), np.ones(space.obs_dim))
    saved = SavedPolicy.load(*SavedPolicy(program.family("step 1"), network, whole, space).dump())
    assert saved.family == program.family("step 1")
    rows = np.asarray(batch.observations[:6])
    low, high = np.asarray(space.low), np.asarray(space.high)
    z = jax.random.normal(jax.random.fold_in(jax.random.key(0), 5), (PARTICLES, 2, 6, 3), float)
    fixed = jax.random.normal(jax.random.key(0), (PARTICLES, 2, 6, 3), float)
    for action, noise in (("sample", z), ("mean", fixed)):
        found = saved.batched(action)(np.stack([rows, rows]), 5)
        for seed, own in enumerate((state.policy, other)):
            x = carried(own.critic, own.behavior, jnp.asarray(rows), noise[:, seed], 2)
            values = q_of(own.critic, jnp.broadcast_to(rows, (PARTICLES, *rows.shape)), x).min(0)
            best = np.asarray(jnp.take_along_axis(x, values.argmax(0)[None, :, None], 0)[0])
            np.testing.assert_allclose(found[seed], low + (best + 1) / 2 * (high - low), rtol=1e-6, atol=1e-9)


def moving(spec) -> Any:
    """The scheme of the one step."""
    return spec.schedule.steps[0].scheme


def test_published_settings():
    for maze in ("umaze", "medium-play", "large-diverse"):
        spec = load(SPEC, [("data.dataset", f"d4rl/antmaze-{maze}-v2")])
        (step,), scheme = spec.schedule.steps, moving(spec)
        assert spec.critic is not None
        assert (step.energy or {})["entropy"].weight == 0.1
        assert (scheme.moves, step.tau, spec.policy.count) == (5, 0.5, 10)
        assert (step.updates, spec.train.batch_size) == (1_000_000, 256)
        assert (spec.data.reward.shift, spec.data.reward.return_range) == (-1.0, None)
        assert spec.behavior.hidden == spec.critic.hidden == (512,) * 4
        assert (spec.behavior.steps, spec.critic.q_agg, spec.critic.target_actions.samples) == (10, "min", 10)
    spec = load(SPEC, [("data.dataset", "d4rl/hopper-medium-v2")])
    assert (spec.data.reward.shift, spec.data.reward.return_range) == (0.0, 1000)
    giant = load(SPEC, [("data.dataset", "ogbench/antmaze-giant-navigate-singletask-task4-v0")])
    (step,) = giant.schedule.steps
    assert giant.critic is not None
    assert (step.updates, step.tau, moving(giant).moves) == (3_000_000, 0.15, 3)
    assert (giant.critic.q_agg, giant.policy.critics, giant.critic.discount) == ("min", "min", 0.99)
    puzzle = load(SPEC, [("data.dataset", "ogbench/puzzle-4x4-play-singletask-task4-v0")])
    assert puzzle.critic is not None
    assert (puzzle.critic.q_agg, puzzle.policy.critics) == ("mean", "mean")
