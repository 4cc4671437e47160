"""More seeds of a run that is done: trained beside it, in a folder of its own, then joined to what it holds.

RUN/more/SEEDS   the run of the new seeds, which can be stopped and gone on with
RUN/more/whole   the files of all seeds, complete before the first of them takes the place of an old one
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pogospec.checking.check import located
from pogospec.checking.recorded import identity, reread
from pogospec.data import load_for
from pogospec.errors import RunDirectoryError, UsageError
from pogospec.launch.one import execute, go_on
from pogospec.launch.record import check_data, moved, new_run
from pogospec.launch.view import View
from pogospec.runs import files, tables
from pogospec.runs.directory import TABLES, RunDirectory, run_name
from pogospec.runs.manifest import numbers_of
from pogospec.spec.build import digest, dump
from pogospec.spec.schema import Spec
from pogospec.steps.schedule import Backtracking, Choice, Doubling
from pogospec.terminal import command, say
from pogospec.tracking.listener import tell_anew
from pogospec.training.place import Place

FOLDER, WHOLE = "more", "whole"
MOST = 2**31 - 1


def seeds_from(text: str) -> tuple[int, ...]:
    """Seeds of the command line: 5 means 0 to 4, 0,3,7 means these; raises UsageError."""
    parts = [part.strip() for part in text.strip().strip("[]").split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) <= MOST for part in parts):
        raise UsageError(f"--seeds: found '{text}', allowed how many, such as 5, or which, such as 0,1,2,7")
    numbers = [int(part) for part in parts]
    if len(numbers) == 1 and "," not in text and "[" not in text:
        numbers = list(range(min(numbers[0], 100_000)))
    if not numbers or len(set(numbers)) < len(numbers):
        what = "none" if not numbers else "one of them twice"
        raise UsageError(f"--seeds: found {what} in '{text}', allowed seeds that differ")
    return tuple(sorted(numbers))


def add_seeds(
    console: Console, run: RunDirectory, seeds: Sequence[int], device: str, track: tuple[Any, ...] = ()
) -> None:
    """Let a run have these seeds; those that it lacks are trained. It ends as a run of all of them does.

    Trackers `track` are told of that run, as of a new one.

    Raises UsageError where they cannot be added, and as a run does.
    """
    with run.lock():
        finish(run)
        document, spec = reread(run)
        have = numbers_of(run.manifest)
        new = [seed for seed in seeds if seed not in have]
        _check(run, spec, have, seeds)
        if not new:
            return
        untold = replace(spec, train=replace(spec.train, track=()))
        part, whole = replace(untold, seeds=tuple(new)), replace(spec, seeds=_said(seeds))
        with located(document):
            data = load_for(spec)
            check_data(run, data)
            for change in moved(run):
                console.print(f"note: {change}; the new seeds may be told apart by it", highlight=False)
            path = run.path / FOLDER / run_name("-".join(map(str, new)))
            try:
                if not (path / "manifest.json").is_file():
                    execute(console, part, data, new_run(part, data, path, device, among=seeds))
                elif RunDirectory.open(path).status()["state"] != "done":
                    go_on(console, part, data, RunDirectory.open(path))
            except KeyboardInterrupt:
                again = command("resume", run.path, "--seeds", ",".join(map(str, seeds)))
                say(f"then join the seeds to the others with: {again}", error=True)
                raise
        _join(run, RunDirectory.open(path), whole)
        finish(run)
        if track:
            tell_anew(run, replace(whole, train=replace(whole.train, track=track)), View(console, [run], []))


def _said(seeds: Sequence[int]) -> int | tuple[int, ...]:
    """Seeds as a spec says them: 0, 1, … by their number."""
    return len(seeds) if tuple(seeds) == tuple(range(len(seeds))) else tuple(seeds)


def _check(run: RunDirectory, spec: Spec, have: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuse runs that are not done, seeds that would be lost, and seeds that do not train alone."""
    state = run.status()["state"]
    if state != "done":
        again = command("resume", run.path)
        raise UsageError(f"--seeds: {run.path} is {state}, allowed a run that is done; go on with: {again}")
    lost = [str(seed) for seed in have if seed not in wanted]
    if lost:
        raise UsageError(
            f"--seeds: found none of {', '.join(lost)}, which {run.path} has; allowed its seeds and more of them"
        )
    below = [str(seed) for seed in wanted if seed not in have and seed < max(have)]
    if below and spec.evaluate.action == "sample":
        raise UsageError(
            f"--seeds: found {', '.join(below)}, allowed seeds above {max(have)}: {run.path} is evaluated by samples, "
            "which are drawn in the order of seeds"
        )
    for index, step in enumerate(spec.schedule.steps):
        sizes = [step.tau, *(term.tau for term in step.proximal or ())]
        rules = {
            "until": step.until is not None,
            "repeat_until": step.repeat_until is not None,
            "tau: backtracking": any(isinstance(tau, Backtracking) for tau in sizes),
            "tau: choice": any(isinstance(tau, Choice) for tau in sizes),
            "tau: doubling": any(isinstance(tau, Doubling) for tau in sizes),
        }
        joint = [name for name, given in rules.items() if given]
        if joint:
            raise UsageError(
                f"--seeds: schedule.steps[{index}] of {run.path} has {joint[0]}, by which its seeds end steps "
                "together, so that more seeds would have changed the others; run the spec again with all seeds"
            )


def _join(run: RunDirectory, other: RunDirectory, spec: Spec) -> None:
    """Write the files of all seeds into a folder, its manifest last; raises RunDirectoryError where they do not fit."""
    out = run.path / FOLDER / WHOLE
    shutil.rmtree(out, ignore_errors=True)
    for name in ("policies", "checkpoints"):
        (out / name).mkdir(parents=True)
    own, theirs = numbers_of(run.manifest), numbers_of(other.manifest)
    order = np.argsort([*own, *theirs])
    about = run.manifest
    marked = {"identity": identity(spec, about["data_sha256"])} if "identity" in about else {}
    for name in TABLES:
        files.publish(out / name, tables.lines_of([*_interleaved(run, other, name)]))
    for label in run.policies(last=True):
        (first, meta), (second, _) = run.load_policy(label), other.load_policy(label)
        network = {key: _rows(first[key], second[key], order) for key in first if key.startswith("network")}
        files.save_arrays(out / "policies" / run.policy_file(label).name, first | network, meta | marked)
    for total in sorted({*run.checkpoints()} & {*other.checkpoints()}):
        (first, meta), (second, more) = (one.load_checkpoint_of(total) for one in (run, other))
        arrays = {key: _rows(array, second[key], order) for key, array in first.items()}
        places = zip((meta, more), (own, theirs), strict=True)
        each = [Place(**one["place"]).part(slice(i, i + 1)) for one, seeds in places for i in range(len(seeds))]
        meta = meta | marked | {"place": Place.of_parts([each[i] for i in order]).plain()}
        files.save_arrays(out / "checkpoints" / f"{total:012d}.safetensors", arrays, meta)
    text = dump(spec)
    files.publish(out / "spec.yaml", text.encode())
    files.write_json(out / "manifest.json", _manifest(run, other, spec, text) | marked)


def _rows(first: np.ndarray, second: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.concatenate([first, second])[order]


def _manifest(run: RunDirectory, other: RunDirectory, spec: Spec, text: str) -> dict[str, Any]:
    """That of the run, with all seeds, and when and where those were trained that were added."""
    about, added = dict(run.manifest), other.manifest
    about |= {"digest": digest(spec), "seeds": spec.seed_count, "spec_sha256": files.sha256_of(text)}
    about.pop("seed_numbers", None)
    if not isinstance(spec.seeds, int):
        about["seed_numbers"] = list(spec.seed_numbers)
    entry = {"seeds": numbers_of(added)} | {key: added[key] for key in ("started", "device", "versions")}
    return about | {"added": [*about.get("added", []), entry]}


def _interleaved(run: RunDirectory, other: RunDirectory, name: str) -> Iterator[list[Any]]:
    """The rows of a table as a run of all seeds writes them: of each moment in the order of seeds."""
    (head, first), (also, second) = (tables.read(one.path / name) for one in (run, other))
    at = head.index("seed")
    kept = [place for place, column in enumerate(head) if column in ("policy", "stage", "update", "total_update")]

    def moments(rows: list[list[str]]) -> list[tuple[tuple[str, ...], list[list[str]]]]:
        return [(key, list(group)) for key, group in groupby(rows, lambda row: tuple(row[place] for place in kept))]

    one, two = moments(first), moments(second)
    if head != also or [key for key, _ in one] != [key for key, _ in two]:
        raise RunDirectoryError(
            f"{other.path / name} does not have the rows of {run.path / name}; were both trained by one version? Run "
            "the spec again with all seeds"
        )
    yield head
    for (_, here), (_, there) in zip(one, two, strict=True):
        yield from sorted([*here, *there], key=lambda row: int(row[at]))


def finish(run: RunDirectory) -> None:
    """Put complete files of all seeds in the place of the old ones, also where that was stopped half-way."""
    folder = run.path / FOLDER
    whole = folder / WHOLE
    if not (whole / "manifest.json").is_file():
        return
    for name in ("policies", "checkpoints", *TABLES, "spec.yaml"):
        files_there = sorted((whole / name).iterdir()) if (whole / name).is_dir() else [whole / name]
        for file in files_there:
            with contextlib.suppress(FileNotFoundError):  # moved before
                os.replace(file, run.path / file.relative_to(whole))
    for file in (run.path / "checkpoints").glob("*.safetensors"):
        if not _fits(file, whole):
            file.unlink()
    os.replace(whole / "manifest.json", run.path / "manifest.json")
    shutil.rmtree(folder, ignore_errors=True)


def _fits(file: Path, whole: Path) -> bool:
    """Whether a checkpoint is of all seeds."""
    about = files.read_json(whole / "manifest.json")
    return "identity" not in about or files.load_arrays(file)[1].get("identity") == about["identity"]
