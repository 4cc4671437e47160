"""Every source of data keeps the same promises, and commands agree on which data there are."""

import json
import re
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from commands import pogospec
from made import ACTIONS, FILE, ID, OBSERVATIONS, REWARDS, TERMINALS, TIMEOUTS, write
from minari.data_collector import EpisodeBuffer

from pogospec import data, registry
from pogospec.data import catalog
from pogospec.data.gym import quiet
from pogospec.data.sources.base import NotAtHand, Source
from pogospec.data.sources.imported import import_file
from pogospec.errors import DataError, UsageError

NAMES = list(registry.table("source"))
MINARI = "made/three-v0"
OGBENCH, OGBENCH_FILE = "ogbench/pointmaze-large-stitch-singletask-v0", "pointmaze-large-stitch-v0.npz"
LINES = '''\
"""A source of another package: comma-separated values."""

from pathlib import Path

import numpy as np

from pogospec.data.sources.base import NotAtHand, Source
from pogospec.data.tables import from_arrays


class Lines(Source):
    """Files of comma-separated values."""

    label, prefix, form = "lines", "lines:", "lines:PATH"

    def find(self, dataset_id):
        path = Path(dataset_id.removeprefix(self.prefix))
        if not path.is_file():
            raise NotAtHand(dataset_id, f"{path}: no such file")
        return path

    def read(self, dataset_id, environment=None, observe=None):
        path = self.find(dataset_id)
        rows = np.genfromtxt(path, delimiter=",", names=True)
        return from_arrays(dataset_id, path, {name: rows[name] for name in rows.dtype.names}, environment)

    def ids(self):
        return [f"{self.prefix}{path}" for path in sorted(Path().glob("*.csv"))]
'''


def collect_minari():
    """The made data as a Minari dataset, in the folder of MINARI_DATASETS_PATH."""
    edges = [0, 3, 6, 8]
    buffers = [
        EpisodeBuffer(
            observations=[*OBSERVATIONS[a:b], np.full(1, 99, np.float32)], actions=list(ACTIONS[a:b]),
            rewards=list(REWARDS[a:b]), terminations=list(TERMINALS[a:b]), truncations=list(TIMEOUTS[a:b]), infos={},
        )
        for a, b in zip(edges, edges[1:], strict=False)
    ]  # fmt: skip
    box = gymnasium.spaces.Box
    about = dict.fromkeys(("algorithm_name", "author", "author_email", "code_permalink", "description"), "a test")
    with quiet():
        minari.create_dataset_from_buffers(
            MINARI, buffers, observation_space=box(-99, 99, (1,)), action_space=box(-1, 1, (1,)), **about
        )


@pytest.fixture(scope="module")
def stocked(tmp_path_factory):
    """A dataset at hand of every source that is asked for by a name or a file; name of the source -> id, misspelt."""
    folder = tmp_path_factory.mktemp("stocked")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("POGOSPEC_DATA_DIR", "D4RL_DATASET_DIR", "OGBENCH_DATASET_DIR", "MINARI_DATASETS_PATH"):
            (folder / variable).mkdir()
            patch.setenv(variable, str(folder / variable))
        patch.chdir(folder)
        hopper = {"observations": np.ones((8, 11), np.float32), "actions": np.zeros((8, 3), np.float32)}
        write(folder / "POGOSPEC_DATA_DIR" / FILE, **hopper)
        point: Any = {name: np.ones((8, 2), np.float32) for name in ("observations", "actions", "qpos")}
        np.savez(folder / "OGBENCH_DATASET_DIR" / OGBENCH_FILE, **point, terminals=TERMINALS)
        import_file(write(folder / "mine.npz"), "mine/three")
        collect_minari()
        yield {
            "pocket": ("pocket/reacher-mixed", "pocket/reacher-mixd"),
            "d4rl": (ID, "d4rl/hoper-medium-v2"),
            "ogbench": (OGBENCH, OGBENCH.replace("large", "larg")),
            "file": ("file:mine.npz", "file:min.npz"),
            "imported": ("mine/three", "mine/thre"),
            "minari": (MINARI, "made/thre-v0"),
        }


def source(name) -> Source:
    return registry.load("source", name)()


@pytest.mark.parametrize("name", NAMES)
def test_a_source_finds_and_reads_what_is_its(stocked, name):
    own, (dataset_id, _) = source(name), stocked[name]
    assert own.label
    assert type(catalog.source_of(dataset_id)) is type(own)
    assert all(type(catalog.source_of(other)) is not type(own) for key, (other, _) in stocked.items() if key != name)
    assert own.find(dataset_id).is_file()
    found = data.read(dataset_id)
    columns, count = found.columns, len(found.columns.rewards)
    assert (found.id, found.faults()) == (dataset_id, [])
    assert found.file == own.find(dataset_id)
    assert columns.observations.shape[0] == columns.actions.shape[0] == len(columns.terminated) == count > 0
    assert columns.observations.dtype == columns.actions.dtype == columns.rewards.dtype == np.float32
    assert columns.terminated.dtype == columns.truncated.dtype == bool
    assert len(found.low) == len(found.high) == columns.actions.shape[1]
    assert len(found.dataset().transitions.rewards) > 0
    assert data.read(dataset_id, "Pendulum-v1").environment == "Pendulum-v1"


@pytest.mark.parametrize("name", NAMES)
def test_a_source_lists_its_own(stocked, name):
    own, (dataset_id, _) = source(name), stocked[name]
    assert name == "file" or dataset_id in own.ids()
    for one in own.ids():
        assert own.owns(one)
        own.find(one)
        entry, found = own.describe(one), data.read(one)
        assert (entry.dataset, entry.source, entry.file) == (one, own.label, str(found.file))
        assert (entry.rows, entry.environment) == (len(found.columns.rewards), found.environment)
    assert {entry.dataset for entry in catalog.at_hand() if entry.source == own.label} == set(own.ids())


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_id_is_refused_with_the_nearest(stocked, name):
    dataset_id, wrong = stocked[name]
    with pytest.raises(DataError, match=f"did you mean {re.escape(dataset_id.removeprefix('file:'))}") as caught:
        data.find(wrong)
    with pytest.raises(DataError) as again:
        data.load(wrong)
    assert str(caught.value) == str(again.value)
    assert type(caught.value) is type(again.value)
    assert isinstance(caught.value, NotAtHand) is (name in ("file", "minari"))  # else there can be no such dataset


@pytest.mark.parametrize("name", [name for name in NAMES if name != "minari"])
def test_entries_are_observed_where_there_are_some(stocked, name):
    with pytest.raises(DataError, match="data.observe: found .goal., but the observations of these data are one array"):
        data.read(stocked[name][0], None, ["goal"])


def test_ids_that_are_nobodys(stocked):
    for wrong, close in (
        ("pockt/reacher-mixed", "pocket/reacher-mixed"), ("reacher-mixed", "pocket/reacher-mixed"),
        ("mine.npz", "file:mine.npz"), ("", None), ("no version", None), ("x" * 5000, None), ("../../x", None),
    ):  # fmt: skip
        with pytest.raises(
            DataError, match="allowed pocket/NAME, d4rl/NAME, ogbench/NAME, file:PATH, the id of a dataset imp"
        ) as caught:
            data.find(wrong)
        assert not isinstance(caught.value, NotAtHand)
        told = str(caught.value)
        assert told.endswith(f"; did you mean {close}?") if close else "did you mean" not in told
    with pytest.raises(NotAtHand, match=f"did you mean {ID}") as caught:  # Minari could have it
        data.find(ID.replace("d4rl", "d4lr"))
    assert caught.value.how.endswith(f"did you mean {ID}?")


def test_an_imported_dataset_goes_before_minaris_of_the_same_id(stocked, monkeypatch, tmp_path):
    monkeypatch.setenv("POGOSPEC_DATA_DIR", str(tmp_path))
    path = write(tmp_path / "other.npz", rewards=REWARDS + 1)
    with pytest.raises(UsageError, match="is a Minari dataset already"):
        import_file(path, MINARI)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "empty"))
    import_file(path, MINARI)
    monkeypatch.undo()
    monkeypatch.setenv("POGOSPEC_DATA_DIR", str(tmp_path))
    assert data.read(MINARI).columns.rewards[0] == REWARDS[0] + 1
    (entry,) = [entry for entry in catalog.at_hand() if entry.dataset == MINARI]
    assert entry.source == "imported"


def test_a_source_that_cannot_be_imported_is_told_by_name(monkeypatch):
    monkeypatch.setitem(registry.BESIDE["source"], "lost", "no_such_module:Lost")
    data.find("pocket/reacher-mixed")
    with pytest.raises(DataError, match="'lost', no_such_module:Lost, cannot be loaded .*ModuleNotFoundError"):
        data.find("mine/three")


SMALL = ["--set", "policy.hidden=[4]", "--set", "evaluate.episodes=1"]
SMALL += ["--set", "schedule.steps[*].updates=2", "--set", "train.batch_size=4"]


def spec_on(folder, dataset_id, more=""):
    """A spec on a dataset, whose id stands in line 3, column 18."""
    path = folder / "spec.yaml"
    text = f"extends: bc\nname: mine\ndata:  {{dataset: {json.dumps(dataset_id)}{more}}}\n"
    path.write_text(text)
    return path


def command(*words):
    """A command and how it ended."""
    return pogospec(*words, check=False)


def agree(folder, dataset_id, code, more=""):
    """A spec on a dataset, and what `check` and `run` say of it; they end with the codes."""
    path = spec_on(folder, dataset_id, more)
    checked, ran = command("check", path, *SMALL), command("run", path, *SMALL, "--out", folder / "run")
    assert (checked.returncode, ran.returncode) == code, (checked.stderr, ran.stderr)
    assert "Traceback" not in checked.stderr + ran.stderr
    return path, checked, ran


@pytest.mark.parametrize("name", ["pocket", "d4rl", "ogbench", "imported"])
def test_check_refuses_what_run_refuses(stocked, tmp_path, name):
    path, checked, ran = agree(tmp_path, stocked[name][1], (2, 2))
    assert checked.stderr == ran.stderr
    assert re.match(rf"{re.escape(str(path))}:3:18: data\.dataset: .*did you mean {stocked[name][0]}", checked.stderr)
    assert (checked.stdout, ran.stdout) == ("", "")
    assert not (tmp_path / "run").exists()
    assert command("explain", path).stderr == ran.stderr
    told = command("check", path, "--json")
    assert told.returncode == 2
    (problem,) = json.loads(told.stdout)["files"][0]["problems"]
    assert (problem["line"], problem["column"], problem["path"]) == (3, 18, "data.dataset")
    assert ran.stderr.strip().endswith(problem["message"])


@pytest.mark.parametrize(
    ("dataset_id", "how"),
    [
        ("d4rl/walker2d-expert-v2", "get D4RL's file walker2d_expert-v2.hdf5 and put it at "),
        (
            "ogbench/scene-play-singletask-v0",
            "get https://rail.eecs.berkeley.edu/datasets/ogbench/scene-play-v0.npz and ",
        ),
        ("file:min.npz", "min.npz: no such file; did you mean mine.npz?"),
        ("mujoco/hopper/medium-v0", "set MINARI_DATASETS_PATH to the folder that holds it, or get it with: pogospec "),
    ],
)
def test_check_notes_what_another_machine_may_have(stocked, tmp_path, dataset_id, how):
    path, checked, ran = agree(tmp_path, dataset_id, (0, 2))
    assert checked.stderr.startswith(f"note: {path}:3:18: data.dataset: '{dataset_id}' is not at hand here; {how}")
    assert checked.stdout.startswith(f"{path}: fine (")
    assert ran.stdout == ""
    assert ran.stderr.startswith(f"{path}:3:18: data.dataset: ")
    assert how.partition("; did")[0][1:] in ran.stderr
    assert not (tmp_path / "run").exists()
    explained = command("explain", path, "--no-measure")
    assert (explained.returncode, explained.stderr) == (0, "")
    assert "not at hand" in explained.stdout
    told = command("check", path, "--json")
    (entry,) = json.loads(told.stdout)["files"]
    assert (told.returncode, told.stderr, entry["ok"], entry["problems"]) == (0, "", True, [])
    assert [(note["line"], note["path"]) for note in entry["notes"]] == [(3, "data.dataset")]


def whole(dataset_id):
    """As a run keeps it: found from any folder."""
    scheme, _, name = dataset_id.rpartition(":")
    return f"{scheme}:{Path(name).absolute()}" if scheme else name


@pytest.mark.thinned(2, "a run for each name")
@pytest.mark.parametrize("name", NAMES)
def test_check_and_run_take_what_is_at_hand(stocked, tmp_path, name):
    if name == "ogbench":
        pytest.importorskip("ogbench", reason="ogbench is not installed: the extra ogbench")
    _, checked, _ = agree(tmp_path, stocked[name][0], (0, 0))
    assert checked.stderr == ""
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["dataset"] == whole(stocked[name][0])


def test_check_refuses_files_of_another_kind_and_entries_of_one_array(stocked, tmp_path):
    _, checked, ran = agree(tmp_path, "file:mine.csv", (2, 2))
    assert checked.stderr == ran.stderr
    assert "mine.csv: no such file, and '.csv' is none of the kinds .hdf5, .h5, .npz, .parquet, .saf" in ran.stderr
    path, checked, ran = agree(tmp_path, "pocket/reacher-mixed", (2, 2), ", observe: [goal]")
    assert checked.stderr == ran.stderr
    assert checked.stderr.startswith(f"{path}:3:51: data.observe: found [goal], but the observations of these data are")


def test_shipped_specs_and_suites_are_fine_without_data(places):
    done = command("check", "bc", "pogo_fr", "--set", f"data.dataset={ID}")
    assert (done.returncode, done.stderr.count("note: --set data.dataset: data.dataset: '")) == (0, 2)


def test_a_source_of_another_package(tmp_path, monkeypatch):
    installed, place = tmp_path / "installed", tmp_path / "here"
    about = installed / "lines-1.0.dist-info"
    about.mkdir(parents=True)
    place.mkdir()
    (installed / "lines_source.py").write_text(LINES)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lines\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pogospec.kinds]\nsource.lines = lines_source:Lines\n")
    rows = np.concatenate([OBSERVATIONS, OBSERVATIONS + 1, ACTIONS, REWARDS[:, None]], 1)
    rows = np.concatenate([rows, TERMINALS[:, None], TIMEOUTS[:, None]], 1)
    names = "observation_0,observation_1,action_0,rewards,terminals,timeouts"
    np.savetxt(place / "mine.csv", rows, delimiter=",", header=names, comments="")
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    listed = {row["dataset"]: row for row in json.loads(command("data", "list", "--json").stdout)}
    assert (listed["lines:mine.csv"]["source"], listed["lines:mine.csv"]["rows"]) == ("lines", 8)
    assert "lines:PATH" in command("data", "list").stdout
    facts = json.loads(command("data", "inspect", "lines:mine.csv", "--json").stdout)
    assert (facts["rows"], facts["obs_dim"], facts["act_dim"], facts["ok"]) == (8, 2, 1, True)
    agree(tmp_path, "lines:mine.csv", (0, 0))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["dataset"] == "lines:mine.csv"
    _, checked, ran = agree(tmp_path, "lines:nowhere.csv", (0, 2))
    assert "'lines:nowhere.csv' is not at hand here; nowhere.csv: no such file" in checked.stderr
    assert "'lines:nowhere.csv' is not at hand; nowhere.csv: no such file" in ran.stderr
    refused = command("data", "import", "x.npz", "--id", "lines:x")
    assert refused.returncode == 2
    kinds = json.loads(command("list", "kinds", "--json").stdout)
    assert "source" not in {row["slot"] for row in kinds}


def test_no_prefix_is_named_outside_its_source():
    package = Path(data.__file__).parents[1]
    prefixes = "|".join(one.prefix for one in map(source, NAMES) if one.prefix)
    code = {str(path.relative_to(package)): path.read_text() for path in package.rglob("*.py")}
    named = {name for name, text in code.items() if re.search(rf"[\"']({prefixes})[\"']", text)}
    asked = {name for name, text in code.items() if re.search(rf"(startswith|removeprefix)\([^)]*({prefixes})", text)}
    assert named == {
        "data/pocket/collect.py",
        *(f"data/sources/{name}.py" for name in ("pocket", "d4rl", "ogbench", "file")),
    }
    assert asked == {"data/pocket/collect.py"}  # the recipes of the embedded sets
