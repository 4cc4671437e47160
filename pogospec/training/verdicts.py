"""How a try of a step ends: taken or taken back, with the best policy that was judged, or with another step size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pogospec.compiler.program import Stage, State
from pogospec.training import decisions
from pogospec.training.cells import Cells
from pogospec.training.doubling import Attempts
from pogospec.training.events import Event, Noted
from pogospec.training.judging import Judging
from pogospec.training.place import Place
from pogospec.training.programs import Programs


class Verdicts:
    """Ends tries of steps that have a judge, or sizes on trial."""

    def __init__(self, cells: Cells, programs: Programs, judging: Judging, on_event: Callable[[Event], None]):
        self.cells, self.programs, self.judging, self.on_event = cells, programs, judging, on_event
        self.attempts = Attempts(judging, on_event)

    def find(self, stage: Stage, place: Place, state: State, found: dict[str, np.ndarray]) -> State:
        """Ask the judge, whose words `found` gets; the state with the best policy of each seed so far."""
        found |= self.judging.found(stage, place, state, found)
        return self.judging.best(place, state, found)

    def end(self, stage: Stage, place: Place, state: State) -> tuple[State, bool]:
        """The state after a try, and whether some seed tries another step size."""
        if stage.step.doubles:
            return self.attempts.end(stage, place, state)
        return (self._choose if stage.step.keeps_best else self._judge)(stage, place, state)

    def _judge(self, stage: Stage, place: Place, state: State) -> tuple[State, bool]:
        """Accept the step of each seed, or take it back."""
        found = self.programs.look(stage, place, state)
        if stage.step.judge is not None:
            found |= self.judging.found(stage, place, state, found)
        trial = decisions.judge(stage.step, place, found)
        self.cells.write_flow(stage, place, found, state, trial.holds, only=trial.tried)
        self._note(stage, trial, found)
        if trial.failed.any() and decisions.trial_of(stage.step) is None:
            state = self.judging.back(state, trial.failed)
        elif trial.failed.any():
            state = self.programs.hold(trial.failed, self._again(place, state), state)
        if not all(place.accepted):
            place.again()
            return state, True
        taken = None if stage.step.judge is None else ~trial.spent
        decisions.remember_end(place, self.programs.look(stage, place, state) if trial.failed.any() else found, taken)
        return state, False

    def _choose(self, stage: Stage, place: Place, state: State) -> tuple[State, bool]:
        """End the step with the best policy that was judged, where no other step size is left."""
        choosing = decisions.trial_of(stage.step) is not None
        if not decisions.asked_now(stage, place):
            found = self.programs.look(stage, place, state)
            state = self.find(stage, place, state, found)
            self.cells.write_flow(stage, place, found, state, np.zeros(len(place.tries)) if choosing else None)
        if decisions.tries_another(stage, place):
            return self._again(place, state)._replace(best=state.best), True
        state, said, taken = self.judging.ended(place, state)
        found = self.programs.look(stage, place, state) | said
        decisions.take(place, found, taken)
        self.cells.write_flow(stage, place, found, state, taken)
        self._note(stage, decisions.Trial(taken, taken, ~taken, ~taken), found)
        decisions.remember_end(place, found, taken)
        place.stuck = (~taken).tolist() if choosing else []
        return state, False

    def _again(self, place: Place, state: State) -> State:
        """The state at the beginning of the stage, with the step sizes that are tried now."""
        slow = None if state.policy_target is None else state.reference  # it had followed what is taken back
        before = state._replace(policy=state.reference, policy_target=slow, average={})
        return self.programs.enter(place.number, before, place)

    def _note(self, stage: Stage, trial: decisions.Trial, found: dict[str, np.ndarray]) -> None:
        """Tell of seeds whose step is not taken."""
        for note in trial.notes(stage, found, self.cells.all[0].spec.seed_numbers, self.judging.episodes):
            self.on_event(Noted(note))
