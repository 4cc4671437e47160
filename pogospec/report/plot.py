"""Learning curves: score against updates, mean and std over seeds, switching points marked."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.report.compare import curves, normalised, titles
from pogospec.runs import RunDirectory

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito, colour-blind safe
MARKS = "osD^vP"


def learning_curve(runs: RunDirectory | Sequence[RunDirectory], path: Path | None = None) -> Path | None:
    """Draw learning_curve.png into the run directory; None where nothing was evaluated.

    Several runs share one picture, learning_curves.png beside the first run where no path is given.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    several = [runs] if isinstance(runs, RunDirectory) else list(runs)
    single = len(several) == 1
    if path is None:
        first = several[0].path
        path = first / "learning_curve.png" if single else first.parent / "learning_curves.png"
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    try:
        named = enumerate(zip(several, titles(several), strict=True))
        drawn = [_draw(axes, run, index, "" if single else f"{title}: ") for index, (run, title) in named]
        if not any(drawn):
            return None
        _label(axes, several)
        columns = min(4 if single else 2, len(axes.get_legend_handles_labels()[1]))
        figure.legend(loc="outside lower center", ncols=columns, fontsize=10, frameon=False)
        figure.savefig(path, dpi=140)
    finally:
        plt.close(figure)
    return path


def _draw(axes: Any, run: RunDirectory, index: int, prefix: str) -> bool:
    """Draw one run: a colour a step, or a colour a run where several share the picture."""
    found = {policy: points for policy, points in curves(run).items() if points}
    steps = [policy for policy in found if policy != "behavior"]
    seam: dict[int, np.ndarray] = {}
    for number, policy in enumerate(steps):
        own = {total: _values(run, returns) for total, returns in found[policy].items()}
        place, points = index if prefix else number, seam | own
        color, mark = COLORS[place % len(COLORS)], MARKS[number % len(MARKS)]
        line = ("-", "-.", ":")[number % 3] if prefix else "-"
        totals, mean = list(points), np.array([values.mean() for values in points.values()])
        fresh = list(range(len(seam), len(totals)))
        axes.plot(
            totals,
            mean,
            color=color,
            linestyle=line,
            marker=mark,
            markevery=fresh,
            markersize=5,
            linewidth=2,
            label=f"{prefix}{policy}",
        )
        if run.manifest["seeds"] > 1:
            std = np.array([values.std(ddof=1) for values in points.values()])
            if len(totals) == 1:
                axes.errorbar(totals, mean, std, color=color, capsize=4)
            axes.fill_between(totals, mean - std, mean + std, color=color, alpha=0.18, linewidth=0)
        if number and not prefix:
            _switch(axes, max(seam), f"{steps[number - 1]} | {policy}")
        seam = {max(own): own[max(own)]}
    if "behavior" in found:
        last = found["behavior"][max(found["behavior"])]
        color = COLORS[index % len(COLORS)] if prefix else "0.25"
        axes.axhline(_values(run, last).mean(), color=color, linestyle="--", label=f"{prefix}fitted behavior")
    return bool(steps)


def _switch(axes: Any, total: int, text: str) -> None:
    axes.axvline(total, color="0.5", linestyle=":", linewidth=1.5)
    places = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate(text, (total, 1), (0, 3), ha="center", va="bottom", fontsize=9, color="0.3", **places)


def _values(run: RunDirectory, returns: np.ndarray) -> np.ndarray:
    scores = normalised(run, returns)
    return returns if scores is None else scores


def _label(axes: Any, runs: Sequence[RunDirectory]) -> None:
    from matplotlib.ticker import FuncFormatter

    manifests = [run.manifest for run in runs]
    labels = sorted({m["reference"]["label"] if m["reference"] else "" for m in manifests})
    score = (
        "undiscounted return" if labels == [""] else "score, " + "; ".join(label or "raw return" for label in labels)
    )
    axes.set_ylabel(textwrap.fill(score, 38), fontsize=11)
    axes.set_xlabel("updates", fontsize=11)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    name = manifests[0]["name"] if len(runs) == 1 else "learning curves"
    datasets = ", ".join(dict.fromkeys(m["dataset"] for m in manifests))
    seeds = max(m["seeds"] for m in manifests)
    shade = f"mean ± std over {seeds} seeds" if seeds > 1 else "one seed"
    axes.set_title(f"{name} on {datasets}, {shade}", fontsize=11, pad=18)
