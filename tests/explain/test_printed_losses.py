"""The losses of critic and behaviour as they are printed, against the compiled ones."""

import re

import jax
import jax.numpy as jnp
import pytest
from compared import EXPECTILE, NUMBER, TEXT
from printed import Symbols, groups, inside, looked, written

from pogospec.explain.mathematics.blocks import block
from pogospec.explain.stages import stages


def test_the_printed_losses_of_an_expectile_critic_are_the_compiled_ones(data, float64):
    text = TEXT.format(policy="gaussian", energy="{q: {}}", geometry="kl", step="from: behavior")
    spec, (batch, space) = written(text.replace("{kind: clipped_double_q, hidden: [16]}", EXPECTILE)), data
    assert spec.critic is not None
    loss, target, asymmetric = dict(block(spec, stages(spec)[0], space.act_dim).rows)["critic"].split("\n")
    assert loss.startswith("minimise  Σ_i E[(Q_i(s, a) − y)²] + E[L(min_i Q̄_i(s, a) − V(s))];")
    (discount,) = groups(rf"y = r \+ {NUMBER} \(1 − terminated\) V\(s'\), V after its update", target)
    (level,) = groups(rf"L\(u\) = \|{NUMBER} − 1\[u < 0\]\| u²", asymmetric)
    program, state = inside(spec, 0, batch, space)
    new, info = jax.jit(program.stages[0].update)(program.numbers, state, batch, jax.random.key(5), jnp.int32(0))
    values, state_values = spec.critic.values, spec.critic.state_values
    following = state_values(new.critic, batch.next_observations)
    y = batch.rewards + float(discount) * (1 - batch.terminated) * following
    q = values(state.critic, batch.observations, batch.actions)
    u = values(state.critic_target, batch.observations, batch.actions).min(0)
    u = u - state_values(state.critic, batch.observations)
    expected = ((q - y) ** 2).mean(1).sum() + (jnp.abs(float(level) - (u < 0)) * u**2).mean()
    assert float(expected) == pytest.approx(float(info["critic_loss"]), rel=1e-9)


CRITICS = [
    ("policy", "{target_actions: {kind: smoothed_mean, noise: 0.3, clip: 0.4}, discount: 0.9}"),
    ("policy", "{target_actions: policy_sample, target_penalty: {weight: 0.25}}"),
    ("policy", "{target_penalty: {reference: next_action, weight: 0.125}}"),
    ("policy", "{target_penalty: {kind: divergence, geometry: {kind: kl, weight: 2}, weight: 0.25}}"),
    ("behavior", "{target_actions: policy_sample}"),
    ("behavior", "{target_penalty: {weight: 0.5}}"),
]


@pytest.mark.thinned(3, "compiles a program for each combination")
@pytest.mark.parametrize(("bootstrap", "critic"), CRITICS)
@pytest.mark.parametrize("policy", ["gaussian", "tanh_gaussian"])
def test_the_printed_losses_of_critic_and_behaviour_are_the_compiled_ones(policy, bootstrap, critic, data, float64):
    learn = "[critic, behavior]" if bootstrap == "behavior" else "[critic, behavior, policy]"
    text = TEXT.format(policy=policy, energy="{q: {}}", geometry="kl", step="from: behavior")
    if bootstrap == "behavior":
        text = text.replace("from: behavior, learn: [critic, behavior, policy]", f"learn: {learn}")
    spec = written(
        text.replace("{kind: clipped_double_q, hidden: [16]}", "{kind: clipped_double_q, hidden: [16], " + critic[1:])
    )
    assert spec.critic is not None
    batch, space = data
    stage = stages(spec)[0]
    rows = dict(block(spec, stage, space.act_dim).rows)
    program, state = inside(spec, 0, batch, space)
    key = jax.random.key(5)
    info = looked(program.stages[0].update)(program.numbers, state, batch, key, jnp.int32(0))
    symbols = Symbols(spec, state, batch, None)
    loss, target, action = rows["critic"].split("\n")
    assert loss.startswith("minimise  Σ_i E[(Q_i(s, a) − y)²];")
    discount, penalty = groups(rf"y = r \+ {NUMBER} \(1 − terminated\) \[min_i Q̄_i\(s', a'\)(?: − (.+))?\]", target)
    chosen = printed_action(symbols, action, jax.random.split(key)[0])
    taken = printed_penalty(symbols, penalty, chosen)
    target_values = spec.critic.values(state.critic_target, batch.next_observations, chosen).min(0) - taken
    y = batch.rewards + float(discount) * (1 - batch.terminated) * target_values
    q = spec.critic.values(state.critic, batch.observations, batch.actions)
    assert float(((q - y) ** 2).mean(1).sum()) == pytest.approx(float(info["critic_loss"]), rel=1e-9)
    assert rows["behaviour"].startswith("minimise  E[−log π_β(a|s)];")
    density = symbols.log_density(spec.behavior, symbols.heads(spec.behavior, state.behavior))
    assert float(-density.mean()) == pytest.approx(float(info["behavior_loss"]), rel=1e-9)


def printed_action(symbols, text, key):
    """The next action as printed: of the slow policy, the policy, or the behaviour."""
    state, spec, following = symbols.state, symbols.spec, symbols.batch.next_observations
    networks = {
        "μ̄(s')": (spec.policy, state.policy_target),
        "π(·|s')": (spec.policy, state.policy),
        "μ_β(s')": (spec.behavior, state.behavior),
        "π_β(·|s')": (spec.behavior, state.behavior),
    }
    smoothed = re.fullmatch(rf"a' = clip\((.+?) \+ clip\({NUMBER} ξ, ±{NUMBER}\), ±1\), ξ ~ N\(0, I\)", text)
    if smoothed:
        p = symbols.heads(*networks[smoothed[1]], following)
        noise = float(smoothed[2]) * jax.random.normal(key, p.mean.shape, float)
        bound = float(smoothed[3])
        return jnp.clip(jnp.clip(symbols.act(p, 0.0), -1, 1) + jnp.clip(noise, -bound, bound), -1, 1)
    (sampled,) = groups(r"a' ~ (.+), clipped to ±1", text)
    p = symbols.heads(*networks[sampled], following)
    return jnp.clip(symbols.act(p, jax.random.normal(key, (1, *p.mean.shape), float)[0]), -1, 1)


def printed_penalty(symbols, text, action):
    """What the target takes off, as printed."""
    if text is None:
        return 0.0
    batch, spec, state = symbols.batch, symbols.spec, symbols.state
    weight, symbol = groups(rf"{NUMBER} · (.+)", text)
    behavior = symbols.heads(spec.behavior, state.behavior, batch.next_observations)
    if symbol == "|a' − μ_β(s')|²":
        value = ((action - jnp.clip(symbols.act(behavior, 0.0), -1, 1)) ** 2).sum(-1)
    elif symbol == "1[a'_data exists] |a' − a'_data|²":
        value = batch.next_action_valid * ((action - batch.next_actions) ** 2).sum(-1)
    else:
        assert symbol == "KL(π(·|s') ‖ π_β(·|s'))"
        value = symbols.divergence(symbol, symbols.heads(spec.policy, state.policy, batch.next_observations), behavior)
    return float(weight) * value


def test_a_dirac_behaviour_is_fitted_as_printed(data, float64):
    spec = written(TEXT.format(policy="dirac", energy="{q: {}}", geometry="wasserstein2", step="from: data"))
    batch, space = data
    assert dict(block(spec, stages(spec)[0], 2).rows)["behaviour"].startswith("minimise  E[|μ_β(s) − a|²/d];")
    program, state = inside(spec, 0, batch, space)
    info = looked(program.stages[0].update)(program.numbers, state, batch, jax.random.key(0), jnp.int32(0))
    mean = spec.behavior.parameters(state.behavior, batch.observations).mean
    assert float(((mean - batch.actions) ** 2).sum(1).mean() / 2) == pytest.approx(float(info["behavior_loss"]))
