"""The advantage term -E_{a ~ pi}[Q(s, a) - V(s)]: the value term, measured from what the state is worth."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import jax

from pogospec.energies.base import AbstractTerm, Context
from pogospec.energies.q import Critics, averaged, chosen, expected, symbol_of
from pogospec.policies.base import ActionChoice, Sample
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values


class AdvantageTerm(AbstractTerm):
    """Negative advantage; in explicit steps from data the exponent of the weights (IQL, AWAC)."""

    needs_density: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True

    critics: Annotated[Critics, "how the critics become one value"] = "min"
    copies: Annotated[Literal["online", "slow"], "the critics themselves (AWAC), or their slow copies (IQL)"] = "online"
    baseline: Annotated[
        Literal["value", "mean", "quadrature"] | Sample,
        "V: value: the critic's own (IQL: expectile); else Q at the policy's mean action, its expectation by "
        "quadrature, or by {sample: n} (AWAC: 1)",
    ] = "value"
    actions: Annotated[ActionChoice, "where Q looks at the policy, as in q; explicit steps have their own points"] = (
        "mean"
    )
    weight: Annotated[float, Within(ge=0.0), "factor of this term"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """-(E[Q] - V) of each row; nothing flows into V."""
        values = expected(context, self.critics, self.actions, parameters, key, self._slow)
        return -(values - self._state_values(parameters, context, key))

    def potential(self, actions: Actions, reference: Any, context: Context) -> Values:
        """-Q(a), up to the V of the state."""
        return -chosen(context, self.critics, actions, self._slow)

    def offset(self, parameters: Any, context: Context, key: Key) -> Values:
        """-V of each row."""
        return -self._state_values(parameters, context, key)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of the unweighted term; a leading minus is drawn in front of its weight."""
        return self._written(averaged(self._symbol, self.actions))

    def variation(self, reference: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of `potential` without its weight."""
        text, latex, meaning = self._symbol
        return f"−{text}(s, a)", f"-{latex}(s, a)", meaning

    def weighing(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of `potential` minus `offset`, without its weight."""
        text, latex, meaning = self._symbol
        return self._written((f"{text}(s, a)", f"{latex}(s, a)", meaning))

    @property
    def _slow(self) -> bool:
        return self.copies == "slow"

    @property
    def _symbol(self) -> tuple[str, str, str]:
        return symbol_of(self.critics, self._slow)

    def _state_values(self, parameters: Any, context: Context, key: Key) -> Values:
        if self.baseline == "value":
            assert context.v is not None
            values = context.v()
        else:
            key = jax.random.fold_in(key, 1)  # other samples than those of E[Q]
            values = expected(context, self.critics, self.baseline, parameters, key, self._slow)
        return jax.lax.stop_gradient(values)

    def _written(self, first: tuple[str, str, str]) -> tuple[str, str, str]:
        """The term with a way to write Q, as text, LaTeX and meaning."""
        second = "V(s)", "V(s)", "V(s): the critic's value of the state"
        if self.baseline != "value":
            second = averaged(self._symbol, self.baseline)
            for a, b in (("a_k", "b_k"), ("a₁", "b₁"), ("a_1", "b_1"), (", reparameterised", "")):
                second = tuple(part.replace(a, b) for part in second)
        return f"−({first[0]} − {second[0]})", rf"-\big({first[1]} - {second[1]}\big)", f"{first[2]}; {second[2]}"
