"""A lower bound of the gain in Q over an ensemble: the mean over critics less z of their standard deviations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import jax.numpy as jnp

from pogospec.compiler.beside import Beside
from pogospec.judges.base import AbstractJudge, Bench, Finding, asked, count_of
from pogospec.policies.base import Sample
from pogospec.spec.fields import Within
from pogospec.spec.schema import Spec, StepSpec
from pogospec.types import Values

POINTS = 8
"""Actions of each policy in a state, where they act by samples."""


class EnsembleBound(AbstractJudge):
    """The mean over held-out states of mean_i D_i - z std_i D_i, D_i = E Q_i(s, pi) - E Q_i(s, reference)."""

    unit: ClassVar[str] = "Q"

    z: Annotated[float, Within(ge=0.0), "standard deviations over the critics, in each state"] = 1.0

    def finding(self, bench: Bench) -> Finding:
        """The mean of the bound of each state, the policies acting as they are evaluated."""
        choice = "mean" if bench.action == "mean" else Sample(POINTS)

        def bound(both: Beside) -> Values:
            ask = both.context.q
            assert ask is not None
            pair = both.policy, both.reference
            now, before = (ask(both.context.policy.actions(choice, p, both.key)).mean(1) for p in pair)
            gains = now - before
            return gains.mean(0) - self.z * jnp.std(gains, 0, ddof=1)

        return asked(bench, bound)

    def words(self) -> str:
        """The bound, with its factor."""
        spread = f" − {self.z:.6g} · std_i" if self.z else ""
        return f"mean_i{spread} of Q_i(s, π) − Q_i(s, reference) over the critics i, mean over held-out states s"

    def refused(self, spec: Spec, step: StepSpec) -> Iterator[tuple[str, str]]:
        """Critics that are too few for a spread."""
        size = 0 if spec.critic is None else count_of(spec.critic)
        if size < 3:
            found = "no critic" if spec.critic is None else f"{size}"
            yield "", f"needs 3 critics or more, found {found}; use critic: {{kind: ensemble, members: 10}}"
