"""A comparison as text for documents and programs: markdown, latex, csv, json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pogospec.report.reading.keys import differing, told
from pogospec.report.reading.names import by_dataset, titles
from pogospec.report.reading.scores import Rule, final
from pogospec.report.statistics import std
from pogospec.report.tables.comparison import between, differences, paired, table
from pogospec.report.tables.flows import refuse_rule, targets_of
from pogospec.report.tables.flows_text import to_text as flow_text
from pogospec.report.tables.markup import Caption, json_number, latex_number, latex_table, markdown_row, markdown_rule
from pogospec.report.tables.protocol import header, warnings
from pogospec.runs.directory import RunDirectory
from pogospec.text import csv_text, json_text, latex, markdown


def to_text(
    runs: Sequence[RunDirectory],
    style: str,
    score: str = "last",
    caption: str | None = None,
    label: str | None = None,
) -> str:
    """The comparison as markdown, latex, csv or json, by the rule last, best or mean-last-K; flows by their ends.

    `caption`, `label`: of LaTeX, in the place of the protocol, which is a comment then, and of tab:comparison.
    """
    if targets_of(runs):
        refuse_rule(score)
        return flow_text(runs, style, caption, label)
    if style == "latex":
        return _latex(runs, score, caption, label)
    return {"markdown": _markdown, "json": _json, "csv": _csv}[style](runs, score)


def _markdown(runs: Sequence[RunDirectory], score: str) -> str:
    lines = [markdown(header(runs, score)) + "."]
    for group in table(runs, score):
        head = [*map(markdown, (group.dataset, *group.columns))]
        lines += ["", markdown_row(head), markdown_rule(len(head))]
        lines += [markdown_row([markdown(policy), *cells]) for policy, *cells in group.texts()]
    gaps = paired(runs, score)
    if gaps:
        lines += ["", "Paired differences over seeds, mean ± standard error:", ""]
        lines += [f"- {markdown(f'{title} on {dataset}: {gap}')}" for dataset, title, gap in gaps]
    pairs = between(runs, score)
    if pairs:
        lines += ["", "Paired differences between runs on the same seeds, mean ± standard error:", ""]
        lines += [f"- {markdown(f'{gap} on {dataset}')}" for dataset, gap in pairs]
    keys = {dataset: told(members) for dataset, members in by_dataset(runs).items()}
    for dataset, texts in keys.items():
        lines += ["", f"What differs on {markdown(dataset)}:", ""] if texts else []
        lines += [f"- {markdown(text)}" for text in texts]
    lines += [f"\nWarning: {markdown(warning)}" for warning in warnings(runs, score)]
    return "\n".join(lines)


def _latex(runs: Sequence[RunDirectory], score: str, caption: str | None = None, label: str | None = None) -> str:
    """One table, a group of rows a dataset; warnings and paired differences are comments."""
    tables = table(runs, score)
    columns = list(dict.fromkeys(title for group in tables for title in group.columns))
    comments = [f"warning: {warning}" for warning in warnings(runs, score)]
    gaps = [f"{title} on {dataset}: {gap}" for dataset, title, gap in paired(runs, score)]
    if gaps:
        comments += ["paired differences over seeds, mean ± standard error:", *gaps]
    pairs = [f"{gap} on {dataset}" for dataset, gap in between(runs, score)]
    if pairs:
        comments += ["paired differences between runs on the same seeds, mean ± standard error:", *pairs]
    for dataset, members in by_dataset(runs).items():
        comments += [f"differs on {dataset}: {text}" for text in told(members)]
    groups = []
    for group in tables:
        rows = []
        for policy, cells in group.rows:
            known = dict(zip(group.columns, cells, strict=True))
            found = [known.get(column) for column in columns]
            rows.append([latex(policy), *(latex_number("" if cell is None else str(cell)) for cell in found)])
        groups.append((group.dataset, rows))
    return latex_table(Caption(header(runs, score), caption, label), ["policy", *columns], groups, comments)


def _json(runs: Sequence[RunDirectory], score: str) -> str:
    entries = []
    for run, title in zip(runs, titles(runs), strict=True):
        cells, manifest = final(run, score), run.manifest
        policies = {
            name: {
                "total_update": cell.total_update,
                "evaluations": cell.evaluations,
                "unit": cell.unit,
                "returns": [json_number(value) for value in cell.returns],
                "return_std": json_number(std(cell.returns)),
                "mean": json_number(cell.values.mean()),
                "std": json_number(std(cell.values)),
            }
            | ({} if cell.bounds is None else {"intervals": [[*map(json_number, pair)] for pair in cell.bounds.T]})
            for name, cell in cells.items()
        }
        gaps = [
            {"name": gap.name, "mean": json_number(gap.mean), "error": json_number(gap.error)}
            for gap in differences(cells)
        ]
        about = {key: manifest[key] for key in ("dataset", "name", "digest", "reference", "seeds", "episodes")}
        scores = {name: [json_number(value) for value in cell.values] for name, cell in cells.items()}
        entry: dict[str, Any] = {"run": str(run.path), "title": title, **about, "scores": scores}
        entries.append(entry | {"policies": policies, "differences": gaps})
    content = {"score": score, "protocol": header(runs, score), "ddof": 1, "warnings": warnings(runs, score)}
    pairs = [
        {"dataset": dataset, "name": gap.name, "mean": json_number(gap.mean), "error": json_number(gap.error)}
        for dataset, gap in between(runs, score)
    ]
    keys = {dataset: differing([run for _, run in members]) for dataset, members in by_dataset(runs).items()}
    return json_text(content | {"runs": entries, "between": pairs, "differing": keys})


def _csv(runs: Sequence[RunDirectory], score: str) -> str:
    head = ["dataset", "run", "directory", "policy", "score", "unit", "seeds", "mean", "std", "return_mean"]
    bounds = ["low", "high"] if Rule.parse(score).offline else []
    lines: list[list[Any]] = [[*head, "return_std", "evaluations", "total_update", *bounds]]
    for dataset, members in by_dataset(runs).items():
        for title, run in members:
            for policy, cell in final(run, score).items():
                returns = [cell.returns.mean(), std(cell.returns)] if cell.bounds is None else [None, None]
                moments = [cell.values.mean(), std(cell.values), *returns]
                numbers = ["" if value is None else repr(float(value)) for value in moments]
                row = [dataset, title, run.path, policy, score, cell.unit, len(cell.values), *numbers]
                ends = [] if cell.bounds is None else [repr(float(end)) for end in cell.bounds.mean(1)]
                lines.append([*row, cell.evaluations, cell.total_update, *ends])
    return csv_text(lines)
