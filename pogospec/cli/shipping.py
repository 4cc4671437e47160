"""Commands that bring policies out of the house: export, render."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pogospec.cli.app import Allow, Run, allow_modules
from pogospec.runs import cache
from pogospec.terminal import say


def export(
    run: Run,
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT", help="npz (NumPy reads it), stablehlo (JAX), onnx (extra onnx) or torch (extra torch)."
        ),
    ],
    policy: Annotated[str | None, typer.Option(help="behavior, 'step 1', …; default: the last step.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="One of the run's; default: its first.")] = None,
    action: Annotated[
        Literal["mean", "sample"] | None,
        typer.Option(help="The mean action, or samples, whose noise is an input; default: as the run evaluates."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The file; default: in the run, exports/STEP-ACTION."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="In actions in [-1, 1]; what differs by more, and by more than rounding, is refused."),
    ] = 1e-6,
    allow: Allow = None,
) -> None:
    """Write a policy as a file that acts without pogospec, with a model card and a loader beside it.

    Normaliser, squashing and bounds are inside. The file is read by its loader and compared with the policy first.
    """
    allow_modules(allow)
    cache.enable()
    from pogospec.api import export as export_policy

    found = export_policy(run, to, policy, seed, action, out, tolerance)
    say(f"checked on {found.check}")
    say(f"policy  {found.path}")
    say(f"card    {found.card}")
    say(f"loader  {found.loader}")


def render(
    run: Run,
    policy: Annotated[
        list[str] | None, typer.Option(help="behavior, 'step 1', …; may be repeated; default: all, side by side.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="One after another.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="A .gif, or .mp4 (extra film); default: film.gif in the run."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="One of the run's; default: its first.")] = None,
    first: Annotated[
        int | None, typer.Option("--reset-seed", min=0, help="Of the first episode; default: as the run evaluates.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Of an episode at most, as the task counts them; default: all of it.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.01, max=100, help="0.5 shows it half as fast.")] = 1.0,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Pixels of a policy's panel.")] = 320,
    allow: Allow = None,
) -> None:
    """Film the same episodes of behaviour and steps, side by side, with the return so far; no screen is needed."""
    allow_modules(allow)
    cache.enable()
    from pogospec.film.render import render_run
    from pogospec.runs.directory import RunDirectory

    found = render_run(RunDirectory.open(run), out, policy, seed, episodes, first, seconds, speed, size, say)
    say(f"film  {found.path}  ({found.pictures} pictures, {found.seconds:.1f} s)")
