"""Commands about the language: check, new, schema, list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pogospec.cli.app import Allow, Seeds, Set, Updates, allow_modules, overrides
from pogospec.cli.listing import Json, list_
from pogospec.errors import SpecError, UsageError
from pogospec.spec.shipped import spec_path
from pogospec.terminal import command, say
from pogospec.text import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pogospec.spec.schema import Spec
    from pogospec.spec.tune import Range

__all__ = ["check", "list_", "new", "schema"]


def check(
    specs: Annotated[list[str], typer.Argument(help="Spec files, or names of shipped specs.")],
    dataset: Annotated[str | None, typer.Option(help="Short for --set data.dataset=…")] = None,
    seeds: Seeds = None,
    updates: Updates = None,
    set_: Set = None,
    as_json: Json = False,
    allow: Allow = None,
) -> None:
    """Check specs without running them; all mistakes of all files at once.

    Of a file of columns, names and lengths of the columns are looked at; `data inspect` looks at what they hold. Data
    that are not on this machine are noted, and what steps take from the spec that theirs extends; neither keeps a spec
    from being fine.
    """
    allow_modules(allow)
    from pogospec.checking.at_hand import lacks
    from pogospec.checking.check import checked_all
    from pogospec.checking.inherited import notes as inherited
    from pogospec.checking.ranges import require_ranges
    from pogospec.checking.trackers import require_trackers
    from pogospec.spec.resolve import read_cells
    from pogospec.spec.tune import grid_size

    problems, told = [], []
    for name in specs:
        try:
            given = overrides(dataset, seeds, updates, set_)
            documents = read_cells(spec_path(name), given)
            cells, missing = checked_all(documents), lacks(documents)
            require_trackers(documents)
            require_ranges(str(spec_path(name)), given, documents[0])
            if any(lack.note is None for lack in missing):
                raise SpecError([lack.problem for lack in missing if lack.note is None])
            notes = [lack.note for lack in missing if lack.note is not None] + inherited(documents[0])
            about = {"notes": [_problem(note) for note in notes]} if notes else {}
            ranges = documents[0].ranges
            planned = plan(cells[0]) | {"cells": len(cells)} | ({"tune": searched(ranges)} if ranges else {})
            told.append({"file": name, "ok": True, "problems": [], **about, "plan": planned})
            if not as_json:
                for note in notes:
                    say(f"note: {note}", error=True)
                many = f"{len(cells)} cells, each " if len(cells) > 1 else ""
                say(f"{name}: fine ({many}{size(cells[0])})")
                if ranges:
                    names = "; ".join(f"{path}: {one}" for path, one in ranges.items())
                    trials = counted(grid_size(ranges), "trial")
                    say(f"{name}: `pogospec tune` searches {names} (a grid has {trials})")
        except SpecError as error:
            problems += error.problems
            told.append({"file": name, "ok": False, "problems": [_problem(problem) for problem in error.problems]})
        except UsageError as error:
            if not as_json:
                raise
            nowhere = dict.fromkeys(("line", "column", "path", "layer"))
            told.append({"file": name, "ok": False, "problems": [{"file": name, "message": str(error)} | nowhere]})
    if as_json:
        good = all(one["ok"] for one in told)
        say(json_text({"ok": good, "files": told}))
        raise typer.Exit(0 if good else SpecError.exit_code)
    if problems:
        raise SpecError(problems)


def plan(spec: Spec) -> dict[str, Any]:
    """What a run of a spec would do, as plain data; an entry a step, `updates` of one repetition."""
    from pogospec.spec.build import to_plain

    steps = []
    for step in spec.schedule.steps:
        learn, terms = list(step.learn), step.proximal
        about: dict[str, Any] = {"name": step.name, "learn": learn, "updates": step.updates, "repeat": step.repeat}
        if step.from_ is not None:
            about |= {"from": step.from_, "tau": to_plain(step.tau)}
        elif terms:
            about["proximal"] = [{"reference": term.reference, "tau": to_plain(term.tau)} for term in terms]
        steps.append(about)
    total = sum(step.spent for step in spec.schedule.in_turn)
    about = {"name": spec.name, "dataset": spec.data.dataset, "seeds": to_plain(spec.seeds), "mode": spec.schedule.mode}
    return about | {"updates": total, "steps": steps}


def searched(ranges: Mapping[str, Range]) -> dict[str, Any]:
    """What a search varies, as plain data."""
    from pogospec.spec.tune import grid_size

    return {"ranges": {path: one.plain for path, one in ranges.items()}, "grid": grid_size(ranges)}


def counted(count: int, what: str) -> str:
    """So many of something, in words."""
    return f"{count:,} {what}{'s'[: count != 1]}"


def size(spec: Spec) -> str:
    """Steps, updates and data of a spec in a few words."""
    about = plan(spec)
    count = sum(step["repeat"] for step in about["steps"])
    rules = any(step.until is not None or step.repeat_until is not None for step in spec.schedule.steps)
    most = "at most " if rules else ""
    at_once = f", {spec.schedule.at_once} at once" if spec.schedule.at_once > 1 else ""
    return f"{most}{count} step{'s'[: count > 1]}{at_once}, {about['updates']:,} updates on {about['dataset']}"


def _problem(problem: Any) -> dict[str, Any]:
    layer, file, line, column = problem.origin
    where = {"file": file, "line": line, "column": column, "path": problem.path}
    return where | {"message": problem.message, "layer": layer}


def new(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("flow.yaml"),
    source: Annotated[
        str | None, typer.Option("--from", metavar="SPEC", help="Copy this spec, a file or the name of a shipped one.")
    ] = None,
) -> None:
    """Write a commented spec to start from, and beside it the schema that editors read."""
    from pogospec.spec.json_schema import FILE
    from pogospec.spec.starter import copies, starter

    files = {path.name: starter(path.stem)} if source is None else copies(spec_path(source), path.name)
    places = {name: path.parent / name for name in files}
    same = [name for name in files if name != path.name and _holds(places[name], files[name])]
    taken = [str(place) for name, place in places.items() if place.exists() and name not in same]
    if taken:
        raise UsageError(f"{', '.join(taken)} exists already; choose another path, or remove it")
    for name, text in files.items():
        if name not in same:
            _write(places[name], text)
        say(f"kept  {places[name]}, which is the same" if name in same else f"wrote {places[name]}")
    schema_file = path.parent / FILE
    if schema_file.exists():
        again = command("schema", "--out", schema_file)
        say(f"kept  {schema_file}, which was there; renew it with: {again}")
    else:
        _write(schema_file, _schema_text() + "\n")
        say(f"wrote {schema_file}, which the first line of {path.name} names to your editor")
    say("\n".join(["\nnext:", *(f"  {command(word, path)}" for word in ("check", "explain", "run"))]))


def schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file; default: print it.")] = None,
) -> None:
    """Print the JSON Schema (draft 7) of spec files, for completion, docs and mistakes in an editor.

    Write it beside your specs, `pogospec schema --out pogospec.schema.json`, and make this the first line of each:

    # yaml-language-server: $schema=pogospec.schema.json

    Editors with a YAML language server (in VS Code the extension redhat.vscode-yaml) read that line. Rules that join
    several keys are seen by `pogospec check` alone.
    """
    if out is None:
        say(_schema_text())
        return
    _write(out, _schema_text() + "\n")
    say(f"wrote {out}\nfirst line of a spec beside it: # yaml-language-server: $schema={out.name}")


def _schema_text() -> str:
    from pogospec.data.catalog import at_hand
    from pogospec.spec.json_schema import spec_schema

    shipped = [entry.dataset for entry in at_hand(shipped=True)]
    return json_text(spec_schema(shipped), indent=1)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; choose another path") from None
