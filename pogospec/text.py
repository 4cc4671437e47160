"""Text that others wrote, such as names, paths and ids, in each medium that it goes to: never markup, never a command.

Numbers with their errors are here too.

Every printer and every writer of tables escapes by a function of this file, and of no other.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape as in_html
from typing import Any

from pogospec.errors import printable

LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "…": r"\dots{}", "±": r"$\pm$", "−": "$-$",
    "→": r"$\to$", "≤": r"$\leq$", "≥": r"$\geq$", "×": r"$\times$",
    **{mark: "\\" + mark for mark in "&%$#_{}"},
}  # fmt: skip
MARKDOWN = re.compile(r"""\A[-+=]|[\\`*\[\]<>|~&$#@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.""")
"""What could begin something in CommonMark or GitHub's dialect; an underscore within a word does not."""
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""Beginnings by which a spreadsheet takes a cell for a formula."""


def plain(text: str) -> str:
    """Text for a terminal: what does not print, control characters and turns of direction too, is an escape.

    Line breaks stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c == "\n" else printable(c) for c in text)


def line(text: str) -> str:
    """Text on one line, as all tables have it."""
    return " ".join(plain(text).split())


def latex(text: str) -> str:
    """Text that LaTeX prints as it is, in its default font encoding; Greek letters become mathematics."""
    escaped = "".join(LATEX.get(letter) or _greek(letter) for letter in line(text))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped  # rows and rules take these for arguments


def _greek(letter: str) -> str:
    words = unicodedata.name(letter, "").split()
    if len(words) != 4 or words[0] != "GREEK" or words[2] != "LETTER" or words[3] == "OMICRON":
        return letter
    name = words[3].lower().replace("lamda", "lambda")
    capitals = {"alpha": "A", "beta": "B", "epsilon": "E", "zeta": "Z", "eta": "H", "iota": "I", "kappa": "K"}
    capitals |= {"mu": "M", "nu": "N", "rho": "P", "tau": "T", "chi": "X"}
    if words[1] == "SMALL":
        return f"$\\{name}$"
    return capitals.get(name) or f"$\\{name.capitalize()}$"


def markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    escaped = MARKDOWN.sub(lambda found: "\\" + found[0], line(text))
    return re.sub(r"\A([0-9]+)([.)])", r"\1\\\2", escaped)  # the first of a list


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows, the first of which is the head, as comma-separated values, without a newline at the end.

    Text that a spreadsheet would run gets an apostrophe before it; numbers stay as they are.
    """
    return "\n".join(",".join(map(_cell, row)) for row in rows)


def _cell(value: Any) -> str:
    text = "" if value is None else printable(str(value))
    if text.startswith(FORMULA) and not _is_number(text):
        text = "'" + text
    return '"{}"'.format(text.replace('"', '""')) if any(mark in text for mark in ',;"') else text


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False


def json_text(content: Any, indent: int = 2) -> str:
    """A JSON document that a terminal shows as it is, and that reads back as the same content.

    All of it is ASCII where the output of this process holds no more.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(content, indent=indent)
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", below: Sequence[str] = ()) -> str:
    """A table of text as HTML for notebooks, its first column to the left; lines of text above and below it."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} style="text-align:{"right" if number else "left"}">{html(str(cell))}</{tag}>'
            for number, cell in enumerate(row)
        )

    lines = [f"<p><b>{html(title)}</b></p>"] if title else []
    lines += ["<table>", f"<thead><tr>{cells(head, 'th')}</tr></thead>" if head else "", "<tbody>"]
    lines += [f"<tr>{cells(row, 'td')}</tr>" for row in rows]
    lines += ["</tbody>", "</table>", *(f"<p>{html(text)}</p>" for text in below)]
    return "\n".join(["<div>", *filter(None, lines), "</div>"])


def html(text: str) -> str:
    """Text that a browser shows as it is, on one line, within an element or an attribute."""
    return in_html(line(text), quote=True)


def with_error(value: float, error: float) -> str:
    """A number and its standard error, to the second digit of the error or whole; alone where none is known."""
    if not math.isfinite(error):
        return f"{value:.3g}"
    digits = 1 - math.floor(math.log10(error)) if error > 0 else 3
    if not (math.isfinite(value) and -5 <= digits <= 6):
        return f"{value:.3g} ± {error:.2g}"
    return f"{value:,.{max(digits, 0)}f} ± {error:,.{max(digits, 0)}f}"
