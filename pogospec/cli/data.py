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
    found = import_file(path_of(str(path)), name, environment, bounds, overwrite)
    say(f"{name}: {len(found.columns.rewards):,} rows in {found.file}\nrun it with: pogospec run SPEC --dataset {name}")
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
    episodes, returns, score = facts["episodes"], facts["returns"], facts["returns"]["score"]
    ends = f"{episodes['terminated']:,} terminated, {episodes['truncated']:,} at time limits or cut"
    lines = [
        ("dataset", facts["dataset"]),
        ("file", facts["file"]),
        ("sha256", facts["sha256"]),
        ("environment", facts["environment"] or "none; set data.environment to evaluate"),
        ("sizes", f"{facts['obs_dim']} observations, {facts['act_dim']} actions"),
        ("rows", f"{facts['rows']:,}, of which {facts['transitions']:,} are transitions to train on"),
        ("next observations", facts["next_observations"]),
        ("episodes", f"{episodes['count']:,}: {ends}" + (f", {episodes['cut']} unfinished" * (episodes["cut"] > 0))),
        ("length", _spread(episodes["length"])),
        ("return", _spread(returns)),
    ]
    lines += [] if score is None else [("score", f"{_spread(score)}, {score['label']}")]
    if facts["reference"] is not None:
        reference = facts["reference"]
        lines.append(
            ("reference", f"{reference['low']:g} is 0, {reference['high']:g} is 100, by {reference['source']}")
        )
    lines += [("reward", _spread(facts["rewards"])), ("action bounds", facts["bounds"]["from"])]
    for key, value in lines:
        console.print(f"{key:<18} {value}", highlight=False, markup=False, soft_wrap=True)
    console.print()
    _table(console, ("action", "low", "min", "mean", "max", "high", "at low", "at high"), _action_rows(facts))
    rows = [
        (str(i), *(_number(e[k]) for k in ("min", "mean", "max", "std"))) for i, e in enumerate(facts["observations"])
    ]
    _table(console, ("observation", "min", "mean", "max", "std"), rows)
    for kind, texts in (("note", facts["notes"]), ("wrong", facts["faults"])):
        for text in texts:
            style = "red" if kind == "wrong" else ""
            console.print(f"{kind}: {text}", style=style, highlight=False, markup=False, soft_wrap=True)
    if facts["ok"]:
        console.print("nothing is wrong with these data", highlight=False)


def _action_rows(facts: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for index, entry in enumerate(facts["actions"]):
        low, high = (bound[index] if index < len(bound) else None for bound in _bounds(facts))
        shares = ["" if entry[key] is None else f"{100 * entry[key]:.1f}%" for key in ("at_low", "at_high")]
        numbers = (low, entry["min"], entry["mean"], entry["max"], high)
        rows.append((str(index), *map(_number, numbers), *shares))
    return rows


def _bounds(facts: dict[str, Any]) -> tuple[list[float], list[float]]:
    return facts["bounds"]["low"], facts["bounds"]["high"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


def _spread(facts: dict[str, Any]) -> str:
    low, mean, high = (_long(facts[name]) for name in ("min", "mean", "max"))
    return f"{low} to {high}, mean {mean}"


def _long(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


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
