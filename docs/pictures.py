"""Draws every picture of the site again: the geometries' here, the gallery's by the commands of its page.

`python docs/pictures.py [NAME…]`: all, or those of these names; some eight minutes of a core.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from matplotlib.figure import Figure

import pogospec
from pogospec import registry
from pogospec.geometries.base import Seen
from pogospec.policies.base import DiagonalNormal
from pogospec.types import Space

HERE = Path(__file__).parent
PICTURES, GALLERY = HERE / "pictures", HERE / "gallery.md"
START, OPTIMUM = (-0.6, 0.35), (0.5, 0.15)
"""Mean and standard deviation of the start of the flows, around which D is shown, and of their end."""
TAU, STEPS, UPDATES = {True: 0.3, False: 0.02}, 20, 300
"""Flow time of a step in geometries of densities (True) and in those of actions, steps, and updates of each."""
TOGETHER = ("wasserstein2", "fisher_rao", "gaussian_fisher_rao", "kl")
"""Geometries whose flows share a picture."""
LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
MANY, ROWS, LEARNED = 128, 128, 400
"""Samples behind level sets, estimates side by side, updates of a learned geometry."""
BLUE, RED, GREY = "#1f77b4", "#c44e52", "#666666"


def geometries() -> list[str]:
    """The kinds that have a picture."""
    return list(registry.table("geometry"))


def names() -> list[str]:
    """Files of all pictures."""
    return [*(f"geometry-{kind}.png" for kind in geometries()), "paths.png", *of_gallery()]


def of_gallery() -> list[str]:
    """Files of the pictures that the gallery shows."""
    return re.findall(r"\]\(pictures/([\w-]+\.png)\)", GALLERY.read_text(encoding="utf-8"))


def flow(kind: str) -> pogospec.Flow:
    """The flow of KL to the optimum in a geometry, from the start."""
    (mean, std), dense = OPTIMUM, registry.load("geometry", kind).needs_density

    def log_density(x):
        return -0.5 * jnp.sum(jnp.square((x - mean) / std))

    return pogospec.flow(
        log_density, dimensions=1, geometry=kind, tau=TAU[dense], steps=STEPS, updates=UPDATES, learning_rate=0.02,
        start=START, actions="quadrature",
    )  # fmt: skip


def gaussians(means: Any, stds: Any) -> DiagonalNormal:
    """A row for each mean and standard deviation, over one action."""
    return DiagonalNormal(jnp.asarray(means)[:, None], jnp.log(jnp.asarray(stds))[:, None])


def divergences(kind: str, means: Any, stds: Any, samples: int = MANY, same: bool = False) -> np.ndarray:
    """D from Gaussians of these means and stds to the start, by so many samples; `same`: by the same in each row."""
    cls = registry.load("geometry", kind)
    geometry, key = cls(samples=samples) if cls.by_samples else cls(), jax.random.key(0)

    def one(row):
        mean, std, number = row
        seen = Seen(jnp.zeros((1, 1)), key if same else jax.random.fold_in(key, number))
        return geometry.divergence(gaussians(mean[None], std[None]), gaussians(*np.array(START)[:, None]), seen)[0]

    rows = jnp.asarray(means), jnp.asarray(stds), jnp.arange(len(means))
    return np.asarray(jax.jit(lambda rows: jax.lax.map(one, rows, batch_size=32))(rows))


def draw_geometry(kind: str) -> Figure:
    """Level sets of D around the start, with the flow, or with the error of the estimate; of a learned D its way."""
    cls = registry.load("geometry", kind)
    if cls.learns:
        return draw_learned(kind)
    picture = Figure((6.5 if cls.by_samples else 4.2, 3.1), layout="constrained")
    left, *right = picture.subplots(1, 1 + cls.by_samples, squeeze=False)[0]
    means, stds = np.meshgrid(np.linspace(-1.25, 0.95, 34), np.linspace(0.04, 0.75, 30))
    found = divergences(kind, means.ravel(), stds.ravel(), same=True).reshape(means.shape)
    lines = left.contour(means, stds, found, LEVELS, colors=GREY, linewidths=0.8)
    left.clabel(lines, fontsize=7, fmt=lambda level: f"{level:g}")
    plane(left, "level sets of D" if cls.by_samples else "level sets of D, and the flow")
    if cls.by_samples:
        draw_errors(right[0], kind)
    else:
        draw_path(left, flow(kind), BLUE, kind)
    return picture


def draw_path(axes: Any, path: pogospec.Flow, color: str, label: str) -> None:
    """The Gaussians of a flow, as points."""
    means, stds = np.asarray(path.parameters.mean)[:, 0], np.exp(np.asarray(path.parameters.log_std))[:, 0]
    axes.plot(means, stds, "-o", color=color, markersize=3, linewidth=1.2, label=label)


def draw_learned(kind: str) -> Figure:
    """A geometry that is learned: its estimate from the optimum to the start, while it learns, beside W1."""
    geometry, key = registry.load("geometry", kind)(hidden=(64,), samples=8), jax.random.key(0)
    p, q = (gaussians(np.full(ROWS, mean), np.full(ROWS, std)) for mean, std in (OPTIMUM, START))
    observations = jnp.zeros((ROWS, 1))

    @jax.jit
    def step(learned, number):
        seen = Seen(observations, jax.random.fold_in(key, number), learned)
        return geometry.update(p, q, seen)[0], geometry.divergence(p, q, seen).mean()

    first = geometry.init(key, Space(1, 1, (-1.0,), (1.0,)))
    found = np.asarray(jax.lax.scan(step, first, jnp.arange(LEARNED))[1])
    z = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    exact = np.abs(OPTIMUM[0] - START[0] + (OPTIMUM[1] - START[1]) * np.asarray(z)).mean()
    picture = Figure((4.2, 3.1), layout="constrained")
    axes = picture.subplots()
    axes.axhline(exact, color=RED, linewidth=1, label="W1, in closed form")
    axes.plot(found, color=BLUE, linewidth=1, label="dual critic, mean over a minibatch")
    axes.legend(fontsize=7, frameon=False)
    tidy(axes, "updates of the policy", "estimate of D", "start to optimum, both at rest")
    return picture


def draw_errors(axes: Any, kind: str) -> None:
    """Mean and standard deviation of the estimate of D between start and optimum, against the samples."""
    counts = [4, 8, 16, 32, 64, 128]
    mean, std = (np.full(ROWS, value) for value in OPTIMUM)
    found = [divergences(kind, mean, std, count) for count in counts]
    means, stds = (np.array([getattr(values, name)() for values in found]) for name in ("mean", "std"))
    many = divergences(kind, mean[:32], std[:32], 4 * MANY).mean()
    axes.axhline(many, color=RED, linewidth=1, label="very many")
    axes.errorbar(counts, means, stds, color=BLUE, marker="o", markersize=3, linewidth=1.2, label="mean ± std")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.legend(fontsize=7, frameon=False)
    tidy(axes, "samples", "estimate of D", "start to optimum")


def plane(axes: Any, title: str) -> None:
    """The half-plane of Gaussians, with start and optimum."""
    axes.plot(*START, "s", color="black", markersize=6)
    axes.plot(*OPTIMUM, "*", color=RED, markersize=11)
    axes.set_xlim(-1.25, 0.95)
    axes.set_ylim(0.04, 0.75)
    tidy(axes, "mean", "standard deviation", title)


def tidy(axes: Any, x: str, y: str, title: str) -> None:
    """Small letters, no frame."""
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def draw_paths(paths: dict[str, pogospec.Flow]) -> Figure:
    """Flows under several geometries, side by side."""
    picture = Figure((6.5, 3.4), layout="constrained")
    axes = picture.subplots()
    for kind, color in zip(paths, ("#1f77b4", "#dd8452", "#55a868", "#8172b3"), strict=True):
        draw_path(axes, paths[kind], color, kind)
    plane(axes, "twenty steps each, from the square to the star")
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    return picture


def draw_gallery(wanted: set[str]) -> None:
    """Run the commands of the gallery in a folder of their own, and keep the pictures."""
    text = GALLERY.read_text(encoding="utf-8")
    script = "\n".join(["set -e", *re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)])
    with tempfile.TemporaryDirectory() as folder:
        here = f'pogospec() {{ "{sys.executable}" -m pogospec "$@"; }}\n'
        subprocess.run(["bash", "-c", here + script], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for name in wanted:
            shutil.copyfile(f"{folder}/{name}", PICTURES / name)


def main(asked: list[str]) -> None:
    """Draw what is asked for, or all."""
    wanted = {f"{name.removesuffix('.png')}.png" for name in asked} or set(names())
    unknown = wanted - set(names())
    if unknown:
        sys.exit(f"found {', '.join(sorted(unknown))}, allowed {', '.join(names())}")
    PICTURES.mkdir(exist_ok=True)
    for kind in geometries():
        if (name := f"geometry-{kind}.png") in wanted:
            draw_geometry(kind).savefig(PICTURES / name, dpi=140)
    if "paths.png" in wanted:
        draw_paths({kind: flow(kind) for kind in TOGETHER}).savefig(PICTURES / "paths.png", dpi=140)
    if wanted & set(of_gallery()):
        draw_gallery(wanted & set(of_gallery()))


if __name__ == "__main__":
    main(sys.argv[1:])
