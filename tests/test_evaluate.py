"""Rollouts: the same episodes for every policy, repeatable returns, finished episodes left alone, clear refusals."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from pogospec.data.gym import quiet
from pogospec.errors import DataError
from pogospec.training.rollout import Evaluator
from pogospec.types import Space


@pytest.fixture
def reacher():
    evaluator = Evaluator("Reacher-v4", episodes=3, seed=5)
    yield evaluator
    evaluator.close()


def push(observations, time):
    """The first policy does nothing, the second one pushes."""
    actions = np.zeros((*observations.shape[:2], 2), np.float32)
    actions[1:] = 0.5 * np.cos(time)
    return actions


def test_two_policies_see_the_same_episodes_every_time(reacher):
    starts = []

    def act(observations, time):
        if time == 0:
            starts.append(observations.copy())
        return push(observations, time)

    first, second = reacher.rollout(act, 2), reacher.rollout(act, 2)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(starts[0][0], starts[0][1])
    assert starts[0].dtype == np.float64
    assert first.shape == reacher.lengths.shape == (2, 3)
    assert (reacher.lengths == 50).all()
    assert (first[0] != first[1]).all()
    np.testing.assert_array_equal(reacher.rollout(lambda o, t: push(o, t)[:1], 1)[0], first[0])


def test_returns_are_those_of_one_environment_stepped_by_hand():
    with quiet():
        env = gymnasium.make("Hopper-v4")
        returns, lengths = [], []
        for seed in (2, 3):
            env.reset(seed=seed)
            total, steps, done = 0.0, 0, False
            while not done:
                _, reward, terminated, truncated, _ = env.step(np.full(3, 0.3, np.float32))
                total, steps, done = total + float(reward), steps + 1, terminated or truncated
            returns.append(total)
            lengths.append(steps)
        env.close()
    evaluator = Evaluator("Hopper-v4", episodes=2, seed=2)
    scale = np.array([0.3, -0.3], np.float32)[:, None, None]
    found = evaluator.rollout(lambda o, t: scale * np.ones((2, 2, 3), np.float32), 2)
    np.testing.assert_array_equal(found[0], returns)
    np.testing.assert_array_equal(evaluator.lengths[0], lengths)
    assert len(set(evaluator.lengths.ravel())) > 1
    evaluator.close()


def test_actions_are_clipped_and_a_broken_policy_scores_nan(reacher):
    far = reacher.rollout(lambda o, t: np.full((1, 3, 2), 7.0), 1)
    np.testing.assert_array_equal(far, reacher.rollout(lambda o, t: np.ones((1, 3, 2)), 1))

    def breaking(observations, time):
        actions = push(observations, time)
        if time == 10:
            actions[1, 2] = np.nan
        return actions

    returns = reacher.rollout(breaking, 2)
    np.testing.assert_array_equal(np.isnan(returns), [[0, 0, 0], [0, 0, 1]])
    assert reacher.lengths[1, 2] == 10


def test_what_cannot_be_evaluated_is_refused(reacher):
    with pytest.raises(DataError, match="Nowhere-v0.*data.environment"):
        Evaluator("Nowhere-v0", 1, 0).check()
    with pytest.raises(DataError, match="allowed Box"):
        Evaluator("CartPole-v1", 1, 0).check()
    with pytest.raises(DataError, match="has 11 observations and 2 actions, the data have 4 and 2"):
        Evaluator("Reacher-v4", 1, 0, Space(4, 2, (-1.0, -1.0), (1.0, 1.0))).check()
    with pytest.raises(DataError, match=r"needs actions of shape \(1, 3, 2\)"):
        reacher.rollout(lambda o, t: np.zeros((1, 3, 5)), 1)


def test_nothing_is_printed_and_settings_are_restored(capsys, recwarn):
    level = gymnasium.logger.min_level
    evaluator = Evaluator("Reacher-v4", 1, 0)
    evaluator.rollout(lambda o, t: np.zeros((1, 1, 2)), 1)
    evaluator.close()
    assert gymnasium.logger.min_level == level
    assert not recwarn.list
    assert capsys.readouterr() == ("", "")


def test_mujoco_neither_writes_on_the_screen_nor_into_a_file(tmp_path):
    code = (
        "from pogospec.training.rollout import Evaluator; from pogospec.types import Space; "
        "Evaluator('HalfCheetah-v4', 1, 0, Space(17, 6, (-1.0,) * 6, (1.0,) * 6)).check()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
