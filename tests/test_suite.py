"""Suites as they are run: what is done is left alone, what was killed ends the same, what fails stops nothing else."""

import json
import random
import re
import signal
import time

import pytest
from commands import pogospec, started
from test_resume import assert_same

from pogospec.runs import cache

SMALL = """\
specs: [pogo_w, td3_bc]
datasets: [pocket/reacher-mixed, pocket/hopper-mixed]
seeds: 2
updates: 40
set: {train.log_every: 5, train.checkpoint_every: 10, train.batch_size: 16, evaluate.every: 20, evaluate.episodes: 1,
      policy.hidden: [8], behavior.hidden: [8], critic.hidden: [8]}
"""
RUNS = [f"{method}-pocket-{data}-mixed" for data in ("reacher", "hopper") for method in ("pogo-w", "td3-bc")]


def table(folder):
    """All numbers of a suite, by `compare`."""
    return {to: pogospec("compare", folder, "--to", to, "--stat", "iqm-ci").stdout for to in ("json", "csv")}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def whole(file):
    """The suite that nothing stopped, and what it printed."""
    folder = file.parent / "whole"
    return folder, pogospec("suite", file, "--out", folder).stdout


def test_a_suite_runs_every_spec_on_every_dataset(whole):
    folder, shown = whole
    assert sorted(path.name for path in folder.glob("*/")) == sorted(RUNS)
    for number, run in enumerate(RUNS):
        assert json.loads((folder / run / "status.json").read_text())["state"] == "done"
        method, _, data = run.partition("-pocket-")
        assert f"[{number + 1}/4] {method} on pocket/{data}: about" in shown
    assert "0 of 4 runs are done; the others take about" in shown
    assert "average of" not in shown, "the two are normalised by references of different kinds"
    assert f"pogospec compare {folder}" in shown


def test_what_is_done_is_left_alone(whole, file):
    folder, _ = whole
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    shown = pogospec("suite", file, "--out", folder).stdout
    assert "4 of 4 runs are done" in shown
    assert "[1/4]" not in shown
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*")} == before


def written(folder):
    """Rows of metrics so far, of all runs."""
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("*/metrics.csv"))


@pytest.mark.exhaustive("a storm of kills")
def test_a_suite_that_is_killed_again_and_again_ends_the_same(whole, file, tmp_path):
    """SIGKILL at random amounts of work; the first kill comes before there is any."""
    folder, draw = tmp_path / "killed", random.Random(0)
    every, kills = written(whole[0]), []
    for target in [0, *sorted(draw.randrange(every) for _ in range(5))]:
        process = started("suite", file, "--out", folder, "--quiet")
        while process.poll() is None and written(folder) < target:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills.append(process.returncode)
    assert kills.count(-signal.SIGKILL) >= 3
    pogospec("suite", file, "--out", folder)
    for run in RUNS:
        assert_same(whole[0] / run, folder / run)
    assert table(folder) == table(whole[0])


@pytest.mark.exhaustive("storms kill suites as they make runs too")
def test_a_run_that_was_killed_as_it_was_made_begins_anew(whole, file, tmp_path):
    folder = tmp_path / "torn"
    torn = folder / RUNS[1]
    (torn / "checkpoints").mkdir(parents=True)
    (torn / "spec.yaml").write_text("half")
    (torn / "manifest.json.part").write_text("{")
    assert "s, " not in pogospec("suite", file, "--out", folder, "--dry-run").stdout.partition("%")[2]
    pogospec("suite", file, "--out", folder, "--only", "td3_bc", "--only", "pocket/reacher*")
    assert_same(whole[0] / RUNS[1], torn)
    assert not (folder / RUNS[3]).exists()


@pytest.mark.exhaustive("what a run and a sweep do too")
def test_an_interrupted_suite_says_how_to_go_on(file, tmp_path):
    folder = tmp_path / "interrupted"
    process = started("suite", file, "--out", folder)
    while not list(folder.glob("*/checkpoints/*.safetensors")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors.strip() == f"interrupted; go on with: pogospec suite {file} --out {folder}"
    shown = pogospec("suite", file, "--out", folder, "--dry-run").stdout
    assert re.search(r"\d+%, \d+ s", shown)
    assert "0 of 4 runs are done" in shown


def test_a_dry_run_says_how_long_and_touches_nothing(file, tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "kept"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    folder = tmp_path / "dry"
    dry = ("suite", file, "--out", folder, "--dry-run", "--only", "td3*")
    shown = pogospec(*dry).stdout
    assert not folder.exists()
    assert "0 of 2 runs are done; the others take about" in shown
    assert "by their operations, without compiling and rollouts" in shown
    assert "td3-bc" in shown
    assert "pogo-w" not in shown
    place = cache.place()
    assert place is not None
    place.mkdir(parents=True)
    (place / "compiling.csv").write_text("another,1,5000\n")
    shown = pogospec(*dry).stdout
    assert "the others take about 2.8 h on cpu:0, by their operations and what other runs" in shown, "two of 5,000 s"


def test_a_dry_run_of_data_that_are_not_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("POGOSPEC_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "nothing"))
    done = pogospec("suite", "paper_table_1", "--dry-run", check=False)
    assert done.returncode == 2
    assert re.search(r"the others take about \d[\d.]* h on", done.stdout)
    lines = done.stderr.splitlines()
    assert len(lines) == 9
    assert re.match(
        r".*paper_table_1\.yaml:\d+:5: data\.dataset: 'd4rl/halfcheetah-medium-v2' is not at hand", lines[0]
    )
    started = pogospec("suite", "paper_table_1", "--out", tmp_path / "out", check=False)
    assert (started.returncode, started.stdout, len(started.stderr.splitlines())) == (2, "", 10)
    assert not (tmp_path / "out").exists()


@pytest.mark.exhaustive("a suite of its own; a sweep's cell fails in the quick part")
def test_a_run_that_fails_stops_no_other(tmp_path):
    file, folder = tmp_path / "failing.yaml", tmp_path / "out"
    good = SMALL.replace(
        "[pogo_w, td3_bc]", "[{spec: td3_bc, name: wild, set: {optimizer.learning_rate: 3.0e+38}}, td3_bc]"
    )
    file.write_text(good.replace("[pocket/reacher-mixed, pocket/hopper-mixed]", "[pocket/reacher-mixed]"))
    done = pogospec("suite", file, "--out", folder, check=False)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == f"1 of 2 runs failed; try them again with: pogospec suite {file} --out {folder}"
    assert second.startswith("  wild on pocket/reacher-mixed: ")
    assert "[2/2] td3-bc on pocket/reacher-mixed" in done.stdout
    states = {run.name: json.loads((run / "status.json").read_text())["state"] for run in folder.glob("*/")}
    assert states == {"wild-pocket-reacher-mixed": "failed", "td3-bc-pocket-reacher-mixed": "done"}
    shown = pogospec("suite", file, "--out", folder, "--dry-run").stdout
    assert "failed, " in shown
    assert "1 of 2 runs are done" in shown
    again = pogospec("suite", file, "--out", folder, check=False)
    assert again.returncode == 1
    assert "[2/2]" not in again.stdout


def test_an_environment_that_cannot_be_made_fails_its_run_alone(tmp_path):
    file = tmp_path / "failing.yaml"
    lost = "{spec: td3_bc, name: lost, set: {data.environment: NoSuch-v0}}"
    text = SMALL.replace("[pogo_w, td3_bc]", f"[{lost}, td3_bc]")
    file.write_text(text.replace("[pocket/reacher-mixed, pocket/hopper-mixed]", "[pocket/reacher-mixed]"))
    done = pogospec("suite", file, "--out", tmp_path / "out", check=False)
    assert done.returncode == 1
    assert (
        f"failing.yaml:1:{text.index('NoSuch') + 1}: data.environment: the environment 'NoSuch-v0' cannot be made"
        in done.stderr
    )
    assert not (tmp_path / "out" / "lost-pocket-reacher-mixed").exists()
    assert "not begun: lost on pocket/reacher-mixed" in done.stdout


def test_runs_of_other_settings_are_refused(whole, file, tmp_path):
    other = tmp_path / "small.yaml"
    other.write_text(SMALL.replace("train.batch_size: 16", "train.batch_size: 32").replace("seeds: 2", "seeds: 3"))
    done = pogospec("suite", other, "--out", whole[0], check=False)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert f"{whole[0] / RUNS[0]} was run with other settings: train.batch_size 16, now 32, seeds 2, now 3" in lines[0]
    assert f"remove {whole[0] / RUNS[0]}, or choose another --out" in lines[0]
    named = tmp_path / "named.yaml"
    named.write_text(SMALL + "name: another\nabout: New words change no run.\n")
    done = pogospec("suite", named, "--out", whole[0], check=False)
    assert (done.returncode, done.stderr.strip()) == (2, f"{whole[0]} holds the suite 'small'; choose another --out")


def test_a_directory_that_is_no_run_is_left_alone(file, tmp_path):
    mine = tmp_path / "out" / RUNS[0]
    mine.mkdir(parents=True)
    (mine / "thesis.tex").write_text("all of it")
    done = pogospec("suite", file, "--out", tmp_path / "out", check=False)
    assert done.returncode == 2
    assert f"{mine} exists and is no run" in done.stderr
    assert (mine / "thesis.tex").read_text() == "all of it"


@pytest.mark.exhaustive("a suite of its own")
def test_flows_on_known_energies(tmp_path):
    (tmp_path / "flows.yaml").write_text("specs: [quadratic_w2, flows/quadratic_fr]\nseeds: 1\nupdates: 20\n")
    left = tmp_path / "out" / "quadratic-w2-target-quadratic" / ".lock"  # of a run killed as it was made
    left.parent.mkdir(parents=True)
    left.touch()
    shown = pogospec("suite", tmp_path / "flows.yaml", "--out", tmp_path / "out").stdout
    assert "KL to optimum" in shown
    assert len(list((tmp_path / "out").glob("*/manifest.json"))) == 2
    (tmp_path / "both.yaml").write_text("specs: [quadratic_w2, bc]\n")
    done = pogospec("suite", tmp_path / "both.yaml", check=False)
    message = "both: found a flow on a known energy (quadratic-w2) beside runs on data; make two suites"
    assert (done.returncode, done.stderr.strip()) == (2, message)


def test_patterns_that_name_nothing(file, tmp_path):
    done = pogospec("suite", file, "--out", tmp_path / "out", "--only", "td3_bd", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("--only: found 'td3_bd', allowed pogo-w, td3-bc, pocket/reacher-mixed")
    assert done.stderr.strip().endswith("did you mean td3-bc?")


def test_two_processes_never_share_a_folder(file, tmp_path):
    from pogospec.runs.files import locked

    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"):
        done = pogospec("suite", file, "--out", tmp_path / "out", check=False)
    assert done.returncode == 2
    assert "is in use by another process" in done.stderr


def test_times_come_from_what_was_measured(whole, tmp_path):
    """Runs of one method go by the ratio of its own measured time to the estimate."""
    from pogospec.launch.forecast import Forecast
    from pogospec.launch.suite import jobs_of
    from pogospec.spec.suite import read_suite

    (tmp_path / "two.yaml").write_text(SMALL.replace("pogo_w", "pogo_w_two_step"))
    jobs = jobs_of(read_suite(tmp_path / "two.yaml"), tmp_path / "new")
    forecast = Forecast(tmp_path / "new", jobs)
    plain = [forecast.estimate(job, 0) for job in jobs]
    assert all(seconds is not None and seconds > 0 for seconds in plain)
    half = forecast.estimate(jobs[0], jobs[0].updates // 2)
    assert half is not None
    assert plain[0] is not None
    assert 0 < half < plain[0] / 2  # the second step learns the policy alone
    forecast.learn(jobs[0], 0, jobs[0].updates, 10 * plain[0])
    assert forecast.left(jobs[2]) == pytest.approx(10 * (plain[2] or 0.0))
    assert forecast.left(jobs[1]) == pytest.approx(10 * (plain[1] or 0.0))  # nothing nearer was measured
    forecast.learn(jobs[1], 0, jobs[1].updates, 2 * (plain[1] or 0.0))
    assert forecast.left(jobs[3]) == pytest.approx(2 * (plain[3] or 0.0))
    forecast.learn(jobs[1], 0, 1, 1e6)  # a moment, in which the program was compiled
    assert forecast.left(jobs[3]) == pytest.approx(2 * (plain[3] or 0.0))
    rows = (whole[0] / "times.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows[:4]] == [[run, "0", "40"] for run in RUNS]
