"""Bad input: where it is, what was found, what is allowed; all of a file at once; exit code 2."""

import subprocess
import sys

import pytest

from pogospec.check import load
from pogospec.cli import main
from pogospec.errors import SpecError

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
        "allowed wasserstein2, fisher_rao, gaussian_fisher_rao, kl, hellinger, did you mean fisher_rao?",
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
    assert line in capsys.readouterr().err


def test_density_kinds_are_refused_on_dirac(tmp_path):
    found = {str(p).partition("spec.yaml:")[2] for p in problems(tmp_path, changed(NODE, "policy: dirac"))}
    assert found == {
        "4:12: schedule.steps[0].energy.entropy: needs a policy with a density, found dirac, "
        "allowed gaussian, tanh_gaussian",
        "5:11: schedule.steps[0].geometry: fisher_rao knows no distance from dirac to a reference of type Point; "
        "allowed here: wasserstein2, or a policy and a reference of one gaussian family",
    }


def test_mistakes_of_a_file_come_together(tmp_path):
    text = changed("tau: 20.0", "tau: -1").replace("seeds: 1", "sseds: 1").replace("weight: 0.01", "weight: big")
    text = text.replace("from: behavior", "from: data")
    found = {(p.origin.line, p.path) for p in problems(tmp_path, text)}
    assert found >= {(10, f"{FIRST}.tau"), (12, "sseds"), (4, "energy.entropy.weight")}
    rest = problems(tmp_path, changed("from: behavior", "from: data").replace("seeds: 1", "sseds: 1"))
    assert {"sseds", f"{FIRST}.from"} == {p.path for p in rest}


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
    done = subprocess.run([sys.executable, "-m", "pogospec.cli", "check", str(path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == f"{path}:10:29: schedule.steps[0].tau: found -1, allowed a number > 0"
