"""A table of datasets x methods as text for documents and programs: markdown, latex, csv, json."""

from __future__ import annotations

from typing import Any

from pogospec.report.tables.markup import (
    Caption,
    json_number,
    latex_number,
    latex_table,
    markdown_row,
    markdown_rule,
)
from pogospec.report.tables.matrix import Column, Entry, Matrix
from pogospec.text import csv_text, json_text, latex, markdown

NUMBERS = ("policy", "score", "unit", "seeds", "mean", "std", "iqm", "low", "high")


def to_text(matrix: Matrix, style: str, caption: str | None = None, label: str | None = None) -> str:
    """The table as markdown, latex, csv or json; `caption`, `label`: of LaTeX."""
    if style == "latex":
        return _latex(matrix, caption, label)
    return {"markdown": _markdown, "json": _json, "csv": _csv}[style](matrix)


def _markdown(matrix: Matrix) -> str:
    head = ["dataset", *(markdown(column.title) for column in matrix.columns)]
    lines = [f"{markdown(matrix.protocol)}.", "", markdown_row(head), markdown_rule(len(head))]
    for row in matrix.rows:
        cells = [_entry(column, row) for column in matrix.columns]
        texts = [cell.text if cell.numbers else markdown(cell.text) for cell in cells]
        bold = [f"**{text}**" if cell.best else text for text, cell in zip(texts, cells, strict=True)]
        lines.append(markdown_row([markdown(row), *bold]))
    if matrix.better:
        lines += ["", "Probability that a run of one method scores above one of another:", ""]
        lines += [f"- {markdown(str(pair))}" for pair in matrix.better]
    lines += [f"\n{markdown(note[0].upper() + note[1:])}." for note in matrix.notes]
    return "\n".join([*lines, *(f"\nWarning: {markdown(warning)}" for warning in matrix.warnings)])


def _latex(matrix: Matrix, caption: str | None, label: str | None) -> str:
    """One booktabs table; what is said beside it is in comments."""
    comments = [f"warning: {warning}" for warning in matrix.warnings]
    comments += [*map(str, matrix.better), *matrix.notes]
    rows = [[latex(row), *(_number(_entry(column, row)) for column in matrix.columns)] for row in matrix.rows]
    head = ["dataset", *(column.title for column in matrix.columns)]
    return latex_table(Caption(matrix.protocol, caption, label), head, [("", rows)], comments)


def _number(entry: Entry) -> str:
    if entry.text and not entry.numbers:
        return latex(entry.text)
    number = latex_number(entry.text.replace(" [", r"\ [").replace(", ", r",\ "))
    return f"$\\mathbf{{{number[1:-1]}}}$" if entry.best else number


def _csv(matrix: Matrix) -> str:
    """A line a cell."""
    lines: list[list[Any]] = [["dataset", "method", "source", "state", *NUMBERS, "best"]]
    for row in matrix.rows:
        for column in matrix.columns:
            entry = _entry(column, row)
            numbers = [entry.numbers.get(name) for name in NUMBERS]
            state = "" if entry.numbers else entry.text or "missing"
            if column.source is None or entry.numbers:
                values = ["" if value is None else value for value in numbers]
                lines.append([row, column.title, column.source or "", state, *values, int(entry.best)])
    return csv_text(lines)


def _json(matrix: Matrix) -> str:
    columns = []
    for column in matrix.columns:
        cells = {}
        for row, entry in column.entries.items():
            numbers = {k: json_number(v) if isinstance(v, float) else v for k, v in entry.numbers.items()}
            cells[row] = {"text": entry.text, "best": entry.best, **numbers}
        columns.append({"method": column.title, "source": column.source, "cells": cells})
    better = [
        {"method": p.method, "other": p.other, "probability": p.probability, "interval": p.interval}
        for p in matrix.better
    ]
    about = {"protocol": matrix.protocol, "notes": matrix.notes, "warnings": matrix.warnings, "rows": matrix.rows}
    return json_text(about | {"columns": columns, "probability_of_improvement": better})


def _entry(column: Column, row: str) -> Entry:
    return column.entries.get(row, Entry(""))
