"""What a spec takes from the one that it extends: replaced whole where it says so, and told where it may be unmeant."""

import re

import jsonschema
import pytest
from commands import pogospec

from pogospec import places
from pogospec.checking.check import documents, load
from pogospec.checking.inherited import doubtful, notes
from pogospec.errors import SpecError
from pogospec.spec.build import to_plain
from pogospec.spec.json_schema import spec_schema
from pogospec.spec.resolve import read, read_text
from pogospec.spec.yaml import parse, plain_of

STEP = """\
extends: iql
schedule:
  steps:
    - {from: data, learn: [critic, policy], updates: 20_000, tau: 3.0}
    - {from: previous, learn: [policy], updates: 10_000, tau: 1, geometry: wasserstein2, energy: {q: {}}}
"""
"""An implicit Wasserstein step after IQL's explicit one, as one writes it who has not read iql.yaml to its end."""
ANEW = """\
extends: iql
energy: {replace: true, q: {}}
schedule:
  defaults: {replace: true, tau: 3.0}
  steps:
    - {from: data, learn: [critic, policy], updates: 9, scheme: explicit, energy: {replace: true, advantage: {}}}
    - {from: previous, learn: [policy], updates: 8, geometry: wasserstein2}
"""


def plain(text, *overrides):
    """The resolved spec of a text, as plain data."""
    document = read_text(text, "child.yaml", overrides)
    if document.problems:
        raise SpecError(document.problems)
    return to_plain(document.spec)


def test_mappings_are_replaced_whole():
    spec = plain(ANEW)
    assert list(spec["energy"]) == ["q"]
    first, second = spec["schedule"]["steps"]
    assert [term for term, node in first["energy"].items() if node] == ["advantage"]
    assert (first["scheme"]["kind"], second["scheme"]["kind"]) == ("explicit", "implicit")
    assert first["scheme"]["clip"] != 100, "the base's defaults of the schedule are gone"
    assert list(second["energy"]) == ["q"]


def test_what_replaces_says_so_from_every_place(tmp_path, monkeypatch):
    base = "extends: iql\nschedule: {defaults: {energy: {replace: true, q: {}}}}\n"
    (tmp_path / "base.yaml").write_text(base)
    monkeypatch.chdir(tmp_path)
    # replaced by the base of a base: it stays replaced where more is laid over it
    spec = plain("extends: base.yaml\nschedule: {defaults: {scheme: implicit, energy: {entropy: {weight: 0.5}}}}\n")
    step = spec["schedule"]["steps"][0]["energy"]
    assert [term for term, node in step.items() if node] == ["q", "entropy"]
    path, node, terms = (
        "schedule.steps[0].energy",
        "{replace: true, advantage: {}}",
        "energy: {advantage: {critics: mean}}\n",
    )
    found = [plain(f"extends: iql\n{terms}", (path, text)) for text in (node, node.replace("replace: true, ", ""))]
    steps = [one["schedule"]["steps"][0]["energy"]["advantage"]["critics"] for one in found]
    assert steps[1] == "mean" != steps[0], "laid over the energy of the whole spec, or not"
    rates = plain("extends: iql\noptimizer: {replace: true, policy: {learning_rate: 0.5}}\n")["optimizer"]
    assert rates["policy"]["learning_rate"] == 0.5
    assert rates["policy"]["decay"] == "none", "that of the base is gone"
    alone = plain(STEP.replace("{from: previous,", "{replace: true, from: previous,"))["schedule"]["steps"][1]
    assert alone["scheme"]["kind"] == "implicit", "a step that replaces takes nothing from schedule.defaults"


def test_arguments_of_others_keep_their_keys():
    text = "extends: iql\ndata: {environment: Reacher-v4, arguments: {replace: true}}\n"
    assert plain(text)["data"]["arguments"] == {"replace": True}


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        (ANEW.replace("extends: iql", "name: x"), "child.yaml:2:1", "laid over no other"),
        ("extends: iql\nreplace: true\n", "child.yaml:2:1", "found replace: true, but a whole spec takes from another"),
        ("extends: iql\nenergy: {advantage: {replace: false}}\n", "child.yaml:2:22", "says true"),
    ],
)
def test_where_nothing_can_be_replaced_it_is_refused(text, place, says):
    with pytest.raises(SpecError) as caught:
        plain(text)
    first = str(caught.value.problems[0])
    assert place in first, first
    assert says in first, first


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("policy.replace", "true", "given whole; remove it, or set policy to {replace: true, …}"),
        ("schedule.steps[1].energy.replace", "true", "set schedule.steps[1].energy to {replace: true, …}"),
        ("policy.replace", "yes", "found replace: 'yes', but it says true, or is left out; remove it"),
        ("replace", "true", "a whole spec takes from another only what it `extends`"),
    ],
)
def test_a_path_alone_replaces_nothing(path, value, says):
    with pytest.raises(SpecError, match=re.escape(says)):
        load("pogo_w_two_step", [(path, value)])
    if "set " in says:  # what the message says to do can be done
        given = "{replace: true, kind: dirac}" if path.startswith("policy") else "{replace: true, q: {}}"
        (document,) = documents("pogo_w_two_step", [(path.removesuffix(".replace"), given)])
        assert not document.problems


def test_editors_know_it():
    known = jsonschema.Draft7Validator(spec_schema())
    for text, good in (
        (ANEW, True),
        ("extends: iql\npolicy: {replace: true, kind: dirac, hidden: [8]}\n", True),
        (
            "extends: iql\nschedule: {steps: [{replace: true, from: data, optimizer: {replace: true, kind: adam}}]}\n",
            True,
        ),
        ("extends: iql\nenergy: {advantage: {replace: false}}\n", False),
        ("extends: iql\nreplace: true\n", False),
    ):
        assert known.is_valid(plain_of(parse(text, None))) == good, text


def test_what_steps_take_is_told(tmp_path):
    path = tmp_path / "child.yaml"
    path.write_text(STEP)
    document = read(path)
    first, second = notes(document)
    assert (first.path, first.origin.line) == ("schedule.steps[0]", 4)
    for note in (first, second):
        assert "scheme: explicit" in note.message
        assert "iql.yaml:" in note.message
    assert "energy: advantage" in first.message
    assert "energy.advantage" in second.message
    found = list(doubtful(document))
    assert {where for where, *_ in found} == {"schedule.steps[1]"}
    assert "energy.advantage" in found[0][1]
    assert "scheme: explicit" in found[1][1]
    done = pogospec("check", path)
    assert done.stdout.startswith(f"{path}: fine")
    assert f"note: {second}" in done.stderr
    said = pogospec("explain", path, "--no-measure", env={"COLUMNS": "100"}).stdout
    assert said.count("inherited (step 2)") == 2
    assert "inherited (step 1" not in said


def test_defaults_that_no_step_takes_are_told(tmp_path):
    path = tmp_path / "child.yaml"
    path.write_text("extends: pogo_w_two_step\nschedule: {defaults: {updates: 7, gradient: natural}}\n")
    (note,) = notes(read(path))
    assert (note.path, note.origin.line) == ("schedule.defaults.updates", 2)
    assert note.message.startswith("no step takes 7, since each has its own (")
    assert "yaml:27:68" in note.message, "where a step of the base says it"
    for command in ("check", "explain"):
        more = ("--no-measure",) if command == "explain" else ()
        assert f"note: {note}" in pogospec(command, path, *more).stderr
    path.write_text("extends: pogo_w_two_step\n")
    assert notes(read(path)) == []
    told = notes(read(path, [("schedule.defaults.updates", "7")]))
    assert [note.origin.layer for note in told] == ["command line"]
    assert notes(read(path, [("schedule.steps[*].updates", "7")])) == []


def test_what_is_meant_is_no_doubt(tmp_path):
    path = tmp_path / "child.yaml"
    path.write_text(STEP.replace("energy: {q: {}}", "scheme: implicit, energy: {advantage: null, q: {}}"))
    assert not list(doubtful(read(path)))
    path.write_text("extends: iql\nenergy: {log_likelihood: {}}\n")
    (note,) = notes(read(path))
    assert note.path == "energy"
    assert "energy.advantage" in note.message


def test_the_sentence_about_a_base_is_not_that_of_its_children(tmp_path):
    base, child = tmp_path / "base.yaml", tmp_path / "child.yaml"
    base.write_text("extends: iql\nabout: Two steps of mine.\n")
    child.write_text("extends: base.yaml\ngeometry: kl\n")
    assert load(base).about == "Two steps of mine."
    assert load(child).about == ""
    child.write_text("extends: base.yaml\nabout: Another.\n")
    assert load(child).about == "Another."


def test_files_are_named_for_people(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(STEP)
    printed = pogospec("explain", tmp_path / "mine.yaml", "--no-measure", "--origins", cwd=tmp_path).stdout
    assert re.search(r" iql:\d+:\d+ \(base\)", printed)
    assert re.search(r" mine\.yaml:\d+:\d+", printed)
    assert str(tmp_path) not in printed
    assert "specs/iql.yaml" not in printed
    noted = pogospec("check", tmp_path / "mine.yaml", cwd=tmp_path).stderr
    assert re.search(r"note: mine\.yaml:4:7: .*\(iql:\d+:\d+\)", noted)
    root = tmp_path / "venv" / places.INSTALLED
    monkeypatch.setattr(places, "specs_root", lambda: root)
    monkeypatch.chdir(tmp_path)
    assert places.shown(str(root / "flows" / "x.yaml")) == "flows/x"
    assert places.shown(str(tmp_path / "a" / ".." / "b.yaml")) == "b.yaml"
    assert places.shown("../b.yaml") == "../b.yaml"
    assert places.shown(str(tmp_path.parent / "b.yaml")) == str(tmp_path.parent / "b.yaml")
