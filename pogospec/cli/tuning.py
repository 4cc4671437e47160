"""The command that searches over specs: tune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pogospec.cli.app import (
    Allow,
    Device,
    Quiet,
    Set,
    allow_modules,
    find_device,
    make_console,
    overrides,
    use_all_cores,
)
from pogospec.cli.offline import numbers_of
from pogospec.errors import RunError, UsageError
from pogospec.terminal import command, say

if TYPE_CHECKING:
    from rich.console import Console

    from pogospec.spec.resolve import Document, Override
    from pogospec.tuning.search import Plan, Search
    from pogospec.tuning.trial import Trials


def tune(
    spec: Annotated[str, typer.Argument(help="A spec file with a key `tune`, or the name of a shipped one.")],
    trials: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="How many; default: 20, of a grid all its points.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the trials; default: runs/NAME-DATASET-tune.")] = None,
    by: Annotated[
        Literal["returns", "fqe"] | None,
        typer.Option(help="Score of a trial: rollouts of its last policy (default), or fitted Q evaluation of it."),
    ] = None,
    sampler: Annotated[
        Literal["tpe", "random", "grid"],
        typer.Option(help="Where to look: Parzen estimators after 5 random trials, at random, or on a grid."),
    ] = "tpe",
    pruner: Annotated[
        Literal["none", "halving", "hyperband"],
        typer.Option(help="Stop trials whose evaluations fall behind: by successive halving, in one or many brackets."),
    ] = "none",
    seed: Annotated[int | None, typer.Option(min=0, help="Of the search; default: the first seed of the spec.")] = None,
    fqe_updates: Annotated[int | None, typer.Option(min=1, help="Of each critic of --by fqe; default: 10000.")] = None,
    fqe_hidden: Annotated[
        str | None, typer.Option(metavar="N,…", help="Hidden layers of these critics; default: 128,128.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Short for --set data.dataset=…")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="SEEDS", help="Short for --set seeds=…")] = None,
    updates: Annotated[int | None, typer.Option(help="Short for --set 'schedule.steps[*].updates=…'")] = None,
    set_: Set = None,
    device: Device = None,
    quiet: Quiet = False,
    allow: Allow = None,
) -> None:
    """Search the ranges that a spec declares, each trial a run, and show the best beside what they cost.

    Stop it whenever you like and start it again: it goes on, and a finished search shows its table again. Several
    processes that are given the same folder share the trials.
    """
    use_all_cores()
    allow_modules(allow)
    from pogospec.spec.shipped import spec_path
    from pogospec.tuning.engine import require_optuna

    path, given = str(spec_path(spec)), overrides(dataset, seeds, updates, set_)
    document = _document(spec, path, given)
    assert document.spec is not None
    require_optuna()
    from pogospec.tuning.score import by_of
    from pogospec.tuning.search import Plan

    scored = by_of(document.spec, by)
    for option, given_value in (("--fqe-updates", fqe_updates), ("--fqe-hidden", fqe_hidden)):
        if given_value is not None and scored != "fqe":
            raise UsageError(f"{option}: allowed with --by fqe")
    hidden = None if fqe_hidden is None else numbers_of("--fqe-hidden", fqe_hidden)
    number = document.spec.seed_numbers[0] if seed is None else seed
    plan = Plan(document.spec, document.ranges, scored, sampler, pruner, number, fqe_updates, hidden)
    _search(make_console(quiet), plan, path, given, out, trials, device, document)


def _document(spec: str, path: str, given: list[Override]) -> Document:
    """The spec of a search; raises SpecError and UsageError."""
    from pogospec.checking.at_hand import require
    from pogospec.checking.check import checked
    from pogospec.checking.ranges import require_ranges
    from pogospec.checking.trackers import require_trackers
    from pogospec.spec.resolve import read

    document = read(path, given)
    if not document.ranges:
        example = "'tune: {\"schedule.steps[*].tau\": {log: [0.1, 30]}}'"
        raise UsageError(f"{spec} declares nothing to search; give it ranges, such as {example}")
    checked(document)
    require_ranges(path, given, document)
    require_trackers([document])
    require([document])
    return document


def _search(
    console: Console,
    plan: Plan,
    path: str,
    given: list[Override],
    out: Path | None,
    trials: int | None,
    device: str | None,
    document: Document,
) -> None:
    """Run the trials that are left, and show all."""
    from pogospec.runs.directory import run_name
    from pogospec.spec.resolve import read_cells
    from pogospec.tuning.search import FILE, Search
    from pogospec.tuning.trial import Trials

    most, folder = plan.most(trials), out or Path("runs") / run_name(plan.spec.name, plan.spec.data.dataset, "tune")
    if not (folder / FILE).is_file():
        _require(plan, document)
    search = Search(plan, folder)
    runner = Trials(console, search, lambda cell: read_cells(path, given, cell)[0], find_device(device))
    console.print(f"{plan.spec.name}: {most} trials in {folder}", highlight=False, markup=False, soft_wrap=True)
    for where, one in plan.ranges.items():
        console.print(f"  {where}: {one}", highlight=False, markup=False, soft_wrap=True)
    again = command(*sys.argv[1:])
    try:
        _run(search, runner, most)
    except KeyboardInterrupt:
        say(f"interrupted; go on with: {again}", error=True)
        raise
    _end(console, search, runner, again)


def _require(plan: Plan, document: Document) -> None:
    """Refuse what cannot be scored before anything is made."""
    from pogospec.checking.check import located
    from pogospec.data import load_for
    from pogospec.tuning.score import require_scores

    with located(document):
        require_scores(plan.spec, load_for(plan.spec), plan.by, plan.pruner != "none")


def _run(search: Search, runner: Trials, most: int) -> None:
    while True:
        with search.claimed(most) as number:
            if number is None:
                return
            runner.run(number, most)


def _end(console: Console, search: Search, runner: Trials, again: str) -> None:
    """The table, the files, and what to do next; raises RunError where no trial was scored."""
    from pogospec.tuning.results import BEST, PICTURE, RESULTS, results, write
    from pogospec.tuning.screen import show

    found = results(search)
    write(search, found, runner)
    show(console, found, search.plan.spec.seed_count)
    if console.quiet:
        say(search.folder)
    if any(trial.state == "running" for trial in found.trials):
        console.print(f"other processes still run trials; see all with: {again}", highlight=False, soft_wrap=True)
    if found.best is None and not any(trial.state == "running" for trial in found.trials):
        said = next((trial.message for trial in found.trials if trial.message), "there was none")
        raise RunError(f"no trial came to a score: {said}; choose other ranges, and another --out")
    for name in (RESULTS, PICTURE):
        if (search.folder / name).is_file():
            console.print(f"written  {search.folder / name}", soft_wrap=True, highlight=False)
    if found.best is not None:
        console.print(f"next  {command('run', search.folder / BEST)}", soft_wrap=True, highlight=False)
        console.print(f"      {command('compare', search.folder)}", soft_wrap=True, highlight=False)
