"""Who wins: base, file, dataset, tuned, command line; what steps override and take away; where each value is from."""

import re
from pathlib import Path
from typing import Any

import pytest

from pogospec.checking.check import checked
from pogospec.cli.app import overrides
from pogospec.errors import Origin, SpecError
from pogospec.spec.build import digest, dump, to_plain
from pogospec.spec.resolve import Document, read, read_text
from pogospec.spec.shipped import spec_path
from pogospec.spec.yaml import parse, plain_of

BASE = """\
data: {dataset: one, normalize_observations: true}
policy: {kind: gaussian, hidden: [8, 8], mean: tanh}
energy:
  q: {scale: batch, critics: first}
  entropy: {weight: 0.5}
geometry: {kind: wasserstein2, reduction: mean}
critic: {kind: clipped_double_q, hidden: [8]}
optimizer: {kind: adam, learning_rate: 0.01, policy: {learning_rate: 0.02}}
schedule:
  defaults: {tau: 2, updates: 10, gradient: natural}
  steps:
    - {from: behavior}
    - {from: previous, learn: [policy]}
"""
FIRST, SECOND = "schedule.steps[0]", "schedule.steps[1]"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files into an empty folder, which is the working one."""
    monkeypatch.chdir(tmp_path)

    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)

    return write


def value(document: Document, path: str) -> Any:
    """The value at a path of the resolved spec."""
    found: Any = to_plain(checked(document))
    for part in path.replace("[", ".[").split("."):
        found = found[int(part[1:-1])] if part.startswith("[") else found[part]
    return found


def place(origin: Origin, found: Any) -> str:
    """The place of a value, `layer file:line` or `layer flag`; asserts that the value is written at its column."""
    if origin.line is None or origin.file is None or origin.column is None:
        return "default" if origin == Origin("default") else f"{origin.layer} {origin}"
    line = Path(origin.file).read_text().splitlines()[origin.line - 1][origin.column - 1 :]
    written = re.match(r"\[.*?\]|[^,}\]]*", line)
    assert written is not None
    assert plain_of(parse(written[0], None)) == found
    return f"{origin.layer} {origin.file}:{origin.line}"


def expect(document: Document, wanted: dict[str, tuple[Any, str]]) -> None:
    """Values and the places they come from."""
    found = {path: value(document, path) for path in wanted}
    assert {path: (found[path], place(document.origins[path], found[path])) for path in wanted} == wanted


LEVELS = [
    ("base", "extends: below\ntrain: {batch_size: 2}\n", (2, "base base.yaml:2")),
    ("file", "train:\n  batch_size: 3\n", (3, "file top.yaml:3")),
    ("tuned", "tuned:\n  one: {train.batch_size: 4}\n", (4, "tuned top.yaml:5")),
    ("command line", [("train.batch_size", "5")], (5, "command line --set train.batch_size")),
]


@pytest.mark.parametrize("count", range(len(LEVELS) + 1))
def test_the_highest_level_wins_and_is_named(write, count):
    names = [name for name, *_ in LEVELS[:count]]
    texts = {name: text for name, text, _ in LEVELS[:count]}
    below = "base" if "base" in names else "below"
    write(below=BASE, base=texts.get("base", "").replace("below", "below.yaml"))
    write(top=f"extends: {below}.yaml\n" + texts.get("file", "train:\n  log_every: 7\n") + texts.get("tuned", ""))
    document = read("top.yaml", texts.get("command line", ()))
    wanted = LEVELS[count - 1][2] if count else (256, "default")
    expect(document, {"train.batch_size": wanted, "policy.mean": ("tanh", "base below.yaml:2")})


def test_extends_merges_deeply_and_replaces_lists_and_other_kinds(write):
    write(base=BASE)
    write(top="extends: base.yaml\npolicy: {hidden: [4]}\nenergy: {q: {weight: 3}}\ngeometry: {weight: 2}\ncritic:\n")
    document = read("top.yaml")
    expect(
        document,
        {
            "policy.hidden": ([4], "file top.yaml:2"),
            "policy.mean": ("tanh", "base base.yaml:2"),
            "behavior.hidden": ([4], "file top.yaml:2"),
            "energy.q.weight": (3.0, "file top.yaml:3"),
            "energy.q.scale": ("batch", "base base.yaml:4"),
            "energy.entropy.weight": (0.5, "base base.yaml:5"),
            "geometry.weight": (2.0, "file top.yaml:4"),
            "geometry.reduction": ("mean", "base base.yaml:6"),
            "critic.hidden": ([8], "base base.yaml:7"),
            f"{FIRST}.tau": (2.0, "base base.yaml:10"),
        },
    )
    write(top="extends: base.yaml\ngeometry: {kind: kl}\nschedule: {steps: [{from: behavior, tau: 3}]}\n")
    document = read("top.yaml")
    expect(
        document,
        {
            f"{FIRST}.tau": (3.0, "file top.yaml:3"),
            f"{FIRST}.gradient.kind": ("natural", "base base.yaml:10"),
            f"{FIRST}.geometry.kind": ("kl", "file top.yaml:2"),
        },
    )
    assert "reduction" not in value(document, "geometry")
    assert len(value(document, "schedule.steps")) == 1


def test_two_specs_may_share_a_base_through_others(write, tmp_path):
    (tmp_path / "deep").mkdir()
    write(base=BASE, left="extends: base.yaml\nseeds: 2\ntrain: {batch_size: 2}\n")
    write(right="extends: base.yaml\nseeds: 3\n")
    (tmp_path / "deep" / "low.yaml").write_text("extends: ../left.yaml\nseeds: 4\n")
    low = read("deep/low.yaml")
    expect(low, {"seeds": (4, "file deep/low.yaml:2"), "train.batch_size": (2, "base deep/../left.yaml:3")})
    assert value(read("right.yaml"), "seeds") == 3
    assert value(read("right.yaml"), "train.batch_size") == 256
    assert value(read("left.yaml"), "seeds") == 2
    assert value(read("base.yaml"), "seeds") == 1


def test_a_shipped_spec_is_extended_by_its_name(write):
    write(top="extends: td3_bc\nseeds: 4\n", flow="extends: flows/quadratic_w2\nname: mine\n")
    shipped = spec_path("td3_bc")
    expect(read("top.yaml"), {"seeds": (4, "file top.yaml:2"), "name": ("td3-bc", f"base {shipped}:5")})
    assert value(read("flow.yaml"), "target.kind") == "quadratic"


REFUSED = {
    "itself": ({"top": "extends: top.yaml\n"}, "top.yaml:1:10: extends: found 'top.yaml', which extends itself"),
    "a cycle": (
        {"top": "extends: a.yaml\n", "a": "extends: b.yaml\n", "b": "seeds: 1\nextends: ./top.yaml\n"},
        "b.yaml:2:10: extends: found './top.yaml', which extends itself",
    ),
    "nothing": ({"top": "extends: none.yaml\n"}, "top.yaml:1:10: extends: found 'none.yaml', which cannot be read"),
    "no name": ({"top": "extends: iqll\n"}, "top.yaml:1:10: extends: found no spec 'iqll', allowed a file or"),
    "a list": ({"top": "extends: [a.yaml]\n"}, "top.yaml:1:10: extends: found a list, allowed the path of a spec"),
    "no YAML": ({"top": "extends: a.yaml\n", "a": "x: [\n"}, "a.yaml:2:1: found a YAML syntax error"),
    "no mapping": ({"top": "extends: a.yaml\n", "a": "- 1\n"}, "a.yaml:1:1: found no mapping at the top level"),
    "too long": (
        {"top": "extends: f0.yaml\n"} | {f"f{i}": f"extends: f{i + 1}.yaml\n" for i in range(99)},
        "f31.yaml:1:10: extends: found a chain of more than 32 specs",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bases_that_are_refused(write, name):
    files, message = REFUSED[name]
    write(**files)
    with pytest.raises(SpecError) as caught:
        read("top.yaml")
    assert str(caught.value).startswith(message)
    assert len(caught.value.problems) == 1


TUNED = """\
tuned:
  two: {seeds: 2, data.normalize_observations: false, policy.hidden: [2]}
  t*: {seeds: 3, 'schedule.steps[*].tau': 9}
"""


def test_the_dataset_of_the_command_line_decides_what_is_tuned(write):
    write(top=BASE + TUNED)
    none = {"seeds": (1, "default"), f"{SECOND}.tau": (2.0, "file top.yaml:10")}
    expect(read("top.yaml"), none | {"data.dataset": ("one", "file top.yaml:1")})
    both = {
        "seeds": (3, "tuned top.yaml:16"),
        "policy.hidden": ([2], "tuned top.yaml:15"),
        f"{FIRST}.tau": (9.0, "tuned top.yaml:16"),
        f"{SECOND}.tau": (9.0, "tuned top.yaml:16"),
        "data.normalize_observations": (False, "tuned top.yaml:15"),
    }
    for given in ([("data.dataset", "two")], [("data.dataset", "one"), ("data.dataset", "two")]):
        expect(read("top.yaml", given), both | {"data.dataset": ("two", "command line --set data.dataset")})
    expect(read("top.yaml", [("data", "{dataset: two}")]), both | {"data.dataset": ("two", "command line --set data")})
    some = {key: both[key] for key in ("seeds", f"{SECOND}.tau")}
    expect(read("top.yaml", [("data.dataset", "three")]), some | {"policy.hidden": ([8, 8], "file top.yaml:2")})


def test_the_command_line_beats_what_is_tuned_wherever_it_stands(write):
    write(top=BASE + TUNED)
    given = [("seeds", "7"), ("data.normalize_observations", "true"), (f"{FIRST}.tau", "1"), ("data.dataset", "two")]
    wanted = {
        "seeds": (7, "command line --set seeds"),
        "data.normalize_observations": (True, "command line --set data.normalize_observations"),
        f"{FIRST}.tau": (1.0, f"command line --set {FIRST}.tau"),
        f"{SECOND}.tau": (9.0, "tuned top.yaml:16"),
    }
    for order in (given, given[::-1]):
        expect(read("top.yaml", order), wanted)


def test_what_is_tuned_in_a_base_comes_below_what_the_file_tunes(write):
    write(base=BASE + "tuned: {one: {seeds: 2, train.batch_size: 2}}\n")
    write(top="extends: base.yaml\ntrain: {log_every: 3}\ntuned: {one: {seeds: 3, train.log_every: 4}}\n")
    wanted = {
        "seeds": (3, "tuned top.yaml:3"),
        "train.batch_size": (2, "tuned base.yaml:14"),
        "train.log_every": (4, "tuned top.yaml:3"),
    }
    expect(read("top.yaml"), wanted)


WRONG_TUNED = [
    ("{two: {polcy.hidden: [1]}}", "14:15: polcy: found unknown key 'polcy'"),
    ("{two: {policy.hidden: [0]}}", "14:31: policy.hidden[0]: found 0, allowed a whole number >= 1"),
    ("{two: {'schedule.steps[5].tau': 1}}", "14:40: schedule.steps[5].tau: found the index [5], allowed 0 to 1"),
    ("{two: {data.dataset: three}}", "14:15: data.dataset: found the dataset, which decides what is tuned"),
    ("{one: {data: {dataset: three}}}", "14:15: data: found the dataset, which decides what is tuned"),
    ("{one: {extends: x.yaml}}", "14:24: extends: found the path 'extends', which is read at the top of a file alone"),
    ("{one: [1]}", "14:14: tuned.one: found a list, allowed a mapping from datasets to {path: value}"),
    ("3", "14:8: tuned: found 3, allowed a mapping from datasets to {path: value}"),
]


@pytest.mark.parametrize(("tuned", "message"), WRONG_TUNED)
def test_mistakes_in_what_is_tuned_are_seen_whatever_runs(write, tuned, message):
    write(top=BASE + f"tuned: {tuned}\n")
    with pytest.raises(SpecError) as caught:
        checked(read("top.yaml"))
    assert str(caught.value).startswith(f"top.yaml:{message}")
    assert len(caught.value.problems) == 1


def test_what_a_base_tunes_for_other_datasets_need_not_fit(write):
    write(base=BASE + "tuned: {two: {policy.log_std: [-1, 1]}}\n")
    dirac = "policy: {kind: dirac}\nenergy: {entropy: null}\nschedule: {defaults: {gradient: euclidean}}\n"
    write(top=f"extends: base.yaml\n{dirac}")
    assert value(read("top.yaml"), "policy.kind") == "dirac"
    with pytest.raises(SpecError, match="policy.log_std: found unknown key 'log_std'"):
        checked(read("top.yaml", [("data.dataset", "two")]))


def test_later_settings_win_and_shorthands_come_first(write):
    write(top=BASE)
    given = overrides("d: 3", 2, 30, ["seeds=4", f"{SECOND}.updates=40", "policy.mean=tanh", "policy.mean=linear"])
    wanted = {
        "data.dataset": ("d: 3", "command line --dataset"),
        "seeds": (4, "command line --set seeds"),
        f"{FIRST}.updates": (30, "command line --updates"),
        f"{SECOND}.updates": (40, f"command line --set {SECOND}.updates"),
        "policy.mean": ("linear", "command line --set policy.mean"),
    }
    expect(read("top.yaml", given), wanted)
    expect(read("top.yaml", overrides(None, 2, None, None)), {"seeds": (2, "command line --seeds")})
    with pytest.raises(SpecError) as caught:
        checked(read("top.yaml", overrides("", 0, 0, [])))
    told = [str(problem) for problem in caught.value.problems]
    assert "--seeds: seeds: found 0, allowed a whole number >= 1" in told
    assert "--updates: schedule.steps[0].updates: found 0, allowed a whole number >= 1" in told


STEPS = {
    "geometry: fisher_rao": {"geometry.kind": ("fisher_rao", "file top.yaml:13")},
    "geometry: {weight: 3}": {
        "geometry.weight": (3.0, "file top.yaml:13"),
        "geometry.reduction": ("mean", "file top.yaml:6"),
    },
    "geometry: {kl: , fisher_rao: {weight: 2}}": {"geometry.fisher_rao.weight": (2.0, "file top.yaml:13")},
    "energy: {entropy: {weight: 0}}": {
        "energy.entropy.weight": (0.0, "file top.yaml:13"),
        "energy.q.scale": ("batch", "file top.yaml:4"),
    },
    "energy: {entropy: , action_norm: }": {
        "energy.entropy.weight": (0.5, "file top.yaml:5"),
        "energy.action_norm.weight": (1.0, "default"),
    },
    "energy: {q: {kind: log_likelihood}}": {"energy.q.kind": ("log_likelihood", "file top.yaml:13")},
    "optimizer: {learning_rate: 1}": {
        "optimizer.policy.learning_rate": (1.0, "file top.yaml:13"),
        "optimizer.critic.learning_rate": (1.0, "file top.yaml:13"),
    },
    "optimizer: {policy: {b1: 0.5}}": {
        "optimizer.policy.b1": (0.5, "file top.yaml:13"),
        "optimizer.policy.learning_rate": (0.02, "file top.yaml:8"),
        "optimizer.critic.learning_rate": (0.01, "file top.yaml:8"),
    },
    "optimizer: ": {"optimizer.policy.learning_rate": (0.02, "file top.yaml:8")},
    "gradient: euclidean": {"gradient.kind": ("euclidean", "file top.yaml:13")},
    "gradient: {clip: [1, 2]}": {
        "gradient.kind": ("natural", "file top.yaml:10"),
        "gradient.clip": ([1.0, 2.0], "file top.yaml:13"),
    },
    "tau: {kind: geometric, start: 3, factor: 2}": {"tau.start": (3.0, "file top.yaml:13")},
    "updates: 3, tau: 4": {"updates": (3, "file top.yaml:13"), "tau": (4.0, "file top.yaml:13")},
    "optimizer_state: keep": {"optimizer_state": ("keep", "file top.yaml:13")},
}


@pytest.mark.parametrize("change", STEPS)
def test_a_step_overrides_what_it_inherits_and_no_other_step(write, change):
    write(top=BASE.replace("learn: [policy]}", f"learn: [policy], {change}}}"))
    document = read("top.yaml")
    expect(document, {f"{SECOND}.{path}": wanted for path, wanted in STEPS[change].items()})
    write(top=BASE)
    assert value(document, FIRST) == value(read("top.yaml"), FIRST)


NULLS = {
    f"{SECOND}.gradient": ("gradient.kind", "euclidean"),
    f"{SECOND}.energy.entropy": ("energy", {"q"}),
    f"{SECOND}.optimizer": ("optimizer.policy.learning_rate", 3e-4),
    f"{SECOND}.optimizer.policy": ("optimizer.policy.learning_rate", 3e-4),
    f"{SECOND}.optimizer.policy.learning_rate": ("optimizer.policy.learning_rate", 3e-4),
    f"{SECOND}.energy.q.scale": ("energy.q.scale", "none"),
    f"{SECOND}.from": ("tau", None),
    f"{SECOND}.energy": ("energy", None),
    f"{SECOND}.learn": ("learn", ["critic", "behavior", "policy"]),
}


@pytest.mark.parametrize("path", NULLS)
def test_null_takes_away_what_a_step_inherits(write, path):
    write(top=BASE.replace("natural}", "euclidean}") if path.endswith("from") else BASE)
    document = read("top.yaml", [(path, "null")])
    where, wanted = NULLS[path]
    found = value(document, f"{SECOND}.{where}")
    if isinstance(wanted, set):
        assert {name for name, term in found.items() if term is not None} == wanted
        again = read_text(dump(document.spec))
        assert not again.problems
        assert digest(again.spec) == digest(document.spec)  # what is taken away stays away where a run keeps its spec
    else:
        assert found == wanted
    assert value(document, FIRST) == value(read("top.yaml"), FIRST)


def test_null_takes_away_what_a_base_says(write):
    write(base=BASE + "seeds: 4\nname: base\n")
    more = "schedule: {defaults: {gradient: null}}\ncritic: {hidden: null}\n"
    write(top=f"extends: base.yaml\nseeds: null\nname:  ~\nenergy: {{entropy: null}}\noptimizer: null\n{more}")
    document = read("top.yaml")
    wanted = {
        "seeds": (1, "default"),
        "name": ("spec", "default"),
        "critic.hidden": ([256, 256], "default"),
        f"{FIRST}.gradient.kind": ("euclidean", "default"),
        f"{FIRST}.optimizer.policy.learning_rate": (3e-4, "default"),
    }
    expect(document, wanted)
    assert set(value(document, "energy")) == {"q"}
    write(top="extends: base.yaml\npolicy: null\n")
    assert "policy: missing, required: dirac" in str(read("top.yaml").problems[0])


def test_the_long_form_of_proximal_terms(write):
    terms = "[{reference: behavior, geometry: kl, tau: 3}, {reference: previous, tau: }, {reference: data, geometry: }]"
    text = BASE.replace("natural}", "euclidean}").replace("from: previous, learn", f"proximal: {terms}, learn")
    write(top=text.replace("entropy: {weight: 0.5}", "action_norm:"))
    document, place = read("top.yaml"), f"{SECOND}.proximal"
    wanted = {
        f"{place}[0].tau": (3.0, "file top.yaml:13"),
        f"{place}[0].geometry.kind": ("kl", "file top.yaml:13"),
        f"{place}[1].tau": (2.0, "file top.yaml:10"),
        f"{place}[1].geometry.reduction": ("mean", "file top.yaml:6"),
        f"{place}[2].geometry.kind": ("wasserstein2", "file top.yaml:6"),
        f"{SECOND}.tau": (None, "default"),
    }
    expect(document, wanted)
    write(top=text.replace("updates: 10", "updates: 10, from: data"))
    assert "found both from and proximal" in str(read("top.yaml").problems[0])
    write(top=text.replace("updates: 10", "updates: 10, from: data").replace(terms, f"{terms}, from: null"))
    assert read("top.yaml").problems == []


IN_VAIN = [
    ("from: previous,", "from: null, tau: 3,", "13:20: schedule.steps[1].tau: found tau, but `from: null` leaves no"),
    (
        "from: previous, learn: [policy]",
        "tau: 3, learn: [critic]",
        "13:8: schedule.steps[1].tau: found tau, but this step",
    ),
    (
        "from: previous,",
        "proximal: [{reference: data, tau: 1}], tau: 3,",
        "13:47: schedule.steps[1].tau: found tau, but every term of proximal has its own",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), IN_VAIN)
def test_what_a_step_says_in_vain_is_refused(write, old, new, message):
    text = BASE.replace("natural}", "euclidean}").replace("entropy: {weight: 0.5}", "action_norm:")
    write(top=text.replace(old, new))
    assert [str(problem) for problem in read("top.yaml").problems][0].startswith(f"top.yaml:{message}")
