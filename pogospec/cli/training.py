"""Commands that train and roll out: run, resume, evaluate."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pogospec import cache, stop
from pogospec.cli.app import Allow, Device, Quiet, Run, Set, allow_modules, find_device, make_console, overrides
from pogospec.errors import RunError, UsageError

if TYPE_CHECKING:
    from rich.console import Console


def run(
    specs: Annotated[list[str], typer.Argument(help="Spec files, or names of shipped specs; run one after another.")],
    dataset: Annotated[str | None, typer.Option(help="Short for --set data.dataset=…")] = None,
    seeds: Annotated[int | None, typer.Option(help="Short for --set seeds=…")] = None,
    updates: Annotated[int | None, typer.Option(help="Short for --set 'schedule.steps[*].updates=…'")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory, of several specs the folder of theirs; default: runs/NAME-DATASET-TIME."),
    ] = None,
    device: Device = None,
    set_: Set = None,
    quiet: Quiet = False,
    allow: Allow = None,
) -> None:
    """Train and evaluate specs; all are checked before the first starts."""
    allow_modules(allow)
    from pogospec.check import checked_all, located
    from pogospec.data import load_for
    from pogospec.spec.resolve import read
    from pogospec.spec.shipped import spec_path

    given = overrides(dataset, seeds, updates, set_)
    documents = [read(spec_path(name), given) for name in specs]
    loaded = checked_all(documents)
    found, console = find_device(device), make_console(quiet)
    from pogospec.api import default_directory
    from pogospec.console import execute, new_run, show_plan

    for name, document, spec in zip(specs, documents, loaded, strict=True):
        target = out or default_directory(spec)
        if out is not None and len(specs) > 1:
            target = out / Path(name).stem
        show_plan(console, spec, target, found)
        with located(document):
            data = load_for(spec)
            execute(console, spec, data, new_run(spec, data, target, found))
        _finish(console, target)


def resume(run: Run, device: Device = None, quiet: Quiet = False, allow: Allow = None) -> None:
    """Go on with a run from its newest checkpoint."""
    allow_modules(allow)
    from pogospec.check import checked, located
    from pogospec.data import load_for
    from pogospec.runs import RunDirectory
    from pogospec.spec.resolve import read

    directory, console = RunDirectory.open(run), make_console(quiet)
    if directory.status()["state"] != "done":
        document = read(run / "spec.yaml")
        loaded = checked(document)
        found = find_device(device)
        from pogospec.console import go_on, show_plan

        show_plan(console, loaded, run, found)
        with located(document):
            go_on(console, loaded, load_for(loaded), directory)
    _finish(console, run)


def evaluate(
    run: Run,
    episodes: Annotated[int | None, typer.Option(min=1, help="Default: as in the run.")] = None,
    policy: Annotated[str | None, typer.Option(help="behavior, 'step 1', …; default: all.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="First reset seed; default: as in the run.")] = None,
) -> None:
    """Roll out the saved policies of a run again; nothing is written."""
    from pogospec.report.compare import normalised, spread
    from pogospec.report.flow import is_target
    from pogospec.runs import RunDirectory

    directory = RunDirectory.open(run)
    about = directory.manifest
    if is_target(directory):
        raise UsageError(f"{run} is a flow on a known energy, which has no environment; see {run}/flow.csv")
    labels = [policy] if policy else directory.policies()
    if about["environment"] is None:
        raise UsageError(f"{run} names no environment; set data.environment in the spec and run it again")
    if not labels:
        raise UsageError(f"{run} holds no policies yet; go on with: pogospec resume {run}")
    loaded = {label: directory.load_policy(label) for label in labels}
    from pogospec.evaluate import Evaluator
    from pogospec.saved import SavedPolicy

    cache.enable()
    count, first = episodes or about["episodes"], about.get("evaluation_seed", 1000) if seed is None else seed
    over = "mean ± std over seeds (ddof 1)" if about["seeds"] > 1 else "one seed"
    print(f"{about['environment']}: mean of {count} episodes, reset seeds from {first}, {over}")
    for label, stored in loaded.items():
        stop.check()
        saved = SavedPolicy.load(*stored)
        with closing(Evaluator(about["environment"], count, first, saved.space)) as evaluator:
            returns = evaluator.rollout(saved.batched(about["action"]), about["seeds"]).mean(1)
        broken = [str(seed) for seed, value in enumerate(returns) if value != value]
        if broken:
            raise RunError(f"{label}, seed {', '.join(broken)}: its actions are not finite; train it again")
        scores = normalised(directory, returns)
        score = "" if scores is None else f"  score {spread(scores)}, {about['reference']['label']}"
        print(f"{label:<9} return {spread(returns)}{score}")


def _finish(console: Console, path: Path) -> None:
    from pogospec.console import report
    from pogospec.runs import RunDirectory

    report(console, RunDirectory.open(path))
    if console.quiet:
        print(path)
