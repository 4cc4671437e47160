"""Chains of policies that train at once against their updates written out from the formulas, in double precision."""

import equinox
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

from pogospec.checking.check import checked
from pogospec.compiler.compile import compile_spec
from pogospec.spec.resolve import read_text
from pogospec.training.chunk import chunk_function

HEAD = """
data: {dataset: pocket/hopper-mixed}
policy: {kind: gaussian, hidden: [24, 16], mean: tanh, log_std: [-5, 2]}
energy: {q: {critics: first, actions: mean, scale: batch}, entropy: {weight: 0.02}}
geometry: {kind: wasserstein2, reduction: mean}
critic: {kind: clipped_double_q, hidden: [24, 16], discount: 0.97, target_rate: 0.005}
optimizer: {kind: adam, learning_rate: 1.0e-3}
"""
STEPS = [
    "{from: behavior, updates: 40, tau: 0.8, actor_every: 2}",
    "{from: previous, learn: [policy], updates: 40, tau: 0.5, geometry: kl, energy: {q: {critics: min}}}",
    "{from: previous, learn: [policy], updates: 40, tau: 1.5, geometry: {reduction: sum}, gradient: natural, "
    "actor_every: 3, energy: {entropy: {weight: 0.3}}, optimizer: {policy: {learning_rate: 3.0e-3}}}",
]
EVERY, RATES, TAUS, HEATS = (2, 1, 3), (1e-3, 1e-3, 3e-3), (0.8, 0.5, 1.5), (0.02, 0.02, 0.3)
DISCOUNT, RATE = 0.97, 0.005


def spec_of(steps, mode="concurrent", head=HEAD):
    return checked(read_text(f"{head}schedule:\n  mode: {mode}\n  steps: [{', '.join(steps)}]\n"))


def heads(net, observations):
    mean, log_std = jnp.split(forward(net, observations), 2, -1)
    return jnp.tanh(mean), jnp.clip(log_std, -5, 2)


def critic_loss(critic, slow_critic, slow_actor, batch, noise):
    """Sum over critics of the mean (Q_i - y)^2; the next action is the slow copy of the FIRST actor's, smoothed."""
    a = jnp.clip(heads(slow_actor, batch.next_observations)[0] + jnp.clip(0.2 * noise, -0.5, 0.5), -1, 1)
    y = batch.rewards + DISCOUNT * (1 - batch.terminated) * both_q(slow_critic, batch.next_observations, a).min(0)
    q = both_q(critic, batch.observations, batch.actions)
    return ((q[0] - y) ** 2).mean() + ((q[1] - y) ** 2).mean()


def behavior_loss(net, batch):
    mean, log_std = heads(net, batch.observations)
    each = 0.5 * ((batch.actions - mean) / jnp.exp(log_std)) ** 2 + log_std + 0.5 * np.log(2 * np.pi)
    return each.sum(1).mean()


def gap(number, mean, log_std, other, log_other):
    """W2^2/2 on average over the dimensions, KL, or W2^2/2 summed over them."""
    std, width = jnp.exp(log_std), jnp.exp(log_other)
    squares = (mean - other) ** 2 + (std - width) ** 2
    if number == 1:
        return (log_other - log_std + (std**2 + (mean - other) ** 2) / (2 * width**2) - 0.5).sum(1)
    return squares.mean(1) / 2 if number == 0 else squares.sum(1) / 2


def objective(mean, log_std, number, critic, reference, batch):
    """-Q/mean|Q| - lambda H + D/tau of the actor of this number; the reference is a network that stands still."""
    both = both_q(critic, batch.observations, mean)
    q = both.min(0) if number == 1 else both[0]
    entropy = (log_std + 0.5 * np.log(2 * np.pi * np.e)).sum(1)
    distance = gap(number, mean, log_std, *jax.lax.stop_gradient(heads(reference, batch.observations)))
    scaled = q / jax.lax.stop_gradient(jnp.abs(q).mean())
    return (-scaled - HEATS[number] * entropy + distance / TAUS[number]).mean()


@equinox.filter_jit
def actor_gradient(actor, number, critic, reference, batch):
    """Value and gradient; that of the third actor is natural in W2: log sigma's part over sigma^2."""
    (mean, log_std), pull_back = jax.vjp(lambda net: heads(net, batch.observations), actor)
    value, parts = jax.value_and_grad(objective, (0, 1))(mean, log_std, number, critic, reference, batch)
    if number == 2:
        parts = parts[0], parts[1] * jnp.clip(jnp.exp(-2 * log_std), 1e-3, 1e3)
    return value, pull_back(parts)[0]


@pytest.fixture(params=[2, 3])
def chain(request, float64):
    """The program of a chain, a state whose networks all differ, and real transitions."""
    batch, space = real_transitions()
    program = compile_spec(spec_of(STEPS[: request.param]), space)
    (stage,) = program.stages
    state = stage.enter(program.numbers, program.init(program.numbers, jax.random.key(0)), batch, jax.random.key(1))
    names = ("critic", "critic_target", "behavior", "policy", "policy_target")
    keys = iter(jax.random.split(jax.random.key(2), len(names) + request.param))
    state = state._replace(**{name: moved(getattr(state, name), next(keys), 0.2) for name in names})
    further = tuple(actor._replace(policy=moved(actor.policy, next(keys), 0.2)) for actor in state.chain)
    return program, state._replace(chain=further), batch


def test_losses_and_gradients(chain):
    """Each actor looks at the one before as it is now."""
    program, state, batch = chain
    (stage,) = program.stages
    references = [state.behavior, *state.policies]
    for number, actor in enumerate(stage.actors):
        assert actor.label == f"step {number + 1}"
        found, info = jax.jit(actor.actor_gradient)(program.numbers, state, batch, jax.random.key(3))
        value, gradient = actor_gradient(state.policies[number], number, state.critic, references[number], batch)
        np.testing.assert_allclose(info["objective"], value, rtol=1e-9)
        same(found, gradient, 1e-6)


def test_whole_updates(chain):
    """Critic, behaviour, then each actor in its rhythm near the one before, just moved; slow copies with the first."""
    program, state, batch = chain
    (stage,) = program.stages
    count = len(stage.actors)
    critic, slow, behavior, slow_actor = state.critic, state.critic_target, state.behavior, state.policy_target
    actors = list(state.policies)
    steps = [Adam(1e-3, critic), Adam(1e-3, behavior)]
    own = [Adam(rate, actor) for rate, actor in zip(RATES, actors, strict=False)]
    update = jax.jit(stage.update)
    for index in range(6):
        key = jax.random.key(10 + index)
        state, info = update(program.numbers, state, batch, key, jnp.int32(index))
        noise = jax.random.normal(jax.random.split(key)[0], batch.actions.shape, float)
        value, gradient = value_and_grad(critic_loss)(critic, slow, slow_actor, batch, noise)
        np.testing.assert_allclose(info["critic_loss"], value, rtol=1e-7)
        critic = steps[0](critic, gradient)
        behavior = steps[1](behavior, grad(behavior_loss)(behavior, batch))
        for number in range(count):
            label = f"step {number + 1}: " if number else ""
            if (index + 1) % EVERY[number]:
                assert float(info[f"{label}objective"]) == 0
                continue
            reference = actors[number - 1] if number else behavior
            value, gradient = actor_gradient(actors[number], number, critic, reference, batch)
            np.testing.assert_allclose(info[f"{label}objective"], value, rtol=1e-7)
            actors[number] = own[number](actors[number], gradient)
        if (index + 1) % EVERY[0] == 0:
            slow, slow_actor = averaged(slow, critic, RATE), averaged(slow_actor, actors[0], RATE)
        for found, expected in (
            (state.critic, critic),
            (state.critic_target, slow),
            (state.behavior, behavior),
            (state.policy_target, slow_actor),
            (list(state.policies), actors),
        ):
            same(found, expected, 1e-5)
    (first,) = state.chain[0].optimizer
    assert first == "policy"
    if count == 3:
        assert int(state.chain[1].optimizer["policy"][0].count) == 2


def test_the_first_gradient_of_a_further_actor_is_what_its_optimiser_sees(chain):
    program, state, batch = chain
    (stage,) = program.stages
    new, _ = jax.jit(stage.update)(program.numbers, state, batch, jax.random.key(4), jnp.int32(0))
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (new.policy, state.policy)), strict=True))
    _, gradient = actor_gradient(state.policies[1], 1, new.critic, new.policy, batch)
    same(gradient_of(new.chain[0].optimizer["policy"]), gradient, 1e-6)


def ran(spec, updates=30, seeds=2):
    """The state of all seeds after updates of the first stage, and its chunk function."""
    batch, space = real_transitions()
    data = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf, batch)
    program, roots = compile_spec(spec, space), jax.vmap(jax.random.key)(jnp.arange(seeds))
    enter = jax.jit(jax.vmap(program.stages[0].enter, in_axes=(None, 0, None, 0)))
    state = enter(
        program.numbers, jax.jit(jax.vmap(program.init, in_axes=(None, 0)))(program.numbers, roots), data, roots
    )
    chunk = chunk_function(program.stages[0], 32)
    for start, stop in ((0, 7), (7, updates)):
        state, sums, *_ = chunk(program.numbers, data, state, roots, start, stop)
    return state, sums, chunk


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.exhaustive("compiles a program and its twin")
def test_a_chain_of_one_is_the_sequential_step_bit_for_bit():
    one, other = (ran(spec_of(STEPS[:1], mode))[:2] for mode in ("concurrent", "sequential"))
    assert bits(one) == bits(other)


@pytest.mark.exhaustive("compiles a program and its twin")
@pytest.mark.parametrize("energy", ["{q: {actions: {sample: 2}}}", "{q: {}, entropy: {weight: 0.1}}"])
def test_critic_and_first_actor_are_those_of_the_step_alone(energy):
    """Whatever follows in the chain: nothing flows back, and no key is another."""
    head = HEAD.replace("{q: {critics: first, actions: mean, scale: batch}, entropy: {weight: 0.02}}", energy)
    state, _, chunk = ran(spec_of(STEPS, head=head))
    alone, _, _ = ran(spec_of(STEPS[:1], "sequential", head))
    assert len(state.chain) == 2
    for a, b in zip(*map(jax.tree.leaves, (state._replace(chain=()), alone)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    assert getattr(chunk, "_cache_size")() == 1  # noqa: B009


@pytest.mark.exhaustive("compiles a chain of three, and each of its steps")
def test_all_actors_begin_with_the_weights_of_the_first_and_move_apart():
    batch, space = real_transitions()
    program = compile_spec(spec_of(STEPS), space)
    (stage,) = program.stages
    state = stage.enter(program.numbers, program.init(program.numbers, jax.random.key(0)), batch, jax.random.key(1))
    assert bits(state.policies[0]) == bits(state.policies[1]) == bits(state.policies[2])
    for actor in stage.actors[1:]:
        _, info = jax.jit(actor.actor_gradient)(program.numbers, state, batch, jax.random.key(2))
        assert float(info["distance"]) == pytest.approx(0, abs=1e-6)
    state, _, _ = ran(spec_of(STEPS))
    assert len({tuple(bits(policy)) for policy in state.policies}) == 3
    assert all((leaf[0] != leaf[1]).any() for policy in state.policies for leaf in jax.tree.leaves(policy))


SAMPLED = [
    "{from: behavior, updates: 40, tau: 1.0}",
    "{from: previous, learn: [policy], updates: 40, tau: 1.0, repeat: 2}",
]


@pytest.mark.exhaustive("compiles a chain once more")
def test_each_actor_has_samples_of_its_own():
    """Two actors of one repeated step draw other actions at the same update, so that they part at once."""
    head = HEAD.replace("critics: first, actions: mean, scale: batch", "actions: {sample: 1}, scale: none")
    batch, space = real_transitions()
    program = compile_spec(spec_of(SAMPLED, head=head), space)
    (stage,) = program.stages
    state = stage.enter(program.numbers, program.init(program.numbers, jax.random.key(0)), batch, jax.random.key(1))
    _, info = jax.jit(stage.update)(program.numbers, state, batch, jax.random.key(2), jnp.int32(0))
    seen = [float(info[f"{label}energy.q"]) for label in ("", "step 2: ", "step 3: ")]
    assert len(set(seen)) == 3


@pytest.mark.exhaustive("compiles a chain once more")
def test_further_actors_see_the_slow_copies_that_the_first_saw(float64):
    """An energy on slow copies, which the first actor's update moves, is the same function for all of a chain."""
    energy = "{advantage: {copies: slow, critics: first, baseline: mean}}"
    head = HEAD.replace("{q: {critics: first, actions: mean, scale: batch}, entropy: {weight: 0.02}}", energy)
    batch, space = real_transitions()
    steps = ["{from: behavior, updates: 40, tau: 1.0}", "{from: previous, learn: [policy], updates: 40, tau: 1.0}"]
    program = compile_spec(spec_of(steps, head=head.replace("target_rate: 0.005", "target_rate: 0.9")), space)
    (stage,) = program.stages
    state = stage.enter(program.numbers, program.init(program.numbers, jax.random.key(0)), batch, jax.random.key(1))
    state = state._replace(critic_target=moved(state.critic, jax.random.key(5), 0.3))
    new, _ = jax.jit(stage.update)(program.numbers, state, batch, jax.random.key(2), jnp.int32(0))
    seen = new._replace(critic_target=state.critic_target, chain=state.chain)
    expected, _ = jax.jit(stage.actors[1].actor_gradient)(program.numbers, seen, batch, jax.random.key(2))
    same(gradient_of(new.chain[0].optimizer["policy"]), expected, 1e-6)
    wrong, _ = stage.actors[1].actor_gradient(
        program.numbers, new._replace(chain=state.chain), batch, jax.random.key(2)
    )
    assert (
        max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (wrong, expected)), strict=True)) > 1e-6
    )
