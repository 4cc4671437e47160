"""The command line: parse, call, print, exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Policy gradient flows for offline reinforcement learning, declared in YAML.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Set = Annotated[list[str] | None, typer.Option("--set", help="override a value: path=value (may be repeated)")]
Device = Annotated[str | None, typer.Option(help="cpu, gpu or tpu; default: what JAX finds")]


def main() -> None:
    """Run the command line; errors of the user or the run become one message and an exit code."""
    from pogospec.errors import PogospecError

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MUJOCO_GL", "egl")
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        app()
    except PogospecError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def spec_path(name: str) -> Path:
    """A path as given, or a shipped spec by its name."""
    path = Path(name)
    if path.is_file() or path.suffix or os.sep in name:
        return path
    return next((p for p in shipped_specs() if p.stem == name), path)


def shipped_specs() -> list[Path]:
    """The specs that come with the package."""
    here = Path(__file__).parent
    folder = here / "_specs" if (here / "_specs").is_dir() else here.parent / "specs"
    return sorted(folder.glob("*.yaml"))


def _overrides(dataset: str | None, seeds: int | None, updates: int | None, assignments: list[str] | None):
    from pogospec.spec.resolve import parse_set

    shorthands = {"data.dataset": dataset, "seeds": seeds, "schedule.steps[*].updates": updates}
    return [(path, str(value)) for path, value in shorthands.items() if value is not None] + [
        parse_set(text) for text in assignments or []
    ]


def _device(name: str | None) -> str:
    from pogospec.errors import RunDirectoryError

    if name is not None:
        os.environ["JAX_PLATFORMS"] = {"gpu": "cuda"}.get(name, name)
    import jax

    try:
        return str(jax.devices()[0])
    except RuntimeError:
        raise RunDirectoryError(f"--device: found '{name}', but JAX sees no such device; leave --device out") from None


@app.command()
def run(
    spec: Annotated[str, typer.Argument(help="a spec file, or the name of a shipped spec")],
    dataset: Annotated[str | None, typer.Option(help="shorthand for --set data.dataset=…")] = None,
    seeds: Annotated[int | None, typer.Option(help="shorthand for --set seeds=…")] = None,
    updates: Annotated[int | None, typer.Option(help="updates of each step")] = None,
    out: Annotated[Path | None, typer.Option(help="run directory; default: runs/NAME-DATASET-TIME")] = None,
    device: Device = None,
    set_: Set = None,
) -> None:
    """Train and evaluate a spec."""
    from rich.console import Console

    from pogospec.check import load
    from pogospec.data import load as load_data
    from pogospec.session import execute, new_run, show_plan

    loaded = load(spec_path(spec), _overrides(dataset, seeds, updates, set_))
    name = f"{loaded.name}-{loaded.data.dataset.replace('/', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
    target = out or Path("runs") / name
    found = _device(device)
    console = Console()
    show_plan(console, loaded, target, found)
    data = load_data(loaded.data.dataset, loaded.data.environment)
    execute(console, loaded, data, new_run(loaded, data, target, found), resume=False)


@app.command()
def resume(run: Annotated[Path, typer.Argument(help="a run directory")], device: Device = None) -> None:
    """Go on with a run from its newest checkpoint."""
    from rich.console import Console

    from pogospec.check import load
    from pogospec.data import load as load_data
    from pogospec.errors import DataError
    from pogospec.runs import RunDirectory
    from pogospec.session import execute, report, show_plan

    directory = RunDirectory.open(run)
    console = Console()
    if directory.status()["state"] == "done":
        report(console, directory)
        return
    loaded = load(run / "spec.yaml")
    show_plan(console, loaded, run, _device(device))
    data = load_data(loaded.data.dataset, loaded.data.environment)
    if data.sha256 != directory.manifest["data_sha256"]:
        raise DataError(f"{loaded.data.dataset}: the data changed since the run began; run the spec again")
    execute(console, loaded, data, directory, resume=True)


@app.command()
def check(specs: Annotated[list[str], typer.Argument(help="spec files")], set_: Set = None) -> None:
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
    run: Annotated[Path, typer.Argument(help="a run directory")],
    policy: Annotated[str | None, typer.Option(help="behavior, 'step 1', …; default: all")] = None,
    episodes: Annotated[int, typer.Option(min=1)] = 10,
    seed: Annotated[int, typer.Option(min=0, help="first reset seed")] = 1000,
) -> None:
    """Roll out the saved policies of a run again."""
    import numpy as np

    from pogospec.errors import RunDirectoryError
    from pogospec.evaluate import Evaluator
    from pogospec.runs import RunDirectory
    from pogospec.saved import SavedPolicy
    from pogospec.types import Reference

    directory = RunDirectory.open(run)
    manifest = directory.manifest
    if manifest["environment"] is None:
        raise RunDirectoryError(f"{run} names no environment; set data.environment in the spec")
    reference = Reference(**manifest["reference"]) if manifest["reference"] else None
    for label in [policy] if policy else directory.policies():
        saved = SavedPolicy.load(*directory.load_policy(label))
        evaluator = Evaluator(manifest["environment"], episodes, seed, saved.space)
        returns = evaluator.rollout(saved.batched(manifest["action"]), manifest["seeds"])
        evaluator.close()
        text = f"{label:<9} return {returns.mean():.2f}"
        if reference is not None:
            scores = np.asarray(reference.score(returns.mean(1)))
            spread = f" ± {scores.std(ddof=1):.1f} over seeds" if len(scores) > 1 else ""
            text += f"  score {scores.mean():.1f}{spread}, {reference.label}"
        print(text)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run directories")],
    to: Annotated[str, typer.Option(help="table, markdown, csv or json")] = "table",
) -> None:
    """Compare runs: fitted behaviour and each Euler step, mean ± std over seeds."""
    from rich.console import Console
    from rich.table import Table

    from pogospec.errors import RunDirectoryError
    from pogospec.report.compare import differences, final, header, table, to_text, warnings
    from pogospec.runs import RunDirectory

    if to not in ("table", "markdown", "csv", "json"):
        raise RunDirectoryError(f"--to: found '{to}', allowed table, markdown, csv, json")
    opened = [RunDirectory.open(run) for run in runs]
    if to != "table":
        print(to_text(opened, to))
        return
    console = Console()
    head, rows = table(opened)
    view = Table(caption=header(opened), caption_justify="left")
    for index, name in enumerate(head):
        view.add_column(name, justify="left" if index < 2 else "right")
    for row in rows:
        view.add_row(*row)
    console.print(view)
    for run in opened:
        for gap in differences(final(run)):
            what = f"{run.manifest['name']} on {run.manifest['dataset']}"
            console.print(f"{what}: {gap.name} {gap.mean:+.2f} ± {gap.error:.2f} (paired, standard error)")
    for warning in warnings(opened):
        console.print(f"warning: {warning}")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="kinds, datasets, specs or runs")],
    folder: Annotated[Path, typer.Option(help="where runs are")] = Path("runs"),
) -> None:
    """List what there is."""
    from pogospec import registry
    from pogospec.errors import RunDirectoryError
    from pogospec.runs import RunDirectory

    if what == "kinds":
        for slot in registry.slots():
            for kind in registry.table(slot):
                print(f"{slot:<15} {kind:<18} {(registry.load(slot, kind).__doc__ or '').splitlines()[0]}")
    elif what == "datasets":
        from pogospec.data import available

        for name, about in available():
            print(f"{name:<40} {about}")
    elif what == "specs":
        for path in shipped_specs():
            from pogospec.spec.yaml import read_tree

            print(f"{path.stem:<20} {read_tree(path).value['about'].value}")
    elif what == "runs":
        for path in sorted(folder.glob("*/manifest.json")):
            directory = RunDirectory.open(path.parent)
            print(f"{path.parent}  {directory.status()['state']}  {directory.manifest['dataset']}")
    else:
        raise RunDirectoryError(f"found '{what}', allowed kinds, datasets, specs, runs")
