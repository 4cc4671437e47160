"""What is measured between chunks: the policy and the critic on held-out states, for `flow.csv` and for rules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.averages import averaged
from pogospec.compiler.optimum import Least, least
from pogospec.compiler.program import Program, Stage, State
from pogospec.runs.directory import RunDirectory
from pogospec.spec.schema import Spec
from pogospec.steps.until import History
from pogospec.targets.base import free_energy, w2_to_optimum
from pogospec.training.batching import Batching
from pogospec.training.chunk import double
from pogospec.training.decisions import violated
from pogospec.training.place import Place, arrays
from pogospec.types import Transitions

Q_ROWS = 512
"""Rows on which the drift of Q is measured."""
LOOKS = 256
"""Copies of the one state of a known energy: sampled energies are means over independent samples, with their error."""
HISTORY = ("objective", "energy", "critic_noise", "q_drift", "bound")


class Watch:
    """Measures on held-out rows, remembers what rules need, and writes `flow.csv`."""

    def __init__(
        self, spec: Spec, program: Program, held: Transitions, run: RunDirectory, batching: Batching, runs: int
    ):
        self.spec, self.program, self.run, self.batching, self.runs = spec, program, run, batching, runs
        if spec.target is not None:
            held = Transitions(*(np.repeat(x, LOOKS, axis=0) for x in held))._replace(episodes=np.arange(LOOKS))
        self.held = batching.shared(held)
        self.keys = jax.vmap(jax.random.key)(jnp.zeros(runs, int))
        self._measures: dict[int, Callable] = {}
        self._least: dict[str, Least] = {}
        if spec.target is not None:
            self._least = {step.label: least(spec.target, spec.policy, step.step) for step in program.steps}
        self._normalizers: dict[Least, float | None] = {}
        self._free_energies: dict[Any, Callable] = {}

    def look(self, stage: Stage, numbers: Any, axis: int | None, state: State) -> dict[str, np.ndarray]:
        """Numbers of every seed, [seeds] each; `q_rows` [seeds, rows]."""
        if stage.source not in self._measures:
            source = self.program.steps[stage.source]
            self._measures[stage.source] = self.batching.jit(source.measure, (axis, 0, None, 0))
        found = self._measures[stage.source](numbers, state, self.held, self.keys)
        return {name: np.asarray(values, np.float64) for name, values in found.items()}

    def losses(self, place: Place, sums: dict, squares: Any, count: int) -> None:
        """Remember the critic loss of a chunk for the next check."""
        if "critic_loss" in sums:
            new = [np.full(self.runs, float(count)), np.asarray(sums["critic_loss"]), np.asarray(squares)]
            old = place.losses or [[0.0] * self.runs] * 3
            place.losses = [(np.asarray(a) + np.asarray(b, np.float64)).tolist() for a, b in zip(old, new, strict=True)]

    def check(self, place: Place, found: dict[str, np.ndarray]) -> History:
        """Add what was measured to the history of the stage; the history as arrays [checks, seeds].

        `found` gets the drift of Q and the noise of the critic loss since the last check.
        """
        seen = dict(found)
        if "q_rows" in seen:
            rows = seen.pop("q_rows")[:, :Q_ROWS]
            before = np.asarray(place.q_rows or np.full((self.runs, 1), np.nan))
            width = np.maximum(rows.std(1), 1e-12)
            seen["q_drift"] = np.sqrt(np.mean((rows - before) ** 2, 1)) / width
            place.q_rows = rows.tolist()
            if place.losses:
                count, total, squares = (np.asarray(column) for column in place.losses)
                seen["critic_noise"] = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0)) / width**2
                place.losses = []
            found |= {name: seen[name] for name in ("q_drift", "critic_noise") if name in seen}
        for name in HISTORY:
            if name in seen and (name != "q_drift" or np.isfinite(seen[name]).all()):
                place.history.setdefault(name, []).append(seen[name].tolist())
        return arrays(place.history)

    def write(
        self,
        stage: Stage,
        place: Place,
        found: dict[str, np.ndarray],
        state: State,
        accepted: np.ndarray | None = None,
        only: np.ndarray | None = None,
    ) -> None:
        """Add a row a seed to `flow.csv`; `only`: for these seeds."""
        found = {name: values for name, values in found.items() if values.ndim == 1}
        if not found:
            return
        found |= violated(found, float(np.finfo(np.float64 if double(self.spec) else np.float32).eps))
        if self.spec.target is not None:
            policy = jax.vmap(averaged)(state).policy if state.average else state.policy
            parameters = jax.vmap(self.spec.policy.parameters, in_axes=(0, None))(policy, self.held.observations)
            found |= self._optimum(jax.tree.map(lambda leaf: leaf[:, 0], parameters), self._least[stage.label])
        numbers = self.spec.seed_numbers
        for seed in range(len(numbers)) if only is None else np.flatnonzero(only).tolist():
            row = {name: float(values[seed]) for name, values in found.items()}
            taken = "" if accepted is None else int(accepted[seed])
            time = place.flow_time[seed]
            self.run.append_flow(numbers[seed], stage.label, place.done, place.total, time, taken, row)

    def _optimum(self, parameters: Any, least: Least) -> dict[str, np.ndarray]:
        """Distances [seeds] of the policies to the optimum of a known energy, those that are known."""
        target, heat, found = least.target, least.temperature, {}
        if least.why:
            return {}
        if heat > 0 and self.spec.policy.has_density:
            if least not in self._normalizers:
                self._normalizers[least] = target.log_normalizer(heat)
            log_normalizer = self._normalizers[least]
            if log_normalizer is not None:
                if target not in self._free_energies:
                    self._free_energies[target] = jax.jit(functools.partial(_free_energy, target))
                found["kl_optimum"] = np.asarray(self._free_energies[target](parameters, heat)) + log_normalizer
        distance = w2_to_optimum(target, heat, parameters)
        return found if distance is None else found | {"w2_optimum": np.asarray(distance)}


def _free_energy(target: Any, parameters: Any, heat: Any) -> Any:
    return free_energy(target, heat, parameters, jax.random.key(0))
