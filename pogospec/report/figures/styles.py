"""How curves look: colours, lines and marks, what they mean in all panels, and their entries in the legend."""

from __future__ import annotations

from typing import Any, NamedTuple

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito, colour-blind safe."""
LINES: tuple[Any, ...] = ("-", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKS = "osD^vPX*"
GREY = "0.35"
RING = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.3}


class Key(NamedTuple):
    """An entry of the legend."""

    text: str
    color: str
    line: Any = "-"
    mark: str = ""
    ring: bool = False

    @property
    def rank(self) -> int:
        """Place in the legend: colours, then runs in grey, then what all curves share."""
        return 3 if self.ring else 2 if self.line == "--" else int(self.color == GREY)

    def style(self) -> dict[str, Any]:
        """Arguments of a matplotlib line."""
        if self.ring:
            return {"color": self.color, "linestyle": "", **RING}
        width = 1.3 if self.line == "--" else 1.8
        return {"color": self.color, "linestyle": self.line, "marker": self.mark, "markersize": 4.5, "linewidth": width}


class Styles(NamedTuple):
    """What colours, lines and marks mean in all panels: `by` step or run has the colour."""

    by: str
    runs: list[str]
    steps: list[str]

    def key(self, run: str, step: str) -> Key:
        """The look of one curve; its text is what the colour stands for."""
        place, number = self.runs.index(run), self.steps.index(step)
        mark = MARKS[place % len(MARKS)]
        if self.by == "run":
            return Key(run, COLORS[place % len(COLORS)], LINES[place // len(COLORS) % len(LINES)], mark)
        return Key(step, step_color(number, len(self.steps)), LINES[place % len(LINES)], mark)

    def legend(self, run: str, step: str) -> list[Key]:
        """Entries that explain one curve."""
        key = self.key(run, step)
        if self.by == "run" or len(self.runs) == 1:
            return [key]
        return [Key(step, key.color), Key(run, GREY, key.line, key.mark)]


def step_color(number: int, count: int) -> str:
    """A colour a step; many steps run through a scale that the colour-blind can order."""
    if count <= len(COLORS):
        return COLORS[number]
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["viridis"](0.9 * number / (count - 1)))
