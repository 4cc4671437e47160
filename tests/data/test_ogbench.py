"""OGBench from its files to a score: rows, rewards and completions of a task, its environments, the command line."""

import json
import re
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import trips
from commands import pogospec

from pogospec import data
from pogospec.data.catalog import at_hand
from pogospec.data.gym import quiet
from pogospec.data.inspection import examine
from pogospec.data.sources import ogbench as source
from pogospec.data.sources.base import NotAtHand
from pogospec.data.tasks import make, singletask
from pogospec.errors import DataError, NotInstalled, TaskError, UsageError
from pogospec.training.rollout import Evaluator

SOCCER = "ogbench/antsoccer-arena-navigate-singletask"


@pytest.fixture
def package():
    """The package of OGBench, which is an extra."""
    pytest.importorskip("dm_control", reason="dm_control is not installed: the extra ogbench")
    return pytest.importorskip("ogbench", reason="ogbench is not installed: the extra ogbench")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of OGBench's files."""
    monkeypatch.setenv("POGOSPEC_DATA_DIR", str(tmp_path / "ours"))
    monkeypatch.setenv("OGBENCH_DATASET_DIR", str(tmp_path))
    return tmp_path


def soccer(folder, **changes):
    """Two trips of an ant, four rows and three, whose ball lies at the goal of task 4 in rows 1, 3 and 5."""
    rows = np.arange(7, dtype=np.float32)
    qpos = np.full((7, 22), 9, np.float32)
    qpos[:, 15:17] = [[20, 20], [0.3, 20.4], [0, 20.6], [0, 19.5], [20, 0], [-0.5, 20], [4, 16]]
    columns = {
        "observations": np.stack([rows] * 42, 1),
        "actions": np.stack([rows / 10] * 8, 1),
        "terminals": np.array([0, 0, 0, 1, 0, 0, 1], bool),
        "qpos": qpos,
        "qvel": np.zeros((7, 20), np.float32),
    }
    path = folder / "antsoccer-arena-navigate-v0.npz"
    np.savez(path, **{name: column for name, column in (columns | changes).items() if column is not None})
    return path


def test_rows_rewards_and_completions_of_a_task(folder):
    path = soccer(folder)
    for name in (f"{SOCCER}-v0", f"{SOCCER}-task4-v0"):
        read = data.read(name)
        assert (read.file, read.faults()) == (path, [])
        assert read.environment == "pogospec/OGBench_antsoccer-arena-singletask-task4-v0"
        assert read.reference is not None
        assert read.reference[:2] == (0, 1)
        assert read.reference.label == "success rate in %"
        assert read.notes == (
            "2 of 2 trajectories complete task 4 somewhere; all 2 rows that do are terminations, and are trained on as "
            "OGBench's loader has them",
        )
        facts = examine(read)
        assert facts["returns"]["score"] is None
        assert (facts["episodes"]["count"], facts["rows"], facts["transitions"]) == (2, 7, 5)
        rows = read.dataset().transitions
        np.testing.assert_array_equal(rows.observations[:, 0], [0, 1, 2, 4, 5])
        np.testing.assert_array_equal(rows.next_observations[:, 0], [1, 2, 3, 5, 6])
        np.testing.assert_allclose(rows.next_actions[:, 0], [0.1, 0.2, 0.3, 0.5, 0.6], rtol=1e-6)
        np.testing.assert_array_equal(rows.rewards, [-1, 0, -1, -1, 0])
        np.testing.assert_array_equal(rows.terminated, [0, 1, 0, 0, 1])
        np.testing.assert_array_equal(rows.truncated, 0)
        np.testing.assert_array_equal(rows.next_action_valid, 1)
        np.testing.assert_array_equal(rows.episodes, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(data.load(f"{SOCCER}-task3-v0").transitions.rewards, [0, -1, -1, -1, -1])


def test_the_compact_format_has_the_same_rows(folder):
    soccer(folder)
    wanted = data.load(f"{SOCCER}-v0").transitions
    soccer(folder, terminals=np.array([0, 0, 1, 1, 0, 1, 1]), valids=np.array([1, 1, 1, 0, 1, 1, 0], np.float32))
    for one, other in zip(wanted, data.load(f"{SOCCER}-v0").transitions, strict=True):
        np.testing.assert_array_equal(one, other)
    soccer(folder, terminals=np.zeros(7), valids=np.ones(7))  # a file that was cut: its last row has no next one
    np.testing.assert_array_equal(data.load(f"{SOCCER}-v0").transitions.observations[:, 0], np.arange(6))


def test_rewards_of_manipulation_count_what_is_not_right():
    cube = np.zeros((3, 28), np.float32)
    cube[:, 14:17], cube[:, 21:24] = (0.35, 0.1, 0.02), (0.5, 0.1, 0.02)
    cube[1, 14], cube[2, 14], cube[2, 23] = 0.389, 0.391, 0.07
    reward, done = singletask.rewarded("cube-double", 2, {"qpos": cube})
    np.testing.assert_array_equal(reward, [0, 0, -2])
    np.testing.assert_array_equal(done, [True, True, False])
    scene = np.zeros((3, 25), np.float32)
    scene[:, 14:17], scene[:, 23], scene[:, 24] = (0.4, 0.15, 0.02), -0.13, 0.03
    scene[1, 23:] = -0.05, 0.05
    found = {"qpos": scene, "button_states": np.array([[1, 1], [1, 0], [0, 0]])}
    reward, done = singletask.rewarded("scene", 3, found)
    np.testing.assert_array_equal(reward, [0, -3, -2])
    np.testing.assert_array_equal(done, [True, False, False])
    lights = np.array([[1, 1, 0, 1, 0, 1, 0, 1, 1], [0, 0, 1, 0, 1, 0, 1, 0, 0]])
    reward, done = singletask.rewarded("puzzle-3x3", 1, {"button_states": lights})
    np.testing.assert_array_equal(reward, [0, -9])
    np.testing.assert_array_equal(done, [True, False])


def test_ids_are_those_of_ogbench():
    assert len(source.IDS) == len(set(source.IDS)) == 47 * 6  # 47 sets that observe states
    assert source.parts("ogbench/puzzle-4x5-noisy-singletask-v0") == ("puzzle-4x5", "noisy", 2)
    assert source.parts("ogbench/scene-play-singletask-task5-v0") == ("scene", "play", 5)
    assert source.file_name("ogbench/scene-play-singletask-task5-v0") == "scene-play-v0.npz"
    assert singletask.default_task("puzzle-3x3") == 4


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "antmaze-large-navigate-v0",
            "has goals in the place of rewards; did you mean ogbench/antmaze-large-navigate-si",
        ),
        ("visual-cube-single-play-singletask-v0", "observes pixels, which no network here takes"),
        ("powderworld-easy-play-v0", "observes pixels"),
        ("antmaze-larg-navigate-singletask-v0", "did you mean ogbench/antmaze-large-navigate-singletask-v0"),
        ("antmaze-giant-explore-singletask-v0", "no OGBench set 'ogbench/antmaze-giant-explore-singletask-v0'"),
        ("cube-single-play-singletask-task6-v0", "the same with -task1 to -task5"),
        ("", "ENVIRONMENT (POLICY): pointmaze-medium (navigate, stitch); pointmaze-large"),
    ],
)
def test_ids_that_there_are_not(name, told):
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        data.find(f"ogbench/{name}")
    assert not isinstance(caught.value, NotAtHand)


def test_a_missing_file_is_named_with_its_place(folder):
    where = f"get {source.PLACE}/scene-play-v0.npz and put it at {folder}/scene-play-v0.npz (or at {folder}/ours/scene"
    with pytest.raises(NotAtHand, match=re.escape(where)):
        data.load("ogbench/scene-play-singletask-task3-v0")
    with pytest.raises(UsageError, match=re.escape(f"curl --create-dirs -o {folder}/scene-play-v0.npz https://rail")):
        source.OGBench().fetch("ogbench/scene-play-singletask-task3-v0")
    soccer(folder)
    assert {entry.dataset for entry in at_hand() if entry.source == "OGBench"} == {
        f"{SOCCER}{task}-v0" for task in ("", *(f"-task{number}" for number in range(1, 6)))
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"qpos": None},
            "missing qpos; found observations, actions, terminals, qvel, allowed a file as OGBench has it",
        ),
        ({"qpos": np.zeros((7, 15))}, "qpos has the shape [7, 15], allowed [7, 17 or more]"),
        ({"qpos": np.zeros((6, 22))}, "qpos has the shape [6, 22], allowed [7, 17 or more]"),
        ({"terminals": np.zeros((7, 1))}, "terminals has the shape [7, 1], allowed [7]"),
        ({"terminals": np.full(7, 2)}, "timeouts holds 2 in row 0, allowed 0 and 1"),
        ({"observations": np.zeros(7)}, "observations has the shape [7], allowed [7, 1 or more]"),
    ],
)
def test_damaged_files_are_told(folder, changes, told):
    soccer(folder, **changes)
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        data.load(f"{SOCCER}-v0")
    assert str(caught.value).startswith(f"data.dataset: '{SOCCER}-v0': {folder}")


def test_without_the_package_data_are_read_and_evaluation_says_what_to_install(folder, monkeypatch):
    soccer(folder)
    for size in ("arena", "medium"):
        monkeypatch.delitem(gymnasium.registry, f"pogospec/OGBench_antsoccer-{size}-singletask-task2-v0", raising=False)
    monkeypatch.setitem(sys.modules, "ogbench", None)
    read = data.read(f"{SOCCER}-task2-v0")
    with pytest.raises(NotInstalled, match=r'pip install "pogospec\[ogbench\]"'), quiet():
        make("pogospec/OGBench_antsoccer-medium-singletask-task2-v0")
    assert examine(read)["ok"]
    assert "pogospec[ogbench]" in examine(read)["notes"][0]


def test_real_trips_are_read_as_ogbench_reads_them(folder, package):
    from ogbench.utils import make_env_and_datasets

    path = folder / trips.FILE
    trips.collect(path)
    np.savez(folder / trips.FILE.replace(".npz", "-val.npz"), **np.load(path))
    with quiet():
        name = trips.ID.removeprefix("ogbench/")
        made: Any = make_env_and_datasets(name, dataset_dir=str(folder))
        env, theirs, _ = made
        env.close()
    ours = data.load(trips.ID)
    for column in ("observations", "actions", "next_observations", "rewards"):
        np.testing.assert_array_equal(getattr(ours.transitions, column), theirs[column])
    np.testing.assert_array_equal(ours.transitions.terminated, 1 - theirs["masks"])
    assert ours.transitions.terminated.sum() > 10
    np.testing.assert_array_equal(
        np.flatnonzero(np.diff(ours.transitions.episodes)), np.flatnonzero(theirs["terminals"])[:-1]
    )
    assert (ours.environment, ours.space[:2]) == (trips.ENVIRONMENT, (2, 2))


def test_the_score_is_the_rate_of_success(folder, package):
    evaluator = Evaluator(trips.ENVIRONMENT, 3, 5)

    def act(observations, time):
        actions = np.zeros((1, 3, 2), np.float32)
        for number in (0, 2):  # the second one stands still
            env = evaluator._environments(3).envs[number]
            actions[0, number] = trips.towards(env, env.unwrapped.cur_goal_xy)
        return actions

    before: Any = np.random.get_state()
    first = evaluator.rollout(act, 1), evaluator.lengths
    again = evaluator.rollout(act, 1), evaluator.lengths
    after: Any = np.random.get_state()
    np.testing.assert_array_equal(after[1], before[1])
    evaluator.close()
    np.testing.assert_array_equal(first[0], [[1, 0, 1]])
    np.testing.assert_array_equal(first[1][0, 1], 1000)
    assert 10 < first[1][0, 0] < 400
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    with quiet():  # OGBench's own: -1 a step, and nothing at the goal
        env = make("pointmaze-medium-singletask-task4-v0")
        env.reset(seed=0)
        assert env.step(np.zeros(2, np.float32))[1] == -1
        env.unwrapped.set_xy(env.unwrapped.cur_goal_xy)
        assert env.step(np.zeros(2, np.float32))[1:3] == (0, True)
        env.close()
        with pytest.raises(TaskError, match="OGBench_pointmaze-small-singletask-v0"):
            make("pogospec/OGBench_pointmaze-small-singletask-v0")


@pytest.mark.exhaustive("trains; tests/data/test_sources.py does so too")
def test_from_the_command_line(folder, package, tmp_path):
    trips.collect(folder / trips.FILE)
    facts = json.loads(pogospec("data", "inspect", trips.ID, "--json").stdout)
    assert (facts["ok"], facts["obs_dim"], facts["episodes"]["count"]) == (True, 2, len(trips.TRIPS))
    spec = tmp_path / "spec.yaml"
    small = "policy: {hidden: [4]}\nschedule: {steps: [{learn: [policy], updates: 2}]}\n"
    limit = "evaluate: {every: 2, episodes: 2}\ntrain: {batch_size: 4}\n"
    spec.write_text(f"extends: bc\ndata: {{dataset: {trips.ID}, max_episode_steps: 5}}\n{small}{limit}")
    pogospec("run", spec, "--out", tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["environment"] == f'{trips.ENVIRONMENT} {{"max_episode_steps": 5}}'
    assert (manifest["reference"]["low"], manifest["reference"]["high"]) == (0, 1)


def near(environment, task, draw, qpos):
    """States [rows, ...] at and around the goal of a task, of an environment whose qpos has so many numbers."""
    family, _, size = environment.partition("-")
    places = {"qpos": draw.normal(size=(qpos_rows := 2000, qpos))}
    rates = draw.choice([0.0, 0.02, 0.1], size=(qpos_rows, 1))
    if family in ("puzzle", "scene"):
        lights = singletask.PUZZLES[size][task] if size else singletask.SCENES[task][1]
        goal = np.array([int(light) for light in lights])
        flipped = draw.random((qpos_rows, len(goal))) < 4 * rates
        places["button_states"] = np.where(flipped, 1 - goal, goal)
    if family in ("cube", "scene"):
        cubes = singletask.CUBES[size][task] if size else (singletask.SCENES[task][0],)
        for number, cube in enumerate(cubes):
            begin = 14 + 7 * number
            places["qpos"][:, begin : begin + 3] = np.array(cube) + rates * draw.normal(size=(qpos_rows, 3))
        if not size:
            places["qpos"][:, 23:25] = np.array(singletask.SCENES[task][2:]) + draw.normal(size=(qpos_rows, 2)) * 0.03
    elif family != "puzzle":
        begin = 15 * (family == "antsoccer")
        goals = (singletask.SOCCER if begin else singletask.MAZES)[size]
        places["qpos"][:, begin : begin + 2] = np.array(goals[task]) + draw.normal(size=(qpos_rows, 2)) * 0.6
    places["qpos"] = places["qpos"].astype(np.float32)
    return places


@pytest.mark.exhaustive("makes 110 environments")
@pytest.mark.parametrize("environment", source.ENVIRONMENTS)
def test_goals_and_rewards_are_those_of_the_package(package, environment):
    from ogbench.relabel_utils import relabel_dataset

    draw, shares = np.random.default_rng(0), []
    with quiet():
        default: Any = gymnasium.make(f"{environment}-singletask-v0").unwrapped
        assert singletask.default_task(environment) == default._reward_task_id
        for task in range(1, 6):
            env = gymnasium.make(f"{environment}-singletask-task{task}-v0")
            env.reset(seed=0)
            inner: Any = env.unwrapped
            found = near(environment, task - 1, draw, len(inner.data.qpos))
            theirs = dict(found)
            relabel_dataset(f"{environment}-singletask-v0", env, theirs)
            rewards, done = singletask.rewarded(environment, task, found)
            np.testing.assert_array_equal(rewards, theirs["rewards"])
            np.testing.assert_array_equal(done, theirs["masks"] == 0)
            shares.append(done.mean())
            env.close()
    assert 0.05 < min(shares) < max(shares) < 0.95


@pytest.mark.exhaustive("builds models of robot arms")
@pytest.mark.parametrize("name", ["cube-double", "scene", "puzzle-4x4", "antmaze-teleport", "humanoidmaze-medium"])
def test_an_episode_is_decided_by_its_seed_and_ends_with_success(package, name):
    with quiet():
        one, other = (make(f"pogospec/OGBench_{name}-singletask-task4-v0") for _ in range(2))
        push = np.random.default_rng(0).uniform(-1, 1, (20, *one.action_space.shape)).astype(np.float32)

        def play(env, seed):
            return np.stack([env.reset(seed=seed)[0], *(env.step(action)[0] for action in push)])

        first = play(one, 3)
        np.testing.assert_array_equal(first, play(other, 3))
        assert np.abs(first - play(one, 4)).max() > 1e-3
        np.testing.assert_array_equal(first, play(one, 3))
        if name == "cube-double":
            one.reset(seed=0)
            inner = one.unwrapped
            for number, cube in enumerate(singletask.CUBES["double"][3]):
                inner.data.joint(f"object_joint_{number}").qpos[:3] = cube
            told = [one.step(np.zeros(5, np.float32))[1:3] for _ in range(2)]
            assert told == [(0, False), (1, True)]
        one.close()
        other.close()
