"""The energy by the second critic, where the first alone drives the step: what one overrates the other need not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pogospec.compiler.beside import Beside
from pogospec.judges.base import AbstractJudge, Bench, Finding, asked, count_of, terms_of_q
from pogospec.registry import kind_of
from pogospec.spec.schema import Spec, StepSpec
from pogospec.types import Values


class SecondCritic(AbstractJudge):
    """The fall of the energy in held-out states by the second critic, of a step that the first alone drives (TD3).

    Both critics learn one target from the same minibatches, so that errors of the target are common to them.
    """

    unit: ClassVar[str] = "the energy"

    def finding(self, bench: Bench) -> Finding:
        """The mean fall, at the scale of the step."""
        return asked(bench, _fall)

    def words(self) -> str:
        """Whose energy."""
        return "E[reference] − E[π] in held-out states, Q₂ in the place of Q₁, which alone drives the step"

    def refused(self, spec: Spec, step: StepSpec) -> Iterator[tuple[str, str]]:
        """Terms that are driven by more than the first critic, and critics that are one."""
        terms = terms_of_q(step)
        if not terms:
            yield "", "asks the second critic, and the energy of the step has no term of Q; use fqe"
        for name, term in terms.items():
            if getattr(term, "critics", None) != "first":
                found = getattr(term, "critics", kind_of("energy", type(term)))
                yield "", f"needs a step that the first critic alone drives, found {found} in energy.{name}; set first"
        if spec.critic is not None and count_of(spec.critic) < 2:
            yield "", "needs two critics, found critic.members: 1"


def _fall(both: Beside) -> Values:
    """The fall of the energy of each row, with the second critic in the place of the first."""
    ask = both.context.q
    assert ask is not None

    def second(actions, count=None, slow=False):
        return ask(actions, None, slow)[1:2]

    return both.fall(both.context._replace(q=second))
