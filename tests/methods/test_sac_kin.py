"""specs/sac_n.yaml, edac.yaml and cql.yaml against the methods written out from their formulas, in double precision."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_sac import (
    DISCOUNT,
    RATE,
    Method,
    actor_loss,
    critic_loss,
    dual_slope,
    entropy,
    gaps,
    heads,
)
from written_out import Adam, averaged, gradient_of, moved, real_transitions, same, value_and_grad

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.compiler.updates import TEMPERATURE
from pogospec.critics.ensemble import likeness

SPECS = Path(__file__).parents[2] / "specs"
RATES = {"critic": 3e-3, "policy": 1e-3, "temperature": 2e-2}
ENTROPY, START = -2.5, 0.4
CHANGES = [
    *((f"{slot}.hidden", "[20, 12]") for slot in ("policy", "critic")),
    *((f"optimizer.{slot}.learning_rate", f"{RATES[slot]}") for slot in ("critic", "policy")),
    ("energy.entropy.temperature", f"{{start: {START}, entropy: {ENTROPY}, learning_rate: {RATES['temperature']}}}"),
    ("critic.discount", f"{DISCOUNT}"),
]
SAC = Method(bounds=(-0.5, 0.5), critics=4)
CQL = Method(bounds=(-1.5, -0.7), critics=2, soft=False, weight=1.5, actions=3, temperature=0.7)
CQL_CHANGES = [("critic.weight", "1.5"), ("critic.samples", "3"), ("critic.temperature", "0.7")]
LAGRANGE = [
    ("critic.lagrange", "{gap: 1.7, start: 0.8}"),
    ("critic.floor", "2.9"),
    ("critic.target_actions.samples", "4"),
]
MEAN = [("critic.q_agg", "mean"), ("critic.reduction", "mean"), ("critic.target_actions.samples", "3")]
CASES = {
    "sac_n": ("sac_n", [("critic.members", "4")], SAC),
    "edac": ("edac", [("critic.members", "4"), ("critic.diversity", "0.8")], SAC._replace(eta=0.8)),
    "means": (
        "sac_n",
        [("critic.members", "3"), *MEAN],
        SAC._replace(critics=3, agg="mean", mean_loss=True, best_of=3),
    ),
    "cql": ("cql", CQL_CHANGES, CQL),
    "antmaze": ("cql", [*CQL_CHANGES, *LAGRANGE], CQL._replace(floor=2.9, gap=1.7, best_of=4)),
}


def compiled(name):
    """The program, a state whose networks all differ, some of whose log-stds are at their bounds, and a batch."""
    stem, changes, method = CASES[name]
    batch, space = real_transitions()
    program = compile_spec(
        load(SPECS / f"{stem}.yaml", [*CHANGES, ("policy.log_std", f"{[*method.bounds]}"), *changes]), space
    )
    state = program.init(program.numbers, jax.random.key(0))
    state = program.stages[0].enter(program.numbers, state, batch, jax.random.key(1))
    sizes = {"critic": 0.2, "critic_target": 0.2, "policy": 0.3}
    keys = jax.random.split(jax.random.key(2), len(sizes))
    new = {n: moved(getattr(state, n), k, size) for (n, size), k in zip(sizes.items(), keys, strict=True)}
    state = state._replace(**new)
    _, std = heads(method, state.policy, batch.observations)
    low, high = np.exp(method.bounds)
    assert 0.1 < float(((std <= 1.0001 * low) | (std >= 0.9999 * high)).mean()) < 0.9
    return program, state, batch, method


def log_factor(state):
    """The logarithm of CQL's learned factor, 0 where it is none."""
    found = getattr(state.critic, "log_multiplier", None)
    return jnp.zeros(()) if found is None else found


def q_of(network):
    return getattr(network, "q", network)


@pytest.mark.thinned(("edac",), "compiles two programs and their references for each")
@pytest.mark.parametrize("name", CASES)
def test_losses_gradients_and_whole_updates(name, float64):
    """Temperature, policy, critics and slow copies in turn (SAC-N, EDAC), or each beside the weights before (CQL)."""
    program, state, batch, method = compiled(name)
    at_once = method.weight > 0
    critic, slow, policy, nu = q_of(state.critic), q_of(state.critic_target), state.policy, log_factor(state)
    log_alpha = jnp.log(START)
    adams = {"critic": Adam(RATES["critic"], critic), "policy": Adam(RATES["policy"], policy)}
    adams |= {"nu": Adam(RATES["critic"], nu), "alpha": Adam(RATES["temperature"], log_alpha)}
    update = jax.jit(program.stages[0].update)
    for index in range(4):
        key = jax.random.key(10 + index)
        critic_key, actor_key = jax.random.split(key)
        found, info = update(program.numbers, state, batch, key, jnp.int32(index))
        mean = entropy(method, policy, batch.observations, jax.random.fold_in(actor_key, TEMPERATURE)).mean()
        new_alpha = adams["alpha"](log_alpha, mean - ENTROPY)
        alpha = jnp.exp(log_alpha if at_once else new_alpha)
        loss, gradient = value_and_grad(actor_loss)(policy, critic, alpha, method, batch, actor_key)
        new_policy = adams["policy"](policy, gradient)
        np.testing.assert_allclose(info["objective"], loss, rtol=1e-6)
        if index == 0:
            same(gradient_of(found.optimizer["policy"]), gradient, 1e-6)
        seen = policy if at_once else new_policy
        others = slow, seen, alpha, jnp.exp(nu), method, batch, critic_key
        loss, gradient = value_and_grad(critic_loss)(critic, *others)
        np.testing.assert_allclose(info["critic_loss"], loss, rtol=1e-6)
        if index == 0:
            of_critic = gradient_of(found.optimizer["critic"])
            same(q_of(of_critic), gradient, 1e-6)
        if method.gap is not None:
            slope = dual_slope(nu, critic, seen, method, batch, critic_key)
            assert abs(float(slope)) > 1e-3
            nu = adams["nu"](nu, slope)
            np.testing.assert_allclose(log_factor(found), nu, rtol=1e-5)
        critic, policy, log_alpha = adams["critic"](critic, gradient), new_policy, new_alpha
        slow = averaged(slow, critic, RATE)
        state = found
        same(q_of(state.critic), critic, 1e-5)
        same(q_of(state.critic_target), slow, 1e-5)
        same(state.policy, policy, 1e-5)
        np.testing.assert_allclose(info["temperature"], jnp.exp(log_alpha), rtol=1e-6)  # optax: float32 powers
    assert jnp.exp(log_alpha) != pytest.approx(START, rel=1e-2)
    assert state.critic_target is not None
    assert getattr(state.critic_target, "log_multiplier", None) is None


def test_the_floor_of_the_conservative_term_is_at_work(float64):
    """Some rows of the AntMaze case are above its floor and some below, so that the test above sees both."""
    _, state, batch, method = compiled("antmaze")
    rows = gaps(state.critic.q, state.policy, method._replace(floor=-np.inf), batch, jax.random.key(3))
    assert 0.05 < float((rows < method.floor).mean()) < 0.95


def test_likeness_is_that_of_all_pairs_and_has_a_slope_where_a_gradient_is_zero():
    """1 of the sum over pairs for parallel gradients of any lengths, -1/(N - 1) for those that cancel, 0 for zeros."""
    one = np.random.default_rng(0).normal(size=(1, 5, 3))
    assert float(likeness(jnp.asarray(np.concatenate([one, 3 * one, 0.1 * one])))) == pytest.approx(3, rel=1e-5)
    corners = np.array([[0.0, 2.0], [-np.sqrt(3), -1.0], [np.sqrt(3), -1.0]])[:, None]
    assert float(likeness(jnp.asarray(corners))) == pytest.approx(-1.5, rel=1e-5)
    assert np.isfinite(jax.grad(likeness)(jnp.zeros((3, 4, 2)))).all()


def test_fresh_networks_of_cql_are_those_of_corl(float64):
    """Critics: orthogonal, gain sqrt(2), last layer 1/100, no biases; policy: torch's, last layer glorot's / 100."""
    _, space = real_transitions()
    small = [(f"{slot}.hidden", "[24, 16, 12]") for slot in ("policy", "critic")]
    program = compile_spec(load(SPECS / "cql.yaml", small), space)
    state = program.init(program.numbers, jax.random.key(0))
    for layer in state.critic.q.layers:
        weight = np.asarray(layer.weight[0])
        gain = 0.01 if weight.shape[1] == 1 else np.sqrt(2)
        gram = weight.T @ weight if weight.shape[0] >= weight.shape[1] else weight @ weight.T
        np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-6)
        assert not layer.bias.any()
    *hidden, last = state.policy.heads.layers
    for layer in hidden:
        bound = layer.weight.shape[0] ** -0.5
        assert 0.9 * bound < float(jnp.abs(layer.weight).max()) <= bound
        assert 0.6 * bound < float(jnp.abs(layer.bias).max()) <= bound
    bound = 0.01 * np.sqrt(6 / sum(last.weight.shape))
    assert 0.95 * bound < float(jnp.abs(last.weight).max()) <= bound
    assert not last.bias.any()
    assert (float(state.policy.factor), float(state.policy.offset)) == (1.0, -1.0)


MEMBERS = {"hopper-medium": (500, 50), "hopper-medium-replay": (200, 50), "hopper-medium-expert": (200, 50)}
MEMBERS |= {f"halfcheetah-{kind}": (10, 10) for kind in ("medium", "medium-replay", "medium-expert")}
MEMBERS |= {f"walker2d-{kind}": (20, 10) for kind in ("medium", "medium-replay", "medium-expert")}
MAZES = [f"{size}-{kind}" for size in ("medium", "large") for kind in ("play", "diverse")]
MEMBERS |= {f"antmaze-{maze}": (25, 10) for maze in ("umaze", "umaze-diverse", *MAZES)}
"""Critics of SAC-N and of EDAC in CORL's configurations."""


@pytest.mark.parametrize("dataset", MEMBERS)
def test_published_settings(dataset):
    data = [("data.dataset", f"d4rl/{dataset}-v2")]
    specs: Any = [load(SPECS / f"{stem}.yaml", data) for stem in ("sac_n", "edac", "cql")]
    sac, edac, cql = specs
    assert (sac.critic.members, edac.critic.members) == MEMBERS[dataset]
    assert edac.critic.diversity == (5 if dataset in ("halfcheetah-medium-expert", "walker2d-medium-expert") else 1)
    for spec in (sac, edac):
        (step,) = spec.schedule.steps
        assert spec.policy.log_std == (-5, 2)
        assert (step.updates, spec.policy.hidden, spec.critic.hidden) == (3_000_000, (256,) * 3, (256,) * 3)
        assert (step.order, spec.critic.backup_entropy, spec.data.normalize_observations) == (
            "policy_first",
            True,
            False,
        )
    (step,), maze = cql.schedule.steps, dataset.startswith("antmaze")
    critic = cql.critic
    assert (cql.policy.log_std, cql.policy.log_std_affine) == ((-20, 2), (1, -1))
    assert step.optimizer.policy.learning_rate == (1e-4 if maze else 3e-5)
    assert step.energy["entropy"].temperature.learning_rate == step.optimizer.policy.learning_rate
    assert critic.hidden == (256,) * (5 if maze else 3)
    assert (critic.weight, critic.floor) == ((5, -200) if maze else (10, None))
    assert (critic.lagrange is None, critic.target_actions.samples) == ((False, 10) if maze else (True, 1))
    reward = cql.data.reward
    scaled = {True: (10, -5, None), False: (5, -1, 1000) if dataset == "hopper-medium" else (1, 0, None)}[maze]
    assert (reward.scale, reward.shift, reward.return_range) == scaled
    assert (cql.data.normalize_observations, step.updates, cql.seeds) == (not maze, 1_000_000, 4)
