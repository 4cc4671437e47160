"""What published codes do and the shipped specs do not, by keys of their own: written out, in double precision.

ReBRAC's order, its slow actor and its normalisation; TD3+BC's eps; IQL in CORL's order; the fit of POGO's behaviour.
"""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_iql as iql
from written_out import averaged as polyak
from written_out import moved, real_transitions

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.explain.mathematics.blocks import block
from pogospec.explain.stages import stages

SPECS = Path(__file__).parents[2] / "specs"
SMALL = [("policy.hidden", "[8, 8]"), ("critic.hidden", "[8, 8]")]  # few shapes, which compile once
UPDATES, SAME = 4, 1e-11
"""Updates, and the largest difference from those written out."""


class Adam:
    """Adam with bias correction; its rate may fall with the number of steps that were taken."""

    def __init__(self, rate, like):
        self.rate, self.count = rate if callable(rate) else lambda count: rate, 0
        self.moments = [jax.tree.map(lambda leaf: np.zeros(leaf.shape), like)] * 2

    def __call__(self, network, gradient):
        """The network after a step."""
        rate, self.count = self.rate(self.count), self.count + 1
        network, *self.moments = _adam(network, gradient, *self.moments, rate, self.count)
        return network


@jax.jit
def _adam(network, gradient, first, second, rate, count):
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    one, two = 1 - 0.9**count, 1 - 0.999**count
    move = lambda x, m, v: x - rate * (m / one) / (jnp.sqrt(v / two) + 1e-8)  # noqa: E731
    return jax.tree.map(move, network, first, second), first, second


averaged = jax.jit(polyak)


def difference(found, expected):
    """The largest difference of two trees in double precision, each leaf in units of its largest entry."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in pairs]
    assert all(a.dtype == np.float64 for a, _ in pairs)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def begun(name, changes, names):
    """A program, a state whose networks all differ, and a batch."""
    batch, space = real_transitions()
    program = compile_spec(load(SPECS / f"{name}.yaml", [*SMALL, *changes]), space)
    state = program.init(program.numbers, jax.random.key(0))
    state = program.stages[0].enter(program.numbers, state, batch, jax.random.key(1))
    keys = jax.random.split(jax.random.key(2), len(names))
    return (
        program,
        state._replace(**{n: moved(getattr(state, n), k, 0.2) for n, k in zip(names, keys, strict=True)}),
        batch,
    )


def noise_of(key, batch):
    """The noise of the next actions of an update."""
    return jax.random.normal(jax.random.split(key)[0], batch.actions.shape, float)


def forward(net, x, eps):
    """ReLU layers, each followed by its normalisation where there is one."""
    for index, layer in enumerate(net.layers[:-1]):
        x = jnp.maximum(x @ layer.weight + layer.bias, 0)
        if net.norms:
            x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + eps)
            x = x * net.norms[index].scale + net.norms[index].offset
    return x @ net.layers[-1].weight + net.layers[-1].bias


def two(nets, observations, actions, eps=0.0):
    """Values of two critics."""
    each = (jax.tree.map(lambda leaf, n=n: leaf[n], nets) for n in range(2))
    return jnp.stack([forward(net, jnp.concatenate([observations, actions], -1), eps)[..., 0] for net in each])


def td_loss(critic, slow_critic, slow_actor, batch, noise, eps, beta2):
    """Of TD3 with beta2 times the squared distance from the logged next action inside the bracket."""
    mean = jnp.tanh(forward(slow_actor, batch.next_observations, eps))
    a = jnp.clip(mean + jnp.clip(0.2 * noise, -0.5, 0.5), -1, 1)
    strays = batch.next_action_valid * ((a - batch.next_actions) ** 2).sum(1)
    value = two(slow_critic, batch.next_observations, a, eps).min(0) - beta2 * strays
    y = batch.rewards + 0.99 * (1 - batch.terminated) * value
    return sum(((q - y) ** 2).mean() for q in two(critic, batch.observations, batch.actions, eps))


def rebrac_actor(actor, critic, batch, eps):
    pi = jnp.tanh(forward(actor, batch.observations, eps))
    q = two(critic, batch.observations, pi, eps).min(0)
    return (0.01 * ((pi - batch.actions) ** 2).sum(1) - q / jax.lax.stop_gradient(jnp.abs(q).mean())).mean()


ORIGINAL = [
    ("schedule.steps[0].slow_policy", "before_update"),
    ("schedule.steps[0].actor_on", "first"),
    ("critic.layer_norm", "{place: after, eps: 1.0e-6}"),
]


@pytest.mark.exhaustive("compiles a program and its twin by hand")
def test_rebrac_as_its_authors_have_it(float64):
    """The actor moves at updates 0, 2, …, its slow copy after the weights before; the critics' follows those after."""
    names = ("critic", "critic_target", "policy", "policy_target")
    program, state, batch = begun("rebrac", ORIGINAL, names)
    critic, slow, actor, slow_actor = (getattr(state, name) for name in names)
    of_critic, of_actor, update = Adam(1e-3, critic), Adam(1e-3, actor), jax.jit(program.stages[0].update)
    critic_gradient, actor_gradient = jax.jit(jax.grad(td_loss)), jax.jit(jax.grad(rebrac_actor))
    for index in range(UPDATES):
        key = jax.random.key(10 + index)
        state, _ = update(program.numbers, state, batch, key, jnp.int32(index))
        critic = of_critic(critic, critic_gradient(critic, slow, slow_actor, batch, noise_of(key, batch), 1e-6, 0.01))
        if index % 2 == 0:
            ahead = of_actor(actor, actor_gradient(actor, critic, batch, 1e-6))
            slow, slow_actor, actor = averaged(slow, critic, 0.005), averaged(slow_actor, actor, 0.005), ahead
        for name, net in zip(names, (critic, slow, actor, slow_actor), strict=True):
            assert difference(getattr(state, name), net) < SAME, (name, index)


@pytest.mark.exhaustive("compiles a program and its twin by hand")
def test_td3_bc_with_the_eps_of_a_loss_divided_by_alpha(float64):
    """The loss as published, alpha = 2.5 times Q beside the squared error, under an Adam whose eps is 1e-8."""
    program, state, batch = begun("td3_bc", [("optimizer.policy.eps", "4.0e-9")], ("critic", "policy"))
    actor, of_actor, update = state.policy, Adam(3e-4, state.policy), jax.jit(program.stages[0].update)

    @jax.jit
    @jax.grad
    def published(actor, critic):
        pi = jnp.tanh(forward(actor, batch.observations, 0.0))
        q = two(critic, batch.observations, pi)[0]
        return -2.5 / jax.lax.stop_gradient(jnp.abs(q).mean()) * q.mean() + ((pi - batch.actions) ** 2).mean()

    for index in range(UPDATES):
        state, _ = update(program.numbers, state, batch, jax.random.key(10 + index), jnp.int32(index))
        if index % 2 == 1:
            actor = of_actor(actor, published(actor, state.critic))
    assert difference(state.policy, actor) < SAME


@pytest.mark.exhaustive("compiles a program and its twin by hand")
def test_iql_in_the_order_of_corl(float64):
    """V(s') and the advantage are taken, then V, Q, slow copies and policy move; the rate is a cosine."""
    changes = [("critic.seen_value", "before_update"), ("schedule.steps[0].updates", str(UPDATES))]
    program, state, batch = begun("iql", changes, ("critic", "critic_target", "policy"))
    state = eqx.tree_at(lambda s: s.critic.v.layers[-1].bias, state, replace_fn=lambda bias: bias - 1)
    v, q, slow = iql.plain(state.critic.v), iql.pair(state.critic.q), iql.pair(state.critic_target.q)
    actor = iql.Actor.of(state.policy)
    cosine = lambda count: 3e-4 * (1 + np.cos(np.pi * count / UPDATES)) / 2  # noqa: E731
    of_v, of_q, of_actor = Adam(3e-4, v), Adam(3e-4, q), Adam(cosine, actor)
    update = jax.jit(program.stages[0].update)

    @jax.jit
    @jax.grad
    def of_value(v, slow):
        gap = iql.smaller(slow, batch.observations, batch.actions) - iql.forward(v, batch.observations)[:, 0]
        return (jnp.abs(0.7 - (gap < 0)) * gap**2).mean()

    @jax.jit
    @jax.grad
    def of_policy(actor, weights):
        mean, log_std = jnp.tanh(iql.forward(actor.mean, batch.observations)), jnp.clip(actor.log_std, -5, 2)
        return -(weights * iql.log_prob(mean, log_std, batch.actions)).mean()

    @jax.jit
    def seen(v, slow):
        y = batch.rewards + 0.99 * (1 - batch.terminated) * iql.forward(v, batch.next_observations)[:, 0]
        least = iql.smaller(slow, batch.observations, batch.actions)
        return y, jnp.minimum(jnp.exp(3 * (least - iql.forward(v, batch.observations)[:, 0])), 100)

    of_values = jax.jit(jax.grad(lambda q, y: iql.squared_errors(q, y, batch)))
    for index in range(UPDATES):
        state, _ = update(program.numbers, state, batch, jax.random.key(10 + index), jnp.int32(index))
        y, weights = seen(v, slow)
        v, q = of_v(v, of_value(v, slow)), of_q(q, of_values(q, y))
        slow, actor = averaged(slow, q, 0.005), of_actor(actor, of_policy(actor, weights))
    found = iql.plain(state.critic.v), iql.pair(state.critic.q), iql.Actor.of(state.policy)
    for a, b in zip(found, (v, q, actor), strict=True):
        assert difference(a, b) < SAME
    spec = load(SPECS / "iql.yaml", changes)
    text = dict(block(spec, stages(spec)[0], batch.actions.shape[1]).rows)["critic"]
    assert "V before its update" in text


def test_the_behaviour_of_pogo_as_released(float64):
    """Likelihood with 1e-6 added to the variance, on a minibatch that neither critic nor policy sees."""
    changes = [("behavior.hidden", "[12, 8]"), ("behavior.fit_variance_offset", "1.0e-6")]
    changes += [("schedule.defaults.behavior_batch", "own")]
    program, state, batch = begun("pogo_w", changes, ("critic", "critic_target", "policy", "policy_target", "behavior"))
    net = eqx.tree_at(lambda net: net.layers[-1].bias, state.behavior, replace_fn=lambda bias: bias - 1.5)
    state, of_behavior, rng = state._replace(behavior=net), Adam(3e-4, net), np.random.default_rng(0)

    @jax.jit
    @jax.grad
    def likelihood(net, batch):
        mean, log_std = jnp.split(forward(net, batch.observations, 0.0), 2, -1)
        variance = jnp.exp(jnp.clip(log_std, -5, 2)) ** 2 + 1e-6
        error = (batch.actions - jnp.tanh(mean)) ** 2 / variance + jnp.log(2 * np.pi * variance)
        return error.sum(1).mean() / 2

    update = jax.jit(program.stages[0].update)
    for index in range(UPDATES):
        rows = rng.integers(0, len(batch.rewards), len(batch.rewards))
        other = jax.tree.map(lambda column, rows=rows: column[rows], batch)
        given = program.numbers, state, batch, jax.random.key(10 + index), jnp.int32(index)
        alike = update(*given, batch)[0]
        state, _ = update(*given, other)
        net = of_behavior(net, likelihood(net, other))
        assert difference(state.behavior, net) < SAME
        assert difference(state.critic, alike.critic) == 0
        assert difference(state.behavior, alike.behavior) > 1e-6


def test_a_minibatch_of_its_own_is_drawn_beside_that_of_all():
    """Of the same size and uniform; critic and policy are those of a run that shares one."""
    from pogospec.training.chunk import chunk_function

    batch, space = real_transitions()
    data = jax.tree.map(lambda column: jnp.asarray(column, jnp.float32), batch)
    found = {}
    for how in ("own", "shared"):
        changes = [*SMALL, ("behavior.hidden", "[4]"), ("schedule.defaults.behavior_batch", how)]
        stage = compile_spec(load(SPECS / "pogo_w.yaml", changes), space).stages[0]
        seen = []

        def update(numbers, state, batch, key, index, own=None, seen=seen):
            seen.append(own is None)
            own = batch if own is None else own
            return state + jnp.stack([batch.rewards.sum(), own.rewards.sum()]), {"n": jnp.asarray(len(own.rewards))}

        chunk = chunk_function(stage._replace(update=update), 5)
        arguments = data, jnp.zeros((1, 2)), jax.random.split(jax.random.key(0), 1)
        sums, counts, *_ = chunk(None, *arguments, 0, 40)
        found[how] = np.asarray(sums[0])
        assert set(seen) == {how == "shared"}
        assert float(counts["n"][0]) == 200
    own, shared = found["own"], found["shared"]
    assert own[0] == shared[0] == shared[1] != own[1]
    spread = 200**0.5 * float(batch.rewards.std())
    assert abs(own[1] - 200 * float(batch.rewards.mean())) < 4 * spread


@pytest.mark.thinned(("full_gaussian",), "compiles a program for each family")
@pytest.mark.parametrize("family", ["tanh_gaussian", "full_gaussian"])
def test_next_actions_are_samples_of_the_slow_policy(family, float64):
    """a' ~ pi_theta^- of POGO's eq. 14, beside a sample of the policy itself."""
    changes = [("policy", f"{{kind: {family}, hidden: [12, 8]}}"), ("behavior", f"{{kind: {family}, hidden: [4]}}")]
    changes += [("geometry", "kl"), ("critic.target_actions", "{kind: policy_sample, copies: slow}")]
    names = ("critic", "critic_target", "policy", "policy_target")
    program, state, batch = begun("pogo_w", changes, names)
    key = jax.random.key(3)
    _, info = jax.jit(program.stages[0].update)(program.numbers, state, batch, key, jnp.int32(0))
    act = batch.actions.shape[1]

    @jax.jit
    def expected(policy):
        mean, log_std, *lower = jnp.split(forward(policy, batch.next_observations, 0.0), [act, 2 * act], -1)
        z, std = noise_of(key, batch), jnp.exp(jnp.clip(log_std, -5, 2))
        if family == "full_gaussian":
            factor = jax.vmap(jnp.diag)(std).at[:, *np.tril_indices(act, -1)].set(lower[0])
            a = jnp.tanh(mean) + jnp.einsum("bij,bj->bi", factor, z)
        else:
            a = jnp.tanh(mean + std * z)
        value = two(state.critic_target, batch.next_observations, jnp.clip(a, -1, 1)).min(0)
        y = batch.rewards + 0.99 * (1 - batch.terminated) * value
        return sum(((q - y) ** 2).mean() for q in two(state.critic, batch.observations, batch.actions))

    assert float(info["critic_loss"]) == pytest.approx(float(expected(state.policy_target)), rel=1e-12)
    assert float(info["critic_loss"]) != pytest.approx(float(expected(state.policy)), rel=1e-6)
    spec = load(SPECS / "pogo_w.yaml", [*SMALL, *changes])
    assert "a' ~ π̄(·|s'), clipped to ±1" in dict(block(spec, stages(spec)[0], act).rows)["critic"]


def test_a_policy_that_moves_first_is_counted_so():
    """Updates among the first so many, over which metrics average and a cosine falls."""
    (step,) = load(SPECS / "td3_bc.yaml").schedule.steps
    for every in (1, 2, 3):
        for on, left in (("first", 0), ("last", every - 1)):
            rhythm = dataclasses.replace(step, actor_every=every, actor_on=on)
            for count in range(8):
                assert rhythm.policy_updates(count) == sum(index % every == left for index in range(count))
