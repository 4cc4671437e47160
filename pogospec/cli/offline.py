"""Off-policy evaluation and selection: evaluate --offline, select."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pogospec.cli.app import make_console
from pogospec.errors import UsageError
from pogospec.runs import cache
from pogospec.terminal import say
from pogospec.training import stop

if TYPE_CHECKING:
    from rich.console import Console

    from pogospec.launch.offline import Asked, Found
    from pogospec.runs.directory import RunDirectory


def numbers_of(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers >= 1 with commas between them; raises UsageError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) <= 10_000 for part in parts):
        raise UsageError(f"{option}: found '{text}', allowed whole numbers from 1 to 10000, such as 128,128")
    return tuple(map(int, parts))


def asked_of(policy: str | None, moves: int | None, seed: int | None, more: dict[str, Any]) -> Asked:
    """What is asked, from the options that were given; raises UsageError for values that none may have."""
    from pogospec.launch.offline import ESTIMATORS, Asked
    from pogospec.offline.settings import Settings

    more = {name: value for name, value in more.items() if value is not None}
    if not 0 < more.get("level", 0.5) < 1:
        raise UsageError(f"--level: found {more['level']:g}, allowed numbers between 0 and 1, such as 0.95")
    if more.get("discount", 0) >= 1:
        raise UsageError(f"--discount: found {more['discount']:g}, allowed 0 or more and below 1")
    if "hidden" in more:
        more["hidden"] = numbers_of("--hidden", more["hidden"])
    settings = Settings(**{name: more.pop(name) for name in ("updates", "hidden", "folds", "fits") if name in more})
    names = None
    if "estimator" in more:
        names = tuple(dict.fromkeys(name.strip() for name in more.pop("estimator").split(",")))
        unknown = [name for name in names if name not in ESTIMATORS]
        if unknown:
            raise UsageError(f"--estimator: found '{unknown[0]}', allowed {', '.join(ESTIMATORS)}")
    return Asked(policy=policy, moves=moves, seed=seed or 0, estimators=names, settings=settings, **more)


def evaluate_offline(paths: list[Path], asked: Asked) -> None:
    """Evaluate the runs that paths name from their data, and show what was found."""
    from pogospec.report.reading import open_runs

    cache.enable()
    runs, other = open_runs(paths)
    if other:
        say(f"passed over: {', '.join(other)}", error=True)
    console = make_console()
    for run in runs:
        show(console, run, measured(console, run, asked))
    console.print("next  " + _next(paths), soft_wrap=True, highlight=False)


def measured(console: Console, run: RunDirectory, asked: Asked) -> Found:
    """Evaluate one run, saying on a terminal how far it is."""
    from pogospec.launch.offline import evaluate

    with console.status("") as status:

        def tick(share: float) -> None:
            stop.check()
            status.update(f"{run.path}: critics {100 * share:.0f}% fitted")

        return evaluate(run, asked, tick)


def show(console: Console, run: RunDirectory, found: Found) -> None:
    """The estimates of a run, beside its rollouts where there are some."""
    import numpy as np

    from pogospec.report.reading import bounds_of, decimals, estimated, final, spread_of, what
    from pogospec.report.screen import show_columns, show_warnings
    from pogospec.report.statistics import spread

    about, cells = run.manifest, final(run)
    names = list(dict.fromkeys(row["estimator"] for row in found.rows))
    columns = {name: estimated(run, name) for name in names}
    labels = list(dict.fromkeys(row["policy"] for row in found.rows))
    asked = next(one[label].asked for one in columns.values() for label in labels if label in one)
    console.print(f"\n{about['name']} on {about['dataset']}", style="bold", highlight=False)
    seeds = "mean ± std over seeds (ddof 1)" if about["seeds"] > 1 else "one seed"
    level = f"[interval of {100 * float(asked['level']):g}%]"
    console.print(f"{_upper(what(asked))}; {seeds} {level}", style="dim", highlight=False)
    head, rows = ["policy"], []
    for name in names:
        head += [name, f"{name} interval"]
        if name != "fqe":
            head.append(f"{name} episodes left")
    known = [one for label, one in columns.get("fqe", {}).items() if label in labels]
    gains = any(np.isfinite(one.columns["gain"]).all() for one in known)
    head += ["over behavior"] if gains else []
    rolled = [label for label in labels if label in cells]
    head += ["return", *(["score"] if about["reference"] else [])] if rolled else []
    for label in labels:
        row = [label]
        for name in names:
            one = columns[name].get(label)
            places = 2 if one is None else decimals(one.columns["error"])
            row += ["", ""] if one is None else [spread_of(one.values, places), bounds_of(one.bounds, places)]
            if name != "fqe":
                row.append("" if one is None else f"{one.columns['effective'].mean():.1f}")
        if gains:
            gain = columns["fqe"][label].columns
            places = decimals(gain["gain_error"])
            known = np.isfinite(gain["gain"]).all()
            row.append(f"{gain['gain'].mean():+.{places}f} ± {gain['gain_error'].mean():.{places}f}" if known else "")
        if rolled:
            cell = cells.get(label)
            row.append("" if cell is None else spread(cell.returns))
            if about["reference"]:
                row.append("" if cell is None or cell.scores is None else spread(cell.scores))
        rows.append(row)
    show_columns(console, head, rows)
    if rolled and asked["action"] != about["action"]:
        console.print(f"note: returns are of rollouts acting by the {about['action']}", highlight=False)
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    show_warnings(console, weak(found))
    console.print(f"estimates  {run.path / 'ope.csv'}", soft_wrap=True, highlight=False)


FEW = 10
"""Episodes left by importance weights below which an estimate rests on chance."""


def weak(found: Found) -> list[str]:
    """Estimates that rest on few episodes."""
    least: dict[str, float] = {}
    for row in found.rows:
        if row.get("effective", FEW) < FEW:
            least[row["policy"]] = min(least.get(row["policy"], FEW), row["effective"])
    texts = [f"{policy} {count:.1f}" for policy, count in least.items()]
    return (
        [f"importance weights leave few episodes ({', '.join(texts)}): their intervals are too short"] if texts else []
    )


def select(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or directories that hold runs.")],
    by: Annotated[
        Literal["low", "value"], typer.Option(help="Rank by the lower end of the interval, or by the estimate.")
    ] = "low",
    estimator: Annotated[Literal["fqe", "wis", "dr"], typer.Option(help="Which estimate.")] = "fqe",
    per: Annotated[
        Literal["seed", "policy"],
        typer.Option(help="What is chosen: one seed of a policy, or a policy, mean over seeds."),
    ] = "seed",
    first: Annotated[str, typer.Option(metavar="K,…", help="Of regret@K, where rollouts exist.")] = "1,3",
    to: Annotated[Literal["table", "csv", "json"], typer.Option(help="How to print.")] = "table",
) -> None:
    """Say which policy to deploy where none may be tried: ranked by `evaluate --offline`.

    Where rollouts exist, what the choice costs is told beside it: regret@K, and Spearman's correlation.
    """
    from pogospec.report.reading import open_runs
    from pogospec.report.screen import show_rankings
    from pogospec.report.tables import rankings, selection_to_text

    opened, other = open_runs(runs)
    if other:
        say(f"passed over: {', '.join(other)}", error=True)
    found = rankings(opened, estimator, by, per, numbers_of("--first", first))
    if to == "table":
        show_rankings(make_console(), found)
    else:
        say(selection_to_text(found, to))


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _next(paths: list[Path]) -> str:
    from pogospec.terminal import command

    return command("select", *paths)


def refuse_beside(offline: bool, rollouts: dict[str, Any], estimates: dict[str, Any]) -> None:
    """Raise UsageError for options of the other way of evaluating than the one that was asked for."""
    wrong = [f"--{name}" for name, value in (rollouts if offline else estimates).items() if value is not None]
    if wrong:
        where = "without --offline" if offline else "with --offline"
        raise UsageError(f"{', '.join(wrong)}: allowed {where}")
