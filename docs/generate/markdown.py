"""Pieces of Markdown: text that means itself, tables, fenced blocks, targets that other pages link to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"([\\`*_<>\[\]|#~{}])")


def prose(text: str) -> str:
    """Text in which no character means anything to Markdown."""
    return SPECIAL.sub(r"\\\1", text)


def code(text: str) -> str:
    """A piece of code within a line, or within a cell of a table."""
    if not text:
        return ""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text.replace('|', chr(92) + '|')}{fence}"


def fenced(text: str, language: str = "text") -> str:
    """A block of code."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", text) or [""]))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; nothing where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines]) + "\n"


def target(name: str) -> str:
    """A name for what follows, to which `[text](#name)` leads from every page."""
    return f"({name})=\n"


def math(latex: str) -> str:
    """Displayed mathematics."""
    return f"```{{math}}\n{latex.strip()}\n```\n"


def page(title: str, *parts: str) -> str:
    """A page of its title and its parts, with a line between any two."""
    return "\n".join(part for part in (f"# {title}\n", *parts) if part)
