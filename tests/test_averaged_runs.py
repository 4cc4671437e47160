"""Runs with averaged weights: what is saved, evaluated and shown; resumed, swept, rejected and concurrent ones."""

import numpy as np
import pytest
from commands import pogospec
from rich.console import Console

import pogospec as package
from pogospec.checking.check import checked
from pogospec.data import load_for
from pogospec.errors import SpecError
from pogospec.launch.one import execute
from pogospec.launch.record import new_run
from pogospec.launch.sweep import jobs_of, run_sweep
from pogospec.report.reading import final, last_step
from pogospec.report.tables.comparison import differences
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read_cells, read_text
from pogospec.training import loop

SMALL = """\
extends: pogo_w_two_step
policy: {hidden: [5]}
behavior: {hidden: [5]}
critic: {hidden: [5]}
data: {holdout: 0.2}
train: {batch_size: 16, log_every: 10, checkpoint_every: 10, batch_runs: map}
evaluate: {every: 20, episodes: 1}
seeds: 2
"""
STEPS = """
schedule: {steps: [{from: behavior, learn: [critic, behavior, policy], updates: 40, tau: 2.5, actor_every: 2},
                   {from: previous, learn: [policy], updates: 30, tau: %s, gradient: euclidean,
                    energy: {q: {scale: step}}}]}
optimizer: {kind: adam, learning_rate: 0.01, policy: {average: {window: 9}}, behavior: {average: {decay: 0.8}}}
"""
TRIES = "{kind: backtracking, start: 1.0e+4, factor: 0.1, tries: 2, errors: 1000}"
LABELS = ["behavior", "behavior (last)", "step 1", "step 1 (last)", "step 2", "step 2 (last)"]
FILES = ("metrics.csv", "returns.csv", "flow.csv")


def ran(spec, out, resume=False):
    data = load_for(spec)
    run = RunDirectory.open(out) if resume else new_run(spec, data, out, "cpu")
    execute(Console(quiet=True), spec, data, run, resume)
    return run


def rows(run, name):
    return [{k: v for k, v in row.items() if k not in ("seconds", "updates_per_second")} for row in run.read(name)]


def assert_same(one, two, rounded=()):
    """Files, policies and checkpoints are equal; columns of flow.csv in `rounded` but for their last digits."""
    for name in FILES:
        first, second = rows(one, name), rows(two, name)
        if name == "flow.csv":
            a, b = ([[float(row.pop(key) or "nan") for key in rounded] for row in part] for part in (first, second))
            np.testing.assert_allclose(a, b, rtol=1e-5)
        assert first == second, name
    assert one.policies(last=True) == two.policies(last=True)
    for label in one.policies(last=True):
        (a, _), (b, _) = one.load_policy(label), two.load_policy(label)
        assert all(np.array_equal(a[name], b[name]) for name in a)
    (a, place), (b, other) = one.load_checkpoint(), two.load_checkpoint()
    assert place == other
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def rejected(tmp_path_factory):
    """A run whose second step is tried twice and never taken."""
    return ran(checked(read_text(SMALL + STEPS % TRIES)), tmp_path_factory.mktemp("runs") / "rejected")


@pytest.mark.exhaustive("a run, whose parts tests/test_averaging.py and tests/test_branches.py have")
def test_averaged_policies_are_saved_and_evaluated_beside_the_last_ones(rejected):
    assert rejected.policies(last=True) == LABELS
    assert rejected.policies() == LABELS[::2]
    cells = final(rejected)
    assert list(cells) == LABELS
    assert last_step(cells) == "step 2"
    names = [gap.name for gap in differences(cells)]
    assert "step 2 - step 1" in names
    assert "step 1 (last) - step 1" in names
    assert not any(name.endswith(f" - {label}") for name in names for label in LABELS[1::2])
    evaluated = {(row["policy"], row["total_update"]) for row in rejected.read("returns.csv")}
    assert {("step 1", "20"), ("step 1 (last)", "20"), ("step 1", "40"), ("behavior (last)", "40")} <= evaluated
    first, last = (package.load_policy(rejected, label) for label in ("step 1", "step 1 (last)"))
    assert (first.act(np.zeros(11)) != last.act(np.zeros(11))).any()
    assert package.load_policy(rejected).label == "step 2"


@pytest.mark.exhaustive("a run, whose parts tests/test_averaging.py and tests/test_branches.py have")
def test_a_rejected_step_leaves_the_average_that_it_began_with(rejected):
    taken = [row["accepted"] for row in rejected.read("flow.csv") if row["accepted"]]
    assert taken == ["0"] * 4
    first, second, last = (rejected.load_policy(label)[0] for label in ("step 1", "step 2", "step 2 (last)"))
    for name in first:
        assert np.array_equal(second[name], last[name])
        np.testing.assert_allclose(first[name], second[name], rtol=1e-6)


@pytest.mark.exhaustive("a run, whose parts tests/test_averaging.py and tests/test_branches.py have")
def test_a_run_that_is_stopped_ends_the_same(rejected, tmp_path):
    spec, out, stops = checked(read_text(SMALL + STEPS % TRIES)), tmp_path / "run", [25, 55, 85]
    real = loop._Trainer._guard

    def stopping(trainer, stage, done, stop):
        if stops and trainer.place.total >= stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt
        real(trainer, stage, done, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Trainer, "_guard", stopping)
        for number in range(3):
            with pytest.raises(KeyboardInterrupt):
                ran(spec, out, resume=number > 0)
        run = ran(spec, out, resume=True)
    assert not stops
    assert_same(rejected, run)


@pytest.mark.exhaustive("three runs")
def test_cells_of_a_sweep_over_decays_are_runs_of_their_own(tmp_path):
    file = tmp_path / "swept.yaml"
    grid = "sweep: {optimizer.policy.average.decay: [0.5, 0.9]}\n"
    file.write_text(SMALL + (STEPS % 5).replace("window: 9", "decay: 0.5") + grid)
    jobs = jobs_of(read_cells(file), tmp_path / "swept")
    assert not run_sweep(Console(quiet=True), jobs, "cpu")
    cells = [RunDirectory.open(job.path) for job in jobs]
    # what is measured of two runs at once is another program than of one, which sums in another order on some machines
    assert_same(ran(jobs[1].spec, tmp_path / "alone"), cells[1], rounded=("gap", "gap_error"))
    weights = [cell.load_policy("step 1")[0] for cell in cells]
    lasts = [cell.load_policy("step 1 (last)")[0] for cell in cells]
    assert all(np.array_equal(lasts[0][name], lasts[1][name]) for name in lasts[0])
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0] if "weight" in name)


@pytest.mark.exhaustive("a run; the chain has tests of its own")
def test_each_policy_of_a_concurrent_chain_has_its_own_average(tmp_path):
    spec = (
        SMALL
        + """
schedule: {mode: concurrent, steps: [{from: behavior, learn: [critic, behavior, policy], updates: 20, tau: 2.5},
                                     {from: previous, learn: [policy], updates: 20, tau: 2.5}]}
optimizer: {kind: adam, learning_rate: 0.01, policy: {average: {window: 9}}}
"""
    )
    run = ran(checked(read_text(spec)), tmp_path / "run")
    labels = ["behavior", "step 1", "step 1 (last)", "step 2", "step 2 (last)"]
    assert run.policies(last=True) == labels
    arrays = {label: run.load_policy(label)[0] for label in labels[1:]}
    name = next(name for name in arrays["step 1"] if name.endswith("weight"))
    assert len({arrays[label][name].tobytes() for label in labels[1:]}) == 4


@pytest.mark.exhaustive("a run, whose parts tests/test_averaging.py and tests/test_branches.py have")
def test_commands_show_them(rejected):
    table = pogospec("compare", rejected.path).stdout
    assert [line.split("  ")[1].strip() for line in table.splitlines() if "(last)  " in line] == LABELS[1::2]
    text = pogospec("evaluate", rejected.path, "--policy", "step 2 (last)").stdout
    assert "step 2 (last) return" in text
    assert pogospec("plot", rejected.path).stdout.strip().endswith("learning_curve.png")


@pytest.mark.parametrize(
    ("more", "path", "message"),
    [
        ("optimizer: {policy: {average: {window: 20}}}", "steps[1].optimizer.policy.average.window", "allowed 1 to 15"),
        ("optimizer: {average: {decay: 1.0}}", "optimizer.critic.average.decay", "found 1"),
        ("optimizer: {average: {window: 0}}", "optimizer.critic.average.window", "allowed a whole number >= 1"),
        ("optimizer: {average: 5}", "optimizer.critic.average", "found 5"),
    ],
)
def test_what_cannot_be_averaged_is_told(more, path, message):
    first, second = "{updates: 60, actor_every: 2, from: behavior, tau: 1}", "{updates: 15, from: previous, tau: 1}"
    steps = f"schedule: {{steps: [{first}, {second}]}}\n"
    with pytest.raises(SpecError) as caught:
        checked(read_text(SMALL + steps + more))
    assert any(problem.path.endswith(path) and message in problem.message for problem in caught.value.problems), str(
        caught.value
    )


def test_particles_have_no_weights_to_average():
    with pytest.raises(SpecError, match="particles have no weights; average those of critic and behavior"):
        checked(read_text("extends: vgf\noptimizer: {policy: {average: {decay: 0.9}}}\n"))
