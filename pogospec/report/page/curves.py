"""Curves of a page as numbers, a value a seed at each point, so that a browser picks runs and seeds and draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pogospec.report.page.members import Member
from pogospec.report.reading.flow import is_target, picked
from pogospec.report.reading.series import EVALUATED, before, behavior, clock, columns, goes_on, meaning, series
from pogospec.runs.columns import LAST
from pogospec.text import line

MOST_POINTS = 200
"""Of a curve; of more, evenly spaced ones are kept, the first and the last among them."""
MOST_NUMBERS = 300_000
"""In all curves, about two megabytes; metrics beyond are left out, scores never."""
MAIN = (*EVALUATED, "energy", "kl_optimum", "w2_optimum")
"""Quantities that come first."""
FIRST, RAW = "score", "undiscounted return"

Content = dict[str, Any]


def curves_of(members: Sequence[Member]) -> Content:
    """What a browser draws: runs, quantities with their names, and curves; and quantities that are left out."""
    known = is_target(members[0].run)
    over = "flow_time" if known else "updates"
    draw = _along_time if known else _along_updates
    drawn: dict[str, list[Content]] = {}
    for number, member in enumerate(members):
        for name in columns(member.run, over):
            curves = ({"run": number, "y": name} | curve for curve in draw(member, name, members))
            drawn.setdefault(name, []).extend(curves)
    found: list[Content] = []
    quantities: list[Content] = []
    left: list[str] = []
    size = 0
    for name in sorted(drawn, key=lambda name: name not in MAIN):
        count = sum(len(curve["x"]) * (1 + len(members[curve["run"]].seeds)) for curve in drawn[name])
        if size + count > MOST_NUMBERS and name not in EVALUATED:
            left.append(name)
        elif count:
            size += count
            found += drawn[name]
            quantities.append({"key": name, "text": line(meaning(name, over))})
    axes = [{"key": "x", "text": over.replace("_", " ")}]
    if any("s" in curve for curve in found):
        axes.append({"key": "s", "text": "training time [s], without compilation and evaluation"})
    return {
        "runs": [_run(member) for member in members],
        "quantities": quantities,
        "axes": axes,
        "units": {member.dataset: _unit(member, members) for member in members},
        "curves": found,
        "left": left,
    }


def _run(member: Member) -> Content:
    return {"spec": member.spec, "dataset": member.dataset, "seeds": member.seeds}


def _unit(member: Member, members: Sequence[Member]) -> str:
    """What scores on a dataset are."""
    references = [one.manifest["reference"] for one in members if one.dataset == member.dataset]
    if any(reference is None for reference in references):
        return RAW
    return line("score, " + "; ".join(sorted({reference["label"] for reference in references})))


def _along_time(member: Member, name: str, _: Sequence[Member]) -> Iterator[Content]:
    """A column of flow.csv at the ends of the Euler steps."""
    for one in series(member.run, name, "flow_time"):
        yield _curve(one.label, one.x, one.values, None)


def _along_updates(member: Member, name: str, members: Sequence[Member]) -> Iterator[Content]:
    """A quantity of a run, a curve a step, and the level of the fitted behaviour."""
    run = member.run
    asked = "return" if name == FIRST and _unit(member, members) == RAW else name
    steps = series(run, asked)
    times = clock(run) if steps else None
    for one in steps:
        early = before(steps, one) if goes_on(asked) else None
        seam = early is not None and bool(early.x[-1] < one.x[0])
        x, values = one.x, one.values
        if early is not None and seam:  # it goes on from the last weights of the step before
            x, values = np.append(early.x[-1], x), np.concatenate([early.values[-1:], values])
        beside = any(other is not one and other.x[0] < one.x[-1] and one.x[0] < other.x[-1] for other in steps)
        look = {"seam": seam, "dash": one.label.endswith(LAST) or beside}
        yield _curve(one.label, x, values, times) | {key: 1 for key, holds in look.items() if holds}
    level = behavior(run, asked)
    if level is not None:
        yield {"step": "behavior", "level": 1, "x": [0], "v": [_rounded(level)]}


def _curve(label: str, x: np.ndarray, values: np.ndarray, times: tuple[np.ndarray, np.ndarray] | None) -> Content:
    kept = picked(len(x), MOST_POINTS)
    found = {"step": line(label), "x": _rounded(x[kept]), "v": [_rounded(row) for row in values[kept]]}
    return found if times is None else found | {"s": _rounded(np.interp(x[kept], *times))}


def _rounded(values: np.ndarray) -> list[float | None]:
    """Six digits; JSON knows no numbers that are not finite."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
