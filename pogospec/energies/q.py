"""The value term -E_{a ~ pi}[Q(s, a)]."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from pogospec.energies.base import AbstractTerm, Context
from pogospec.policies.base import ActionChoice, Sample
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values

Critics = Literal["min", "first", "mean"]
"""How the critics become one value."""

MEASURED = "of the data when the first step on this Q began"
"""When the one scale of several steps is measured, in words."""


class QTerm(AbstractTerm):
    """Negative action value, at the policy's mean action (POGO as released, TD3+BC) or in expectation."""

    needs_density: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True

    critics: Annotated[Critics, "how the critics become one value"] = "min"
    actions: Annotated[
        ActionChoice,
        "mean: Q at the mean action, so that a std gets no gradient from Q; quadrature: E[Q] by 2d "
        "points, exact for quadratic Q under a Gaussian; "
        "{sample: n}: E[Q] by n reparameterised samples",
    ] = "mean"
    scale: Annotated[
        Literal["none", "batch", "step"],
        "batch: divide by mean |Q| of the batch, as TD3+BC; step: by mean |Q| of the data when the first step on this "
        "Q began, one number until a critic learns again",
    ] = "none"
    weight: Annotated[float, Within(ge=0.0), "factor of this term"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """Scaled -Q of each row."""
        return -self._scaled(expected(context, self.critics, self.actions, parameters, key), context)

    def begin(self, parameters: Any, context: Context, key: Key) -> Any:
        """Mean |Q| of the policy that the step starts from; None where Q is not scaled."""
        if self.scale == "none":
            return None
        return jnp.abs(expected(context, self.critics, self.actions, parameters, key)).mean()

    @property
    def begins(self) -> bool:
        """Whether Q is scaled."""
        return self.scale != "none"

    def settled(self) -> QTerm:
        """The term with the scale that `begin` measured in the place of that of a minibatch."""
        return dataclasses.replace(self, scale="step") if self.scale == "batch" else self

    def potential(self, actions: Actions, reference: Any, context: Context) -> Values:
        """Scaled -Q(a); a batch is that of all points."""
        return -self._scaled(chosen(context, self.critics, actions), context)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of the unweighted term; a leading minus is drawn in front of its weight."""
        symbol = symbol_of(self.critics)
        text, latex, meaning = averaged(symbol, self.actions)
        size, latex_size = f"|{symbol[0]}|", f"|{symbol[1]}|"
        if self.actions == "quadrature":
            size, latex_size = f"|E_π[{symbol[0]}]|", rf"|\mathbb{{E}}_\pi[{symbol[1]}]|"
        elif isinstance(self.actions, Sample) and self.actions.sample > 1:
            count = self.actions.sample
            size, latex_size = f"|(1/{count}) Σ_k {symbol[0]}|", rf"|\tfrac{{1}}{{{count}}}\sum_{{k}}{symbol[1]}|"
        if self.scale != "none":
            mark, when = {"batch": ("", "of the minibatch"), "step": ("₀", MEASURED)}[self.scale]
            text = f"{text} / mean{mark}{size}"
            latex = rf"{latex} \,/\, \mathrm{{mean}}{'' if self.scale == 'batch' else '_0'}{latex_size}"
            meaning += f"; mean{mark}{size}: mean {when}, held fixed in the gradient"
        return f"−{text}", f"-{latex}", meaning

    def variation(self, reference: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of `potential` without its weight."""
        text, latex, meaning = symbol_of(self.critics)
        scale = scale_latex = ""
        if self.scale != "none":
            mark, when = {
                "batch": ("", "of all points of the minibatch"),
                "step": ("₀", MEASURED),
            }[self.scale]
            scale, scale_latex = f" / mean{mark}|{text}|", rf" \,/\, \mathrm{{mean}}{'_0' if mark else ''}|{latex}|"
            meaning += f"; mean{mark}|{text}|: mean {when}, held fixed in the gradient"
        return f"−{text}(s, a){scale}", f"-{latex}(s, a){scale_latex}", meaning

    def _scaled(self, values: Values, context: Context) -> Values:
        if self.scale == "batch":
            return values / jax.lax.stop_gradient(jnp.abs(values).mean())
        return values / context.fixed if self.scale == "step" else values


def chosen(context: Context, critics: Critics, actions: Actions, slow: bool = False) -> Values:
    """The one value of the critics, or of their slow copies, at actions [..., batch, act]."""
    assert context.q is not None
    values = context.q(actions, count=1 if critics == "first" else None, slow=slow)
    return {"min": lambda v: v.min(0), "first": lambda v: v[0], "mean": lambda v: v.mean(0)}[critics](values)


def expected(
    context: Context, critics: Critics, choice: ActionChoice, parameters: Any, key: Key, slow: bool = False
) -> Values:
    """That value on average over a policy, for each row."""
    return context.policy.average(choice, lambda a: chosen(context, critics, a, slow), parameters, key)


def symbol_of(critics: Critics, slow: bool = False) -> tuple[str, str, str]:
    """The one value of the critics, or of their slow copies, as text, LaTeX and meaning."""
    one, tex = ("Q̄", r"\bar Q") if slow else ("Q", "Q")
    of = "slow copies of the critics" if slow else "critics"
    return {
        "min": (f"min_i {one}_i", rf"\min_i {tex}_i", f"min_i {one}_i: the smallest of the {of}"),
        "first": (f"{one}₁", f"{tex}_1", f"{one}₁: the first of the {of}" if slow else "Q₁: the first critic"),
        "mean": (f"mean_i {one}_i", rf"\overline{{{tex}}}", f"mean_i {one}_i: the mean of the {of}"),
    }[critics]


def averaged(symbol: tuple[str, str, str], choice: ActionChoice) -> tuple[str, str, str]:
    """A value of actions on average over a policy, as text, LaTeX and meaning."""
    text, latex, meaning = symbol
    if choice == "mean":
        return f"{text}(s, μ(s))", rf"{latex}(s, \mu(s))", f"{meaning}; μ(s): the mean action"
    if choice == "quadrature":
        expectation = f"E_π[{text}(s, a)]", rf"\mathbb{{E}}_{{a\sim\pi}}[{latex}(s, a)]"
        return *expectation, f"{meaning}; E_π: by a cubature of 2d points, exact for quadratic Q under a Gaussian"
    if choice.sample == 1:
        return f"{text}(s, a₁)", f"{latex}(s, a_1)", f"{meaning}; a₁: a sample of π(·|s), reparameterised"
    count = choice.sample
    mean = f"(1/{count}) Σ_k {text}(s, a_k)", rf"\tfrac{{1}}{{{count}}}\sum_{{k}}{latex}(s, a_k)"
    return *mean, f"{meaning}; a_k: {count} samples of π(·|s), reparameterised"
