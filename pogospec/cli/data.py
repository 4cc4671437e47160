"""Commands about datasets: data list, inspect, import, fetch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pogospec.cli.app import Allow, allow_modules, make_console
from pogospec.cli.listing import Json
from pogospec.errors import DataError, UsageError
from pogospec.terminal import say
from pogospec.text import json_text

if TYPE_CHECKING:
    from rich.console import Console

data = typer.Typer(help="List, inspect, import and fetch datasets.", no_args_is_help=True)
Environment = Annotated[str | None, typer.Option(help="Gymnasium id for evaluation, where the data name none.")]
Bound = Annotated[
    str | None, typer.Option(metavar="NUMBERS", help="Action bound: a number, or one a dimension joined by commas.")
]


@data.command("list")
def list_(as_json: Json = False) -> None:
    """List the datasets at hand: embedded, D4RL's files, imported ones, Minari's."""
    from pogospec.data.catalog import at_hand, forms

    entries = at_hand()
    if as_json:
        say(json_text([entry._asdict() for entry in entries]))
        return
    rows = [
        (entry.dataset, entry.source, entry.environment or "", "damaged" if entry.rows is None else f"{entry.rows:,}")
        for entry in entries
    ]
    console = make_console()
    _table(console, ("dataset", "source", "environment", "rows"), rows)
    console.print("look into one: pogospec data inspect DATASET", highlight=False)
    console.print(f"DATASET is one of {', '.join(forms())}", highlight=False, markup=False, soft_wrap=True)


@data.command()
def inspect(
    dataset: Annotated[str, typer.Argument(help="A dataset as in data.dataset: an id, or file:PATH.")],
    environment: Environment = None,
    observe: Annotated[
        str | None, typer.Option(metavar="NAMES", help="As data.observe: entries of Dict observations, by commas.")
    ] = None,
    arguments: Annotated[
        str | None, typer.Option(metavar="MAPPING", help="As data.arguments, for example '{g: 2.0}'.")
    ] = None,
    max_episode_steps: Annotated[int | None, typer.Option(min=1, help="As data.max_episode_steps.")] = None,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Look into a dataset: sizes, episodes, returns, actions, observations, and what is wrong with it.

    Exit code 2 where training refuses it, with its environment.
    """
    allow_modules(allow)
    from pogospec.data import read
    from pogospec.data.inspection import examine

    observed = None if observe is None else observe.split(",")
    made = None if arguments is None else _mapping("--arguments", arguments)
    facts = examine(read(dataset, environment, observed, made, max_episode_steps))
    if as_json:
        say(json_text(facts))
    else:
        _show(make_console(), facts)
    if not facts["ok"]:
        raise typer.Exit(DataError.exit_code)


@data.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A file of columns: .hdf5, .h5, .npz, .parquet, .safetensors.")],
    name: Annotated[str, typer.Option("--id", metavar="NAME", help="Id of the dataset, for example mine/hopper-v0.")],
    environment: Environment = None,
    low: Bound = None,
    high: Bound = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME=COLUMN[,COLUMN…]",
            help="A column of another name, or several side by side; groups of HDF5 by path: observations=data/obs.",
        ),
    ] = None,
    max_episode_steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Of data without timeouts, whose terminals mark all ends: one at step N is a time limit.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an imported dataset of this id.")] = False,
    allow: Allow = None,
) -> None:
    """Check a file of columns and store it as a dataset, which `run SPEC --dataset NAME` takes.

    It goes into the folder of POGOSPEC_DATA_DIR (default ~/.cache/pogospec/datasets) as one safetensors file that
    keeps every row.
    """
    allow_modules(allow)
    from pogospec.data.sources.file import path_of
    from pogospec.data.sources.imported import import_file

    if (low is None) != (high is None):
        raise UsageError("--low, --high: found one of them, allowed both or neither")
    bounds = None if low is None or high is None else (_numbers("--low", low), _numbers("--high", high))
    sources, own = _columns(column or []), path_of(str(path))
    try:
        found = import_file(own, name, environment, bounds, overwrite, sources, max_episode_steps)
    except DataError as error:
        raise DataError(_by_options(str(error))) from None
    say(f"{name}: {len(found.columns.rewards):,} rows in {found.file}\nrun it with: pogospec run SPEC --dataset {name}")
    if max_episode_steps is not None:
        ended, cut = (int(column.sum()) for column in (found.columns.terminated, found.columns.truncated))
        say(f"ends of episodes: {ended:,} terminations, {cut:,} at the time limit of {max_episode_steps:,} steps")
    for change in found.changes:
        say(f"note: {change}", error=True)
    if found.environment is None:
        say("it names no environment: nothing is evaluated unless data.environment is set", error=True)


@data.command()
def fetch(dataset: Annotated[str, typer.Argument(help="A Minari id, for example mujoco/hopper/medium-v0.")]) -> None:
    """Download a dataset through Minari, into the folder of MINARI_DATASETS_PATH."""
    from pogospec.data.catalog import source_of

    source = source_of(dataset)
    known = dataset in source.ids()
    where = source.fetch(dataset)
    say(f"{dataset} is at hand already, in {where}" if known else f"{dataset}: in {where}")


def _by_options(message: str) -> str:
    """What is wrong with data, with options of this command in the place of keys of a spec."""
    return message.replace("low and high in the file", "--low and --high").replace("data.environment", "--environment")


def _columns(texts: list[str]) -> dict[str, list[str]]:
    """Column -> columns of the file, of `--column`."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        members = [member.strip() for member in given.split(",")]
        if not equals or not name.strip() or not all(members):
            example = "--column observations=states, or --column observations=position,velocity"
            raise UsageError(f"--column: found '{text}', allowed NAME=COLUMN, for example {example}")
        if name.strip() in found:
            raise UsageError(f"--column: found {name.strip()} twice; join its columns by commas")
        found[name.strip()] = members
    return found


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"{option}: found '{text}', allowed a number, or numbers joined by commas") from None


def _mapping(option: str, text: str) -> dict[str, Any]:
    from pogospec.spec.yaml import parse, plain_of

    found = plain_of(parse(text, option))
    if not isinstance(found, dict):
        raise UsageError(f"{option}: found '{text}', allowed a mapping, for example {{g: 2.0}}")
    return found


def _show(console: Console, facts: dict[str, Any]) -> None:
    from pogospec.data import told

    for key, value in told.lines(facts):
        console.print(f"{key:<18} {value}", highlight=False, markup=False, soft_wrap=True)
    console.print()
    _table(console, told.ACTIONS, told.actions(facts))
    _table(console, told.OBSERVATIONS, told.observations(facts))
    for kind, texts in (("note", facts["notes"]), ("wrong", facts["faults"])):
        for text in texts:
            style = "red" if kind == "wrong" else ""
            console.print(f"{kind}: {text}", style=style, highlight=False, markup=False, soft_wrap=True)
    if facts["ok"]:
        console.print("nothing is wrong with these data", highlight=False)


def _table(console: Console, headers: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, header in enumerate(headers):
        text = header in ("dataset", "source", "environment")
        table.add_column(header, justify="left" if text or number == 0 else "right", no_wrap=True, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table, highlight=False, markup=False)
