"""Bad input: where it is, what was found, what is allowed; all of a file at once; exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from pogospec.check import load
from pogospec.errors import SpecError

SPEC = (Path(__file__).parents[2] / "specs" / "pogo_fr_two_step.yaml").read_text()


def problems(tmp_path, text, overrides=()):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load(path, overrides)
    return caught.value.problems


def changed(old, new):
    assert old in SPEC
    return SPEC.replace(old, new)


TABLE = {
    "misspelt key": ("geometry: fisher_rao", "geometri: fisher_rao", "geometri", "did you mean geometry?"),
    "unknown kind": ("geometry: fisher_rao", "geometry: fisher_rau", "geometry", "did you mean fisher_rao?"),
    "quoted number": ("tau: 20.0", "tau: '0.4167'", "schedule.steps[0].tau", "found '0.4167', allowed a number > 0"),
    "boolean": ("tau: 20.0", "tau: true", "schedule.steps[0].tau", "found true, allowed a number"),
    "bounds": ("tau: 20.0", "tau: -1", "schedule.steps[0].tau", "found -1, allowed a number > 0"),
    "nan": ("tau: 20.0", "tau: .nan", "schedule.steps[0].tau", "found nan, allowed a finite number"),
    "infinity": ("tau: 20.0", "tau: .inf", "schedule.steps[0].tau", "allowed a finite number"),
    "duplicate key": ("seeds: 1", "seeds: 1\nseeds: 2", "seeds", "found the key twice"),
    "tag": ("seeds: 1", "seeds: !!python/int 1", "seeds", "allowed no YAML tags"),
    "previous first": (
        "from: behavior",
        "from: previous",
        "schedule.steps[0].from",
        "no earlier step learns the policy",
    ),
    "data with fisher_rao": (
        "from: behavior",
        "from: data",
        "schedule.steps[0].from",
        "needs a reference with a density",
    ),
    "nobody learned": (
        "learn: [critic, behavior, policy]",
        "learn: [behavior, policy]",
        "schedule.steps[0].energy.q",
        "uses a critic that nothing has learned",
    ),
    "entropy on dirac": (
        "policy: {kind: gaussian, hidden: [128, 128], mean: tanh, log_std: [-5, 2]}",
        "policy: dirac",
        "schedule.steps[0].energy.entropy",
        "needs a policy with a density",
    ),
    "data and target": ("seeds: 1", "seeds: 1\ntarget: quadratic", "target", "remove one"),
}


@pytest.mark.parametrize("name", TABLE)
def test_one_mistake(tmp_path, name):
    old, new, path, words = TABLE[name]
    text = changed(old, new)
    found = [p for p in problems(tmp_path, text) if p.path == path and words in p.message]
    assert found, name
    origin = found[0].origin
    assert origin.line is not None
    assert origin.column is not None
    assert path.rsplit(".", 1)[-1].split("[")[0] in text.splitlines()[origin.line - 1]


def test_three_mistakes_come_together(tmp_path):
    text = changed("tau: 20.0", "tau: -1").replace("seeds: 1", "sseds: 1").replace("batch_size: 256", "batch_size: big")
    found = {p.path for p in problems(tmp_path, text)}
    assert {"schedule.steps[0].tau", "sseds", "train.batch_size"} <= found


def test_a_misspelt_key_hides_no_rule(tmp_path):
    text = changed("from: behavior", "from: data").replace("seeds: 1", "sseds: 1")
    assert {"sseds", "schedule.steps[0].from"} <= {p.path for p in problems(tmp_path, text)}


def test_exact_place(tmp_path):
    text = "policy: gaussian\nenergy:\n  q: {critics: frist}\n"
    found = {p.path: p for p in problems(tmp_path, text)}["energy.q.critics"]
    assert str(found).startswith(
        f"{tmp_path}/spec.yaml:3:16: energy.q.critics: found 'frist', allowed min, first, mean"
    )
    assert "did you mean first?" in found.message


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
    done = subprocess.run(
        [sys.executable, "-c", "from pogospec.cli import main; main()", "check", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "schedule.steps[0].tau: found -1" in done.stderr
    assert "Traceback" not in done.stderr
