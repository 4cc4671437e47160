"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pogospec import __version__
from pogospec.errors import PogospecError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Policy gradient flows for offline reinforcement learning, declared in YAML.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; may be repeated.")
]
Device = Annotated[Literal["cpu", "gpu", "tpu"] | None, typer.Option(help="Where to compute; default: what JAX finds.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the run directory and errors only.")]
Run = Annotated[Path, typer.Argument(help="A run directory.")]


class UsageError(PogospecError):
    """An argument of the command line that cannot be used."""

    exit_code = 2


def main() -> None:
    """Run the command line; errors of the user or the run become one message and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MUJOCO_GL", "egl")
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        app()
    except PogospecError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def shipped_specs() -> list[Path]:
    """The specs that come with the package."""
    here = Path(__file__).parent
    folder = here / "_specs" if (here / "_specs").is_dir() else here.parent / "specs"
    return sorted(folder.glob("*.yaml"))


def spec_path(name: str) -> Path:
    """A path as given, or a shipped spec by its name."""
    from pogospec.registry import nearest

    path = Path(name)
    if path.is_file() or path.suffix or path.name != name:
        return path
    shipped = {spec.stem: spec for spec in shipped_specs()}
    wanted = name.replace("-", "_")
    if wanted not in shipped:
        close = nearest(wanted, shipped)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"found no spec '{name}', allowed a file or one of {', '.join(shipped)}{hint}")
    return shipped[wanted]


def _overrides(
    dataset: str | None, seeds: int | None, updates: int | None, assignments: list[str] | None
) -> list[tuple[str, str]]:
    from pogospec.spec.resolve import parse_set

    shorthands = {"data.dataset": dataset, "seeds": seeds, "schedule.steps[*].updates": updates}
    given = [(path, str(value)) for path, value in shorthands.items() if value is not None]
    return given + [parse_set(text) for text in assignments or []]


def _device(name: str | None) -> str:
    import jax

    if name is not None:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(name, name))
    try:
        return str(jax.devices()[0])
    except (RuntimeError, AssertionError):  # JAX asserts where a CUDA plugin is not installed
        asked = name or os.environ.get("JAX_PLATFORMS")
        raise UsageError(f"--device: found '{asked}', but JAX sees no such device here; leave --device out") from None


def _console(quiet: bool = False) -> Console:
    from rich.console import Console

    return Console(quiet=quiet, width=None if sys.stdout.isatty() else 110)


def _finish(console: Console, path: Path) -> None:
    from pogospec.console import report
    from pogospec.runs import RunDirectory

    report(console, RunDirectory.open(path))
    if console.quiet:
        print(path)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pogospec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    spec: Annotated[str, typer.Argument(help="A spec file, or the name of a shipped spec.")],
    dataset: Annotated[str | None, typer.Option(help="Short for --set data.dataset=…")] = None,
    seeds: Annotated[int | None, typer.Option(help="Short for --set seeds=…")] = None,
    updates: Annotated[int | None, typer.Option(help="Short for --set 'schedule.steps[*].updates=…'")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; default: runs/NAME-DATASET-TIME.")] = None,
    device: Device = None,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Train and evaluate a spec."""
    from pogospec.check import load
    from pogospec.data import load as load_data

    loaded = load(spec_path(spec), _overrides(dataset, seeds, updates, set_))
    found = _device(device)
    from pogospec.console import execute, new_run, show_plan

    name = f"{loaded.name}-{loaded.data.dataset.replace('/', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    target, console = out or Path("runs") / name, _console(quiet)
    show_plan(console, loaded, target, found)
    data = load_data(loaded.data.dataset, loaded.data.environment)
    execute(console, loaded, data, new_run(loaded, data, target, found))
    _finish(console, target)


@app.command()
def resume(run: Run, device: Device = None, quiet: Quiet = False) -> None:
    """Go on with a run from its newest checkpoint."""
    from pogospec.check import load
    from pogospec.data import load as load_data
    from pogospec.runs import RunDirectory

    directory, console = RunDirectory.open(run), _console(quiet)
    if directory.status()["state"] != "done":
        loaded = load(run / "spec.yaml")
        found = _device(device)
        from pogospec.console import execute, moved, show_plan

        show_plan(console, loaded, run, found)
        for change in moved(directory):
            console.print(f"note: {change}; numbers may move", highlight=False)
        data = load_data(loaded.data.dataset, loaded.data.environment)
        if data.sha256 != directory.manifest["data_sha256"]:
            raise UsageError(f"{loaded.data.dataset}: the data changed since the run began; run the spec again")
        execute(console, loaded, data, directory, resume=True)
    _finish(console, run)


@app.command()
def check(
    specs: Annotated[list[str], typer.Argument(help="Spec files, or names of shipped specs.")], set_: Set = None
) -> None:
    """Check specs without running them; all mistakes of all files at once."""
    from pogospec.check import load
    from pogospec.errors import SpecError

    problems = []
    for name in specs:
        try:
            load(spec_path(name), _overrides(None, None, None, set_))
            print(f"{name}: fine")
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)


@app.command()
def evaluate(
    run: Run,
    episodes: Annotated[int | None, typer.Option(min=1, help="Default: as in the run.")] = None,
    policy: Annotated[str | None, typer.Option(help="behavior, 'step 1', …; default: all.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="First reset seed; default: as in the run.")] = None,
) -> None:
    """Roll out the saved policies of a run again; nothing is written."""
    from pogospec.report.compare import normalised, spread
    from pogospec.runs import RunDirectory

    directory = RunDirectory.open(run)
    about = directory.manifest
    labels = [policy] if policy else directory.policies()
    if about["environment"] is None:
        raise UsageError(f"{run} names no environment; set data.environment in the spec and run it again")
    if not labels:
        raise UsageError(f"{run} holds no policies yet; go on with: pogospec resume {run}")
    loaded = {label: directory.load_policy(label) for label in labels}
    from pogospec.evaluate import Evaluator
    from pogospec.saved import SavedPolicy

    count, first = episodes or about["episodes"], about.get("evaluation_seed", 1000) if seed is None else seed
    over = "mean ± std over seeds (ddof 1)" if about["seeds"] > 1 else "one seed"
    print(f"{about['environment']}: mean of {count} episodes, reset seeds from {first}, {over}")
    for label, stored in loaded.items():
        saved = SavedPolicy.load(*stored)
        evaluator = Evaluator(about["environment"], count, first, saved.space)
        returns = evaluator.rollout(saved.batched(about["action"]), about["seeds"]).mean(1)
        evaluator.close()
        scores = normalised(directory, returns)
        score = "" if scores is None else f"  score {spread(scores)}, {about['reference']['label']}"
        print(f"{label:<9} return {spread(returns)}{score}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    to: Annotated[Literal["table", "markdown", "json", "csv"], typer.Option(help="How to print.")] = "table",
    plot: Annotated[Path | None, typer.Option(help="Draw the learning curves of all runs into a PNG.")] = None,
) -> None:
    """Compare runs: the fitted behaviour and each Euler step, mean ± std over seeds."""
    from pogospec.console import show_comparison
    from pogospec.report.compare import to_text, warnings
    from pogospec.report.plot import learning_curve
    from pogospec.runs import RunDirectory

    opened = [RunDirectory.open(run) for run in runs]
    if to == "table":
        show_comparison(_console(), opened)
    else:
        print(to_text(opened, to))
    if to == "csv":
        for warning in warnings(opened):
            print(f"warning: {warning}", file=sys.stderr)
    if plot is not None and learning_curve(opened, plot) is None:
        raise UsageError("--plot: none of the runs was evaluated")


@app.command("list")
def list_(
    what: Annotated[Literal["kinds", "datasets", "specs", "runs"], typer.Argument(help="What to list.")],
    folder: Annotated[Path, typer.Option(help="Where runs are.")] = Path("runs"),
) -> None:
    """List kinds, datasets, specs or runs."""
    if what == "kinds":
        from pogospec import registry

        for slot in registry.slots():
            for kind in registry.table(slot):
                doc = (registry.load(slot, kind).__doc__ or "").strip().partition("\n")[0]
                print(f"{slot:<15} {kind:<18} {doc}")
    elif what == "datasets":
        from pogospec.data import available

        for name, about in available():
            print(f"{name:<40} {about}")
    elif what == "specs":
        from pogospec.spec.yaml import read_tree

        for path in shipped_specs():
            about = read_tree(path).value.get("about")
            print(f"{path.stem:<20} {'' if about is None else about.value}")
    else:
        _list_runs(folder)


def _list_runs(folder: Path) -> None:
    from pogospec.runs import RunDirectory

    paths = sorted(folder.glob("*/manifest.json"))
    if not paths:
        print(f"no runs in {folder}; start one with: pogospec run SPEC")
    for path in paths:
        directory = RunDirectory.open(path.parent)
        status, about = directory.status(), directory.manifest
        print(f"{path.parent}  {status['state']}  {status['update']:,} updates  {about['name']} on {about['dataset']}")


if __name__ == "__main__":
    main()
