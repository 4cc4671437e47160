"""What is decided between chunks: where one stops, what is due there, which steps are taken back, when a stage ends.

Functions of the spec, of where the run is and of what was measured; they compute nothing on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pogospec.compiler.program import Stage
from pogospec.registry import kind_of
from pogospec.spec.branching import moments
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.schedule import Backtracking, Choice, Doubling
from pogospec.steps.until import History
from pogospec.text import with_error
from pogospec.training.place import Place, arrays

FIRST = 100
"""Updates of a stage's first chunk: short, so that numbers and an estimate of the time come soon."""


def next_stop(spec: Spec, stage: Stage, done: int) -> int:
    """The update at which the next chunk of a stage stops: where something is due, or the stage is at its bound."""
    marks = [spec.train.log_every, spec.evaluate.every, spec.train.checkpoint_every]
    marks += [] if stage.step.until is None else [stage.step.until.every]
    first = (FIRST,) if done < FIRST and spec.target is None else ()
    first = (*first, *(at for at in moments(spec.schedule, stage.step) if at > done))
    return min(stage.updates, *first, *(done - done % mark + mark for mark in marks))


def needs_error(spec: Spec) -> bool:
    """Whether a step size is chosen by what is known beyond its standard error."""
    rules = [trial_of(step) for step in spec.schedule.steps if step.judge is None]
    return any(isinstance(rule, Backtracking) and rule.errors > 0 for rule in rules)


def episodes_needed(spec: Spec) -> int:
    """Episodes that the judges of a spec need to be held out."""
    judges: list[Any] = [step.judge for step in spec.schedule.steps if step.judge is not None]
    return max((judge.episodes for judge in judges if judge.errors or judge.episodes > 2), default=0)


ERRORS = 1.645
"""Standard errors by which the proximal inequality must fail to be told: of what just holds, one in 20 is."""
ROUNDINGS = 16
"""Roundings of an energy, beyond which a difference of two is one."""


class Due(NamedTuple):
    """What is due where a chunk has stopped."""

    check: bool  # the rule of the stage looks at what is measured
    score: bool  # policies are measured and rolled out
    checkpoint: bool


def due_at(spec: Spec, stage: Stage, stop: int) -> Due:
    """What is due after `stop` updates of a stage; what its end brings is not counted."""
    rule, inside = stage.step.until, stop < stage.updates
    return Due(
        check=rule is not None and stop % rule.every == 0,
        score=inside and stop % spec.evaluate.every == 0 and "policy" in stage.learn,
        checkpoint=(inside and stop % spec.train.checkpoint_every == 0) or stop in moments(spec.schedule, stage.step),
    )


def kept(spec: Spec, stage: Stage, place: Place) -> list[int]:
    """Total updates of the checkpoints that stay, since others branch off there."""
    return [place.total - place.done + at for at in moments(spec.schedule, stage.step)]


def measured_at_start(spec: Spec, stage: Stage) -> bool:
    """Whether the beginning of a stage must be measured: where a rule compares with it, or Q is known."""
    rules = stage.step.until, stage.step.judge, trial_of(stage.step)
    return spec.target is not None or any(rule is not None for rule in rules)


def settled(stage: Stage, history: History) -> bool:
    """Whether the stage may end before its bound, by the rule that it has, with every seed."""
    return bool(stage.step.until.settled(history).all())


def trial_of(step: StepSpec) -> Backtracking | Choice | Doubling | None:
    """The rule that chooses the step size by trial, where a step has one."""
    return next((tau for tau in step.sizes if isinstance(tau, (Backtracking, Choice, Doubling))), None)


def doubling_of(step: StepSpec) -> Doubling | None:
    """The rule of step doubling, where a step has it."""
    rule = trial_of(step)
    return rule if isinstance(rule, Doubling) else None


def sizes_of(rule: Backtracking | Choice | Doubling, place: Place, first: Any) -> Any:
    """The step size that each seed tries; `first`: those that are tried first, an array [seeds] of the device."""
    if isinstance(rule, Doubling):
        large = 2.0 if place.phase == 0 else 1.0
        return first.at[:].set(np.asarray(place.taus or [rule.start] * len(first)) * large)
    return np.asarray([rule.share(count) for count in place.tries], first.dtype) * first


def solved(step: StepSpec, place: Place) -> int:
    """Solves of the repetition that are over."""
    rule = trial_of(step)
    return place.phase if isinstance(rule, Doubling) else place.tries[0] if isinstance(rule, Choice) else 0


def violated(found: dict[str, np.ndarray], rounding: float) -> dict[str, np.ndarray]:
    """Whether the proximal inequality fails beyond its error, [seeds] of 1 and 0; NaN where the error is unknown.

    `rounding`: that of the numbers of the run, relative.
    """
    if "gap" not in found:
        return {}
    size = np.maximum(np.abs(found["objective"]), np.abs(found["reference_energy"]))
    beyond = found["gap"] - ERRORS * found["gap_error"] - ROUNDINGS * rounding * size
    return {"violated": np.where(np.isnan(beyond), np.nan, beyond > 0)}


class Trial(NamedTuple):
    """What became of a step, or of the step sizes that were tried, [seeds] each."""

    tried: np.ndarray  # the seed had no step accepted before
    holds: np.ndarray  # the judge takes the step; where there is none, the proximal inequality holds beyond its error
    failed: np.ndarray  # tried, and it does not
    spent: np.ndarray  # failed, and there is no further try

    def notes(self, stage: Stage, found: dict[str, np.ndarray], seeds: Sequence[int], episodes: int) -> Iterator[str]:
        """A sentence for each seed whose step is taken back; `seeds`: what they are called, `episodes`: held out."""
        rule = trial_of(stage.step)
        for seed in map(int, np.flatnonzero(self.failed)):
            why, then = _finds(stage, found, seed, episodes), "the policy stays"
            if isinstance(rule, Backtracking):
                tau = float(found["tau"][seed])
                then = then if self.spent[seed] else f"trying tau = {tau * rule.factor:.4g}"
                why = f"tau = {tau:.4g} rejected ({why})"
            else:
                why = f"not taken, because {why}"
            yield f"{stage.label}, seed {seeds[seed % len(seeds)]}: {why}; {then}"


def _finds(stage: Stage, found: dict[str, np.ndarray], seed: int, episodes: int) -> str:
    """What the judge finds of a seed, or how far the proximal inequality is from holding."""
    names = ("gap", "gap_error") if stage.step.judge is None else ("gain", "gain_error")
    value, error = (float(found[name][seed]) for name in names)
    if stage.step.judge is None:
        return f"inequality {with_error(value, error)}"
    judge = kind_of("judge", type(stage.step.judge))
    return f"{judge} finds a gain of {with_error(value, error)} over {episodes} episodes"


def judge(step: StepSpec, place: Place, found: dict[str, np.ndarray]) -> Trial:
    """Accept the step of each seed that still tries, or take it back, to a smaller step size or for good.

    `place` follows: flow time where a step is accepted, tries, and who is stuck once no seed tries any further.
    """
    tried, rule = ~np.asarray(place.accepted), trial_of(step)
    assert not isinstance(rule, Doubling)
    if step.judge is not None:
        holds = found["bound"] > 0
    else:
        assert isinstance(rule, Backtracking)
        margin = rule.errors * found["gap_error"] if rule.errors else 0.0  # the error of one episode is not a number
        holds = found["gap"] + margin < 0
    failed = tried & ~holds
    tries = np.asarray(place.tries) + failed
    spent = failed & (tries >= (1 if rule is None else rule.tries))
    take(place, found, tried & holds)
    place.tries, place.accepted = tries.tolist(), (~failed | spent).tolist()
    if all(place.accepted) and rule is not None:
        place.stuck = spent.tolist()
    return Trial(tried, holds, failed, spent)


def take(place: Place, found: dict[str, np.ndarray], taken: np.ndarray | bool = True) -> None:
    """Take a step whose size is given, in the seeds in which it is `taken`."""
    if "tau" in found:
        place.flow_time = (np.asarray(place.flow_time) + np.where(taken, found["tau"], 0.0)).tolist()


def tries_another(stage: Stage, place: Place) -> bool:
    """Go on to the next of several step sizes that the judge chooses among; whether there is one."""
    rule = trial_of(stage.step)
    if not isinstance(rule, Choice) or place.tries[0] + 1 >= rule.tries:
        return False
    place.tries = [tries + 1 for tries in place.tries]
    place.again()
    return True


def asks_judge(stage: Stage) -> bool:
    """Whether the rule that ends the stage asks its judge."""
    return stage.step.until is not None and stage.step.until.keeps_best


def asked_now(stage: Stage, place: Place) -> bool:
    """Whether it has just done so."""
    return asks_judge(stage) and place.done % stage.step.until.every == 0


def remember_end(place: Place, found: dict[str, np.ndarray], taken: np.ndarray | None = None) -> None:
    """Remember what the policy of a repetition came to, and whether its judge has taken it."""
    if "energy" in found:
        place.ends.setdefault("objective", []).append(found["energy"].tolist())
    if taken is not None:
        place.ends.setdefault("taken", []).append(taken.astype(float).tolist())


def last_repetition(stages: Sequence[Stage], place: Place) -> bool:
    """Whether no further repetition of the step that the run is in follows."""
    stage, following = stages[place.number], place.number + 1
    if following >= len(stages) or stages[following].source != stage.source or all(place.stuck or [False]):
        return True
    doubling = doubling_of(stage.step)
    if doubling is not None:
        return all(time >= began + doubling.time for time, began in zip(place.flow_time, place.began, strict=True))
    rule = stage.step.repeat_until
    return rule is not None and bool(rule.settled(arrays(place.ends)).all())


def checkpoint_at_end(spec: Spec, stages: Sequence[Stage], place: Place) -> bool:
    """Whether the end of a stage is saved: where an update at which one is due lies within it, or the step is over.

    Not where others branch off: their state, which is that before the step is taken, would be lost.
    """
    if place.done in moments(spec.schedule, stages[place.number].step):
        return False
    stage = stages[place.number]
    within = place.done + stage.updates * solved(stage.step, place)
    return place.total % spec.train.checkpoint_every < within or last_repetition(stages, place)


def leave(stages: Sequence[Stage], place: Place) -> bool:
    """Go to the next repetition, or past the last; whether repetitions are left out."""
    source, number, last = stages[place.number].source, place.number, last_repetition(stages, place)
    following = [n for n in range(number + 1, len(stages)) if not last or stages[n].source != source]
    left_out = last and number + 1 < len(stages) and stages[number + 1].source == source
    place.enter(following[0] if following else len(stages))
    if last:
        place.ends, place.taus, place.began = {}, [], []
    return left_out
