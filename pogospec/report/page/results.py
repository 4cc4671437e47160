"""Tables of a page: numbers with their intervals, and a value a seed behind each, so that a browser can pick seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from pogospec.report.page.members import Member
from pogospec.report.reading.find import Plan
from pogospec.report.reading.flow import is_target, read_flow
from pogospec.report.reading.keys import ABSENT, MOST, differing
from pogospec.report.reading.scores import Cell, final
from pogospec.report.reading.sweeps import grids, of_sweeps
from pogospec.report.statistics import LEVEL, mean_interval
from pogospec.report.tables import flows, sweep
from pogospec.report.tables.comparison import between, paired
from pogospec.report.tables.matrix import Matrix, matrix_of
from pogospec.report.tables.protocol import header, warnings
from pogospec.runs.directory import order
from pogospec.spec.sweep import short_names, value_text
from pogospec.text import line

BETTER = "Probability that a run of one method scores above one of another"
WITHIN = "Paired differences between the policies of a run, mean ± standard error over seeds"
ACROSS = "Paired differences between runs on the same seeds, mean ± standard error"
BRACKETS = f"in brackets Student's interval of {100 * LEVEL:.0f}% of the mean"


class Field(NamedTuple):
    """A cell: text, an interval below it, and values by seed with how they are written; `spec`: whose it is."""

    text: str
    below: str = ""
    values: dict[int, float | None] | None = None
    form: str = ""  # score: one decimal; number: four digits; clock: likewise, without a std where all are one
    spec: str = ""
    best: bool = False


class Row(NamedTuple):
    """A row, its first cell the head of it; `spec`, `dataset`: what all of it is about."""

    fields: list[Field]
    spec: str = ""
    dataset: str = ""


class Table(NamedTuple):
    """A table of a dataset, or of several.

    `protocol`: how to read it; `below`: what is to be said after it; `more`: rows that few look for.
    """

    title: str
    dataset: str
    protocol: str
    head: list[Field]
    rows: list[Row]
    below: list[str] = []
    more: list[Row] = []


class Results(NamedTuple):
    """Tables; sentences under a heading each; warnings."""

    tables: list[Table]
    lists: list[tuple[str, list[str]]]
    warnings: list[str]


def results_of(members: Sequence[Member], plan: Plan | None, score: str) -> Results:
    """What runs came to, by the rule `score`; raises UsageError for unknown rules."""
    runs = [member.run for member in members]
    if is_target(runs[0]):
        flows.refuse_rule(score)
        begun = [member for member in members if read_flow(member.run).labels]
        late = [f"{member.run.path} has not finished an Euler step yet" for member in members if member not in begun]
        if not begun:
            return Results([], [], late)
        return Results(_flows(begun), [], [*late, *flows.warnings([member.run for member in begun])])
    if of_sweeps(runs):
        return Results(_grids(members, score), [], warnings(runs, score))
    found = [_policies(dataset, own, score) for dataset, own in grouped(members).items()]
    lists: list[tuple[str, list[str]]] = []
    if plan is not None or len(found) > 1:
        whole = matrix_of(runs, score, "mean-std", None, plan)
        middle = matrix_of(runs, score, "iqm-ci", None, plan)
        found = [_matrix("Last step of every method", whole), _matrix("Interquartile means", middle), *found]
        lists.append((BETTER, [str(one) for one in middle.better]))
        told = list(dict.fromkeys([*whole.warnings, *warnings(runs, score)]))
    else:
        told = warnings(runs, score)
    within = [f"{title} on {dataset}: {gap}" for dataset, title, gap in paired(runs, score)]
    across = [f"{gap} on {dataset}" for dataset, gap in between(runs, score)]
    lists += [(WITHIN, within), (ACROSS, across)]
    return Results(found, [(title, texts) for title, texts in lists if texts], told)


def grouped(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Dataset -> its runs."""
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(member.dataset, []).append(member)
    return found


def quantiles(members: Sequence[Member]) -> list[float]:
    """How many standard errors an interval reaches, for 2, 3, … seeds: Student's quantiles."""
    most = max(len(member.seeds) for member in members)
    return [round(float(stdtrit(free, (1 + LEVEL) / 2)), 4) for free in range(1, most)]


def _policies(dataset: str, members: Sequence[Member], score: str) -> Table:
    """The behaviour and each Euler step of the runs on one dataset."""
    columns = [final(member.run, score) for member in members]
    policies = sorted({policy for cells in columns for policy in cells}, key=order)
    head = [Field("policy"), *(Field(member.spec, spec=member.spec) for member in members)]
    rows = []
    for policy in policies:
        pairs = zip(members, columns, strict=True)
        fields = [_field(cells.get(policy), member) for member, cells in pairs]
        rows.append(Row([Field(policy), *fields]))
    return Table(dataset, dataset, _read_by(header([member.run for member in members], score), rows), head, rows)


def _read_by(protocol: str, rows: Sequence[Row]) -> str:
    """The protocol, and what intervals below numbers are."""
    return f"{protocol}; {BRACKETS}" if any(field.below for row in rows for field in row.fields) else protocol


def _field(cell: Cell | None, member: Member, best: bool = False) -> Field:
    if cell is None:
        return Field("", spec=member.spec)
    if cell.bounds is not None:  # an estimate, whose interval stands in its text
        return Field(str(cell), spec=member.spec, best=best)
    low, high = (float(end) for end in mean_interval([cell.values]))
    below = f"[{low:.1f}, {high:.1f}]" if np.isfinite(low) else ""
    return Field(str(cell), below, _by_seed(member, cell.values), "score", member.spec, best)


def _by_seed(member: Member, values: np.ndarray) -> dict[int, float | None]:
    return {
        seed: float(value) if np.isfinite(value) else None for seed, value in zip(member.seeds, values, strict=True)
    }


def _matrix(title: str, matrix: Matrix) -> Table:
    """Datasets by methods, as suites have them."""
    head = [Field("dataset"), *(Field(column.title, spec=line(column.title)) for column in matrix.columns)]
    rows = []
    for name in matrix.rows:
        fields = [Field(name)]
        for column in matrix.columns:
            entry = column.entries.get(name)
            if entry is None:
                fields.append(Field("", spec=line(column.title)))
                continue
            low, high = entry.numbers.get("low"), entry.numbers.get("high")
            written = low is None or high is None or "[" in entry.text
            below = "" if written else f"[{low:.1f}, {high:.1f}]"
            fields.append(Field(entry.text, below, spec=line(column.title), best=entry.best))
        rows.append(Row(fields, dataset=line(name)))
    return Table(title, "", matrix.protocol, head, rows, matrix.notes)


def _grids(members: Sequence[Member], score: str) -> list[Table]:
    """The cells of sweeps, a row each."""
    named = {member.run.path: member for member in members}
    found = []
    for grid in grids([member.run for member in members], score):
        names, bold = short_names(grid.paths), sweep.bold(grid)
        head = [Field(text) for text in sweep.head(grid)]
        rows = []
        for number, row in enumerate(grid.rows):
            member = named[row.run.path]
            values = [Field(value_text(row.values[path]) if path in row.values else "") for path in grid.paths]
            cells = [
                _field(row.policies[policy], member, (number, len(names) + place) in bold)._replace(spec="")
                if policy in row.policies
                else Field(row.state)
                for place, policy in enumerate(grid.policies)
            ]
            rows.append(Row([*values, *cells], member.spec))
        protocol = _read_by(sweep.protocol([row.run for row in grid.rows], score), rows)
        found.append(Table(grid.name, named[grid.rows[0].run.path].dataset, protocol, head, rows))
    return found


def _flows(members: Sequence[Member]) -> list[Table]:
    """The ends of flows on known energies, a row a run."""
    named = {member.run.path: member for member in members}
    found = []
    for name, group in flows.ends([member.run for member in members]):
        shown = [column for column in flows.END if any(column in end.columns for end in group)]
        rows = []
        for end in group:
            member = named[end.run.path]
            fields = [Field(member.spec), Field(str(end.steps))]
            for column in shown:
                values = end.columns.get(column)
                form = "clock" if column in flows.CLOCKS else "number"
                known = None if values is None else _by_seed(member, values)
                fields.append(Field("" if values is None else flows.rounded(column, values), "", known, form))
            rows.append(Row(fields, member.spec))
        head = [Field(text) for text in ("run", "steps", *(flows.END[column] for column in shown))]
        own = [end.run for end in group]
        found.append(Table(name, named[group[0].run.path].dataset, flows.header(own), head, rows))
    return found


def differences(members: Sequence[Member]) -> list[Table]:
    """Keys in which the specs of runs on one dataset differ, side by side."""
    found = []
    for dataset, own in grouped(members).items():
        keys = differing([member.run for member in own])
        head = [Field("key"), *(Field(member.spec, spec=member.spec) for member in own)]
        shared = sorted(keys, key=lambda path: ABSENT in keys[path])  # those of some specs alone come last
        rows = [
            Row([Field(path), *(Field(_value(v), spec=m.spec) for m, v in zip(own, keys[path], strict=True))])
            for path in shared
        ]
        if rows:
            found.append(Table(dataset, dataset, "", head, rows[:MOST], more=rows[MOST:]))
    return found


def _value(value: Any) -> str:
    return ABSENT if value == ABSENT else value_text(value)
