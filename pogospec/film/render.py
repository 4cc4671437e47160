"""Render: episodes of the behaviour and each step of a run side by side, from the same start, as a film."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pogospec import frames
from pogospec.errors import UsageError
from pogospec.film import picture, renderers
from pogospec.film.play import Act, Panel, Stage
from pogospec.report.reading import is_target
from pogospec.runs.directory import RunDirectory
from pogospec.runs.manifest import numbers_of, seed_row
from pogospec.runs.saved import SavedPolicy
from pogospec.terminal import command
from pogospec.training import stop

FIGURE_SPACE = "\u2007"
"""As wide as a digit."""
FASTEST = 25.0
"""Pictures of a film a second at most."""
PAUSE = 0.8
"""Seconds for which the end of an episode stands."""


class Filmed(NamedTuple):
    """What was written."""

    path: Path
    pictures: int
    seconds: float


def render_run(
    run: RunDirectory,
    out: Path | None = None,
    policies: Sequence[str] | None = None,
    seed: int | None = None,
    episodes: int = 1,
    first: int | None = None,
    seconds: float | None = None,
    speed: float = 1.0,
    pixels: int = 320,
    tell: Callable[[str], None] = lambda text: None,
) -> Filmed:
    """Film policies of a run.

    Args:
        run: the run.
        out: a file .gif or .mp4; default in the run, film.gif.
        policies: labels; default: all that are saved.
        seed: one of the run's; default: its first.
        episodes: how many, one after another.
        first: reset seed of the first; default: that of the run's evaluation.
        seconds: of an episode at most, as the task counts them; default: all of it.
        speed: 0.5 shows it half as fast.
        pixels: width and height of a policy's panel.
        tell: what is called with a line after each episode.

    Raises:
        UsageError: for what cannot be filmed. RunError where nothing draws here. TaskError for a broken environment.

    """
    about = run.manifest
    path = run.path / "film.gif" if out is None else out
    frames.require(path)
    if is_target(run):
        how = command("plot", run.path, "--figure", "path", "--out", "path.gif")
        raise UsageError(f"{run.path} is a flow on a known energy, which has no episodes; its path is filmed by: {how}")
    if about["environment"] is None:
        raise UsageError(f"{run.path} names no environment, which a film needs; set data.environment in the spec")
    labels = list(policies or run.policies())
    if not labels:
        raise UsageError(f"{run.path} holds no policies yet; go on with: {command('resume', run.path)}")
    row = seed_row(about, seed)
    seed = numbers_of(about)[row]
    if sys.platform.startswith("linux"):
        os.environ.setdefault(renderers.VARIABLE, renderers.NAMES[0])
    loaded = [SavedPolicy.load(*run.load_policy(label)).only(row) for label in labels]
    acts = [_act(saved, about["action"], seed) for saved in loaded]
    begin = about.get("evaluation_seed", 1000) if first is None else first
    with closing(Stage(about["environment"], acts, loaded[0].space, pixels)) as stage:
        stride = max(1, round(stage.rate * speed / FASTEST))
        rate = stage.rate * speed / stride

        def shown() -> Iterator[Image.Image]:
            for number in range(episodes):
                now = str(number + 1).rjust(len(str(episodes)), FIGURE_SPACE)  # so that all pictures are of a size
                parts = [about["name"], stage.played.name, *[f"seed {seed}"] * (about["seeds"] > 1)]
                title = picture.PARTED.join([*parts, f"episode {now} of {episodes}"])
                panels: list[Panel] = []
                for panels in stage.episode(begin + number, stride, seconds):  # noqa: B007 -- the last is needed below
                    stop.check()
                    yield picture.composed(panels, labels, title, pixels)
                for _ in range(round(PAUSE * rate)):
                    yield picture.composed(panels, labels, title, pixels)
                gains = ", ".join(f"{label} {panel.gained:.1f}" for label, panel in zip(labels, panels, strict=True))
                tell(f"episode {number + 1} of {episodes}, reset seed {begin + number}: {gains}")

        count = frames.write(path, shown(), rate, lambda first: [first, picture.paled(first)])
    return Filmed(path, count, count / rate)


def _act(saved: SavedPolicy, action: str, seed: int) -> Act:
    act: Any = saved.batched(action, seed)
    return lambda observation, time: np.asarray(act(observation[None, None], time)[0, 0])
