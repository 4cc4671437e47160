"""What is in a dataset: sizes, episodes, returns, coverage of the actions, ranges, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pogospec.data.columns import TOLERANCE, Columns, Edges, continues, edges, leaks, oversized, usable
from pogospec.data.logged import Logged
from pogospec.data.tasks import is_success, task_of, time_limit
from pogospec.errors import NotInstalled

Facts = dict[str, Any]


def examine(logged: Logged) -> Facts:
    """Everything that `pogospec data inspect` shows, as plain data; numbers that do not exist are None."""
    columns, found = logged.columns, edges(logged.columns)
    task, missing = logged.task_fault(), []
    if isinstance(task, NotInstalled):  # another machine may have it
        task, missing = None, [str(task)]
    wrong = [*logged.faults(), *(str(told) for told in (oversized(columns.rewards), task) if told)]
    return {
        "ok": not wrong,
        "dataset": logged.id,
        "file": str(logged.file),
        "sha256": logged.sha256,
        "environment": logged.environment,
        "reference": None if logged.reference is None else logged.reference._asdict(),
        "rows": len(columns.rewards),
        "transitions": int(usable(columns, found.ends, logged.dropped).sum()),
        "obs_dim": columns.observations.shape[1],
        "act_dim": columns.actions.shape[1],
        "next_observations": "in the file" if columns.next_observations is not None else "those of the next row",
        "episodes": _episodes(columns, found),
        "returns": _returns(logged, found),
        "bounds": {"low": list(logged.low), "high": list(logged.high), "from": logged.bounds},
        "actions": _actions(logged),
        "observations": _ranges(columns.observations),
        "rewards": _ranges(columns.rewards[:, None])[0],
        "faults": wrong,
        "notes": [*missing, *logged.changes, *logged.notes, *_notes(logged, found)],
    }


def _spread(values: np.ndarray) -> Facts:
    """Smallest, mean and largest of the finite values."""
    values = values[np.isfinite(values)]
    if not len(values):
        return dict.fromkeys(("min", "mean", "max"))
    return {"min": float(values.min()), "mean": float(values.mean(dtype=np.float64)), "max": float(values.max())}


def _episodes(columns: Columns, found: Edges) -> Facts:
    """How many, how long and how they end; `cut`: by the end of the data."""
    terminated, truncated = columns.terminated[found.ends], columns.truncated[found.ends]
    lengths = np.bincount(found.episodes)
    return {
        "count": len(lengths),
        "length": _spread(lengths),
        "terminated": int(terminated.sum()),
        "truncated": int((truncated & ~terminated).sum()),
        "cut": int((~terminated & ~truncated).sum()),
    }


def _returns(logged: Logged, found: Edges) -> Facts:
    """Undiscounted raw returns of the episodes, and their scores where the environment has reference returns.

    None for a task that is scored by success, whose returns are not whether the goal was reached.
    """
    returns = np.bincount(found.episodes, logged.columns.rewards)
    reference, facts = logged.reference, _spread(returns)
    if reference is None or is_success(logged.environment) and not np.isin(returns, (0, 1)).all():
        return facts | {"score": None}
    scores = {name: None if value is None else float(reference.score(value)) for name, value in facts.items()}
    return facts | {"score": scores | {"label": reference.label, "source": reference.source}}


def _ranges(column: np.ndarray) -> list[Facts]:
    """Range, mean and standard deviation (ddof 0) of each entry of a column [N, d], over finite values."""
    facts = []
    for values in column.T:
        values = values[np.isfinite(values)]
        std = float(values.std(dtype=np.float64)) if len(values) else None
        facts.append(_spread(values) | {"std": std})
    return facts


def _actions(logged: Logged) -> list[Facts]:
    """Ranges of the actions, and the shares of rows at each bound; shares are None without bounds."""
    actions, facts = logged.columns.actions, _ranges(logged.columns.actions)
    low, high = np.asarray(logged.low), np.asarray(logged.high)
    known = low.shape == high.shape == actions.shape[1:] and bool(np.isfinite([low, high]).all())
    slack = TOLERANCE * (high - low) / 2 if known else None
    for index, entry in enumerate(facts):
        entry["at_low"] = entry["at_high"] = None
        if slack is not None:
            entry["at_low"] = float((actions[:, index] <= low[index] + slack[index]).mean())
            entry["at_high"] = float((actions[:, index] >= high[index] - slack[index]).mean())
    return facts


def _notes(logged: Logged, found: Edges) -> list[str]:
    """What is worth knowing and keeps no one from training."""
    columns, notes = logged.columns, []
    left = ~usable(columns, found.ends, logged.dropped)
    if left.any():
        cuts = int((left & columns.truncated).sum())
        last = ", and the last row of the file" if int(left.sum()) > cuts else ""
        notes.append(
            f"{left.sum():,} rows are not trained on: {cuts:,} at time limits without a next observation{last}"
        )
    apart = int((~found.ends & ~continues(columns, found.ends)).sum())
    if apart:
        notes.append(
            f"in {apart:,} rows the next observation is not that of the next row of the episode: an episode edge that "
            "timeouts do not mark, or rows out of order; lengths and returns above are then wrong, and such rows have "
            "no next action"
        )
    leaking = leaks(columns, found.ends)
    if leaking is not None and columns.unknown is None:
        notes.append(
            f"{leaking.sum():,} rows that terminate have the first observation of the next episode as their next one, "
            "as in an array that was rolled by a row; nothing is learned of it there, but it would be at time limits"
        )
    cut = _cut_early(logged, found)
    if cut is not None:
        notes.append(cut)
    both = int((columns.terminated & columns.truncated).sum())
    if both:
        notes.append(f"{both:,} rows are both terminations and time limits; they count as terminations")
    fixed = [str(index) for index, column in enumerate(columns.observations.T) if (column == column[0]).all()]
    if fixed:
        notes.append(f"observations that never change: {', '.join(fixed)}")
    return notes


def _cut_early(logged: Logged, found: Edges) -> str | None:
    """That the environment lets an episode last longer than the data do, so that its returns are of more steps."""
    environment, columns = logged.environment, logged.columns
    if environment is None or is_success(environment):
        return None
    limit = time_limit(environment)
    at_limits = (columns.truncated & ~columns.terminated)[found.ends]
    longest = int(np.bincount(found.episodes).max())
    if limit is None or not at_limits.any() or longest >= limit:
        return None
    return (
        f"no episode has more than {longest:,} steps, where {task_of(environment).id} cuts them after {limit:,}: "
        "rollouts may last longer than what was logged, and their returns add up more rewards; "
        f"data.max_episode_steps: {longest} ends them there too"
    )
