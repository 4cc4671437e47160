"""Seeds by number, and seeds that are added to a run that is done: the same bits as of a run of all."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import pogospec, sets
from test_resume import assert_same, rows

import pogospec as package
from pogospec.checking.recorded import reread
from pogospec.errors import RunDirectoryError, SpecError, UsageError
from pogospec.launch import more
from pogospec.runs import files, tables
from pogospec.runs.directory import RunDirectory
from pogospec.training.place import Place

SMALL = ["schedule.steps[*].updates=12", "train.log_every=5", "train.checkpoint_every=6", "evaluate.every=6"]
SMALL += ["evaluate.episodes=2", "train.batch_size=8", "evaluate.action=sample", "data.holdout=0.1"]
SMALL += ["policy={kind: gaussian, hidden: [8]}", "optimizer.policy.average={window: 4}"]
RUN = ["run", "bc", *sets(*SMALL), "--quiet"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of seeds 0 to 2, one of seeds 0 and 1, and that of seed 1 within the first."""
    folder = tmp_path_factory.mktemp("seeds")
    for name, seeds in (("all", 3), ("two", 2)):
        pogospec(*RUN, "--seeds", seeds, "--out", folder / name)
    part_of_all(folder, folder / "one", [1])
    return folder


def about(path: Path):
    """What a run says of itself, but for when it began."""
    found = json.loads((path / "manifest.json").read_text())
    wanted = ("digest", "identity", "seeds", "seed_numbers", "spec_sha256", "episodes")
    return {key: found.get(key) for key in wanted}


def whole_of(runs):
    """The spec of all seeds."""
    return reread(RunDirectory.open(runs / "all"))[1]


@pytest.mark.exhaustive("trains once more; that seeds are told apart is seen where some are added")
def test_a_seed_alone_is_what_it_is_among_others(runs, tmp_path):
    pogospec(*RUN, *sets("seeds=[1]"), "--out", tmp_path / "one")
    one = rows(tmp_path / "one", "metrics.csv")
    assert {row["seed"] for row in one} == {"1"}
    assert one == [row for row in rows(runs / "all", "metrics.csv") if row["seed"] == "1"]
    policy, same = package.load_policy(tmp_path / "one"), package.load_policy(runs / "all", seed=1)
    assert policy.seed == 1
    np.testing.assert_array_equal(policy.act(np.zeros(11)), same.act(np.zeros(11)))
    with pytest.raises(UsageError, match="found seed 0, allowed 1"):
        package.load_policy(tmp_path / "one", seed=0)
    assert package.Run.open(tmp_path / "one").table().seed.unique().tolist() == [1]


def test_seeds_that_are_added_leave_the_run_that_all_of_them_make(runs, tmp_path):
    shutil.copytree(runs / "two", tmp_path / "run")
    done = pogospec("resume", tmp_path / "run", "--seeds", 3, "--quiet")
    assert set(done.stdout.split()) <= {str(tmp_path / "run")}
    assert_same(runs / "all", tmp_path / "run")
    assert about(tmp_path / "run") == about(runs / "all")
    assert (tmp_path / "run" / "spec.yaml").read_text() == (runs / "all" / "spec.yaml").read_text()
    assert not (tmp_path / "run" / "more").exists()
    (added,) = RunDirectory.open(tmp_path / "run").manifest["added"]
    assert added["seeds"] == [2]
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    pogospec("resume", tmp_path / "run", "--seeds", "0,1,2", "--quiet")
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before, "it has them all"


def part_of_all(runs, path, kept):
    """The run of some seeds, cut out of that of all three."""
    shutil.copytree(runs / "all", path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"seeds": len(kept), "seed_numbers": kept}))
    for name in ("metrics.csv", "returns.csv", "flow.csv"):
        head, found = tables.read(path / name)
        at = head.index("seed")
        (path / name).write_bytes(tables.lines_of([head, *(row for row in found if int(row[at]) in kept)]))
    for file in (*(path / "policies").iterdir(), *(path / "checkpoints").iterdir()):
        arrays, meta = files.load_arrays(file)
        cut = {key: array if key.startswith("normalizer") else array[kept] for key, array in arrays.items()}
        if "place" in meta:
            place = Place(**meta["place"])
            meta["place"] = Place.of_parts([place.part(slice(i, i + 1)) for i in kept]).plain()
        files.save_arrays(file, cut, meta)
    return RunDirectory.open(path)


@pytest.mark.thinned(("0", "4"), "moves files once more, killed at another one")
@pytest.mark.parametrize("when", range(9), ids=str)
def test_a_process_that_is_killed_while_files_move_is_gone_on_with(runs, tmp_path, monkeypatch, when):
    class Gone(BaseException):
        pass

    def replace(source, target):
        if next(moves) == when:
            raise Gone
        real(source, target)

    run, real, moves = tmp_path / "run", more.os.replace, iter(range(100))
    directory = part_of_all(runs, run, [1])
    more._join(directory, part_of_all(runs, run / "more" / "0-2", [0, 2]), whole_of(runs))
    monkeypatch.setattr(more.os, "replace", replace)
    try:
        more.finish(directory)
    except Gone:
        monkeypatch.undo()
        assert (run / "more").exists()
        more.finish(directory)
    monkeypatch.undo()
    assert_same(runs / "all", run)
    assert about(run) == about(runs / "all")
    assert not (run / "more").exists()


def test_what_cannot_be_added_is_refused(runs, tmp_path):
    def refused(*words):
        return pogospec("resume", *words, check=False).stderr

    one = runs / "one"
    assert "found none of 1, which" in refused(one, "--seeds", "0,2")
    assert "found 0, allowed seeds above 1: " in refused(one, "--seeds", "0,1,2")
    assert "found 'x', allowed how many" in refused(one, "--seeds", "x")
    assert "one of them twice" in refused(one, "--seeds", "1,1")
    assert "more" not in {path.name for path in one.iterdir()}
    shutil.copytree(one, tmp_path / "half")
    RunDirectory(tmp_path / "half").status("interrupted", "", 3)
    assert "is interrupted, allowed a run that is done; go on with" in refused(tmp_path / "half", "--seeds", 3)


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ([3, 1, 3], "seeds: found 3 twice; keep one"),
        (0, "seeds: found 0, allowed a whole number >= 1"),
        ([1, -1], "seeds[1]: found -1, allowed a whole number >= 0"),
        ([], "seeds: found 0 entries, allowed 1 or more"),
        ("many", "seeds: found 'many', allowed a whole number >= 1"),
    ],
)
def test_seeds_that_are_none(seeds, told):
    with pytest.raises(SpecError) as caught:
        package.load({"extends": "td3_bc", "seeds": seeds})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"schedule.steps[0].until": "critic_settled"}, r"steps\[0\] of .* has until"),
        ({"schedule.steps[1].tau": {"kind": "backtracking", "start": 20}}, r"steps\[1\] of .* has tau: backtracking"),
    ],
)
def test_seeds_that_end_their_steps_together_are_not_parted(tmp_path, changes, rule):
    spec = package.load("pogo_fr_two_step", changes | {"data.holdout": 0.1})
    run = RunDirectory.create(tmp_path / "run", "", {"seeds": 1})
    run.status("done")
    with pytest.raises(UsageError, match=rf"{rule}, by which its seeds end steps"):
        more._check(run, spec, [0], [0, 1])


def test_rows_that_do_not_fit_are_refused(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "one", run)
    other = part_of_all(runs, tmp_path / "other", [0, 2])
    lines = (other.path / "returns.csv").read_text().splitlines()
    (other.path / "returns.csv").write_text("\n".join(lines[:-4]) + "\n")
    with pytest.raises(RunDirectoryError, match="does not have the rows of"):
        more._join(RunDirectory.open(run), other, whole_of(runs))
    more.finish(RunDirectory.open(run))
    assert about(run) == about(runs / "one")
