"""Particles through the commands: run, resume, sweep, evaluate, compare, plot; and what is refused, with its place."""

import csv
import json

import numpy as np
import pytest
from commands import pogospec
from rich.console import Console
from safetensors.numpy import load_file

import pogospec as package
from pogospec.checking.check import checked
from pogospec.data import load_for
from pogospec.errors import SpecError
from pogospec.launch.one import execute
from pogospec.launch.record import new_run
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read_text
from pogospec.training import loop as train

TEXT = """
name: tiny
data: {dataset: pocket/reacher-mixed, normalize_observations: true, holdout: 0.1}
policy: {kind: particles, count: 3, moves: 1}
behavior: {kind: gaussian, hidden: [4]}
energy: {q: {critics: mean}, entropy: {weight: 0.1}}
geometry: {kind: wasserstein2, coupling: {shared_noise: 3}}
critic: {kind: clipped_double_q, hidden: [4], target_actions: {kind: policy_sample, samples: 3, over: mean}}
schedule:
  steps:
    - {learn: [critic, behavior], updates: 6}
    - {from: behavior, tau: 0.2, updates: 12, scheme: {kind: explicit, kernel: stein, moves: 2, bound: clip}}
train: {batch_size: 8, checkpoint_every: 4, log_every: 4}
evaluate: {every: 6, episodes: 1, action: sample}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the spec, a run of it, and one of two cells."""
    found = tmp_path_factory.mktemp("particles")
    (found / "tiny.yaml").write_text(TEXT)
    pogospec("run", found / "tiny.yaml", "--out", found / "whole")
    sweep = ("--sweep", "energy.entropy.weight=[0.1, 0.4]")
    pogospec("run", found / "tiny.yaml", "--out", found / "cells", *sweep)
    return found


@pytest.mark.exhaustive("trains a sweep")
def test_particles_of_a_sweep_are_valued_from_the_data_alone(folder):
    quick = ("--offline", "--updates", "10", "--hidden", "4", "--samples", "2")
    said = pogospec("evaluate", folder / "cells", *quick).stdout
    assert said.count("tiny on pocket/reacher-mixed") == 2
    assert "wis and dr of step 1 are not known: its actions (particles) have no density" in said
    cells = sorted(path.parent for path in (folder / "cells").glob("*/ope.csv"))
    assert len(cells) == 2
    with (cells[0] / "ope.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["policy"] for row in rows if row["estimator"] == "fqe"} == {"behavior", "step 1"}
    assert {row["policy"] for row in rows if row["estimator"] == "dr"} == {"behavior"}
    done = pogospec("evaluate", folder / "whole", *quick, "--estimator", "wis", "--policy", "step 1", check=False)
    assert done.returncode == 2
    assert "--estimator: wis and dr of step 1 are not known" in done.stderr
    assert pogospec("compare", folder / "cells", "--score", "fqe").stdout.count("[") >= 4


def test_a_saved_policy_is_whole(folder):
    """Its networks are those of behaviour and critic, and nothing else is asked for."""
    whole = package.load_policy(folder / "whole")
    assert whole.label == "step 1"
    assert whole.family.energy["entropy"].weight == 0.1
    rows = np.random.default_rng(0).normal(size=(5, 11))
    assert whole.act(rows).shape == (5, 2)
    assert (np.abs(whole.act(rows, "sample")) <= 1).all()
    assert whole.parameters(rows).at(np.zeros((6, 5, 2))).shape == (6, 5, 2)
    behavior = package.load_policy(folder / "whole", "behavior")
    for name in ("mean", "log_std"):
        found = getattr(whole.parameters(rows).source, name)
        np.testing.assert_allclose(found, getattr(behavior.parameters(rows), name), rtol=1e-5)


def test_cells_of_a_sweep_have_particles_of_their_own(folder):
    cells = sorted(path.parent for path in (folder / "cells").glob("*/manifest.json"))
    heats = sorted(package.load_policy(cell).family.energy["entropy"].weight for cell in cells)
    assert heats == pytest.approx([0.1, 0.4])
    told = pogospec("compare", folder / "cells").stdout
    assert [f"{heat} " in told for heat in heats] == [True, True]


class Stopped(BaseException):
    """What no code of the package may catch."""


def test_an_interrupted_run_goes_on_to_the_same_particles(folder, tmp_path):
    spec = package.load(folder / "tiny.yaml")
    data, out = load_for(spec), tmp_path / "cut"
    new_run(spec, data, out, "cpu:0")

    def stop(self, *_):
        if self.place.number == 1 and self.place.done == 8:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train._Trainer, "_guard", stop)
        with pytest.raises(Stopped):
            execute(Console(quiet=True), spec, data, RunDirectory.open(out))
    execute(Console(quiet=True), spec, data, RunDirectory.open(out), resume=True)
    first, second = (load_file(path / "policies" / "step_1.safetensors") for path in (folder / "whole", out))
    assert first.keys() == second.keys()
    assert all(first[key].tobytes() == second[key].tobytes() for key in first)


@pytest.mark.exhaustive("every command that reports, of a run of particles")
def test_reports_read_them(folder):
    flow = list(csv.DictReader((folder / "whole" / "flow.csv").read_text().splitlines()))
    assert float(flow[-1]["flow_time"]) == pytest.approx(0.2)
    assert float(flow[-1]["distance"]) > 0
    assert "step 1" in pogospec("evaluate", folder / "whole", "--episodes", "1").stdout
    same, none = (pogospec("evaluate", folder / "whole", "--moves", count).stdout for count in (1, 0))
    assert same == pogospec("evaluate", folder / "whole").stdout != none
    pogospec("plot", folder / "whole", "--figure", "density")
    assert (folder / "whole" / "density.png").exists()
    told = pogospec("explain", folder / "tiny.yaml").stdout
    assert "π is the law of a'_k, k = 1, …, 3, in each state" in told
    assert "flow time 0.2 while the critic learns, 0.1 in 1 move where it acts" in told
    assert "3 gradients of the critics in each move" in told
    about = json.loads(pogospec("explain", folder / "tiny.yaml", "--to", "json").stdout)
    assert [one["name"] for one in about["networks"]] == ["behavior", "critic"]


STEP = "from: behavior, tau: 0.2, updates: 12, scheme: {kind: explicit, kernel: stein, moves: 2, bound: clip}"
REFUSED = [
    ("behavior: {kind: gaussian, hidden: [4]}\n", "", "behavior", "declare one of another family"),
    ("{kind: gaussian, hidden: [4]}", "dirac", "behavior", "whose actions in a state are all one"),
    ("{kind: policy_sample, samples: 3, over: mean}", "smoothed_mean", "critic.target_actions", "have no slow copy"),
    ("over: mean", "copies: slow", "critic.target_actions", "have no slow copy"),
    ("kernel: stein, moves: 2, bound: clip", "", "schedule.steps[1].energy.entropy", "kernel: stein"),
    (STEP, STEP.replace("behavior", "data"), "schedule.steps[1].from", "particles set out from the behaviour"),
    (STEP, f"{STEP}, repeat: 2", "schedule.steps[1].repeat", "allowed 1"),
    (STEP, f"{STEP}, actor_every: 2", "schedule.steps[1].actor_every", "allowed 1"),
    (STEP, f"{STEP}, start: behavior", "schedule.steps[1].start", "of different families"),
    ("moves: 2", "actions: {sample: 3}", "schedule.steps[1].scheme.actions", "use policy.count"),
    ("tau: 0.2", "tau: {kind: geometric, start: 1, factor: 0.5}", "schedule.steps[1].tau", "allowed a number"),
    ("{critics: mean}", "{critics: mean, scale: batch}", "schedule.steps[1].energy.q.scale", "has no minibatch"),
    (f"- {{{STEP}}}", f"- {{{STEP}}}\n    - {{{STEP.replace('behavior', 'previous')}, learn: [policy]}}",
     "schedule.steps[2].from", "raise scheme.moves and tau"),
    (f"- {{{STEP}}}", f"- {{{STEP}}}\n    - {{learn: [critic], updates: 6}}", "schedule.steps[2].learn", "add policy"),
    ("scheme: {kind: explicit, kernel: stein, moves: 2, bound: clip}", "scheme: implicit",
     "schedule.steps[1].scheme", "use {kind: explicit, kernel: stein}"),
    ("- {learn: [critic, behavior], updates: 6}\n    - {from", "- {learn: [critic, policy], from",
     "schedule.steps[0].learn", "particles need behavior"),
    ("geometry: {kind: wasserstein2, coupling: {shared_noise: 3}}", "geometry: kl", "schedule.steps[1].geometry", "kl"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "path", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_with_its_place(old, new, path, message):
    checked(read_text(TEXT))
    assert old in TEXT
    with pytest.raises(SpecError) as error:
        checked(read_text(TEXT.replace(old, new)))
    found = [(one.path, one.message) for one in error.value.problems]
    assert any(where == path and message in text for where, text in found), found
    assert all(one.origin.line for one in error.value.problems)


def test_a_known_energy_has_no_particles():
    text = """
target: {kind: quadratic, center: [0.0], curvature: [1.0]}
policy: particles
energy: {q: {}}
geometry: wasserstein2
schedule: {steps: [{updates: 6, tau: 1, scheme: explicit}]}
"""
    with pytest.raises(SpecError) as error:
        checked(read_text(text))
    assert any("whose networks cannot be set to the Gaussian" in one.message for one in error.value.problems)
