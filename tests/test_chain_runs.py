"""Runs of chains of policies that train at once: what they write, how they stop and go on, and what is refused."""

import json
import re
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import pogospec, sets, started
from safetensors.numpy import load_file
from test_compile import entered_at, primitives, transitions
from test_resume import assert_same, rows

import pogospec as package
from pogospec.checking.check import checked, load
from pogospec.compiler.compile import compile_spec
from pogospec.errors import SpecError
from pogospec.explain import operations
from pogospec.explain.cautions.rules import cautions
from pogospec.explain.choices import choices
from pogospec.explain.costs.sizes import memory, networks
from pogospec.explain.mathematics.blocks import blocks
from pogospec.explain.stages import stages
from pogospec.report.reading.flow import read_flow
from pogospec.report.reading.series import series
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read_text
from pogospec.training.chunk import chunk_function
from pogospec.types import Space

SPACE = Space(11, 2, (-1.0,) * 2, (1.0,) * 2)
SPEC = "pogo_w_concurrent"
SMALL = ["seeds=2", "schedule.steps[*].updates=40", "train.log_every=5", "train.checkpoint_every=10"]
SMALL += ["evaluate.every=20", "evaluate.episodes=1", "train.batch_size=16", "schedule.steps[1].repeat=2"]
SMALL += ["policy.hidden=[8]", "behavior.hidden=[8]", "critic.hidden=[8]"]
RUN = ["run", SPEC, *sets(*SMALL)]
LABELS = ["step 1", "step 2", "step 3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, pogospec(*RUN, "--out", out).stdout


def test_each_policy_is_told_as_a_step_of_its_own(whole):
    out, printed = whole
    run = RunDirectory.open(out)
    assert run.policies() == ["behavior", *LABELS]
    assert re.search(r"at once +3 policies in the same updates, the critic fed by the first", printed)
    assert re.search(r"steps 1 to 3  40/40", printed)
    assert "step 3 - step 2: " in printed
    metrics = rows(out, "metrics.csv")
    for label in LABELS:
        own = [row for row in metrics if row["stage"] == label and row["seed"] == "1"]
        assert (
            [row["update"] for row in own] == [row["total_update"] for row in own] == [str(n) for n in range(5, 41, 5)]
        )
        assert all(row["objective"] and row["distance"] and row["energy.q"] for row in own)
        assert all(bool(row["critic_loss"]) == bool(row["behavior_loss"]) == (label == "step 1") for row in own)
    returns = {(row["policy"], row["stage"], row["total_update"]) for row in rows(out, "returns.csv")}
    assert returns == {(label, label, n) for label in LABELS for n in ("20", "40")} | {("behavior", "step 1", "40")}
    saved = [load_file(out / "policies" / f"step_{n}.safetensors") for n in (1, 2, 3)]
    assert all((saved[0][key] != saved[n][key]).any() for n in (1, 2) for key in saved[0] if "weight" in key)


def test_flow_time_and_curves_are_those_of_steps(whole):
    run = RunDirectory.open(whole[0])
    flow = read_flow(run)
    assert flow.labels == LABELS
    np.testing.assert_allclose(flow.columns["flow_time"][:, 0], [0.625, 1.25, 1.875])
    np.testing.assert_allclose(flow.columns["tau"], 0.625)
    assert (np.diff(flow.columns["start_distance"].mean(1)) != 0).all()
    for name in ("score", "objective", "flow.energy", "entropy"):
        found = series(run, name)
        assert [one.label for one in found] == LABELS
        assert all(one.x[-1] == 40 for one in found)
    assert series(run, "critic_loss")[0].label == "step 1"
    assert len(series(run, "critic_loss")) == 1


def test_the_commands_and_python_take_such_runs(whole, tmp_path):
    out = whole[0]
    found = json.loads(pogospec("compare", out, "--to", "json").stdout)
    assert [label for label in LABELS if label in json.dumps(found)] == LABELS
    assert "step 2" in pogospec("evaluate", out, "--policy", "step 2", "--episodes", 1).stdout
    pogospec("plot", out, "--out", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
    observation = np.zeros(11, np.float32)
    acts = [package.load_policy(out, label).act(observation) for label in LABELS]
    assert package.load_policy(out).label == "step 3"
    assert not np.array_equal(acts[0], acts[1])


@pytest.mark.exhaustive("chains have the checkpoints of all runs")
def test_resume_after_kill_9(whole, tmp_path):
    out = tmp_path / "killed"
    process = started(*RUN, "--out", out, "--quiet")
    while not (out / "checkpoints" / f"{20:012d}.safetensors").exists():
        time.sleep(0.002)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_flow(RunDirectory.open(out)).labels == []  # measured on the way, but none has ended
    assert "step 3" in pogospec("resume", out).stdout
    assert_same(whole[0], out)


@pytest.mark.parametrize("number", [0, 1])
def test_a_value_that_is_not_finite_is_told_of_its_policy(tmp_path, number):
    huge = f"schedule.steps[{number}].optimizer.policy.learning_rate=3e38"
    done = pogospec(*RUN, "--quiet", *sets(huge), "--out", tmp_path / "run", check=False)
    assert done.returncode == 1
    label = "(steps 1 to 3|step 2)" if number == 0 else "step [23]"  # near a reference that is lost
    assert re.match(rf"{label}, update \d, seed [01]: [a-z_. ]+ is not finite\. Run the spec again with", done.stderr)


@pytest.mark.exhaustive("compiles a chain once more")
def test_skipped_updates_of_all_actors_are_not_computed_with_three_seeds():
    rhythm = [("schedule.steps[1].actor_every", "3"), ("schedule.steps[1].repeat", "2")]
    spec = load(SPEC, [("seeds", "3"), ("policy.hidden", "[48, 40]"), *rhythm])
    program, roots = compile_spec(spec, SPACE), jax.vmap(jax.random.key)(jnp.arange(3))
    state = entered_at(
        program, 0, jax.vmap(program.init, in_axes=(None, 0))(program.numbers, roots), transitions(100, 11, 2), roots
    )
    chunk = chunk_function(program.stages[0], 64)
    found = list(primitives(jax.make_jaxpr(chunk)(program.numbers, transitions(100, 11, 2), state, roots, 0, 10).jaxpr))
    assert sum(equation.primitive.name == "cond" for equation in found) == 3
    shapes = {leaf.shape for leaf in jax.tree.leaves(state.policies)}
    assert not [e for e in found if e.primitive.name == "select_n" and e.outvars[0].aval.shape in shapes]


def test_operations_count_every_actor_in_its_rhythm():
    one, once, twice, seldom = (
        operations(load(SPEC, [("schedule.steps[1].repeat", count), ("schedule.steps[1].actor_every", every)]), SPACE)
        for count, every in (("1", "2"), ("1", "1"), ("2", "2"), ("2", "4"))
    )
    assert [len(found) for found in (one, once, twice, seldom)] == [1] * 4
    (alone,) = operations(load("pogo_w"), SPACE)
    actor = one[0] - alone
    assert actor > 0
    assert once[0] - alone == pytest.approx(2 * actor, rel=1e-9)
    assert twice[0] - alone == pytest.approx(2 * actor, rel=1e-9)
    assert seldom[0] - alone == pytest.approx(actor, rel=1e-9)


def test_explain_says_what_trains_at_once():
    spec = load(SPEC)
    plan = stages(spec)
    first, further = blocks(spec, plan, 2)
    assert further.heading == "20,000 updates each, the same as step 1's; learns policy"
    rows = dict(further.rows)
    assert rows["starts from"] == "the weights that step 1 starts from, at distance 0"
    assert rows["centred at"] == "π₁: the policy of step 1 as it is now, trained in the same updates"
    assert rows["repeated"].startswith("3 policies at once, each near the one before as it is now")
    assert dict(first.rows)["slow copies"].endswith("(every 2nd update)")
    assert "follow the first alone" in dict(choices(spec, plan))["chain"]
    assert not {"unsettled critic"} & {caution.name for caution in cautions(spec, plan, 2)}
    assert "policy, each of 4" in [network.name for network in networks(spec, SPACE)]
    one = load(SPEC, [("schedule.mode", "sequential")])
    assert memory(spec, SPACE, None).optimizers > memory(one, SPACE, None).optimizers
    done = pogospec("explain", SPEC, "--no-measure").stdout
    assert re.search(r"steps 1 to 4 +[\d.]+ Mflop/update", done)
    assert "20,000 updates, 1 seed" in done


HEAD = """\
policy: {kind: gaussian, hidden: [8]}
energy: {ENERGY}
geometry: kl
critic: {CRITIC}
data: {dataset: pocket/reacher-mixed, holdout: 0.1}
schedule:
  mode: concurrent
  defaults: {tau: 1.0, updates: 10}
  steps:
"""
FIRST = "    - {from: behavior}\n"
NEXT = "    - {from: previous, learn: [policy]}\n"
FIT = "    - {learn: [critic, behavior]}\n"


def text_of(*steps, energy="q: {}", critic="kind: clipped_double_q, hidden: [8]"):
    return HEAD.replace("ENERGY", energy).replace("CRITIC", critic) + "".join(steps)


def step(more, learn="[policy]", origin="previous"):
    return f"    - {{from: {origin}, learn: {learn}, {more}}}\n"


S0, S1 = "schedule.steps[0]", "schedule.steps[1]"
REFUSED = [
    ((FIRST, step("until: energy_settled")), f"{S1}.until", "found energy_settled, which ends one policy"),
    (("    - {from: behavior, until: critic_settled}\n", NEXT), f"{S0}.until", "found critic_settled, which ends one"),
    (
        (FIRST, step("repeat: 3, repeat_until: energy_settled")),
        f"{S1}.repeat_until",
        "found energy_settled, which ends one policy, but in concurrent mode all train at once; remove it",
    ),
    ((FIRST, step("tau: {kind: backtracking, start: 1}")), f"{S1}.tau", "all train at once; use sequential"),
    ((FIRST, step("updates: 20")), f"{S1}.updates", "found 20, but in concurrent mode all policies train in the same"),
    ((FIRST, step("target_every: 3")), f"{S1}.target_every", "found 3, but in concurrent mode slow copies move as the"),
    ((FIRST, step("optimizer_state: keep")), f"{S1}.optimizer_state", "the optimiser of a further policy is its own"),
    ((FIRST, step("start: behavior")), f"{S1}.start", "found 'behavior', which nothing has learned when all policies"),
    ((FIRST, step("energy: {q: {scale: step}}")), f"{S1}.energy.q.scale", "found 'step', but the critic is learned"),
    ((FIRST, step("", "[critic, policy]")), f"{S1}.learn", "found critic, policy, but in concurrent mode critic and"),
    ((FIRST, FIT), f"{S1}.learn", "found critic, behavior, but in concurrent mode critic and behaviour are learned"),
    (
        ("    - {from: behavior, repeat: 3}\n",),
        f"{S0}.repeat",
        "allowed 1, and a step {from: previous, learn: [policy]}",
    ),
    ((FIT,), "schedule.mode", "found 'concurrent', but no step learns a policy; allowed sequential"),
    ((FIRST, step("repeat: 100")), "schedule.mode", "found 101 policies at once, allowed up to 64; lower repeat"),
    (("    - {from: behavior, learn: [behavior, policy]}\n", NEXT), f"{S0}.energy.q", "uses a critic that nothing has"),
]


@pytest.mark.parametrize(("steps", "path", "words"), REFUSED)
def test_what_makes_no_sense_at_once_is_one_located_message(steps, path, words):
    with pytest.raises(SpecError) as caught:
        checked(read_text(text_of(*steps), "spec.yaml"))
    told = [problem for problem in caught.value.problems if not problem.path.endswith("[1].energy.q")]
    (found,) = told
    assert found.path == path
    assert words in found.message
    assert found.origin.line is not None


def test_a_known_energy_is_refused_in_concurrent_mode(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(
        "target: {kind: quadratic, center: [0], curvature: [1]}\npolicy: gaussian\nenergy: {q: {}}\n"
        "geometry: kl\nschedule: {mode: concurrent, defaults: {tau: 1, updates: 5}, steps: [{repeat: 3}]}\n"
    )
    done = pogospec("check", path, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}:5:18: schedule.mode: found 'concurrent', but on a known energy there is no ")
    assert "Traceback" not in done.stderr


IQL = "kind: expectile, expectile: 0.7, hidden: [8]"
ADVANTAGE = "advantage: {critics: min, copies: slow, baseline: value}"
DATA = "[{reference: data, geometry: wasserstein2, tau: 0.5}, {reference: previous, geometry: wasserstein2, tau: 2.0}]"
LEARNED = "tau: {kind: multiplier, start: 0.5, divergence: 0.01, learning_rate: 0.1}"
DUAL = "geometry: {kind: wasserstein1, hidden: [8]}"
OTHERS = {
    "expectile critic": text_of(
        "    - {from: data, learn: [critic, policy], scheme: explicit}\n", NEXT, NEXT, energy=ADVANTAGE, critic=IQL
    ),
    "explicit further steps": text_of(
        "    - {from: data, learn: [critic, policy], scheme: explicit}\n",
        step("scheme: explicit, repeat: 2"),
        energy=ADVANTAGE,
        critic=IQL,
    ),
    "long form": text_of(FIRST, f"    - {{learn: [policy], tau: null, repeat: 2, proximal: {DATA}}}\n"),
    "learned by each": text_of(
        f"    - {{from: behavior, {DUAL}, {LEARNED}}}\n", step(f"{DUAL}, {LEARNED}, repeat: 2"), energy="q: {}"
    ),
    "temperatures": text_of(
        "    - {from: null, tau: null, learn: [critic, policy], order: policy_first}\n",
        step("tau: 0.5, repeat: 2"),
        energy="q: {}, entropy: {temperature: {learning_rate: 0.3}}",
        critic="kind: ensemble, members: 3, hidden: [8], backup_entropy: true",
    ),
    "frozen critic": text_of(
        FIT, "    - {from: behavior, learn: [policy], start: behavior}\n", step("energy: {q: {scale: step}}")
    ),
}


@pytest.mark.exhaustive("a whole run for each critic")
@pytest.mark.parametrize("name", OTHERS)
def test_other_critics_and_what_each_policy_learns(name, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(OTHERS[name])
    quick = [("train.batch_size", "16"), ("evaluate.episodes", "1"), ("train.log_every", "5"), ("seeds", "2")]
    run = package.run(path, tmp_path / "run", quick)
    labels = [label for label in run.policies() if label != "behavior"]
    assert labels == LABELS[: len(labels)]
    assert len(labels) == (2 if name == "frozen critic" else 3)
    assert run.status()["state"] == "done"
    for label in labels:
        own = [row for row in run.read("metrics.csv") if row["stage"] == label]
        assert own
        assert all(np.isfinite(float(row["objective"])) for row in own)
        assert all(bool(row["dual_loss"]) == (name == "learned by each") for row in own)
    if name == "temperatures":
        last = {row["stage"]: row["temperature"] for row in run.read("metrics.csv") if row["seed"] == "0"}
        assert all(last.values())
        assert len(set(last.values())) > 1
    if name == "learned by each":
        taus = {row["stage"]: float(row["tau"]) for row in run.read("flow.csv") if row["seed"] == "0"}
        assert len(set(taus.values())) == 3
        newest = max((Path(run.path) / "checkpoints").iterdir())
        duals = [array for key, array in load_file(newest).items() if "network.layers[0].weight" in key]
        assert len({array.tobytes() for array in duals}) == 3
