"""From a file and the command line to one typed spec, in which every value keeps its origin.

Precedence, low to high: `extends`, the file, `--set data.dataset`, `tuned` of the dataset that runs, other `--set`.
Keys of `tuned` are dataset ids or patterns (`d4rl/hopper-*`); all that match apply, in the order of the file. What a
cell of a `sweep` sets comes last.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pogospec.errors import Origin, Problem, SpecError, UsageError
from pogospec.spec.build import INVALID, Builder
from pogospec.spec.given import FILE, as_tree
from pogospec.spec.known import complete, known_step
from pogospec.spec.merge import ADAM, FREE, REPLACE, idle, marked, merge, open_node, optimizers
from pogospec.spec.schema import Spec
from pogospec.spec.shipped import spec_path
from pogospec.spec.steps import defaults_of, idle_defaults, long_step
from pogospec.spec.sweep import Cell, cells_of, read_grid, with_fractions
from pogospec.spec.tune import Range, read_ranges
from pogospec.spec.yaml import Node, join, parse, parse_mapping, plain_of, read_file, show, tree_of

PART = re.compile(r"(?:^|\.)([^.\[\]]+)|\[(\d{1,9}|\*)\]")
DEFAULT = Origin("default")
FILE_KEYS = ("extends", "tuned", "sweep", "tune")
ALSO = {"": FILE_KEYS, "schedule": ("defaults",)}
MAX_BASES = 32
Override = tuple[str, str] | tuple[str, str, str] | tuple[str, Node]
"""A path, and a value: YAML text, with the flag that gave it where it is not --set, or a node of another file."""


class Trunk(NamedTuple):
    """A run that goes as far as a step from which others branch off; `at`: the updates of the step where this one does.

    `run` is the name of its directory, `spec` the whole spec with all moments.
    """

    run: str
    spec: Spec
    at: int


class Document(NamedTuple):
    """A spec as read: `spec` is None where a required value is missing or broken."""

    spec: Spec | None
    problems: list[Problem]
    origins: dict[str, Origin]
    source: str
    cell: dict[str, Any] = {}
    """Paths that a sweep varies, and their values here, as plain data."""
    trunk: Trunk | None = None
    """Of a branch: where it comes from."""
    idle: tuple[Problem, ...] = ()
    """Defaults of steps that no step takes, since each says the key itself."""
    ranges: dict[str, Range] = {}
    """Paths that a search varies."""


def parse_set(text: str, flag: str = "--set", example: str = "1.5") -> tuple[str, str]:
    """Split `path=value`, of a flag of the command line; raises SpecError."""
    path, equals, value = text.partition("=")
    if not equals or not _parts(path.strip()):
        message = f"found {show(text)}, allowed path=value, for example {flag} schedule.steps[0].tau={example}"
        raise SpecError([Problem(Origin("command line", flag), "", message)])
    return path.strip(), value


def read(path: str | Path, overrides: Sequence[Override] = ()) -> Document:
    """Read a spec file with overrides from the command line, of a sweep the first cell.

    Raises SpecError where it is not YAML.
    """
    return next(_cells(read_file(path), str(path), overrides, ()))


def read_cells(path: str | Path, overrides: Sequence[Override] = (), swept: Sequence[Override] = ()) -> list[Document]:
    """Read every cell of a sweep, one without; `swept`: lists of values from the command line, as `sweep` has them.

    Raises SpecError where the file is not YAML, or the sweep is wrong.
    """
    return list(_cells(read_file(path), str(path), overrides, swept))


def read_text(text: str, file: str = "<text>", overrides: Sequence[Override] = ()) -> Document:
    """Read a spec from text; `extends` is relative to `file`, or names a shipped spec.

    Raises SpecError where it is not YAML.
    """
    return next(_cells(text, file, overrides, ()))


def read_given(
    given: Mapping[str, Any], overrides: Sequence[Override] = (), swept: Sequence[Override] = ()
) -> list[Document]:
    """Read a spec that is data in Python, every cell of its sweep; `extends` is relative to the working directory.

    Raises SpecError for values that YAML has not, and where the sweep is wrong.
    """
    return list(_cells(as_tree(given), FILE, overrides, swept))


def _cells(text: str | Node, file: str, overrides: Sequence[Override], swept: Sequence[Override]) -> Iterator[Document]:
    tree = _extend(_marked(parse_mapping(text, file) if isinstance(text, str) else text), Path(file), ())
    builder = Builder()
    given = _given(swept, builder)
    if builder.problems:
        raise SpecError(builder.problems)
    grid = read_grid(tree.value.pop("sweep", None), given)
    ranges = read_ranges(tree.value.pop("tune", None))
    refuse_lost(overrides, list(grid), "a sweep varies; allowed values of its own: --sweep '{}=[…]'")
    for cell in cells_of(grid):
        document = _resolve(tree.copy(), file, overrides, cell)
        values = {path: with_fractions(plain_of(node)) for path, node in cell}
        yield document._replace(cell=values, ranges=ranges)


def refuse_lost(overrides: Sequence[Override], swept: Sequence[str], what: str) -> None:
    """Raise SpecError where an override sets what every cell of a sweep, or trial of a search, sets anew.

    `what` says what sets it and what is allowed; {} stands for the path.
    """
    problems = []
    for path, _, *flags in overrides:
        parts = _parts(path)
        lost = [at for at in swept if len(_parts(at)) <= len(parts) and all(map(_meet, _parts(at), parts))]
        if lost:
            message = f"found a value of what {what.format(lost[0])}"
            origin = Origin("command line", str(flags[0]) if flags else f"--set {path}")
            problems.append(Problem(origin, path, message))
    if problems:
        raise SpecError(problems)


def _meet(one: Any, two: Any) -> bool:
    return one == two or (not isinstance(one, str) and not isinstance(two, str) and None in (one, two))


def _extend(tree: Node, path: Path, seen: tuple[str, ...]) -> Node:
    base = tree.value.pop("extends", None)
    if base is None:
        _refuse_idle(tree)
        return tree
    if not isinstance(base.value, str):
        message = f"found {show(base.value)}, allowed the path of a spec, or the name of a shipped one"
        raise SpecError([Problem(base.origin, "extends", message)])
    try:
        parent = path.parent / base.value if Path(base.value).suffix else spec_path(base.value)
    except UsageError as error:
        raise SpecError([Problem(base.origin, "extends", str(error))]) from None
    seen = (*seen, os.path.realpath(path))  # of links that lead in a circle too
    if os.path.realpath(parent) in seen:
        message = f"found {show(base.value)}, which extends itself; allowed a spec outside this chain"
        raise SpecError([Problem(base.origin, "extends", message)])
    if len(seen) > MAX_BASES:
        raise SpecError([Problem(base.origin, "extends", f"found a chain of more than {MAX_BASES} specs")])
    try:
        text = read_file(parent, "base")
    except SpecError as error:
        message = f"found {show(base.value)}, which {error.problems[0].message}"
        raise SpecError([Problem(base.origin, "extends", message)]) from None
    whole = _extend(_marked(parse_mapping(text, str(parent), "base")), parent, seen)
    whole.value.pop("about", None)  # the sentence is of that spec
    return merge(whole, tree)


def _marked(tree: Node) -> Node:
    """A file's tree whose mappings say what they replace; a range always replaces the one of a base."""
    tree = marked(tree)
    tune = tree.value.get("tune")
    if tune is not None and isinstance(tune.value, dict):
        own = {path: replace(node, whole=isinstance(node.value, dict)) for path, node in tune.value.items()}
        tree.value["tune"] = replace(tune, value=own)
    return tree


def _refuse_idle(tree: Node) -> None:
    """Raise SpecError where a mapping would replace what is not there."""
    why = "found replace: true, but this mapping is laid over no other; remove it, or begin with `extends`"
    if problems := [Problem(node.key_origin or node.origin, join(node.path, REPLACE), why) for node in idle(tree)]:
        raise SpecError(problems)


def _parts(path: str) -> list[Any]:
    """Split a path into keys, indices and None for `*`; empty where it is malformed."""
    found = list(PART.finditer(path))
    if "".join(part.group(0) for part in found) != path or path.startswith((".", "[")):
        return []
    return [part[1] or (None if part[2] == "*" else int(part[2])) for part in found]


def assign(tree: Node, path: str, value: Node) -> None:
    """Set the values that a path addresses; raises SpecError where it addresses nothing."""
    parts = _parts(path)
    if not parts:
        message = f"found {show(path)}, allowed a path such as schedule.steps[0].tau"
        raise SpecError([Problem(value.origin, path, message)])
    _assign(tree, parts, value, path)


def _assign(tree: Node, parts: list[Any], value: Node, path: str) -> None:
    head, rest = parts[0], parts[1:]
    entries = tree.value
    if isinstance(head, str):
        if not isinstance(entries, dict):
            message = f"found {show(entries)} where {show(head)} is looked for, allowed a mapping"
            raise SpecError([Problem(value.origin, path, message)])
        if not rest:
            entries[head] = value.copy()
            return
        made = Node({}, value.origin, value.key_origin, value.path)
        child = entries.get(head, made)
        entries[head] = open_node(child, made) if isinstance(rest[0], str) else child
        _assign(entries[head], rest, value, path)
        return
    if not isinstance(entries, list) or not entries:
        found = "an empty list" if entries == [] else show(entries)
        raise SpecError([Problem(value.origin, path, f"found {found}, allowed a list with entries here")])
    if head is not None and head >= len(entries):
        message = f"found the index [{head}], allowed 0 to {len(entries) - 1}"
        raise SpecError([Problem(value.origin, path, message)])
    for index in range(len(entries)) if head is None else [head]:
        if rest:
            _assign(entries[index], rest, value, path)
        else:
            entries[index] = value.copy()


def _resolve(tree: Node, source: str, overrides: Sequence[Override], cell: Cell) -> Document:
    builder = Builder(ALSO)
    tuned = tree.value.pop("tuned", None)
    if tuned is not None and not overrides:
        _check_tuned(tree, tuned, builder)
    given = _given([*overrides, *cell], builder)
    chosen = [pair for pair in given if pair[0] in ("data", "data.dataset")]
    _apply(tree, chosen, builder)
    if tuned is not None:
        _apply(tree, _tuned(tree, tuned, builder), builder)
    _apply(tree, (pair for pair in given if pair not in chosen), builder)
    follow: set[str] = set()
    if not {"policy", "behavior"} & tree.value.keys():
        follow.add("behavior")
    follow -= tree.value.keys()
    _normalize(tree, builder)
    spec = builder.record(Spec, tree, "")
    # a missing key that follows from a mistake told already
    problems = [_whole(problem) for problem in builder.problems if problem.path not in follow]
    made = None if spec is INVALID else spec
    return Document(made, problems, builder.origins, source, idle=tuple(builder.idle))


def _whole(problem: Problem) -> Problem:
    """A problem that names the other way to begin a spec, where neither was taken."""
    missing = problem.path == "data" and problem.message.startswith("missing")
    return replace(problem, message=f"{problem.message}; or a known energy, with target") if missing else problem


def _given(overrides: Sequence[Override], builder: Builder) -> list[tuple[str, Node]]:
    """Overrides of the command line, or of a suite, as paths and nodes."""
    given: list[tuple[str, Node]] = []
    for path, text, *flags in overrides:
        if isinstance(text, Node):
            given.append((path, marked(text, False)))
            continue
        origin = Origin("command line", flags[0] if flags else f"--set {path}")
        try:
            plain = plain_of(parse(text if text.strip() else "null", origin.file, origin.layer))
            given.append((path, marked(tree_of(plain, origin, path), False)))
        except SpecError as error:
            builder.problems += [Problem(origin, path, problem.message) for problem in error.problems]
    return given


def _apply(tree: Node, pairs: Iterable[tuple[str, Node]], builder: Builder) -> None:
    """Set values by their paths; a path that leads nowhere is a problem."""
    for path, node in pairs:
        try:
            if path.partition(".")[0] in FILE_KEYS:
                message = f"found the path {show(path)}, which is read at the top of a file alone; allowed other keys"
                raise SpecError([Problem(node.origin, path, message)])
            _refuse_alone(path, node)
            assign(tree, path, node)
        except SpecError as error:
            builder.problems += error.problems


def _refuse_alone(path: str, node: Node) -> None:
    """Raise SpecError for a path to `replace`, which means something in a mapping that is given whole."""
    whole, _, key = path.rpartition(".")
    if whole and key == REPLACE and node.value is True and not FREE.search(whole):
        message = "found replace: true alone, which is said in a mapping that is given whole"
        raise SpecError([Problem(node.origin, path, f"{message}; remove it, or set {whole} to {{replace: true, …}}")])


def _tuned(tree: Node, tuned: Node, builder: Builder) -> Iterator[tuple[str, Node]]:
    """Settings of the dataset that runs, as paths and nodes."""
    wrong = "allowed a mapping from datasets to {path: value}"
    if not isinstance(tuned.value, dict):
        builder.fail(tuned, "tuned", f"found {show(tuned.value)}, {wrong}")
        return
    for pattern, entry in tuned.value.items():
        if not isinstance(entry.value, dict):
            builder.fail(entry, f"tuned.{pattern}", f"found {show(entry.value)}, {wrong}")
        elif _runs(tree, pattern):
            yield from _settings(entry, builder)


def _runs(tree: Node, pattern: str) -> bool:
    """Whether the dataset of a spec is one of a pattern's."""
    data = tree.value.get("data")
    dataset = data.value.get("dataset") if data is not None and isinstance(data.value, dict) else None
    return dataset is not None and isinstance(dataset.value, str) and fnmatch.fnmatchcase(dataset.value, pattern)


def _settings(entry: Node, builder: Builder) -> Iterator[tuple[str, Node]]:
    """What is tuned for one dataset."""
    for path, node in entry.value.items():
        if path in ("data", "data.dataset"):
            message = "found the dataset, which decides what is tuned; allowed other paths"
            builder.fail(node.in_layer("tuned"), path, message, at_key=True)
        else:
            yield path, node.in_layer("tuned")


def _check_tuned(tree: Node, tuned: Node, builder: Builder) -> None:
    """Note mistakes in what this file tunes for datasets that do not run now."""
    for pattern, entry in tuned.value.items() if isinstance(tuned.value, dict) else ():
        if isinstance(entry.value, dict) and entry.origin.layer == "file" and not _runs(tree, pattern):
            part, copy = Builder(ALSO), tree.copy()
            _apply(copy, _settings(entry, part), part)
            _normalize(copy, part)
            part.record(Spec, copy, "")
            builder.problems += [problem for problem in part.problems if problem.origin.layer == "tuned"]


def _normalize(tree: Node, builder: Builder) -> None:
    """Give the tree its long form: optimisers by learner, a behaviour, steps with all they inherit."""
    top = tree.value
    known = complete(tree, builder)
    top["optimizer"] = optimizers(ADAM, top["optimizer"]) if "optimizer" in top else ADAM
    policy, behavior = top.get("policy"), top.get("behavior", Node(None, DEFAULT))
    if policy is not None and "behavior" not in top:
        top["behavior"] = replace(policy, key_origin=None)
    elif policy is not None and isinstance(behavior.value, dict) and "kind" not in behavior.value:
        top["behavior"] = merge(policy, behavior)
    schedule = top.get("schedule")
    if schedule is None or not isinstance(schedule.value, dict):
        return
    defaults = defaults_of(schedule, builder)
    steps = schedule.value.get("steps")
    if steps is None or not isinstance(steps.value, list):
        return
    builder.idle = idle_defaults(defaults, steps.value)
    if known:
        steps = replace(steps, value=[known_step(step, defaults) for step in steps.value])
    whole = [
        long_step(step, f"schedule.steps[{index}]", defaults, tree, builder) if isinstance(step.value, dict) else step
        for index, step in enumerate(steps.value)
    ]
    schedule.value["steps"] = replace(steps, value=whole)
