"""What `inspection` found in a dataset, as lines and tables of text."""

from __future__ import annotations

from typing import Any

Facts = dict[str, Any]
ACTIONS = ("action", "low", "min", "mean", "max", "high", "at low", "at high")
OBSERVATIONS = ("observation", "min", "mean", "max", "std")


def lines(facts: Facts) -> list[tuple[str, str]]:
    """What the dataset is as a whole: names and texts."""
    episodes, returns, score = facts["episodes"], facts["returns"], facts["returns"]["score"]
    ends = f"{episodes['terminated']:,} terminated, {episodes['truncated']:,} at time limits or cut"
    found = [
        ("dataset", facts["dataset"]),
        ("file", facts["file"]),
        ("sha256", facts["sha256"]),
        ("environment", facts["environment"] or "none; set data.environment to evaluate"),
        ("sizes", f"{facts['obs_dim']} observations, {facts['act_dim']} actions"),
        ("rows", f"{facts['rows']:,}, of which {facts['transitions']:,} are transitions to train on"),
        ("next observations", facts["next_observations"]),
        ("episodes", f"{episodes['count']:,}: {ends}" + (f", {episodes['cut']} unfinished" * (episodes["cut"] > 0))),
        ("length", _spread(episodes["length"])),
        ("return", _spread(returns)),
    ]
    found += [] if score is None else [("score", f"{_spread(score)}, {score['label']}")]
    if facts["reference"] is not None:
        reference = facts["reference"]
        found.append(
            ("reference", f"{reference['low']:g} is 0, {reference['high']:g} is 100, by {reference['source']}")
        )
    return [*found, ("reward", _spread(facts["rewards"])), ("action bounds", facts["bounds"]["from"])]


def actions(facts: Facts) -> list[tuple[str, ...]]:
    """A row a dimension of the actions, under ACTIONS."""
    rows = []
    for index, entry in enumerate(facts["actions"]):
        low, high = (bound[index] if index < len(bound) else None for bound in _bounds(facts))
        shares = ["" if entry[key] is None else f"{100 * entry[key]:.1f}%" for key in ("at_low", "at_high")]
        numbers = (low, entry["min"], entry["mean"], entry["max"], high)
        rows.append((str(index), *map(_number, numbers), *shares))
    return rows


def observations(facts: Facts) -> list[tuple[str, ...]]:
    """A row a dimension of the observations, under OBSERVATIONS."""
    keys = ("min", "mean", "max", "std")
    return [(str(i), *(_number(entry[key]) for key in keys)) for i, entry in enumerate(facts["observations"])]


def _bounds(facts: Facts) -> tuple[list[float], list[float]]:
    return facts["bounds"]["low"], facts["bounds"]["high"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"


def _spread(facts: Facts) -> str:
    low, mean, high = (_long(facts[name]) for name in ("min", "mean", "max"))
    return f"{low} to {high}, mean {mean}"


def _long(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
