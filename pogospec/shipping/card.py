"""The model card of an exported policy: what it is, what goes in and comes out, what it scored, how it was checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.report.reading import final, normalised
from pogospec.runs.directory import RunDirectory
from pogospec.runs.manifest import seed_row
from pogospec.shipping.check import Check
from pogospec.shipping.formats.base import AbstractFormat, Deed
from pogospec.text import markdown

MEANING = {
    "observation": "as the environment gives it, not standardised: that is done inside",
    "noise": "standard normal numbers, which make a sample; the same numbers make the same action",
}


def card(
    run: RunDirectory,
    deed: Deed,
    to: str,
    written_as: AbstractFormat,
    path: Path,
    check: Check,
    family: Any,
    packages: dict[str, str | None],
) -> str:
    """The card as Markdown."""
    about, said = run.manifest, deed.about
    kind = family.get("kind", "particles")
    how = "its mean action" if said["action"] == "mean" else "samples of it"
    others = f", one of {about['seeds']} seeds" if about["seeds"] > 1 else ""
    lines = [
        f"# {markdown(said['name'])}, {said['policy']}",
        "",
        f"A policy of family {kind}, {how}, seed {said['seed']}{others}; for the environment "
        f"{markdown(about['environment'] or 'of the data')}. Trained offline by pogospec "
        f"{about['versions'].get('pogospec') or '(an unknown version)'} and exported as {to}, to be run by "
        f"{written_as.about}.",
        "",
        "## Use",
        "",
        "```python",
        f"from load_{to} import Policy",
        "",
        f'policy = Policy("{path.name}")',
        "action = policy(observation)" + ("" if len(deed.inputs) == 1 else "  # or policy(observation, noise)"),
        "```",
        "",
        "The number of rows is open. Without noise the loader draws it, by `Policy(path, seed=0)`."
        if len(deed.inputs) > 1
        else "The number of rows is open; the loader takes one observation, too.",
        "",
        "## Inputs and output",
        "",
        "| name | shape | type | what it is |",
        "| --- | --- | --- | --- |",
        *(f"| {one.name} | {_shape(one.shape)} | {one.dtype.name} | {MEANING[one.name]} |" for one in deed.inputs),
        f"| action (output) | {_shape((len(said['space']['low']),))} | {said['type']} | in the units and bounds of the "
        "environment, clipped to them |",
        "",
        *_bounds(said["space"]),
        "",
        "## Data and spec",
        "",
        f"- data: {markdown(about['dataset'])}, SHA-256 {about['data_sha256']}",
        f"- spec: {markdown(about['name'])}, digest {about['digest']}",
        f"- trained on {markdown(about['device'])}, begun {about['started']}",
        "",
        *_scores(run, said["policy"], said["seed"]),
        "## Check",
        "",
        f"The file, read by its loader, was compared with the policy on {check}.",
        "",
        "## Versions",
        "",
        "- at the export: " + ", ".join(f"{name} {found}" for name, found in packages.items() if found),
        "- of the run: " + ", ".join(f"{name} {found}" for name, found in about["versions"].items() if found),
        "",
        "## Family",
        "",
        "```json",
        json.dumps(family, indent=2, default=str),
        "```",
        "",
    ]
    return "\n".join(lines)


def _shape(shape: tuple[int, ...]) -> str:
    return f"[batch, {', '.join(map(str, shape))}]"


def _bounds(space: dict[str, Any]) -> list[str]:
    low, high = (np.asarray(space[name]) for name in ("low", "high"))
    if not np.isfinite([low, high]).all():
        return ["The environment states no bounds of actions."]
    pairs = ", ".join(f"[{a:g}, {b:g}]" for a, b in zip(low, high, strict=True))
    return [f"Bounds of the action, dimension by dimension: {pairs}."]


def _scores(run: RunDirectory, label: str, seed: int) -> list[str]:
    """What every policy of the run returned, of this seed and of all."""
    cells, about = final(run), run.manifest
    if not cells:
        return []
    row = seed_row(about, seed)
    head = ["policy", "return, this seed", "return, mean of seeds"]
    reference = about["reference"]
    head += ["score, this seed", "score, mean of seeds"] if reference else []
    lines = ["## Scores", "", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for name, cell in cells.items():
        numbers = [cell.returns[row], cell.returns.mean()]
        scores = normalised(run, cell.returns)
        numbers += [] if scores is None else [scores[row], scores.mean()]
        shown = f"**{name}**" if name == label else name
        lines.append(f"| {shown} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |")
    how = f"{about['episodes']} episodes a seed, {about['seeds']} seeds, by the {about['action']} action"
    what = f"; score: {markdown(reference['label'])}" if reference else ""
    return [*lines, "", f"The last evaluation of the run: {how}{what}.", ""]
