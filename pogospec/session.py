"""What `run` and `resume` share: the plan, the run directory, the live view and the end."""

from __future__ import annotations

import platform
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pogospec import __version__
from pogospec.errors import Interrupted, PogospecError
from pogospec.report.compare import differences, final, header
from pogospec.report.plot import learning_curve
from pogospec.runs import RunDirectory
from pogospec.spec.build import digest, dump
from pogospec.spec.schema import Spec
from pogospec.types import Dataset

PACKAGES = ("jax", "jaxlib", "numpy", "numpyro", "equinox", "optax", "gymnasium", "mujoco", "minari")


def show_plan(console: Console, spec: Spec, out: Path, device: str) -> None:
    """Say what will happen before anything is loaded or compiled."""
    lines = [spec.about] if spec.about else []
    lines += [f"data     {spec.data.dataset}", f"device   {device}, {spec.seeds} seed(s) in one program"]
    for number, step in enumerate(spec.schedule.steps, 1):
        repeat = f" x {step.repeat}" if step.repeat > 1 else ""
        lines.append(
            f"step {number}   from {step.from_}, learns {', '.join(step.learn)}: {step.updates:,} updates{repeat}"
        )
    lines += [f"into     {out}"]
    console.print(Panel("\n".join(lines), title=spec.name, title_align="left"))


def manifest(spec: Spec, dataset: Dataset, device: str) -> dict[str, Any]:
    """What a run records about itself."""
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
        "device": device,
        "started": datetime.now().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {"pogospec": __version__} | {name: version(name) for name in PACKAGES},
    }


def new_run(spec: Spec, dataset: Dataset, out: Path, device: str) -> RunDirectory:
    """Create the run directory of a spec."""
    terms = sorted({name for step in spec.schedule.steps for name in step.energy})
    return RunDirectory.create(out, dump(spec), manifest(spec, dataset, device), terms)


def execute(console: Console, spec: Spec, dataset: Dataset, run: RunDirectory, resume: bool) -> None:
    """Train with a live view, then report; the status of the run tells how it ended."""
    from pogospec.train import train

    view = _View(console)
    run.status("running")
    try:
        with view.bar:
            train(spec, dataset, run, view, resume)
    except KeyboardInterrupt:
        run.status("interrupted", "stopped by the user")
        raise Interrupted(f"interrupted; go on from the last checkpoint with: pogospec resume {run.path}") from None
    except PogospecError as error:
        run.status("failed", str(error))
        raise
    run.status("done")
    report(console, run)


class _View:
    def __init__(self, console: Console):
        self.console, self.last = console, 0.0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        )
        self.bar = Progress(
            *columns,
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("compiling", total=None, numbers="")

    def __call__(self, event: Any) -> None:
        name = type(event).__name__
        if name == "Started":
            self.bar.update(self.task, total=event.total_updates)
        elif name == "Progress":
            wanted = ("critic_loss", "behavior_loss", "energy", "distance")
            numbers = " ".join(f"{key} {event.metrics[key]:.3g}" for key in wanted if key in event.metrics)
            text = f"{event.rate:.0f}/s {numbers}"
            self.bar.update(self.task, completed=event.total_done, description=event.stage, numbers=text)
            if not self.console.is_terminal and time.monotonic() - self.last > 5:
                self.last = time.monotonic()
                self.console.print(f"{event.stage} {event.update:,}/{event.updates:,}  {text}")
        elif name == "Scored":
            score = event.scores if event.scores is not None else event.returns
            unit = "score" if event.scores is not None else "return"
            self.console.print(f"{event.total_done:>9,} updates  {event.policy:<9} {unit} {score.mean():.1f}")


def report(console: Console, run: RunDirectory) -> None:
    """The table and the picture of a finished run."""
    cells = final(run)
    if cells:
        table = Table(
            title=f"{run.manifest['name']} on {run.manifest['dataset']}",
            caption=header([run]),
            caption_justify="left",
        )
        for name in ("policy", "after updates", "score" if run.manifest["reference"] else "return"):
            table.add_column(name, justify="left" if name == "policy" else "right")
        for name, cell in cells.items():
            table.add_row(name, f"{cell.total_update:,}", str(cell))
        console.print(table)
        for gap in differences(cells):
            console.print(
                f"{gap.name}: {gap.mean:+.2f} ± {gap.error:.2f} (standard error of the paired difference over seeds)"
            )
    picture = learning_curve(run)
    if picture is not None:
        console.print(f"learning curve  {picture}", soft_wrap=True)
    console.print(f"run directory   {run.path}", soft_wrap=True)
