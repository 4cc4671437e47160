"""Fitted Q evaluation against the values of a chain of states, which are solved for; what folds hold out."""

import jax
import numpy as np
import pytest
from problems import DISCOUNT, SMALL, chain, one_of

from pogospec.errors import UsageError
from pogospec.offline import Candidate, Settings, episodes_of, fitted
from pogospec.offline.fqe import initial, rows_of


@pytest.fixture(scope="module")
def read():
    """Two policies of the chain, the target and one that always takes the second action, by the way of runs."""
    problem = chain(1, 200, 10)
    data, following, first = one_of(problem, 0)
    both = Candidate(*(np.stack([part, np.ones_like(part)]) for part in (following, first)))
    episodes = episodes_of(data, 2)
    settings = Settings(**{**SMALL.__dict__, "updates": 600})
    told: list[float] = []
    return (
        problem,
        data,
        episodes,
        both,
        settings,
        fitted(settings, data, episodes, both, jax.random.key(0), tick=told.append),
        told,
    )


def test_the_value_of_the_chain_is_recovered_in_single_precision_by_all_policies_at_once(read):
    problem, _, _, _, _, reading, told = read
    error = reading.errors[0]
    assert 0.05 < error < 0.5
    assert abs(reading.values[0, 0] - problem.value) < 2.5 * error
    always = reading.values[1, 0]
    assert always != pytest.approx(reading.values[0, 0], abs=0.01)
    assert told[-1] == 1.0
    assert told == sorted(told)


def test_a_cut_is_no_end(read):
    """All episodes are cut after ten rows; where that counted as an end, values would be others by many errors."""
    problem, data, episodes, both, settings, reading, _ = read
    wrong = data._replace(terminated=np.maximum(data.terminated, data.truncated))
    one = Candidate(both.following[:1], both.first[:1])
    found = fitted(settings, wrong, episodes, one, jax.random.key(0))
    assert abs(found.values[0, 0] - problem.value) > 4 * reading.errors[0]


def test_rows_are_read_by_critics_that_have_not_seen_them(read):
    _, data, episodes, both, settings, reading, _ = read
    networks = jax.tree.map(lambda leaf: leaf[0], reading.networks)
    start = initial(settings, data, episodes, both.first[0], networks, reading.unit)
    assert start.mean() == pytest.approx(reading.plain[0], rel=1e-4)
    q, after = rows_of(settings, data, episodes, both.following[0], networks, reading.unit)
    assert (after[data.terminated == 1] == 0).all()
    assert np.corrcoef(data.rewards + DISCOUNT * after, q)[0, 1] > 0.8
    other = jax.tree.map(lambda leaf: leaf[::-1], networks)  # the critics of the other folds
    assert (initial(settings, data, episodes, both.first[0], other, reading.unit) != start).all()


def test_rewards_of_another_size_scale_the_value(read):
    _, data, episodes, both, settings, reading, _ = read
    one = Candidate(both.following[:1], both.first[:1])
    found = fitted(settings, data._replace(rewards=100 * data.rewards), episodes, one, jax.random.key(0))
    assert found.values[0, 0] == pytest.approx(100 * reading.values[0, 0], rel=0.02)


def test_folds_hold_whole_episodes_out_and_blocks_hold_all_rows():
    data = one_of(chain(1, 300, 7), 0)[0]
    episodes = episodes_of(data, 3)
    for fold, (rows, count) in enumerate(zip(episodes.rows, episodes.count, strict=True)):
        assert set(episodes.fold[episodes.of[rows[:count]]]) == {0, 1, 2} - {fold}
        assert (np.sort(rows) == np.arange(2100)).all()
    assert len(episodes.block_fold) == 3 * 64
    assert (episodes.block_fold[episodes.block] == episodes.fold).all()
    inside = episodes.pieces < 2100
    assert (np.sort(episodes.pieces[inside]) == np.arange(2100)).all()
    owner = np.repeat(episodes.piece_block[:, None], episodes.pieces.shape[1], 1)
    assert (owner[inside] == episodes.block[episodes.of[episodes.pieces[inside]]]).all()
    assert (episodes.time == np.tile(np.arange(7), 300)).all()


@pytest.mark.parametrize(
    ("count", "folds", "words"),
    [
        (1, 2, "found 1 episode in the data, allowed 4 or more"),
        (5, 3, "found 5 episodes"),
        (9, 1, "no episode is held out"),
    ],
)
def test_data_without_held_out_episodes_are_refused(count, folds, words):
    with pytest.raises(UsageError, match=words):
        episodes_of(one_of(chain(1, count, 3), 0)[0], folds)
