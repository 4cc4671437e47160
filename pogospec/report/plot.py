"""Learning curves: score against updates, mean and std over seeds, switching points marked."""

from __future__ import annotations

from pathlib import Path

from pogospec.report.compare import curves
from pogospec.runs import RunDirectory

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito, colour-blind safe


def learning_curve(run: RunDirectory) -> Path | None:
    """Draw learning_curve.png into the run directory; None where nothing was evaluated."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = curves(run)
    steps = sorted(name for name in found if name != "behavior")
    if not steps:
        return None
    manifest = run.manifest
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for color, name in zip(COLORS * len(steps), steps, strict=False):
        points = found[name]
        totals = list(points)
        means = [points[t].mean() for t in totals]
        axes.plot(totals, means, color=color, marker="o", label=name)
        if manifest["seeds"] > 1:
            stds = [points[t].std(ddof=1) for t in totals]
            low, high = zip(*((m - s, m + s) for m, s in zip(means, stds, strict=True)), strict=True)
            axes.fill_between(totals, low, high, color=color, alpha=0.2, linewidth=0)
    if "behavior" in found:
        last = found["behavior"][max(found["behavior"])]
        axes.axhline(last.mean(), color="0.3", linestyle="--", label="fitted behavior")
    for name in steps[:-1]:
        axes.axvline(max(found[name]), color="0.6", linestyle=":", label=f"end of {name}")
    axes.set_xlabel("updates")
    reference = manifest["reference"]
    axes.set_ylabel("normalised score" if reference else "undiscounted return")
    axes.set_title(f"{manifest['name']} on {manifest['dataset']}, {manifest['seeds']} seed(s)", fontsize=11)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    path = run.path / "learning_curve.png"
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
