"""Trackers: each once, installed where a run begins, and those of the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pogospec import registry
from pogospec.checking.base import Problems
from pogospec.errors import Origin, Problem, SpecError, UsageError
from pogospec.extras import lacking
from pogospec.spec.annotations import did_you_mean
from pogospec.spec.build import build_node
from pogospec.spec.resolve import Document
from pogospec.spec.schema import Spec


def tracker_rules(spec: Spec) -> Problems:
    """A run has one session of a tracker."""
    kinds = [registry.kind_of("tracker", type(tracker)) for tracker in spec.train.track]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            yield f"train.track[{index}]", f"found {kind} twice, allowed each once; remove one"


def require_trackers(documents: Iterable[Document]) -> None:
    """Raise SpecError for trackers of checked specs whose library is not installed."""
    problems = [problem for document in documents for problem in _missing(document)]
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))


def _missing(document: Document) -> Iterable[Problem]:
    for index, tracker in enumerate(document.spec.train.track if document.spec is not None else ()):
        text, path = lacking(tracker.needs), f"train.track[{index}]"
        if text is not None:
            origin = document.origins.get(path) or document.origins.get("train.track", Origin("file", document.source))
            yield Problem(origin, path, f"{text}, or leave it out: --track none")


def trackers(text: str) -> tuple[Any, ...]:
    """The trackers that `--track` names, with their defaults: kinds with commas between, or none; raises UsageError."""
    names = [name.strip() for name in text.strip().strip("[]").split(",") if name.strip()]
    known = registry.table("tracker")
    unknown = next((name for name in names if name not in known and names != ["none"]), None)
    if unknown is not None or not names or len(set(names)) < len(names):
        what = f"'{unknown or text}'" if len(set(names)) == len(names) else "one of them twice"
        allowed = f"none, or some of {', '.join(known)} with commas between"
        raise UsageError(f"--track: found {what}, allowed {allowed}{did_you_mean(unknown, known)}")
    return () if names == ["none"] else tuple(build_node("tracker", {"kind": name}) for name in names)


def with_trackers(document: Document, track: str | None) -> Document:
    """A document with the trackers of `--track` in the place of its own, where it is given; raises UsageError."""
    if track is None or document.spec is None:
        return document
    spec = replace(document.spec, train=replace(document.spec.train, track=trackers(track)))
    return document._replace(spec=spec, origins=document.origins | {"train.track": Origin("--track")})
