"""What judges find, where the gain is known: by hand, and on linear dynamics with quadratic costs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import DISCOUNT, NOISE, quadratic
from scipy.linalg import solve_discrete_lyapunov

from pogospec.compiler.beside import Beside
from pogospec.energies.base import Context
from pogospec.energies.q import QTerm
from pogospec.judges.base import Bench, Finding
from pogospec.judges.cross_fitted import CrossFitted, combined
from pogospec.judges.ensemble_bound import EnsembleBound
from pogospec.judges.fqe import FQE
from pogospec.judges.proximal import ProximalInequality
from pogospec.judges.second_critic import SecondCritic
from pogospec.offline.fqe import side_by_side
from pogospec.policies.base import Point
from pogospec.policies.dirac import DiracPolicy
from pogospec.steps.base import Problem
from pogospec.types import Transitions

EPISODES = np.repeat(np.arange(6), 4)
SMALL: dict[str, Any] = {"updates": 300, "hidden": (20, 20), "batch_size": 64, "learning_rate": 3e-3}
GAINS = np.array([[[-0.4, -0.5]], [[0.05, 0.05]]])
"""Two candidates a = K s, one better than the reference, and one worse."""
REFERENCE = np.array([[-0.2, -0.2]])
A, B = np.array([[0.9, 0.2], [-0.1, 0.8]]), np.array([[0.3], [0.5]])


def bench(**given) -> Bench:
    unused = dict.fromkeys(Bench._fields)
    return Bench(**{**unused, "measured": {}, "bounded": False, "discount": DISCOUNT, "action": "mean", **given})


def beside(critics, before=0.0, now=1.0) -> Bench:
    """Two points in 24 states, and critics as functions of observations and actions."""
    observations = jax.random.normal(jax.random.key(0), (24, 1))
    policy, reference = (Point(jnp.full((24, 1), value)) for value in (now, before))

    def q(actions, count=None, slow=False):
        return jnp.stack([critic(observations[:, 0], actions[..., 0]) for critic in critics])[:count]

    energy: dict[str, Any] = {"q": QTerm(critics="first", weight=2.0)}
    context = Context(observations, observations, DiracPolicy(), q, {})
    both = Beside(Problem(energy, (), None), context, policy, reference, jnp.asarray(EPISODES), jax.random.key(1))
    return bench(ask=lambda question: [np.asarray(column)[None] for column in question(both)])


def test_the_second_critic_refuses_what_the_first_alone_likes():
    first, second = (lambda s, a: -jnp.square(a - 1)), (lambda s, a: -jnp.square(a) + 0 * s)
    found = SecondCritic().finding(beside([first, second]))
    np.testing.assert_allclose(found.gain, [-2.0], rtol=1e-6)  # weight 2 times Q2(1) - Q2(0) = -1
    np.testing.assert_allclose(found.error, [0.0], atol=1e-6)
    assert SecondCritic().bound(found) < 0 < SecondCritic(margin=2.1).bound(found)
    assert SecondCritic().finding(beside([second, first])).gain == pytest.approx(2.0)


def test_its_error_is_over_episodes():
    """Rows of an episode are alike, so that 24 rows are six numbers: their std over the root of six."""
    slopes = np.random.default_rng(0).normal(size=6)[EPISODES]
    found = SecondCritic().finding(beside([lambda s, a: a, lambda s, a: a * slopes]))
    six = 2 * slopes[::4]
    assert found.gain == pytest.approx(six.mean(), rel=1e-5)
    assert found.error == pytest.approx(six.std(ddof=1) / np.sqrt(6), rel=1e-5)


@pytest.mark.parametrize("z", [0.0, 0.5, 2.0])
def test_the_bound_of_an_ensemble_is_a_mean_less_stds(z):
    gains = np.array([3.0, 1.0, -1.0, 2.0])
    critics = [lambda s, a, gain=gain: gain * a + 5 * s for gain in gains]
    found = EnsembleBound(z=z).finding(beside(critics))
    assert found.gain == pytest.approx(gains.mean() - z * gains.std(ddof=1), rel=1e-5)


def test_the_inequality_is_that_of_the_flow():
    measured = {"gap": np.array([-3.0, 1.0]), "gap_error": np.array([1.0, np.nan])}
    judge = ProximalInequality()
    found = judge.finding(bench(measured=measured))
    assert (judge.bound(found) > 0).tolist() == [True, False]
    assert (ProximalInequality(errors=3.5).bound(found) > 0).tolist() == [False, False]
    assert (ProximalInequality(errors=0.0).bound(found) > 0).tolist() == [True, False]


def test_what_is_no_number_is_not_taken():
    broken = Finding(np.array([np.nan, 1.0, np.inf]), np.array([1.0, np.nan, 1.0]))
    assert (FQE().bound(broken) < 0).all()
    assert (FQE(errors=0.0).bound(broken) > 0).tolist() == [False, True, False]


def test_critics_of_two_halves_err_apart():
    fold = np.array([0, 0, 0, 1, 1, 1])[EPISODES]
    rows = np.full((1, 2, 24), 1.0)
    rows[:, 1] = 3.0
    found = combined(rows, fold, EPISODES)
    assert found.gain == pytest.approx(2.0)  # half the rows are read by each
    over = np.array([1, 1, 1, 3, 3, 3]).std(ddof=1) / np.sqrt(6)
    assert found.error == pytest.approx(np.hypot(over, 1.0), rel=1e-5)
    assert combined(np.ones((1, 2, 24)), fold, EPISODES).error == pytest.approx(0.0, abs=1e-6)


class Linear:
    """Policies a = K s."""

    def parameters(self, network, observations):
        return observations @ network.T

    def mean_action(self, parameters):
        return parameters


FAMILY = Linear()


def costs(gain) -> np.ndarray:
    """P of V(s) = -s^T P s - c under a = K s."""
    closed = np.sqrt(DISCOUNT) * (A + B @ gain)
    return solve_discrete_lyapunov(closed.T, np.eye(2) + 0.3 * gain.T @ gain)


def value(gain) -> float:
    """Mean of V over first states, which are standard normal."""
    trace = np.trace(costs(gain))
    return -trace - DISCOUNT * NOISE**2 * trace / (1 - DISCOUNT)


def advantage(gain, states) -> float:
    """Mean of Q(s, K s) - V(s) of the reference over states."""
    cost, move = costs(REFERENCE), A + B @ gain
    quadratic = np.eye(2) + 0.3 * gain.T @ gain + DISCOUNT * move.T @ cost @ move - cost
    return -float(np.einsum("ni,ij,nj->n", states, quadratic, states).mean())


def bench_of(data: Transitions) -> Bench:
    kept: dict[str, Any] = {}
    once = lambda name, make: kept[name] if name in kept else kept.setdefault(name, make())  # noqa: E731
    reference = np.repeat(REFERENCE[None], len(GAINS), 0)
    return bench(held=data, family=FAMILY, policy=GAINS, reference=reference, once=once, layout=side_by_side)


@pytest.mark.exhaustive("fits critics")
def test_fitted_judges_tell_better_from_worse_and_know_how_well():
    one = bench_of(Transitions(*(column[0] for column in quadratic(1, 80, 20).data)))
    true = {
        FQE: [value(gain) - value(REFERENCE) for gain in GAINS],
        CrossFitted: [advantage(gain, quadratic(1, 3000, 20, 7).data.observations[0]) for gain in GAINS],
    }
    for kind, gains in true.items():
        judge = kind(**SMALL)
        found = judge.finding(one)
        assert (np.abs(found.gain - gains) < 3.5 * found.error).all()
        assert (judge.bound(found) > 0).tolist() == [True, False]
        again = judge.finding(one)
        np.testing.assert_array_equal(found.gain, again.gain)  # the same draws, whenever it is asked
        same = judge.finding(one._replace(policy=one.reference))
        np.testing.assert_array_equal(same.gain, np.zeros(2))
        assert (judge.bound(same) <= 0).all()
