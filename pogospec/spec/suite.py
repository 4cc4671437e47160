"""A suite file: specs x datasets, with overrides for all of them or for one spec; seeds run in one program.

Precedence, low to high: the spec with what it tunes for the dataset, the suite's `seeds` and `updates`, its `set`, then
`updates` and `set` of the entry.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pogospec.errors import Problem, SpecError, UsageError
from pogospec.spec.build import INVALID, Builder
from pogospec.spec.fields import Length, Within
from pogospec.spec.resolve import Document, Override, read
from pogospec.spec.shipped import spec_path
from pogospec.spec.yaml import Node, parse_mapping, read_file, show

LAYER, KEYS = "suite", "specs, datasets"
Updates = Annotated[int | None, Within(ge=1), "updates of every step, instead of the specs'"]
Overrides = Annotated[dict | None, "overrides, as path: value"]
SHORT = {"seeds": "seeds", "updates": "schedule.steps[*].updates"}
"""Keys of a suite that stand for a path."""


@dataclass(frozen=True)
class EntrySpec:
    """A spec of a suite with a name or overrides of its own."""

    spec: Annotated[str, "a file, found from the suite, or the name of a shipped spec"]
    name: Annotated[str | None, "what its column and its runs are called; default: the name of the spec"] = None
    updates: Updates = None
    set: Overrides = None


@dataclass(frozen=True)
class ResourcesSpec:
    """What each run of a suite asks for where it is trained by an engine, `--on`; what is left out is counted."""

    cores: Annotated[
        int | None,
        Within(ge=1),
        "processor cores; default: one a seed, as far as machines have them, 2 beside a GPU",
    ] = None
    gpus: Annotated[
        float | None, Within(ge=0.0), "GPUs; a fraction shares one, with Ray; default: 1 with --device gpu, else 0"
    ] = None
    memory: Annotated[
        float | None, Within(gt=0.0), "GB of the machine's memory; default: 3 and twice what `explain` counts"
    ] = None
    minutes: Annotated[
        int | None,
        Within(ge=1),
        "limit of the time, after which Slurm stops the run and queues it again; default: three times the estimate",
    ] = None
    at_once: Annotated[int | None, Within(ge=1), "most runs that are queued or trained at a time; default: all"] = None


@dataclass(frozen=True)
class SuiteSpec:
    """The keys of a suite file."""

    specs: Annotated[tuple[str | EntrySpec, ...], Length(least=1), "the specs, a column each"]
    name: Annotated[str | None, "name of the suite and its folder; default: that of the file"] = None
    about: Annotated[str, "what the suite shows, in a sentence"] = ""
    datasets: Annotated[tuple[str, ...] | None, Length(least=1), "the datasets, a row each; default: the specs'"] = None
    seeds: Annotated[
        Annotated[int, Within(ge=1)] | Annotated[tuple[int, ...], Within(ge=0), Length(least=1)] | None,
        "seeds of every run, instead of the specs': how many, or a list",
    ] = None
    updates: Updates = None
    set: Overrides = None
    resources: Annotated[ResourcesSpec | None, "what a run asks for where an engine trains it, `--on`"] = None


class Task(NamedTuple):
    """One spec on one dataset; `document` as read, not checked yet."""

    method: str
    dataset: str
    document: Document


class Suite(NamedTuple):
    """A suite as read: all of a dataset stand together, in the order of the file."""

    name: str
    about: str
    tasks: list[Task]
    resources: ResourcesSpec | None = None


def read_suite(path: Path) -> Suite:
    """Read a suite and the specs that it names; raises SpecError with what is wrong with the suite itself.

    What is wrong with the specs is in the problems of their documents.
    """
    tree = parse_mapping(read_file(path), str(path), LAYER, KEYS)
    builder = Builder()
    suite = builder.record(SuiteSpec, tree, "")
    if suite is INVALID or builder.problems:
        raise SpecError(builder.problems)
    entries = tree.value["specs"].value
    files = [_file(entry, f"specs[{index}]", path, builder) for index, entry in enumerate(entries)]
    datasets = _datasets(tree, builder)
    shared, own = _overrides(tree, "", builder), [list(_own(entry, i, builder)) for i, entry in enumerate(entries)]
    if builder.problems:
        raise SpecError(builder.problems)
    tasks = []
    for dataset in datasets:
        for index, (file, overrides) in enumerate(zip(files, own, strict=True)):
            try:
                document = read(file, [*shared, *overrides, *([("data.dataset", dataset)] if dataset else [])])
            except SpecError as error:
                builder.problems.extend(problem for problem in error.problems if problem not in builder.problems)
            else:
                if document.cell and dataset is datasets[0]:
                    message = "found a spec with a sweep, allowed one without; make an entry with `set` of each cell"
                    builder.fail(entries[index], f"specs[{index}]", message)
                spec = document.spec
                if spec is not None and spec.schedule.branch is not None and dataset is datasets[0]:
                    message = "found a spec that branches, allowed one that does not; make an entry of each moment, "
                    message += f"with `set: {{schedule.steps[{spec.schedule.branch.step}].updates: …}}`"
                    builder.fail(entries[index], f"specs[{index}]", message)
                tasks.append(_task(document, dataset, str(file)))
    if builder.problems:
        raise SpecError(builder.problems)
    _refuse_twice(tasks, entries, builder)
    return Suite(suite.name or _default(path), suite.about, tasks, suite.resources)


def suite_name(path: Path) -> str:
    """The name of a suite, without reading its specs; raises SpecError."""
    name = parse_mapping(read_file(path), str(path), LAYER, KEYS).value.get("name")
    return name.value if name is not None and isinstance(name.value, str) else _default(path)


def _default(path: Path) -> str:
    return path.stem.replace("_", "-")


def _file(entry: Node, path: str, suite: Path, builder: Builder) -> Path:
    """The file of a spec: beside the suite where the name has a suffix, else a shipped one."""
    node = entry.value["spec"] if isinstance(entry.value, dict) else entry
    where = f"{path}.spec" if isinstance(entry.value, dict) else path
    try:
        file = suite.parent / node.value if Path(node.value).suffix else spec_path(node.value)
        if not os.path.isfile(file):
            raise UsageError(f"found {show(node.value)}, but there is no file {file}; paths start at the suite")
    except UsageError as error:
        return builder.fail(node, where, str(error))
    return file


def _datasets(tree: Node, builder: Builder) -> list[Node | None]:
    """The datasets as nodes; None alone where every spec keeps its own."""
    listed = tree.value.get("datasets")
    if listed is None or listed.value is None:
        return [None]
    seen: set[str] = set()
    for index, node in enumerate(listed.value):
        if node.value in seen:
            builder.fail(node, f"datasets[{index}]", f"found {show(node.value)} twice; keep one")
        seen.add(node.value)
    return listed.value


def _own(entry: Node, index: int, builder: Builder) -> Iterator[Override]:
    """What holds for one entry of `specs`."""
    if isinstance(entry.value, dict):
        if (name := entry.value.get("name")) is not None and name.value is not None:
            yield "name", name
        yield from _overrides(entry, f"specs[{index}].", builder)


def _overrides(tree: Node, where: str, builder: Builder) -> list[Override]:
    """What the keys of a suite, or of one entry, set: paths and the nodes that were written."""
    written = {path: tree.value[key] for key, path in SHORT.items() if key in tree.value}
    found: list[Override] = [(path, node) for path, node in written.items() if node.value is not None]
    given = tree.value["set"].value if "set" in tree.value else None
    for path, node in (given or {}).items():
        if path in ("data", "data.dataset"):
            message = "found the dataset, allowed other paths; list it under `datasets`"
            builder.fail(node, f"{where}set.{path}", message, at_key=True)
        found.append((path, node))
    return found


def _task(document: Document, dataset: Node | None, file: str) -> Task:
    spec = document.spec
    method = Path(file).stem if spec is None else spec.name
    named = "" if spec is None else spec.data.dataset
    return Task(method, named if dataset is None else dataset.value, document)


def _refuse_twice(tasks: list[Task], entries: list[Node], builder: Builder) -> None:
    """Refuse two entries of one name, which would be one column and one run."""
    for index, entry in enumerate(entries):
        before = [task.method for task in tasks[:index]]
        if tasks[index].document.spec is not None and tasks[index].method in before:
            node = entry.value["spec"] if isinstance(entry.value, dict) else entry
            message = f"found a second spec of the name {show(tasks[index].method)}; give it a `name` of its own"
            builder.problems.append(Problem(node.origin, f"specs[{index}]", message))
    if builder.problems:
        raise SpecError(builder.problems)
