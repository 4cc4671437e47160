"""What stands on a page beside the results: the runs, data cards, and where the numbers are from."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pogospec.errors import PogospecError
from pogospec.places import shown
from pogospec.report.page.members import Member, Progress, progress
from pogospec.report.reading.flow import is_target
from pogospec.runs.directory import RunDirectory


class Line(NamedTuple):
    """A run in the list of runs."""

    member: Member
    progress: Progress

    @property
    def share(self) -> int | None:
        """Percent of its updates; None where it is not known, or done."""
        _, _, done, total = self.progress
        return None if total is None or self.progress.state == "done" else min(100, 100 * done // total)


class Card(NamedTuple):
    """The data card of a dataset: lines, tables of the columns, notes, faults; or why there is none."""

    dataset: str
    lines: list[tuple[str, str]]
    tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]]
    notes: list[str]
    wrong: list[str]


def lines_of(members: Sequence[Member]) -> list[Line]:
    """The runs, and how far they came."""
    return [Line(member, progress(member.run)) for member in members]


def cards_of(members: Sequence[Member]) -> list[Card]:
    """A card for each dataset that runs learned from."""
    found: dict[tuple[str, str], Card] = {}
    for member in members:
        key = (member.dataset, member.manifest.get("data_sha256", ""))
        if key not in found and not is_target(member.run):
            try:
                found[key] = _card(member.run.path, *key)
            except (PogospecError, OSError) as error:
                found[key] = Card(member.dataset, [("sha256", key[1])], [], [], [f"not looked into: {error}"])
    return [*found.values()]


@functools.lru_cache(maxsize=64)
def _card(path: Path, dataset: str, sha256: str) -> Card:
    from pogospec.checking.recorded import reread
    from pogospec.data import read, told
    from pogospec.data.inspection import examine
    from pogospec.data.sources.pocket import cards

    data = reread(RunDirectory(path))[1].data
    logged = read(data.dataset, data.environment, data.observe, data.arguments, data.max_episode_steps)
    facts = examine(logged)
    facts |= {"file": _named(logged.file), "dataset": logged.id}
    embedded = cards().get(data.dataset, {})
    lines = [*((key, embedded[key]) for key in ("about", "collected") if key in embedded), *told.lines(facts)]
    tables = [(told.ACTIONS, told.actions(facts)), (told.OBSERVATIONS, told.observations(facts))]
    changed = [] if logged.sha256 == sha256 else [f"the data changed since the run, whose were of sha256 {sha256}"]
    return Card(dataset, lines, tables, facts["notes"], [*changed, *facts["faults"]])


def provenance(members: Sequence[Member]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Where the numbers are from: the runs, and a row a fact with its text for each of them."""
    keys = (
        ("run directory", lambda m: _named(m.run.path)),
        ("pogospec", lambda m: m.manifest["versions"].get("pogospec")),
        ("spec, digest", lambda m: m.manifest["digest"]),
        ("spec.yaml", lambda m: "as it was written" if m.run.untouched() else "edited since the run began"),
        ("spec and data, identity", lambda m: m.manifest.get("identity")),
        ("data, sha256", lambda m: m.manifest.get("data_sha256")),
        ("environment", lambda m: m.manifest["environment"]),
        ("evaluation", _evaluation),
        ("reference returns", _reference),
        ("seeds", lambda m: ", ".join(map(str, m.seeds))),
        ("device", lambda m: m.manifest.get("device")),
        ("started", lambda m: m.manifest.get("started")),
        ("Python", lambda m: m.manifest.get("python")),
        ("packages", _packages),
    )
    rows = [(name, [str(value(member) or "") for member in members]) for name, value in keys]
    return [member.spec for member in members], [(name, texts) for name, texts in rows if any(texts)]


def _named(path: Path) -> str:
    """A path from the working directory; of one elsewhere the name alone, since pages are handed on."""
    found = shown(str(path))
    return Path(found).name if Path(found).is_absolute() else found


def _evaluation(member: Member) -> str:
    about = member.manifest
    if about["environment"] is None:
        return ""
    first = about.get("evaluation_seed")
    return f"{about['episodes']} episodes, {about['action']}" + ("" if first is None else f", reset seeds from {first}")


def _reference(member: Member) -> str:
    found = member.manifest["reference"]
    return "" if found is None else f"{found['low']:g} to {found['high']:g}, {found['label']} ({found['source']})"


def _packages(member: Member) -> str:
    versions = member.manifest["versions"]
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version and name != "pogospec")
