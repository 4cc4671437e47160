"""AntMaze from data file to score: real episodes in Minari's and in D4RL's layout, D4RL's mazes, the command line."""

import json

import mazes
import numpy as np
import pytest
from commands import pogospec, sets, started

from pogospec import data
from pogospec.data.catalog import at_hand
from pogospec.data.gym import quiet
from pogospec.data.inspection import examine
from pogospec.data.tasks import make, task_of
from pogospec.errors import DataError
from pogospec.training.rollout import Evaluator

TINY = f'AntMaze_UMaze-v4 {{"maze_map": {json.dumps(mazes.MAP)}, "max_episode_steps": {mazes.STEPS}}}'
SHOWN = "[achieved_goal, observation, desired_goal]"
MAPS = {
    "UMaze": ("#####", "#r..#", "###.#", "#g..#", "#####"),
    "Medium": ("########", "#r.##..#", "#..#...#", "##...###", "#..#...#", "#.#..#.#", "#...#.g#", "########"),
    "Large": (
        "############", "#r...#.....#", "#.##.#.#.#.#", "#......#...#", "#.####.###.#", "#..#.#.....#", "##.#.#.#.###",
        "#..#...#.g.#", "############",
    ),
}  # fmt: skip
"""D4RL's mazes of `maze_env.py`, rows from y = 0 on."""


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    """The collected episodes, in the folder that the environment variables name: Minari's layout and D4RL's."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("MINARI_DATASETS_PATH", "POGOSPEC_DATA_DIR", "D4RL_DATASET_DIR"):
            patch.setenv(variable, str(folder))
        mazes.collect()
        found = mazes.logged()
        mazes.write_d4rl(folder / mazes.FILE, found)
        yield found


def firsts(episodes):
    """Steps of each episode up to the goal, and whether it is reached."""
    for episode in episodes:
        reached = np.flatnonzero(episode.rewards == 1)
        yield episode, (reached[0] + 1, True) if len(reached) else (len(episode.rewards), False)


def test_minari_rows_are_those_up_to_the_goal_observed_as_d4rl_does(episodes):
    found = data.load(mazes.ID)
    row, ends = 0, []
    for episode, (length, reached) in firsts(episodes):
        whole = np.concatenate([episode.observations["achieved_goal"], episode.observations["observation"]], 1)
        here = slice(row, row + length)
        np.testing.assert_array_equal(found.transitions.observations[here], whole[:length].astype(np.float32))
        np.testing.assert_array_equal(found.transitions.next_observations[here], whole[1 : length + 1].astype("f4"))
        np.testing.assert_array_equal(found.transitions.actions[here], episode.actions[:length])
        np.testing.assert_array_equal(found.transitions.rewards[here], np.arange(1, length + 1) == length * reached)
        row += length
        ends.append((row - 1, reached))
    assert len(found.transitions.rewards) == row < sum(len(episode.rewards) for episode in episodes)
    assert {reached for _, reached in ends} >= {True}
    np.testing.assert_array_equal(np.flatnonzero(found.transitions.terminated), [end for end, good in ends if good])
    np.testing.assert_array_equal(np.flatnonzero(found.transitions.truncated), [end for end, good in ends if not good])
    np.testing.assert_array_equal(np.flatnonzero(found.transitions.next_action_valid == 0), [end for end, _ in ends])
    assert (found.environment, found.space[:2]) == (TINY, (29, 8))


def test_the_goal_is_observed_where_the_spec_says_so_in_data_and_evaluation(episodes):
    found = data.load(mazes.ID, None, ("achieved_goal", "observation", "desired_goal"))
    np.testing.assert_allclose(found.transitions.observations[0, 29:], episodes[0].observations["desired_goal"][1])
    assert found.environment is not None
    assert data.load(mazes.ID, "AntMaze_UMaze-v5", ("observation",)).environment == (
        'AntMaze_UMaze-v5 {"observe": ["observation"]}'
    )
    evaluator, seen = Evaluator(found.environment, 1, 7, found.space), []

    def idle(observations, time):
        seen.append(observations[0, 0].copy())
        return np.zeros((1, 1, 8))

    evaluator.rollout(idle, 1)
    with quiet():
        made = make(TINY)
        first = made.reset(seed=7)[0]
        np.testing.assert_array_equal(seen[0][:29], first)
        np.testing.assert_array_equal(seen[0][29:], made.unwrapped.goal)
        made.close()
    evaluator.close()


def test_d4rl_rows_are_those_of_its_own_loader(episodes):
    read = data.read(mazes.D4RL)
    columns = {name: getattr(read.columns, name).copy() for name in ("observations", "actions", "rewards", "truncated")}
    found = read.dataset()
    kept = [row for row in range(len(columns["rewards"]) - 1) if not columns["truncated"][row]]
    after = [row + 1 for row in kept]
    np.testing.assert_array_equal(found.transitions.observations, columns["observations"][kept])
    np.testing.assert_array_equal(found.transitions.next_observations, columns["observations"][after])
    np.testing.assert_array_equal(found.transitions.rewards, columns["rewards"][kept])
    np.testing.assert_array_equal(found.transitions.terminated, columns["rewards"][kept])
    np.testing.assert_array_equal(found.transitions.next_actions, columns["actions"][after])
    assert found.transitions.terminated.sum() > len(episodes)  # they go on at the goal
    assert found.transitions.episodes[-1] == len(episodes) - 1
    assert found.environment == "pogospec/D4RL_AntMaze_UMaze-v2"
    reached = sum(good for _, (_, good) in firsts(episodes))
    assert read.notes[0].startswith(f"{reached} of {len(episodes)} trajectories reach a goal; all ")


def test_an_episode_ends_at_the_goal_with_a_return_of_one_whatever_the_data_did():
    wilful = TINY.replace("UMaze-v4", "UMazeDense-v4").replace("{", '{"continuing_task": true, ')
    evaluator, draw = Evaluator(wilful, 3, 0), np.random.default_rng(0)
    plans: dict[int, list] = {0: [], 1: []}

    def act(observations, time):
        actions = np.zeros((1, 3, 8), np.float32)
        for number, planned in plans.items():  # the third one stands still
            env = evaluator._environments(3).envs[number]
            planned[:] = planned or list(mazes.plan(env, draw))
            actions[0, number] = planned.pop(0)
        return actions

    returns = evaluator.rollout(act, 1)[0]
    lengths = evaluator.lengths[0]
    evaluator.close()
    assert set(returns) == {0, 1}
    assert returns[2] == 0
    np.testing.assert_array_equal(lengths < mazes.STEPS, returns == 1)


@pytest.mark.parametrize("maze", MAPS)
def test_d4rls_maze_in_d4rls_coordinates(maze):
    with quiet():
        made = make(f"pogospec/D4RL_AntMaze_{maze}-v2")
        starts, goals = [], []
        for seed in range(20):
            starts.append(made.reset(seed=seed)[0])
            goals.append(made.unwrapped.goal - made.unwrapped.origin)
        model, origin = made.unwrapped.model, made.unwrapped.origin
        blocks = {tuple(np.round((model.geom(i).pos[:2] - origin) / 4).astype(int)) for i in range(model.ngeom)
                  if model.geom(i).name.startswith("block")}  # fmt: skip
        made.close()
    cells = {(c - 1, r - 1): cell for r, row in enumerate(MAPS[maze]) for c, cell in enumerate(row)}
    assert blocks == {place for place, cell in cells.items() if cell == "#"}
    assert np.abs(np.array(starts)[:, :2]).max() <= 0.1
    assert np.std(np.array(starts)[:, 15:]) == pytest.approx(0.1, rel=0.1)
    (goal,) = (4 * np.array(place) for place, cell in cells.items() if cell == "g")
    assert (np.array(goals) >= goal).all()
    assert (np.array(goals) <= goal + 1.5).all()
    assert np.std(goals, 0).min() > 0.15  # drawn anew at each start
    assert made.spec.max_episode_steps == (700 if maze == "UMaze" else 1000)
    assert (model.opt.timestep, set(model.actuator_gear[:, 0])) == (0.02, {30})


@pytest.mark.parametrize(("away", "reached"), [(0.48, True), (0.52, False)])
def test_half_a_metre_from_the_goal_counts_in_d4rls_maze(away, reached):
    with quiet():
        made = make("pogospec/D4RL_AntMaze_UMaze-v2")
        made.reset(seed=0)
        ant = made.unwrapped.ant_env
        place, still = ant.data.qpos.copy(), np.zeros_like(ant.data.qvel)
        place[:2], place[2] = made.unwrapped.goal + [away, 0], 5.0  # in the air
        ant.set_state(place, still)
        _, reward, terminated, truncated, _ = made.step(np.zeros(8, np.float32))
        made.close()
    assert (reward, terminated, truncated) == (float(reached), reached, False)


def test_inspecting_both_layouts(episodes):
    success = 100 * np.mean([good for _, (_, good) in firsts(episodes)])
    facts = json.loads(pogospec("data", "inspect", mazes.ID, "--json").stdout)
    assert (facts["obs_dim"], facts["environment"], facts["ok"]) == (29, TINY, True)
    assert facts["returns"]["score"]["mean"] == pytest.approx(success)
    assert facts["returns"]["score"]["label"] == "success rate in %"
    assert facts["episodes"]["terminated"] == round(success * len(episodes) / 100)
    assert (
        facts["notes"][0] == "observed: achieved_goal (2), observation (27); not desired_goal (2): data.observe chooses"
    )
    shown = pogospec("data", "inspect", mazes.ID, "--observe", "achieved_goal,observation,desired_goal").stdout
    assert "31 observations, 8 actions" in shown
    facts = examine(data.read(mazes.D4RL))
    assert (facts["obs_dim"], facts["returns"]["score"]) == (29, None)  # returns of some steps at the goal
    assert (facts["episodes"]["count"], facts["episodes"]["length"]["max"]) == (len(episodes), mazes.STEPS)
    assert any("by gymnasium-robotics" in note for note in facts["notes"])
    listed = {entry.dataset: entry.environment for entry in at_hand()}
    assert listed[mazes.ID] == "AntMaze_UMaze-v4"
    assert listed[mazes.D4RL] == "pogospec/D4RL_AntMaze_UMaze-v2"


SMALL = ("evaluate.episodes=2", "policy.hidden=[8]", "critic.hidden=[8]")


@pytest.mark.parametrize(
    ("dataset", "more", "label"),
    [
        pytest.param(
            mazes.ID,
            ("data.reward.shift=-1", f"data.observe={SHOWN}"),
            "success rate in %",
            marks=pytest.mark.exhaustive("a second run in a maze"),
        ),
        (mazes.D4RL, (), "D4RL-normalised"),
    ],
)
def test_from_data_to_score_on_the_command_line(episodes, tmp_path, dataset, more, label):
    run, options = tmp_path / "run", ("--updates", "6", "--seeds", "1", "--quiet", *sets(*SMALL, *more))
    pogospec("run", "td3_bc", "--dataset", dataset, *options, "--out", run)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["environment"] == str(task_of(manifest["environment"]))
    reference = manifest["reference"]
    assert (reference["label"], reference["low"], reference["high"]) == (label, 0, 1)
    assert manifest["versions"]["gymnasium-robotics"]
    rows = (run / "returns.csv").read_text().splitlines()[1:]
    assert len(rows) == 2
    assert {row.rpartition(",")[2] for row in rows} <= {"0.0", "1.0"}
    again = pogospec("evaluate", run, "--episodes", "1").stdout.splitlines()
    assert again[0].startswith(manifest["environment"])
    assert all(line.endswith(label) for line in again[1:])


@pytest.mark.exhaustive("starts a process that lacks a package")
def test_without_the_extra_one_line_says_what_to_install(episodes, tmp_path):
    blocked = "import sys; sys.modules['gymnasium_robotics'] = None; from pogospec.cli import main; main()"

    def ended(*arguments):
        process = started(*arguments, code=blocked)
        return *process.communicate(), process.returncode

    for dataset, name in ((mazes.ID, "AntMaze_UMaze-v4"), (mazes.D4RL, "pogospec/D4RL_AntMaze_UMaze-v2")):
        _, told, code = ended("run", "bc", "--dataset", dataset, "--out", tmp_path / "run")
        assert code == 2
        assert told.splitlines()[-1] == (
            f"--dataset: data.dataset: the environment '{name}' is one of gymnasium-robotics, which is not installed; "
            'pip install "pogospec[robotics]"'
        )
    assert ended("data", "inspect", mazes.ID)[2] == 0
    assert ended("check", "bc", "--set", f"data.dataset={mazes.ID}")[2] == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("dataset", "observe", "message"),
    [
        (mazes.ID, "[goal]", "data.observe: found [goal], allowed achieved_goal, desired_goal, observation"),
        ("pocket/reacher-mixed", "[goal]", "data.observe: found [goal], but the observations of these data are one"),
    ],
)
def test_what_cannot_be_observed(episodes, tmp_path, dataset, observe, message):
    options = ("--dataset", dataset, "--set", f"data.observe={observe}", "--out", tmp_path / "run")
    done = pogospec("run", "bc", *options, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1].startswith(f"--set data.observe: {message}")) == (2, True)


def test_data_of_another_size_are_refused(episodes):
    found = data.load(mazes.ID, "AntMaze_UMaze-v5")  # with contact forces
    with pytest.raises(DataError, match="has 107 observations and 8 actions, the data have 29 and 8"):
        Evaluator(str(found.environment), 1, 0, found.space).check()
