"""Step doubling: an attempt is solved three times, then kept or taken back by its local error, and gives the next tau.

What is decided are functions of the rule and of where the run is; `Attempts` does it with the policies of all runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pogospec.compiler.program import Stage, State
from pogospec.spec.schema import StepSpec
from pogospec.steps.schedule import Doubling
from pogospec.training.decisions import doubling_of, last_repetition
from pogospec.training.events import Event, Noted
from pogospec.training.judging import Judging, with_policies
from pogospec.training.place import Place

WHOLE, FIRST, SECOND = range(3)
"""Phases of an attempt: its one large step, and the two of half its size."""


def begin(step: StepSpec, place: Place) -> None:
    """Begin an attempt: each seed tries what the last one left to it; a seed that has reached its flow time rests."""
    rule = doubling_of(step)
    if rule is None:
        return
    if not place.taus:
        place.began, place.taus = list(place.flow_time), [rule.start] * len(place.flow_time)
    left = left_of(rule, place)
    place.accepted = (left <= 0).tolist()
    place.taus = [rule.tau(tau, own) if own > 0 else tau for tau, own in zip(place.taus, left.tolist(), strict=True)]


def left_of(rule: Doubling, place: Place) -> np.ndarray:
    """Flow time that is left, [seeds]."""
    return np.asarray(place.began) + rule.time - np.asarray(place.flow_time)


def settle(rule: Doubling, place: Place, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which seeds have tried, and which of them have an error that is allowed, [seeds] each.

    `place` follows: flow time of these, which ends exactly where it shall, and the step sizes of the next attempt.
    """
    tried, left, taus = ~np.asarray(place.accepted), left_of(rule, place), np.asarray(place.taus)
    holds = tried & (error <= rule.tolerance)
    end = np.where(2 * taus >= left, np.asarray(place.began) + rule.time, np.asarray(place.flow_time) + 2 * taus)
    place.flow_time = np.where(holds, end, place.flow_time).tolist()
    following = [rule.following(tau, own) for tau, own in zip(taus.tolist(), error.tolist(), strict=True)]
    place.taus = np.where(tried, following, taus).tolist()
    return tried, holds


def unreached(stages: Sequence[Stage], place: Place, seeds: Sequence[int]) -> Iterator[str]:
    """A sentence for each seed whose attempts are over before its flow time is reached."""
    stage = stages[place.number]
    rule = doubling_of(stage.step)
    if rule is None or not last_repetition(stages, place):
        return
    left = left_of(rule, place)
    for seed in map(int, np.flatnonzero(left > 0)):
        yield (
            f"{stage.label}, seed {seeds[seed % len(seeds)]}: {stage.step.repeat} attempts reach flow time "
            f"{rule.time - left[seed]:.4g} of {rule.time:.6g}; raise repeat, or tolerance of tau"
        )


class Attempts:
    """Takes the attempts of all runs through their phases."""

    def __init__(self, judging: Judging, on_event: Callable[[Event], None]):
        self.cells, self.programs, self.averages = judging.cells, judging.programs, judging.averages
        self.on_event = on_event

    def end(self, stage: Stage, place: Place, state: State) -> tuple[State, bool]:
        """The state after a phase, and whether another one follows."""
        origin, coarse = state.doubled
        if place.phase == WHOLE:
            doubled = origin, self.averages(state).policy
            return self._enter(stage, place, with_policies(state, origin), doubled), True
        if place.phase == FIRST:
            return self._enter(stage, place, state, (origin, coarse)), True
        return self._decide(stage, place, state), False

    def _enter(self, stage: Stage, place: Place, state: State, doubled: tuple) -> State:
        """Begin the next phase; the energy stays the function that it was."""
        place.phase += 1
        place.again()
        state = self.programs.enter(place.number, state, place)._replace(energy=state.energy, doubled=doubled)
        if stage.step.until is not None:
            self.cells.watch.check(place, self.programs.look(stage, place, state))
        return state

    def _decide(self, stage: Stage, place: Place, state: State) -> State:
        """Keep the policies after two steps, or those that the attempt began with."""
        rule = doubling_of(stage.step)
        assert rule is not None
        origin, coarse = state.doubled
        apart = self.programs.look(stage, place, state._replace(reference=coarse))["distance"]
        error, taus = np.sqrt(2 * np.maximum(apart, 0.0)), np.asarray(place.taus)
        found = self.programs.look(stage, place, state) | {"tau": taus, "local_error": error}
        tried, holds = settle(rule, place, error)
        self.cells.write_flow(stage, place, found, state, holds, only=tried)
        seeds = self.cells.all[0].spec.seed_numbers
        for seed in map(int, np.flatnonzero(tried & ~holds)):
            self.on_event(
                Noted(
                    f"{stage.label}, seed {seeds[seed % len(seeds)]}: tau = {taus[seed]:.4g} rejected (local error "
                    f"{error[seed]:.3g}, allowed {rule.tolerance:.3g}); trying tau = {place.taus[seed]:.4g}"
                )
            )
        return self.programs.hold(holds, state, with_policies(state, origin))
