"""Episodes of goal-conditioned data: what is observed, where they end, and in which maze they are evaluated."""

import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from pogospec.data.columns import Episode
from pogospec.data.episodes import join
from pogospec.data.sources.minari import task_in
from pogospec.data.tasks import Task, task_of
from pogospec.data.tasks.goals import Goals, entries
from pogospec.data.tasks.references import reference_for
from pogospec.errors import DataError

SPACE = Dict(
    {name: Box(-1, 1, (size,)) for name, size in (("achieved_goal", 2), ("desired_goal", 2), ("observation", 3))}
)


def episode(xs, goals, truncated=True):
    """A walk along x towards goals on the same line; numbered actions and rewards."""
    length = len(xs) - 1
    line = lambda values: np.stack([np.asarray(values, float), np.zeros(length + 1)], 1)  # noqa: E731
    observations = {
        "achieved_goal": line(xs),
        "desired_goal": line(goals),
        "observation": np.arange(3.0 * (length + 1)).reshape(-1, 3),
    }
    end = np.arange(length) == length - 1
    actions, rewards = np.arange(length)[:, None] / 10, np.arange(length, dtype=float)
    return Episode(observations, actions, rewards, np.zeros(length, bool), end & truncated)  # type: ignore[arg-type]


def columns(goals, *episodes):
    return join(piece for one in episodes for piece in goals.pieces(one))


def test_an_episode_ends_at_its_goal_and_what_follows_there_is_left_out():
    goals = Goals(SPACE, None)
    found = columns(goals, episode([0, 1, 2, 2.1, 3, 2], [2.2] * 6), episode([0, 1, 0], [2.2] * 3))
    np.testing.assert_array_equal(found.rewards, [0, 1, 0, 1])
    np.testing.assert_array_equal(found.terminated, [0, 1, 0, 0])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 1])
    np.testing.assert_array_equal(found.observations[:2], [[0, 0, 0, 1, 2], [1, 0, 3, 4, 5]])
    assert found.next_observations is not None
    np.testing.assert_array_equal(found.next_observations[1], [2, 0, 6, 7, 8])
    assert (goals.reached, goals.left, goals.logged) == (1, 3, 2)
    assert "3 rows" in goals.notes()[1]


def test_a_new_goal_starts_a_new_episode_which_observes_it_from_its_first_step():
    shown = ("desired_goal", "achieved_goal")
    found = columns(Goals(SPACE, shown), episode([0, 1, 2, 3, 4, 5], [9, 2, 2, 4, 4, 8]))
    np.testing.assert_array_equal(found.observations[:, [0, 2]], [[2, 0], [2, 1], [4, 2], [4, 3], [8, 4]])
    assert found.next_observations is not None
    np.testing.assert_array_equal(found.next_observations[:, [0, 2]], [[2, 1], [2, 2], [4, 3], [4, 4], [8, 5]])
    np.testing.assert_array_equal(found.terminated, [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(found.truncated, [0, 0, 0, 0, 1])


def test_entries_by_default_and_by_choice():
    assert entries(SPACE, None) == {"achieved_goal": 2, "observation": 3}
    assert list(entries(SPACE, ("observation", "desired_goal"))) == ["observation", "desired_goal"]
    notes = Goals(SPACE, ("observation",)).notes()
    assert notes == ("observed: observation (3); not achieved_goal (2), desired_goal (2): data.observe chooses",)


@pytest.mark.parametrize(
    ("observe", "words"),
    [
        (
            ("observatoin",),
            r"found \[observatoin\], allowed achieved_goal, .*did you mean observation",
        ),
        (("observation", "observation"), "each at most once"),
        ((), "one at least"),
    ],
)
def test_entries_that_are_not_there(observe, words):
    with pytest.raises(DataError, match=f"^data.observe: .*{words}"):
        entries(SPACE, observe)


def test_a_dict_without_goals_needs_a_choice():
    space = Dict({"image": Box(0, 1, (4, 4)), "joints": Box(0, 1, (4,)), "mode": Discrete(3)})
    with pytest.raises(DataError, match="without achieved_goal and observation; allowed joints"):
        entries(space, None)
    assert entries(space, ("joints",)) == {"joints": 4}


def test_tasks_are_text_and_back():
    task = Task("AntMaze_UMaze-v4", {"maze_map": [[1, "r"]]}, ("observation",))
    assert task_of(str(task)) == task
    assert str(task_of("Hopper-v4")) == "Hopper-v4"


def metadata(own, other=None, name="AntMaze_UMaze-v4", **more):
    def spec(maze):
        return json.dumps({"id": name, "max_episode_steps": 700, "kwargs": {"maze_map": maze, "reset_target": False}})

    return {"env_spec": spec(own)} | ({} if other is None else {"eval_env_spec": spec(other)}) | more


OPEN, TURNED = [[0, 0], [1, 0]], [["r", "g"], [0, 1]]
FITTING, FIXED = [["g", "r"], [1, 0]], [["r", "g"], [1, 0]]


@pytest.mark.parametrize(
    ("own", "other", "wanted"),
    [
        (OPEN, FITTING, FITTING),  # its walls are the data's
        (OPEN, TURNED, FITTING),  # mirrored, as Minari's umaze sets have it
        (OPEN, [["r", 1], ["g", 1]], OPEN),
        (OPEN, None, OPEN),
        (FIXED, FITTING, FIXED),  # the goal of the data
    ],
)
def test_an_antmaze_is_evaluated_within_the_walls_of_its_data(own, other, wanted):
    text = task_in(metadata(own, other), None)
    assert text is not None
    assert task_of(text) == Task("AntMaze_UMaze-v4", {"maze_map": wanted, "max_episode_steps": 700})


def test_other_environments_are_their_ids():
    assert task_in({"env_spec": json.dumps({"id": "Hopper-v5", "max_episode_steps": 1000})}, None) == "Hopper-v5"
    assert task_in({}, None) is None


def test_what_scores_are_called():
    ours = "pogospec/D4RL_AntMaze_Large-v2"
    labels = {
        (ours, True): "D4RL-normalised",
        (ours, False): "success rate in %",
        ("AntMaze_Large-v4", True): "success rate in %",
        ("AntMaze_Large-v4", False): "success rate in %",
    }
    for (environment, of_d4rl), label in labels.items():
        found = reference_for(environment, of_d4rl)
        assert found is not None
        assert (found.label, found.score(0.75)) == (label, 75)
