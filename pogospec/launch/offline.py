"""Off-policy evaluation of runs: the policies that they saved, on the data that they were trained on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pogospec.checking.at_hand import require
from pogospec.checking.check import located
from pogospec.checking.recorded import reread
from pogospec.data import load_for
from pogospec.data.arrays import reward_factor, standardize, transform_rewards
from pogospec.errors import RunError, UsageError
from pogospec.launch.record import check_data
from pogospec.offline.actions import drawn, log_likelihoods
from pogospec.offline.episodes import Episodes, episodes_of
from pogospec.offline.fqe import Candidate, Layout, Reading, fitted, initial, resampled, rows_of
from pogospec.offline.importance import Weighted, importance
from pogospec.offline.interval import estimate
from pogospec.offline.settings import Settings
from pogospec.report.reading import is_target
from pogospec.runs import estimates
from pogospec.runs.directory import RunDirectory
from pogospec.runs.manifest import numbers_of
from pogospec.runs.saved import SavedPolicy
from pogospec.spec.schema import RewardSpec, Spec
from pogospec.terminal import command
from pogospec.training.batching import Batching
from pogospec.types import Dataset, Transitions

ESTIMATORS = ("fqe", "wis", "dr")
BY_DENSITIES = ("wis", "dr")
MEMORY = 2**30
"""Bytes of next actions of policies that are evaluated together."""
DISCOUNT = 0.99
"""Of a run whose critic has none."""

Row = dict[str, Any]


class Asked(NamedTuple):
    """What is asked of an evaluation; None: as in the run."""

    policy: str | None = None
    moves: int | None = None
    discount: float | None = None
    action: str | None = None
    rewards: str = "run"
    estimators: tuple[str, ...] | None = None  # None: those that can be had
    samples: int = 8
    level: float = 0.95
    seed: int = 0
    settings: Settings = Settings()


class Found(NamedTuple):
    """Rows of ope.csv, and why estimators were left out."""

    rows: list[Row]
    notes: list[str]


class Logged(NamedTuple):
    """The data of a run, as an evaluation sees them."""

    raw: Transitions  # observations as they were logged
    seen: Transitions  # standardised observations, the rewards that are summed
    episodes: Episodes
    rewards: str  # what is summed, in words


def evaluate(run: RunDirectory, asked: Asked, tick: Callable[[float], None] = lambda share: None) -> Found:
    """Evaluate policies of a run from its data, and write what is found into it.

    Raises UsageError for what cannot be evaluated or asked, RunDirectoryError for a damaged run, DataError where its
    data cannot be read, RunError where numbers are not finite.
    """
    if is_target(run):
        raise UsageError(f"{run.path} is a flow on a known energy, which has no data; see {run.path}/flow.csv")
    policies = _policies(run, asked)
    document, spec = reread(run)
    require([document])
    with located(document):
        dataset = load_for(spec)
        check_data(run, dataset)
        logged = _logged(spec, dataset, asked)
    discount = getattr(spec.critic, "discount", DISCOUNT) if asked.discount is None else asked.discount
    action = asked.action or run.manifest["action"]
    asked = asked._replace(action=action, discount=discount, settings=_with_discount(asked.settings, discount))
    behavior = _behavior(run, asked, policies)
    wanted, notes = _estimators(asked, policies, behavior)
    every = ({} if behavior is None else {"behavior": behavior}) | policies  # gains are over the behaviour
    wanted = {"behavior": tuple(dict.fromkeys(name for names in wanted.values() for name in names))} | wanted
    said = _Evaluation(asked, numbers_of(run.manifest), logged, wanted, behavior, tick).all(every)
    rows = [row for label in policies for row in said[label]]
    estimates.write(run, rows)
    return Found(rows, notes)


def _policies(run: RunDirectory, asked: Asked) -> dict[str, SavedPolicy]:
    labels = [asked.policy] if asked.policy else run.policies()
    if not labels:
        raise UsageError(f"{run.path} holds no policies yet; go on with: {command('resume', run.path)}")
    found = {label: SavedPolicy.load(*run.load_policy(label)) for label in labels}
    if asked.moves is None:
        return found
    if not any(saved.family.borrows for saved in found.values()):
        raise UsageError(f"--moves: found {asked.moves}, allowed for particles, of which {run.path} holds none")
    return {label: saved.after(asked.moves) for label, saved in found.items()}


def _behavior(run: RunDirectory, asked: Asked, policies: dict[str, SavedPolicy]) -> SavedPolicy | None:
    """The fitted behaviour, where the run saved one."""
    if "behavior" in policies:
        return policies["behavior"]
    return SavedPolicy.load(*run.load_policy("behavior")) if "behavior" in run.saved() else None


def _logged(spec: Spec, dataset: Dataset, asked: Asked) -> Logged:
    """The data with the rewards that are summed: in units of the logged ones, whatever the run multiplies them by."""
    reward = spec.data.reward if asked.rewards == "run" else RewardSpec()
    factor = reward_factor(dataset.transitions, reward)
    size = abs(factor) or 1.0
    seen = transform_rewards(dataset.transitions, reward)
    seen = seen._replace(rewards=np.asarray(seen.rewards, np.float64) / size)
    sign, shift = {1.0: "r", -1.0: "-r", 0.0: "0 r"}[factor / size], reward.shift / size
    words = sign if not shift else f"{sign} {'-' if shift < 0 else '+'} {abs(shift):.12g}"
    return Logged(dataset.transitions, standardize(seen)[0], episodes_of(seen, asked.settings.folds), words)


def _with_discount(settings: Settings, discount: float) -> Settings:
    from dataclasses import replace

    return replace(settings, discount=discount)


def _estimators(
    asked: Asked, policies: dict[str, SavedPolicy], behavior: SavedPolicy | None
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The estimators of each policy, and why others were left out; raises UsageError for those that were asked for."""
    names = asked.estimators or ESTIMATORS
    wanted, reasons = {}, {}
    for label, saved in policies.items():
        why = _no_density(asked, label, saved, behavior) if set(BY_DENSITIES) & set(names) else ""
        wanted[label] = tuple(name for name in names if not why or name not in BY_DENSITIES)
        if why:
            reasons.setdefault(why, []).append(label)
    told = [f"wis and dr of {', '.join(labels)} are not known: {why}" for why, labels in reasons.items()]
    if told and asked.estimators is not None:
        raise UsageError("\n".join(f"--estimator: {text}" for text in told))
    return wanted, told


def _no_density(asked: Asked, label: str, saved: SavedPolicy, behavior: SavedPolicy | None) -> str:
    """Why an action of a policy has no density relative to the behaviour's; empty where it has one."""
    if behavior is None:
        return "the run fitted no behaviour, whose density they divide by"
    if not behavior.family.has_density:
        return f"the fitted behaviour ({_kind(behavior)}) has no density"
    if not saved.family.has_density:
        return f"its actions ({_kind(saved)}) have no density"
    if asked.action == "mean":
        return "it acts by the mean, which has no density; --action sample asks what it is worth where it samples"
    return ""


def _kind(saved: SavedPolicy) -> str:
    from pogospec.spec.build import to_plain

    return str(to_plain(saved.family).get("kind", type(saved.family).__name__))


@functools.lru_cache(maxsize=8)
def _layout(runs: int) -> Layout:
    return Batching.of("auto", runs).jit


class _Evaluation:
    """The policies of one run, as many together as fit into memory."""

    def __init__(
        self,
        asked: Asked,
        numbers: list[int],
        logged: Logged,
        wanted: dict[str, tuple[str, ...]],
        behavior: SavedPolicy | None,
        tick: Callable[[float], None],
    ):
        self.asked, self.logged, self.wanted, self.behavior, self.tick = asked, logged, wanted, behavior, tick
        self.numbers, self.root = numbers, jax.random.key(asked.seed)
        self.freedom = len(logged.episodes.block_fold) - asked.settings.folds

    def all(self, policies: dict[str, SavedPolicy]) -> dict[str, list[Row]]:
        """Rows of each policy."""
        groups, found = self._groups(policies), {}
        values: dict[tuple[str, str], np.ndarray] = {}  # label, estimator -> [seeds, 1 + resamples]
        said: dict[str, Reading] = {}
        effective: dict[tuple[str, str], list[float]] = {}
        for number, labels in enumerate(groups):
            share = lambda done, number=number: self.tick((number + done) / len(groups))  # noqa: E731
            self._group({label: policies[label] for label in labels}, share, values, said, effective)
        for label in policies:
            found[label] = [
                self._row(label, seed, name, values, said, effective)
                for name in self.wanted[label]
                for seed in range(len(values[label, name]))
            ]
        return found

    def _groups(self, policies: dict[str, SavedPolicy]) -> list[list[str]]:
        groups, room = [], 0.0
        rows = len(self.logged.seen.rewards)
        for label, saved in policies.items():
            points = self.asked.samples if self.asked.action == "sample" else 1
            seeds = jax.tree.leaves(saved.network)[0].shape[0]
            size = 4.0 * seeds * rows * points * saved.space.act_dim
            if size > room or not groups:
                groups.append([])
                room = MEMORY
            groups[-1].append(label)
            room -= size
        return groups

    def _group(
        self,
        policies: dict[str, SavedPolicy],
        tick: Callable[[float], None],
        values: dict[tuple[str, str], np.ndarray],
        said: dict[str, Reading],
        effective: dict[tuple[str, str], list[float]],
    ) -> None:
        """Evaluate policies together."""
        raw, episodes, settings = self.logged.raw, self.logged.episodes, self.asked.settings
        starts = np.asarray(raw.observations)[episodes.first]
        chosen = {
            label: [self._drawn(saved, rows, place, tick) for place, rows in enumerate((raw.next_observations, starts))]
            for label, saved in policies.items()
        }
        _require_finite(chosen, self.numbers)
        candidate = Candidate(*(np.concatenate([pair[i] for pair in chosen.values()]) for i in (0, 1)))
        critics = len(candidate.first) * settings.folds * settings.fits
        key = jax.random.fold_in(self.root, 1)
        reading = fitted(settings, self.logged.seen, episodes, candidate, key, _layout(critics), tick)
        begin = 0
        for label, (following, first) in chosen.items():
            rows = slice(begin, begin + len(first))
            begin = rows.stop
            own = reading.of(rows)
            if not np.isfinite(own.values).all():
                raise RunError(f"{label}: its critics are not finite; fewer --updates, or a smaller --discount")
            values[label, "fqe"], said[label] = np.asarray(own.values), own
            if set(self.wanted[label]) & set(BY_DENSITIES):
                weighted = self._weighted(policies[label], own, following, first)
                for name in BY_DENSITIES:
                    values[label, name] = np.stack([one[name].values for one in weighted])
                    effective[label, name] = [one[name].effective for one in weighted]

    def _drawn(self, saved: SavedPolicy, rows: Any, place: int, tick: Callable[[float], None]) -> np.ndarray:
        key, action = jax.random.fold_in(self.root, 2 + place), str(self.asked.action)
        return drawn(saved, np.asarray(rows), action, self.asked.samples, key, lambda: tick(0.0))

    def _weighted(
        self, saved: SavedPolicy, reading: Reading, following: np.ndarray, first: np.ndarray
    ) -> list[dict[str, Weighted]]:
        """What the densities of a policy and of the behaviour say, for each seed."""
        assert self.behavior is not None
        seen, episodes, settings = self.logged.seen, self.logged.episodes, self.asked.settings
        raw = np.asarray(self.logged.raw.observations), np.asarray(seen.actions)
        ratios = log_likelihoods(saved, *raw) - log_likelihoods(self.behavior, *raw)
        counts = resampled(episodes, settings.resamples)[:, episodes.block]
        columns = np.asarray(seen.rewards, float), np.asarray(seen.terminated, float)
        found = []
        for seed, ratio in enumerate(ratios):
            networks = jax.tree.map(lambda leaf, seed=seed: leaf[seed], reading.networks)
            q, after = rows_of(settings, seen, episodes, following[seed], networks, reading.unit)
            start = initial(settings, seen, episodes, first[seed], networks, reading.unit)
            rest = columns[1], start, episodes, settings.discount, counts
            found.append(importance(ratio, columns[0], q, after, *rest))
        return found

    def _row(
        self,
        label: str,
        seed: int,
        name: str,
        values: dict[tuple[str, str], np.ndarray],
        said: dict[str, Reading],
        effective: dict[tuple[str, str], list[float]],
    ) -> Row:
        asked, settings = self.asked, self.asked.settings
        own, before = values[label, name][seed], values.get(("behavior", name))
        row: Row = {"policy": label, "seed": self.numbers[seed], "estimator": name, "level": float(asked.level)}
        gaps = {one: float(said[one].gap[seed]) if name == "fqe" else 0.0 for one in (label, "behavior") if one in said}
        row |= estimate(own, self.freedom, asked.level, gaps[label])._asdict()
        if name == "fqe":
            row["plain"] = float(said[label].plain[seed])
        else:
            row["effective"] = effective[label, name][seed]
        if before is not None and label != "behavior":
            gain = estimate(own - before[seed], self.freedom, asked.level, gaps[label] - gaps["behavior"])
            row |= {"gain": gain.value, "gain_error": gain.error}
        row |= {"episodes": self.logged.episodes.size, "rewards": self.logged.rewards, "action": asked.action}
        row |= {"samples": 1 if asked.action == "mean" else asked.samples, "draws": asked.seed}
        row |= {name: getattr(settings, name) for name in ("discount", "updates", "folds", "fits")}
        return row | {"hidden": " ".join(map(str, settings.hidden))}


def _require_finite(chosen: Mapping[str, Sequence[np.ndarray]], seeds: Sequence[int]) -> None:
    for label, columns in chosen.items():
        whole = np.logical_and.reduce([np.isfinite(column).all((1, 2, 3)) for column in columns])
        if not whole.all():
            broken = ", ".join(str(seed) for seed, good in zip(seeds, whole, strict=True) if not good)
            raise RunError(f"{label}, seed {broken}: its actions are not finite; train it again")
