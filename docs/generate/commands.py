"""The commands with their arguments and options, read off the command line's own objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from generate.markdown import code, fenced, prose, table, target
from pogospec.cli import app


def pages() -> dict[str, str]:
    """The reference, which the page of the commands includes."""
    return {"commands/reference.md": "\n".join(section(name, command) for name, command in commands())}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its full name, those of groups too, in the order of `--help`."""
    waiting = list(typer.main.get_command(app).commands.items())  # type: ignore[attr-defined]
    while waiting:
        name, command = waiting.pop(0)
        if hasattr(command, "commands"):
            waiting = [(f"{name} {own}", one) for own, one in command.commands.items()] + waiting
        else:
            yield name, command


def section(name: str, command: Any) -> str:
    """A command: usage, what it says of itself, arguments and options."""
    context = command.context_class(command)
    words = [_word(one) for one in command.params if one.param_type_name == "argument"]
    options = " [OPTIONS]" * any(one.param_type_name == "option" for one in command.params)
    rows = [one.get_help_record(context) for one in command.params]
    return "\n".join([
        f"{target('command-' + name.replace(' ', '-'))}## {name}\n",
        fenced(" ".join(["pogospec", name, *words]) + options),
        *(f"{paragraph}\n" for paragraph in _paragraphs(command.help or "")),
        table(("argument or option", "what it is"), [(code(left), prose(right)) for left, right in rows]),
    ])  # fmt: skip


def _word(argument: Any) -> str:
    word = argument.name.upper() + "…" * (argument.nargs == -1)
    return word if argument.required else f"[{word}]"


def _paragraphs(text: str) -> list[str]:
    """Paragraphs of a help text, each one line; commands in it stay as they are."""
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return [fenced(part) if part.startswith("# ") else prose(part).replace(r"\`", "`") for part in parts]
