"""What is taken off the bootstrap value where the next action strays from the data (ReBRAC, BRAC)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp

from pogospec.critics.base import Views
from pogospec.geometries.base import Seen
from pogospec.spec.fields import Slot, Within
from pogospec.types import Actions, Batch, Key, Values


class SquaredDistance(eqx.Module):
    """Squared distance of the next action from a reference action, summed over dimensions (ReBRAC, POGO-FR)."""

    reference: Annotated[
        Literal["behavior_mean", "next_action"],
        "mean action of the fitted behaviour at the next observation, or the logged next action where there is one",
    ] = "behavior_mean"
    weight: Annotated[float, Within(ge=0.0), "factor of the squared distance"] = 0.01

    @property
    def needs_behavior(self) -> bool:
        """Whether the fitted behaviour is asked for."""
        return self.reference == "behavior_mean"

    def value(self, actions: Actions, batch: Batch, views: Views, key: Key) -> Values:
        """The penalty of each row."""
        if self.reference == "next_action":
            return self.weight * batch.next_action_valid * jnp.square(actions - batch.next_actions).sum(-1)
        assert views.behavior_mean is not None
        return self.weight * jnp.square(actions - views.behavior_mean()).sum(-1)

    def formula(self, online: tuple[str, str], slow: tuple[str, str], parts: dict) -> tuple[str, str]:
        """The penalty, as text and LaTeX; `online`, `slow`: the policy at s' and its slow mean action."""
        if self.reference == "next_action":
            text = "1[a'_data exists] |a' − a'_data|²"
            latex = r"\mathbf{1}_{\mathrm{next}}\,|a' - a'_{\mathrm{data}}|^2"
        else:
            text, latex = "|a' − μ_β(s')|²", r"|a' - \mu_\beta(s')|^2"
        return f"{self.weight:.12g} · {text}", rf"{self.weight:.12g}\,{latex}"


class DivergencePenalty(eqx.Module):
    """Divergence of the policy from the fitted behaviour at the next observation (BRAC's value penalty)."""

    needs_behavior: ClassVar[bool] = True

    geometry: Annotated[Any, Slot("geometry"), "the divergence"]
    weight: Annotated[float, Within(ge=0.0), "factor of the divergence; BRAC's alpha, 1/tau"]

    def value(self, actions: Actions, batch: Batch, views: Views, key: Key) -> Values:
        """The penalty of each row; `key` is that of the next actions, so that one sample may serve both (BRAC)."""
        assert views.behavior is not None
        seen = Seen(batch.next_observations, key, views.learned(self.geometry))
        return self.weight * self.geometry.divergence(views.online(), views.behavior(), seen)

    def formula(self, online: tuple[str, str], slow: tuple[str, str], parts: dict) -> tuple[str, str]:
        """The penalty, as text and LaTeX; `online`, `slow`: the policy at s' and its slow mean action."""
        text, latex = parts["geometry"]
        weight = f"{self.weight * self.geometry.weight:.12g}"
        return f"{weight} · {text}", rf"{weight}\,{latex}"
