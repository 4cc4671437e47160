"""What `run` and `resume` share: the plan, the run directory, the live view and the end."""

from __future__ import annotations

import contextlib
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pogospec.errors import PogospecError, UsageError
from pogospec.report.compare import differences, final, header, spread
from pogospec.report.flow import is_target
from pogospec.report.plot import learning_curve
from pogospec.runs import cache
from pogospec.runs.directory import RunDirectory
from pogospec.training import stop

if TYPE_CHECKING:
    from pogospec.spec.schema import Spec, StepSpec
    from pogospec.types import Dataset

PACKAGES = (
    "pogospec", "jax", "jaxlib", "numpy", "numpyro", "equinox", "optax", "gymnasium", "gymnasium-robotics", "mujoco",
    "minari",
)  # fmt: skip
METRICS = {"critic_loss": "critic", "behavior_loss": "behavior", "energy": "energy", "distance": "distance"}
BAR = 20
"""Characters of the live bar."""
PLAIN_EVERY, AMONG_EVERY = 4.0, 60.0
"""Seconds between plain lines, where the output is no terminal: of one run, and of one among others."""


def show_plan(console: Console, spec: Spec, out: Path, device: str, sweep: Sequence[tuple[str, str]] = ()) -> None:
    """Say what will happen, before anything is loaded or compiled; `sweep`: of a sweep, what is to be said of it."""
    seeds = "1 seed" if spec.seeds == 1 else f"{spec.seeds} seeds in one program"
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
    console.print(Panel(lines, title=spec.name, title_align="left", expand=False))


def _what(step: StepSpec) -> str:
    """One line about a step: its references, what it learns, for how long."""
    references = [step.from_] if step.from_ else [term.reference for term in step.proximal or ()]
    origin = f"from {' and '.join(references)}, " if references else ""
    bound, most = ("at most " if rule else "" for rule in (step.until, step.repeat_until))
    repeat = f", {most}{step.repeat} times" if step.repeat > 1 else ""
    return f"{origin}learns {', '.join(step.learn)}: {bound}{step.updates:,} updates{repeat}"


def manifest(spec: Spec, dataset: Dataset, device: str) -> dict[str, Any]:
    """What a run records about itself."""
    from pogospec.spec.build import digest

    return {
        "name": spec.name,
        "digest": digest(spec),
        "dataset": dataset.id,
        "data_sha256": dataset.sha256,
        "environment": dataset.environment,
        "reference": None if dataset.reference is None else dataset.reference._asdict(),
        "seeds": spec.seeds,
        "episodes": spec.evaluate.episodes,
        "action": spec.evaluate.action,
        "evaluation_seed": spec.evaluate.seed,
        "device": device,
        "started": datetime.now().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """Versions of the packages that numbers depend on."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def new_run(
    spec: Spec, dataset: Dataset, out: Path, device: str, cell: dict[str, Any] | None = None, number: int = 0
) -> RunDirectory:
    """Create the run directory of a spec, or of cell `number` of a sweep, which sets the values in `cell`.

    Raises TaskError, with none left behind, where its task cannot be made.
    """
    from pogospec.spec.build import dump
    from pogospec.training.rollout import Evaluator

    if dataset.environment is not None:
        with closing(Evaluator(dataset.environment, 1, spec.evaluate.seed, dataset.space)) as evaluator:
            evaluator.check()
    terms = sorted({name for step in spec.schedule.steps for name in step.energy or {}})
    about = manifest(spec, dataset, device) | ({"sweep": cell, "cell": number} if cell else {})
    return RunDirectory.create(out, dump(spec), about, terms)


def moved(run: RunDirectory) -> list[str]:
    """Packages whose version is another one than when the run began."""
    before, now = run.manifest["versions"], versions()
    return [f"{name} was {before[name]}, is {now[name]}" for name in before if before[name] != now.get(name)]


def go_on(console: Console, spec: Spec, dataset: Dataset, run: RunDirectory, after: float | None = None) -> None:
    """Go on with a run from its newest checkpoint; raises UsageError where its data changed."""
    if run.status()["state"] == "failed":
        before = run.status()["message"]
        console.print(f"note: the run failed before: {before}", highlight=False, markup=False, soft_wrap=True)
    for change in moved(run):
        console.print(f"note: {change}; numbers may move", highlight=False)
    if dataset.sha256 != run.manifest["data_sha256"]:
        raise UsageError(f"{dataset.id}: the data changed since the run began; run the spec again")
    execute(console, spec, dataset, run, True, after)


def execute(
    console: Console,
    spec: Spec,
    dataset: Dataset,
    run: RunDirectory,
    resume: bool = False,
    after: float | None = None,
) -> None:
    """Train with a live view; the status of the run tells how it ended.

    `after`: of a run among others, the seconds that those after it take; then less is said of each.
    """
    from pogospec.explain import operations, seconds

    counts = operations(spec, dataset.space)
    if not resume and after is None:
        console.print(f"estimated time: about {span(seconds(spec, counts))}, and compiling", highlight=False)
    _train(View(console, [run], counts, after), [spec], dataset, resume)


def execute_cells(
    console: Console, specs: Sequence[Spec], dataset: Dataset, runs: Sequence[RunDirectory], names: Sequence[str]
) -> None:
    """Train the cells of a sweep in one program, from the newest checkpoint that all have; see `execute`.

    A cell that fails is marked, and the others go on.
    """
    from pogospec.explain import operations

    _train(View(console, runs, operations(specs[0], dataset.space), names=names), specs, dataset, True)


def _train(view: View, specs: Sequence[Spec], dataset: Dataset, resume: bool) -> None:
    from pogospec.training.loop import train_all

    cache.enable()
    with contextlib.ExitStack() as locks:
        for run in view.runs:
            locks.enter_context(run.lock())
        view.status("running")
        try:
            with view.bar:
                train_all(specs, dataset, view.runs, view, resume)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or stop.asked():
                view.status("interrupted", "stopped by the user")
                if view.alone:
                    again = f"pogospec resume {view.runs[0].path}"
                    print(f"interrupted; go on from the newest checkpoint with: {again}", file=sys.stderr)
                raise KeyboardInterrupt from None
            said = str(error) if isinstance(error, PogospecError) else f"{type(error).__name__}: {error}"
            view.status("failed", said)
            raise
        view.status("done")


class View:
    """Shows the events of runs: a live bar on a terminal, a plain line every few seconds elsewhere.

    `names`: what to call runs that train together, the cells of a sweep.
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
        self.going = dict(enumerate(runs))
        self.done, self.shown, self.total, self.scores = runs[0].status()["update"], 0.0, 0, ""
        self.stage = ""
        self.updates: list[int] = []
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            disable=console.quiet or not console.is_terminal,
        )

    @property
    def alone(self) -> bool:
        """Whether this is one run, and not one of a suite or a sweep."""
        return self.after is None and not self.names

    def status(self, state: str, message: str = "") -> None:
        """Set the status of the runs that have not failed."""
        for run in self.going.values():
            run.status(state, message, self.done)

    def __call__(self, event: Any) -> None:
        """Take one event of the training loop."""
        from pogospec.training import events

        stop.check()
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
            self.going.pop(event.index).status("failed", event.message, self.done)
            said = f"{self.done:>9,} updates  {self.names[event.index]} failed: {event.message}"
            self.console.print(said, style="red", highlight=False, markup=False, soft_wrap=True)

    def _progress(self, event: Any) -> None:
        self.done = event.total_done
        if event.stage != self.stage:  # scores of the stage before are not this one's
            self.stage, self.scores = event.stage, ""
        self.status("running")
        self.run_notes()
        numbers = [f"{short} {event.metrics[name]:.3g}" for name, short in METRICS.items() if name in event.metrics]
        rate = f"{event.rate:,.0f} updates/s"
        text = "  ".join(part for part in (rate, self.scores, *numbers) if part)
        seconds = self._left(event)
        parts = [f"about {span(seconds)} left"] if seconds else []
        left = ", ".join([*parts, f"{span(seconds + self.after)} of all"] if self.after else parts)
        others = f"{event.stage}{self.done:,}{self.total:,}{left}"
        room = max(self.console.width - len(others) - BAR - 14, 0)  # between columns, a slash, the time gone
        shown = text if len(text) <= room else f"{text[: room - 1]}…" * (room > 1)
        self.bar.update(self.task, completed=self.done, description=event.stage, numbers=shown, left=left)
        every = PLAIN_EVERY if self.after is None else AMONG_EVERY
        if time.monotonic() - self.shown > every or self.done == self.total:
            self._plain(f"{event.stage}  {event.update:,}/{event.updates:,}  {text}  {left}".rstrip())

    def _left(self, event: Any) -> float:
        """Seconds left at this rate, were an update of every stage to cost what its operations say."""
        here = event.number
        after = zip(self.updates[here + 1 :], self.operations[here + 1 :], strict=True)
        work = (event.updates - event.update) * self.operations[here] + sum(count * cost for count, cost in after)
        return work / (event.rate * max(self.operations[here], 1.0))

    def _scored(self, event: Any) -> None:
        returns = event.returns.mean(1)
        known = event.scores is not None
        values = returns if not known else event.scores if event.scores.ndim == 1 else event.scores.mean(1)
        what = "score" if known else "return"
        if self.names:
            self.scores, told = self._cells(what, values)
        else:
            self.scores = f"{what} {spread(values)}"
            told = self.scores + (f"  (return {spread(returns)})" if known else "")
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
        return brief, f"{brief}, best {self.names[[*self.going][best]]}: {spread(cells[best])}"

    def run_notes(self) -> None:
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


def report(console: Console, run: RunDirectory) -> None:
    """The table and the picture of a finished run, and what to do next."""
    cells, about = final(run), run.manifest
    if cells:
        console.print(f"\n{about['name']} on {about['dataset']}", style="bold", highlight=False)
        view = Table(box=box.SIMPLE_HEAD)
        view.add_column("policy")
        for name in ("updates", "return", *(["score"] if about["reference"] else [])):
            view.add_column(name, justify="right", no_wrap=True)
        for name, cell in cells.items():
            score = [] if cell.scores is None else [spread(cell.scores)]
            view.add_row(name, f"{cell.total_update:,}", spread(cell.returns), *score)
        console.print(view)
        console.print(header([run]), style="dim", highlight=False)
        gaps = differences(cells)
        if gaps:
            console.print("paired differences over seeds ± standard error:", highlight=False)
        for gap in gaps:
            console.print(f"  {gap}", highlight=False)
    elif is_target(run):
        from pogospec.report.screen import show_flow

        show_flow(console, run)
    elif about["environment"] is None:
        console.print("nothing was evaluated: the data name no environment; set data.environment")
    picture = learning_curve(run)
    if picture is not None:
        console.print(f"learning curve  {picture}", soft_wrap=True, highlight=False)
    console.print(f"run directory   {run.path}", soft_wrap=True, highlight=False)
    console.print(f"next            pogospec compare {run.path} …", soft_wrap=True, highlight=False)
