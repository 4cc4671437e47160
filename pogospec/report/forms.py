"""A comparison as text for documents and programs: markdown, latex, csv, json."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from pogospec.report.compare import (
    by_dataset,
    differences,
    final,
    header,
    paired,
    std,
    table,
    titles,
    warnings,
)
from pogospec.report.scores import Cell
from pogospec.runs import RunDirectory

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "…": r"\dots{}", "±": r"$\pm$", "−": "$-$",
    "→": r"$\to$", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}  # fmt: skip


def to_text(runs: Sequence[RunDirectory], style: str, score: str = "last") -> str:
    """The comparison as markdown, latex, csv or json, by the rule last, best or mean-last-K."""
    return {"markdown": _markdown, "latex": _latex, "json": _json, "csv": _csv}[style](runs, score)


def _markdown(runs: Sequence[RunDirectory], score: str) -> str:
    lines = [header(runs, score) + "."]
    for group in table(runs, score):
        head = [group.dataset, *group.columns]
        body = [[policy, *("" if cell is None else str(cell) for cell in cells)] for policy, cells in group.rows]
        rows = [[text.replace("|", "\\|") for text in head], ["---", *["---:"] * len(group.columns)], *body]
        lines += ["", *("| " + " | ".join(row) + " |" for row in rows)]
    gaps = paired(runs, score)
    if gaps:
        lines += ["", "Paired differences over seeds, mean ± standard error:", ""]
        lines += [f"- {title} on {dataset}: {gap}" for dataset, title, gap in gaps]
    lines += [f"\nWarning: {warning}" for warning in warnings(runs, score)]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, in its default font encoding; Greek letters become mathematics."""
    return "".join(SPECIAL.get(letter) or _greek(letter) for letter in " ".join(text.split()))


def _greek(letter: str) -> str:
    words = unicodedata.name(letter, "").split()
    if len(words) != 4 or words[0] != "GREEK" or words[2] != "LETTER" or words[3] == "OMICRON":
        return letter
    name = words[3].lower().replace("lamda", "lambda")
    plain = {"alpha": "A", "beta": "B", "epsilon": "E", "zeta": "Z", "eta": "H", "iota": "I", "kappa": "K"}
    plain |= {"mu": "M", "nu": "N", "rho": "P", "tau": "T", "chi": "X"}
    if words[1] == "SMALL":
        return f"$\\{name}$"
    return plain.get(name) or f"$\\{name.capitalize()}$"


def _latex(runs: Sequence[RunDirectory], score: str) -> str:
    """One table, a group of rows a dataset; warnings and paired differences are comments."""
    groups = table(runs, score)
    columns = list(dict.fromkeys(title for group in groups for title in group.columns))
    comments = ["needs \\usepackage{booktabs}", *(f"warning: {warning}" for warning in warnings(runs, score))]
    gaps = [f"{title} on {dataset}: {gap}" for dataset, title, gap in paired(runs, score)]
    if gaps:
        comments += ["paired differences over seeds, mean ± standard error:", *gaps]
    lines = ["% " + " ".join(comment.split()) for comment in comments]
    lines += [r"\begin{table}[t]", r"  \centering", f"  \\caption{{{escape(header(runs, score))}.}}"]
    lines += [f"  \\begin{{tabular}}{{l{'r' * len(columns)}}}", r"    \toprule"]
    lines += ["    " + " & ".join(["policy", *map(escape, columns)]) + r" \\"]
    for group in groups:
        heading = f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{{escape(group.dataset)}}} \\\\"
        lines += [r"    \midrule", f"    {heading}"]
        for policy, cells in group.rows:
            known = dict(zip(group.columns, cells, strict=True))
            row = [escape(policy), *(_math(known.get(column)) for column in columns)]
            lines.append("    " + " & ".join(row) + r" \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"])


def _math(cell: Cell | None) -> str:
    return "--" if cell is None else f"${str(cell).replace('±', chr(92) + 'pm')}$"


def _number(value: float | None) -> float | None:
    """JSON knows no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)


def _json(runs: Sequence[RunDirectory], score: str) -> str:
    entries = []
    for run, title in zip(runs, titles(runs), strict=True):
        cells, manifest = final(run, score), run.manifest
        policies = {
            name: {
                "total_update": cell.total_update,
                "evaluations": cell.evaluations,
                "unit": "return" if cell.scores is None else "score",
                "returns": [_number(value) for value in cell.returns],
                "return_std": _number(std(cell.returns)),
                "mean": _number(cell.values.mean()),
                "std": _number(std(cell.values)),
            }
            for name, cell in cells.items()
        }
        gaps = [
            {"name": gap.name, "mean": _number(gap.mean), "error": _number(gap.error)} for gap in differences(cells)
        ]
        about = {key: manifest[key] for key in ("dataset", "name", "digest", "reference", "seeds", "episodes")}
        scores = {name: [_number(value) for value in cell.values] for name, cell in cells.items()}
        entry: dict[str, Any] = {"run": str(run.path), "title": title, **about, "scores": scores}
        entries.append(entry | {"policies": policies, "differences": gaps})
    content = {"score": score, "protocol": header(runs, score), "ddof": 1, "warnings": warnings(runs, score)}
    return json.dumps(content | {"runs": entries}, indent=2, ensure_ascii=False)


def _csv(runs: Sequence[RunDirectory], score: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["dataset", "run", "directory", "policy", "score", "unit", "seeds", "mean", "std", "return_mean"]
    writer.writerow([*head, "return_std", "evaluations", "total_update"])
    for dataset, members in by_dataset(runs).items():
        for title, run in members:
            for policy, cell in final(run, score).items():
                unit = "return" if cell.scores is None else "score"
                moments = [cell.values.mean(), std(cell.values), cell.returns.mean(), std(cell.returns)]
                numbers = ["" if value is None else repr(float(value)) for value in moments]
                row = [dataset, title, run.path, policy, score, unit, len(cell.values), *numbers]
                writer.writerow([*row, cell.evaluations, cell.total_update])
    return out.getvalue().rstrip("\n")
