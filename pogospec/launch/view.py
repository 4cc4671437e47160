"""The live view: what a person sees of training while it goes on, made of its events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pogospec.report.statistics import spread
from pogospec.runs.directory import RunDirectory
from pogospec.terminal import writable
from pogospec.training import events

METRICS = {"critic_loss": "critic", "behavior_loss": "behavior", "energy": "energy", "distance": "distance"}
BAR = 20
"""Characters of the live bar."""
PLAIN_EVERY, AMONG_EVERY = 4.0, 60.0
"""Seconds between plain lines, where the output is no terminal: of one run, and of one among others."""


class View:
    """Shows the events of runs that train together: a live bar on a terminal, else a plain line every few seconds.

    `operations` of an update of each stage share out the time that is left; none where nobody sees it. `after`: of a
    run among others, the seconds that those after it take; then less is said of each. `names`: what to call the cells
    of a sweep.
    """

    def __init__(
        self,
        console: Console,
        runs: Sequence[RunDirectory],
        operations: list[float],
        after: float | None = None,
        names: Sequence[str] = (),
    ):
        self.console, self.runs, self.operations, self.after, self.names = console, runs, operations, after, names
        self.going = [*range(len(runs))]
        self.done, self.shown, self.total, self.scores = runs[0].status()["update"], 0.0, 0, ""
        self.stage = ""
        self.updates: list[int] = []
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=console,
            disable=console.quiet or not console.is_terminal,
        )

    def __enter__(self) -> View:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, event: events.Event) -> None:
        """Show one event."""
        if isinstance(event, events.Started):
            self.total = event.total_updates
            self.updates = [updates for _, updates in event.stages]
            self.task = self.bar.add_task("compiling", total=self.total, numbers="", left="")
            self._plain("compiling; the first numbers come with the first chunk of updates")
        elif isinstance(event, events.Progress):
            self._progress(event)
        elif isinstance(event, events.Scored):
            self._scored(event)
        elif isinstance(event, events.Noted):
            self.console.print(f"{self.done:>9,} updates  {event.text}", highlight=False)
        elif isinstance(event, events.Failed):
            self.going.remove(event.index)
            said = f"{self.done:>9,} updates  {self.names[event.index]} failed: {event.message}"
            self.console.print(said, style="red", highlight=False, markup=False, soft_wrap=True)

    def _progress(self, event: events.Progress) -> None:
        self.done = event.total_done
        if event.stage != self.stage:  # scores of the stage before are not this one's
            self.stage, self.scores = event.stage, ""
        self._notes()
        numbers = [f"{short} {event.metrics[name]:.3g}" for name, short in METRICS.items() if name in event.metrics]
        rate = f"{event.rate:,.0f} updates/s"
        text = writable("  ".join(part for part in (rate, self.scores, *numbers) if part))
        seconds = self._left(event)
        parts = [f"about {span(seconds)} left"] if seconds else []
        left = ", ".join([*parts, f"{span(seconds + self.after)} of all"] if self.after else parts)
        others = f"{event.stage}{self.done:,}{self.total:,}{left}"
        room = max(self.console.width - len(others) - BAR - 14, 0)  # between columns, a slash, the time gone
        shown = text if len(text) <= room else f"{text[: room - 1]}…" * (room > 1)
        self.bar.update(self.task, completed=self.done, description=writable(event.stage), numbers=shown, left=left)
        every = PLAIN_EVERY if self.after is None else AMONG_EVERY
        if time.monotonic() - self.shown > every or self.done == self.total:
            self._plain(f"{event.stage}  {event.update:,}/{event.updates:,}  {text}  {left}".rstrip())

    def _left(self, event: events.Progress) -> float:
        """Seconds left at this rate, were an update of every stage to cost what its operations say."""
        if not self.operations:
            return 0.0
        here = event.number
        after = zip(self.updates[here + 1 :], self.operations[here + 1 :], strict=False)  # a trunk has fewer stages
        work = (event.updates - event.update) * self.operations[here] + sum(count * cost for count, cost in after)
        return work / (event.rate * max(self.operations[here], 1.0))

    def _scored(self, event: events.Scored) -> None:
        returns, scores = event.returns.mean(1), event.scores
        what, values = "return", returns
        if scores is not None:
            what, values = "score", scores if scores.ndim == 1 else scores.mean(1)
        if self.names:
            brief, told = self._cells(what, values)
        else:
            brief = f"{what} {spread(values)}"
            told = brief + ("" if scores is None else f"  (return {spread(returns)})")
        self.scores = f"{brief} after {event.total_done:,}"
        if self.after is None:
            self.console.print(
                f"{event.total_done:>9,} updates  {event.policy:<9} {told}", highlight=False, soft_wrap=True
            )

    def _cells(self, what: str, values: Any) -> tuple[str, str]:
        """The means of all cells, and with the best of them."""
        cells = values.reshape(len(self.going), -1)
        means = cells.mean(1)
        best = int(means.argmax())
        brief = f"{what} {means.min():.1f} to {means.max():.1f}"
        return brief, f"{brief}, best {self.names[self.going[best]]}: {spread(cells[best])}"

    def _notes(self) -> None:
        """Say what the run directories mended."""
        for run in self.runs:
            while run.notes:
                self.console.print(f"note: {run.notes.pop(0)}", highlight=False, soft_wrap=True)

    def _plain(self, text: str) -> None:
        if not self.console.is_terminal:
            self.shown = time.monotonic()
            self.console.print(text, highlight=False, soft_wrap=True)


def span(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
