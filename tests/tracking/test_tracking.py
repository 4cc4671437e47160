"""What trackers hear of runs: what the files hold, each point once; and that no run depends on them."""

import csv
import itertools
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from again import done, told
from commands import sets
from rich.console import Console
from test_resume import assert_same

import pogospec as package
from pogospec import registry
from pogospec.checking.check import checked
from pogospec.checking.trackers import require_trackers, trackers
from pogospec.errors import SpecError, UsageError
from pogospec.extras import Needs
from pogospec.launch.states import _changes
from pogospec.report.reading.keys import differing
from pogospec.runs.directory import RunDirectory
from pogospec.spec.branching import name_of, trunk_of
from pogospec.spec.resolve import read_text
from pogospec.tracking import listener
from pogospec.tracking.base import AbstractTracker, Session
from pogospec.training import events

SMALL = ["seeds=2", "schedule.steps[*].updates=12", "train.log_every=5", "train.checkpoint_every=6"]
SMALL += ["evaluate.every=6", "evaluate.episodes=2", "train.batch_size=8", "data.holdout=0.1", "policy.hidden=[8]"]
RUN = ["run", "bc", *sets(*SMALL), "--quiet"]
HEARD: dict[str, list["Listening"]] = {}
"""Sessions by the directory of their run."""


class Listening(Session):
    """Remembers everything."""

    def __init__(self, subject, known):
        self.subject, self.known, self.id = subject, known, known or f"id-{next(NUMBERS)}"
        self.points: list[tuple[int, dict[str, float]]] = []
        self.end = self.table = None
        HEARD.setdefault(str(subject.path), []).append(self)

    def log(self, step, values):
        self.points.append((step, values))

    def flush(self):
        pass

    def finish(self, end, results):
        self.end, self.table = end, results


NUMBERS = itertools.count()


@dataclass(frozen=True)
class Fake(AbstractTracker):
    """A tracker of nobody's."""

    project: Annotated[str, "one key"] = "mine"

    def start(self, subject, known):
        return Listening(subject, known)


class FailsToStart(Fake):
    """One without its server."""

    def start(self, subject, known):
        raise SystemExit("no key\nand no network")


class FailsToLog(Fake):
    """One whose disk is full."""

    def start(self, subject, known):
        session = Listening(subject, known)
        session.log = lambda step, values: (_ for _ in ()).throw(OSError(28, "No space left on device"))  # type: ignore
        return session


class FailsToFinish(Fake):
    """One that never ends."""

    def start(self, subject, known):
        session = Listening(subject, known)
        session.finish = lambda end, results: time.sleep(30)  # type: ignore
        return session


KINDS = {"fake": Fake, "no_start": FailsToStart, "no_log": FailsToLog, "no_finish": FailsToFinish}


@pytest.fixture(autouse=True, scope="module")
def registered():
    with pytest.MonkeyPatch.context() as patch:
        for kind, cls in KINDS.items():
            patch.setitem(registry.BUILT_IN["tracker"], kind, f"{__name__}:{cls.__name__}")
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run with a tracker and without."""
    folder = tmp_path_factory.mktemp("runs")
    done(*RUN, "--out", folder / "plain")
    done(*RUN, "--track", "fake", "--out", folder / "tracked")
    return folder


def points_of(path: Path) -> dict[tuple[int, str], float]:
    """What is to be heard of a run: from its tables, by no code of the package."""
    found: dict[tuple[int, str], float] = {}
    for name, inner in (("metrics.csv", ""), ("flow.csv", "held_out/")):
        by_moment: dict[Any, list[dict[str, str]]] = {}
        with (path / name).open() as file:
            for row in csv.DictReader(file):
                moment = int(row.pop("total_update")), row.pop("stage"), row.pop("update")
                by_moment.setdefault(moment, []).append(row)
        for (total, stage, _), group in by_moment.items():
            for column in group[0].keys() - {"seed", "seconds", "accepted"}:
                values = [float(row[column]) for row in group if row[column]]
                if values and np.isfinite(np.mean(values)):
                    found[total, f"{stage}/{inner}{column}"] = float(np.mean(values))
    about = json.loads((path / "manifest.json").read_text())["reference"]
    by_policy: dict[Any, dict[str, list[float]]] = {}
    with (path / "returns.csv").open() as file:
        for row in csv.DictReader(file):
            seeds = by_policy.setdefault((int(row["total_update"]), row["policy"]), {})
            seeds.setdefault(row["seed"], []).append(float(row["return"]))
    for (total, policy), seeds in by_policy.items():
        means = np.array([np.mean(episodes) for episodes in seeds.values()])
        scores = 100 * (means - about["low"]) / (about["high"] - about["low"])
        for name, values in (("return", means), ("score", scores)):
            found[total, f"{policy}/{name}"] = float(values.mean())
            if len(values) > 1:
                found[total, f"{policy}/{name}_std"] = float(values.std(ddof=1))
    return found


def heard_by(*sessions: Listening) -> dict[tuple[int, str], float]:
    """What sessions heard; nothing twice."""
    found: dict[tuple[int, str], float] = {}
    for session in sessions:
        for step, values in session.points:
            for name, value in values.items():
                assert (step, name) not in found, f"{name} twice after {step} updates"
                found[step, name] = value
    return found


def assert_alike(heard, expected, besides=("updates_per_second",)):
    kept = {key: value for key, value in expected.items() if not key[1].endswith(besides)}
    assert {key for key in heard if not key[1].endswith(besides)} == kept.keys()
    assert all(heard[key] == pytest.approx(value, rel=1e-12) for key, value in kept.items())


def test_a_tracker_hears_what_the_files_hold(runs):
    (session,) = HEARD[str(runs / "tracked")]
    expected = points_of(runs / "tracked")
    assert_alike(heard_by(session), expected, besides=())
    assert {key[1] for key in expected} >= {"step 1/objective", "step 1/held_out/energy", "step 1/score_std"}
    assert session.end == "done"
    assert session.table is not None
    (row,) = (dict(zip(session.table.columns, row, strict=True)) for row in session.table.rows)
    last = {key: expected[24 if (24, key) in expected else 12, key] for key in ("step 1/return", "step 1/score_std")}
    assert (row["policy"], row["updates"], row["seeds"]) == ("step 1", 12, 2)
    assert (row["return"], row["score_std"]) == pytest.approx(tuple(last.values()))
    assert "| step 1 | 12 | 2 |" in session.table.markdown()


def test_what_a_tracker_is_told_of_the_run(runs):
    (session,) = HEARD[str(runs / "tracked")]
    subject = session.subject
    assert (subject.name, subject.group, session.known) == ("tracked", None, None)
    assert subject.spec["train"]["track"] == [{"kind": "fake", "project": "mine"}]
    assert subject.file.read_text() == (runs / "tracked" / "spec.yaml").read_text()
    assert subject.facts["data_sha256"] == RunDirectory.open(runs / "plain").manifest["data_sha256"]
    kept = json.loads((runs / "tracked" / "tracking" / "fake.json").read_text())
    assert kept["id"] == session.id


def test_a_run_is_the_same_bits_with_and_without(runs):
    assert_same(runs / "plain", runs / "tracked")
    plain, tracked = (RunDirectory.open(runs / name) for name in ("plain", "tracked"))
    for key in ("identity", "digest"):
        assert plain.manifest[key] == tracked.manifest[key]
    assert differing([plain, tracked]) == {}
    assert _changes(plain, checked(read_text((runs / "tracked" / "spec.yaml").read_text()))) == []
    assert not (runs / "plain" / "tracking").exists()


def test_trackers_that_fail_are_told_once_and_end_nothing(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(listener, "SECONDS", 0.3)
    spec = package.load("bc", dict(pair.split("=", 1) for pair in SMALL) | {"train.track": f"[{', '.join(KINDS)}]"})
    said = []
    monkeypatch.setattr(Console, "print", lambda self, *words, **options: said.append(" ".join(map(str, words))))
    run = package.run(spec, tmp_path / "run", show=True)
    told = [text for text in said if "tracking" in text]
    assert len(told) == 3
    text = "\n".join(told)
    assert "tracking by no_start failed: SystemExit: no key and no network; the run goes on without it" in text
    assert "tracking by no_log failed: OSError: [Errno 28] No space left on device; the run goes on" in text
    assert "tracking by no_finish failed: has not taken everything within 0 s; the run directory has all of it" in text
    assert_same(runs / "plain", run.path)
    good = [session for session in HEARD[str(run.path)] if session.end == "done"]
    assert_alike(heard_by(*good), points_of(run.path), besides=())


@pytest.mark.thinned(("12",), "one is after a checkpoint; the other begins again")
@pytest.mark.parametrize("stop", [5, 12])
def test_a_run_that_goes_on_is_the_same_of_a_tracker(runs, tmp_path, monkeypatch, stop):
    out, real = tmp_path / "run", RunDirectory.append_metrics

    def interrupted(self, seed, stage, update, total, *more):
        real(self, seed, stage, update, total, *more)
        if total == stop and seed == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "append_metrics", interrupted)
    told(*RUN, "--track", "fake", "--out", out)
    monkeypatch.undo()
    assert RunDirectory.open(out).status()["state"] == "interrupted"
    done("resume", out, "--quiet")
    first, second = HEARD[str(out)]
    assert (first.end, second.end, second.known) == ("interrupted", "done", first.id)
    assert_same(runs / "plain", out)
    assert_alike(heard_by(first, second), points_of(out))


def test_a_tracker_that_comes_later_hears_all(runs, tmp_path):
    shutil.copytree(runs / "plain", tmp_path / "run")
    RunDirectory.open(tmp_path / "run").status("interrupted", "", 12)
    done("resume", tmp_path / "run", "--track", "fake", "--quiet")
    (session,) = HEARD[str(tmp_path / "run")]
    assert_alike(heard_by(session), points_of(tmp_path / "run"), besides=())


@pytest.mark.exhaustive("trains once more")
def test_seeds_that_are_added_are_a_run_of_all(runs, tmp_path):
    shutil.copytree(runs / "tracked", tmp_path / "run")
    done("resume", tmp_path / "run", "--seeds", "3", "--quiet")
    (session,) = HEARD[str(tmp_path / "run")]
    assert session.known is None
    assert session.table is not None
    assert session.table.rows[0][2] == 3
    assert_alike(heard_by(session), points_of(tmp_path / "run"), besides=())
    assert not [path for path in HEARD if "more" in path]


@pytest.mark.exhaustive("trains twice more; who hears of which run is seen where a cell fails")
def test_the_cells_of_a_sweep_are_apart(tmp_path):
    out = tmp_path / "cells"
    done(*RUN, "--sweep", "optimizer.policy.learning_rate=[1e-3,1e-2]", "--track", "fake", "--out", out)
    paths = sorted(path.parent for path in out.glob("*/manifest.json"))
    assert len(paths) == 2
    for path in paths:
        (session,) = HEARD[str(path)]
        assert (session.subject.group, session.end) == ("cells", "done")
        assert_alike(heard_by(session), points_of(path), besides=())


def test_a_cell_that_fails_is_over_for_its_tracker(runs, tmp_path):
    spec = package.load("bc", {"train.track": "[fake]"})
    paths = [tmp_path / name for name in ("bad", "good")]
    for path in paths:
        shutil.copytree(runs / "plain", path)
    with listener.Tracking([spec, spec], [RunDirectory.open(path) for path in paths], lambda event: None) as tracking:
        tracking(events.Failed(0, "not finite"))
        tracking(events.Finished())
    (bad,), (good,) = (HEARD[str(path)] for path in paths)
    assert (bad.end, good.end) == ("failed", "done")
    assert heard_by(bad) == heard_by(good)  # all that was written before it failed
    assert_alike(heard_by(good), points_of(paths[1]), besides=())


def test_a_cell_that_fails_may_have_no_tracker(runs):
    with listener.Tracking([package.load("bc")], [RunDirectory.open(runs / "plain")], lambda event: None) as tracking:
        tracking(events.Failed(0, "not finite"))
        tracking(events.Finished())


def test_what_branches_share_is_heard_of_in_each():
    text = "extends: pogo_w_two_step\nschedule: {branch: {at: [2, 4]}}\ntrain: {track: [fake]}\n"
    branched, plain = (checked(read_text(one)) for one in (text, text.replace("[fake]", "[]")))
    assert (trunk_of(branched).train.track, name_of(trunk_of(branched))) == ((), name_of(trunk_of(plain)))


def test_a_library_that_is_missing_is_said_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(Fake, "needs", (Needs("nobody_has_this", "fakes"),))
    file = tmp_path / "flow.yaml"
    file.write_text("extends: bc\ntrain:\n  track: [fake]\n")
    message, code = told("check", file)
    expected = 'nobody_has_this not installed; pip install "pogospec[fakes]", or leave it out: --track none'
    assert (code, message) == (2, f"{file}:3:11: train.track[0]: {expected}")
    assert told("run", file, "--out", tmp_path / "run") == (message, 2)
    assert not (tmp_path / "run").exists()
    said, code = told("run", "bc", "--track", "fake", "--out", tmp_path / "run")
    assert (code, expected in said, said.startswith("--track")) == (2, True, True)
    with pytest.raises(SpecError, match="nobody_has_this"):
        package.run(file, tmp_path / "run")
    with pytest.raises(SpecError, match="nobody_has_this"):
        package.run(package.load(file), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    require_trackers([read_text("extends: bc\n")])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {track: [wandbb]}", "train.track[0]: found 'wandbb', allowed tensorboard, wandb"),
        ("train: {track: [fake, {kind: fake, project: other}]}", "train.track[1]: found fake twice"),
        ("train: {track: fake}", "train.track: found 'fake', allowed a list"),
        ("train: {track: [{kind: fake, projekt: x}]}", "found unknown key 'projekt', allowed project"),
    ],
)
def test_trackers_that_are_wrong(text, words):
    with pytest.raises(SpecError) as error:
        checked(read_text(f"extends: bc\n{text}\n"))
    assert words in str(error.value).replace('"', "'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wandbb", "found 'wandbb', allowed none, or some of tensorboard, wandb"),
        ("fake,fake", "found one of them twice"),
        ("none,fake", "found 'none', allowed"),
        ("", "found '', allowed"),
    ],
)
def test_the_option_says_what_it_takes(text, words):
    with pytest.raises(UsageError, match=f"--track: {words}"):
        trackers(text)
    assert trackers("none") == ()
    assert trackers("fake, tensorboard")[0] == Fake()
