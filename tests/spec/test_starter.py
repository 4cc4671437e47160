"""`new` and `schema`: a spec that checks, names its schema and every kind, and is never written over another."""

import json

import pytest
from commands import pogospec
from jsonschema import Draft7Validator

from pogospec import registry
from pogospec.checking.check import load
from pogospec.cli import language
from pogospec.errors import SpecError, UsageError
from pogospec.spec.json_schema import FILE, MODELINE, spec_schema
from pogospec.spec.shipped import shipped_specs
from pogospec.spec.starter import starter
from pogospec.spec.yaml import parse_mapping


def test_starter_is_small_and_names_every_section_and_kind(tmp_path):
    text = starter("flow")
    lines = text.splitlines()
    assert lines[0] == MODELINE
    assert max(map(len, lines)) <= 120
    for key in parse_mapping(text, "flow.yaml").value.keys() - {"name", "about"}:
        index = next(i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
        assert lines[index - 1].startswith("# ")
    comments = " ".join(line for line in lines if line.startswith("#"))
    for slot in ("policy", "energy", "geometry", "critic", "gradient", "scheme", "tau", "optimizer"):
        assert all(kind in comments for kind in registry.table(slot))
    (tmp_path / "flow.yaml").write_text(text)
    spec = load(tmp_path / "flow.yaml")
    assert spec.name == "flow"
    assert sum(step.updates for step in spec.schedule.steps) <= 15_000


@pytest.mark.parametrize("name", ["my-flow_2", "1e-3", "null", "a: b", "ünï cödé", 'say "x"', "#", "-"])
def test_any_file_name_makes_a_spec_of_that_name(tmp_path, name):
    (tmp_path / "flow.yaml").write_text(starter(name))
    assert load(tmp_path / "flow.yaml").name == name


def test_new_writes_the_spec_and_its_schema(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    language.new(path)
    said = capsys.readouterr().out
    assert f"wrote {path}" in said
    for command in ("check", "explain", "run"):
        assert f"pogospec {command} {path}\n" in said
    assert load(path).name == "mine"
    schema = json.loads((tmp_path / FILE).read_text())
    assert schema["definitions"]["DataSpec"]["properties"]["dataset"]["examples"][0].startswith("pocket/")
    Draft7Validator.check_schema(schema)
    path.write_text("mine")
    (tmp_path / FILE).write_text("old")
    with pytest.raises(UsageError, match="exists already"):
        language.new(path)
    assert path.read_text() == "mine"
    language.new(tmp_path / "other.yaml")
    assert f"kept  {tmp_path / FILE}" in capsys.readouterr().out
    assert (tmp_path / FILE).read_text() == "old"
    with pytest.raises(UsageError, match="cannot be written"):
        language.new(tmp_path / "no" / "folder.yaml")


@pytest.mark.parametrize("source", shipped_specs(), ids=lambda path: path.stem)
def test_new_from_a_shipped_spec_is_that_spec(tmp_path, source):
    path = tmp_path / "mine.yaml"
    language.new(path, source.stem)
    assert source.read_text() in path.read_text()
    assert path.read_text().startswith(f"{MODELINE}\n")
    assert load(path) == load(source)


def test_new_from_a_spec_that_extends_others(tmp_path):
    folder = tmp_path / "from"
    folder.mkdir()
    (folder / "base.yaml").write_text(starter("base"))
    (folder / "top.yaml").write_text("extends: base.yaml\nname: top\n")
    language.new(tmp_path / "mine.yaml", str(folder / "top.yaml"))
    assert load(tmp_path / "mine.yaml") == load(folder / "top.yaml")
    language.new(tmp_path / "again.yaml", str(folder / "top.yaml"))  # the base there is the same
    (tmp_path / "base.yaml").write_text("name: another\n")
    with pytest.raises(UsageError, match="base.yaml exists already"):
        language.new(tmp_path / "third.yaml", str(folder / "top.yaml"))
    assert not (tmp_path / "third.yaml").exists()
    (folder / "top.yaml").write_text("extends: td3_bc\nname: top\n")
    language.new(tmp_path / "shipped.yaml", str(folder / "top.yaml"))
    assert load(tmp_path / "shipped.yaml") == load(folder / "top.yaml")
    for wrong in ("../from/base.yaml", "other.yaml"):
        (folder / "top.yaml").write_text(f"extends: {wrong}\n")
        with pytest.raises(UsageError, match="cannot be copied"):
            language.new(tmp_path / "other.yaml", str(folder / "top.yaml"))
        assert not (tmp_path / "other.yaml").exists()
    with pytest.raises(SpecError, match="cannot be read"):
        language.new(tmp_path / "other.yaml", str(folder / "none.yaml"))
    with pytest.raises(UsageError, match="did you mean td3_bc"):
        language.new(tmp_path / "other.yaml", "td3_bca")


def test_schema_is_printed_or_written(tmp_path, capsys):
    language.schema()
    printed = capsys.readouterr().out
    assert json.loads(printed)["definitions"].keys() == spec_schema()["definitions"].keys()
    language.schema(tmp_path / "s.json")
    assert (tmp_path / "s.json").read_text() == printed
    assert "# yaml-language-server: $schema=s.json" in capsys.readouterr().out


def run(code, *arguments):
    """Run the command line with the commands of this file."""
    return pogospec(*arguments, check=False, cwd=code)


def test_check_says_what_a_fine_spec_will_do(tmp_path):
    (tmp_path / "flow.yaml").write_text(starter())
    done = run(tmp_path, "check", "flow.yaml", "flow.yaml")
    assert done.returncode == 0
    assert done.stdout == "flow.yaml: fine (2 steps, 12,000 updates on pocket/reacher-mixed)\n" * 2


def test_check_as_json(tmp_path):
    (tmp_path / "flow.yaml").write_text(starter())
    (tmp_path / "bad.yaml").write_text(starter().replace("tau: 20.0", "tau: -1").replace("seeds: 1", "sseds: 1"))
    done = run(tmp_path, "check", "flow.yaml", "bad.yaml", "nosuch", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    told = json.loads(done.stdout)
    assert not told["ok"]
    fine, bad, none = told["files"]
    assert fine == {"file": "flow.yaml", "ok": True, "problems": [], "plan": fine["plan"]}
    assert {key: fine["plan"][key] for key in ("name", "dataset", "updates")} == {
        "name": "flow",
        "dataset": "pocket/reacher-mixed",
        "updates": 12_000,
    }
    assert [(step["from"], step["tau"], step["learn"][-1]) for step in fine["plan"]["steps"]] == [
        ("behavior", 20.0, "policy"),
        ("previous", 20.0, "policy"),
    ]
    text = (tmp_path / "bad.yaml").read_text().splitlines()
    for problem, word in zip(bad["problems"], ("-1", "sseds"), strict=True):
        assert problem["file"] == "bad.yaml"
        assert text[problem["line"] - 1][problem["column"] - 1 :].startswith(word)
        assert problem["layer"] == "file"
        assert "allowed" in problem["message"]
    assert not none["ok"]
    assert "found no spec 'nosuch'" in none["problems"][0]["message"]
    done = run(tmp_path, "check", "flow.yaml", "--json", "--set", "seeds=0")
    assert done.returncode == 2
    problem = json.loads(done.stdout)["files"][0]["problems"][0]
    assert (problem["path"], problem["layer"], problem["line"]) == ("seeds", "command line", None)
