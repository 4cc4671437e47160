"""Films of paths as they are asked for: by flows from Python and runs, or by motions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from pogospec import frames
from pogospec.errors import UsageError
from pogospec.report.figures.animation import Film
from pogospec.report.figures.canvas import PLAIN, Look, look_of
from pogospec.report.figures.motion import Motion, of_runs, told_apart
from pogospec.runs.directory import RunDirectory

if TYPE_CHECKING:
    from PIL import Image

MOST_FLOWS, MOST_PARTICLES = 6, 5_000
SECONDS, SLOWEST, FASTEST, PAUSE = 6.0, 4.0, 25.0, 1.0
"""How long a film lasts where its pictures allow it, pictures a second, and how long the end stands."""


@runtime_checkable
class Walk(Protocol):
    """A flow from Python."""

    def motion(self) -> Motion:
        """Its path under a name."""
        ...


def animate(
    flows: Walk | RunDirectory | str | Path | Sequence[Walk | RunDirectory | str | Path],
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    axes: Sequence[int] | None = None,
    particles: int = 100,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    dpi: int | None = None,
) -> Path:
    """Film the paths of flows on densities side by side, all at the same flow time, beside their energies.

    One dimension: densities as curves; two: particles, which keep their noise, and ellipses of Gaussians over the
    density of the optimum; more: two of them. Where the flow of small steps is known, its energy and rate are shown.

    Args:
        flows: one or several, up to six: flows, or run directories of specs with a target (of their first seed).
        out: a file .gif, or .mp4 (extra film).
        labels: names of the flows; default: what tells them apart, of flows geometry, scheme and family.
        axes: two dimensions, counted from 1 as they are written at the axes; default: the first two.
        particles: how many are drawn; 0 for none.
        title: in the place of the picture's own; "" for none.
        size: width and height in inches.
        dpi: dots an inch.

    Returns the file.

    Raises UsageError for what cannot be filmed, RunDirectoryError for broken runs.

    """
    one = isinstance(flows, Walk | RunDirectory | str | Path)
    given: list[Any] = [flows] if one else list(flows)  # type: ignore[arg-type]
    wrong = [found for found in given if not isinstance(found, Walk | RunDirectory | str | Path)]
    if wrong or not given:
        found = f"a {type(wrong[0]).__name__}" if wrong else "no flow"
        raise UsageError(f"animate: found {found}, allowed flows and run directories")
    if labels is not None and (isinstance(labels, str) or len(labels) != len(given)):
        raise UsageError(f"animate: labels: found {labels!r}, allowed a name for each of {len(given)} flows")
    paths = [path for path in given if not isinstance(path, Walk)]
    runs = [path if isinstance(path, RunDirectory) else RunDirectory.open(Path(path)) for path in paths]
    look = look_of(title, size, dpi)
    opened = iter(of_runs(runs) if runs else [])
    motions = [found.motion() if isinstance(found, Walk) else next(opened) for found in given]
    motions = told_apart(motions, labels)
    return film(motions, Path(out), axes, particles, look).path


class Filmed(NamedTuple):
    """What was written."""

    path: Path
    pictures: int
    seconds: float


def film(
    motions: Sequence[Motion],
    out: Path,
    axes: Sequence[int] | None = None,
    count: int = 100,
    look: Look = PLAIN,
) -> Filmed:
    """Film motions side by side into a file .gif or .mp4.

    `axes`: two dimensions, counted from 1, of more; default: the first two. `count`: particles. Raises UsageError.
    """
    frames.require(out, "--out")
    pair = _pair(motions, axes)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_PARTICLES:
        raise UsageError(f"particles: found {count!r}, allowed a whole number from 0 to {MOST_PARTICLES:,}")
    made = Film(motions, pair, count, look)
    moments = made.moments()
    rate = min(max(len(moments) / SECONDS, SLOWEST), FASTEST)
    ends = [made.at(moments[place]) for place in (len(moments) // 2, -1)]

    def shown() -> Iterator[Image.Image]:
        for time in moments:
            yield made.at(time)
        for _ in range(round(PAUSE * rate)):
            yield ends[-1]

    try:
        number = frames.write(out, shown(), rate, lambda first: [first, *ends])
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}; choose another file") from None
    return Filmed(out, number, number / rate)


def _pair(motions: Sequence[Motion], axes: Sequence[int] | None) -> tuple[int, int]:
    """The two dimensions that are shown, counted from 0."""
    if not 1 <= len(motions) <= MOST_FLOWS:
        raise UsageError(f"found {len(motions)} flows, allowed 1 to {MOST_FLOWS} in a film")
    sizes = sorted({motion.dimensions for motion in motions})
    if axes is None:
        return 0, 1
    one, *other = axes
    found = ", ".join(map(str, axes))
    whole = all(isinstance(axis, int) and not isinstance(axis, bool) for axis in axes)
    if sizes[0] < 2:
        raise UsageError(
            f"axes: found {', '.join(map(str, axes))} for a flow in one dimension, allowed for several; leave it out"
        )
    if len(other) != 1 or not whole or one == other[0] or not all(1 <= axis <= sizes[0] for axis in axes):
        raise UsageError(f"axes: found {found}, allowed two different numbers from 1 to {sizes[0]}, such as 1,2")
    return one - 1, other[0] - 1
