"""Reads the pages of docs/: their fenced blocks, in order, with what each of them is."""

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
WRITTEN = sorted([*DOCS.glob("*.md"), *DOCS.glob("recipes/*.md")])
"""The pages that people wrote; the others are derived from the package."""
BLOCK = re.compile(r"(?:^`(?P<file>[\w./-]+)`:\n\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
TOLD = ("text", "{math}", "{toctree}", "{include}", "{eval-rst}")
"""Languages of blocks that nobody runs: what is printed, and Sphinx's own."""


class Block(NamedTuple):
    """A fenced block; `file`: the file that it is, where a line before it says so."""

    language: str
    text: str
    file: str | None


def blocks(path: Path) -> list[Block]:
    """The blocks of a page, but for those that are only told."""
    found = BLOCK.finditer(path.read_text(encoding="utf-8"))
    every = [Block(match["language"].strip(), match["text"], match["file"]) for match in found]
    return [block for block in every if block.file or not block.language.startswith(TOLD)]


def commands(text: str) -> list[str]:
    """The commands of a shell block, each in one line, without comments."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [command for line in lines if (command := re.sub(r"(^|\s)#.*", "", line).strip())]
