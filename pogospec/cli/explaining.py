"""The command that says what a spec means, before it runs or after: explain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pogospec.cli.app import (
    Allow,
    Seeds,
    Set,
    Updates,
    allow_modules,
    make_console,
    overrides,
    use_all_cores,
)
from pogospec.cli.language import counted, searched
from pogospec.terminal import say
from pogospec.text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console

    from pogospec.explain.overview import Caution, Cost, Explanation, Value
    from pogospec.runs.directory import RunDirectory
    from pogospec.spec.schema import Spec
    from pogospec.spec.tune import Range

WIDTH = 100
LAYERS = {
    "command line": "set on the command line",
    "tuned": "tuned for this dataset",
    "base": "from a base file",
    "sweep": "in a cell of the sweep",
}


def explain(
    spec: Annotated[str, typer.Argument(help="A spec file, the name of a shipped spec, or a run directory.")],
    dataset: Annotated[str | None, typer.Option(help="Short for --set data.dataset=…")] = None,
    seeds: Seeds = None,
    updates: Updates = None,
    set_: Set = None,
    to: Annotated[Literal["text", "latex", "json"], typer.Option(help="How to print.")] = "text",
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time real updates (about 15 s), or only estimate.")
    ] = True,
    origins: Annotated[bool, typer.Option("--origins", help="Every value and where it was written.")] = False,
    allow: Allow = None,
) -> None:
    """Explain a spec: its objectives as mathematics, hidden choices, shapes, cost, and warnings.

    Of a run directory also what its steps should not have done, such as to break the proximal inequality.
    """
    if measure:
        use_all_cores()
    allow_modules(allow)
    from pogospec.checking.at_hand import require
    from pogospec.checking.check import checked, located
    from pogospec.checking.ranges import require_ranges
    from pogospec.spec.resolve import read
    from pogospec.spec.shipped import spec_path
    from pogospec.spec.sweep import cell_title

    run = _run_of(Path(spec))
    path = spec_path(spec) if run is None else run.path / "spec.yaml"
    given = overrides(dataset, seeds, updates, set_)
    document = read(path, given)
    loaded = checked(document)
    require_ranges(str(path), given, document)
    require([document], here=False)
    for idle in document.idle:
        say(f"note: {idle}", error=True)
    from pogospec.explain.overview import cost, explanation, plain

    data, space, note = _data(loaded)
    found = explanation(document, loaded, space, data)
    if run is not None:
        found = replace(found, cautions=[*found.cautions, *_measured(run)])
    if to == "latex":
        say(found.latex)
        return
    console = make_console()
    console.width = min(console.width, WIDTH)
    if to == "text":
        if document.cell:
            cell = f"the first cell of a sweep over {', '.join(document.cell)}: {cell_title(document.cell)}"
            console.print(cell, style="bold", highlight=False, markup=False, soft_wrap=True)
        _mathematics(console, found)
        _searched(console, document.ranges)
        _origins(console, found, origins)
        _pairs(console, "Fixed by the program", found.choices)
    if space is not None:
        from pogospec.explain import require_memory

        require_memory([loaded], space, data)
        with located(document):
            found = replace(found, cost=cost(loaded, found.plan, space, data, measure))
    if to == "json":
        say(json_text(plain(found) | ({"tune": searched(document.ranges)} if document.ranges else {})))
        return
    _sizes(console, found, note)
    _cost(console, found)
    _warnings(console, found)


def _run_of(path: Path) -> RunDirectory | None:
    """The run whose directory, or whose spec, a path is."""
    from pogospec.runs.directory import RunDirectory

    folder = path.parent if path.name == "spec.yaml" else path
    return RunDirectory.open(folder) if (folder / "manifest.json").is_file() else None


def _measured(run: RunDirectory) -> Iterable[Caution]:
    """What a run found of its own steps."""
    from pogospec.explain.overview import Caution
    from pogospec.report.reading import troubles

    return [Caution((), "in this run", text) for text in troubles(run)]


def _data(spec: Spec) -> tuple[Any, Any, str]:
    """The dataset and the sizes of its task where they are at hand, else what is known of the task, and a note."""
    from pogospec.data import load_for
    from pogospec.errors import DataError
    from pogospec.explain import known_space

    try:
        dataset = load_for(spec)
        return dataset, dataset.space, ""
    except DataError as error:
        space = known_space(spec.data.dataset)
        sizes = (
            "its sizes are unknown: no shapes and no time, and d = 1 above"
            if space is None
            else "sizes are those of the known task"
        )
        return None, space, f"not at hand; {sizes}. {error}"


def _title(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold", highlight=False)


def _grid(console: Console, rows: Iterable[tuple[str, ...]], indent: int = 2, fixed: int = 1) -> None:
    """Rows in columns; all but the last `fixed` ones wrap nowhere."""
    from rich.padding import Padding
    from rich.table import Table

    rows = list(rows)
    if not rows:
        return
    table = Table.grid(padding=(0, 2))
    for number in range(len(rows[0])):
        table.add_column(no_wrap=number < fixed, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(Padding(table, (0, 0, 0, indent)))


def _pairs(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    _title(console, title)
    _grid(console, rows)


def _mathematics(console: Console, found: Explanation) -> None:
    spec = found.spec
    console.print(f"{spec.name}: {spec.about}" if spec.about else spec.name, highlight=False, markup=False)
    for block in found.blocks:
        console.print(f"\n{block.label}", style="bold", end="  ", highlight=False)
        console.print(block.heading, highlight=False)
        _grid(console, block.rows)
    if found.meanings:
        console.print("\nwhere", highlight=False)
        _grid(console, found.meanings)


def _origins(console: Console, found: Explanation, every: bool) -> None:
    if every:
        _title(console, "Every value")
        rows = [(v.path, v.shown, str(v.origin) + _layer(v)) for v in found.values]
        _grid(console, rows, fixed=0)
        return
    values = found.grouped
    for layer, title in LAYERS.items():
        rows = [(v.path, v.shown, str(v.origin)) for v in values if v.origin.layer == layer]
        if rows:
            _title(console, f"Values {title}")
            _grid(console, rows, fixed=0)
    defaults: dict[str, list[str]] = {}
    for value in values:
        if value.origin.layer == "default":
            parent, _, key = value.path.rpartition(".")
            defaults.setdefault(parent, []).append(f"{key}: {value.shown}")
    _pairs(console, "Values left to their defaults", ((path or "spec", ", ".join(v)) for path, v in defaults.items()))
    console.print("  --origins prints every value and where it was written", style="dim", highlight=False)


def _searched(console: Console, ranges: Mapping[str, Range]) -> None:
    """What `pogospec tune` varies."""
    from pogospec.spec.tune import grid_size

    if ranges:
        _pairs(console, "Searched by `pogospec tune`", [(path, str(one)) for path, one in ranges.items()])
        said = f"  a grid has {counted(grid_size(ranges), 'trial')}; `run` takes the values above"
        console.print(said, style="dim", highlight=False)


def _layer(value: Value) -> str:
    return f" ({value.origin.layer})" if value.origin.layer in ("tuned", "base") else ""


def _sizes(console: Console, found: Explanation, note: str) -> None:
    known = found.known is not None
    _title(console, "Energy and parameters" if known else "Data and networks")
    lines = _energy(found) if known else _rows(found, note)
    for network in found.cost.networks if found.cost else ():
        members = f"{network.members} × " if network.members > 1 else ""
        shape = "" if known else f"{members}({network.shape}): "
        lines.append((network.name, f"{shape}{network.parameters:,} parameters"))
    _grid(console, lines)


def _rows(found: Explanation, note: str) -> list[tuple[str, str]]:
    from pogospec.explain.overview import episodes, rows

    lines = [("data", found.spec.data.dataset + (f": {note}" if note else ""))]
    if found.dataset is not None:
        count = f"{rows(found.dataset):,} transitions in {episodes(found.dataset):,} episodes"
        lines[0] = ("data", f"{found.spec.data.dataset}: {count}")
    if found.space is not None:
        lines.append(("task", f"{found.space.obs_dim} observations, {found.space.act_dim} actions"))
    return lines


def _energy(found: Explanation) -> list[tuple[str, str]]:
    """Size, optimum and start of a known energy."""
    from pogospec.explain.numbers import short

    known = found.known
    assert known is not None
    lines = [("target", f"{known.kind}, {known.dimensions} dimension{'s'[: known.dimensions > 1]}")]
    if known.why:
        text = f"not known: {known.why}"
    elif known.optimum_mean is None or known.optimum_std is None:
        text = "mean and std unknown"
    else:
        mean, std = (", ".join(map(short, column)) for column in (known.optimum_mean, known.optimum_std))
        text = f"mean ({mean}), std ({std})"
    lines.append(("optimum", text if known.why else f"{known.optimum}: {text}"))
    if known.temperature and not known.why:
        z = (
            "unknown, so that no KL to the optimum is told"
            if known.log_normalizer is None
            else short(known.log_normalizer)
        )
        lines.append(("log Z", z))
    kl = "" if known.start_kl is None else f"; KL to the optimum {short(known.start_kl)} nats"
    return [*lines, ("start", known.start + kl)]


def _cost(console: Console, found: Explanation) -> None:
    from pogospec.launch.view import span

    cost = found.cost
    if cost is None:
        return
    _title(console, "Time and memory, on this machine")
    rows = []
    for group in found.timed:
        first = group.first
        count, rate = cost.operations[first.index], cost.rates[first.index]
        how = f"{rate.updates:,} timed" if rate.updates else "estimated from operations"
        took = f", compiled in {rate.compiling:.1f} s" if rate.compiling else ""
        seconds = span(len(group.stages) * first.step.spent / rate.per_second)
        speed = f"{rate.per_second:,.0f} updates/s"
        work = "" if found.known else f"{count / 1e6:,.1f} Mflop/update"
        label = rate.stage if len(group.stages) == 1 else group.label
        rows.append((label, work, speed, seconds, how + took))
    _grid(console, rows, fixed=4)
    seeds = f"{found.spec.seed_count} seeds in one program" if found.spec.seed_count > 1 else "1 seed"
    updates = sum(stage.step.spent for group in found.timed for stage in group.stages)
    rollouts = ", without compiling" + ("" if found.known else " and rollouts")
    total = f"{updates:,} updates, {seeds}: about {_total(found, cost.seconds(found.plan), rollouts)}"
    rows = [("total", total), ("memory", _memory(found, cost))]
    if found.space is not None and (judging := cost.judging(found.plan, found.space)):
        rows.insert(1, ("judges", f"their own critics: about {span(judging)} beside that"))
    branch = found.spec.schedule.branch
    if branch is not None:
        together, alone = map(span, cost.branches(found.plan, branch))
        rows.insert(1, ("branches", f"{len(branch.at)} runs{rollouts}: about {together} in all; {alone} one by one"))
    _grid(console, rows)


def _total(found: Explanation, updates: float, without: str) -> str:
    """The time of all updates, with that of compiling where runs on this machine tell it."""
    from pogospec.launch.compiling import expected
    from pogospec.launch.view import span

    compiling = None if found.space is None else expected(found.spec, found.space)
    if compiling is None:
        return span(updates) + without
    rollouts = "" if found.known else "; without rollouts"
    return f"{span(updates + compiling)}, of which compiling takes {span(compiling)}, by other runs here{rollouts}"


def _memory(found: Explanation, cost: Cost) -> str:
    from pogospec.explain import bytes_text

    memory = cost.memory
    kind = "data" if found.spec.data.rows == "memory" else "rows read ahead"
    data = "data not counted" if memory.data is None else f"{kind} {bytes_text(memory.data)}"
    weights, optimizers, activations = map(bytes_text, (memory.weights, memory.optimizers, memory.activations))
    temporary = "temporaries of the compiled chunk" if any(r.reserved for r in cost.rates) else "matrix products"
    averages = f", averages {bytes_text(memory.averages)}" if memory.averages else ""
    return (
        f"about {bytes_text(memory.total)}: networks, slow copies and reference {weights}, optimisers {optimizers}"
        f"{averages} ({'all' if averages else 'both'} held twice), {data}, {temporary} {activations}"
    )


def _warnings(console: Console, found: Explanation) -> None:
    if not found.cautions:
        return
    _title(console, "Where mathematics and practice part")
    several = len(found.blocks) > 1
    for caution in found.cautions:
        where = f" ({', '.join(caution.stages)})" if several and caution.stages else ""
        _grid(console, [("!", f"{caution.name}{where}: {caution.text}")])
