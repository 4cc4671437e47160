"""One run: begun, or gone on with, under the live view."""

from __future__ import annotations

from rich.console import Console

from pogospec.launch import local
from pogospec.launch.compiling import expected
from pogospec.launch.record import check_data, moved
from pogospec.launch.view import View, span
from pogospec.runs.directory import RunDirectory
from pogospec.spec.schema import Spec
from pogospec.terminal import command, say
from pogospec.types import Dataset


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
    from pogospec.explain import operations

    counts = [] if console.quiet else operations(spec, dataset.space)
    for change in dataset.changes:
        console.print(f"note: {change}", highlight=False, markup=False, soft_wrap=True)
    if counts and not resume and after is None:
        console.print(f"estimated time: {_estimate(spec, counts, dataset)}", highlight=False)
    try:
        local.train([spec], dataset, [run], View(console, [run], counts, after), resume)
    except KeyboardInterrupt:
        if after is None:
            again = command("resume", run.path)
            say(f"interrupted; go on from the newest checkpoint with: {again}", error=True)
        raise


def _estimate(spec: Spec, counts: list[float], dataset: Dataset) -> str:
    """How long a run will take, in words."""
    from pogospec.explain.overview import seconds

    training, compiling = seconds(spec, counts, dataset.space), expected(spec, dataset.space)
    if compiling is None:
        return f"about {span(training)}, and compiling"
    return f"about {span(training + compiling)}, of which compiling takes {span(compiling)}, by other runs here"


def go_on(console: Console, spec: Spec, dataset: Dataset, run: RunDirectory, after: float | None = None) -> None:
    """Go on with a run from its newest checkpoint; raises UsageError where its data changed."""
    from pogospec.explain import require_memory

    if run.status()["state"] == "failed":
        before = run.status()["message"]
        console.print(f"note: the run failed before: {before}", highlight=False, markup=False, soft_wrap=True)
    for change in moved(run):
        console.print(f"note: {change}; numbers may move", highlight=False)
    check_data(run, dataset)
    require_memory([spec], dataset.space, dataset)
    execute(console, spec, dataset, run, True, after)
