"""Tables, a JSON file and a picture of what the benchmarks found."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from workers import Options, Part

GREY, COLORS = "0.35", ("#0b5fa5", "#d1720a")


def machine(options: Options) -> dict[str, Any]:
    """What ran, where, and how it was pinned."""
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        names = []
    names = names or [platform.processor()]
    packages = ("pogospec", "jax", "jaxlib", "numpy", "equinox", "optax", "gymnasium", "mujoco", "h5py", "typer")
    return {
        "processor": names[0].partition(":")[2].strip() or names[0],
        "cores": list(options.cores),
        "the core of what runs on one": options.one[0],
        "threads": "one a core that a process is pinned to (OMP_NUM_THREADS and the like; XLA counts the cores)",
        "rounds": options.rounds,
        "seconds timed at once": options.slice,
        "load before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "began": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def about(console: Console, found: dict[str, Any]) -> None:
    """Say what ran where."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    load = f", load {found['load before'][0]:.2f}" if found["load before"] else ""
    console.print(f"{found['processor']}, cores {found['cores']}{load}; Python {found['python']}, {versions}")
    console.print(f"threads: {found['threads']}; {found['rounds']} rounds in turns; median (lowest to highest)\n")


def table(console: Console, part: Part) -> None:
    """A part as a table, then what was wanted of it."""
    columns = columns_of(part)
    view = Table(box=box.SIMPLE_HEAD, title=part.title, title_justify="left", title_style="bold")
    view.add_column("")
    for name in columns:
        view.add_column(name, justify="right")
    for row in part.rows:
        view.add_row(row["name"], *(_cell(row.get(name)) for name in columns))
    console.print(view if part.rows else part.title, highlight=False)
    for target in part.targets:
        sign = "at most" if target["most"] else "at least"
        found = "not measured" if target["found"] is None else f"{target['found']:.3f}"
        word = {True: "met", False: "MISSED", None: ""}[target["met"]]
        console.print(f"  {target['what']}: {found}, wanted {sign} {target['wanted']:g}  {word}", highlight=False)
    for note in part.notes:
        console.print(f"  {note}", style="dim", highlight=False)
    console.print()


def columns_of(part: Part) -> list[str]:
    """The columns of a table, after that of names."""
    hidden = {"name", "axis", "size", "who", "device", "memory by"}
    return list(dict.fromkeys(name for row in part.rows for name in row if name not in hidden))


def markdown(part: Part) -> str:
    """The same as Markdown, medians alone, to be pasted."""
    columns = columns_of(part)
    lines = [["", *columns], ["---", *(["---:"] * len(columns))]]
    for row in part.rows:
        found = [row[name]["median"] if isinstance(row[name], dict) else row[name] for name in columns]
        lines.append([row["name"], *map(_number, found)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{part.title}\n\n{table}\n\n" + "\n".join(part.notes) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return f"{_number(value['median'])} ({_number(value['low'])} to {_number(value['high'])})"
    return _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def picture(part: Part, path: Path) -> None:
    """How the milliseconds of an update grow: a panel an axis, both scales logarithmic."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    axes = list(dict.fromkeys(row["axis"] for row in part.rows))
    names = list(dict.fromkeys(row["who"] for row in part.rows))
    figure, panels = pyplot.subplots(1, len(axes), figsize=(3.1 * len(axes), 3.3), sharey=True, layout="constrained")
    for axis, panel in zip(axes, panels, strict=True):
        for who, color in zip(names, COLORS, strict=True):
            rows = [row for row in part.rows if row["axis"] == axis and row["who"] == who]
            sizes, found = [row["size"] for row in rows], [row["ms an update"] for row in rows]
            panel.fill_between(
                sizes, [f["low"] for f in found], [f["high"] for f in found], color=color, alpha=0.2, lw=0
            )
            style = "o-" if who == names[0] else "s--"
            panel.plot(sizes, [f["median"] for f in found], style, color=color, label=who, ms=4)
        panel.set(xscale="log", yscale="log", xlabel="rows of data" if axis == "rows" else axis)
        panel.set_xticks(sizes, sizes)
        if axis == "rows":
            panel.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        panel.minorticks_off()
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("ms an update of all seeds")
    panels[0].legend(frameon=False)
    figure.suptitle(part.title, color=GREY)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
