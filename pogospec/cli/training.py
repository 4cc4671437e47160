"""Commands that train and roll out: run, resume, evaluate."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pogospec.cli.app import (
    Allow,
    Device,
    Hosts,
    On,
    Quiet,
    Run,
    Seeds,
    Set,
    Sweep,
    Track,
    Updates,
    allow_modules,
    find_device,
    find_engine,
    make_console,
    overrides,
    swept,
    use_all_cores,
)
from pogospec.errors import RunError, UsageError
from pogospec.runs import cache
from pogospec.terminal import command, say
from pogospec.training import hosts as processes
from pogospec.training import stop

if TYPE_CHECKING:
    from rich.console import Console

    from pogospec.engines.base import AbstractEngine
    from pogospec.launch.job import Job
    from pogospec.spec.resolve import Document
    from pogospec.spec.schema import Spec


def run(
    specs: Annotated[list[str], typer.Argument(help="Spec files, or names of shipped specs; run one after another.")],
    dataset: Annotated[str | None, typer.Option(help="Short for --set data.dataset=…")] = None,
    seeds: Seeds = None,
    updates: Updates = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory, of several specs the folder of theirs; default: runs/NAME-DATASET-TIME."),
    ] = None,
    device: Device = None,
    set_: Set = None,
    sweep: Sweep = None,
    on: On = None,
    hosts: Hosts = None,
    track: Track = None,
    quiet: Quiet = False,
    allow: Allow = None,
) -> None:
    """Train and evaluate specs; all are checked before the first starts.

    A sweep makes a folder with a run for each cell; cells that differ in numbers alone train in one program.
    """
    engine = _engine(on, hosts, device)
    allow_modules(allow)
    from pogospec.checking.at_hand import require
    from pogospec.checking.check import checked_all
    from pogospec.checking.trackers import require_trackers, with_trackers
    from pogospec.spec.resolve import read_cells
    from pogospec.spec.shipped import spec_path

    given, grid = overrides(dataset, seeds, updates, set_), swept(sweep)
    cells = [[with_trackers(one, track) for one in read_cells(spec_path(name), given, grid)] for name in specs]
    loaded = checked_all([document for documents in cells for document in documents])
    require_trackers([document for documents in cells for document in documents])
    require([document for documents in cells for document in documents])
    notes = [str(note) for documents in cells for document in documents for note in document.idle]
    for name, documents in zip(specs, cells, strict=True):
        if documents[0].ranges:
            notes.append(f"{name} declares a search, which `pogospec tune` makes; here it runs as it is written")
    for note in dict.fromkeys(notes):
        say(f"note: {note}", error=True)
    if engine is not None:
        _refuse_single(specs, cells, loaded)
    found, console = find_device(device if engine is None else None), make_console(quiet)
    from pogospec.api import default_directory

    for name, documents in zip(specs, cells, strict=True):
        spec, loaded = loaded[0], loaded[len(documents) :]
        target = out or default_directory(spec)
        if out is not None and len(specs) > 1:
            target = out / Path(name).stem
        target = processes.place(target)
        if documents[0].cell or spec.schedule.branch is not None:
            from pogospec.launch.sweep import jobs_of

            _sweep(console, jobs_of(documents, target), target, found, engine, device)
        else:
            _run(console, documents[0], spec, target, found)


def _run(console: Console, document: Document, spec: Spec, target: Path, device: str) -> None:
    from pogospec.checking.check import located
    from pogospec.data import load_for
    from pogospec.launch.one import execute
    from pogospec.launch.plan import show_plan
    from pogospec.launch.record import new_run

    with located(document):
        processes.require_runs(spec, spec.seed_count)
        data = processes.agreed(lambda: load_for(spec))
        made = processes.agreed(lambda: new_run(spec, data, target, device))
        show_plan(console, spec, target, device)
        execute(console, spec, data, made)
    _finish(console, target)


def _engine(on: str | None, hosts: str | None, device: str | None) -> AbstractEngine | None:
    """The engine that trains runs; or this process does, with its cores, and with others where there are any."""
    engine = find_engine(on)
    if hosts is not None and engine is not None:
        raise UsageError(f"--hosts: found it beside --on {on}, whose workers train by themselves; leave one out")
    use_all_cores()
    processes.join(hosts, device)
    return engine


def _refuse_single(names: list[str], cells: list[list[Document]], loaded: list[Spec]) -> None:
    """Raise UsageError for a spec that is one run, which no engine is asked to train."""
    first = 0
    for name, documents in zip(names, cells, strict=True):
        if not documents[0].cell and loaded[first].schedule.branch is None:
            raise UsageError(f"--on: {name} is a single run, allowed a sweep; make a suite of several, or add --sweep")
        first += len(documents)


def _sweep(
    console: Console,
    jobs: list[Job],
    folder: Path,
    device: str,
    engine: AbstractEngine | None = None,
    asked: str | None = None,
) -> None:
    """Run what a sweep lacks, and show its table; raises RunError where cells failed.

    `engine` trains them where it is given, on devices of the kind `asked`.
    """
    from pogospec.launch.plan import show_plan
    from pogospec.launch.remote import Remote
    from pogospec.launch.sweep import about, groups_of, run_sweep
    from pogospec.report.reading import open_runs, troubles
    from pogospec.report.screen import show_grids, show_warnings
    from pogospec.runs.files import locked

    groups = groups_of(jobs)
    for group in groups:
        processes.require_runs(group[0].spec, sum(job.spec.seed_count for job in group))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; choose another --out") from None
    show_plan(console, jobs[0].spec, folder, device, about(jobs, groups))
    with locked(folder):
        try:
            if engine is None:
                failures = run_sweep(console, jobs, device)
            else:
                with Remote(console, engine, folder, asked) as remote:
                    failures = remote.sweep(jobs)
        except KeyboardInterrupt:
            say(f"interrupted; go on with: {command('resume', folder)}", error=True)
            raise
    if console.quiet:
        say(folder)
    runs, _ = open_runs([folder])
    show_grids(console, runs)
    show_warnings(console, [f"{run.path.name}: {text}" for run in runs for text in troubles(run)[:1]])
    console.print(f"next  {command('compare', folder)}", soft_wrap=True, highlight=False)
    figure = "switching" if any(job.document.trunk is not None for job in jobs) else "sweep"
    console.print(f"      {command('plot', folder, '--figure', figure)}", soft_wrap=True, highlight=False)
    if failures:
        lines = [f"  {failure.job.method}: {failure.message}" for failure in failures]
        raise RunError("\n".join([f"{len(failures)} of {len(jobs)} cells failed", *lines]))


def resume(
    run: Run,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="SEEDS", help="Train more seeds of a run that is done: 5 for 0 to 4, or 0,1,2,7."),
    ] = None,
    device: Device = None,
    on: On = None,
    hosts: Hosts = None,
    track: Track = None,
    quiet: Quiet = False,
    allow: Allow = None,
) -> None:
    """Go on with a run, or a sweep, from its newest checkpoint; or add seeds to a run that is done.

    The seeds that it has are not trained again, and it ends as a run of all of them would have.
    """
    engine = _engine(on, hosts, device)
    allow_modules(allow)
    from pogospec.checking.trackers import require_trackers, with_trackers
    from pogospec.launch.sweep import reopen

    run = processes.sent(run)
    jobs = [job.tracked(track) for job in reopen(run)]
    if seeds is not None:
        if hosts is not None:
            raise UsageError("--hosts: found it beside --seeds, which trains here; leave one out")
        if engine is not None:
            raise UsageError("--on: found it beside --seeds, which trains here; leave one out")
        if jobs:
            raise UsageError(f"--seeds: found a sweep, allowed a run; its cells are the directories in {run}")
        _refuse_suite(run)
        _more(make_console(quiet), run, seeds, device, track)
        return
    if jobs:
        require_trackers([job.document for job in jobs])
        where = find_device(device if engine is None else None)
        _sweep(make_console(quiet), jobs, run, where, engine, device)
        return
    if engine is not None:
        raise UsageError(f"--on: {run} is a single run, allowed a sweep; leave it out")
    from pogospec.checking.at_hand import require
    from pogospec.checking.check import checked, located
    from pogospec.checking.recorded import reread
    from pogospec.data import load_for
    from pogospec.launch.more import finish
    from pogospec.runs.directory import RunDirectory

    _refuse_suite(run)
    directory, console = RunDirectory.open(run), make_console(quiet)
    finish(directory)
    if directory.status()["state"] != "done":
        document = with_trackers(reread(directory)[0], track)
        loaded = checked(document)
        require_trackers([document])
        require([document])
        found = find_device(device)
        from pogospec.launch.one import go_on
        from pogospec.launch.plan import show_plan

        show_plan(console, loaded, run, found)
        with located(document):
            processes.require_runs(loaded, loaded.seed_count)
            go_on(console, loaded, processes.agreed(lambda: load_for(loaded)), directory)
    _finish(console, run)


def _more(console: Console, path: Path, seeds: str, device: str | None, track: str | None) -> None:
    from pogospec.checking.at_hand import require
    from pogospec.checking.check import checked
    from pogospec.checking.recorded import reread
    from pogospec.checking.trackers import require_trackers, with_trackers
    from pogospec.launch.more import add_seeds, seeds_from
    from pogospec.runs.directory import RunDirectory

    directory = RunDirectory.open(path)
    document = with_trackers(reread(directory)[0], track)
    require_trackers([document])
    require([document])
    add_seeds(console, directory, seeds_from(seeds), find_device(device), checked(document).train.track)
    _finish(console, path)


def _refuse_suite(folder: Path) -> None:
    from pogospec.report.reading import open_plan
    from pogospec.tuning.search import FILE

    if (folder / FILE).is_file():
        raise UsageError(f"{folder} holds a search; go on with: pogospec tune SPEC --out {folder}")
    plan = open_plan(folder)
    if plan is not None:
        raise UsageError(f"{folder} holds the suite '{plan.name}'; go on with: pogospec suite FILE --out {folder}")


def evaluate(
    run: Run,
    offline: Annotated[
        bool, typer.Option("--offline", help="From the data alone; of a folder all its runs. Written into ope.csv.")
    ] = False,
    episodes: Annotated[int | None, typer.Option(min=1, help="Default: as in the run.")] = None,
    policy: Annotated[str | None, typer.Option(help="behavior, 'step 1', 'step 1 (last)', …; default: all.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="First reset seed, default: as in the run; offline that of critics: 0.")
    ] = None,
    moves: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="Of particles: moves before one acts; default: as in the run.")
    ] = None,
    estimator: Annotated[
        str | None, typer.Option(metavar="NAME,…", help="Offline: fqe, wis, dr; default: all that can be had.")
    ] = None,
    discount: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Offline: below 1; default: that of the run's critic, or 0.99."),
    ] = None,
    action: Annotated[
        Literal["mean", "sample"] | None, typer.Option(help="Offline: how the policy acts; default: as in the run.")
    ] = None,
    rewards: Annotated[
        Literal["run", "logged"] | None,
        typer.Option(help="Offline: those of the run over the size of their scale, or as they were logged."),
    ] = None,
    level: Annotated[float | None, typer.Option(help="Offline: of the intervals; default: 0.95.")] = None,
    updates: Annotated[int | None, typer.Option(min=1, help="Offline: of each critic; default: 10000.")] = None,
    hidden: Annotated[
        str | None, typer.Option(metavar="N,…", help="Offline: hidden layers of critics; default: 128,128.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Offline: groups of episodes, each read by critics of the others; default: 2.")
    ] = None,
    fits: Annotated[
        int | None, typer.Option(min=1, max=100, help="Offline: critics of each group, averaged; default: 1.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Offline: actions in each place, where it samples; default: 8.")
    ] = None,
    allow: Allow = None,
) -> None:
    """Roll out the saved policies of a run again, of which nothing is written; or evaluate them from the data alone."""
    from pogospec.cli.offline import asked_of, evaluate_offline, refuse_beside

    more = {"estimator": estimator, "discount": discount, "action": action, "rewards": rewards, "level": level}
    more |= {"updates": updates, "hidden": hidden, "folds": folds, "fits": fits, "samples": samples}
    refuse_beside(offline, {"episodes": episodes}, more)
    allow_modules(allow)
    if offline:
        use_all_cores()
        evaluate_offline([run], asked_of(policy, moves, seed, more))
        return
    from pogospec.report.reading import is_target, normalised
    from pogospec.report.statistics import spread
    from pogospec.runs.directory import RunDirectory

    directory = RunDirectory.open(run)
    about = directory.manifest
    if is_target(directory):
        raise UsageError(f"{run} is a flow on a known energy, which has no environment; see {run}/flow.csv")
    labels = [policy] if policy else directory.policies(last=True)
    if about["environment"] is None:
        raise UsageError(f"{run} names no environment; set data.environment in the spec and run it again")
    if not labels:
        raise UsageError(f"{run} holds no policies yet; go on with: {command('resume', run)}")
    loaded = {label: directory.load_policy(label) for label in labels}
    from pogospec.runs.saved import SavedPolicy
    from pogospec.training.rollout import Evaluator

    cache.enable()
    policies = {label: SavedPolicy.load(*stored) for label, stored in loaded.items()}
    if moves is not None:
        if not any(saved.family.borrows for saved in policies.values()):
            raise UsageError(f"--moves: found {moves}, allowed for particles, of which {run} holds none")
        policies = {label: saved.after(moves) for label, saved in policies.items()}
    count, first = episodes or about["episodes"], about.get("evaluation_seed", 1000) if seed is None else seed
    over = "mean ± std over seeds (ddof 1)" if about["seeds"] > 1 else "one seed"
    say(f"{about['environment']}: mean of {count} episodes, reset seeds from {first}, {over}")
    for label, saved in policies.items():
        stop.check()
        with closing(Evaluator(about["environment"], count, first, saved.space)) as evaluator:
            returns = evaluator.rollout(saved.batched(about["action"]), about["seeds"]).mean(1)
        broken = [str(seed) for seed, value in enumerate(returns) if value != value]
        if broken:
            raise RunError(f"{label}, seed {', '.join(broken)}: its actions are not finite; train it again")
        scores = normalised(directory, returns)
        score = "" if scores is None else f"  score {spread(scores)}, {about['reference']['label']}"
        say(f"{label:<9} return {spread(returns)}{score}")


def _finish(console: Console, path: Path) -> None:
    from pogospec.launch.ending import report
    from pogospec.runs.directory import RunDirectory

    report(console, RunDirectory.open(path))
    if console.quiet:
        say(path)
