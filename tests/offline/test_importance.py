"""Importance sampling against enumerated trajectories and against loops over episodes."""

import itertools
import math

import numpy as np
import pytest
from problems import BEHAVIOR, DEATHS, DISCOUNT, MEANS, MOVES, STARTS, TARGET, chain

from pogospec.offline import episodes_of
from pogospec.offline.episodes import Episodes
from pogospec.offline.importance import importance, padded
from pogospec.offline.interval import estimate
from pogospec.types import Transitions


def made(lengths) -> Episodes:
    """Episodes of given lengths; what importance sampling does not ask for is left out."""
    of = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum([0, *lengths[:-1]])
    return Episodes(of, np.arange(len(of)) - first[of], first, *[None] * 7)


def trajectories():
    """All trajectories of two steps: chance under the behaviour, log ratio, rewards, ends, states and actions."""
    for s, a in itertools.product(range(3), range(2)):
        chance = STARTS[s] * (BEHAVIOR[s] if a else 1 - BEHAVIOR[s])
        ratio = (TARGET[s] if a else 1 - TARGET[s]) / (BEHAVIOR[s] if a else 1 - BEHAVIOR[s])
        if DEATHS[a, s] > 0:
            yield chance * DEATHS[a, s], [ratio], [MEANS[a, s]], [1.0], [s], [a], None
        for t in range(3):
            for b in range(2):
                go = chance * (1 - DEATHS[a, s]) * MOVES[a, s, t] * (BEHAVIOR[t] if b else 1 - BEHAVIOR[t])
                then = (TARGET[t] if b else 1 - TARGET[t]) / (BEHAVIOR[t] if b else 1 - BEHAVIOR[t])
                dead = DEATHS[b, t]
                rewards, places, acts = [MEANS[a, s], MEANS[b, t]], [s, t], [a, b]
                if dead > 0:
                    yield go * dead, [ratio, then], rewards, [0.0, 1.0], places, acts, None
                for u in range(3):
                    yield go * (1 - dead) * MOVES[b, t, u], [ratio, then], rewards, [0.0, 0.0], places, acts, u


@pytest.fixture(scope="module")
def enumerated():
    """All of them as episodes with their chances as counts, and the exact value; V of a state that is cut is `ends`."""
    found = list(trajectories())
    ends = np.array([3.0, -2.0, 5.0])
    policy = np.stack([1 - TARGET, TARGET])
    v1 = (policy * (MEANS + DISCOUNT * (1 - DEATHS) * np.einsum("ast,t->as", MOVES, ends))).sum(0)
    v0 = (policy * (MEANS + DISCOUNT * (1 - DEATHS) * np.einsum("ast,t->as", MOVES, v1))).sum(0)
    return found, ends, float(STARTS @ v0)


def ask(enumerated, q_of, v_of, counts=None):
    """wis and dr of enumerated trajectories; `q_of` [action, state] and `v_of` [time, state]: what a critic says."""
    found, ends, _ = enumerated
    lengths = [len(one[1]) for one in found]
    after, q = [], []
    for _, _, _, over, places, acts, last in found:
        following = [v_of[1][place] for place in places[1:]] + ([] if last is None else [ends[last]])
        after += [0.0 if end else value for end, value in zip(over, [*following, 0.0], strict=False)]
        q += [q_of[time][act, place] for time, (act, place) in enumerate(zip(acts, places, strict=True))]
    flat = [np.concatenate([one[i] for one in found]) for i in (1, 2, 3)]
    initial = np.array([v_of[0][one[4][0]] for one in found])
    chances = np.array([[one[0] for one in found]]) if counts is None else counts
    return importance(
        np.log(flat[0]), flat[1], np.array(q), np.array(after), flat[2], initial, made(lengths), DISCOUNT, chances
    )


def test_all_trajectories_by_their_chance_give_the_exact_value(enumerated):
    assert sum(one[0] for one in enumerated[0]) == pytest.approx(1)
    draw = np.random.default_rng(0)
    q, v = draw.normal(size=(2, 2, 3)), draw.normal(size=(2, 3))
    v = np.einsum("as,tas->ts", np.stack([1 - TARGET, TARGET]), q)  # V = E Q, or what is wrong does not cancel
    found = ask(enumerated, q, v)
    assert found["wis"].values[0] == pytest.approx(enumerated[2], rel=1e-12)
    assert found["dr"].values[0] == pytest.approx(enumerated[2], rel=1e-12)


def test_few_episodes_are_as_a_loop_over_them_says(enumerated):
    """Three episodes, one drawn twice and one not at all, written out from the formulas."""
    found, ends, _ = enumerated
    counts = np.zeros((2, len(found)))
    chosen = [0, 7, 20, 31]
    counts[0, chosen], counts[1, chosen[:3]] = 1, (2, 1, 1)
    q, v = np.arange(12.0).reshape(2, 2, 3) / 7, np.arange(6.0).reshape(2, 3) / 5
    said = ask(enumerated, q, v, counts)
    for row, drawn in enumerate(([0, 7, 20, 31], [0, 0, 7, 20])):
        wis, dr = 0.0, np.mean([v[0][found[i][4][0]] for i in drawn])
        for t in range(2):
            weights = [math.prod(found[i][1][: t + 1]) for i in drawn]
            for weight, i in zip(weights, drawn, strict=True):
                _, ratios, rewards, over, places, acts, last = found[i]
                if t >= len(ratios):
                    continue
                end = 0.0 if over[t] else v[1][places[t + 1]] if t + 1 < len(places) else ends[last]
                share = DISCOUNT**t * weight / sum(weights)
                wis += share * (rewards[t] + (DISCOUNT * end if t == len(ratios) - 1 else 0.0))
                dr += share * (rewards[t] + DISCOUNT * end - q[t][acts[t], places[t]])
        assert said["wis"].values[row] == pytest.approx(wis)
        assert said["dr"].values[row] == pytest.approx(dr)


def test_equal_policies_leave_all_episodes_and_large_ratios_do_not_overflow():
    problem = chain(1, 30, 10)
    data = Transitions(*(column[0] for column in problem.data))
    episodes, zero = episodes_of(data, 2), np.zeros(300)
    counts, start = np.ones((1, 30)), np.zeros(30)
    rest = data.terminated, start, episodes, DISCOUNT, counts
    same = importance(zero, data.rewards, zero, zero, *rest)
    assert same["wis"].effective == pytest.approx(30)
    assert same["wis"].values[0] == pytest.approx(padded(data.rewards, episodes).mean(0) @ DISCOUNT ** np.arange(10))
    wild = importance(400 * np.random.default_rng(0).normal(size=300), data.rewards, zero, zero, *rest)
    assert 1 <= wild["wis"].effective < 3
    assert np.isfinite(wild["dr"].values).all()


def test_an_interval_is_students_about_the_first_value_and_joins_the_gap():
    values = np.array([5.0, 4.0, 6.0])
    plain = estimate(values, 4, 0.9)
    assert (plain.value, plain.error) == (5.0, math.sqrt(2))
    assert plain.high - 5 == pytest.approx(2.131847 * math.sqrt(2), rel=1e-6)
    assert 5 - plain.low == pytest.approx(plain.high - 5)
    assert estimate(values, 4, 0.9, gap=-1.0).error == pytest.approx(math.sqrt(3))
