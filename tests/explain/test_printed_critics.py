"""The printed losses of ensembles and conservative critics against the compiled ones, number by number, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from printed import Symbols, groups, inside, looked, real_batch, written

from pogospec.explain.mathematics.blocks import block
from pogospec.explain.stages import stages

TEXT = """
data: {{dataset: pocket/reacher-mixed}}
policy: {{kind: tanh_gaussian, hidden: [16]}}
energy: {{q: {{actions: {{sample: 1}}}}, entropy: {{weight: 0.7, temperature: {{start: 0.4}}}}}}
critic: {{hidden: [12], {critic}}}
schedule: {{steps: [{{learn: [critic, policy], updates: 6}}]}}
"""
NUMBER = r"(-?[\d.e+-]+)"
OVER = r"(Σ_i|\(1/\d+\) Σ_i)"
TARGET = rf"y = r \+ {NUMBER} \(1 − terminated\) \[(min|mean)_i Q̄_i\(s', a'\)( − λ log π\(a'\|s'\))?\]"
CRITICS = {
    "diverse": "kind: ensemble, members: 3, diversity: 0.7, backup_entropy: true",
    "means": "kind: ensemble, members: 4, backup_entropy: true, q_agg: mean, reduction: mean, "
    "target_actions: {kind: policy_sample, samples: 3}",
    "two": "kind: clipped_double_q, backup_entropy: true, target_actions: policy_sample",
    "conservative": "kind: conservative, weight: 2.5, samples: 2",
    "multiplied": "kind: conservative, weight: 2.5, samples: 2, temperature: 0.6, floor: 1.5, "
    "lagrange: {gap: 0.8, start: 1.7}, target_actions: {kind: policy_sample, samples: 2}",
}


def scored(symbols, observations, key, count):
    """Samples of the policy and their log densities, by the change of variables."""
    p = symbols.heads(symbols.spec.policy, symbols.state.policy, observations)
    z = jax.random.normal(key, (count, *p.mean.shape), float)
    actions = symbols.act(p, z)
    density = -jnp.square(z) / 2 - jnp.log(p.std) - np.log(2 * np.pi) / 2 - jnp.log1p(-jnp.square(actions))
    return actions, density.sum(-1)


def printed_target(spec, symbols, lines, key):
    """y of each row, as the lines say."""
    state, batch = symbols.state, symbols.batch
    discount, agg, soft = groups(TARGET, lines[1])
    drawn, best = groups(r"a' ~ π\(·\|s'\), clipped to ±1(, of (\d+) that of the greatest next value)?", lines[2])
    count = int(best) if drawn else 1
    actions, densities = scored(symbols, batch.next_observations, key, count)
    copies = spec.critic.values(state.critic_target, batch.next_observations, actions)
    following = copies.min(0) if agg == "min" else copies.mean(0)
    place, rows = following.argmax(0), np.arange(following.shape[1])
    value = following[place, rows]
    if soft:
        assert "λ: the entropy weight of this step's energy, as it is now" in lines
        (learned,) = state.temperature.values()
        value = value - 0.7 * jnp.exp(learned.log_alpha) * densities[place, rows]
    return batch.rewards + float(discount) * (1 - batch.terminated) * value


def conservative(spec, symbols, lines, q, key):
    """C_i of each row, as the lines say."""
    batch, state = symbols.batch, symbols.state
    (soft,) = [line for line in lines if line.startswith("C_i = ")]
    plain = soft == "C_i = log Σ_k exp(Q_i(s, a_k) − log p(a_k)) − Q_i(s, a)"
    scale = rf"C_i = {NUMBER} log Σ_k exp\(\(Q_i\(s, a_k\) − log p\(a_k\)\) / {NUMBER}\) − Q_i\(s, a\)"
    once, twice = ("1", "1") if plain else groups(scale, soft)
    assert once == twice
    (who,) = [line for line in lines if line.startswith("a_k: ")]
    form = r"a_k: (\d+) uniform in \[-1, 1\], (\d+) samples of the policy at the next state, (\d+) at the state; .+"
    uniform, ahead, here = map(int, groups(form, who))
    keys = jax.random.split(jax.random.fold_in(key, 1), 3)
    shape = (uniform, *batch.actions.shape)
    sorts = [(jax.random.uniform(keys[0], shape, float, -1, 1), jnp.full(shape[:2], -shape[-1] * np.log(2)))]
    sorts += [scored(symbols, batch.next_observations, keys[1], ahead)]
    sorts += [scored(symbols, batch.observations, keys[2], here)]
    powers = [(spec.critic.values(state.critic, batch.observations, a) - p) / float(once) for a, p in sorts]
    return float(once) * jnp.log(sum(jnp.exp(power).sum(1) for power in powers)) - q


@pytest.fixture(scope="module")
def data():
    with jax.enable_x64(True):
        yield real_batch()


@pytest.mark.thinned(("multiplied",), "compiles a program for each")
@pytest.mark.parametrize("name", CRITICS)
def test_the_printed_losses_are_the_compiled_ones(name, data, float64):
    spec = written(TEXT.format(critic=CRITICS[name]))
    assert spec.critic is not None
    batch, space = data
    rows = dict(block(spec, stages(spec)[0], space.act_dim).rows)
    assert rows["temperature"].startswith("learned: α starts at 0.4, grows where the mean entropy is below −d")
    loss, *rest = rows["critic"].split("\n")
    lines = [loss.removeprefix("minimise  ").partition(";")[0], *rest]
    program, state = inside(spec, 0, batch, space)
    key = jax.random.key(5)
    info = looked(program.stages[0].update)(program.numbers, state, batch, key, jnp.int32(0))
    symbols, critic_key = Symbols(spec, state, batch, None), jax.random.split(key)[0]
    y = printed_target(spec, symbols, lines, critic_key)
    q = spec.critic.values(state.critic, batch.observations, batch.actions)
    over, rest = groups(rf"{OVER} E\[\(Q_i\(s, a\) − y\)²\](.*)", lines[0])
    share = 1.0 if over == "Σ_i" else 1 / len(q)
    assert over in ("Σ_i", f"(1/{len(q)}) Σ_i")
    found = share * ((q - y) ** 2).mean(1).sum()
    if name == "diverse":
        factor, others = groups(rf" \+ \({NUMBER}/(\d+)\) E\[Σ_\(i≠j\) ⟨g_i, g_j⟩\]", rest)
        assert lines[-1] == "g_i = ∇_a Q_i(s, a) / |∇_a Q_i(s, a)|"
        one = lambda a, s, i: spec.critic.values(state.critic, s, a)[i]  # type: ignore[union-attr]  # noqa: E731
        slopes = [jax.vmap(jax.grad(one), (0, 0, None))(batch.actions, batch.observations, i) for i in range(len(q))]
        units = [slope / jnp.sqrt((slope**2).sum(-1, keepdims=True)) for slope in slopes]
        pairs = sum((a * b).sum(-1) for i, a in enumerate(units) for j, b in enumerate(units) if i != j)
        found = found + float(factor) / int(others) * jnp.mean(jnp.asarray(pairs))
    elif "kind: conservative" in CRITICS[name]:
        nu, weight, floor, gap = groups(
            rf" \+ (ν )?{NUMBER} · Σ_i \(?E\[(?:C_i|max\(C_i, {NUMBER}\))\](?: − {NUMBER}\))?", rest
        )
        terms = conservative(spec, symbols, lines, q, critic_key)
        terms = jnp.maximum(terms, float(floor) if floor else -np.inf).mean(1) - float(gap or 0)
        assert bool(nu) == bool(gap) == lines[-1].startswith("ν: learned by the critic's optimiser")
        multiplier = jnp.exp(state.critic.log_multiplier) if nu else 1.0
        found = found + multiplier * float(weight) * terms.sum()
    else:
        assert rest == ""
    assert float(found) == pytest.approx(float(info["critic_loss"]), rel=1e-7 if name == "diverse" else 1e-9)
