"""Averaged weights against means in NumPy of weights recorded at every update, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pogospec.checking.check import checked
from pogospec.compiler.averages import averaged
from pogospec.compiler.compile import compile_spec
from pogospec.explain.costs.sizes import memory
from pogospec.spec.resolve import read_text
from pogospec.steps.averaging import Decay, Window
from pogospec.types import Batch, Space

SPACE = Space(3, 2, (-1.0, -1.0), (1.0, 1.0))
SMALL = """\
extends: pogo_w_two_step
policy: {hidden: [5]}
behavior: {hidden: [5]}
critic: {hidden: [5]}
train: {batch_size: 16, log_every: 10, checkpoint_every: 10, batch_runs: %s}
evaluate: {every: 20, episodes: 1}
seeds: 2
schedule: {steps: [{from: behavior, learn: [critic, behavior, policy], updates: 40, tau: 2.5, actor_every: 2},
                   {from: previous, learn: [policy], updates: 30, tau: 5.0}]}
"""


def spec_of(more="", how="vmap"):
    return checked(read_text(SMALL % how + more))


def batch_of(seed, rows=16):
    draw = np.random.default_rng(seed).normal
    near = lambda *shape: np.tanh(draw(size=shape))  # noqa: E731
    flags = np.zeros(rows)
    columns = draw(size=(rows, 3)), near(rows, 2), draw(size=rows), draw(size=(rows, 3)), flags, flags
    every = [*map(jnp.asarray, (*columns, near(rows, 2), np.ones(rows))), jnp.arange(rows)]
    return Batch(*every)


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def recorded(spec, updates, stage=0):
    """The state at the beginning of a stage and after each update, one run."""
    program = compile_spec(spec, SPACE)
    step, key = program.stages[stage], jax.random.key(3)
    states = [step.enter(program.numbers, program.init(program.numbers, key), batch_of(0), key)]
    update = jax.jit(lambda state, batch, index: step.update(program.numbers, state, batch, key, index)[0])
    for index in range(updates):
        states.append(update(states[-1], batch_of(index), jnp.int32(index)))
    return program, states


def test_means_are_those_of_recorded_weights_at_every_update(float64):
    """Windows with blocks of 2 and of 1 updates and one that 8 does not divide; a decay; every other update."""
    more = "optimizer: {critic: {average: {window: 5}}, policy: {average: {window: 16}}"
    more += ", behavior: {average: {decay: 0.7}}}"
    _, states = recorded(spec_of(more), 40)
    weights = {name: [flat(getattr(state, name)) for state in states] for name in ("policy", "behavior", "critic")}
    moved = [n for n in range(1, len(states)) if n % 2 == 0]
    assert all((weights["policy"][n] != weights["policy"][n - 1]).any() == (n in moved) for n in range(1, 41))
    exact = 0
    for n, state in enumerate(states):
        found = averaged(state)
        close = lambda name, expected: np.testing.assert_allclose(flat(getattr(found, name)), expected, rtol=1e-12)  # noqa: B023, E731
        own = [weights["policy"][m] for m in moved if m <= n]
        if len(own) % 2 == 0 or len(own) < 16:
            exact += 1
            close("policy", np.mean(own[-16:] or weights["policy"][:1], 0))
        else:  # half a block
            oldest = np.mean(own[-17:-15], 0)
            close("policy", (np.sum(own[-15:], 0) + oldest) / 16)
        close("critic", np.mean(weights["critic"][1 : n + 1][-5:] or weights["critic"][:1], 0))
        shares = 0.7 ** np.arange(n)[::-1]
        close("behavior", np.average(weights["behavior"][1 : n + 1], 0, shares) if n else weights["behavior"][0])
    assert exact > 36


@pytest.mark.parametrize("window", [1, 7, 8, 15, 16, 17, 24, 43])
def test_a_window_is_within_a_block_of_the_mean_and_exact_at_its_edges(window, float64):
    law, values = Window(window), np.random.default_rng(window).normal(size=130)
    kept = law.init(jnp.zeros(()))
    take = jax.jit(lambda kept, value, count: law.update(kept, value, count, jnp.asarray(True)))
    look, block = jax.jit(lambda kept: kept.of(jnp.zeros(()))), max(1, window // 8)
    for n, value in enumerate(values, 1):
        kept = take(kept, value, n)
        own = values[max(0, n - window) : n]
        edge = n <= window or (n % block == 0 and window % block == 0)
        begin = max(n - window, 0)
        whole = begin - begin % block  # of the block that the window cuts
        parts = values[whole : whole + block].mean() * (whole + block - begin) + values[whole + block : n].sum()
        expected = own.mean() if edge else parts / window
        assert float(look(kept)) == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert law.copies <= 16 or window > 16
    assert law.copies <= 10 or window < 24


def test_a_decay_is_corrected_from_its_first_update_in_float32():
    """The first means of a long decay are those of few weights, though 1 - d^n is a small difference."""
    law, values = Decay(jnp.float32(0.9999)), 1000 + np.random.default_rng(0).normal(size=50).astype(np.float32)
    kept, own = law.init(jnp.zeros(())), []
    for n, value in enumerate(values, 1):
        kept, own = law.update(kept, jnp.float32(value), n, True), [*own, float(value)]
        expected = np.average(own, weights=0.9999 ** np.arange(n)[::-1])
        assert float(kept.of(jnp.float32(0))) == pytest.approx(expected, rel=5e-7)


@pytest.mark.exhaustive("compiles two programs; averaged runs begin so too")
def test_a_later_step_begins_with_the_mean_and_nothing_is_kept_where_none_is_asked():
    program, states = recorded(
        spec_of("optimizer: {policy: {average: {window: 4}}, critic: {average: {decay: 0.5}}}"), 9
    )
    found, second = averaged(states[-1]), program.stages[1]
    state = second.enter(program.numbers, states[-1], batch_of(0), jax.random.key(0))
    for name in ("policy", "reference", "policy_target"):
        assert (flat(getattr(state, name)) == flat(found.policy)).all(), name
    assert (flat(state.critic) == flat(found.critic)).all()
    assert (flat(state.critic_target) == flat(found.critic)).all()
    assert (flat(found.policy) != flat(states[-1].policy)).any()
    assert state.average.keys() == {"policy"}
    measured = [second.measure(program.numbers, s, batch_of(0), jax.random.key(0)) for s in (state, averaged(state))]
    assert measured[0]["distance"] == measured[1]["distance"] == 0
    plain, states = recorded(spec_of(), 1)
    assert states[-1].average == {}
    assert memory(spec_of(), SPACE, None).averages == 0
    window = memory(spec_of("optimizer: {policy: {average: {window: 8}}}"), SPACE, None).averages
    assert window == 2 * (8 * flat(states[0].policy).size + 1) * 4
    assert plain.stages[0].label == "step 1"
