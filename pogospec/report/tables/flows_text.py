"""A comparison of flows on known energies as text for documents and programs: markdown, latex, csv, json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pogospec.report.statistics import std
from pogospec.report.tables.flows import END, compared, ends, header, warnings
from pogospec.report.tables.markup import (
    Caption,
    json_number,
    latex_number,
    latex_table,
    markdown_row,
    markdown_rule,
)
from pogospec.runs.directory import RunDirectory
from pogospec.text import csv_text, json_text, latex, markdown


def to_text(runs: Sequence[RunDirectory], style: str, caption: str | None = None, label: str | None = None) -> str:
    """The comparison as markdown, latex, csv or json; `caption`, `label`: of LaTeX."""
    if style == "latex":
        return _latex(runs, caption, label)
    return {"markdown": _markdown, "json": _json, "csv": _csv}[style](runs)


def _markdown(runs: Sequence[RunDirectory]) -> str:
    lines = [markdown(header(runs)) + "."]
    for name, group in ends(runs):
        table = compared(group)
        rows = [markdown_row([markdown(title), *cells]) for title, *cells in table.rows]
        lines += ["", f"{markdown(name)}:", "", markdown_row(table.head), markdown_rule(len(table.head)), *rows]
    return "\n".join([*lines, *(f"\nWarning: {markdown(warning)}" for warning in warnings(runs))])


def _latex(runs: Sequence[RunDirectory], caption: str | None, label: str | None) -> str:
    """One table, a group of rows a target; warnings are comments."""
    tables = [(name, compared(group)) for name, group in ends(runs)]
    head = list(dict.fromkeys(column for _, table in tables for column in table.head))
    groups = []
    for name, table in tables:
        rows = [dict(zip(table.head, row, strict=True)) for row in table.rows]
        cells = [[latex(row["run"]), *(latex_number(row.get(column, "")) for column in head[1:])] for row in rows]
        groups.append((name, cells))
    comments = [f"warning: {warning}" for warning in warnings(runs)]
    return latex_table(Caption(header(runs), caption, label), head, groups, comments)


def _json(runs: Sequence[RunDirectory]) -> str:
    entries = []
    for name, group in ends(runs):
        for end in group:
            about = {key: end.run.manifest[key] for key in ("dataset", "name", "digest", "seeds")}
            final = {
                column: {
                    "values": [json_number(value) for value in values],
                    "mean": json_number(values.mean()),
                    "std": json_number(std(values)),
                }
                for column, values in end.columns.items()
            }
            place: dict[str, Any] = {"run": str(end.run.path), "title": end.title, "target": name}
            entries.append(place | about | {"policy": end.step, "steps": end.steps, "final": final})
    content = {"protocol": header(runs), "ddof": 1, "warnings": warnings(runs), "runs": entries}
    return json_text(content)


def _csv(runs: Sequence[RunDirectory]) -> str:
    moments = [f"{name}_{part}" for name in END for part in ("mean", "std")]
    lines: list[list[Any]] = [["target", "run", "directory", "policy", "steps", "seeds", *moments]]
    for name, group in ends(runs):
        for end in group:
            numbers = []
            for column in END:
                values = end.columns.get(column)
                pair = (None, None) if values is None else (values.mean(), std(values))
                numbers += ["" if value is None else repr(float(value)) for value in pair]
            row = [name, end.title, end.run.path, end.step, end.steps, end.run.manifest["seeds"]]
            lines.append([*row, *numbers])
    return csv_text(lines)
