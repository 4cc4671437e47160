"""`doctor`: what it finds here is so, and what is missing becomes a line and an exit code."""

import importlib.metadata
import json
import sys

import jax
import pytest
import typer
from packaging.requirements import Requirement

from pogospec import doctor
from pogospec.cli import machine
from pogospec.data.sources.minari import root


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_everything_needed_is_found_here(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    (tmp_path / "program").write_bytes(b"x" * 2**20)
    with pytest.raises(typer.Exit) as left:
        machine.doctor(as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (left.value.exit_code, told["ok"]) == (0, True)
    found = {finding["name"]: finding for finding in told["findings"]}
    for text in importlib.metadata.requires("pogospec") or []:
        requirement = Requirement(text)
        if requirement.marker is None:
            version = importlib.metadata.version(requirement.name)
            assert found[requirement.name]["found"].startswith(version)
    assert jax.devices()[0].platform in found["devices"]["found"]
    assert found["Hopper-v4"]["found"].startswith("made and stepped, return of 10 steps 9.9")
    assert "pocket/reacher-mixed" in found["datasets"]["found"]
    assert found["models"]["found"] == "3: conjugate_normal (1), eight_schools (10), logistic_regression (4)"
    assert found["JAX_COMPILATION_CACHE_DIR"]["found"] == f"{tmp_path}: 1 files, 1.0 MiB"


def test_the_folder_of_minari_is_the_one_that_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert by_name(doctor.folders())["MINARI_DATASETS_PATH"].found.startswith(f"{root()}:")
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    assert by_name(doctor.folders())["MINARI_DATASETS_PATH"].found.startswith(f"{root()} (default)")


def test_the_folder_of_compiled_programs(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("POGOSPEC_COMPILE_CACHE", str(tmp_path))
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "one.program").write_bytes(b"x" * 2**20)
    found = by_name(doctor.folders())["POGOSPEC_COMPILE_CACHE"]
    assert found.found.startswith(f"{tmp_path}: 1 compiled programs, 1.0 of at most 512 MiB; remove the folder")
    monkeypatch.setenv("POGOSPEC_COMPILE_CACHE", "off")
    assert by_name(doctor.folders())["POGOSPEC_COMPILE_CACHE"].found.startswith("off")
    monkeypatch.delenv("POGOSPEC_COMPILE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        default = f"{tmp_path}/pogospec/compiled (default): 0 compiled"
        assert by_name(doctor.folders())["POGOSPEC_COMPILE_CACHE"].found.startswith(default)


def test_packages_missing_or_out_of_range(monkeypatch):
    versions = {"jax": "0.12.0", "numpy": "2.4.0"}

    def version(name):
        if name in ("pogospec", *versions):
            return versions.get(name, "1")
        raise importlib.metadata.PackageNotFoundError(name)

    asked = ["jax<0.11,>=0.9", "numpy>=2.0", "optax>=0.2.8; python_version >= '3'", "pytest==9; extra == 'dev'"]
    asked += [f"{name}; extra == 'docs'" for name in ("a", "b", "c", "d", "numpy")]
    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: asked if name == "pogospec" else [])
    found = by_name(doctor.packages())
    jax_, numpy_, optax, dev = (found[name] for name in ("jax", "numpy", "optax", "dev"))
    assert (jax_.ok, jax_.found) == (False, "0.12.0, supported <0.11,>=0.9")
    assert jax_.fix == "pip install 'jax<0.11,>=0.9'"
    assert numpy_.ok
    assert (optax.ok, optax.fix) == (False, "pip install 'optax>=0.2.8'")
    assert (dev.ok, dev.needed, dev.fix) == (False, False, "pip install 'pogospec[dev]'")
    assert dev.found == "pytest not installed, supported ==9"
    assert found["docs"].found == "4 of 5 packages are missing or out of range"
    assert not doctor.healthy([jax_, numpy_])
    assert doctor.healthy([numpy_, dev])


def test_what_breaks_becomes_a_message(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "STEPS", "raise ImportError('no MuJoCo here')")
    monkeypatch.setattr(doctor, "DATASETS", "print('[\"one\"]')")
    monkeypatch.setattr(doctor, "DEVICES", "import os; os.abort()")
    with pytest.raises(typer.Exit) as left:
        machine.doctor()
    shown = " ".join(capsys.readouterr().out.split())
    assert left.value.exit_code == 1
    assert "missing Hopper-v4 cannot be stepped: ImportError: no MuJoCo here -> pip install" in shown
    assert "missing devices JAX finds none: the process ended with -6" in shown
    assert "2 of what is needed is missing" in shown


def test_a_model_that_is_broken_is_a_note(monkeypatch):
    found = doctor.models(([{"good": 2}, {"bad": "it fails"}], ""))
    assert (found.ok, found.needed, found.found) == (False, False, "1: good (2); bad cannot be used: it fails")
    assert doctor.healthy([found])
    assert "cannot be listed: no answer" in doctor.models((None, "no answer")).found


def test_what_hangs_is_stopped():
    process = doctor._start("import time; time.sleep(60)")
    assert doctor._finish(process, 0.2) == (None, "no answer within 0.2 s")
    assert process.poll() is not None


def test_a_package_that_is_not_installed(monkeypatch):
    def metadata(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "metadata", metadata)
    found = by_name(doctor.packages())
    assert not doctor.healthy(list(found.values()))
    assert found["pogospec"].fix.endswith("pip install .")
