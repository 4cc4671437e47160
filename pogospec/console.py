"""The console of all commands, of which what stands in columns, in colours or moves is printed."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from pogospec.terminal import writable


class Screen(Console):
    """A console that takes no text for markup, and prints what does not print as escapes; `options`: Rich's."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text as it will be shown; Rich asks for all strings here, those in tables and panels too."""
        return super().render_str(writable(text), **options)


def styled(text: str, style: str = "", **options: Any) -> Text:
    """Text of a style, where Rich asks for more than a string; `options`: of its Text."""
    return Text(writable(text), style, **options)
