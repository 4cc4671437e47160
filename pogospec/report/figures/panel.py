"""One panel of a picture: the runs on one dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pogospec.report.figures.canvas import draw_mean, fold
from pogospec.report.figures.styles import GREY, RING, Key, Styles
from pogospec.report.reading.series import Series, behavior, goes_on, meaning, series
from pogospec.report.reading.series import before as before_of
from pogospec.runs.columns import LAST
from pogospec.runs.directory import RunDirectory

MARKED = 16
"""Points of a curve up to which each has a mark."""


class Panel:
    """Draws runs into axes; `keys` holds what the legend must explain."""

    def __init__(self, axes: Any, styles: Styles, y: str, x: str):
        self.axes, self.styles, self.y, self.x = axes, styles, y, x
        self.goes_on = goes_on(y)
        self.keys: list[Key] = []
        self.scale = 1.0

    def draw(self, members: Sequence[tuple[str, RunDirectory]], title: str, width: int) -> None:
        """Draw the runs (title, run); `width` is that of the label of y, in characters."""
        found = [(name, run, series(run, self.y, self.x)) for name, run in members]
        unit = self._unit(max(one.x[-1] for _, _, steps in found for one in steps))
        seams = [self._seams(steps) for _, _, steps in found]
        ends = [max(float(one.x[-1]) for one in steps) for _, _, steps in found]
        some = next((seam for seam in seams if seam), {})
        pairs = zip(seams, ends, strict=True)
        shared = all(seam == some or (not seam and end <= min(some.values())) for seam, end in pairs)
        for place, (name, run, steps) in enumerate(found):
            above = 3 - ends[place] / max(ends) / 2  # where curves agree, the shorter run is seen
            for one in steps:
                before = before_of(steps, one) if one.label in seams[place] else None
                self._curve(name, one, before, above, ring=not shared)
            self._behavior(name, run)
        if some and shared:
            self._switches(some)
        self._axes([run for _, run in members], title, unit, width)

    def _unit(self, end: float) -> str:
        if self.x != "seconds":
            return self.x.replace("_", " ")
        unit, self.scale = ("s", 1.0) if end < 300 else ("min", 60.0) if end < 3 * 3600 else ("h", 3600.0)
        return f"training time [{unit}], without compilation and evaluation"

    def _seams(self, steps: list[Series]) -> dict[str, float]:
        """Label of each step that follows another one -> where it begins; steps side by side have none."""
        pairs = [(before_of(steps, one), one) for one in steps]
        return {late.label: float(early.x[-1]) for early, late in pairs if early and early.x[-1] < late.x[0]}

    def _curve(self, run: str, one: Series, before: Series | None, above: float, ring: bool) -> None:
        """Mean and band; a step starts from the last score of the one before it, whose weights it starts from."""
        key = self.styles.key(run, one.label)
        x, values = one.x / self.scale, one.values
        seam = before is not None and self.goes_on
        if before is not None and seam:
            x = np.append(before.x[-1] / self.scale, x)
            values = np.concatenate([before.values[-1:], values])
        marks = list(range(int(seam), len(x))) if len(x) <= MARKED else []
        draw_mean(self.axes, x, values, **key.style(), markevery=marks, zorder=above, label=f"{run}: {one.label}")
        if values.shape[1] > 1 and len(x) == 1:
            self.axes.errorbar(x, values.mean(1), values.std(1, ddof=1), color=key.color, capsize=4)
        self.keys += self.styles.legend(run, one.label)
        if before is not None and ring:
            self.axes.plot(x[:1], values[:1].mean(1), color=key.color, linestyle="", **RING)
            self.keys.append(Key("next step begins", GREY, ring=True))

    def _behavior(self, run: str, directory: RunDirectory) -> None:
        returns = behavior(directory, self.y)
        if returns is None:
            return
        own = self.styles.by == "run" and len(self.styles.runs) > 1
        color = self.styles.key(run, self.styles.steps[0]).color if own else GREY
        self.axes.axhline(returns.mean(), **Key("", color, "--").style(), label=f"{run}: behavior")
        self.keys.append(Key("fitted behavior", GREY, "--"))

    def _switches(self, seams: dict[str, float]) -> None:
        """Lines where the steps change, named where there is room."""
        seams = {label: at for label, at in seams.items() if not label.endswith(LAST)}
        ends = [0.0, *(at / self.scale for at in seams.values()), self.axes.dataLim.x1]
        room = min(np.diff(ends)) / ends[-1]
        for label, at in zip(seams, ends[1:], strict=False):
            self.axes.axvline(at, color="0.5", linestyle=":", linewidth=1.4 if room > 0.03 else 0.5)
            text = f"{label} →" if room > 0.12 else label.removeprefix("step ") if room > 0.03 else ""
            places = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 8}
            self.axes.annotate(text, (at, 1), (0, 3), ha="left" if room > 0.12 else "center", color="0.3", **places)

    def _axes(self, runs: Sequence[RunDirectory], title: str, unit: str, width: int) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes = self.axes
        axes.set_title(title, fontsize=10, pad=15)
        axes.set_ylabel(fold(self._quantity(runs), width), fontsize=9)
        axes.set_xlabel(fold(unit, width + 12), fontsize=9)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)

    def _quantity(self, runs: Sequence[RunDirectory]) -> str:
        if self.y == "score":
            labels = sorted({run.manifest["reference"]["label"] for run in runs})
            return f"score, {'; '.join(labels)}"
        return "undiscounted return" if self.y == "return" else meaning(self.y, self.x)


def _number(value: float, _place: int) -> str:
    if value >= 1e5:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"
