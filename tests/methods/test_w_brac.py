"""specs/w_brac.yaml, w_brac_v.yaml and BRAC with MMD against BRAC written out from its formulas, in float64."""

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
from pogospec.compiler.updates import LEARNING

SPECS = Path(__file__).parents[2] / "specs"
ALPHA, SLOPES, DISCOUNT = 3.0, 5.0, 0.99
SMALL = [
    *((f"{slot}.hidden", "[24, 16]") for slot in ("policy", "behavior", "critic")),
    ("schedule.defaults.tau", f"{1 / ALPHA}"),
]
DUAL = ("geometry.hidden", "[20, 12]")
PENALTY = [("critic.target_penalty.geometry.hidden", "[20, 12]"), ("critic.target_penalty.weight", f"{ALPHA}")]
MAIN = 2  # after cloning and the warm start


def heads(net, observations):
    """Mean and std before the tanh; the log-std is squashed into [-5, 0]."""
    mean, raw = jnp.split(forward(net, observations), 2, -1)
    return mean, jnp.exp(-5 + (jnp.tanh(raw) + 1) / 2 * 5)


def sample(net, observations, key, count=1):
    mean, std = heads(net, observations)
    return jnp.tanh(mean + std * jax.random.normal(key, (count, *mean.shape), float))


def dual_values(dual, observations, actions):
    """Of [rows, act]."""
    return forward(dual, jnp.concatenate([observations, actions], -1))[:, 0]


def gap(dual, observations, policy, behavior, key):
    """c(s, a) - c(s, b), one sample of each; the second sample has a key of its own."""
    a = sample(policy, observations, key)[0]
    b = sample(behavior, observations, jax.random.fold_in(key, 1))[0]
    return dual_values(dual, observations, a) - dual_values(dual, observations, b)


def half_mmd(_, observations, policy, behavior, key):
    """Half the biased MMD^2 with exp(-|x - y|_1 / 20) by four samples of each, pair by pair."""
    x = sample(policy, observations, key, 4)
    y = sample(behavior, observations, jax.random.fold_in(key, 1), 4)
    kernel = lambda a, b: jnp.exp(-jnp.abs(a - b).sum(-1) / 20)  # noqa: E731
    pairs = [(i, j) for i in range(4) for j in range(4)]
    inner = [kernel(x[i], x[j]) + kernel(y[i], y[j]) - 2 * kernel(x[i], y[j]) for i, j in pairs]
    return jnp.stack(inner).sum(0) / 16 / 2


def critic_loss(critic, slow, state, batch, key, alpha):
    """BRAC's: the next action is a sample of the policy; alpha times the gap at the same sample is taken off."""
    nexts = batch.next_observations
    value = both_q(slow, nexts, sample(state.policy, nexts, key)[0]).min(0)
    if alpha:
        value = value - alpha * gap(state.geometry[0].network, nexts, state.policy, state.behavior, key)
    y = batch.rewards + DISCOUNT * (1 - batch.terminated) * value
    q = both_q(critic, batch.observations, batch.actions)
    return ((q[0] - y) ** 2).mean() + ((q[1] - y) ** 2).mean()


def actor_loss(actor, critic, behavior, dual, batch, key, divergence, weight=1.0):
    """Mean of alpha D - min Q at a sample of the policy."""
    q = both_q(critic, batch.observations, sample(actor, batch.observations, jax.random.fold_in(key, 0))[0]).min(0)
    distance = divergence(dual, batch.observations, actor, behavior, jax.random.fold_in(key, 1))
    return (ALPHA * distance - weight * q).mean()


def dual_loss(dual, actor, behavior, batch, key):
    """Minus the gap, plus 5 max(|grad c| - 1, 0)^2 between the two actions."""
    samples_key, place_key = jax.random.split(key)
    a = sample(actor, batch.observations, samples_key)[0]
    b = sample(behavior, batch.observations, jax.random.fold_in(samples_key, 1))[0]
    middle = a + jax.random.uniform(place_key, (1, len(a), 1), float)[0] * (b - a)
    one = lambda s, e: dual_values(dual, s[None], e[None])[0]  # noqa: E731
    slopes = jax.vmap(jax.grad(one, 1))(batch.observations, middle)
    steep = jnp.maximum(jnp.sqrt(1e-8 + (slopes**2).sum(-1)) - 1, 0)
    values = dual_values(dual, batch.observations, a) - dual_values(dual, batch.observations, b)
    return (SLOPES * steep**2 - values).mean()


def compiled(stem, changes, number=MAIN):
    """A program, a state inside its main step whose networks all differ, and real transitions."""
    batch, space = real_transitions()
    program = compile_spec(load(SPECS / f"{stem}.yaml", [*SMALL, *changes]), space)
    state = program.init(program.numbers, jax.random.key(0))
    state = program.stages[number].enter(program.numbers, state, batch, jax.random.key(1))
    names = ("critic", "critic_target", "behavior", "policy", "policy_target")
    keys = jax.random.split(jax.random.key(2), len(names) + 1)
    state = state._replace(**{n: moved(getattr(state, n), k) for n, k in zip(names, keys[1:], strict=True)})
    if state.geometry[0] is not None:
        steep = jax.tree.map(lambda leaf: 2 * leaf, moved(state.geometry[0].network, keys[0]))
        state = state._replace(geometry=(state.geometry[0]._replace(network=steep),))
    return program, state, batch


@pytest.mark.thinned(2, "compiles a program and its twin")
@pytest.mark.parametrize(
    ("stem", "changes", "divergence", "value_weight"),
    [
        ("w_brac", [DUAL], gap, 0.0),
        ("w_brac_v", [DUAL, *PENALTY], gap, ALPHA),
        ("kl_brac", [("geometry", "mmd")], half_mmd, 0.0),
    ],
)
def test_losses_and_gradients(stem, changes, divergence, value_weight, float64):
    program, state, batch = compiled(stem, changes)
    key = jax.random.key(3)
    critic_key, actor_key = jax.random.split(key)
    new, info = jax.jit(program.stages[MAIN].update)(program.numbers, state, batch, key, jnp.int32(0))
    value, gradient = value_and_grad(critic_loss)(
        state.critic, state.critic_target, state, batch, critic_key, value_weight
    )
    np.testing.assert_allclose(info["critic_loss"], value, rtol=1e-9)
    same(gradient_of(new.optimizer["critic"]), gradient, 1e-6)
    dual = None if state.geometry[0] is None else state.geometry[0].network
    others = state.critic, state.behavior, dual, batch, actor_key, divergence
    found, info = jax.jit(program.stages[MAIN].actor_gradient)(program.numbers, state, batch, actor_key)
    value, gradient = value_and_grad(actor_loss)(state.policy, *others)
    np.testing.assert_allclose(info["objective"], value, rtol=1e-9)
    same(found, gradient, 1e-6)


def test_the_dual_critic_learns_as_published(float64):
    program, state, batch = compiled("w_brac", [DUAL, ("geometry.steps", "1")])
    key = jax.random.key(3)
    new, info = jax.jit(program.stages[MAIN].update)(program.numbers, state, batch, key, jnp.int32(0))
    begin = jax.random.fold_in(jax.random.fold_in(jax.random.split(key)[1], LEARNING), 1)
    others = new.policy, state.behavior, batch, jax.random.fold_in(begin, 0)
    value, gradient = value_and_grad(dual_loss)(state.geometry[0].network, *others)
    without = dual_loss(jax.tree.map(lambda leaf: 0.01 * leaf, state.geometry[0].network), *others)
    assert abs(float(value - without)) > 0.1  # the penalty is at work
    np.testing.assert_allclose(info["dual_loss"], value, rtol=1e-9)
    same(gradient_of(new.geometry[0].optimizer), gradient, 1e-6)


@pytest.mark.thinned(1, "compiles a program and its twin")
@pytest.mark.parametrize(("stem", "value_weight"), [("w_brac", 0.0), ("w_brac_v", ALPHA)])
def test_whole_updates(stem, value_weight, float64):
    """Critics, then the actor, then three steps of the dual critic beside the new actor, then the slow copies."""
    program, state, batch = compiled(stem, [DUAL, *(PENALTY if value_weight else [])])
    mine, dual = state, state.geometry[0].network
    steps = Adam(1e-3, state.critic), Adam(3e-4, state.policy), Adam(1e-3, dual)
    update = jax.jit(program.stages[MAIN].update)
    for index in range(3):
        key = jax.random.key(20 + index)
        state, _ = update(program.numbers, state, batch, key, jnp.int32(index))
        critic_key, actor_key = jax.random.split(key)
        mine = mine._replace(geometry=(mine.geometry[0]._replace(network=dual),))
        gradient = grad(critic_loss)(mine.critic, mine.critic_target, mine, batch, critic_key, value_weight)
        mine = mine._replace(critic=steps[0](mine.critic, gradient))
        gradient = grad(actor_loss)(mine.policy, mine.critic, mine.behavior, dual, batch, actor_key, gap)
        mine = mine._replace(policy=steps[1](mine.policy, gradient))
        begin = jax.random.fold_in(jax.random.fold_in(actor_key, LEARNING), 1)
        for inner in range(3):
            inner_key = jax.random.fold_in(begin, inner)
            dual = steps[2](dual, grad(dual_loss)(dual, mine.policy, mine.behavior, batch, inner_key))
        slow = averaged(mine.critic_target, mine.critic, 0.005)
        mine = mine._replace(critic_target=slow, policy_target=averaged(mine.policy_target, mine.policy, 0.005))
        for name in ("critic", "critic_target", "policy", "policy_target", "behavior"):
            same(getattr(state, name), getattr(mine, name), 1e-5)
        same(state.geometry[0].network, dual, 1e-5)


def test_the_warm_start_ignores_q_and_the_dual_critic_goes_on(float64):
    program, state, batch = compiled("w_brac", [DUAL], 1)
    key = jax.random.key(3)
    found, _ = jax.jit(program.stages[1].actor_gradient)(program.numbers, state, batch, key)
    others = state.critic, state.behavior, state.geometry[0].network, batch, key, gap, 0.0
    same(found, grad(actor_loss)(state.policy, *others), 1e-6)
    later = program.stages[MAIN].enter(program.numbers, state, batch, jax.random.key(9))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), later.geometry, state.geometry))
    assert later.optimizer["policy"][0].count == state.optimizer["policy"][0].count
    again = load(SPECS / "w_brac.yaml", [*SMALL, DUAL, ("schedule.steps[2].optimizer_state", "reset")])
    fresh = jax.jit(compile_spec(again, program.space).stages[MAIN].enter)(
        program.numbers, state, batch, jax.random.key(9)
    )
    assert float(jnp.abs(fresh.geometry[0].network.layers[0].weight - state.geometry[0].network.layers[0].weight).max())


def test_the_clone_is_fitted_by_likelihood_kept_off_the_bounds(float64):
    """Mean -log density of logged actions clipped 1e-3 inside the bounds; the original adds an entropy it tunes."""
    batch, space = real_transitions()
    program = compile_spec(load(SPECS / "w_brac.yaml", [*SMALL, DUAL]), space)
    state = program.stages[0].enter(
        program.numbers, program.init(program.numbers, jax.random.key(0)), batch, jax.random.key(1)
    )

    def loss(net):
        mean, std = heads(net, batch.observations)
        a = jnp.clip(batch.actions, 1e-3 - 1, 1 - 1e-3)
        density = -0.5 * ((jnp.arctanh(a) - mean) / std) ** 2 - jnp.log(std) - 0.5 * np.log(2 * np.pi)
        return -(density - jnp.log(1 - a**2)).sum(1).mean()

    new, info = jax.jit(program.stages[0].update)(program.numbers, state, batch, jax.random.key(2), jnp.int32(0))
    value, gradient = jax.value_and_grad(loss)(state.behavior)
    np.testing.assert_allclose(info["behavior_loss"], value, rtol=1e-9)
    same(gradient_of(new.optimizer["behavior"]), gradient, 1e-6)
    same(new.behavior, Adam(5e-4, state.behavior)(state.behavior, gradient), 1e-5)


@pytest.mark.exhaustive("compiles a program and its twin")
def test_the_multiplier_is_brac_s_trained_alpha(float64):
    """An Adam step on -alpha (mean D - target) after the policy's update, alpha held within its bounds."""
    tau = f"{{kind: multiplier, start: {1 / ALPHA}, divergence: 0.05, most: 3.0015}}"
    program, state, batch = compiled("kl_brac", [("geometry", "mmd"), ("schedule.steps[2].tau", tau)])
    key = jax.random.split(jax.random.key(3))[1]
    others = state.critic, state.behavior, None, batch, key, half_mmd
    found, _ = jax.jit(program.stages[MAIN].actor_gradient)(program.numbers, state, batch, key)
    same(found, grad(actor_loss)(state.policy, *others), 1e-6)
    assert state.multiplier.alpha == pytest.approx(ALPHA)
    alpha, step, update = state.multiplier.alpha, Adam(1e-3, jnp.zeros(())), jax.jit(program.stages[MAIN].update)
    for index, behavior in enumerate((state.behavior, *[jax.tree.map(jnp.negative, state.behavior)] * 3)):
        state = state._replace(behavior=behavior)
        key = jax.random.key(30 + index)
        state, _ = update(program.numbers, state, batch, key, jnp.int32(index))
        own = jax.random.fold_in(jax.random.fold_in(jax.random.split(key)[1], LEARNING), LEARNING)
        policy = state.policy, behavior, jax.random.fold_in(own, 1)
        slope = 0.05 - jnp.mean(half_mmd(None, batch.observations, *policy))
        outwards = (slope < 0 and alpha >= 3.0015) or (slope > 0 and alpha <= 1e-6)
        alpha = step(alpha, jnp.where(outwards, 0.0, slope))
        np.testing.assert_allclose(state.multiplier.alpha, alpha, rtol=1e-9)
        measured = program.stages[MAIN].measure(program.numbers, state, batch, jax.random.key(0))
        np.testing.assert_allclose(measured["tau"], 1 / min(max(float(alpha), 1e-6), 3.0015), rtol=1e-9)
