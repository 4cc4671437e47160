"""The specs that come with the package, found by name."""

from __future__ import annotations

from pathlib import Path

from pogospec.errors import UsageError
from pogospec.registry import nearest


def shipped_specs() -> list[Path]:
    """The specs that come with the package."""
    here = Path(__file__).parents[1]
    folder = here / "_specs" if (here / "_specs").is_dir() else here.parent / "specs"
    return sorted(folder.glob("*.yaml"))


def spec_path(name: str | Path) -> Path:
    """A path as given, or a shipped spec by its name; raises UsageError where a name is unknown."""
    path = Path(name)
    if path.is_file() or path.suffix or path.name != str(name):
        return path
    shipped = {spec.stem: spec for spec in shipped_specs()}
    wanted = path.name.replace("-", "_")
    if wanted not in shipped:
        close = nearest(wanted, shipped)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"found no spec '{name}', allowed a file or one of {', '.join(shipped)}{hint}")
    return shipped[wanted]
