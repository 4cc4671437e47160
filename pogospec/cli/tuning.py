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
from pogospec.terminal import command, say

if TYPE_CHECKING:
    from rich.console import Console

    from pogospec.tuning.whole import Whole


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
    from pogospec.tuning.whole import Whole, document_of, plan_of

    path, given = str(spec_path(spec)), overrides(dataset, seeds, updates, set_)
    document = document_of(spec, path, given)
    hidden = None if fqe_hidden is None else numbers_of("--fqe-hidden", fqe_hidden)
    critics = {"fqe_updates": fqe_updates, "fqe_hidden": hidden}
    plan = plan_of(document, by, sampler, pruner, seed, critics)
    console = make_console(quiet)
    whole = Whole(console, plan, document, path, given, out, trials, find_device(device))
    console.print(
        f"{plan.spec.name}: {whole.most} trials in {whole.search.folder}", soft_wrap=True, highlight=False, markup=False
    )
    for where, one in plan.ranges.items():
        console.print(f"  {where}: {one}", soft_wrap=True, highlight=False, markup=False)
    again = command(*sys.argv[1:])
    try:
        whole.run()
    except KeyboardInterrupt:
        say(f"interrupted; go on with: {again}", error=True)
        raise
    _end(console, whole, again)


def _end(console: Console, whole: Whole, again: str) -> None:
    """The table, the files, and what to do next; raises RunError where no trial was scored."""
    from pogospec.tuning.results import BEST, PICTURE, RESULTS
    from pogospec.tuning.screen import show
    from pogospec.tuning.whole import require_found

    found, search = whole.end(), whole.search
    show(console, found, search.plan.spec.seed_count)
    if console.quiet:
        say(search.folder)
    if any(trial.state == "running" for trial in found.trials):
        console.print(f"other processes still run trials; see all with: {again}", highlight=False, soft_wrap=True)
    require_found(found)
    for name in (RESULTS, PICTURE):
        if (search.folder / name).is_file():
            console.print(f"written  {search.folder / name}", soft_wrap=True, highlight=False)
    if found.best is not None:
        console.print(f"next  {command('run', search.folder / BEST)}", soft_wrap=True, highlight=False)
        console.print(f"      {command('compare', search.folder)}", soft_wrap=True, highlight=False)
