"""GPUs and TPUs of this machine, seen without JAX, and what to install so that JAX computes on them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

DEVICES, DRIVER = Path("/dev"), Path("/proc/driver/nvidia/gpus")
TPU = ("TPU_ACCELERATOR_TYPE", "TPU_NAME")
"""Variables that are set on machines with TPUs."""
SECONDS = 10
PLUGINS = {"gpu": "jax-cuda13-plugin", "tpu": "libtpu"}
"""Packages by which JAX finds them."""
EXTRAS = {"gpu": "cuda", "tpu": "tpu"}


class Accelerator(NamedTuple):
    """A device that could compute; `platform` as `--device` has it."""

    platform: Literal["gpu", "tpu"]
    name: str

    @property
    def remedy(self) -> str:
        """What to do where JAX does not compute on it."""
        asked = os.environ.get("JAX_PLATFORMS", "")
        if not installed(PLUGINS[self.platform]):
            return f"pip install -U 'pogospec[{EXTRAS[self.platform]}]'"
        if asked and not {self.platform, *({"cuda"} if self.platform == "gpu" else ())} & set(asked.split(",")):
            return f"JAX_PLATFORMS is '{asked}', which leaves it out; unset it"
        if self.platform == "tpu":
            return "libtpu is installed, but finds none; another process may hold it"
        return (
            "JAX's CUDA 13 is installed, but finds none: `nvidia-smi` must show a driver of 580 or newer; with an "
            "older one, pip install -U 'jax[cuda12]'"
        )


def installed(package: str) -> bool:
    """Whether a package is installed."""
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def seen() -> list[Accelerator]:
    """Every kind that this machine has, once; never raises."""
    found = [Accelerator("gpu", name) for name in _nvidia()]
    variable = next((name for name in TPU if os.environ.get(name)), None)
    if variable is not None or any(DEVICES.glob("accel[0-9]*")):
        found.append(Accelerator("tpu", f"TPU {os.environ.get(TPU[0], '')}".strip()))
    return list(dict.fromkeys(found))


def _nvidia() -> Iterator[str]:
    """Names of NVIDIA's GPUs: by the driver's files, by its program, or that there is one at all."""
    models = []
    for file in sorted(DRIVER.glob("*/information")):
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        models += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    if not models:
        models = [line.partition(": ")[2].partition(" (UUID")[0] for line in _listed() if line.startswith("GPU ")]
    if not models and any(DEVICES.glob("nvidia[0-9]*")):
        models = ["an NVIDIA GPU"]
    yield from models


def _listed() -> list[str]:
    """What `nvidia-smi -L` prints; nothing where it is not there, or fails."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
