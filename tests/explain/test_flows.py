"""What `explain` says of flows on known energies, of explicit steps, and of rules that end a step."""

import json
import math
import re

import numpy as np
import pytest
from printed import written

from pogospec.checking.check import load
from pogospec.cli import explaining
from pogospec.explain.cautions.rules import cautions
from pogospec.explain.choices import choices
from pogospec.explain.mathematics.blocks import blocks, meanings
from pogospec.explain.mathematics.known_energy import known
from pogospec.explain.mathematics.latex import latex
from pogospec.explain.origins import grouped, values
from pogospec.explain.overview import cost, explanation, plain
from pogospec.explain.stages import groups, stages
from pogospec.spec.resolve import read_text
from pogospec.spec.shipped import shipped_specs, spec_name
from pogospec.types import Space

FLOWS = [path for path in shipped_specs() if spec_name(path).startswith("flows/")]
KNOWN = """
target: {target}
policy: {policy}
energy: {energy}
geometry: {geometry}
schedule: {{steps: [{{updates: 500, {step}}}]}}
optimizer: {{kind: adam, learning_rate: 0.05}}
"""
QUADRATIC = "{kind: quadratic, center: [1, -0.5], curvature: [4, 0.5]}"
PLAIN = KNOWN.format(target=QUADRATIC, policy="gaussian", energy="{q: {}}", geometry="kl", step="tau: 1")
DATA = """data: {dataset: pocket/reacher-mixed, holdout: 0.1}
policy: {kind: gaussian, hidden: [4]}
energy: {q: {}}
geometry: kl
critic: {kind: clipped_double_q, hidden: [4]}
schedule:
  steps:
    - {learn: [critic, behavior], updates: 90_000, until: {kind: critic_settled, every: 500}}
    - {from: behavior, learn: [policy], updates: 9_000, until: energy_settled,
       tau: {kind: backtracking, start: 8, errors: 2}}
    - {from: previous, learn: [policy], updates: 9_000, repeat: 4, tau: {kind: geometric, start: 4, factor: 0.5}}
"""


def flow(target=QUADRATIC, policy="gaussian", energy=None, geometry="wasserstein2", step="tau: 0.2"):
    energy = energy or "{q: {actions: quadrature}, entropy: {weight: 0.5}}"
    return written(KNOWN.format(target=target, policy=policy, energy=energy, geometry=geometry, step=step))


def space_of(spec):
    size = spec.target.dimensions
    return Space(0, size, (-math.inf,) * size, (math.inf,) * size)


def rows(spec):
    return blocks(spec, stages(spec), space_of(spec).act_dim)[0].rows


@pytest.mark.thinned(2, "computes what is told")
@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_a_flow_is_told_without_what_belongs_to_data(path, capsys):
    explaining.explain(str(path), measure=False)
    shown = capsys.readouterr().out.replace("batch_runs", "").replace("critic_first", "")  # keys of any run
    for word in (
        "batch",
        "episode",
        "critic",
        "evaluation",
        "observation",
        "E_s",
        "rollout",
        "transitions",
        "(s",
        "|s",
    ):
        assert word not in shown, word
    assert "target: null" not in shown
    assert "steps 1 to " in shown
    spec = load(path)
    assert spec.target is not None
    assert spec.target.formula()[0] in shown
    assert "float64" in shown


def test_keys_of_known_energies_do_not_clutter_specs_on_data():
    document = read_text(DATA)
    told = {value.path for value in grouped(values(document))}
    assert not {path for path in told if path.startswith(("target", "start", "schedule.steps[2].until"))}
    assert {"data.holdout", "train.precision"} <= told
    assert {"target", "start.mean", "schedule.steps[2].until"} <= {value.path for value in values(document)}
    told = {value.path for value in grouped(values(read_text(PLAIN)), known=True)}
    assert {"start.mean", "start.std"} <= told
    assert not {path for path in told if path.startswith(("data", "critic", "behavior", "evaluate.episodes"))}


def test_the_optimum_and_the_start_are_told_in_numbers():
    spec = flow()
    found = known(spec, stages(spec))
    assert found is not None
    assert found.optimum_mean == [1.0, -0.5]
    stds = np.sqrt([0.125, 1.0])
    assert found.optimum_std == pytest.approx(stds)
    assert found.log_normalizer == pytest.approx(np.log(2 * np.pi * 0.5) - 0.5 * np.log(2), rel=1e-6)
    kl = (np.log(stds) + (1 + np.array([1, -0.5]) ** 2) / (2 * stds**2) - 0.5).sum()
    assert found.start_kl == pytest.approx(kl, rel=1e-4)
    spec = flow(energy="{q: {}}")
    cold = known(spec, stages(spec))
    assert cold is not None
    assert (cold.temperature, cold.start_kl, cold.log_normalizer) == (0.0, None, None)
    assert cold.optimum_std == [0.0, 0.0]


STARTS = [
    ("gaussian", "", "N(μ₀, diag(σ₀²)), μ₀ = 0, σ₀ = 1"),
    ("full_gaussian", "start: {mean: [1, 2.5], std: 0.5}\n", "N(μ₀, diag(σ₀²)), μ₀ = (1, 2.5), σ₀ = 0.5"),
    ("tanh_gaussian", "", "tanh of N(μ₀, diag(σ₀²)), μ₀ = 0, σ₀ = 1"),
    ("dirac", "start: {mean: [1, 2]}\n", "the point (1, 2)"),
]


@pytest.mark.parametrize(("policy", "start", "text"), STARTS)
def test_the_start_is_told_for_every_family(policy, start, text):
    body = KNOWN.format(target=QUADRATIC, policy=policy, energy="{q: {}}", geometry="wasserstein2", step="tau: 1")
    assert ("centred at", f"π₀: the start, {text}") in rows(written(start + body))


def test_rules_are_told_with_their_numbers():
    spec = flow(
        step="tau: {kind: backtracking, start: 8, factor: 0.25, tries: 3}, repeat: 30, "
        "until: {kind: energy_settled, every: 20, window: 4, tolerance: 0.001}, repeat_until: energy_settled"
    )
    told = rows(spec)
    assert ("tau", "the first of 8, 2, 0.5 for which E[π] + D/tau < E[reference]; where none: the policy stays") in told
    ends = dict(told)["ends"]
    assert ends.startswith("after 500 updates, or before, when what it minimises has settled: over the last 4 checks")
    assert "0.001 of its whole change; a check every 20 updates" in ends
    assert dict(told)["repeated"].startswith("at most 30 times, each re-centred at the policy of the one before")
    assert any("over the last 3 repetitions it changed by at most 0.01" in text for _, text in told)
    (one,) = blocks(spec, stages(spec), 2)
    assert (one.label, one.heading) == ("steps 1 to 30", "at most 500 updates each")


def test_rules_on_data_are_told_with_held_out_states():
    spec = written(DATA)
    plan = stages(spec)
    warm, second, third = (dict(block.rows) for block in blocks(spec, plan, 2))
    assert "when the critic has settled: over the last 5 checks the std of its loss" in warm["ends"]
    assert "a check every 500 updates" in warm["ends"]
    assert "on held-out states by 2 standard errors" in second["tau"]
    assert "what it minimises on held-out states has settled" in second["ends"]
    assert third["tau"] == "4 · 0.5^k at repetition k = 0, 1, …"
    assert [group.label for group in groups(plan)] == ["warm-up", "step 1", "steps 2 to 5"]
    holdout = dict(choices(spec, plan))["holdout"]
    assert holdout.startswith("0.1 of the episodes")
    assert "4,096" in holdout


TILTED = "{kind: quadratic, center: [0, 0], curvature: [[2, 1], [1, 2]]}"
GRID = "{kind: explicit, actions: {hermite: 9}}"
CAUTIONS = [
    ({"target": "{kind: mixture, means: [-2, 2], stds: [1, 1]}"}, {"cubature", "family"}, {"std"}),
    ({}, set(), {"cubature", "family", "seeds", "no entropy", "unsettled critic", "entropy and clipping"}),
    ({"energy": "{q: {}, entropy: {weight: 0.5}}"}, {"std"}, {"cubature"}),
    ({"energy": "{q: {actions: quadrature}}"}, {"no entropy"}, {"family"}),
    ({"energy": "{q: {}}", "policy": "dirac"}, set(), {"no entropy", "std"}),
    ({"target": TILTED}, {"family"}, set()),
    ({"target": TILTED, "policy": "full_gaussian"}, set(), {"family"}),
    ({"step": "tau: 0.6, scheme: explicit"}, {"overshoot"}, {"few points"}),
    ({"step": "tau: 0.4, scheme: explicit"}, set(), {"overshoot"}),
    ({"step": "tau: 0.6, scheme: explicit", "geometry": "kl"}, {"few points"}, {"overshoot", "saturation"}),
    ({"step": f"tau: 0.6, scheme: {GRID}", "geometry": "fisher_rao"}, set(), {"few points"}),
    ({"step": "tau: 1, until: energy_settled"}, {"until"}, {"repeat_until"}),
    ({"step": "tau: 1, until: {kind: energy_settled, every: 100}"}, set(), {"until"}),
    ({"step": "tau: 1, repeat: 4, repeat_until: energy_settled"}, {"repeat_until"}, set()),
    ({"step": "tau: 1, repeat: 5, repeat_until: energy_settled"}, set(), {"repeat_until"}),
]


@pytest.mark.parametrize(("options", "there", "absent"), CAUTIONS)
def test_cautions_of_flows(options, there, absent):
    spec = flow(**options)
    assert spec.target is not None
    found = {caution.name for caution in cautions(spec, stages(spec), spec.target.dimensions)}
    assert there <= found
    assert not absent & found


def test_a_rule_needs_as_many_checks_as_the_caution_counts():
    rule = flow(step="tau: 1, until: {kind: energy_settled, every: 100, window: 4}").schedule.steps[0].until
    assert rule is not None
    still = np.ones((10, 1))
    assert not rule.settled({"objective": still[: rule.least]}).any()  # the beginning is one of them
    assert rule.settled({"objective": still[: rule.least + 1]}).all()
    rule = written(DATA).schedule.steps[0].until
    assert rule is not None
    history = {"critic_noise": np.ones((rule.least, 1)), "q_drift": np.zeros((rule.least, 1))}
    assert rule.settled(history).all()
    assert not rule.settled({name: column[1:] for name, column in history.items()}).any()


def test_thousands_of_repetitions_are_told_once():
    spec = flow(step="tau: 0.01, repeat: 3000")
    found = explanation(read_text(PLAIN), spec, space_of(spec), None)
    assert len(found.plan) == 3000
    assert [block.label for block in found.blocks] == ["steps 1 to 3000"]
    assert found.latex.count(r"\arg") == 1
    assert found.cautions == []


def test_costs_of_a_flow_are_measured_and_estimated():
    spec = flow(step="tau: 0.2, repeat: 3, scheme: {kind: explicit, actions: {hermite: 30}}", geometry="kl")
    plan = stages(spec)
    for measured in (True, False):
        found = cost(spec, plan, space_of(spec), None, measured)
        assert len(found.rates) == len(found.operations) == 3
        assert len({rate.per_second for rate in found.rates}) == 1
        assert all((rate.updates > 0) == measured and rate.per_second > 0 for rate in found.rates)
        assert [(network.name, network.parameters) for network in found.networks] == [("policy", 4)]
        assert found.seconds(plan) > 0


def test_operations_of_a_flow_grow_with_its_samples():
    counts = []
    for count in (100, 400):
        spec = flow(target="banana", energy=f"{{q: {{actions: {{sample: {count}}}}}, entropy: {{}}}}")
        counts.append(cost(spec, stages(spec), space_of(spec), None, measured=False).operations[0])
    assert 3 < counts[1] / counts[0] < 4.5


def test_double_precision_takes_twice_the_memory():
    specs = written(PLAIN), written(PLAIN + "train: {precision: float64}\n")
    single, double = (cost(spec, stages(spec), space_of(spec), None, False).memory.weights for spec in specs)
    assert double == 2 * single


def test_programs_are_told_the_same(capsys):
    explaining.explain("quadratic_explicit_fr", to="json", measure=False)
    told = json.loads(capsys.readouterr().out)
    assert told["target"]["kind"] == "quadratic"
    assert told["target"]["text"] == "−½ (a − m)ᵀ A (a − m)"
    assert told["target"]["optimum_std"] == pytest.approx(np.sqrt([0.125, 1.0]))
    assert len(told["stages"]) == 40
    step = told["stages"][3]
    assert step["scheme"] == "explicit"
    assert step["explicit"]["kind"] == "reweight"
    coefficients = {part["key"]: part["coefficient"] for part in step["explicit"]["parts"]}
    assert coefficients == pytest.approx({"energy.q": 0.2, "energy.entropy": -0.1})
    assert step["references"] == {"π₃": "the policy at the end of step 3, frozen"}
    assert told["warnings"] == []
    spec = flow(step="tau: 0.2, repeat: 2")
    json.dumps(plain(explanation(read_text(PLAIN), spec, space_of(spec), None)))


MEAN = "{kind: wasserstein2, reduction: mean}"
LATEX = [
    {"step": "tau: 0.2, repeat: 9"},
    {"step": "tau: 0.2, scheme: explicit", "geometry": MEAN},
    {"step": "tau: {kind: geometric, start: 1, factor: 0.9}, repeat: 30, scheme: explicit", "geometry": "kl"},
    {
        "target": "{kind: mixture, means: [-2, 2], stds: [1, 1]}",
        "policy": "dirac",
        "energy": "{q: {scale: step}, action_norm: {}}",
    },
    {"target": "banana", "step": "tau: 1, from: behavior, name: first"},
    {
        "target": "{kind: numpyro, model: eight_schools}",
        "step": "tau: 1, scheme: {kind: explicit, actions: {sample: 4}}",
    },
]


@pytest.mark.parametrize("options", [*LATEX, *FLOWS], ids=lambda case: case.stem if hasattr(case, "stem") else None)
def test_latex_of_flows_is_sound(options):
    from matplotlib.mathtext import MathTextParser

    spec = flow(**options) if isinstance(options, dict) else load(options)
    assert spec.target is not None
    text = latex(spec, stages(spec), spec.target.dimensions)
    body = text.partition("\\begin{align*}\n")[2].partition("\n\\end{align*}")[0]
    assert "E}_s" not in body
    assert "mid s" not in body
    parser = MathTextParser("agg")
    for row in body.split("\\\\\n"):
        assert row.count("&") == 1, row
        for cell in row.split("&"):
            bare = re.sub(r"\\([bB]ig)|\\textstyle|\\;|\\quad|\\qquad", "", cell.strip())
            bare = bare.replace("tfrac", "frac").replace(r"\textbf", r"\mathbf").replace("\\text{", "\\mathrm{")
            parser.parse(f"${bare}$" if bare.strip() else "x")


def test_symbols_are_explained_once_and_without_states():
    told = dict(meanings(stages(flow(step="tau: 0.2, repeat: 3")), 2))
    assert told["Q(a)"] == "−½ (a − m)ᵀ A (a − m)"
    assert (told["m"], told["A"]) == ("(1, -0.5)", "diag(4, 0.5)")
    assert told["H"] == "entropy in nats of the policy"
    assert not any("|s" in name + text or "minibatch" in text for name, text in told.items())
