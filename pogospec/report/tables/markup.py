"""Tables as markdown and LaTeX: rows, rules and numbers; `text.py` escapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pogospec.text import latex, line


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a markdown table; its cells are Markdown."""
    return "| " + " | ".join(cells) + " |"


def markdown_rule(columns: int) -> str:
    """The line under the head: the first column to the left, the others to the right."""
    return markdown_row(["---", *["---:"] * (columns - 1)])


def latex_table(
    caption: str, head: Sequence[str], groups: Sequence[tuple[str, Sequence[Sequence[str]]]], comments: Sequence[str]
) -> str:
    """A booktabs table with a group of rows under each name, if any; the cells of rows are LaTeX, all else is text."""
    lines = ["% " + line(comment) for comment in ["needs \\usepackage{booktabs}", *comments]]
    lines += [r"\begin{table}[t]", r"  \centering", f"  \\caption{{{latex(caption)}.}}"]
    lines += [f"  \\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"    \toprule"]
    lines += ["    " + " & ".join(map(latex, head)) + r" \\"]
    for name, rows in groups:
        lines += [r"    \midrule"]
        if name:
            lines += [f"    \\multicolumn{{{len(head)}}}{{l}}{{{latex(name)}}} \\\\"]
        lines += ["    " + " & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"])


def latex_number(text: str) -> str:
    """A number, or a mean ± std, as mathematics; a dash where there is none."""
    return f"${text.replace('±', chr(92) + 'pm')}$" if text else "--"


def json_number(value: float | None) -> float | None:
    """JSON knows no NaN."""
    return None if value is None or not math.isfinite(value) else float(value)
