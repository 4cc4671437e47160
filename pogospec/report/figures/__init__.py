"""Pictures of runs, each in a file of its name: curves, sweep, switching, path, energy, proximal, density."""

from pogospec.report.figures.canvas import Look, look_of, write
from pogospec.report.figures.catalog import ALL, PLAIN_CURVES, chosen, draw_all, draw_figure, picture_of
from pogospec.report.figures.curves import draw_curves, learning_curve
from pogospec.report.figures.expected_best import expected_best_figure

__all__ = [
    "ALL", "PLAIN_CURVES", "Look", "chosen", "draw_all", "draw_curves", "draw_figure", "expected_best_figure",
    "learning_curve", "look_of", "picture_of", "write",
]  # fmt: skip
