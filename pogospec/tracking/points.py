"""New rows of the tables in a run directory, as points for trackers: numbers after so many updates.

`STAGE/…` are the columns of metrics.csv, `STAGE/held_out/…` those of flow.csv, `POLICY/return` and `POLICY/score` the
evaluations: means over seeds, and of several seeds the standard deviations of the last two (ddof 1).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np

from pogospec.report.reading import final, normalised, read_flow
from pogospec.runs.directory import TABLES, RunDirectory
from pogospec.tracking.base import Results

COUNTERS = ("seed", "stage", "policy", "update", "total_update", "episode", "seconds", "accepted")
"""Columns that say what a row is of, or how long it took."""
MEASURED = ("flow_time", "energy", "distance", "entropy", "kl_optimum", "w2_optimum")
"""Columns of the table of a flow on a known energy."""
Row = dict[str, str]


class Point(NamedTuple):
    """Numbers after so many updates; `rows`: how far the table is read with them."""

    table: str
    rows: int
    step: int
    values: dict[str, float]


class Tables:
    """The tables of a run, read as they grow: a row is read once."""

    def __init__(self, run: RunDirectory):
        self.run = run
        self.bytes: dict[str, int] = dict.fromkeys(TABLES, 0)
        self.rows: dict[str, int] = dict.fromkeys(TABLES, 0)
        self.heads: dict[str, list[str]] = {}

    def new(self) -> list[Point]:
        """What was written since this was asked last; lines whose end is missing are left for later."""
        return [point for table in TABLES for point in self._of(table)]

    def _of(self, table: str) -> Iterator[Point]:
        key = ("policy", "total_update") if table == "returns.csv" else ("stage", "update", "total_update")
        for _, group in groupby(self._rows(table), lambda row: [row[name] for name in key]):
            rows = list(group)
            self.rows[table] += len(rows)
            values = self._returns(rows) if table == "returns.csv" else _means(rows, table == "flow.csv")
            known = {name: float(value) for name, value in values.items() if math.isfinite(value)}
            yield Point(table, self.rows[table], int(rows[0]["total_update"]), known)

    def _rows(self, table: str) -> list[Row]:
        with (self.run.path / table).open("rb") as file:
            file.seek(self.bytes[table])
            found = file.read()
        whole = found[: found.rfind(b"\n") + 1]
        self.bytes[table] += len(whole)
        lines = list(csv.reader(whole.decode().splitlines()))
        if lines and table not in self.heads:
            self.heads[table] = lines.pop(0)
        return [dict(zip(self.heads[table], line, strict=True)) for line in lines]

    def _returns(self, rows: list[Row]) -> dict[str, float]:
        """Of one evaluation: the episodes of a seed are averaged first."""
        label, seeds = rows[0]["policy"], dict.fromkeys(row["seed"] for row in rows)
        returns = np.array([np.mean([float(row["return"]) for row in rows if row["seed"] == seed]) for seed in seeds])
        scores, found = normalised(self.run, returns), {}
        for name, values in (("return", returns), ("score", scores)):
            if values is not None:
                found |= _spread(f"{label}/{name}", values)
        return found


def _means(rows: list[Row], held_out: bool) -> dict[str, float]:
    """Means over seeds; where a seed was measured again at this moment, as its step ended, of its last row."""
    rows = list({row.get("seed", str(number)): row for number, row in enumerate(rows)}.values())
    prefix = f"{rows[0]['stage']}/{'held_out/' if held_out else ''}"
    columns = {name: [float(row[name]) for row in rows if row[name]] for name in rows[0] if name not in COUNTERS}
    return {prefix + name: float(np.mean(values)) for name, values in columns.items() if values}


def _spread(name: str, values: np.ndarray) -> dict[str, float]:
    spread = {f"{name}_std": float(np.std(values, ddof=1))} if len(values) > 1 else {}
    return {name: float(np.mean(values)), **spread}


def results(run: RunDirectory) -> Results | None:
    """The table of a run: its last evaluations, or what its flow came to; None where there is neither."""
    cells = final(run)
    rows = []
    for name, cell in cells.items():
        found = _spread("return", cell.returns) | ({} if cell.scores is None else _spread("score", cell.scores))
        rows.append({"policy": name, "updates": cell.total_update, "seeds": len(cell.returns), **found})
    if not cells:
        flow = read_flow(run)
        known = [name for name in MEASURED if flow.known(name)]
        for place, label in enumerate(flow.labels):
            means = {name: float(flow.columns[name][place].mean()) for name in known}
            rows.append({"policy": label, **{name: value for name, value in means.items() if math.isfinite(value)}})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return Results(columns, [[row.get(name, "") for name in columns] for row in rows]) if rows else None
