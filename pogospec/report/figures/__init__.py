"""Pictures of runs, each in a file of its name: curves, sweep, switching, path, energy, proximal, density."""

from pogospec.report.figures.canvas import Look, look_of, write
from pogospec.report.figures.catalog import ALL, PLAIN_CURVES, chosen, draw_all, draw_figure, picture_of
from pogospec.report.figures.curves import draw_curves, learning_curve
from pogospec.report.figures.expected_best import expected_best_figure
from pogospec.report.figures.filming import animate, film
from pogospec.report.figures.motion import Motion, of_path, of_runs

__all__ = [
    "ALL", "PLAIN_CURVES", "Look", "Motion", "animate", "chosen", "draw_all", "draw_curves", "draw_figure",
    "expected_best_figure", "film", "learning_curve", "look_of", "of_path", "of_runs", "picture_of", "write",
]  # fmt: skip
