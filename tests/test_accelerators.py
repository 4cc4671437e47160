"""GPUs and TPUs that JAX leaves unused: they are seen by what the system says of them, and told what to install."""

import importlib.metadata
import os

import pytest
from packaging.requirements import Requirement

from pogospec import accelerators, doctor
from pogospec.accelerators import Accelerator
from pogospec.cli.app import find_device
from pogospec.errors import UsageError

SMI = """#!/bin/sh
echo 'GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0b1a2c3d)'
echo 'GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-4e5f6a7b)'
"""


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine with nothing; its files can be added."""
    for name in ("dev", "gpus", "bin"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(accelerators, "DEVICES", tmp_path / "dev")
    monkeypatch.setattr(accelerators, "DRIVER", tmp_path / "gpus")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/bin")
    for name in (*accelerators.TPU, "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def plugins(monkeypatch, *there):
    def version(name):
        if name in there:
            return "1.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(accelerators.metadata, "version", version)


def test_a_machine_without_any(system):
    assert accelerators.seen() == []
    assert doctor.unused([["cpu", "cpu:0", "cpu"]], []) == []


def test_a_gpu_by_the_files_of_its_driver(system):
    for number, name in enumerate(("NVIDIA H200", "NVIDIA H200", "NVIDIA L4")):
        (system / "gpus" / str(number)).mkdir()
        (system / "gpus" / str(number) / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 88\n")
    assert accelerators.seen() == [Accelerator("gpu", "NVIDIA H200"), Accelerator("gpu", "NVIDIA L4")]


def test_a_gpu_by_the_program_of_its_driver(system):
    program = system / "bin" / "nvidia-smi"
    program.write_text(SMI)
    program.chmod(0o755)
    assert accelerators.seen() == [Accelerator("gpu", "NVIDIA A100-SXM4-40GB")]
    program.write_text("#!/bin/sh\necho 'GPU 0: broken'\nexit 9\n")
    assert accelerators.seen() == []
    (system / "dev" / "nvidia0").touch()
    assert accelerators.seen() == [Accelerator("gpu", "an NVIDIA GPU")]


def test_a_tpu(system, monkeypatch):
    (system / "dev" / "accel0").touch()
    assert accelerators.seen() == [Accelerator("tpu", "TPU")]
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    assert accelerators.seen() == [Accelerator("tpu", "TPU v5litepod-8")]


def test_what_to_install_is_told_by_doctor(system, monkeypatch):
    plugins(monkeypatch)
    found = [Accelerator("gpu", "NVIDIA H200"), Accelerator("tpu", "TPU")]
    gpu, tpu = doctor.unused([["cpu", "cpu:0", "cpu"]], found)
    assert (gpu.found, gpu.ok, gpu.needed) == ("NVIDIA H200 sits unused", False, False)
    assert (gpu.fix, tpu.fix) == ("pip install -U 'pogospec[cuda]'", "pip install -U 'pogospec[tpu]'")
    assert doctor.healthy([gpu, tpu])
    assert [one.name for one in doctor.unused([["gpu", "cuda:0", "NVIDIA H200"]], found)] == ["tpu"]
    assert len(doctor.unused(None, found)) == 2


def test_what_else_may_be_wrong(system, monkeypatch):
    plugins(monkeypatch, "jax-cuda13-plugin", "libtpu")
    assert "a driver of 580 or newer" in Accelerator("gpu", "NVIDIA H200").remedy
    assert "another process may hold it" in Accelerator("tpu", "TPU").remedy
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert Accelerator("gpu", "NVIDIA H200").remedy == "JAX_PLATFORMS is 'cpu', which leaves it out; unset it"


@pytest.mark.parametrize(("here", "then"), [(True, "NVIDIA H200 is here: pip install -U"), (False, "leave --device")])
def test_a_device_that_jax_does_not_see(system, monkeypatch, here, then):
    def none():
        raise RuntimeError("Unknown backend cuda")

    plugins(monkeypatch)
    monkeypatch.setattr("jax.local_devices", none)
    monkeypatch.setattr("jax.config.update", lambda *given: None)
    monkeypatch.setattr(accelerators, "seen", lambda: [Accelerator("gpu", "NVIDIA H200")] * here)
    with pytest.raises(UsageError, match=f"--device: found 'gpu', but JAX sees no such device here; {then}"):
        find_device("gpu")


def test_the_extra_of_an_extra_is_looked_at(monkeypatch):
    """jax itself is there; what jax[cuda13] brings is not."""
    asked = {
        "pogospec": ['jax[cuda13]; extra == "cuda"'],
        "jax": ['jax-cuda13-plugin>=0.9; extra == "cuda13"', "numpy"],
    }

    def version(name):
        if name == "jax":
            return "0.10.2"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", asked.get)
    monkeypatch.setattr(doctor.metadata, "version", version)
    (found,) = doctor._extras(["cuda"], [Requirement(asked["pogospec"][0])])
    assert (found.ok, found.fix) == (False, "pip install 'pogospec[cuda]'")
    assert found.found == "jax-cuda13-plugin not installed, supported >=0.9"
