"""Tables as markdown, LaTeX, csv and json: rows, rules, numbers, and what must be escaped."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "…": r"\dots{}", "±": r"$\pm$", "−": "$-$",
    "→": r"$\to$", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}  # fmt: skip


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def markdown_rule(columns: int) -> str:
    """The line under the head: the first column to the left, the others to the right."""
    return markdown_row(["---", *["---:"] * (columns - 1)])


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


def latex_table(
    caption: str, head: Sequence[str], groups: Sequence[tuple[str, Sequence[Sequence[str]]]], comments: Sequence[str]
) -> str:
    """A booktabs table with a group of rows under each name, if any; the cells of rows are LaTeX, all else is text."""
    lines = ["% " + " ".join(comment.split()) for comment in ["needs \\usepackage{booktabs}", *comments]]
    lines += [r"\begin{table}[t]", r"  \centering", f"  \\caption{{{escape(caption)}.}}"]
    lines += [f"  \\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"    \toprule"]
    lines += ["    " + " & ".join(map(escape, head)) + r" \\"]
    for name, rows in groups:
        lines += [r"    \midrule"]
        if name:
            lines += [f"    \\multicolumn{{{len(head)}}}{{l}}{{{escape(name)}}} \\\\"]
        lines += ["    " + " & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"])


def latex_number(text: str) -> str:
    """A number, or a mean ± std, as mathematics; a dash where there is none."""
    return f"${text.replace('±', chr(92) + 'pm')}$" if text else "--"


def json_number(value: float | None) -> float | None:
    """JSON knows no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)


def json_text(content: Any) -> str:
    """A document for people and programs."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows, the first of which is the head, without a newline at the end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().rstrip("\n")
