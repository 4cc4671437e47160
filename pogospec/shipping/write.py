"""Export: a policy as a file that acts without this package; checked first, then published with card and loader."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pogospec import __version__
from pogospec.checking.recorded import reread
from pogospec.data import load_for
from pogospec.errors import PogospecError, UsageError
from pogospec.report.reading import is_target
from pogospec.runs import files
from pogospec.runs.directory import RunDirectory
from pogospec.runs.manifest import numbers_of, seed_row
from pogospec.runs.saved import SavedPolicy
from pogospec.runs.versions import versions
from pogospec.shipping.card import card
from pogospec.shipping.check import ROWS, TOLERANCE, Check, compare
from pogospec.shipping.formats.base import AbstractFormat, Deed, Input, format_of
from pogospec.shipping.graph import Unwritten
from pogospec.spec.build import to_plain


class Exported(NamedTuple):
    """What was written."""

    path: Path
    card: Path
    loader: Path
    check: Check


def export_policy(
    run: RunDirectory,
    to: str,
    label: str,
    seed: int | None = None,
    action: Literal["mean", "sample"] | None = None,
    out: Path | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write a policy of a run as a file of a format, its card and its loader beside it.

    Args:
        run: the run.
        to: the format.
        label: behavior, step 1, …
        seed: one of the run's; default: its first.
        action: the mean action or a sample; default: as the run evaluates.
        out: the file; default in the run, exports/step_1.npz.
        tolerance: the largest difference from the policy, in actions scaled to [-1, 1].

    Raises:
        UsageError: for a format that is not known, lacks a package, or cannot hold the policy.
        RunError: where the file acts otherwise than the policy.

    """
    if is_target(run):
        raise UsageError(f"{run.path} is a flow on a known energy, which has no observations; its draws are in Python")
    written_as, about = format_of(to), run.manifest
    row = seed_row(about, seed)
    seed = numbers_of(about)[row]
    chosen: str = about["action"] if action is None else action
    path = _path(run, written_as, label, seed, chosen, out)
    saved = SavedPolicy.load(*run.load_policy(label)).only(row)
    function, kind, noise = saved.pure(chosen)
    inputs = [Input("observation", (saved.space.obs_dim,), kind)]
    inputs += [Input("noise", noise.shape, np.dtype(noise.dtype))] if chosen == "sample" else []
    said = {"made_by": f"pogospec {__version__}", "name": about["name"], "policy": label, "seed": seed}
    said |= {"action": chosen, "dataset": about["dataset"], "data_sha256": about["data_sha256"]}
    said |= {"spec_digest": about["digest"], "space": saved.space._asdict()}
    said |= {"type": "float64" if saved.double else "float32"}
    deed = Deed(function, tuple(inputs), said)
    content = _dumped(written_as, deed, to, label)
    observations, what = _observations(run, saved)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_bytes(content)
        loaded = runpy.run_path(str(written_as.loader))["Policy"](str(trial))
        check = compare(saved, seed, chosen, loaded, observations, what, tolerance)
    text = card(run, deed, to, written_as, path, check, to_plain(saved.family), versions())
    beside = Exported(path, path.with_name(path.name + ".md"), path.with_name(f"load_{to}.py"), check)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.publish(beside.loader, written_as.loader.read_bytes())
    files.publish(beside.card, text.encode())
    files.publish(path, content)
    return beside


def _path(run: RunDirectory, written_as: AbstractFormat, label: str, seed: int, action: str, out: Path | None) -> Path:
    if out is None:
        name = label.replace(" ", "_") + (f"-seed_{seed}" if run.manifest["seeds"] > 1 else "") + f"-{action}"
        return run.path / "exports" / (name + written_as.suffix)
    if out.suffix != written_as.suffix:
        raise UsageError(f"-o: found '{out.name}', allowed a file {written_as.suffix}")
    if out.is_dir():
        raise UsageError(f"-o: {out} is a folder, allowed a file {written_as.suffix}")
    return out


def _dumped(written_as: AbstractFormat, deed: Deed, to: str, label: str) -> bytes:
    try:
        return written_as.dumped(deed)
    except Unwritten as error:
        raise UsageError(
            f"--to {to} cannot hold {label}: {error}; --to stablehlo holds every policy that JAX computes"
        ) from None


def _observations(run: RunDirectory, saved: SavedPolicy) -> tuple[np.ndarray, str]:
    """Raw observations [rows, obs] of the data where they are at hand, else drawn; and what they are."""
    rng, mean, scale = np.random.default_rng(0), *(np.asarray(part, np.float64) for part in saved.normalizer)
    try:
        data = load_for(reread(run)[1])
        known = data.transitions.observations if data.sha256 == run.manifest["data_sha256"] else None
    except PogospecError:
        known = None
    if known is None:
        drawn = mean + scale * rng.normal(size=(ROWS, saved.space.obs_dim))
        return drawn, "observations drawn around the mean of the data, which are not at hand,"
    rows = rng.choice(len(known), ROWS, replace=len(known) < ROWS)
    return np.asarray(known)[rows], f"observations of {run.manifest['dataset']}"
