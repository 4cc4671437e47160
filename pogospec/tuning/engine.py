"""Optuna as a search uses it: a journal that processes share, samplers that a seed decides, pruners; all silent."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pogospec.errors import RunDirectoryError, UsageError, printable
from pogospec.extras import Needs, lacking
from pogospec.runs import files
from pogospec.spec.tune import Range, grid_cell

NEEDS = (Needs("optuna", "tune"),)
STARTUP = 5
"""Random trials before TPE models anything."""
REDRAWN = 50
"""Draws of values that no trial has, the later half at random, before the first of those that are left is taken."""
REDUCTION = 3
"""Of three trials that reach an evaluation, halving lets one go on."""
BEHIND = "behind"
"""What a trial that is to stop early is marked with."""
Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["none", "halving", "hyperband"]


def require_optuna() -> None:
    """Raise UsageError where Optuna is not installed."""
    text = lacking(NEEDS)
    if text is not None:
        raise UsageError(text)


@contextlib.contextmanager
def _silent() -> Iterator[Any]:
    """Optuna, without its log and warnings, which speak of its own objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.CRITICAL + 1)
        yield optuna


class _Lock:
    """The lock of the journal, freed by the kernel when its holder dies; what that left unfinished is cut off."""

    def __init__(self, journal: Path):
        self.journal, self.folder = journal, journal.parent / ".journal"
        self.held = contextlib.ExitStack()

    def acquire(self) -> bool:
        self.folder.mkdir(exist_ok=True)
        self.held.enter_context(files.locked(self.folder, wait=True))
        content = self.journal.read_bytes()
        if content and not content.endswith(b"\n"):
            with self.journal.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self.held.close()


class Engine:
    """One study: the trials in a journal, and where to look next."""

    def __init__(
        self,
        journal: Path,
        ranges: Mapping[str, Range],
        sampler: Sampler,
        pruner: Pruner,
        seed: int,
        evaluations: int,
        maximize: bool,
    ):
        """Open a journal, or begin one; `evaluations`: of a whole run. Raises RunDirectoryError for a damaged one."""
        self.ranges, self.sampler, self.seed = dict(ranges), sampler, seed
        with _silent() as optuna:
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            if pruner == "none":
                stops: Any = optuna.pruners.NopPruner()
            elif pruner == "halving":
                stops = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
            else:
                stops = optuna.pruners.HyperbandPruner(1, max(evaluations, 1), REDUCTION)
            direction = "maximize" if maximize else "minimize"
            try:
                lock: Any = _Lock(journal)
                self.study = optuna.create_study(
                    storage=JournalStorage(JournalFileBackend(str(journal), lock)),
                    study_name="tune",
                    direction=direction,
                    sampler=_chosen(),
                    pruner=stops,
                    load_if_exists=True,
                )
            except (ValueError, KeyError, TypeError, AssertionError) as error:
                said = printable(str(error), 100)
                raise RunDirectoryError(f"{journal} is damaged ({said}); choose another --out") from None

    def trials(self) -> list[Any]:
        """All trials, in the order of their numbers, as Optuna has them."""
        with _silent():
            return self.study.get_trials(deepcopy=False)

    def ask(self) -> int | None:
        """Begin a trial; its number, or None where every combination of finite ranges has one."""
        with _silent():
            made = {_key(self.values(trial)) for trial in self.trials() if trial.params.keys() >= self.ranges.keys()}
            if self._spent(made):
                return None
            trial = self.study.ask()
            self._draw(trial, made)
            return trial.number

    def complete(self, number: int) -> None:
        """Give values to a trial that was stopped as it began."""
        trial = self.trials()[number]
        if trial.params.keys() < self.ranges.keys():
            with _silent() as optuna:
                others = [one for one in self.trials() if one.params.keys() >= self.ranges.keys()]
                self._draw(optuna.trial.Trial(self.study, trial._trial_id), {_key(self.values(one)) for one in others})

    def values(self, trial: Any) -> dict[str, Any]:
        """The values of a trial, as a spec has them."""
        return {path: _decoded(one, trial.params[path]) for path, one in self.ranges.items()}

    def report(self, number: int, value: float, step: int) -> bool:
        """Note an intermediate evaluation, counted from 1; whether the trial should stop here."""
        with _silent() as optuna:
            frozen = self.trials()[number]
            trial = optuna.trial.Trial(self.study, frozen._trial_id)
            if step not in frozen.intermediate_values:
                trial.report(value, step)
            behind = BEHIND in frozen.user_attrs or trial.should_prune()
            if behind:  # a pruner judges each evaluation once; a trial that is killed now is to end too
                trial.set_user_attr(BEHIND, True)
            return behind

    def tell(self, number: int, value: float | None, state: str, about: Mapping[str, Any]) -> None:
        """End a trial as `complete`, `pruned` or `fail`; `about`: what is kept of it."""
        with _silent() as optuna:
            trial = optuna.trial.Trial(self.study, self.trials()[number]._trial_id)
            for name, content in about.items():
                trial.set_user_attr(name, content)
            self.study.tell(number, value, getattr(optuna.trial.TrialState, state.upper()))

    def _draw(self, trial: Any, made: set[str]) -> None:
        """Choose values that no trial has."""
        values = self._fresh(trial.number, made)
        self.study.sampler.values = {path: _encoded(self.ranges[path], value) for path, value in values.items()}
        for path, one in self.ranges.items():
            _suggest(trial, path, one)

    def _fresh(self, number: int, made: set[str]) -> dict[str, Any]:
        if self.sampler == "grid":
            return grid_cell(self.ranges, number)
        frozen = self.trials()[number]
        for draw in range(REDRAWN):
            values = {path: self._sampled(frozen, path, one, draw) for path, one in self.ranges.items()}
            if _key(values) not in made:
                return values
        finite = [_finite(one) for one in self.ranges.values()]
        if all(options is not None for options in finite):
            every = itertools.product(*(options or () for options in finite))
            cells = (dict(zip(self.ranges, cell, strict=True)) for cell in every)
            return next((cell for cell in cells if _key(cell) not in made), values)
        return values

    def _sampled(self, frozen: Any, path: str, one: Range, draw: int) -> Any:
        """A value that seed, number of the trial, path and what was found decide, whichever process draws it."""
        with _silent() as optuna:
            text = f"{self.seed} {frozen.number} {path} {draw}"
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
            if self.sampler == "random" or draw >= REDRAWN // 2:
                sampler: Any = optuna.samplers.RandomSampler(seed=seed)
            else:
                sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
            drawn = sampler.sample_independent(self.study, frozen, path, _distribution(one))
        return _decoded(one, drawn)

    def _spent(self, made: set[str]) -> bool:
        finite = [_finite(one) for one in self.ranges.values()]
        if self.sampler == "grid" or not all(options is not None for options in finite):
            return False
        count = 1
        for options in finite:
            count *= len(options or ())
        return len(made) >= count


def _chosen() -> Any:
    """A sampler that hands out values that were chosen for a trial as a whole."""
    from optuna.samplers import BaseSampler

    class Chosen(BaseSampler):
        values: dict[str, Any] = {}

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self.values[param_name]

    return Chosen()


def _distribution(one: Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one.kind == "choice":
        return CategoricalDistribution([_encoded(one, value) for value in one.values])
    if one.kind == "integer":
        return IntDistribution(*one.values)
    return FloatDistribution(*one.values, log=one.kind == "log")


def _suggest(trial: Any, path: str, one: Range) -> None:
    """Have a trial take the value that was chosen for a path."""
    if one.kind == "choice":
        trial.suggest_categorical(path, _distribution(one).choices)
    elif one.kind == "integer":
        trial.suggest_int(path, *one.values)
    else:
        trial.suggest_float(path, *one.values, log=one.kind == "log")


def _encoded(one: Range, value: Any) -> Any:
    """A value as Optuna has it: choices as text, which may be lists and mappings."""
    return json.dumps(value, sort_keys=True) if one.kind == "choice" else value


def _decoded(one: Range, value: Any) -> Any:
    """A value as a spec has it, of few digits."""
    if one.kind == "choice":
        return json.loads(value)
    return int(value) if one.kind == "integer" else one.rounded(value)


def _finite(one: Range) -> range | tuple[Any, ...] | None:
    """All values of a range, where there are finitely many."""
    if one.kind == "choice":
        return one.values
    return range(one.values[0], one.values[1] + 1) if one.kind == "integer" else None


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
