"""`list`: what there is, read off the classes, for people and for programs."""

import json
from pathlib import Path

import pytest

from pogospec import registry
from pogospec.cli.listing import list_
from pogospec.data import available
from pogospec.errors import UsageError
from pogospec.spec.build import build_node, fields_of
from pogospec.spec.catalog import kinds_of, plain, show, summary
from pogospec.spec.shipped import shipped_specs, spec_name, spec_path

SLOTS = registry.slots()


def listed(capsys, what, slot=None, **how):
    list_(what, slot, as_json=True, **how)
    return json.loads(capsys.readouterr().out)


def test_kinds_for_programs(capsys):
    rows = listed(capsys, "kinds")
    assert [(row["slot"], row["kind"]) for row in rows] == [(s, k) for s in SLOTS for k in registry.table(s)]
    for row in rows:
        cls = registry.load(row["slot"], row["kind"])
        assert row["about"] == summary(cls) != ""
        assert [key["name"] for key in row["keys"]] == list(fields_of(cls))
        assert all(key["about"] and key["types"] for key in row["keys"])
        assert all(("default" in key) != key["required"] for key in row["keys"])
    by_name = {(row["slot"], row["kind"]): {key["name"]: key for key in row["keys"]} for row in rows}
    assert by_name["geometry", "wasserstein2"]["reduction"]["choices"] == ["sum", "mean"]
    assert by_name["optimizer", "adam"]["b1"] == {
        "name": "b1", "about": "decay of the first moment", "types": ["number"], "bounds": {"ge": 0.0, "lt": 1.0},
        "required": False, "default": 0.9,
    }  # fmt: skip
    assert by_name["energy", "q"]["actions"]["types"] == ["string", "mapping"]
    penalty = by_name["critic", "clipped_double_q"]["target_penalty"]
    assert (penalty["types"], penalty["slot"], penalty["default"]) == (["node", "null"], "target_penalty", None)


@pytest.mark.parametrize("slot", SLOTS)
def test_listed_defaults_build_the_default(slot):
    for row in plain(slot):
        if any(key["required"] for key in row["keys"]):
            continue
        defaults = {key["name"]: key["default"] for key in row["keys"]}
        assert build_node(slot, {"kind": row["kind"], **defaults}) == build_node(slot, {"kind": row["kind"]})


@pytest.mark.parametrize("slot", SLOTS)
def test_keys_of_a_slot_for_people(capsys, slot):
    list_("kinds", slot)
    shown = capsys.readouterr().out
    for kind, cls in kinds_of(slot).items():
        assert kind in shown
        assert all(f" {key} " in shown for key in fields_of(cls))
    assert listed(capsys, "kinds", slot) == plain(slot)


def test_tables_for_people(capsys):
    list_("kinds")
    lines = capsys.readouterr().out.splitlines()
    for slot in SLOTS:
        assert sum(line.split()[:1] == [slot] for line in lines) == 1
        assert all(any(kind in line.split()[:2] for line in lines) for kind in registry.table(slot))
    list_("specs")
    shown = capsys.readouterr().out
    assert all(spec_name(path) in shown for path in shipped_specs())
    list_("datasets")
    shown = capsys.readouterr().out
    assert all(name in shown for name, _ in available())


def test_datasets_and_specs_for_programs(capsys):
    assert [(row["dataset"], row["about"]) for row in listed(capsys, "datasets")] == available()
    rows = listed(capsys, "specs")
    assert [row["spec"] for row in rows] == [spec_name(path) for path in shipped_specs()]
    assert all(row["about"] for row in rows)
    named = {row["spec"]: row["file"] for row in rows}
    assert "pogo_fr" in named
    assert named["flows/quadratic_w2"].endswith("flows/quadratic_w2.yaml")
    assert list(named) == sorted(named, key=lambda name: ("/" in name, name))


@pytest.mark.parametrize("path", shipped_specs(), ids=spec_name)
def test_every_listed_spec_is_found_by_its_names(path):
    names = {spec_name(path), path.stem, path.stem.replace("_", "-")}
    assert {spec_path(name) for name in names} == {path}
    assert spec_path(str(path)) == path


def test_names_of_specs_that_are_none(tmp_path, monkeypatch):
    for name, near in (("quadratic_w3", "flows/quadratic_w2"), ("flows/pogo_f", "pogo_fr"), ("pogo-f", "pogo_fr")):
        with pytest.raises(
            UsageError, match=f"found no spec '{name}', allowed a file or one of .*; did you mean {near}"
        ):
            spec_path(name)
    with pytest.raises(UsageError, match="found no spec 'flows/'"):
        spec_path("flows/")
    with pytest.raises(UsageError, match="found no spec 'flows/pogo_fr'"):
        spec_path("flows/pogo_fr")
    for name in ("other/quadratic_w2", "quadratic_w2.yaml", "..", "flows/../quadratic_w2"):
        assert spec_path(name) == Path(name)  # paths, whether they are there or not
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").mkdir()
    assert spec_path("flows/quadratic_w2").parent.name == "flows"
    (tmp_path / "flows" / "quadratic_w2").write_text("mine")
    assert spec_path("flows/quadratic_w2") == Path("flows/quadratic_w2")


def test_models(capsys, monkeypatch):
    rows = listed(capsys, "models")
    assert {row["model"] for row in rows} >= {"conjugate_normal", "eight_schools", "logistic_regression"}
    assert {row["model"]: row["about"] for row in rows}["eight_schools"].startswith("Eight schools")
    list_("models")
    assert "Eight schools" in capsys.readouterr().out
    monkeypatch.setattr("pogospec.targets.numpyro.registered", lambda: {"lost": "no_such_module:made"})
    (row,) = listed(capsys, "models")
    assert row["about"] == "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
    monkeypatch.setattr("pogospec.targets.numpyro.registered", dict)
    list_("models")
    assert "no models are registered" in capsys.readouterr().out


def test_runs(capsys, tmp_path):
    assert listed(capsys, "runs", folder=tmp_path) == []
    list_("runs", folder=tmp_path)
    assert "pogospec run SPEC" in capsys.readouterr().out
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "manifest.json").write_text('{"name": "flow", "dataset": "pocket/x"}')
    (tmp_path / "one" / "status.json").write_text('{"state": "done", "message": "", "update": 12000}')
    row = {"run": str(tmp_path / "one"), "state": "done", "updates": 12000, "name": "flow", "dataset": "pocket/x"}
    assert listed(capsys, "runs", folder=tmp_path) == [row]
    list_("runs", folder=tmp_path)
    shown = capsys.readouterr().out
    assert "12,000" in shown
    assert "pocket/x" in shown


def test_runs_within_suites_and_sweeps(capsys, tmp_path):
    def made(path, **more):
        path.mkdir(parents=True)
        (path / "manifest.json").write_text(json.dumps({"name": "flow", "dataset": "pocket/x"} | more))
        (path / "status.json").write_text('{"state": "done", "message": "", "update": 12}')

    made(tmp_path / "alone")
    made(tmp_path / "table" / "bc-x")
    made(tmp_path / "table" / "stray")
    made(tmp_path / "table" / "bc-x" / "more" / "3")
    made(tmp_path / ".hidden" / "x")
    made(tmp_path / "tau" / "0", sweep={"schedule.steps[0].tau": 0.5})
    entries = [{"run": "bc-x", "method": "bc", "dataset": "pocket/x"}]
    (tmp_path / "table" / "suite.json").write_text(json.dumps({"name": "table-1", "about": "", "runs": entries}))
    rows = {row["run"].removeprefix(f"{tmp_path}/"): row["of"] for row in listed(capsys, "runs", folder=tmp_path)}
    assert rows == {"alone": "", "table/bc-x": "suite table-1", "table/stray": "", "tau/0": "sweep, tau=0.5"}
    list_("runs", folder=tmp_path)
    assert "suite table-1" in capsys.readouterr().out


def test_what_cannot_be_listed():
    with pytest.raises(UsageError, match="did you mean geometry"):
        list_("kinds", "geometri")
    with pytest.raises(UsageError, match="allowed nothing after specs"):
        list_("specs", "geometry")


def test_show():
    assert show({"a": [True, None, 0.5], "b": "x"}) == "{a: [true, null, 0.5], b: x}"
