"""What a search prints at its end: its best trials, the curve of the expected best, and what was rolled out for it."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from pogospec.report.screen import show_columns, show_warnings
from pogospec.report.statistics import spread
from pogospec.spec.sweep import short_names, value_text
from pogospec.tuning.results import Results

SHOWN = 10
STEPS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def show(console: Console, found: Results, seeds: int) -> None:
    """Print the best trials, then the curve, then the budget."""
    ranked = found.ranked
    paths = list(found.trials[0].values) if found.trials else []
    names, unit = short_names(paths), found.unit
    rolled = found.episodes > 0
    beside = found.by == "fqe" and any(trial.online for trial in ranked)
    over = "mean ± std over seeds (ddof 1)" if seeds > 1 else "one seed"
    best = "highest" if found.maximize else "lowest"
    console.print(f"\n{unit}, {over}; the {best} first", style="dim", highlight=False)
    head = ["trial", *names.values(), unit, *(["in rollouts"] if beside else []), *(["episodes"] if rolled else [])]
    rows = []
    for trial in ranked[:SHOWN]:
        online = [spread(np.array(trial.online)) if trial.online else ""] if beside else []
        values = [value_text(trial.values[path]) for path in paths]
        episodes = [f"{trial.episodes:,}"] if rolled else []
        rows.append([str(trial.number), *values, _score(trial.scores, unit), *online, *episodes])
    if rows:
        show_columns(console, head, rows)
    if len(ranked) > SHOWN:
        console.print(f"and {len(ranked) - SHOWN} more, in results.json", highlight=False)
    counts = [(sum(t.state == state for t in found.trials), state) for state in ("stopped early", "failed", "running")]
    others = ", ".join(f"{count} {state}" for count, state in counts if count)
    console.print(f"{len(ranked)} trial{'s'[: len(ranked) != 1]} done{', ' if others else ''}{others}", highlight=False)
    _curve(console, found)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    show_warnings(console, [f"trial {trial.number} failed: {trial.message}" for trial in failed[:3]])


def _curve(console: Console, found: Results) -> None:
    curve = found.expected
    if curve:
        console.print(
            f"\nbest {found.measured} of k of these trials, drawn at random: mean ± std", style="dim", highlight=False
        )
        shown = [point for point in curve if point["k"] in STEPS or point is curve[-1]]
        head = ["k", *(f"{int(point['k'])}" for point in shown)]
        texts = [f"{_number(point['mean'], found)} ± {_number(point['std'], found)}" for point in shown]
        rows = [["expected best", *texts]]
        if found.episodes:
            rows.append(["episodes", *(f"{point['episodes']:,.0f}" for point in shown)])
        show_columns(console, head, rows)
    if found.by == "energy":
        return
    count = f"{found.policies:,} policies were rolled out, each seed counted, in {found.episodes:,} episodes"
    spent = f"{count}; none of them decided" if found.by == "fqe" else count
    console.print(f"online: {spent}", highlight=False)


def _number(value: float, found: Results) -> str:
    return f"{value:.1f}" if found.unit in ("score", "return") else f"{value:.4g}"


def _score(scores: list[float], unit: str) -> str:
    values = np.array(scores)
    if unit in ("score", "return"):
        return spread(values)
    deviation = f" ± {values.std(ddof=1):.2g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{deviation}"
