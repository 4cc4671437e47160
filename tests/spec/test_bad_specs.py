"""Bad input: where it is, what was found, what is allowed; all of a file at once; exit code 2."""

import sys

import pytest
from commands import pogospec

from pogospec.api import run
from pogospec.checking.check import load
from pogospec.cli import main
from pogospec.errors import DataError, SpecError

SPEC = """\
policy: gaussian
energy:
  q: {critics: first}
  entropy: {weight: 0.01}
geometry: fisher_rao
critic: clipped_double_q
data: {dataset: pocket/reacher-mixed}
schedule:
  steps:
    - {from: behavior, tau: 20.0, updates: 10}
    - {from: previous, learn: [policy], tau: 20.0, updates: 10}
seeds: 1
"""


def problems(tmp_path, text, overrides=()):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load(path, overrides)
    return caught.value.problems


def changed(old, new):
    assert old in SPEC
    return SPEC.replace(old, new, 1)


FIRST, NODE = "schedule.steps[0]", "policy: gaussian"
TABLE = [
    ("geometry:", "geometri:", "5:1", "geometri", "did you mean geometry?"),
    ("critics:", "critic:", "3:7", "energy.q.critic", "did you mean critics?"),
    (
        "fisher_rao",
        "fisher_rau",
        "5:11",
        "geometry",
        "sliced_wasserstein2, energy_distance, mmd, wasserstein1, did you mean fisher_rao?",
    ),
    ("first", "frist", "3:16", "energy.q.critics", "found 'frist', allowed min, first, mean, did you mean first?"),
    ("entropy:", "entropie:", "4:3", "energy.entropie", "did you mean entropy?"),
    ("tau: 20.0", "tau: '0.5'", "10:29", f"{FIRST}.tau", "found '0.5', allowed a number > 0, did you mean 0.5"),
    ("tau: 20.0", "tau: true", "10:29", f"{FIRST}.tau", "found true, allowed a number > 0"),
    ("tau: 20.0", "tau: -1", "10:29", f"{FIRST}.tau", "found -1, allowed a number > 0"),
    ("tau: 20.0", "tau: .nan", "10:29", f"{FIRST}.tau", "found nan, allowed a finite number"),
    ("tau: 20.0", "tau: -.inf", "10:29", f"{FIRST}.tau", "found -inf, allowed a finite number"),
    ("updates: 10", "updates: 0", "10:44", f"{FIRST}.updates", "found 0, allowed a whole number >= 1"),
    ("weight: 0.01", "weight: [1]", "4:21", "energy.entropy.weight", "found a list, allowed a number >= 0"),
    ("seeds: 1", "seeds: 1.5", "12:8", "seeds", "found 1.5, allowed a whole number >= 1"),
    ("seeds: 1", "seeds: 1\nseeds: 2", "13:1", "seeds", "found the key twice, first at line 12"),
    ("  q:", "\tq:", "3:1", "", "found a tab, allowed spaces"),
    ("seeds: 1", "seeds: !!int 1", "12:8", "seeds", "allowed no YAML tags"),
    ("seeds: 1", "seeds: !!python/object:os.system 1", "12:8", "seeds", "allowed no YAML tags"),
    (NODE, NODE.replace("gaussian", "{kind: gaussian, log_std: [2, 0]}"), "1:35", "policy.log_std", "that increase"),
    (f"{NODE}\n", "", "1:1", "policy", "missing, required: dirac, gaussian"),
    (", updates: 10", "", "10:7", f"{FIRST}.updates", "missing, required: a whole number >= 1"),
    (
        "behavior,",
        "behavior, learn: [behavior, policy],",
        "3:6",
        f"{FIRST}.energy.q",
        "nothing has learned; add critic",
    ),
    ("behavior,", "behavior, learn: [critic, policy],", "10:14", f"{FIRST}.from", "nothing has learned; add behavior"),
    ("from: behavior", "from: previous", "10:14", f"{FIRST}.from", "no earlier step learns the policy"),
    ("from: behavior", "from: data", "10:14", f"{FIRST}.from", "needs a reference with a density"),
    ("seeds: 1", "target: quadratic", "12:1", "target", "found both target and data, allowed one of them"),
    ("seeds: 1", "seeds: true", "12:8", "seeds", "found true, allowed a whole number >= 1"),
    (
        "seeds: 1",
        "seeds: '1'",
        "12:8",
        "seeds",
        "found '1', allowed a whole number >= 1, did you mean 1 without quotes?",
    ),
    ("seeds: 1", "seeds: 1e10", "12:8", "seeds", "no larger in size than 2,147,483,647"),
    ("seeds: 1", "sedes: 1", "12:1", "sedes", "found unknown key 'sedes', allowed policy, energy,"),
    ("seeds: 1", 'seeds: "a\\nb"', "12:8", "seeds", "found 'a\\nb', allowed a whole number >= 1"),
    ("seeds: 1", 'name: "\\0"', "12:7", "name", "found the character \\x00, allowed those that UTF-8"),
    ("tau: 20.0", "tau: .inf", "10:29", f"{FIRST}.tau", "found inf, allowed a finite number"),
    (
        "tau: 20.0",
        "tau: 1e39",
        "10:29",
        f"{FIRST}.tau",
        "found 1e+39, allowed a number > 0, no larger in size than 3.4e+38",
    ),
    ("tau: 20.0", "tau: 1e-46", "10:29", f"{FIRST}.tau", "no smaller than 1.18e-38"),
    (
        "tau: 20.0",
        "tau: {kind: geometrc}",
        "10:36",
        f"{FIRST}.tau.kind",
        "allowed geometric, backtracking, multiplier, choice, doubling, did you mean",
    ),
    (
        "updates: 10",
        "repeat: 10_001, updates: 10",
        "10:43",
        f"{FIRST}.repeat",
        "allowed a whole number >= 1 and <= 10000",
    ),
    ("updates: 10", "name: a/b, updates: 10", "10:41", f"{FIRST}.name", "allowed up to 40 letters and digits"),
    ("updates: 10", "name: step 1, updates: 10", "10:41", f"{FIRST}.name", "gives the label 'step 1' twice"),
    (
        "{dataset: pocket/reacher-mixed}",
        "{dataset: a, environment: 'os:Hopper-v5'}",
        "7:33",
        "data.environment",
        "found 'os:Hopper-v5', allowed the id alone: a spec imports no module",
    ),
]


@pytest.mark.parametrize(("old", "new", "place", "path", "words"), TABLE)
def test_one_mistake_is_one_message(tmp_path, capsys, monkeypatch, old, new, place, path, words):
    text = changed(old, new)
    found = problems(tmp_path, text)
    file = tmp_path / "spec.yaml"
    line = next(str(problem) for problem in found if problem.path == path)
    assert line.startswith(f"{file}:{place}: {path}: " if path else f"{file}:{place}: ")
    assert words in line
    assert len({problem.path for problem in found}) <= 2  # a misspelt required key is missing too
    monkeypatch.setattr(sys, "argv", ["pogospec", "check", str(file)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert told == [str(problem) for problem in found]
    assert line in told


def test_a_critic_that_needs_a_behaviour_nobody_learns(tmp_path):
    critic = "critic: {kind: clipped_double_q, target_penalty: {reference: behavior_mean}}"
    text = changed("critic: clipped_double_q", critic).replace("from: behavior,", "learn: [critic, policy],")
    text = text.replace("geometry: fisher_rao", "geometry: wasserstein2").replace(
        "tau: 20.0", "from: data, tau: 20.0", 1
    )
    (found,) = problems(tmp_path, text)
    assert str(found).partition("spec.yaml:")[2] == (
        "6:50: critic.target_penalty: uses the fitted behaviour, which nothing has learned by schedule.steps[0]; "
        "add behavior to its `learn`"
    )


RUNS = [
    ("mine/nosuch-v0", [], "spec.yaml:7:17: data.dataset: 'mine/nosuch-v0' is not in "),
    ("pocket/reacher", [], "spec.yaml:7:17: data.dataset: no embedded set 'pocket/reacher', allowed pocket/"),
    ("a", ["--dataset", "d4rl/hoper-medium-v2"], "--dataset: data.dataset: no D4RL set 'd4rl/hoper-medium-v2'"),
    ("a", ["--set", "data.dataset=file:no.npz"], "--set data.dataset: data.dataset: no.npz: no such file"),
    (
        "pocket/reacher-mixed, environment: No-v0",
        [],
        "spec.yaml:7:52: data.environment: the environment 'No-v0' cannot",
    ),
    (
        "a",
        ["--dataset", "pocket/reacher-mixed", "--set", "data.environment=Hopper-v5"],
        "--set data.environment: data.environment: the environment 'Hopper-v5' has 11 observations and 3 actions",
    ),
]


@pytest.mark.parametrize(("dataset", "options", "message"), RUNS)
def test_data_that_cannot_be_used_are_told_where_the_spec_names_them(
    tmp_path, capsys, monkeypatch, dataset, options, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    (tmp_path / "spec.yaml").write_text(changed("pocket/reacher-mixed", dataset))
    monkeypatch.setattr(sys, "argv", ["pogospec", "run", "spec.yaml", "--out", "there", "--quiet", *options])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(message)


def test_python_tells_where_data_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    path = tmp_path / "spec.yaml"
    path.write_text(changed("pocket/reacher-mixed", "mine/nosuch-v0"))
    with pytest.raises(DataError) as caught:
        run(path, tmp_path / "there")
    assert str(caught.value).startswith(f"{path}:7:17: data.dataset: 'mine/nosuch-v0' is not in ")
    with pytest.raises(DataError) as caught:
        run(load(path), tmp_path / "there")
    assert str(caught.value).startswith("data.dataset: 'mine/nosuch-v0' is not in ")


TARGET = """\
policy: {kind: gaussian, initialization: lecun}
target: {kind: mixture, means: [[0], [1]], stds: [1, 1]}
energy: {q: , entropy: }
geometry: wasserstein2
schedule: {defaults: {gradient: natural}, steps: [{tau: 1, updates: 3}]}
"""
LOGGED = """\
data: {dataset: pocket/reacher-mixed}
policy: gaussian
energy: {advantage: }
geometry: {kind: kl, weight: 2}
critic: expectile
schedule: {steps: [{from: data, scheme: explicit, tau: 3, learn: [critic, policy], updates: 3}]}
"""
POINTS = LOGGED.replace("gaussian", "dirac").replace("kind: kl", "kind: wasserstein2").replace("scheme: explicit, ", "")
ALONE = [
    (
        LOGGED,
        "gaussian",
        "dirac",
        "6:27: schedule.steps[0].from: found 'data', where explicit weights a likelihood, which",
    ),
    (LOGGED, "kind: kl", "kind: wasserstein2", "4:11: schedule.steps[0].geometry: explicit weights the logged actions"),
    (
        LOGGED,
        "weight: 2",
        "weight: 0",
        "4:30: schedule.steps[0].geometry.weight: found 0, which leaves an explicit step",
    ),
    (
        LOGGED,
        "{advantage: }",
        "{advantage: , entropy: {weight: 0.1}}",
        "3:32: schedule.steps[0].energy.entropy: needs the density of the reference, but of data there are the logged",
    ),
    (
        LOGGED,
        "{advantage: }",
        "{advantage: , log_likelihood: {weight: 0.1}}",
        "3:39: schedule.steps[0].energy.log_likelihood: has no first variation for an explicit step",
    ),
    (
        LOGGED,
        "scheme: explicit",
        "scheme: {kind: explicit, actions: {sample: 3}}",
        "6:67: schedule.steps[0].scheme.actions: found points beside from: data, which has the logged actions",
    ),
    (
        LOGGED,
        "critic: expectile",
        "critic: clipped_double_q",
        "3:20: schedule.steps[0].energy.advantage.baseline: found 'value', but clipped_double_q learns no values of",
    ),
    (
        LOGGED,
        "critic: expectile",
        "critic: {kind: expectile, expectile: 1}",
        "5:38: critic.expectile: found 1, allowed a number > 0 and < 1",
    ),
    (
        LOGGED,
        "learn: [critic, policy]",
        "learn: [policy]",
        "3:20: schedule.steps[0].energy.advantage: uses a critic that nothing has learned; add critic",
    ),
    (
        POINTS,
        "{advantage: }",
        "{advantage: {baseline: {sample: 1}}}",
        "3:32: schedule.steps[0].energy.advantage.baseline: found {sample: 1}, allowed value, mean, since",
    ),
    (
        TARGET,
        "{q: , entropy: }",
        "{advantage: {baseline: mean}, entropy: }",
        "3:21: schedule.steps[0].energy.advantage: needs a critic, which a known energy has not; remove it,",
    ),
    (SPEC, "critic: clipped_double_q", "critic: clipped_double", "6:9: critic: found 'clipped_double', allowed"),
    (SPEC, "critic: clipped_double_q", "critic: {kind: clipped_double_q, hidden: 3}", "6:42: critic.hidden: found 3"),
    (SPEC, "from: behavior", "from: behavor", "10:14: schedule.steps[0].from: found 'behavor', allowed"),
    (
        SPEC,
        "tau: 20.0",
        "energy: {q: {actions: {sample: 0}}}, tau: 20.0",
        "10:55: schedule.steps[0].energy.q.actions.s",
    ),
    (TARGET, "kind: mixture", "kind: mixtur", "2:16: target.kind: found 'mixtur', allowed quadratic, mixture,"),
    (TARGET, "[[0], [1]]", "[[0], 1]", "2:9: target: found means ((0), 1), allowed points of one number of dimensions"),
    (TARGET, "[[0], [1]]", "[[], []]", "2:9: target: found no dimensions, allowed 1 or more"),
    (
        TARGET,
        "tau: 1,",
        "tau: {kind: backtracking, start: 1, tries: 200},",
        "5:57: schedule.steps[0].tau: reaches 10^-60",
    ),
    (TARGET, "mixture, means: [[0], [1]], stds: [1, 1]", f"numpyro, model: {'x' * 900}", "2:9: target: found unknown"),
    (
        TARGET,
        "wasserstein2\nschedule: {defaults: {gradient: natural}",
        "mmd\nschedule: {defaults: {}",
        "4:11: schedule.steps[0].geometry: found mmd, which is estimated by samples; allowed here, in closed form",
    ),
    (
        TARGET,
        "wasserstein2\nschedule: {defaults: {gradient: natural}",
        "{kind: wasserstein2, coupling: shared_noise}\nschedule: {defaults: {}",
        "4:11: schedule.steps[0].geometry: found wasserstein2 with keys by which it is estimated by samples; allowed",
    ),
    (SPEC, "fisher_rao", "{kind: sinkhorn, epsilon: 0}", "5:37: geometry.epsilon: found 0, allowed a number > 0"),
    (
        SPEC,
        "fisher_rao",
        "{kind: wasserstein2, coupling: share_noise}",
        "5:42: geometry.coupling: found 'share_noise', allowed optimal, shared_noise",
    ),
    (SPEC, "fisher_rao", "{kind: mmd, samples: 1}", "5:32: geometry.samples: found 1, allowed a whole number >= 2"),
    (
        SPEC,
        "from: behavior",
        "from: behavior, gradient: natural, geometry: wasserstein1",
        "10:34: schedule.steps[0].gradient: wasserstein1 has no metric on gaussian; use the euclidean gradient",
    ),
    (
        SPEC,
        "tau: 20.0",
        "tau: {kind: multiplier, start: 0.001, divergence: 1}",
        "10:55: schedule.steps[0].tau.start: found 0.001, allowed 1/most = 0.002 or more, since 1/tau is at most 500",
    ),
    (
        TARGET,
        "tau: 1,",
        "tau: {kind: multiplier, start: 1, divergence: 1},",
        "5:57: schedule.steps[0].tau: multiplier follows minibatches of data; allowed here: a number, geometric, back",
    ),
    (
        SPEC,
        "from: previous",
        "behavior_gradient: natural, from: previous",
        "11:8: schedule.steps[1].behavior_gradient: found behavior_gradient, but this step does not learn the be",
    ),
    (
        SPEC,
        "from: behavior",
        "behavior_gradient: natural, from: behavior, geometry: mmd",
        "10:27: schedule.steps[0].behavior_gradient: mmd has no metric on gaussian; use the euclidean gradient",
    ),
    (
        SPEC,
        "critic: clipped_double_q",
        "critic: {kind: clipped_double_q, target_penalty: {kind: divergence, geometry: wasserstein1, weight: 1}}",
        "6:79: critic.target_penalty.geometry: wasserstein1 shares what the proximal term of a step learns, but "
        "schedule.steps[0] has none with this geometry; give both the same keys",
    ),
    (
        SPEC,
        "critic: clipped_double_q",
        "critic: {kind: ensemble, members: 1, diversity: 1}",
        "6:49: critic.diversity: compares critics, of which there is one; allowed with members: 2 or more",
    ),
    (
        SPEC,
        "critic: clipped_double_q",
        "critic: {kind: clipped_double_q, backup_entropy: true}",
        "6:50: critic.backup_entropy: found true, but smoothed_mean has no density; use target_actions: policy_sample",
    ),
    (
        SPEC,
        "critic: clipped_double_q",
        "critic: {kind: ensemble, backup_entropy: true, target_actions: {kind: policy_sample, copies: slow}}",
        "6:42: critic.backup_entropy: found true, which is about the policy as it is now; allowed target_actions.copi",
    ),
    (
        SPEC,
        "updates: 10}",
        "updates: 10, scheme: explicit, energy: {entropy: {temperature: {start: 2}}}}",
        "10:98: schedule.steps[0].energy.entropy.temperature: is learned from minibatches, which an explicit step has ",
    ),
    (TARGET, "tau: 1,", "tau: x,", "5:57: schedule.steps[0].tau: found 'x', allowed a number > 0, geometric,"),
]


@pytest.mark.parametrize(("text", "old", "new", "message"), ALONE)
def test_a_mistake_brings_no_others_with_it(tmp_path, text, old, new, message):
    assert text.count(old) >= 1
    (tmp_path / "good.yaml").write_text(text)
    assert load(tmp_path / "good.yaml")
    (found,) = problems(tmp_path, text.replace(old, new, 1))
    assert str(found).partition("spec.yaml:")[2].startswith(message)


def test_a_flow_on_a_target_learns_its_policy_alone(tmp_path):
    found = problems(tmp_path, TARGET.replace("tau: 1,", "tau: 1, learn: [critic],"))
    assert [(p.origin.column, p.path) for p in found] == [(52, f"{FIRST}.tau"), (67, f"{FIRST}.learn")]


def test_the_entropy_of_a_target_is_that_of_the_policys_energy(tmp_path):
    text = changed("critic: clipped_double_q", "critic: {kind: ensemble, backup_entropy: true}")
    assert load(_file(tmp_path, text))
    weight = (
        "takes the entropy weight of the policy's energy, but schedule.steps[0] has none; add policy to its `learn`"
    )
    for other in (
        text.replace("  entropy: {weight: 0.01}\n", ""),
        text.replace("updates: 10", "updates: 10, learn: [critic, behavior]", 1),
    ):
        messages = [str(problem) for problem in problems(tmp_path, other) if problem.path == "critic.backup_entropy"]
        assert len(messages) == 1
        assert weight in messages[0]


def test_conservative_critics_are_refused_on_dirac(tmp_path):
    text = (
        changed(NODE, "policy: dirac").replace("  entropy: {weight: 0.01}\n", "").replace("fisher_rao", "wasserstein2")
    )
    assert load(_file(tmp_path, text))
    (found,) = problems(tmp_path, text.replace("clipped_double_q", "conservative"))
    assert "critic: needs a policy with a density, found dirac, allowed gaussian, full_gaussian, low_ran" in str(found)


def _file(tmp_path, text):
    path = tmp_path / "good.yaml"
    path.write_text(text)
    return path


def test_density_kinds_are_refused_on_dirac(tmp_path):
    found = {str(p).partition("spec.yaml:")[2] for p in problems(tmp_path, changed(NODE, "policy: dirac"))}
    assert found == {
        "4:12: schedule.steps[0].energy.entropy: needs a policy with a density, found dirac, "
        "allowed gaussian, full_gaussian, low_rank_gaussian, tanh_gaussian, gaussian_mixture, normalizing_flow",
        "5:11: schedule.steps[0].geometry: fisher_rao knows no distance from dirac to dirac; "
        "allowed here: wasserstein2, sinkhorn, sliced_wasserstein2, energy_distance, mmd, wasserstein1",
    }


def test_where_no_closed_form_is_known_the_coupling_by_shared_noise_is_named(tmp_path):
    text = changed(NODE, "policy: full_gaussian\nbehavior: tanh_gaussian").replace("fisher_rao", "wasserstein2")
    text = text.replace("from: previous", "from: behavior")
    found = [str(p) for p in problems(tmp_path, text)]
    said = "wasserstein2 knows no distance from full_gaussian to tanh_gaussian; allowed here: "
    said += (
        "wasserstein2 with coupling: shared_noise, sinkhorn, sliced_wasserstein2, energy_distance, mmd, wasserstein1"
    )
    assert len(found) == 1
    assert found[0].endswith(said)
    path = tmp_path / "spec.yaml"
    load(path, [("geometry.coupling", "shared_noise")])


def test_shared_noise_is_of_one_size(tmp_path):
    text = changed(NODE, "policy: {kind: transport_map, noise: 3}\nbehavior: flow_matching")
    text = text.replace("  entropy: {weight: 0.01}\n", "").replace("from: previous", "from: behavior")
    found = problems(tmp_path, text.replace("fisher_rao", "{kind: wasserstein2, coupling: shared_noise}"))
    said = "found noise of 3 dimensions of the policy, and as many as actions of the behavior; allowed the same of both"
    assert [str(problem).partition("geometry: ")[2] for problem in found] == [said]


WITHOUT = "policy: {kind: transport_map}\nbehavior: {kind: flow_matching}"
SAMPLED = changed(NODE, WITHOUT).replace("fisher_rao", "mmd").replace("  entropy: {weight: 0.01}\n", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "q: {critics",
            "entropy: {}\n  q: {critics",
            "energy.entropy: needs a policy with a density (or scheme.kernel: stein of an explicit step)",
        ),
        ("q: {critics", "log_likelihood: {}\n  q: {critics", "energy.log_likelihood: needs a policy with a density"),
        (
            "geometry: mmd",
            "geometry: kl",
            "geometry: kl knows no distance from transport_map to flow_matching; allowed",
        ),
        ("geometry: mmd", "geometry: fisher_rao", "geometry: fisher_rao knows no distance from transport_map to "),
        (
            "tau: 20.0",
            "tau: 20.0, gradient: natural",
            "gradient: mmd has no metric on transport_map; use the euclidean",
        ),
        (
            "critics: first",
            "actions: quadrature",
            "energy.q.actions: found quadrature, allowed mean, {sample: n}, since",
        ),
        ("tau: 20.0", "tau: 20.0, scheme: explicit", "geometry: explicit knows no retraction here"),
    ],
)
def test_what_has_no_meaning_without_a_density_is_refused(tmp_path, old, new, message):
    assert any(message in str(found) for found in problems(tmp_path, SAMPLED.replace(old, new, 1)))


def test_a_mixture_has_samples_and_no_quadrature(tmp_path):
    text = changed(NODE, "policy: gaussian_mixture").replace("geometry: fisher_rao", "geometry: kl")
    (found,) = problems(tmp_path, text.replace("critics: first", "actions: quadrature"))
    said = "energy.q.actions: found quadrature, allowed mean, {sample: n}, since quadrature is a rule for Gaussians"
    assert said in str(found)
    grid = "scheme: {kind: explicit, actions: {hermite: 5}}, updates"
    (found,) = problems(tmp_path, text.replace("updates", grid, 1))
    assert "scheme.actions: found hermite, a grid for Gaussians, which gaussian_mixture is none of" in str(found)


@pytest.mark.parametrize(
    ("policy", "geometry", "message"),
    [
        (
            "flow_matching",
            "mmd",
            "policy: found flow_matching, whose networks cannot be set to the Gaussian where a flow",
        ),
        (
            "gaussian_mixture",
            "kl",
            "geometry: found kl, which is estimated by samples; allowed here, in closed form",
        ),
    ],
)
def test_known_energies_ask_for_a_start_and_for_closed_forms(tmp_path, policy, geometry, message):
    target = "{kind: quadratic, center: [0, 0], curvature: [1, 1]}"
    text = f"target: {target}\npolicy: {policy}\nenergy: {{q: {{actions: {{sample: 4}}}}}}\ngeometry: {geometry}\n"
    found = problems(tmp_path, text + "schedule: {steps: [{tau: 1, updates: 5}]}\n")
    assert any(message in str(problem) for problem in found)


def test_mistakes_of_a_file_come_together(tmp_path):
    text = changed("tau: 20.0", "tau: -1").replace("seeds: 1", "sseds: 1").replace("weight: 0.01", "weight: big")
    text = text.replace("from: behavior", "from: data")
    found = {(p.origin.line, p.path) for p in problems(tmp_path, text)}
    assert found >= {(10, f"{FIRST}.tau"), (12, "sseds"), (4, "energy.entropy.weight")}
    rest = problems(tmp_path, changed("from: behavior", "from: data").replace("seeds: 1", "sseds: 1"))
    assert {"sseds", f"{FIRST}.from"} == {p.path for p in rest}
    text = changed("from: behavior", "from: previous").replace("updates: 10}", "updates: 0}", 1)
    found = problems(tmp_path, text.replace("tau: 20.0, updates: 10}", "tau: 20.0}"))
    assert {f"{FIRST}.from", f"{FIRST}.updates", "schedule.steps[1].updates"} == {p.path for p in found}


def test_a_spec_begins_with_data_or_a_target(tmp_path):
    (found,) = problems(tmp_path, changed("data: {dataset: pocket/reacher-mixed}\n", ""))
    assert str(found).partition("spec.yaml:")[2].startswith("1:1: data: missing, required: a mapping with dataset")
    assert str(found).endswith("; or a known energy, with target")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a:\n\tb: 1\n", "tab"),
        ("[" * 3000, "nesting deeper"),
        ("", "is empty"),
        ("- 1\n", "no mapping"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"  # noqa: E501
            "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
            "more than",
        ),
    ],
)
def test_not_a_usable_yaml(tmp_path, text, words):
    assert words in problems(tmp_path, text)[0].message


def test_command_line_says_it_without_a_traceback(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(changed("tau: 20.0", "tau: -1"))
    done = pogospec("check", path, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == f"{path}:10:29: schedule.steps[0].tau: found -1, allowed a number > 0"
