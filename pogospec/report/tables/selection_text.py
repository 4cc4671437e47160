"""Rankings of policies as text: what stands above, in and below their tables, and csv and json of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from pogospec.report.reading.estimates import decimals
from pogospec.report.tables.selection import Ranking
from pogospec.report.tables.sheets import Sheet
from pogospec.text import csv_text, json_text

STYLES = ("csv", "json")


def about(ranking: Ranking) -> str:
    """What is estimated, and what the ranking goes by."""
    how = f"the lower end of its interval of {100 * ranking.level:g}%" if ranking.by == "low" else "its estimate"
    return f"{ranking.what[0].upper()}{ranking.what[1:]}; ranked by {how}, {ranking.estimator}"


def sheet_of(ranking: Ranking) -> Sheet:
    """The choices with their estimates, and what rollouts say where there are some."""
    places = decimals(np.array([choice.error for choice in ranking.choices]))
    rolled = any(choice.truth is not None for choice in ranking.choices)
    rows = []
    for rank, choice in enumerate(ranking.choices, 1):
        bounds = f"[{choice.low:.{places}f}, {choice.high:.{places}f}]"
        truth = ["" if choice.truth is None else f"{choice.truth:.1f}"] if rolled else []
        rows.append([str(rank), choice.name, f"{choice.value:.{places}f}", bounds, *truth])
    head = ["rank", "policy", ranking.estimator, "interval", *([ranking.truth] if rolled else [])]
    return Sheet(ranking.dataset, head, rows)


def beside_rollouts(ranking: Ranking) -> list[str]:
    """What the choice costs, and how well estimates and rollouts agree; nothing without rollouts."""
    lines = []
    for k, regret in ranking.regrets.items():
        share = f", {100 * regret / ranking.spread:.0f}% of best less worst" if ranking.spread > 0 else ""
        lines.append(f"regret@{k}  {regret:.1f} of the {ranking.truth}{share}")
    if ranking.correlation is not None:
        lines.append(f"Spearman  {ranking.correlation:+.2f} with the {ranking.truth} by rollouts")
    return lines


def below(ranking: Ranking) -> list[str]:
    """All that stands below the table."""
    return [*beside_rollouts(ranking), *(f"warning: {note}" for note in ranking.notes), deployed(ranking)]


def deployed(ranking: Ranking) -> str:
    """How to load the first."""
    best = ranking.choices[0]
    seed = "" if best.seed is None else f", seed={best.seed}"
    return f"deploy    pogospec.load_policy({str(best.run.path)!r}, {best.policy!r}{seed})"


def entries(ranking: Ranking) -> list[dict[str, Any]]:
    """The choices as rows of plain values, for programs."""
    return [
        {
            "dataset": ranking.dataset,
            "rank": rank,
            "run": str(choice.run.path),
            "title": choice.title,
            "policy": choice.policy,
            "seed": choice.seed,
            **{name: getattr(choice, name) for name in ("value", "error", "low", "high")},
            ranking.truth: choice.truth,
        }
        for rank, choice in enumerate(ranking.choices, 1)
    ]


def to_text(rankings: Sequence[Ranking], style: Literal["csv", "json"]) -> str:
    """All rankings for programs: rows of choices as csv, what is told of each ranking too as json."""
    lines = [row for ranking in rankings for row in entries(ranking)]
    if style == "csv":
        head = list(dict.fromkeys(name for row in lines for name in row))
        return csv_text([head, *([row.get(name) for name in head] for row in lines)])
    told = [
        {
            "dataset": one.dataset,
            "what": one.what,
            "regret": {str(k): value for k, value in one.regrets.items()},
            "spearman": one.correlation,
            "notes": one.notes,
        }
        for one in rankings
    ]
    asked = {"by": rankings[0].by, "estimator": rankings[0].estimator, "per": rankings[0].unit}
    return json_text({**asked, "rankings": told, "choices": lines})
