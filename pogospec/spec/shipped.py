"""The specs and suites that come with the package, found by name."""

from __future__ import annotations

import os
from pathlib import Path

from pogospec.errors import UsageError
from pogospec.places import specs_root
from pogospec.registry import nearest

FOLDERS = ("", "chains", "flows")
"""Where specs are, under the folder of all of them: those on data, chains of theirs, flows on known energies."""


def shipped_specs() -> list[Path]:
    """The specs that come with the package."""
    return [path for folder in FOLDERS for path in sorted((specs_root() / folder).glob("*.yaml"))]


def spec_name(path: Path) -> str:
    """The name of a shipped spec, with its folder: pogo_fr, flows/quadratic_w2."""
    return path.relative_to(specs_root()).with_suffix("").as_posix()


def spec_path(name: str | Path) -> Path:
    """A path as given, or a shipped spec by its name, the folder left out or not; raises UsageError where unknown."""
    path = Path(name)
    folder, _, stem = str(name).rpartition("/")
    if os.path.isfile(path) or path.suffix or folder not in FOLDERS or stem in (".", ".."):
        return path
    shipped = {spec_name(spec): spec for spec in shipped_specs()}
    wanted = stem.replace("-", "_")
    found = [spec for full, spec in shipped.items() if wanted == spec.stem and full.startswith(folder)]
    if not found:
        names = {spec.stem: full for full, spec in shipped.items()}
        close = nearest(wanted, names)
        hint = f"; did you mean {names[close]}?" if close else ""
        listed = [full for full in shipped if "/" not in full] + [f"{folder}/*" for folder in FOLDERS if folder]
        raise UsageError(f"found no spec '{name}', allowed a file or one of {', '.join(listed)}{hint}")
    return found[0]


def shipped_suites() -> list[Path]:
    """The suites that come with the package."""
    return sorted((specs_root() / "suites").glob("*.yaml"))


def suite_path(name: str | Path) -> Path:
    """A path as given, or a shipped suite by its name; raises UsageError where unknown."""
    path, shipped = Path(name), {suite.stem: suite for suite in shipped_suites()}
    if os.path.isfile(path) or path.suffix or len(path.parts) != 1:
        return path
    wanted = path.name.replace("-", "_")
    if wanted not in shipped:
        close = nearest(wanted, shipped)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"found no suite '{name}', allowed a file or one of {', '.join(shipped)}{hint}")
    return shipped[wanted]
