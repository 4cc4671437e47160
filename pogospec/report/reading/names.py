"""What runs are called where several stand beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from pogospec.report.reading.keys import differing
from pogospec.runs.directory import RunDirectory
from pogospec.spec.sweep import cell_title

LABEL = 3
"""Keys that a title takes, at most."""


def titles(runs: Sequence[RunDirectory]) -> list[str]:
    """Names of the runs, told apart where a name comes twice on one dataset: by the keys that differ, if they are few.

    Else by their directories.
    """
    manifests = [run.manifest for run in runs]
    found = [" ".join([manifest["name"], cell_title(manifest.get("sweep") or {})]).rstrip() for manifest in manifests]
    groups: dict[tuple[str, str], list[int]] = {}
    for number, manifest in enumerate(manifests):
        groups.setdefault((manifest["dataset"], found[number]), []).append(number)
    for (_, title), members in groups.items():
        keys = differing([runs[number] for number in members]) if len(members) > 1 else {}
        if not 0 < len(keys) <= LABEL:
            continue
        cells = [{path: values[place] for path, values in keys.items()} for place in range(len(members))]
        labels = [f"{title} {cell_title(cell)}" for cell in cells]
        if len(set(labels)) == len(labels) and not set(labels) & set(found):
            for number, label in zip(members, labels, strict=True):
                found[number] = label
    parts = [run.path.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        keys = [(manifest["dataset"], title) for manifest, title in zip(manifests, found, strict=True)]
        twice = [keys.count(key) > 1 for key in keys]
        if not any(twice):
            break
        found = ["/".join(parts[i][-depth:]) if twice[i] else title for i, title in enumerate(found)]
    return found


def dataset_names(datasets: Iterable[str]) -> dict[str, str]:
    """Dataset -> what it is called for people: a file by its name, with the folders that tell it from others.

    A file is what has a whole path behind the colon, whichever source it is of.
    """
    found = {one: one for one in datasets}
    paths = {one: PurePath(one.partition(":")[2]) for one in found}
    paths = {one: path for one, path in paths.items() if path.is_absolute()}
    for one, path in paths.items():
        others = [other.parts for key, other in paths.items() if key != one]
        depths = range(1, len(path.parts) + 1)
        apart = [n for n in depths if not any(other[-n:] == path.parts[-n:] for other in others)]
        if apart:
            found[one] = f"{one.partition(':')[0]}:{PurePath(*path.parts[-apart[0] :])}"
    return found


def dataset_of(run: RunDirectory) -> str:
    """What the dataset of a run is called for people."""
    (name,) = dataset_names([run.manifest["dataset"]]).values()
    return name


def names_of(runs: Sequence[RunDirectory]) -> list[str]:
    """Names of the runs, told apart by their dataset too where all share one panel."""
    found, datasets = titles(runs), [run.manifest["dataset"] for run in runs]
    called = dataset_names(datasets)
    return [
        f"{title} on {called[dataset]}" if found.count(title) > 1 else title
        for title, dataset in zip(found, datasets, strict=True)
    ]


def by_dataset(runs: Sequence[RunDirectory]) -> dict[str, list[tuple[str, RunDirectory]]]:
    """Dataset -> titles and runs, in the order given."""
    groups: dict[str, list[tuple[str, RunDirectory]]] = {}
    for run, title in zip(runs, titles(runs), strict=True):
        groups.setdefault(run.manifest["dataset"], []).append((title, run))
    return groups
