"""One spec from base, file, tuned settings and the command line; all mistakes of a file at once."""

from typing import Any

import pytest

from pogospec.errors import SpecError
from pogospec.spec.build import dump
from pogospec.spec.resolve import parse_set, read, read_text

TEXT = """\
data: {dataset: one}
policy: {kind: gaussian, hidden: [8]}
energy:
  q: {scale: batch}
  entropy:
geometry: {kind: wasserstein2, reduction: mean}
critic: clipped_double_q
schedule:
  defaults: {tau: 2, gradient: natural}
  steps:
    - {from: behavior, updates: 10}
    - {from: previous, updates: 10, learn: [policy], tau: 3}
"""


def problems(text, *overrides):
    return [str(p) for p in read_text(text, "f.yaml", overrides).problems]


def test_overrides_and_origins():
    overrides = [
        ("policy.hidden", "[64,64]"),
        ("energy.entropy.weight", "1e-2"),
        ("schedule.steps[*].energy.q.weight", "5"),
        ("schedule.steps[0].energy.q.weight", "6"),
        ("optimizer.policy.learning_rate", "1"),
    ]
    document: Any = read_text(TEXT, "f.yaml", overrides)
    assert document.problems == []
    spec, origins = document.spec, document.origins
    first, second = spec.schedule.steps
    assert spec.policy.hidden == spec.behavior.hidden == (64, 64)
    assert (first.energy["entropy"].weight, first.energy["q"].scale) == (1e-2, "batch")
    assert (first.energy["q"].weight, second.energy["q"].weight) == (6.0, 5.0)
    assert (first.tau, second.tau, first.learn) == (2.0, 3.0, ("critic", "behavior", "policy"))
    assert (spec.optimizer.policy.learning_rate, spec.optimizer.critic.learning_rate) == (1.0, 3e-4)
    assert (origins["policy.hidden"].layer, str(origins["policy.hidden"])) == ("command line", "--set policy.hidden")
    assert str(origins["schedule.steps[1].energy.q.scale"]) == "f.yaml:4:14"
    assert read_text(dump(spec)).spec == spec


def test_precedence(tmp_path):
    (tmp_path / "base.yaml").write_text(TEXT + "seeds: 1\nname: base\ntrain: {batch_size: 1}\n")
    tuned = "tuned: {one: {seeds: 3, train.batch_size: 3}, two: {seeds: 4}}\n"
    (tmp_path / "f.yaml").write_text("extends: base.yaml\nseeds: 2\npolicy: {mean: linear}\n" + tuned)
    document: Any = read(tmp_path / "f.yaml", [("train.batch_size", "5")])
    spec, origins = document.spec, document.origins
    assert (spec.name, spec.policy.mean, spec.seeds, spec.train.batch_size) == ("base", "linear", 3, 5)
    layers = [origins[path].layer for path in ("name", "policy.mean", "seeds", "train.batch_size", "evaluate")]
    assert layers == ["base", "file", "tuned", "command line", "default"]
    for dataset, seeds in (("two", 4), ("three", 2)):
        document = read(tmp_path / "f.yaml", [("data.dataset", dataset)])
        assert document.spec.seeds == seeds
    (tmp_path / "base.yaml").write_text("extends: f.yaml\n")
    with pytest.raises(SpecError, match="which extends itself"):
        read(tmp_path / "f.yaml")


def test_all_mistakes_once_each():
    text = TEXT.replace("tau: 2,", "tau: -2, upadtes: 3,").replace("bat", "bta").replace("policy:", "polcy:")
    text = text.replace("reduction: mean", "reduction: max") + "optimizer: {kind: adam, learning_rate: 0}\nseeds: 0\n"
    expected = {
        "f.yaml:1:1: policy: missing, required: dirac, gaussian",
        "f.yaml:2:1: polcy: found unknown key 'polcy', allowed policy,",
        "f.yaml:4:14: energy.q.scale: found 'btach', allowed none, batch, step, did you mean batch?",
        "f.yaml:6:43: geometry.reduction: found 'max', allowed sum, mean",
        "f.yaml:9:19: schedule.steps[0].tau: found -2, allowed a number > 0",
        "f.yaml:9:23: schedule.defaults.upadtes: found unknown key 'upadtes'",
        "f.yaml:13:40: optimizer.",
        "f.yaml:14:8: seeds: found 0, allowed a whole number >= 1",
    }
    found = problems(text)
    assert len(found) == len(expected), found
    assert all(any(p.startswith(e) for p in found) for e in expected), found


BAD = [
    (TEXT.replace("tau: 2, ", ""), "f.yaml:11:7: schedule.steps[0].tau: missing, required: a number > 0"),
    (TEXT.replace("data: {dataset: one}\n", ""), "f.yaml:1:1: data: missing, required: a mapping with dataset"),
    (TEXT + "tuned: {one: {'polcy.hidden': [1]}}", "f.yaml:13:15: polcy: found unknown key 'polcy'"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_one_mistake(text, message):
    found = problems(text)
    assert len(found) == 1, found
    assert found[0].startswith(message)


@pytest.mark.parametrize("junk", ["3", "x", "[1]", "[x, {a: }]", "{a: {b: [1]}}", "{kind: {}}", "null", "{}"])
def test_junk_never_raises(junk):
    for key in ("data", "policy", "energy", "geometry", "schedule", "optimizer", "tuned", "schedule.steps[*].energy"):
        for place in ("", ".a", "[0]", ".kind"):
            problems(TEXT, (key + place, junk))
    problems(TEXT + f"tuned: {{one: {junk}}}")


def test_parse_set():
    assert parse_set("a.b=1=2") == ("a.b", "1=2")
    for text in ("a.b", "=1", "a..b=1", "[0]=1", "a[x]=1"):
        with pytest.raises(SpecError, match="path=value"):
            parse_set(text)
