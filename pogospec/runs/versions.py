"""Versions of what numbers depend on, asked for without importing any of it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "pogospec", "jax", "jaxlib", "numpy", "numpyro", "equinox", "optax", "gymnasium", "gymnasium-robotics", "mujoco",
    "minari",
)  # fmt: skip


def versions() -> dict[str, str | None]:
    """Versions of the packages that numbers depend on."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def python() -> str:
    """The version of Python, without that of its corrections."""
    return ".".join(platform.python_version_tuple()[:2])
