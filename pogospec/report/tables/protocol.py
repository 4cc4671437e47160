"""What is said beside tables of runs: the protocol behind the numbers, and what makes them hard to compare."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from pogospec.errors import RunDirectoryError
from pogospec.report.reading.estimates import SAME, estimated, what
from pogospec.report.reading.flow import refusals
from pogospec.report.reading.names import by_dataset
from pogospec.report.reading.scores import Rule, curves, final
from pogospec.report.reading.sweeps import of_branches
from pogospec.runs.columns import LAST
from pogospec.runs.directory import RunDirectory, order
from pogospec.terminal import command

PROTOCOL = {
    "data_sha256": "data (sha256)",
    "environment": "environment",
    "reference": "reference returns",
    "episodes": "number of episodes",
    "action": "way of acting",
    "evaluation_seed": "evaluation seed",
    "seeds": "number of seeds",
}
ENOUGH = 3
"""Seeds below which differences between methods are not to be trusted."""
SIMULATORS = ("mujoco", "gymnasium")


def warnings(runs: Sequence[RunDirectory], score: str = "last") -> list[str]:
    """What makes runs hard to compare."""
    found, rule = [], Rule.parse(score)
    for run in runs:
        state = run.status()["state"]
        if state != "done":
            found.append(f"{run.path} is {state}, not done: its numbers are not final")
        if not final(run, score):
            lacks = "evaluation"
            if rule.offline:
                lacks = f"estimate {rule.kind} of all seeds; make it with: {command('evaluate', run.path, '--offline')}"
            found.append(f"{run.path} holds no {lacks}")
        found += few_evaluations(run, score)
        with contextlib.suppress(RunDirectoryError):  # which tables do without
            found += [f"{run.path}: {text}" for text in refusals(run)]
    for dataset, members in by_dataset(runs).items():
        counts = {title: run.manifest["seeds"] for title, run in members}
        own = _asked_otherwise(members, rule) if rule.offline else _budgets(members, rule)
        found += [f"{dataset}: {text}" for text in mismatches(members) + own + few_seeds(counts)]
    return found


def few_seeds(counts: dict[str, int]) -> list[str]:
    """What to say where methods are compared by so few seeds that what is seen may be chance."""
    few = [f"{count} ({title})" for title, count in counts.items() if count < ENOUGH]
    if len(counts) < 2 or not few:
        return []
    some = f"{', '.join(few[:3])}{f' and {len(few) - 3} more' if len(few) > 3 else ''}"
    return [
        f"fewer than {ENOUGH} seeds: {some}; runs of one method differ as much as most methods do, so add seeds with "
        "pogospec resume RUN --seeds 5"
    ]


def _asked_otherwise(members: Sequence[tuple[str, RunDirectory]], rule: Rule) -> list[str]:
    """Where estimates of runs on one dataset are of different numbers."""
    every = [(name, [*estimated(run, rule.kind).values()]) for name, run in members]
    known = [(name, found[0].asked) for name, found in every if found]
    names, texts = [name for name, _ in known], {"action": "way of acting"}
    return [
        f"the estimates differ in their {texts.get(key, key)}: {who([asked[key] for _, asked in known], names)}"
        for key in SAME
        if len({asked[key] for _, asked in known}) > 1
    ]


def few_evaluations(run: RunDirectory, score: str) -> list[str]:
    """Policies of a run with fewer evaluations than a rule takes."""
    count, cells = Rule.parse(score).count, final(run, score)
    counts = {policy: cell.evaluations for policy, cell in cells.items() if policy.removesuffix(LAST) != "behavior"}
    few = [f"{policy} {found}" for policy, found in counts.items() if found < count]
    return [f"{run.path} has fewer than {count} evaluations: {', '.join(few)}"] if few else []


def who(values: Sequence[str], names: Sequence[str]) -> str:
    """Each value with the runs that have it."""
    owners: dict[str, list[str]] = {}
    for value, name in zip(values, names, strict=True):
        owners.setdefault(value, []).append(name)
    texts = []
    for value, runs in sorted(owners.items()):
        rest = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
        texts.append(f"{value} ({', '.join(runs[:3])}{rest})")
    return ", ".join(texts)


def mismatches(members: Sequence[tuple[str, RunDirectory]]) -> list[str]:
    """Where the protocols of runs on one dataset, or the packages that they ran with, differ."""
    names, manifests = [name for name, _ in members], [run.manifest for _, run in members]
    found = []
    for key, text in PROTOCOL.items():
        values = [_short(manifest.get(key)) for manifest in manifests]
        if len({str(manifest.get(key)) for manifest in manifests}) > 1:
            found.append(f"the runs differ in their {text}: {who(values, names)}")
    versions = {package: [str(m["versions"].get(package)) for m in manifests] for package in (*SIMULATORS, "jax")}
    for package in SIMULATORS:
        if len(set(versions[package])) > 1:
            owners = who(versions[package], names)
            found.append(f"the runs differ in their {package} version: {owners}; returns move between versions")
    jax = versions["jax"]
    releases = {".".join(version.split(".")[:2]) for version in jax}
    own: dict[str, set[str]] = {}
    for manifest, version in zip(manifests, jax, strict=True):
        own.setdefault(manifest["digest"], set()).add(version)
    if len(releases) > 1 or any(len(group) > 1 for group in own.values()):
        found.append(
            f"the runs differ in their jax version: {who(jax, names)}; a seed may draw other numbers, "
            "and training may round otherwise"
        )
    return found


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['low']:g} to {value['high']:g}, {value['label']}"
    text = str(value)
    return text if len(text) < 40 else text[:12] + "…"


def _budgets(members: Sequence[tuple[str, RunDirectory]], rule: Rule) -> list[str]:
    """Policies that were trained for different numbers of updates, or picked from different numbers of evaluations."""
    found = []
    every = [(name, curves(run)) for name, run in members]
    for policy in sorted({policy for _, points in every for policy in points}, key=order):
        having = [(name, points[policy]) for name, points in every if points.get(policy)]
        names = [name for name, _ in having]
        totals = [f"{max(points):,}" for _, points in having]
        if len(set(totals)) > 1 and not of_branches([run for _, run in members]):  # whose moments are what they vary
            found.append(f"{policy} was evaluated after different numbers of updates: {who(totals, names)}")
        counts = [str(len(points)) for _, points in having]
        if rule.kind == "best" and len(set(counts)) > 1:
            found.append(
                f"{policy} is the best of different numbers of evaluations: {who(counts, names)}; "
                "the best of more is higher by chance"
            )
    return found


def header(runs: Sequence[RunDirectory], score: str = "last") -> str:
    """The protocol: rule, episodes, seeds, what the std is over, and how the numbers are normalised."""
    return sentence([*protocol(runs, score), *([] if Rule.parse(score).offline else [numbers(runs)])])


def sentence(parts: Sequence[str]) -> str:
    """Parts as one sentence."""
    text = "; ".join(parts)
    return text[0].upper() + text[1:]


def protocol(runs: Sequence[RunDirectory], score: str) -> list[str]:
    """The rule, the episodes, and what the std is over."""
    rule, manifests = Rule.parse(score), [run.manifest for run in runs]
    seeds, episodes, actions = (_values(manifests, key) for key in ("seeds", "episodes", "action"))
    several = any(manifest["seeds"] > 1 for manifest in manifests)
    over = f"mean ± std over {seeds} seeds (ddof 1)" if several else "one seed"
    if rule.offline:
        return [str(rule), _estimates(runs, rule), f"{over}; in brackets the interval, mean over seeds of its ends"]
    once = ""
    behavior = [cells["behavior"].evaluations for cells in (final(run, score) for run in runs) if "behavior" in cells]
    if behavior and min(behavior) < rule.count:
        once = f" (the fitted behavior has {min(behavior)})"
    return [f"{rule}{once}", f"mean of {episodes} episodes a seed, acting by the {actions}", over]


def _estimates(runs: Sequence[RunDirectory], rule: Rule) -> str:
    """What is estimated, and the level of the intervals."""
    asked = [found.asked for run in runs for found in estimated(run, rule.kind).values()]
    texts = dict.fromkeys(what(one) for one in asked)
    levels = sorted({f"{100 * float(one['level']):g}%" for one in asked})
    return f"{' or '.join(texts)}; intervals of {' or '.join(levels)}" if asked else "nothing is estimated yet"


def numbers(runs: Sequence[RunDirectory], brief: bool = False) -> str:
    """How the numbers are normalised, by which reference returns unless `brief`, and where these come from."""
    owners: dict[str, list[str]] = {}
    manifests = [run.manifest for run in runs]
    for manifest in manifests:
        reference = manifest["reference"]
        if reference is None:
            text = "raw undiscounted return"
        else:
            text = reference["label"]
            text += "" if brief else f", low {reference['low']:g}, high {reference['high']:g}"
            text += f" ({reference['source']})"
        datasets = owners.setdefault(text, [])
        if manifest["dataset"] not in datasets:
            datasets.append(manifest["dataset"])
    texts = [text if len(owners) == 1 else f"{', '.join(datasets)}: {text}" for text, datasets in owners.items()]
    formula = "score 100 (return - low) / (high - low); " if any(m["reference"] for m in manifests) else ""
    return formula + "; ".join(texts)


def _values(manifests: list[dict[str, Any]], key: str) -> str:
    return " or ".join(str(value) for value in sorted({manifest[key] for manifest in manifests}))
