"""The value term -E_{a ~ pi}[Q(s, a)]."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from pogospec.energies.base import AbstractTerm, Context
from pogospec.policies.base import ActionChoice
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values


class QTerm(AbstractTerm):
    """Negative action value, at the policy's mean action (POGO as released, TD3+BC) or in expectation."""

    needs_density: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True

    critics: Annotated[Literal["min", "first", "mean"], "how the critics become one value"] = "min"
    actions: Annotated[
        ActionChoice,
        "mean: Q at the mean action, so that a std gets no gradient from Q; quadrature: E[Q], exact for quadratic Q; "
        "{sample: n}: E[Q] by n reparameterised samples",
    ] = "mean"
    scale: Annotated[
        Literal["none", "batch", "step"],
        "batch: divide by mean |Q| of the batch, as TD3+BC; step: by mean |Q| of the data when the step began",
    ] = "none"
    weight: Annotated[float, Within(ge=0.0), "factor of this term"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """Scaled -Q of each row."""
        chosen = self._q(parameters, context, key)
        if self.scale == "batch":
            chosen = chosen / jax.lax.stop_gradient(jnp.abs(chosen).mean())
        elif self.scale == "step":
            chosen = chosen / context.fixed
        return -chosen

    def begin(self, parameters: Any, context: Context, key: Key) -> Any:
        """Mean |Q| of the policy that the step starts from; None where Q is not scaled."""
        return None if self.scale == "none" else jnp.abs(self._q(parameters, context, key)).mean()

    def settled(self) -> QTerm:
        """The term with the scale that `begin` measured in the place of that of a minibatch."""
        return dataclasses.replace(self, scale="step") if self.scale == "batch" else self

    def potential(self, actions: Actions, reference: Any, context: Context) -> Values:
        """Scaled -Q(a); a batch is that of all points."""
        chosen = self._chosen(actions, context)
        if self.scale == "batch":
            chosen = chosen / jax.lax.stop_gradient(jnp.abs(chosen).mean())
        elif self.scale == "step":
            chosen = chosen / context.fixed
        return -chosen

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of the unweighted term; a leading minus is drawn in front of its weight."""
        text, latex, meaning = self._symbol
        size, latex_size = f"|{text}|", f"|{latex}|"
        if self.actions == "mean":
            text, latex, meaning = f"{text}(s, μ(s))", rf"{latex}(s, \mu(s))", f"{meaning}; μ(s): the mean action"
        elif self.actions == "quadrature":
            size, latex_size = f"|E_π[{text}]|", rf"|\mathbb{{E}}_\pi[{latex}]|"
            text, latex = f"E_π[{text}(s, a)]", rf"\mathbb{{E}}_{{a\sim\pi}}[{latex}(s, a)]"
            meaning += "; E_π: by a cubature of 2d points, exact for quadratic Q"
        elif self.actions.sample == 1:
            text, latex = f"{text}(s, a₁)", f"{latex}(s, a_1)"
            size, latex_size = f"|{text}|", f"|{latex}|"
            meaning += "; a₁: a sample of π(·|s), reparameterised"
        else:
            count = self.actions.sample
            size, latex_size = f"|(1/{count}) Σ_k {text}|", rf"|\tfrac{{1}}{{{count}}}\sum_{{k}}{latex}|"
            text, latex = f"(1/{count}) Σ_k {text}(s, a_k)", rf"\tfrac{{1}}{{{count}}}\sum_{{k}}{latex}(s, a_k)"
            meaning += f"; a_k: {count} samples of π(·|s), reparameterised"
        if self.scale != "none":
            mark, when = ("", "of the minibatch") if self.scale == "batch" else ("₀", "of the data when the step began")
            text = f"{text} / mean{mark}{size}"
            latex = rf"{latex} \,/\, \mathrm{{mean}}{'' if self.scale == 'batch' else '_0'}{latex_size}"
            meaning += f"; mean{mark}{size}: mean {when}, held fixed in the gradient"
        return f"−{text}", f"-{latex}", meaning

    def variation(self, reference: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of `potential` without its weight."""
        text, latex, meaning = self._symbol
        scale = scale_latex = ""
        if self.scale != "none":
            mark, when = {
                "batch": ("", "of all points of the minibatch"),
                "step": ("₀", "of the data when the step began"),
            }[self.scale]
            scale, scale_latex = f" / mean{mark}|{text}|", rf" \,/\, \mathrm{{mean}}{'_0' if mark else ''}|{latex}|"
            meaning += f"; mean{mark}|{text}|: mean {when}, held fixed in the gradient"
        return f"−{text}(s, a){scale}", f"-{latex}(s, a){scale_latex}", meaning

    @property
    def _symbol(self) -> tuple[str, str, str]:
        return {
            "min": ("min_i Q_i", r"\min_i Q_i", "min_i Q_i: the smallest of the critics"),
            "first": ("Q₁", "Q_1", "Q₁: the first critic"),
            "mean": ("mean_i Q_i", r"\overline{Q}", "mean_i Q_i: the mean of the critics"),
        }[self.critics]

    def _q(self, parameters: Any, context: Context, key: Key) -> Values:
        actions = context.policy.actions(self.actions, parameters, key)
        actions = actions[0] if len(actions) == 1 else actions  # matrix products of two dimensions are faster
        chosen = self._chosen(actions, context)
        return chosen if actions.ndim == context.actions.ndim else chosen.mean(0)

    def _chosen(self, actions: Actions, context: Context) -> Values:
        """The one value of the critics at actions [..., batch, act]."""
        assert context.q is not None
        values = context.q(actions, count=1 if self.critics == "first" else None)
        return {"min": lambda v: v.min(0), "first": lambda v: v[0], "mean": lambda v: v.mean(0)}[self.critics](values)
