"""`pogospec data`: what the commands print and write, and how they end."""

import json
import os
import shlex

import minari
import numpy as np
import pytest
from commands import pogospec
from made import ACTIONS, NEXT, OBSERVATIONS, REWARDS, TERMINALS, TIMEOUTS, write
from typer.testing import CliRunner

from pogospec import data
from pogospec.cli import app
from pogospec.data.sources import pocket
from pogospec.data.sources.imported import import_file
from pogospec.data.sources.minari import Minari
from pogospec.errors import DataError, PogospecError, UsageError


def command(*words, **environment):
    """Run the command line in a process of its own."""
    return pogospec(*words, check=False, env=environment)


def here(*words):
    """Run the command line in this process; what it prints."""
    result = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    return result.exit_code, result.stdout


def facts_of(dataset_id, *options):
    code, text = here("data", "inspect", dataset_id, "--json", *options)
    return code, json.loads(text)


def test_inspect_tells_what_is_in_a_file(places):
    path = write(places / "mine.npz", next_observations=NEXT)
    code, facts = facts_of(f"file:{path}")
    assert (code, facts["ok"], facts["faults"]) == (0, True, [])
    assert (facts["rows"], facts["transitions"], facts["obs_dim"], facts["act_dim"]) == (8, 8, 1, 1)
    length = {"min": 2, "mean": 8 / 3, "max": 3}
    assert facts["episodes"] == {"count": 3, "length": length, "terminated": 1, "truncated": 1, "cut": 1}
    assert facts["returns"] == {"min": 6, "mean": 12, "max": 15, "score": None}
    (action,) = facts["actions"]
    assert (action["min"], action["at_low"], action["at_high"]) == (0, 0, 0)
    assert action["max"] == pytest.approx(0.7)
    (observation,) = facts["observations"]
    assert observation == pytest.approx(
        {"min": 0, "max": 21, "mean": OBSERVATIONS.mean(), "std": OBSERVATIONS.std()}, rel=1e-6
    )
    assert (facts["rewards"]["min"], facts["rewards"]["max"], facts["environment"]) == (1, 8, None)
    assert facts["bounds"] == {"low": [-1], "high": [1], "from": "not stated: taken to be -1 and 1"}


def test_inspect_counts_rows_at_the_bounds_and_scores(places):
    bounds = {"low": np.array([0.0]), "high": np.array([0.6]), "environment": np.array("Hopper-v4")}
    path = write(places / "mine.npz", actions=np.minimum(ACTIONS, np.float32(0.6)), **bounds)
    code, facts = facts_of(f"file:{path}")
    assert code == 2
    (fault,) = facts["faults"]
    assert fault.startswith("the environment 'Hopper-v4' has 11 observations and 3 actions")
    assert (facts["actions"][0]["at_low"], facts["actions"][0]["at_high"]) == (1 / 8, 2 / 8)
    assert facts["returns"]["score"]["mean"] == pytest.approx(100 * (12 + 20.272305) / (3234.3 + 20.272305))
    assert facts["returns"]["score"]["label"] == "normalised (D4RL reference returns)"
    assert facts["notes"][0].startswith("2 rows are not trained on: 1 at time limits without a next observation, and")


def test_inspect_tells_of_episodes_shorter_than_those_of_the_environment(places):
    ends = np.zeros((4, 5), bool)
    ends[:, -1] = True
    columns = {"observations": np.zeros((20, 3)), "actions": np.zeros((20, 1)), "rewards": np.zeros(20)}
    mine, task = places / "mine.npz", ("--environment", "Pendulum-v1")
    np.savez(mine, **columns, terminals=np.zeros(20, bool), timeouts=ends.ravel())
    (told,) = (note for note in facts_of(f"file:{mine}", *task)[1]["notes"] if "steps" in note)
    assert told.startswith("no episode has more than 5 steps, where Pendulum-v1 cuts them after 200: rollouts may last")
    assert "data.max_episode_steps: 5 ends" in told
    for options in ((*task, "--max-episode-steps", "5"), ()):
        assert not [note for note in facts_of(f"file:{mine}", *options)[1]["notes"] if "steps" in note]
    np.savez(mine, **columns, terminals=ends.ravel(), timeouts=np.zeros(20, bool))  # ended by themselves
    assert not [note for note in facts_of(f"file:{mine}", *task)[1]["notes"] if "steps" in note]


def test_inspect_reports_everything_that_is_wrong(places):
    observations, rewards, actions = OBSERVATIONS.copy(), REWARDS.copy(), ACTIONS.copy()
    observations[[3, 6]], rewards[1], actions[[0, 7]] = np.nan, np.inf, -1.5
    path = write(places / "mine.npz", observations=observations, rewards=rewards, actions=actions)
    code, facts = facts_of(f"file:{path}")
    assert (code, facts["ok"], len(facts["faults"])) == (2, False, 3)
    for words in (
        "observations holds NaN or infinity in 2 rows, first in row 3 (episode 1, step 0), column 0",
        "rewards holds NaN or infinity in row 1 (episode 0, step 1)",
        "actions lie outside the bounds [-1.0] to [1.0] in 2 rows, first in row 0 (episode 0, step 0): [-1.5]",
    ):
        assert any(fault.startswith(words) for fault in facts["faults"]), words
    assert facts["observations"][0]["max"] == 21
    shown = command("data", "inspect", f"file:{path}")
    assert shown.returncode == 2
    assert shown.stdout.count("wrong: ") == 3
    assert "Traceback" not in shown.stderr


def test_inspect_reports_columns_without_any_number(places):
    nothing = np.full_like(OBSERVATIONS, np.nan)
    code, facts = facts_of(f"file:{write(places / 'mine.npz', observations=nothing)}")
    assert code == 2
    assert facts["observations"] == [{"min": None, "mean": None, "max": None, "std": None}]
    assert here("data", "inspect", f"file:{places / 'mine.npz'}")[0] == 2


def test_inspect_notes_unmarked_edges(places):
    path = write(places / "mine.npz", next_observations=NEXT, timeouts=np.zeros(8, bool))
    code, facts = facts_of(f"file:{path}")
    assert code == 0
    assert facts["notes"][0].startswith("in 1 rows the next observation is not that of the next row")


def test_inspect_for_people():
    code, text = here("data", "inspect", "pocket/hopper-mixed")
    assert code == 0
    for words in ("40,212", "Hopper-v4", "132 terminated, 1 at time limits", "mean 1,034.91", "mean 32.42"):
        assert words in text
    assert "nothing is wrong" in text


def test_list_shows_every_source(places):
    write(places / "hopper_medium-v2.hdf5", next_observations=NEXT)
    import_file(write(places.parent / "mine.npz"), "mine/three", "Hopper-v4", ((-1.0,), (1.0,)))
    shown = command("data", "list", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = {row["dataset"]: row for row in json.loads(shown.stdout)}
    assert list(rows) == [*pocket.cards(), "d4rl/hopper-medium-v2", "mine/three"]
    assert [rows["d4rl/hopper-medium-v2"][key] for key in ("source", "rows", "environment")] == ["D4RL", 8, "Hopper-v4"]
    assert [rows["mine/three"][key] for key in ("source", "rows", "environment")] == ["imported", 8, "Hopper-v4"]
    assert rows["mine/three"]["about"].endswith("from mine.npz")
    (places / "mine/three.safetensors").write_bytes(b"x")
    text = here("data", "list")[1]
    assert "damaged" in text
    assert "mine/three" in text


@pytest.mark.skipif("MINARI_DATASETS_PATH" not in os.environ, reason="MINARI_DATASETS_PATH is not set")
def test_list_shows_minari():
    rows = {row["dataset"]: row for row in json.loads(here("data", "list", "--json")[1])}
    row = rows["pogobench/hopper/medium-v0"]
    assert (row["source"], row["rows"], row["environment"]) == ("Minari", 100166, "Hopper-v4")


@pytest.mark.parametrize("suffix", [".hdf5", ".npz", ".parquet"])
def test_an_imported_file_gives_the_transitions_of_the_file(places, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = write(places.parent / f"mine{suffix}", next_observations=NEXT)
    result = command("data", "import", path, "--id", "mine/three", "--low", "-2", "--high", "2")
    assert result.returncode == 0, result.stderr
    assert "run it with: pogospec run SPEC --dataset mine/three" in result.stdout
    assert "names no environment" in result.stderr
    found, wanted = data.load("mine/three"), data.load(f"file:{path}")
    assert (found.id, found.space.low, found.environment) == ("mine/three", (-2.0,), None)
    np.testing.assert_allclose(found.transitions.actions, wanted.transitions.actions / 2)
    np.testing.assert_allclose(found.transitions.next_actions, wanted.transitions.next_actions / 2)
    for name in set(found.transitions._fields) - {"actions", "next_actions"}:
        np.testing.assert_array_equal(getattr(found.transitions, name), getattr(wanted.transitions, name), name)


def test_import_of_columns_of_other_names(places):
    import h5py

    path, whole = places.parent / "own.h5", write(places.parent / "mine.h5")
    flat, wide = np.arange(8.0), np.arange(16.0).reshape(8, 2)
    with h5py.File(path, "w") as file:
        file["log/position"], file["log/velocity"] = flat, wide
        file["log/torque"], file["log/reward"] = ACTIONS[:, 0], REWARDS
        file["terminals"], file["timeouts"] = TERMINALS, TIMEOUTS
    given = ["observations=log/position,log/velocity", "actions=log/torque", "rewards=log/reward"]
    options = [part for one in given for part in ("--column", one)]
    assert here("data", "import", path, "--id", "mine/own", *options)[0] == 0
    found, wanted = data.read("mine/own").columns, data.read(f"file:{whole}").columns
    np.testing.assert_array_equal(found.observations, np.column_stack([flat, wide]))
    for name in ("actions", "rewards", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), name)
    with pytest.raises(
        PogospecError, match=r"log/position, .*did you mean 'log/reward'\? .* --column rewards=log/reward"
    ):
        here("data", "inspect", f"file:{path}")
    for wrong, words in {
        "actions": "--column: found 'actions', allowed NAME=COLUMN",
        "action=log/torque": "no use for a column 'action', allowed .*did you mean actions",
        "actions=log/torqe": "no column 'log/torqe' for actions; found .*did you mean 'log/torque'",
        "actions=log/torque,short": "found the columns log/torque .8, 1., short .3, 1., allowed",
    }.items():
        with h5py.File(path, "a") as file:
            if "short" not in file:
                file["short"] = np.zeros(3)
        with pytest.raises(PogospecError, match=words):
            here("data", "import", path, "--id", "mine/no", *options[:2], *options[4:], "--column", wrong)
    with pytest.raises(PogospecError, match="found actions twice"):
        here("data", "import", path, "--id", "mine/no", *options, "--column", "actions=terminals")
    with pytest.raises(PogospecError, match="discrete actions"):
        here("data", "import", path, "--id", "mine/no", *options[:2], *options[4:], "--column", "actions=terminals")


FOREIGN = {"states": OBSERVATIONS, "acts": ACTIONS, "rew": REWARDS, "done": TERMINALS | TIMEOUTS}


def test_one_command_imports_columns_of_other_names(places, tmp_path):
    path = tmp_path / "my log.npz"
    np.savez(path, **FOREIGN)
    told = command("data", "inspect", f"file:{path}").stderr
    assert "found states, acts, rew, done; did you mean 'states' for observations, 'acts' for actions, 'rew'" in told
    assert "'done' does not tell terminations from time limits: state both, as terminals and timeouts" in told
    words = shlex.split(told[told.index("pogospec data import") :])
    assert words[:5] == ["pogospec", "data", "import", str(path), "--id"]
    assert words[-2:] == ["--max-episode-steps", "N"]
    done = command(*words[1:-1], "3")
    assert done.returncode == 0, done.stderr
    assert "ends of episodes: 0 terminations, 2 at the time limit of 3 steps" in done.stdout
    assert words[5] == "mine/my-log"
    np.testing.assert_array_equal(data.read("mine/my-log").columns.observations, OBSERVATIONS)
    with pytest.raises(PogospecError, match="found states, acts, rew, done; did you mean 'rew'") as caught:
        here("data", "import", path, "--id", "mine/other", *words[6:8], "--column", "actions=acts")
    assert "--column observations=states --column actions=acts --column rewards=rew --column terminals=done" in str(
        caught.value
    )
    with pytest.raises(PogospecError, match=r"did you mean 'done'\? Rename it to terminals.*--max-episode-steps 3"):
        here("data", "import", path, "--id", "mine/other", *words[6:12], "--max-episode-steps", "3")


def test_a_time_limit_tells_the_ends_of_episodes_apart(places):
    ends = np.array([0, 1, 0, 0, 1, 1, 0, 0], bool)  # episodes of 2, 3 and 1 steps, and 2 that the file cuts
    path = write(places.parent / "mine.npz", terminals=ends, timeouts=None)
    assert here("data", "import", path, "--id", "mine", "--max-episode-steps", "3")[0] == 0
    found = data.read("mine").columns
    np.testing.assert_array_equal(np.flatnonzero(found.truncated), [4])
    np.testing.assert_array_equal(np.flatnonzero(found.terminated), [1, 5])
    with pytest.raises(PogospecError, match="found an episode of 3 steps, allowed 2"):
        here("data", "import", path, "--id", "no", "--max-episode-steps", "2")
    write(path, terminals=np.eye(8, dtype=bool)[0], timeouts=None)
    with pytest.raises(PogospecError, match="found an episode of 7 steps, allowed 3"):  # the file cuts it
        here("data", "import", path, "--id", "no", "--max-episode-steps", "3")
    write(path)
    with pytest.raises(PogospecError, match="found timeouts, which tells time limits; leave --max-episode-steps out"):
        here("data", "import", path, "--id", "no", "--max-episode-steps", "3")


def test_import_tells_of_rolled_next_observations(places):
    path = write(places.parent / "mine.npz", next_observations=np.roll(OBSERVATIONS, -1, 0))
    done = command("data", "import", path, "--id", "mine/rolled")
    assert "note: 2 rows at time limits are left out" in done.stderr
    assert len(data.load("mine/rolled").transitions.rewards) == 6


def test_run_takes_an_imported_dataset(places, tmp_path):
    source = data.read("pocket/reacher-mixed").columns
    changes = {name: getattr(source, name)[:200] for name in ("observations", "actions", "rewards")}
    flags = {"terminals": source.terminated[:200], "timeouts": source.truncated[:200]}
    path = write(tmp_path / "mine.h5", **changes, **flags)
    made = command("data", "import", path, "--id", "mine/reacher", "--environment", "Reacher-v4")
    assert (made.returncode, made.stderr) == (0, "")
    small = ["--updates", "2", "--set", "policy.hidden=[4]", "--set", "evaluate.episodes=1", "--quiet"]
    run = command("run", "bc", "--dataset", "mine/reacher", "--out", tmp_path / "run", *small)
    assert run.returncode == 0, run.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["dataset"], manifest["environment"]) == ("mine/reacher", "Reacher-v4")
    assert manifest["data_sha256"] == data.load("mine/reacher").sha256


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--id", "d4rl/mine"], "not beginning with pocket/ or d4rl/"),
        (["--id", "../mine"], "found '../mine', allowed letters"),
        (["--id", "mine", "--low", "-1"], "found one of them, allowed both or neither"),
        (["--id", "mine", "--low", "a", "--high", "1"], "--low: found 'a', allowed a number"),
        (["--id", "mine", "--low", "-0.1", "--high", "0.1"], "actions lie outside the bounds"),
        (["--id", "mine", "--environment", "Hoper-v4"], "the environment 'Hoper-v4' cannot be made"),
        (["--id", "mine", "--environment", "Hoper-v4"], "or name another one in --environment"),
        (["--id", "mine", "--environment", "Pendulum-v0"], "use `Pendulum-v1` instead.); name the newer one in --env"),
        (["--id", "mine", "--low", "-0.1", "--high", "0.1"], "true bounds: --low and --high, or --environment"),
    ],
)
def test_imports_that_are_refused(places, options, words):
    path = write(places.parent / "mine.npz")
    with pytest.raises(PogospecError) as caught:
        here("data", "import", path, *options)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2
    assert list(places.rglob("*")) == []


def test_import_overwrites_only_when_told(places):
    path = write(places.parent / "mine.npz")
    assert here("data", "import", path, "--id", "mine")[0] == 0
    with pytest.raises(UsageError, match="mine.safetensors exists; choose another id, or add --overwrite"):
        here("data", "import", path, "--id", "mine")
    write(path, rewards=REWARDS + 1)
    assert here("data", "import", path, "--id", "mine", "--overwrite")[0] == 0
    assert data.load("mine").transitions.rewards[0] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["inspect", "file:nowhere.npz"], "nowhere.npz: no such file"),
        (["inspect", "mine/thre"], "did you mean mine/three?"),
        (["import", "nowhere.npz", "--id", "x"], "nowhere.npz: no such file"),
        (["fetch", "d4rl/hopper-medium-v2"], "put hopper_medium-v2.hdf5 at "),
        (["fetch", "file:x.npz"], "allowed the id of a Minari dataset"),
        (["fetch", "no version"], "the id of a Minari dataset, NAMESPACE/NAME-vN; see those at hand"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(places, words, told):
    import_file(write(places.parent / "mine.npz"), "mine/three")
    result = command("data", *words)
    assert result.returncode == 2
    assert told in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


class Refused(Exception):
    """What a library for downloads raises."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("huggingface_hub is not installed."), r'huggingface_hub; pip install "pogospec\[fetch\]"$'),
        (Refused("Name or service not known\n"), r"was not downloaded \(Name or service not known\); try again where"),
        (Refused(), r"was not downloaded \(Refused\); try again where"),
        (ValueError("Couldn't find any version for dataset a/b."), r"Couldn't find any version .*minari list remote$"),
    ],
)
def test_a_download_that_fails_is_told_in_one_line(places, monkeypatch, error, words):
    def answer(dataset_id):
        raise error

    monkeypatch.setattr(minari, "download_dataset", answer)
    with pytest.raises(DataError, match=words) as caught:
        Minari().fetch("a/b-v0")
    assert "\n" not in str(caught.value)


def test_a_download(places, monkeypatch, capsys):
    folder = places.parent / "MINARI_DATASETS_PATH" / "a/b-v0"

    def answer(dataset_id):
        print("Downloading")
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "metadata.json").write_text("{}")

    monkeypatch.setattr(minari, "download_dataset", answer)
    code, text = here("data", "fetch", "a/b-v0")
    assert (code, text) == (0, f"a/b-v0: in {folder}\n")
    assert "at hand already" in here("data", "fetch", "a/b-v0")[1]
    monkeypatch.setattr(minari, "download_dataset", lambda dataset_id: None)
    with pytest.raises(DataError, match="fetch it again"):
        Minari().fetch("a/c-v0")


def test_nothing_is_downloaded_at_run_time(places, monkeypatch):
    monkeypatch.setattr(minari, "download_dataset", lambda dataset_id: pytest.fail("downloaded"))
    with pytest.raises(DataError, match="or get it with: pogospec data fetch a/b-v0"):
        data.load("a/b-v0")
