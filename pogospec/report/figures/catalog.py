"""Which pictures there are, which of them apply to runs, and where each is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pogospec.errors import DataError, RunDirectoryError, SpecError, UsageError
from pogospec.registry import nearest
from pogospec.report.figures.canvas import FORMATS, PLAIN, Look, as_written, check_file, write
from pogospec.report.figures.curves import X, draw_curves, figure
from pogospec.report.reading.flow import is_target
from pogospec.report.reading.names import titles
from pogospec.report.reading.series import series
from pogospec.report.reading.sweeps import of_branches, of_sweeps
from pogospec.runs.directory import RunDirectory, run_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("curves", "sweep", "switching", "path", "energy", "proximal", "density")
EACH = ("proximal", "density")
"""Pictures of one run; of several, one is drawn for each."""
ALL = "all"


class Drawn(NamedTuple):
    """Pictures that were written, and why others were not."""

    paths: list[Path]
    reasons: list[str]


def draw_figure(
    runs: Sequence[RunDirectory],
    name: str,
    out: Path | None = None,
    state: int | None = None,
    look: Look = PLAIN,
) -> list[Path]:
    """Draw one of NAMES of runs into files; raises UsageError where it cannot be.

    The default is a file NAME.png in the run directory, of several runs beside the first. `state`: the row of the
    data in which `density` looks at the policies.
    """
    _check(name, state)
    if name == "curves":
        return [draw_curves(runs, out, look=look)]
    if out is not None:
        check_file(out)
    if name in EACH:
        if out is not None and len(runs) > 1:
            raise UsageError(f"--out: found {len(runs)} runs, allowed one: {name} draws a picture for each run")
        return [write(_picture(run, name, state), out or run.path / f"{name}.png", look) for run in runs]
    return [write(_joint(runs, name), out or _beside(runs) / f"{name}.png", look)]


def _check(name: str, state: int | None) -> None:
    if name == ALL:
        raise UsageError(f"figure: found '{ALL}', which is several pictures, allowed one of {', '.join(NAMES)}")
    if name not in NAMES:
        close = nearest(name, [*NAMES, ALL])
        suggestion = f"; did you mean {close}?" if close else ""
        raise UsageError(f"--figure: found '{name}', allowed {', '.join(NAMES)} or {ALL}{suggestion}")
    if state is not None and name != "density":
        raise UsageError(f"--state: found {state} with --figure {name}, allowed with density")


def picture_of(
    runs: Sequence[RunDirectory],
    name: str | None = None,
    y: str = "score",
    x: X = "updates",
    by: Literal["step", "run"] | None = None,
    state: int | None = None,
    look: Look = PLAIN,
) -> Figure:
    """One picture of runs, written nowhere: by default curves, of flows on known energies the energy.

    Raises UsageError where it cannot be drawn.
    """
    name = chosen(runs, name, (y, x, by) == PLAIN_CURVES, state)
    if name == "curves":
        return as_written(look.adorn(figure(runs, y, x, by)))
    _check(name, state)
    if name in EACH and len(runs) > 1:
        raise UsageError(f"found {len(runs)} runs, allowed one: {name} is a picture of one run")
    return as_written(look.adorn(_picture(runs[0], name, state) if name in EACH else _joint(runs, name)))


PLAIN_CURVES = ("score", "updates", None)
"""What curves show unless something else is asked for: y, x and by."""


def chosen(runs: Sequence[RunDirectory], name: str | None, plain: bool, state: int | None) -> str:
    """The picture that is asked for; `plain`: nothing is said of curves. Raises UsageError for what fits no other."""
    if name not in (None, "curves") and not plain:
        raise UsageError(f"--y, --x and --by: found with --figure {name}, allowed with curves")
    if name is not None:
        return name
    if state is not None:
        return "density" if plain else "curves"
    return "energy" if plain and all(map(is_target, runs)) else "curves"


def draw_all(
    runs: Sequence[RunDirectory], out: Path | None = None, state: int | None = None, look: Look = PLAIN
) -> Drawn:
    """Draw each picture that applies into a directory; raises UsageError where there is none."""
    if out is not None and out.suffix.lower() in FORMATS:
        raise UsageError(f"--out: found the file {out}, allowed a directory, as --figure {ALL} draws several pictures")
    drawn = Drawn([], [])
    apart = [name for name, some in (("sweep", of_sweeps(runs)), ("switching", of_branches(runs))) if not some]
    for name in (name for name in NAMES if name not in apart):
        wanted = [runs] if name not in EACH else [[run] for run in runs]
        for members, title in zip(wanted, titles(runs), strict=False):
            try:
                drawn.paths.extend(_place(members, name, out, title if len(wanted) > 1 else None, state, look))
            except (UsageError, DataError, SpecError, RunDirectoryError) as error:
                drawn.reasons.append(str(error))
    if not drawn.paths:
        raise UsageError("; ".join(dict.fromkeys(drawn.reasons)))
    return drawn


def _place(
    runs: Sequence[RunDirectory], name: str, out: Path | None, title: str | None, state: int | None, look: Look
) -> list[Path]:
    """Draw one of all pictures, of runs that are told apart by `title` where each has its own."""
    stem = name if title is None else f"{name}-{run_name(title)}"
    path = None if out is None else out / f"{stem}.png"
    if name == "curves":
        if not any(series(run) for run in runs):
            raise UsageError("curves: nothing was evaluated")
        return [draw_curves(runs, path, look=look)]
    return draw_figure(runs, name, path, state if name == "density" else None, look)


def _beside(runs: Sequence[RunDirectory]) -> Path:
    return runs[0].path if len(runs) == 1 else runs[0].path.parent


def _joint(runs: Sequence[RunDirectory], name: str) -> Figure:
    from pogospec.report.figures import energy, path, sweep, switching

    return {"path": path, "energy": energy, "sweep": sweep, "switching": switching}[name].figure(runs)


def _picture(run: RunDirectory, name: str, state: int | None) -> Figure:
    from pogospec.report.figures import density, proximal

    return density.figure(run, state) if name == "density" else proximal.figure(run)
