"""Where the bootstrap takes its next actions."""

from __future__ import annotations

from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from pogospec.critics.base import Views
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key


class SmoothedMean(eqx.Module):
    """Mean of the slow policy plus clipped Gaussian noise (TD3)."""

    noise: Annotated[float, Within(ge=0.0), "std of the noise, in scaled actions"] = 0.2
    clip: Annotated[float, Within(ge=0.0), "bound of the noise"] = 0.5

    def actions(self, views: Views, key: Key) -> Actions:
        """Next actions, clipped to the bounds."""
        mean = views.target_mean()
        noise = jnp.clip(self.noise * jax.random.normal(key, mean.shape, mean.dtype), -self.clip, self.clip)
        return jnp.clip(mean + noise, -1.0, 1.0)

    def formula(self, online: tuple[str, str], slow: tuple[str, str], parts: dict) -> tuple[str, str]:
        """The next action, as text and LaTeX; `online`, `slow`: the policy at s' and its slow mean action."""
        text = f"a' = clip({slow[0]} + clip({self.noise:.12g} ξ, ±{self.clip:.12g}), ±1), ξ ~ N(0, I)"
        noise = rf"\mathrm{{clip}}({self.noise:.12g}\,\xi, \pm {self.clip:.12g})"
        return text, rf"a' = \mathrm{{clip}}({slow[1]} + {noise}, \pm 1),\quad \xi\sim\mathcal{{N}}(0, I)"


class PolicySample(eqx.Module):
    """One sample of the policy as it is now (SAC, AWAC, BRAC), or of its slow copy (POGO, eq. 14)."""

    copies: Annotated[Literal["online", "slow"], "the policy itself (SAC), or its slow copy (POGO, eq. 14)"] = "online"

    def actions(self, views: Views, key: Key) -> Actions:
        """Next actions, clipped to the bounds."""
        if self.copies == "online":
            return views.online_sample(key)
        assert views.target_sample is not None
        return views.target_sample(key)

    def formula(self, online: tuple[str, str], slow: tuple[str, str], parts: dict) -> tuple[str, str]:
        """The next action, as text and LaTeX; `online`, `slow`: the policy at s' and its slow mean action."""
        text, latex = online
        if self.copies == "slow":  # the behaviour, where it stands for the policy, is its own slow copy
            text, latex = text.replace("π(", "π̄("), latex.replace(r"\pi(", r"\bar\pi(")
        return f"a' ~ {text}, clipped to ±1", rf"a' \sim {latex}\ \text{{clipped to }} \pm 1"
