"""Commands about the language: check, list."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pogospec.cli.app import Set, overrides
from pogospec.spec.shipped import shipped_specs, spec_path


def check(
    specs: Annotated[list[str], typer.Argument(help="Spec files, or names of shipped specs.")], set_: Set = None
) -> None:
    """Check specs without running them; all mistakes of all files at once."""
    from pogospec.check import load
    from pogospec.errors import SpecError

    problems = []
    for name in specs:
        try:
            load(spec_path(name), overrides(None, None, None, set_))
            print(f"{name}: fine")
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)


def list_(
    what: Annotated[Literal["kinds", "datasets", "specs", "runs"], typer.Argument(help="What to list.")],
    folder: Annotated[Path, typer.Option(help="Where runs are.")] = Path("runs"),
) -> None:
    """List kinds, datasets, specs or runs."""
    if what == "kinds":
        from pogospec import registry

        for slot in registry.slots():
            for kind in registry.table(slot):
                doc = (registry.load(slot, kind).__doc__ or "").strip().partition("\n")[0]
                print(f"{slot:<15} {kind:<18} {doc}")
    elif what == "datasets":
        from pogospec.data import available

        for name, about in available():
            print(f"{name:<40} {about}")
    elif what == "specs":
        from pogospec.spec.yaml import read_tree

        for path in shipped_specs():
            about = read_tree(path).value.get("about")
            print(f"{path.stem:<20} {'' if about is None else about.value}")
    else:
        _list_runs(folder)


def _list_runs(folder: Path) -> None:
    from pogospec.runs import RunDirectory

    paths = sorted(folder.glob("*/manifest.json"))
    if not paths:
        print(f"no runs in {folder}; start one with: pogospec run SPEC")
    for path in paths:
        directory = RunDirectory.open(path.parent)
        status, about = directory.status(), directory.manifest
        print(f"{path.parent}  {status['state']}  {status['update']:,} updates  {about['name']} on {about['dataset']}")
