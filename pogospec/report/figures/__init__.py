"""Pictures of runs, each in a file of its name: curves, sweep, path, energy, proximal, density."""

from pogospec.report.figures.catalog import ALL, draw_all, draw_figure
from pogospec.report.figures.curves import draw_curves, learning_curve

__all__ = ["ALL", "draw_all", "draw_curves", "draw_figure", "learning_curve"]
