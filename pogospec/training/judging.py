"""What the judge of a step says of its policies, and which of them the step ends with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.averages import averaged
from pogospec.compiler.program import Stage, State
from pogospec.judges.base import Bench
from pogospec.spec.schema import Spec
from pogospec.training.batching import Batching
from pogospec.training.cells import Cells
from pogospec.training.place import Place
from pogospec.training.programs import Programs
from pogospec.types import Transitions

DISCOUNT = 0.99
"""Of a spec whose critic has none."""


class Judging:
    """Asks judges about the runs of one spec, whose cells do not train together; `held`: whole held-out episodes."""

    def __init__(self, spec: Spec, cells: Cells, programs: Programs, held: Transitions | None):
        self.spec, self.cells, self.programs, self.held = spec, cells, programs, held
        self.several = Batching.of(spec.train.batch_runs, 2 * spec.seed_count)  # critics that are fitted together
        self._average = cells.batching.jit(averaged, (0,))
        self._asked: dict[int, Callable] = {}
        self._kept: dict[str, Any] = {}
        self._number = -1

    @property
    def episodes(self) -> int:
        """How many episodes are held out."""
        return 0 if self.held is None else len(np.unique(self.held.episodes))

    def found(self, stage: Stage, place: Place, state: State, measured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Gain, its error and its bound, [seeds] each, of policies of which `measured` says what flow.csv does."""
        if self._number != place.number:
            self._number, self._kept = place.number, {}
        judge: Any = stage.step.judge
        said = judge.finding(self._bench(stage, place, state, measured))
        return {"gain": said.gain, "gain_error": said.error, "bound": judge.bound(said)}

    def best(self, place: Place, state: State, found: dict[str, np.ndarray]) -> State:
        """The state with the policies that are the best so far; `place` remembers what was found of them."""
        new = np.stack([found["bound"], found["gain"], found["gain_error"], np.asarray(place.tries)], 1)
        old = np.asarray(place.best) if place.best else np.full_like(new, -np.inf)
        better = new[:, 0] > old[:, 0]
        place.best = np.where(better[:, None], new, old).tolist()
        return state._replace(best=self.programs.hold(~better, state.best, self.averages(state).policy))

    def ended(self, place: Place, state: State) -> tuple[State, dict[str, np.ndarray], np.ndarray]:
        """The state with the best policies, or those that the step began with where the judge takes none.

        Also what was found of the best ones, whose tries `place` has then, and in which seeds they are taken.
        """
        bound, gain, error, tries = np.asarray(place.best).T
        place.tries, place.accepted = tries.astype(int).tolist(), [True] * len(tries)
        taken = bound > 0
        state = with_policies(state, self.programs.hold(~taken, state.reference, state.best))
        return state, {"gain": gain, "gain_error": error, "bound": bound}, taken

    def averages(self, state: State) -> State:
        """The state with averaged weights in the place of the last ones, where some are averaged."""
        return self._average(state) if state.average else state

    def back(self, state: State, mask: np.ndarray) -> State:
        """The state in which the policies of the seeds in the mask are those that the step began with."""
        return self.programs.hold(mask, with_policies(state, state.reference), state)

    def _bench(self, stage: Stage, place: Place, state: State, measured: dict[str, np.ndarray]) -> Bench:
        spec, watch = self.spec, self.cells.watch

        def ask(question: Callable) -> Any:
            if stage.source not in self._asked:
                source = self.cells.all[0].program.steps[stage.source]
                axes = (self.programs.axis(stage.source), 0, None, 0)
                self._asked[stage.source] = self.cells.batching.jit(source.beside(question), axes)
            numbers = self.programs.numbers(place.number, place)
            return self._asked[stage.source](numbers, state, watch.held, watch.keys)

        def once(name: str, make: Callable[[], Any]) -> Any:
            if name not in self._kept:
                self._kept[name] = make()
            return self._kept[name]

        assert self.held is not None
        space, policy = self.cells.space, self.averages(state).policy
        return Bench(
            measured=measured,
            held=self.held,
            family=stage.policy,
            policy=policy,
            reference=state.reference,
            action=spec.evaluate.action,
            bounded=bool(np.isfinite([space.low, space.high]).all()),
            discount=float(getattr(spec.critic, "discount", DISCOUNT)),
            ask=ask,
            once=once,
            layout=self.several.jit,
        )


def with_policies(state: State, policy: Any) -> State:
    """The state with other policies, as if nothing had been averaged yet; all else that was learned stays."""
    slow = None if state.policy_target is None else policy
    average = state.average
    if "policy" in average:
        average = average | {"policy": jax.tree.map(jnp.zeros_like, average["policy"])}
    return state._replace(policy=policy, policy_target=slow, average=average)
