"""What a run or a sweep will do, shown before anything is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from pogospec.console import styled
from pogospec.registry import kind_of
from pogospec.spec.schema import Spec, StepSpec


def show_plan(console: Console, spec: Spec, out: Path, device: str, sweep: Sequence[tuple[str, str]] = ()) -> None:
    """Print the plan of a spec; `sweep`: of a sweep, what is to be said of it."""
    seeds = "1 seed" if spec.seed_count == 1 else f"{spec.seed_count} seeds in one program"
    lines = Table.grid(padding=(0, 2))
    lines.add_row("data", spec.data.dataset)
    lines.add_row("device", f"{device}, {seeds}")
    number = 0
    for step in spec.schedule.steps:
        number += "policy" in step.learn and step.name is None
        name = step.name or (f"step {number}" if "policy" in step.learn else "warm-up")
        lines.add_row(name, _what(step))
        number += (step.repeat - 1) * ("policy" in step.learn and step.name is None)
    if spec.schedule.at_once > 1:
        lines.add_row("at once", f"{spec.schedule.at_once} policies in the same updates, the critic fed by the first")
    for name, text in sweep:
        lines.add_row(name, text)
    lines.add_row("into", str(out))
    if spec.about:
        console.print(spec.about, highlight=False)
    console.print(Panel(lines, title=styled(spec.name), title_align="left", expand=False))


def _what(step: StepSpec) -> str:
    """One line about a step: its references, what it learns, for how long."""
    references = [step.from_] if step.from_ else [term.reference for term in step.proximal or ()]
    origin = f"from {' and '.join(references)}, " if references else ""
    bound, most = ("at most " if rule else "" for rule in (step.until, step.repeat_until))
    repeat = f", {most}{step.repeat} times" if step.repeat > 1 else ""
    repeat = f", {step.solves} times in each of at most {step.repeat} attempts" if step.doubles else repeat
    judge = "" if step.judge is None else f", judged by {kind_of('judge', type(step.judge))}"
    return f"{origin}learns {', '.join(step.learn)}: {bound}{step.updates:,} updates{repeat}{judge}"
