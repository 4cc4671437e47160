"""The command that lists what there is: kinds, datasets, specs, models, runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pogospec.cli.app import make_console
from pogospec.errors import RunDirectoryError, UsageError
from pogospec.terminal import say
from pogospec.text import json_text

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Row = dict[str, Any]


def list_(
    what: Annotated[
        Literal["kinds", "datasets", "specs", "suites", "models", "runs", "published"],
        typer.Argument(help="What to list."),
    ],
    slot: Annotated[str | None, typer.Argument(help="With kinds: one slot, and the keys of its kinds.")] = None,
    folder: Annotated[Path, typer.Option(help="Where runs are.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List kinds, datasets, specs, suites, NumPyro models, runs, or the sources of published scores.

    `list kinds geometry` shows the keys of every geometry.
    """
    if slot is not None and what != "kinds":
        raise UsageError(f"list {what}: found '{slot}', allowed nothing after {what}")
    if what == "kinds":
        rows = kinds(slot)
    else:
        listed = {"datasets": datasets, "specs": specs, "suites": suites, "models": models, "published": published}
        rows = runs(folder) if what == "runs" else listed[what]()
    if as_json:
        say(json_text(rows))
    elif slot is not None:
        _show_keys(rows)
    elif rows:
        _show(rows)
    elif what == "models":
        say("no models are registered; a package registers its own under the entry point group pogospec.models")
    else:
        say(f"no runs in {folder}; start one with: pogospec run SPEC")


def kinds(slot: str | None = None) -> list[Row]:
    """Kinds of one slot or of all, with their keys; raises UsageError for an unknown slot."""
    from pogospec import registry
    from pogospec.spec.build import did_you_mean
    from pogospec.spec.catalog import plain

    slots = registry.slots()
    if slot is not None and slot not in slots:
        raise UsageError(f"list kinds: found '{slot}', allowed {', '.join(slots)}{did_you_mean(slot, slots)}")
    return [row for name in (slots if slot is None else [slot]) for row in plain(name)]


def datasets() -> list[Row]:
    """Datasets at hand."""
    from pogospec.data import available

    return [{"dataset": name, "about": about} for name, about in available()]


def specs() -> list[Row]:
    """Specs that come with the package."""
    from pogospec.spec.shipped import shipped_specs, spec_name
    from pogospec.spec.yaml import plain_of, read_tree

    found = [(path, plain_of(read_tree(path))) for path in shipped_specs()]
    return [{"spec": spec_name(path), "about": plain.get("about", ""), "file": str(path)} for path, plain in found]


def suites() -> list[Row]:
    """Suites that come with the package."""
    from pogospec.spec.shipped import shipped_suites
    from pogospec.spec.yaml import plain_of, read_tree

    found = [(path, plain_of(read_tree(path))) for path in shipped_suites()]
    return [{"suite": path.stem, "about": plain.get("about", ""), "file": str(path)} for path, plain in found]


def published() -> list[Row]:
    """Tables of the literature that `compare --published SOURCE` shows."""
    from pogospec.report.published import sources

    return [
        {"source": name, "methods": ", ".join(source.methods), "about": source.about()}
        for name, source in sources().items()
    ]


def models() -> list[Row]:
    """NumPyro models that targets of kind numpyro may name, with what their functions say of themselves."""
    from importlib import import_module

    from pogospec.spec.catalog import summary
    from pogospec.targets.numpyro import registered

    rows = []
    for name, place in registered().items():
        module, _, function = place.partition(":")
        try:
            about = summary(getattr(import_module(module), function))
        except Exception as error:  # what the module of another package raises
            about = f"cannot be imported: {type(error).__name__}: {error}"
        rows.append({"model": name, "about": about, "function": place})
    return rows


def runs(folder: Path) -> list[Row]:
    """Runs in a folder and in those within it, such as suites and sweeps, with what they are and how far they came.

    `of` says whose they are: a suite, or a sweep with the values of the cell.
    """
    from pogospec.report.reading import PLAN, inside, open_plan
    from pogospec.runs.directory import RunDirectory
    from pogospec.spec.sweep import cell_title

    rows, plans = [], {}
    for path in sorted(inside(folder)):
        try:
            directory = RunDirectory.open(path)
            status, about = directory.status(), directory.manifest
            if path.parent not in plans:
                has_plan = path.parent != folder.parent and (path.parent / PLAN).is_file()
                plans[path.parent] = open_plan(path.parent) if has_plan else None
            plan = plans[path.parent]
            cell = cell_title(about.get("sweep") or {})
            of = f"suite {plan.name}" if plan is not None and path.name in plan.runs else ""
            done = {"state": status["state"], "updates": status["update"]}
            row = {"run": str(path), **done, "name": about["name"], "dataset": about["dataset"]}
            rows.append(row | {"of": f"sweep, {cell}" if cell else of})
        except RunDirectoryError as error:  # the others are runs all the same
            say(f"passed over: {error}", error=True)
    if not any(row["of"] for row in rows):
        rows = [{key: value for key, value in row.items() if key != "of"} for row in rows]
    return rows


def _table(*headers: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header not in ("about", "allowed", "run", "methods"))
    return table


def _show(rows: list[Row]) -> None:
    headers = [name for name in rows[0] if name not in ("keys", "file")]
    headers.sort(key=lambda name: name == "about")
    table, before = _table(*headers), None
    for row in rows:
        first = row[headers[0]]
        if headers[0] == "slot":
            if before not in (None, first):
                table.add_section()
            row = row | {"slot": "" if first == before else first}
        before = first
        table.add_row(*(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in headers))
    console = make_console()
    console.print(table, highlight=False, markup=False)
    if headers[0] == "slot":
        console.print("the keys of the kinds of a slot: pogospec list kinds SLOT", highlight=False)


def _show_keys(rows: list[Row]) -> None:
    from pogospec.console import styled
    from pogospec.spec.catalog import keys_of, kinds_of, show

    console = make_console()
    classes = kinds_of(rows[0]["slot"])
    for row in rows:
        console.print(styled(row["kind"], "bold"), f" {row['about']}")
        table = _table("key", "allowed", "default", "about")
        for key in keys_of(classes[row["kind"]]):
            table.add_row(key.name, key.allowed, "required" if key.required else show(key.default), key.doc)
        console.print(table if row["keys"] else "  no keys\n", highlight=False)
