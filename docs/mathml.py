"""Mathematics of the site as MathML, which browsers draw by themselves: no script, no font and no network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import SphinxError

SIZES = re.compile(r"\\(?:[bB]ig|textstyle)(?![a-zA-Z])")
"""Commands that say how large something is drawn, which MathML leaves to the browser."""
ACCENT = re.compile(r"(\\(?:bar|hat|tilde)\s*(?:\\[a-zA-Z]+|[a-zA-Z]|\{[^{}]*\}))")
"""An accented letter; in braces, so that an index stands beside it and not below."""


def setup(app: Any) -> dict[str, Any]:
    """Register the renderer, which `html_math_renderer` names."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def inline(writer: Any, node: Any) -> None:
    """Mathematics within a line."""
    writer.body.append(converted(node.astext(), False))
    raise nodes.SkipNode


def display(writer: Any, node: Any) -> None:
    """Mathematics in lines of its own."""
    writer.body.append(f'<div class="math">{converted(node.astext(), True)}</div>')
    raise nodes.SkipNode


def converted(latex: str, block: bool) -> str:
    """The MathML of LaTeX; raises SphinxError for what it does not know."""
    try:
        return tex2mathml(ACCENT.sub(r"{\1{}}", SIZES.sub("", latex)), as_block=block)
    except MathError as error:
        raise SphinxError(f"mathematics that cannot be converted: {error}\n{latex}") from None
