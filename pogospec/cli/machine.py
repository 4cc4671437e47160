"""Commands about the machine: doctor."""

from __future__ import annotations

import typer

from pogospec.cli.app import make_console
from pogospec.cli.listing import Json
from pogospec.terminal import say
from pogospec.text import json_text


def doctor(as_json: Json = False) -> None:
    """Look at versions, devices, caches, data and MuJoCo; say what is missing and how to get it.

    Exit code 0 where everything needed is there, 1 otherwise.
    """
    from pogospec.doctor import examine, healthy

    findings = examine()
    good = healthy(findings)
    if as_json:
        say(json_text({"ok": good, "findings": [one._asdict() for one in findings]}))
        raise typer.Exit(0 if good else 1)
    from rich.table import Table

    from pogospec.console import styled

    console, table, before = make_console(), Table.grid(padding=(0, 2)), None
    for one in findings:
        if before not in (None, one.section):
            table.add_row()
        word = styled("ok", "green") if one.ok else styled(*(("missing", "red") if one.needed else ("note", "")))
        section = "" if one.section == before else one.section
        table.add_row(section, word, one.name, styled(one.found, overflow="fold"))
        if not one.ok and one.fix:
            table.add_row("", "", "", styled(f"-> {one.fix}", "bold", overflow="fold"))
        before = one.section
    console.print(table, highlight=False)
    wrong = sum(not one.ok and one.needed for one in findings)
    console.print(
        "\neverything needed is there" if good else f"\n{wrong} of what is needed is missing", highlight=False
    )
    raise typer.Exit(0 if good else 1)
