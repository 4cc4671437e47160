"""Files of columns: every format gives the same rows, and what is wrong with a file is said in one message."""

import re
import sys

import h5py
import numpy as np
import pytest
from commands import pogospec
from made import ACTIONS, NEXT, OBSERVATIONS, REWARDS, TERMINALS, TIMEOUTS, assert_rows, columns, write

from pogospec import data
from pogospec.data.inspection import examine
from pogospec.errors import DataError

SUFFIXES = [".hdf5", ".h5", ".npz", ".safetensors", ".parquet"]


def path_of(tmp_path, suffix, **changes):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return write(tmp_path / f"mine{suffix}", **changes)


def load(path, environment=None):
    return data.load(f"file:{path}", environment)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_without_next_observations(tmp_path, suffix):
    found = load(path_of(tmp_path, suffix))
    assert_rows(
        found.transitions,
        rows=[0, 1, 2, 3, 4, 6],
        following=[1, 2, 2, 11, 12, 21],
        valid=[1, 1, 0, 1, 1, 1],
        next_actions=[0.1, 0.2, 0, 0.4, 0.5, 0.7],
        episodes=[0, 0, 0, 1, 1, 2],
        truncated=[0] * 6,
    )
    assert found.environment is None
    assert found.reference is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_with_next_observations(tmp_path, suffix):
    found = load(path_of(tmp_path, suffix, next_observations=NEXT))
    assert_rows(
        found.transitions,
        rows=range(8),
        following=NEXT[:, 0],
        valid=[1, 1, 0, 1, 1, 0, 1, 0],
        next_actions=[0.1, 0.2, 0, 0.4, 0.5, 0, 0.7, 0],
        episodes=[0, 0, 0, 1, 1, 1, 2, 2],
        truncated=[0, 0, 0, 0, 0, 1, 0, 1],
    )


def test_observations_after_the_last_steps(tmp_path):
    limits = TIMEOUTS.copy()
    limits[-1] = True
    final = np.array([[3], [13], [22]], np.float32)
    whole = load(path_of(tmp_path, ".npz", timeouts=limits, final_observations=final)).transitions
    np.testing.assert_array_equal(whole.next_observations, NEXT)
    with pytest.raises(DataError, match=r"final_observations has the shape \[2, 1\], allowed \[3, 1\]"):
        load(path_of(tmp_path, ".npz", timeouts=limits, final_observations=final[:2]))
    with pytest.raises(DataError, match="the last row ends no episode"):
        load(path_of(tmp_path, ".npz", final_observations=final[:2]))


@pytest.mark.parametrize("names", [("terminations", "truncations"), ("terminated", "truncated")])
def test_other_names_of_the_flags(tmp_path, names):
    flags = dict(zip(names, (TERMINALS.astype(np.uint8), TIMEOUTS.astype(float)[:, None]), strict=True))
    rows = load(path_of(tmp_path, ".npz", terminals=None, timeouts=None, **flags)).transitions
    np.testing.assert_array_equal(rows.terminated, [0, 0, 1, 0, 0, 0])
    assert len(rows.rewards) == 6


def test_numbered_columns_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    wide = np.arange(8 * 12, dtype=np.float64).reshape(8, 12)
    flat = {f"observation_{index}": wide[:, index] for index in reversed(range(12))}
    flat |= {"action_0": ACTIONS[:, 0]} | {name: columns()[name] for name in ("rewards", "terminals", "timeouts")}
    about = {"environment": "Hopper-v4", "low": "[-2]", "high": "[2]"}
    parquet.write_table(pyarrow.table(flat).replace_schema_metadata(about), tmp_path / "mine.parquet")
    found = load(tmp_path / "mine.parquet")
    np.testing.assert_array_equal(found.transitions.observations, wide[[0, 1, 2, 3, 4, 6]])
    np.testing.assert_allclose(found.transitions.actions, ACTIONS[[0, 1, 2, 3, 4, 6]] / 2)
    assert found.environment == "Hopper-v4"
    del flat["observation_3"]
    parquet.write_table(pyarrow.table(flat), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match="numbered from 0 without gaps"):
        load(tmp_path / "mine.parquet")


def test_lists_of_unequal_length_in_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    ragged = [[0.0]] * 7 + [[0.0, 1.0]]
    lists = {name: column.tolist() for name, column in columns().items()} | {"observations": ragged}
    parquet.write_table(pyarrow.table(lists), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=r"the lists of observations have \[1, 2\] numbers, allowed one size"):
        load(tmp_path / "mine.parquet")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "mine.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r'pip install "pogospec\[parquet\]"$'):
        load(tmp_path / "mine.parquet")


def test_bounds_are_the_files_then_the_environments_then_one(tmp_path):
    path = path_of(tmp_path, ".npz", actions=ACTIONS / 2)
    assert load(path).space[2:] == ((-1.0,), (1.0,))
    assert load(path, "Pendulum-v1").space[2:] == ((-2.0,), (2.0,))
    path = path_of(tmp_path, ".npz", low=np.array([-0.5]), high=np.array([0.5]), environment=np.array("Pendulum-v1"))
    with pytest.raises(DataError, match=r"in 2 rows, first in row 6 \(episode 2, step 0\): \[0.6\]"):
        load(path)
    path = path_of(tmp_path, ".npz", low=np.array(-4.0), high=np.array(4.0), environment=np.array("Pendulum-v1"))
    found = load(path)
    assert (found.space[2:], found.environment) == (((-4.0,), (4.0,)), "Pendulum-v1")
    np.testing.assert_allclose(found.transitions.actions, ACTIONS[[0, 1, 2, 3, 4, 6]] / 4)


@pytest.mark.parametrize("where", ["file", "actions"])
def test_attributes_of_hdf5(tmp_path, where):
    path = path_of(tmp_path, ".h5")
    with h5py.File(path, "a") as file:
        attributes = file.attrs if where == "file" else file["actions"].attrs
        attributes.update({"low": [-2.0], "high": [2.0], "environment": "Hopper-v4"})
    found = load(path)
    assert found.space[2:] == ((-2.0,), (2.0,))
    assert found.environment == "Hopper-v4"
    assert found.reference is not None
    assert found.reference.label == "normalised (D4RL reference returns)"


def test_an_environment_that_cannot_be_made(tmp_path):
    with pytest.raises(DataError, match="the environment 'Hoper-v4' cannot be made"):
        load(path_of(tmp_path, ".npz"), "Hoper-v4")


def test_rows_out_of_order_have_no_next_action(tmp_path):
    order = np.array([4, 0, 1, 2, 3, 5, 6, 7])
    shuffled = {name: column[order] for name, column in columns(next_observations=NEXT).items()}
    np.savez(tmp_path / "mine.npz", **shuffled)
    rows = load(tmp_path / "mine.npz").transitions
    np.testing.assert_array_equal(rows.next_action_valid, [0, 1, 1, 0, 0, 0, 1, 0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rewards": None}, "missing column rewards; found observations, actions, terminals, timeouts"),
        ({"observations": None, "obs": OBSERVATIONS}, "did you mean 'obs'? Rename it to observations"),
        ({"actions": None, "action": ACTIONS}, "did you mean 'action'? Rename it to actions"),
        ({"terminals": None, "terminal": TERMINALS}, "missing column terminals (or terminations, terminated)"),
        ({"terminals": None, "timeouts": None, "dones": TERMINALS}, "'dones' does not tell terminations from time"),
        ({"timeouts": None}, "where no episode was cut, timeouts are all false"),
        ({"terminated": TERMINALS}, "found both terminals and terminated, allowed one of them"),
        ({"rewards": np.ones(7)}, "found columns of unequal length: observations 8, actions 8, rewards 7"),
        ({"observations": OBSERVATIONS[:, 0]}, "observations has the shape [8], allowed [rows, numbers of a step]"),
        ({"observations": np.zeros((8, 4, 4))}, "observations has the shape [8, 4, 4]"),
        ({"rewards": np.ones((8, 2))}, "rewards has the shape [8, 2], allowed [rows]"),
        ({"terminals": np.full(8, 2)}, "terminals holds 2 in row 0, allowed 0 and 1"),
        ({"timeouts": np.full(8, np.nan)}, "timeouts holds nan in row 0"),
        ({"next_observations": NEXT[:4]}, "next_observations has the shape [4, 1], allowed [8, 1]"),
        ({"rewards": np.array(["a"] * 8)}, "rewards holds text, allowed numbers"),
        ({"observations": np.array([["a"]] * 8)}, "observations holds text, allowed numbers"),
        ({"observations": np.zeros((8, 9, 9, 3), np.uint8)}, "images, which no network here reads"),
        ({"actions": np.arange(8) % 4}, "one whole number a step, 0 to 3: discrete actions, which no policy here has"),
        ({"actions": np.arange(8)[:, None]}, "one whole number a step, 0 to 7: discrete actions"),
        (
            {"actions": ACTIONS[:, 0]},
            "store it as [8, 1], or so: pogospec data import FILE --id NAME --column actions=",
        ),
        ({"terminals": None, "next_observations": NEXT}, "missing column terminals (or terminations, terminated)"),
        ({name: column[:0] for name, column in columns().items()}, "the columns hold no rows"),
        ({"timeouts": np.ones(8, bool), "terminals": np.zeros(8, bool)}, "holds no transitions"),
        ({"low": np.array([1.0]), "high": np.array([-1.0])}, "span no finite range; allowed low < high"),
        ({"low": np.zeros(3), "high": np.ones(3)}, "the action bounds have 3 and 3 numbers for 1 actions"),
    ],
    ids=str,
)
def test_columns_that_cannot_be_used(tmp_path, changes, words):
    with pytest.raises(DataError) as caught:
        load(path_of(tmp_path, ".npz", **changes))
    assert words in str(caught.value)
    assert str(tmp_path / "mine.npz") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "'next_observations'" not in str(caught.value), "it is nothing that could be meant"


@pytest.mark.parametrize("name", ["observations", "rewards", "actions", "next_observations"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_cannot_be_used(tmp_path, name, bad):
    column = np.array(columns(next_observations=NEXT)[name])
    column[4] = bad
    path = path_of(tmp_path, ".npz", **({"next_observations": NEXT} | {name: column}))
    with pytest.raises(DataError, match=rf"{name} holds NaN or infinity in row 4 \(episode 1, step 1\)") as caught:
        load(path)
    assert f"pogospec data inspect file:{path}" in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_damaged_files(tmp_path, suffix, keep):
    path = path_of(tmp_path, suffix)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])
    with pytest.raises(DataError, match=rf"mine{suffix}: cannot be read as \w+ \(.+\); get it again") as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"\x93NUMPY\x01\x00", r"\.npy"),
    ],
)
def test_files_of_something_else(tmp_path, suffix, head, why):
    (tmp_path / f"mine{suffix}").write_bytes(head)
    with pytest.raises(DataError, match=why) as caught:
        load(tmp_path / f"mine{suffix}")
    for word in ("h5py", "pickle", "Magic", "zip", "signature", "errno", "Traceback"):
        assert word not in str(caught.value)


def test_next_observations_of_an_array_that_was_rolled(tmp_path):
    path = path_of(tmp_path, ".npz", next_observations=np.roll(OBSERVATIONS, -1, 0))
    found = load(path)
    (told,) = found.changes
    assert told.startswith(
        "2 rows at time limits are left out: their next observation is the first of the next episode"
    )
    assert_rows(  # as without them, but for what follows a termination, which nothing bootstraps from
        found.transitions,
        rows=[0, 1, 2, 3, 4, 6],
        following=[1, 2, 10, 11, 12, 21],
        valid=[1, 1, 0, 1, 1, 1],
        next_actions=[0.1, 0.2, 0, 0.4, 0.5, 0.7],
        episodes=[0, 0, 0, 1, 1, 2],
        truncated=[0] * 6,
    )
    facts = examine(data.read(f"file:{path}"))
    assert told in facts["notes"]
    assert facts["transitions"] == 6
    assert load(path_of(tmp_path, ".npz", next_observations=NEXT)).changes == ()
    ends = TERMINALS | TIMEOUTS
    ends[-1] = True
    rolled = {"next_observations": np.roll(OBSERVATIONS, -1, 0), "timeouts": np.zeros(8, bool)}
    ended = path_of(tmp_path, ".npz", terminals=ends, **rolled)
    assert load(ended).changes == ()
    assert any(
        "3 rows that terminate have the first observation" in n for n in examine(data.read(f"file:{ended}"))["notes"]
    )


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    path = path_of(tmp_path, ".npz")
    with pytest.raises(DataError, match=f"no such file; did you mean {path}"):
        load(tmp_path / "min.npz")
    (tmp_path / "mine.pkl").write_bytes(b"")
    with pytest.raises(DataError, match=r"kind '.pkl', allowed .hdf5, .h5, .npz, .parquet, .safetensors"):
        load(tmp_path / "mine.pkl")


def test_a_pickle_inside_a_numpy_file_is_not_opened(tmp_path):
    with pytest.raises(DataError, match="cannot be read as NumPy"):
        load(path_of(tmp_path, ".npz", rewards=np.array([{}] * 8, object)))


def test_the_file_of_a_minari_dataset(tmp_path):
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        file.create_group("episode_0")
    with pytest.raises(DataError, match="found the episodes of a Minari dataset"):
        load(tmp_path / "main_data.hdf5")


def test_a_path_without_its_prefix(places, tmp_path):
    path = path_of(tmp_path, ".npz")
    with pytest.raises(DataError, match=f"did you mean file:{path}"):
        data.load(str(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_check_refuses_columns_that_run_would_refuse(tmp_path, suffix):
    fine = path_of(tmp_path, suffix)
    data.find(f"file:{fine}")
    with pytest.raises(DataError) as caught:
        data.find(f"file:{path_of(tmp_path, suffix, rewards=None, rew=REWARDS)}")
    with pytest.raises(DataError, match=re.escape(str(caught.value))):
        load(fine)
    assert "missing column rewards; found" in str(caught.value)
    if suffix != ".parquet":  # whose columns have as many rows by their format
        with pytest.raises(DataError, match="found columns of unequal length: observations 8, actions 8, rewards 7"):
            data.find(f"file:{path_of(tmp_path, suffix, rewards=np.ones(7))}")
        single = path_of(tmp_path, suffix, rewards=np.float32(1))
        with pytest.raises(DataError, match="unequal length: observations 8, actions 8, rewards 1"):
            data.find(f"file:{single}")


def test_a_check_reads_no_rows(tmp_path, monkeypatch):
    path = path_of(tmp_path, ".npz")
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("a column was read"))
    data.find(f"file:{path}")


def test_commands_refuse_columns_before_they_print(tmp_path):
    path = path_of(tmp_path, ".npz", rewards=np.ones(7))
    for words in (["check", "bc"], ["run", "bc", "--out", tmp_path / "run"]):
        done = pogospec(*words, "--dataset", f"file:{path}", check=False)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "found columns of unequal length" in done.stderr
