"""The compiled program against references written out by hand, and its shape in the jaxpr."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.training.chunk import chunk_function
from pogospec.types import Space, Transitions

SPECS = Path(__file__).parents[1] / "specs"


def transitions(rows, obs, act, seed=0):
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.normal(size=shape)  # noqa: E731
    actions = np.tanh(normal(rows, act))
    flags = rng.integers(0, 2, rows).astype(float)
    return Transitions(
        normal(rows, obs),
        actions,
        normal(rows),
        normal(rows, obs),
        flags,
        0 * flags,
        actions,
        1 - flags,
        np.arange(rows),
    )


def entered(program):
    """What gives the state of all seeds at the start of the first stage, of their roots and data."""

    def enter(root, data):
        return program.stages[0].enter(program.numbers, program.init(program.numbers, root), data, root)

    return jax.vmap(enter, (0, None))


def entered_at(program, number, state, data, roots):
    """The state of all seeds at the start of a stage, of that at the end of the one before."""
    enter = jax.vmap(program.stages[number].enter, in_axes=(None, 0, None, 0))
    return enter(program.numbers, state, data, roots)


def forward(layers, x):
    for layer in layers[:-1]:
        x = jnp.maximum(x @ layer.weight + layer.bias, 0)
    return x @ layers[-1].weight + layers[-1].bias


def td3_bc_loss(actor, critic, observations, actions, alpha):
    """TD3+BC's policy loss: -lambda mean Q_1(s, pi(s)) + mean (pi(s) - a)^2, lambda = alpha / mean |Q_1|."""
    pi = jnp.tanh(forward(actor.layers, observations))
    first = jax.tree.map(lambda leaf: leaf[0], critic.layers)
    q = forward(first, jnp.concatenate([observations, pi], 1))[:, 0]
    lam = alpha / jax.lax.stop_gradient(jnp.abs(q).mean())
    return -lam * q.mean() + ((pi - actions) ** 2).mean()


@pytest.mark.parametrize("act_dim", [2, 3, 6])
def test_td3_bc_step_is_td3_bc_divided_by_alpha(float64, act_dim):
    spec = load(SPECS / "td3_bc.yaml")
    program = compile_spec(spec, Space(11, act_dim, (-1.0,) * act_dim, (1.0,) * act_dim))
    batch = transitions(256, 11, act_dim, act_dim)

    @jax.jit
    def both(key, batch):
        state = program.init(program.numbers, key)
        found, _ = program.stages[0].actor_gradient(program.numbers, state, batch, jax.random.key(0))
        return found, jax.grad(td3_bc_loss)(state.policy, state.critic, batch.observations, batch.actions, 2.5)

    found, expected = jax.device_get(both(jax.random.key(act_dim), batch))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b / 2.5, rtol=1e-6, atol=1e-14)


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from primitives(inner)


def test_a_skipped_actor_update_is_not_computed_with_three_seeds():
    spec = load(SPECS / "pogo_fr_two_step.yaml", [("seeds", "3"), ("policy.hidden", "[48, 40]")])
    program = compile_spec(spec, Space(11, 3, (-1.0,) * 3, (1.0,) * 3))
    roots, data = jax.vmap(jax.random.key)(np.arange(3)), transitions(100, 11, 3)
    state = jax.eval_shape(entered(program), roots, data)
    chunk = chunk_function(program.stages[0], 64)
    jaxpr = jax.make_jaxpr(chunk)(program.numbers, data, state, roots, 0, 10)
    actor_shapes = {leaf.shape for leaf in jax.tree.leaves(state.policy)}
    found = list(primitives(jaxpr.jaxpr))
    assert any(equation.primitive.name == "cond" for equation in found)
    chosen = [e for e in found if e.primitive.name == "select_n" and e.outvars[0].aval.shape in actor_shapes]
    assert not chosen


def test_the_rate_of_a_policy_falls_over_its_own_updates(float64):
    """Steps so small that gradients stay: Adam's are the rates, those of a cosine over one update in two of eight."""
    changes = {"optimizer": "{learning_rate: 1.0e-9, decay: cosine}", "schedule.steps[0].updates": "8"}
    changes |= {"train.precision": "float64", "policy.hidden": "[8]", "critic.hidden": "[8]"}
    program = compile_spec(load(SPECS / "td3_bc.yaml", list(changes.items())), Space(4, 2, (-1.0,) * 2, (1.0,) * 2))
    batch = transitions(32, 4, 2)
    state = jax.tree.map(lambda leaf: leaf[0], entered(program)(jax.vmap(jax.random.key)(np.arange(1)), batch))
    update, moved = jax.jit(program.stages[0].update), []
    for index in range(8):
        before = jax.tree.leaves(state.policy)
        state, _ = update(program.numbers, state, batch, jax.random.key(index), jnp.int32(index))
        pairs = zip(jax.tree.leaves(state.policy), before, strict=True)
        moved.append(max(float(jnp.abs(new - old).max()) for new, old in pairs))
    rates = 1e-9 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    np.testing.assert_allclose(moved, np.stack([0 * rates, rates], 1).ravel(), rtol=1e-2)


def test_a_chunk_function_traces_once():
    spec = load(
        SPECS / "pogo_w.yaml",
        [("policy.hidden", "[8]"), ("behavior.hidden", "[8]"), ("critic.hidden", "[8]")],
    )
    program = compile_spec(spec, Space(4, 2, (-1.0,) * 2, (1.0,) * 2))
    roots, data = jax.vmap(jax.random.key)(np.arange(1)), transitions(50, 4, 2)
    state = jax.jit(entered(program))(roots, data)
    stage, traced = program.stages[0], []
    chunk = chunk_function(stage._replace(update=lambda *given: traced.append(1) or stage.update(*given)), 16)
    state, *_ = chunk(program.numbers, data, state, roots, 0, 10)
    once = len(traced)  # for the shapes, and in the loop
    for start, stop in ((10, 17), (17, 18)):
        state, *_ = chunk(program.numbers, data, state, roots, start, stop)
    assert 1 <= len(traced) == once <= 2


def test_a_later_step_starts_at_the_policy_it_is_re_centred_at():
    spec = load(SPECS / "pogo_fr_two_step.yaml")
    program = compile_spec(spec, Space(4, 2, (-1.0,) * 2, (1.0,) * 2))
    stage, data = program.stages[1], transitions(32, 4, 2)

    @jax.jit
    def moved(key, data):
        state = program.init(program.numbers, key)
        state = state._replace(policy=jax.tree.map(lambda leaf: leaf + 1, state.policy))
        return state.policy, stage.enter(program.numbers, state, data, jax.random.key(1))

    policy, again = moved(jax.random.key(0), data)
    for a, b in zip(jax.tree.leaves(again.reference), jax.tree.leaves(policy), strict=True):
        np.testing.assert_array_equal(a, b)
    _, info = jax.jit(stage.actor_gradient)(program.numbers, again, data, jax.random.key(2))
    assert float(info["distance"]) == 0.0
