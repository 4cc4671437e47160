"""Tables as markdown and LaTeX: rows, rules and numbers; `text.py` escapes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from pogospec.text import latex, line


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a markdown table; its cells are Markdown."""
    return "| " + " | ".join(cells) + " |"


def markdown_rule(columns: int) -> str:
    """The line under the head: the first column to the left, the others to the right."""
    return markdown_row(["---", *["---:"] * (columns - 1)])


class Caption(NamedTuple):
    """What stands under a LaTeX table, and what the text of a paper calls it by."""

    protocol: str
    own: str | None = None  # in the place of the protocol
    label: str | None = None

    def lines(self) -> list[str]:
        """The caption and the label."""
        name = "comparison" if self.label is None else re.sub(r"[^\w:.+/-]", "-", self.label, flags=re.ASCII)
        said = latex(self.own) if self.own is not None else f"{latex(self.protocol)}."
        return [f"  \\caption{{{said}}}", f"  \\label{{{name if ':' in name else f'tab:{name}'}}}"]

    def comments(self) -> list[str]:
        """The protocol, where something else stands in its place."""
        return [] if self.own is None else [self.protocol]


def latex_table(
    caption: Caption,
    head: Sequence[str],
    groups: Sequence[tuple[str, Sequence[Sequence[str]]]],
    comments: Sequence[str],
) -> str:
    """A booktabs table with a group of rows under each name, if any; the cells of rows are LaTeX, all else is text."""
    lines = ["% " + line(comment) for comment in ["needs \\usepackage{booktabs}", *caption.comments(), *comments]]
    lines += [r"\begin{table}[t]", r"  \centering", *caption.lines()]
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
