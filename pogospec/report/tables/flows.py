"""Flows on known energies as tables: the course of one run, and the ends of several beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pogospec.errors import PogospecError, UsageError
from pogospec.report.reading.flow import START, Flow, is_target, picked, read_flow
from pogospec.report.reading.names import titles
from pogospec.runs.directory import RunDirectory
from pogospec.terminal import command

MOST = 8
"""Steps that the course of a run shows."""
COURSE = {
    "flow_time": "flow time",
    "tau": "tau",
    "energy": "energy",
    "entropy": "entropy [nats]",
    "kl_optimum": "KL to optimum [nats]",
    "w2_optimum": "W2 to optimum",
}
"""Columns of flow.csv that a course shows, and what they are called."""
CLOCKS = ("flow_time", "tau")
END = {name: COURSE[name] for name in ("flow_time", "energy", "entropy", "kl_optimum", "w2_optimum")}


class Table(NamedTuple):
    """Texts: the first column is the left one."""

    head: list[str]
    rows: list[list[str]]


class End(NamedTuple):
    """Where a run ends: the last Euler step, and a value a seed of each column that is known."""

    title: str
    run: RunDirectory
    step: str
    steps: int
    columns: dict[str, np.ndarray]


def course(flow: Flow, most: int = MOST) -> Table:
    """The start, some Euler steps and the last, with the columns that are known; mean ± std over seeds."""
    shown = [name for name in COURSE if flow.known(name)]
    begin = int(flow.labels[:1] == [START])
    places = [*range(begin), *(begin + place for place in picked(len(flow.labels) - begin, most - begin))]
    rows = [[flow.labels[place], *(rounded(name, flow.columns[name][place]) for name in shown)] for place in places]
    return Table(["policy", *(COURSE[name] for name in shown)], rows)


def targets_of(runs: Sequence[RunDirectory]) -> bool:
    """Whether runs are flows on known energies; raises UsageError where some are and some are not."""
    known = [run for run in runs if is_target(run)]
    if 0 < len(known) < len(runs):
        data = next(run for run in runs if run not in known)
        raise UsageError(
            f"found runs on known energies ({known[0].path}) and runs on data ({data.path}), "
            "which have no number in common; compare them apart"
        )
    return bool(known)


def refuse_rule(score: str) -> None:
    """The rules that choose among evaluations have no meaning for flows on known energies."""
    if score != "last":
        raise UsageError(
            f"--score: found '{score}', allowed last for flows on known energies, which have no evaluations"
        )


def refuse_table(stat: str | None, published: str | None) -> None:
    """Flows on known energies have no datasets, and the literature no numbers of them."""
    for option, found in (("--stat", stat), ("--published", published)):
        if found is not None:
            raise UsageError(f"{option}: found '{found}' with flows on known energies, allowed with runs on data")


def ends(runs: Sequence[RunDirectory]) -> list[tuple[str, list[End]]]:
    """Runs in groups of one target each: its name, and where each run ends."""
    names = dict(zip([run.path for run in runs], titles(runs), strict=True))
    groups: dict[str, list[End]] = {}
    for run in runs:
        flow = read_flow(run)
        if not flow.labels:
            raise UsageError(f"{run.path} has not finished an Euler step; go on with: {command('resume', run.path)}")
        known = {name: flow.columns[name][-1] for name in END if np.isfinite(flow.columns[name][-1]).all()}
        end = End(names[run.path], run, flow.labels[-1], len(flow.labels) - (flow.labels[0] == START), known)
        groups.setdefault(run.manifest["data_sha256"], []).append(end)
    return [(group[0].run.manifest["dataset"] + _numbers(group[0].run), group) for group in groups.values()]


def _spec(run: RunDirectory) -> dict[str, Any]:
    """The resolved spec as plain data, of which no code is run; empty where it cannot be read."""
    from pogospec.spec.yaml import plain_of, read_tree

    try:
        return plain_of(read_tree(run.path / "spec.yaml"))
    except PogospecError:
        return {}


def _numbers(run: RunDirectory) -> str:
    """What a target is, beside its kind, as its spec says it."""
    target = _spec(run).get("target") or {}
    parts = [f"{key} {value}" for key, value in target.items() if key != "kind" and value is not None]
    return f" ({', '.join(parts)})" if parts else ""


def header(runs: Sequence[RunDirectory]) -> str:
    """What the numbers are."""
    counts = sorted({run.manifest["seeds"] for run in runs})
    over = "one seed" if counts == [1] else f"mean ± std over {' or '.join(map(str, counts))} seeds (ddof 1)"
    return f"Last Euler step of each run; {over}; the optimum is where the energy is least"


def warnings(runs: Sequence[RunDirectory]) -> list[str]:
    """What makes flows hard to compare."""
    found = []
    for run in runs:
        state = run.status()["state"]
        if state != "done":
            found.append(f"{run.path} is {state}, not done: its numbers are not final")
    for name, group in ends(runs):
        counts = {end.run.manifest["seeds"] for end in group}
        reached = [end.columns["flow_time"].mean() for end in group if "flow_time" in end.columns]
        energies = [
            [step.get("energy") for step in _spec(end.run).get("schedule", {}).get("steps", [{}])] for end in group
        ]
        if any(each != energies[0][0] for own in energies for each in own):
            found.append(f"{name}: the runs, or their steps, minimise different energies; so do their optima differ")
        if len(counts) > 1:
            found.append(f"{name}: the runs differ in their number of seeds")
        if reached and max(reached) - min(reached) > 1e-6 * max(reached):
            found.append(f"{name}: the runs end at different flow times, {min(reached):.4g} to {max(reached):.4g}")
    return found


def compared(group: Sequence[End]) -> Table:
    """A row a run: its steps and the numbers of the last one."""
    shown = [name for name in END if any(name in end.columns for end in group)]
    rows = []
    for end in group:
        texts = (rounded(name, end.columns[name]) if name in end.columns else "" for name in shown)
        rows.append([end.title, str(end.steps), *texts])
    return Table(["run", "steps", *(END[name] for name in shown)], rows)


def rounded(name: str, values: np.ndarray) -> str:
    """A column as mean ± std over seeds (ddof 1) to four digits; nothing where it is not known.

    The mean stands alone for one seed, and where times and step sizes are the same for all.
    """
    if not np.isfinite(values).all():
        return ""
    mean = f"{values.mean():.4g}"
    same = len(values) == 1 or (name in CLOCKS and np.ptp(values) == 0)
    return mean if same else f"{mean} ± {values.std(ddof=1):.2g}"
