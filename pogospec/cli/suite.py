"""The command that runs specs x datasets: suite."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pogospec.cli.app import (
    Allow,
    Device,
    On,
    Quiet,
    Track,
    allow_modules,
    find_device,
    find_engine,
    make_console,
    use_all_cores,
)
from pogospec.errors import DataError, RunError, UsageError
from pogospec.terminal import command, say

if TYPE_CHECKING:
    from rich.console import Console

    from pogospec.launch.forecast import Forecast
    from pogospec.launch.job import Failure, Job
    from pogospec.launch.states import State


def suite(
    file: Annotated[str, typer.Argument(help="A suite file, or the name of a shipped suite.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; default: runs/NAME.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is done, what is not and how long it takes.")] = (
        False
    ),
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="A method or dataset, such as 'd4rl/hopper-*'; may be repeated."),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Say how far each run is, and which worker trains it, and how fast.")
    ] = False,
    device: Device = None,
    on: On = None,
    track: Track = None,
    quiet: Quiet = False,
    allow: Allow = None,
) -> None:
    """Run what a suite lacks, and show its table: done runs are skipped, interrupted and failed ones go on.

    Stop it whenever you like and start it again: it ends with the same table. A run that fails stops no other.
    """
    engine = find_engine(on)
    use_all_cores()
    allow_modules(allow)
    from pogospec.checking.trackers import require_trackers
    from pogospec.launch.remote import Remote
    from pogospec.launch.states import states
    from pogospec.launch.suite import absent, chosen, jobs_of, record, run_all
    from pogospec.runs.directory import run_name
    from pogospec.runs.files import locked
    from pogospec.spec.shipped import suite_path
    from pogospec.spec.suite import read_suite

    found = read_suite(suite_path(file))
    folder = out or Path("runs") / run_name(found.name)
    every = [job.tracked(track) for job in jobs_of(found, folder)]
    jobs = chosen(every, only or [])
    before = states(jobs)
    if status:
        from pogospec.launch.whereabouts import show_whereabouts

        show_whereabouts(make_console(quiet), folder, jobs, before)
        return
    require_trackers([job.document for job, state in zip(jobs, before, strict=True) if state.left and not dry_run])
    missing = absent([job for job, state in zip(jobs, before, strict=True) if state.left])
    if missing and not dry_run:
        raise DataError("\n".join([*missing, "nothing was started; --only runs a part of the suite"]))
    where, console = find_device(device if engine is None else None), make_console(quiet)
    about = f": {found.about}" if found.about else ""
    console.print(found.name, style="bold", highlight=False, markup=False, end=f"{about}\n")
    console.print(f"{len(every)} runs in {folder}", highlight=False, markup=False, soft_wrap=True)
    forecast = _plan(console, folder, jobs, before, where)
    if missing:
        raise DataError("\n".join(missing))
    if dry_run:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; choose another --out") from None
    again = command(*sys.argv[1:])
    with locked(folder):
        record(found, every, folder)
        try:
            if engine is None:
                failures = run_all(console, jobs, states(jobs), where, forecast)
            else:
                with Remote(console, engine, folder, device, found.resources) as remote:
                    failures = remote.suite(jobs, states(jobs), forecast)
        except KeyboardInterrupt:
            say(f"interrupted; go on with: {again}", error=True)
            raise
    _end(console, folder, jobs, failures, again)


def _plan(console: Console, folder: Path, jobs: Sequence[Job], found: Sequence[State], device: str) -> Forecast:
    """Show how far every run is and what is left of it; the forecast behind that."""
    from pogospec.launch.forecast import Forecast
    from pogospec.launch.view import span
    from pogospec.report.screen import show_columns

    forecast, cells, lefts = Forecast(folder, jobs), {}, []
    for job, state in zip(jobs, found, strict=True):
        words = {"failed": "failed, ", "interrupted": f"{100 * state.update // job.updates}%, "}
        cells[job.method, job.dataset] = "done"
        if state.left:
            left = forecast.left(job, state.update)
            lefts.append(left)
            cells[job.method, job.dataset] = words.get(state.word, "") + ("?" if left is None else span(left))
    methods = list(dict.fromkeys(job.method for job in jobs))
    datasets = dict.fromkeys(job.dataset for job in jobs)
    rows = [[dataset, *(cells.get((method, dataset), "") for method in methods)] for dataset in datasets]
    show_columns(console, ["time left", *methods], rows)
    done = f"{len(jobs) - len(lefts)} of {len(jobs)} runs are done"
    if lefts:
        total, unknown = sum(left or 0.0 for left in lefts), lefts.count(None)
        done += f"; the others take about {span(total)} on {device}" + f", and {unknown} unknown" * (unknown > 0)
        compiled = any(state.left and forecast.compiling(job) for job, state in zip(jobs, found, strict=True))
        estimated = "by their operations" + (
            " and what other runs here compiled, without rollouts" if compiled else ", without compiling and rollouts"
        )
        done += f", {'by what was measured here' if forecast.measured else estimated}"
    console.print(done, highlight=False)
    return forecast


def _end(console: Console, folder: Path, jobs: Sequence[Job], failures: Sequence[Failure], again: str) -> None:
    """The table of the suite, and what failed; raises RunError where something did."""
    from pogospec.report.reading import open_plan, open_planned
    from pogospec.report.screen import show_flows, show_matrix
    from pogospec.report.tables import matrix_of, targets_of

    plan = open_plan(folder)
    if plan is not None and any(job.begun for job in jobs):
        runs = open_planned(plan)
        if targets_of(runs):
            show_flows(console, runs)
        else:
            show_matrix(console, matrix_of(runs, plan=plan))
        console.print(f"next: {command('compare', folder)}", highlight=False, soft_wrap=True)
    if console.quiet:
        say(folder)
    if failures:
        lines = [f"  {failure.job.name}: {failure.message}" for failure in failures]
        count = f"{len(failures)} of {len(jobs)} runs failed"
        raise RunError("\n".join([f"{count}; try them again with: {again}", *lines]))
