"""D4RL's files: the rows of its own loader, by hand, against a plain loop, and against the same episodes in Minari."""

import hashlib
import os
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from made import TERMINALS, TIMEOUTS, assert_rows, write

from pogospec import data
from pogospec.data.sources import d4rl
from pogospec.errors import DataError

ID, FILE = "d4rl/hopper-medium-v2", "hopper_medium-v2.hdf5"
ROOT = Path(os.environ.get("POGOSPEC_TEST_DATA", ""))
REAL = pytest.mark.skipif(
    not ({"POGOSPEC_TEST_DATA", "MINARI_DATASETS_PATH"} <= set(os.environ) and (ROOT / "d4rl" / FILE).is_file()),
    reason=f"POGOSPEC_TEST_DATA names no folder with d4rl/{FILE}, or MINARI_DATASETS_PATH is not set",
)


def test_three_episodes_by_hand(places):
    file = write(places / FILE)
    found = data.load(ID)
    assert_rows(
        found.transitions,
        rows=[0, 1, 2, 3, 4, 6],  # not 5, the time-out, nor 7, the last row
        following=[1, 2, 2, 11, 12, 21],  # a terminal row carries its own observation
        valid=[1, 1, 0, 1, 1, 1],
        next_actions=[0.1, 0.2, 0, 0.4, 0.5, 0.7],  # also of rows that are left out
        episodes=[0, 0, 0, 1, 1, 2],
        truncated=[0] * 6,
    )
    assert found.environment == "Hopper-v4"
    assert found.space == (1, 1, (-1.0,), (1.0,))
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_next_observations_of_a_d4rl_file_are_not_read(places):
    write(places / FILE, next_observations=np.full((8, 1), 77, np.float32))
    assert data.load(ID).transitions.next_observations.max() == 21
    assert len(data.load(f"file:{places / FILE}").transitions.rewards) == 8


def test_a_terminal_last_row_and_a_terminal_at_the_time_limit_are_left_out_as_d4rl_does(places):
    ends = TERMINALS.copy()
    ends[[5, 7]] = True
    write(places / FILE, terminals=ends)
    np.testing.assert_array_equal(data.load(ID).transitions.rewards, [1, 2, 3, 4, 5, 7])
    np.testing.assert_array_equal(data.load(f"file:{places / FILE}").transitions.rewards, [1, 2, 3, 4, 5, 6, 7, 8])


def plain_loop(observations, actions, rewards, terminals, timeouts):
    """Row by row: s, a, r, s', d and a' of every row but the last one and the time-outs."""
    for row in range(len(rewards) - 1):
        if not timeouts[row]:
            yield observations[row], actions[row], rewards[row], observations[row + 1], terminals[row], actions[row + 1]


def test_random_data_against_a_plain_loop(places):
    draw = np.random.default_rng(0)
    count = 5000
    made = {
        "observations": draw.normal(size=(count, 3)).astype(np.float32),
        "actions": draw.uniform(-1, 1, (count, 2)).astype(np.float32),
        "rewards": draw.normal(size=count).astype(np.float32),
        "terminals": draw.random(count) < 0.02,
        "timeouts": draw.random(count) < 0.02,
    }
    write(places / "walker2d_medium_replay-v2.hdf5", **made)
    rows = data.load("d4rl/walker2d-medium-replay-v2").transitions
    looped = [np.array(column) for column in zip(*plain_loop(**made), strict=True)]
    alive = ~looped[4]
    for found, wanted in zip(rows[:3], looped[:3], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-7)
    np.testing.assert_array_equal(rows.terminated, looped[4])
    np.testing.assert_array_equal(rows.next_observations[alive], looped[3][alive])
    np.testing.assert_array_equal(rows.next_observations[~alive], rows.observations[~alive])
    np.testing.assert_allclose(rows.next_actions[alive], looped[5][alive], atol=1e-7)
    np.testing.assert_array_equal(rows.next_action_valid, alive)
    assert (rows.next_actions[~alive] == 0).all()


def test_file_names_are_d4rls():
    names = {d4rl.file_name(dataset_id) for dataset_id in d4rl.IDS}
    assert len(names) == 30
    assert {"halfcheetah_medium_expert-v2.hdf5", "ant_full_replay-v2.hdf5", FILE} <= names
    assert d4rl.file_name("d4rl/antmaze-large-play-v2") == (
        "Ant_maze_hardest-maze_noisy_multistart_True_multigoal_False_sparse_fixed.hdf5"
    )


@pytest.mark.parametrize("place", ["POGOSPEC_DATA_DIR", "POGOSPEC_DATA_DIR/d4rl", "D4RL_DATASET_DIR"])
def test_places_that_are_searched(places, place):
    assert d4rl.D4RL().ids() == []
    folder = places.parent / place
    folder.mkdir(exist_ok=True)
    write(folder / FILE)
    assert d4rl.D4RL().ids() == [ID]
    assert (ID, f"D4RL file in {folder}") in data.available()


def test_default_places(monkeypatch):
    for variable in ("POGOSPEC_DATA_DIR", "D4RL_DATASET_DIR"):
        monkeypatch.delenv(variable, raising=False)
    home = Path.home()
    assert d4rl.folders() == [home / ".cache/pogospec/datasets", home / ".d4rl/datasets"]


def test_a_missing_file_is_told_by_name_and_place(places):
    with pytest.raises(DataError) as caught:
        data.load("d4rl/halfcheetah-medium-replay-v2")
    name = "halfcheetah_medium_replay-v2.hdf5"
    assert f"get D4RL's file {name} and put it at {places / name}" in str(caught.value)


@pytest.mark.parametrize("wrong", ["d4rl/hoper-medium-v2", "d4rl/hopper-medium-v0", "d4rl/hopper/medium-v2"])
def test_an_unknown_id_gets_the_near_miss(places, wrong):
    with pytest.raises(DataError, match=f"no D4RL set '{wrong}', did you mean {ID}"):
        data.load(wrong)


def test_a_damaged_file(places):
    whole = write(places / FILE).read_bytes()
    (places / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"'{ID}': .*{FILE}: cannot be read as HDF5"):
        data.load(ID)


def test_only_d4rl_data_in_their_task_are_d4rl_normalised(places):
    write(places / FILE, actions=np.zeros((8, 3), np.float32))

    def label(dataset_id, environment=None):
        reference = data.load(dataset_id, environment).reference
        return reference and reference.label

    assert label(ID) == "D4RL-normalised"
    assert data.load(ID).reference.score(3234.3) == pytest.approx(100)  # type: ignore[union-attr]
    plain = "normalised (D4RL reference returns)"
    assert label(ID, "Hopper-v5") == plain
    assert label(f"file:{places / FILE}", "Hopper-v4") == plain
    assert label(ID, "Pendulum-v1") is None


@pytest.mark.parametrize(("forces", "left"), [(0.0, 27), (0.5, 111)])
def test_contact_forces_of_ant_go_where_they_are_zero(places, forces, left):
    observations = np.hstack([np.ones((8, 27)), np.full((8, 84), forces)]).astype(np.float32)
    write(places / "ant_medium-v2.hdf5", observations=observations, actions=np.zeros((8, 8), np.float32))
    found = data.load("d4rl/ant-medium-v2")
    assert (found.space.obs_dim, found.environment) == (left, "Ant-v4")


def test_memory_while_loading(places):
    count = 400_000
    with h5py.File(places / FILE, "w") as file:
        file["observations"] = np.zeros((count, 40), np.float32)
        file["actions"] = np.zeros((count, 3), np.float32)
        file["rewards"] = np.zeros(count, np.float32)
        file["terminals"] = np.zeros(count, bool)
        file["timeouts"] = np.arange(count) % 1000 == 999
    data.load("pocket/reacher-mixed")  # modules are in memory
    tracemalloc.start()
    transitions = data.load(ID).transitions
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * sum(column.nbytes for column in transitions)


@REAL
def test_d4rl_and_minari_give_the_same_transitions(monkeypatch):
    monkeypatch.setenv("POGOSPEC_DATA_DIR", str(ROOT))
    minari = data.load("pogobench/hopper/medium-v0").transitions
    as_file = data.load(f"file:{ROOT / 'd4rl' / FILE}").transitions
    for name, found, wanted in zip(minari._fields, as_file, minari, strict=True):
        np.testing.assert_array_equal(found, wanted, name)  # with next observations no row is lost
    as_d4rl = data.load(ID)
    kept = minari.truncated == 0
    kept[-1] = False
    assert (~kept).sum() == 28
    for name, found, wanted in zip(minari._fields, as_d4rl.transitions, minari, strict=True):
        if name == "next_observations":
            alive = minari.terminated[kept] == 0
            np.testing.assert_array_equal(found[alive], wanted[kept][alive])
        elif name != "next_actions":
            np.testing.assert_array_equal(found, wanted[kept], name)
    np.testing.assert_array_equal(as_d4rl.transitions.next_actions, minari.next_actions[kept])
    assert as_d4rl.reference is not None
    assert as_d4rl.reference.label == "D4RL-normalised"


@REAL
def test_time_limits_of_real_data_are_no_terminations(monkeypatch):
    monkeypatch.setenv("POGOSPEC_DATA_DIR", str(ROOT))
    rows = data.load(ID).transitions
    lengths = np.bincount(rows.episodes)
    limited = np.flatnonzero(lengths == 999)  # 1000 steps, less the time-out row
    assert len(limited) == TIMEOUTS.sum() * 27
    assert not np.isin(rows.episodes[rows.terminated == 1], limited).any()
    assert not np.isnan(rows.next_observations).any()
