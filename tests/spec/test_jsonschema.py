"""The schema for editors: it holds for everything shipped, and refuses nothing that `check` takes."""

import copy
import random
import re

import pytest
import yaml
from jsonschema import Draft7Validator

from pogospec import registry
from pogospec.checking.check import checked
from pogospec.errors import SpecError
from pogospec.spec.build import dump, fields_of
from pogospec.spec.catalog import doc_of, keys_of, kinds_of
from pogospec.spec.json_schema import MODELINE, spec_schema
from pogospec.spec.resolve import read, read_text
from pogospec.spec.shipped import shipped_specs
from pogospec.spec.starter import starter
from pogospec.spec.yaml import parse_mapping, plain_of, write

SCHEMA = spec_schema(["pocket/reacher-mixed"])
VALIDATOR = Draft7Validator(SCHEMA)
FILE = str(shipped_specs()[0].with_name("spec.yaml"))
FILES = {path.stem: str(path.with_name("spec.yaml")) for path in shipped_specs()} | {"starter": FILE}
TEXTS = {path.stem: path.read_text() for path in shipped_specs()} | {"starter": starter()}
KINDS = [(slot, kind) for slot in registry.slots() for kind in registry.table(slot)]
JUNK = (True, "junk", -1, 0, 1, 0.5, 1e9, None, [], {}, [1], [0.5, -2], {"kind": "junk"}, {"junk": 1}, {"kind": 3})


class Yaml12(yaml.SafeLoader):
    """Plain scalars as YAML 1.2 editors read them: no underscores, `1e-3` a number."""


Yaml12.yaml_implicit_resolvers = {}
for tag, pattern in {
    "null": r"~|null|",
    "bool": r"true|false",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
}.items():
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"), None)


def plain(text):
    return plain_of(parse_mapping(text, "spec.yaml"))


def mistakes(document):
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)]


def refused(text, file=FILE):
    try:
        checked(read_text(text, file))
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_schema_is_a_schema_that_uses_what_it_defines():
    Draft7Validator.check_schema(SCHEMA)
    used = set(re.findall(r"'\$ref': '#/definitions/([^']+)'", str(SCHEMA)))
    assert used <= SCHEMA["definitions"].keys()
    assert {f"part.{slot}.{kind}" for slot, kind in KINDS} <= used


@pytest.mark.parametrize("name", TEXTS)
def test_everything_shipped_is_valid(name):
    text = TEXTS[name]
    for read_as in (plain, yaml.safe_load, lambda text: yaml.load(text, Yaml12)):
        assert mistakes(read_as(text)) == []
    resolved = read_text(text, FILES[name]).spec
    assert resolved is not None
    assert mistakes(plain(dump(resolved))) == []


@pytest.mark.parametrize(("slot", "kind"), KINDS)
def test_every_key_of_every_kind_has_its_doc_and_default(slot, kind):
    cls = kinds_of(slot)[kind]
    properties = SCHEMA["definitions"][f"part.{slot}.{kind}"]["properties"]
    assert set(properties) == {"kind", "replace", *fields_of(cls)}
    for key in keys_of(cls):
        assert doc_of(key.annotation)
        assert properties[key.name]["description"].startswith(doc_of(key.annotation))
        own = Draft7Validator({"definitions": SCHEMA["definitions"], **properties[key.name]})
        if not key.required:
            assert own.is_valid(key.default)
        assert not own.is_valid({"no such key": 1})


def places(document, path=()):
    """Every path into a document."""
    if path:
        yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    for key, child in items:
        yield from places(child, (*path, key))


def mutations(document):
    """Changed copies of a document with the changed path: junk for a value, a key more, a key less, a key misspelt."""
    for path in list(places(document)):
        for change in ("more", "less", "misspelt", *JUNK):
            changed = copy.deepcopy(document)
            parent = changed
            for part in path[:-1]:
                parent = parent[part]
            last = path[-1]
            if not isinstance(change, str) or change == "junk":
                parent[last] = change
            elif isinstance(parent, list):
                continue
            elif change == "more":
                parent["extra_key"] = 1
            else:
                value = parent.pop(last)
                parent |= {f"{last}x": value} if change == "misspelt" else {}
            yield path, changed


def seen(document, path, file):
    """What `check` says of a changed document in which no other value hides the changed one."""
    shown = {key: value for key, value in document.items() if key != "tuned"}
    if path[:2] == ("schedule", "defaults") and len(path) > 2:
        shown = copy.deepcopy(shown)
        for step in shown["schedule"].get("steps", []):
            step.pop(path[2], None)
    return refused(write(document), file) or refused(write(shown), file)


@pytest.mark.thinned(4, "reads thousands of specs")
@pytest.mark.parametrize("name", TEXTS)
def test_what_the_schema_refuses_check_refuses(name):
    every = list(mutations(plain(TEXTS[name])))
    some = random.Random(name).sample(every, 70)
    both = 0
    for path, document in some:
        wrong = mistakes(document)
        both += bool(wrong)
        assert not wrong or seen(document, path, FILES[name]), (path, wrong)
    assert both > 20


@pytest.mark.thinned(4, "reads hundreds of specs")
@pytest.mark.parametrize("name", TEXTS)
def test_the_schema_sees_most_of_what_check_refuses(name):
    shown = {key: value for key, value in plain(TEXTS[name]).items() if key != "tuned"}
    some = random.Random(name).sample(list(mutations(shown)), 30)
    bad = [document for _, document in some if refused(write(document), FILES[name])]
    assert len(bad) > 15
    assert sum(bool(mistakes(document)) for document in bad) >= 0.8 * len(bad)


@pytest.mark.parametrize(("slot", "kind"), KINDS)
def test_a_number_out_of_bounds_is_refused(slot, kind):
    body = Draft7Validator({"definitions": SCHEMA["definitions"], "$ref": f"#/definitions/part.{slot}.{kind}"})
    for key in keys_of(kinds_of(slot)[kind]):
        for mark in key.annotation.__metadata__:
            bounds = getattr(mark, "holds", None)
            if bounds is None or any(word in str(key.annotation) for word in ("tuple", "Any")):
                continue
            for value in (-1e9, -1, 0, 0.5, 1, 2, 1e9):
                whole = "float" in str(key.annotation) or value == int(value)
                assert body.is_valid({"kind": kind, key.name: value}) == (bounds(value) and whole), (key.name, value)


SPEC = """\
data: {dataset: pocket/reacher-mixed}

policy: {kind: gaussian, hidden: [128, 128], mean: tanh, log_std: [-5, 2]}
behavior: {kind: gaussian, hidden: [128, 128], mean: tanh, log_std: [-5, 2]}

energy:
  q: {critics: first, scale: batch}
  entropy: {weight: 1.0e-2}
geometry: fisher_rao
critic: {kind: clipped_double_q, target_penalty: {reference: behavior_mean, weight: 0.01}}
schedule:
  defaults: {tau: 20.0, gradient: natural}
  steps:
    - {from: behavior, learn: [critic, behavior, policy], updates: 20_000, actor_every: 2}
    - {from: previous, learn: [policy], updates: 20_000}
optimizer: {kind: adam, learning_rate: 1.0e-3}
seeds: 1
"""
EQUAL = [
    ("geometry: fisher_rao", "geometry: fisher_rau"),
    ("geometry: fisher_rao", "geometry: {kind: wasserstein2, reduction: max}"),
    ("geometry: fisher_rao", "geometry: {kl: {direction: sideways}}"),
    ("geometry: fisher_rao", "geometry: {reduction: mean}"),
    ("geometry: fisher_rao", "geometry: {a: {weight: 1}}"),
    ("tau: 20.0", "tau: geometric, repeat: 0"),
    ("tau: 20.0", "tau: '0.5'"),
    ("tau: 20.0", "tau: {kind: geometric, start: 1}, actor_every: true"),
    ("critics: first", "critics: first, actions: {sample: 0}"),
    ("entropy:", "entropie:"),
    ("{kind: gaussian,", "{"),
    ("updates: 20_000, actor_every: 2", "actor_every: 2"),
    ("\npolicy:", "\npolcy:"),
    ("{kind: adam, learning_rate: 1.0e-3}", "{critic: {learning_rate: 1.0e-3}, b1: 0.5}"),
    ("{reference: behavior_mean, weight: 0.01}", "divergence"),
    ("{reference: behavior_mean, weight: 0.01}", "{kind: divergence, geometry: kl}"),
]
GOOD = [
    ("geometry: fisher_rao", "geometry: {kl: , fisher_rao: {weight: 2}}"),
    ("geometry: fisher_rao", "geometry: {a: {kind: kl}, fisher_rao: {}}"),
    ("tau: 20.0", "tau: {kind: geometric, start: 20, factor: 0.5}, repeat: 2"),
    ("from: previous,", "from: previous, tau: 1e-3, geometry: {weight: 2},"),
    ("from: previous,", "proximal: [{reference: previous, tau: }, {reference: behavior, geometry: kl, tau: 3}],"),
    ("from: previous,", "from: previous, energy: {entropy: , q: {scale: step}},"),
    ("{kind: adam, learning_rate: 1.0e-3}", "{critic: adam, policy: {learning_rate: 1}}"),
    ("{kind: adam, learning_rate: 1.0e-3}", "{learning_rate: 1, policy: {b1: 0}, kind: adam}"),
    ("critics: first", "critics: first, actions: {sample: 3}"),
    ("entropy: {weight: 1.0e-2}", "again: {kind: entropy}\n  more: entropy"),
    ("{kind: gaussian, hidden: [128, 128], mean: tanh, log_std: [-5, 2]}\n\nenergy", "{std: state}\n\nenergy"),
    ("seeds: 1", "tuned: {'pocket/*': {'seeds': 2, 'schedule.steps[*].tau': 3}}"),
]


@pytest.mark.parametrize(("old", "new"), EQUAL)
def test_both_refuse(old, new):
    text = SPEC.replace(old, new, 1)
    assert text != SPEC
    assert mistakes(plain(text))
    assert refused(text)


@pytest.mark.parametrize(("old", "new"), GOOD)
def test_both_take(old, new):
    text = SPEC.replace(old, new, 1)
    assert refused(text) == []
    assert mistakes(plain(text)) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("from: behavior", "from: previous", "no earlier step learns the policy"),
        ("log_std: [-5, 2]", "log_std: [2, -5]", "that increase"),
        ("kind: gaussian", "kind: dirac, layer_norm: none", "unknown key 'log_std'"),
        ("tau: 20.0", "tau: '1e-3'", "without quotes"),
        ("seeds: 1", "tuned: {'pocket/*': {'seedz': 2}}", "seedz"),
    ],
)
def test_only_check_sees(old, new, words):
    text = SPEC.replace(old, new, 1)
    assert any(words in problem for problem in refused(text))
    if words != "unknown key 'log_std'":
        assert mistakes(plain(text)) == []


def test_a_spec_that_extends_another_may_be_a_part(tmp_path):
    (tmp_path / "base.yaml").write_text(SPEC)
    parts = [
        "policy: {mean: linear}",
        "geometry: {weight: 3}",
        "schedule: {defaults: {tau: 3}}",
        "critic: {hidden: [8]}",
    ]
    for part in parts:
        text = f"{MODELINE}\nextends: base.yaml\n{part}\n"
        (tmp_path / "spec.yaml").write_text(text)
        assert read(tmp_path / "spec.yaml").problems == []
        assert mistakes(plain(text)) == []
        assert mistakes(plain(text.replace("extends: base.yaml\n", "")))
    for part in ("policy: {maen: linear}", "geometry: {wieght: 3}", "schedule: {steps: []}", "seeds: 0"):
        (tmp_path / "spec.yaml").write_text(f"extends: base.yaml\n{part}\n")
        assert read(tmp_path / "spec.yaml").problems
        assert mistakes(plain(f"extends: base.yaml\n{part}\n"))


def test_a_number_that_an_editor_reads_as_text():
    for text in ("20_000", "1e3", "2_0.5e-1", "+1_0"):
        assert VALIDATOR.is_valid(plain(SPEC) | {"train": {"batch_size": text}})
    for text in ("20", "0.5", "many", "_1", "1_", "1e", "1__0", "20_000 "):
        assert not VALIDATOR.is_valid(plain(SPEC) | {"train": {"batch_size": text}})
