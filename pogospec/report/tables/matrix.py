"""Datasets x methods: the last Euler step of every run, an average, and what the literature prints beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pogospec.report import published as literature
from pogospec.report.reading.find import Plan
from pogospec.report.reading.names import titles
from pogospec.report.reading.scores import Cell, Rule, final, last_step
from pogospec.report.statistics import (
    LEVEL,
    PAIRED_RESAMPLES,
    RESAMPLES,
    Tasks,
    better,
    better_interval,
    coverage,
    interval,
    iqm,
    iqm_interval,
    mean,
    mean_interval,
    std,
)
from pogospec.report.tables.protocol import few_evaluations, few_seeds, mismatches, numbers, protocol, sentence, who
from pogospec.runs.directory import RunDirectory

STATS = {"mean-std": mean, "iqm-ci": iqm, "iqm-bootstrap": iqm}
LEAST = 3
"""Seeds without which no number is in bold."""


class Entry(NamedTuple):
    """A cell of the table: what to print, whether in bold, and the numbers behind it."""

    text: str
    best: bool = False
    numbers: dict[str, Any] = {}


class Column(NamedTuple):
    """A method, ours where `source` is None; `entries` by the name of the row."""

    title: str
    source: str | None
    entries: dict[str, Entry]


class Better(NamedTuple):
    """The probability that a run of one method scores above one of another, with its interval."""

    method: str
    other: str
    probability: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        text = f"P({self.method} > {self.other}) = {self.probability:.2f}"
        return text if self.interval is None else f"{text} [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"


class Matrix(NamedTuple):
    """The table, with the protocol before it and what must be said after it."""

    protocol: str
    rows: list[str]
    columns: list[Column]
    better: list[Better]
    notes: list[str]
    warnings: list[str]


class Place(NamedTuple):
    """One run in the table; `cell` is its last Euler step, None where it is not done or was not evaluated.

    `behavior`: what its steps began from, None where that was not evaluated.
    """

    run: RunDirectory
    state: str
    policy: str | None
    cell: Cell | None
    behavior: Cell | None = None


def matrix_of(
    runs: Sequence[RunDirectory],
    score: str = "last",
    stat: str = "mean-std",
    published: str | None = None,
    plan: Plan | None = None,
) -> Matrix:
    """The table of runs, or of a suite; `published`: the name of a source, or all. Raises UsageError."""
    names = titles(runs) if plan is None else [plan.runs[run.path.name][0] for run in runs]
    keys = [(name, run.manifest["dataset"]) for name, run in zip(names, runs, strict=True)]
    places = {key: _place(run, score) for key, run in zip(keys, runs, strict=True)}
    wanted = keys if plan is None else list(plan.runs.values())
    methods, datasets = ([*dict.fromkeys(column)] for column in zip(*wanted, strict=True))
    known = {key: place.cell for key, place in places.items() if place.cell is not None}
    shared = [d for d in datasets if all((m, d) in known and known[m, d].scores is not None for m in methods)]
    averages = _averages(shared, [{d: places[m, d].run.manifest["reference"] for d in shared} for m in methods], stat)
    ours = {m: _column(m, datasets, places, known, averages, stat, score) for m in methods}
    if stat != "iqm-bootstrap":
        _mark(ours, [*datasets, *averages])
    columns, notes = list(ours.values()), []
    if published is not None:
        columns, notes = _beside(ours, published, datasets, averages)
    pairs = [] if stat == "mean-std" else _pairs(methods, datasets, known, stat)
    rows = [*datasets, *averages]
    missing = [] if plan is None else [key for key in wanted if key not in places]
    return Matrix(_header(runs, score, stat), rows, columns, pairs, notes, _warnings(places, score, missing))


def _averages(
    shared: Sequence[str], references: Sequence[dict[str, dict[str, Any]]], stat: str
) -> dict[str, list[str]]:
    """Rows of averages, and the datasets behind each: those whose scores are normalised in one way, by all methods.

    `references`: of each method, those of the datasets.
    """
    groups: dict[str, list[str]] = {}
    for dataset in shared:
        first, *others = [own[dataset] for own in references]
        if all(other == first for other in others):
            groups.setdefault(first["label"], []).append(dataset)
    word, several = "average" if stat == "mean-std" else "IQM", len(groups) > 1
    return {
        f"{word} of {len(datasets)}" + (f", {label}" if several else ""): datasets
        for label, datasets in groups.items()
        if len(datasets) > 1
    }


def _place(run: RunDirectory, score: str) -> Place:
    state, cells = run.status()["state"], final(run, score)
    policy = last_step(cells)
    cell = cells[policy] if policy is not None and state == "done" else None
    return Place(run, state, policy, cell, cells.get("behavior"))


def _column(
    method: str,
    datasets: Sequence[str],
    places: dict[tuple[str, str], Place],
    known: dict[tuple[str, str], Cell],
    averages: dict[str, list[str]],
    stat: str,
    score: str,
) -> Column:
    """One of our methods; a run that is not done shows its state."""
    entries = {}
    for dataset in datasets:
        place = places.get((method, dataset))
        if place is None or place.cell is None:
            entries[dataset] = Entry("" if place is None else "not evaluated" if place.state == "done" else place.state)
            continue
        cell = place.cell
        about = {"policy": place.policy, "score": score, "unit": cell.unit}
        about |= {"seeds": len(cell.values), "mean": float(cell.values.mean()), "std": std(cell.values)}
        text, found = _summary([cell.values], stat)
        entries[dataset] = Entry(str(cell) if stat == "mean-std" else text, numbers=about | found)
    for average, averaged in averages.items():
        values = [known[method, dataset].values for dataset in averaged]
        text, found = _summary(values, stat)
        about = {"score": score, "unit": "score", "seeds": min(map(len, values)), "mean": float(mean(values))}
        entries[average] = Entry(f"{mean(values):.1f}" if stat == "mean-std" else text, numbers=about | found)
    return Column(method, None, entries)


def _summary(tasks: Tasks, stat: str) -> tuple[str, dict[str, float | None]]:
    """The statistic of a cell with its interval, as text and as numbers."""
    centre = float(STATS[stat](tasks))
    found: dict[str, float | None] = {} if stat == "mean-std" else {"iqm": centre}
    bounds = _interval(tasks, stat)
    if bounds is None:
        return f"{centre:.1f}", found | {"low": None, "high": None}
    low, high = bounds
    return f"{centre:.1f} [{low:.1f}, {high:.1f}]", found | {"low": low, "high": high}


def _interval(tasks: Tasks, stat: str) -> tuple[float, float] | None:
    """The interval of the statistic; None where the seeds do not tell one."""
    if stat == "iqm-bootstrap":
        return None if max(map(len, tasks)) == 1 else interval(iqm, tasks)
    low, high = mean_interval(tasks) if stat == "mean-std" else iqm_interval(tasks)
    return (float(low), float(high)) if np.isfinite(low) else None


def _mark(columns: dict[str, Column], rows: Sequence[str]) -> None:
    """Put the best of each row in bold, where its interval lies above those of all others."""
    for row in rows:
        found = {name: column.entries[row].numbers for name, column in columns.items() if row in column.entries}
        found = {name: about for name, about in found.items() if about}
        if len(found) < 2 or any(about["low"] is None or about["seeds"] < LEAST for about in found.values()):
            continue
        best = max(found, key=lambda name: found[name]["low"])
        if all(found[best]["low"] > about["high"] for name, about in found.items() if name != best):
            columns[best].entries[row] = columns[best].entries[row]._replace(best=True)


def _beside(
    ours: dict[str, Column], name: str, datasets: Sequence[str], averages: dict[str, list[str]]
) -> tuple[list[Column], list[str]]:
    """The columns with those of the literature after the method that they are of, and what there is to say."""
    sources, columns, used = literature.named(name), [], []
    for method, column in ours.items():
        found = literature.of_method(sources, method)
        used += found
        columns += [column, *found]
    if name != literature.ALL:
        columns += [one for one in literature.of_source(sources[0]) if one not in used]
    shown = [column if isinstance(column, Column) else _printed(column, datasets, averages) for column in columns]
    shown = [column for column in shown if column.source is None or column.entries]
    cited = {column.source for column in shown} - {None}
    notes = [f"{source.name}: {source.about()}" for source in sources if source.name in cited]
    none = [dataset for dataset in datasets if not any(dataset in source.scores for source in sources)]
    if none:
        notes.append(f"nothing is published{'' if name == literature.ALL else f' by {name}'} of {', '.join(none)}")
    if not cited and len(none) < len(datasets):
        notes.append("nothing is published of these methods; name a source to see others")
    return shown, notes


def _printed(column: literature.Published, datasets: Sequence[str], averages: dict[str, list[str]]) -> Column:
    """A column of the literature, with the average of the same rows where it has all of them."""
    entries = {}
    for dataset in datasets:
        if dataset in column.texts:
            about = {"unit": "score", "seeds": column.seeds, "mean": column.means[dataset]}
            entries[dataset] = Entry(column.texts[dataset], numbers=about | {"std": column.stds.get(dataset)})
    for average, averaged in averages.items():
        if not average.startswith("average") or not all(dataset in column.means for dataset in averaged):
            continue
        centre = float(np.mean([column.means[dataset] for dataset in averaged]))
        entries[average] = Entry(f"{centre:.1f}", numbers={"unit": "score", "seeds": column.seeds, "mean": centre})
    return Column(column.title, column.source, entries)


def _pairs(
    methods: Sequence[str], datasets: Sequence[str], known: dict[tuple[str, str], Cell], stat: str
) -> list[Better]:
    """Probabilities of improvement of all pairs, over the datasets that both have."""
    found = []
    for number, method in enumerate(methods):
        for other in methods[number + 1 :]:
            both = [dataset for dataset in datasets if (method, dataset) in known and (other, dataset) in known]
            if not both:
                continue
            one, two = ([known[name, dataset].values for dataset in both] for name in (method, other))
            found.append(Better(method, other, float(better(one, two)), _better_interval(one, two, stat)))
    return found


def _better_interval(one: Tasks, two: Tasks, stat: str) -> tuple[float, float] | None:
    if stat == "iqm-bootstrap":
        several = max(map(len, [*one, *two])) > 1
        return interval(better, one, two, resamples=PAIRED_RESAMPLES) if several else None
    if any(len(a) == len(b) == 1 for a, b in zip(one, two, strict=True)):
        return None
    low, high = better_interval(one, two)
    return float(low), float(high)


def _header(runs: Sequence[RunDirectory], score: str, stat: str) -> str:
    """The protocol, the statistic, its interval and what that holds, and the rule of bold numbers."""
    rule, episodes, over = protocol(runs, score)
    counts = [run.manifest["seeds"] for run in runs]
    level = f"{100 * LEVEL:.0f}%"
    kind, what, held = f"{level} t interval", "interquartile mean", "iqm"
    if stat == "iqm-bootstrap":
        resamples = f"{RESAMPLES:,} resamples of the seeds of each dataset"
        kind, held = f"{level} bootstrap interval, {resamples}", "bootstrap"
    if stat == "mean-std":
        what, held = "mean", "mean"
    else:
        over = over.replace("mean ± std", f"{what} [{kind}]").replace(" (ddof 1)", "")
    bold = (
        f"bold: the best of a row, where the {kind} of its {what} over {LEAST} or more seeds lies above those of all "
        "others here"
    )
    rules = [] if stat == "iqm-bootstrap" else [bold]
    if max(counts) > 1:
        rules.append(f"what such an interval holds: {coverage(held, min(counts))}")
    shown = [] if Rule.parse(score).offline else [numbers(runs, brief=True)]
    return sentence(["last Euler step of each method", rule, episodes, over, *rules, *shown])


def _warnings(places: dict[tuple[str, str], Place], score: str, missing: Sequence[tuple[str, str]]) -> list[str]:
    """What makes the table hard to read; what holds for several datasets is said once."""
    found = []
    if missing:
        found.append(f"not begun: {_some([f'{m} on {d}' for m, d in missing])}")
    undone = [f"{m} on {d} ({place.state})" for (m, d), place in places.items() if place.state != "done"]
    if undone:
        found.append(f"not done, and left out: {_some(undone)}")
    texts: dict[str, list[str]] = {}
    for dataset in dict.fromkeys(dataset for _, dataset in places):
        members = [(method, place) for (method, d), place in places.items() if d == dataset]
        totals = {method: f"{place.cell.total_update:,}" for method, place in members if place.cell is not None}
        own = mismatches([(method, place.run) for method, place in members])
        if len(set(totals.values())) > 1:
            own.append(f"the last steps end after different numbers of updates: {who([*totals.values()], [*totals])}")
        own += few_seeds({method: len(place.cell.values) for method, place in members if place.cell is not None})
        for text in own:
            texts.setdefault(text, []).append(dataset)
    found += [f"{_some(datasets)}: {text}" for text, datasets in texts.items()]
    found += [text for key, place in places.items() if (text := _collapse(*key, place)) is not None]
    return found + [text for place in places.values() for text in few_evaluations(place.run, score)]


def _collapse(method: str, dataset: str, place: Place) -> str | None:
    """What to say where a method ends below its own behaviour by more than the standard error over its seeds."""
    if place.cell is None or place.behavior is None:
        return None
    end, start = place.cell.values, place.behavior.values
    if len(end) != len(start):  # an evaluation offline may be of some seeds
        return None
    gap = end - start
    error = 0.0 if len(gap) == 1 else (std(gap) or 0.0) / math.sqrt(len(gap))
    if not gap.mean() < -error:
        return None
    over = "one seed" if len(gap) == 1 else f"{len(gap)} seeds, paired difference {gap.mean():.1f} ± {error:.1f}"
    return (
        f"{dataset}: {method} ends below its own behaviour: {place.cell.unit} {end.mean():.1f}, that of the behaviour "
        f"{start.mean():.1f} ({over})"
    )


def _some(names: Sequence[str]) -> str:
    """Names, the first three of many."""
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} and {len(names) - 3} more"
