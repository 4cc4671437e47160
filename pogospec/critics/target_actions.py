"""Where the bootstrap takes its next actions, one in each state or several, of which the best counts."""

from __future__ import annotations

from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from pogospec.critics.base import Views
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values


class SmoothedMean(eqx.Module):
    """Mean of the slow policy plus clipped Gaussian noise (TD3)."""

    noise: Annotated[float, Within(ge=0.0), "std of the noise, in scaled actions"] = 0.2
    clip: Annotated[float, Within(ge=0.0), "bound of the noise"] = 0.5

    def actions(self, views: Views, key: Key) -> Actions:
        """Next actions [1, batch, act], clipped to the bounds."""
        mean = views.target_mean()
        noise = jnp.clip(self.noise * jax.random.normal(key, mean.shape, mean.dtype), -self.clip, self.clip)
        return jnp.clip(mean + noise, -1.0, 1.0)[None]

    def formula(self, online: tuple[str, str], slow: tuple[str, str], parts: dict) -> tuple[str, str]:
        """The next action, as text and LaTeX; `online`, `slow`: the policy at s' and its slow mean action."""
        text = f"a' = clip({slow[0]} + clip({self.noise:.12g} ξ, ±{self.clip:.12g}), ±1), ξ ~ N(0, I)"
        noise = rf"\mathrm{{clip}}({self.noise:.12g}\,\xi, \pm {self.clip:.12g})"
        return text, rf"a' = \mathrm{{clip}}({slow[1]} + {noise}, \pm 1),\quad \xi\sim\mathcal{{N}}(0, I)"


class PolicySample(eqx.Module):
    """A sample of the policy as it is (SAC, AWAC, BRAC) or of its slow copy (POGO, eq. 14), or the best of several."""

    copies: Annotated[Literal["online", "slow"], "the policy itself (SAC), or its slow copy (POGO, eq. 14)"] = "online"
    samples: Annotated[
        int, Within(ge=1), "actions a state, of which that of the greatest next value counts (CQL: max_target_backup)"
    ] = 1
    over: Annotated[
        Literal["best", "mean"], "of several actions the greatest next value counts (CQL), or the mean of all (VGF)"
    ] = "best"

    def actions(self, views: Views, key: Key) -> Actions:
        """Next actions [samples, batch, act], clipped to the bounds."""
        sample = views.online_sample if self.copies == "online" else views.target_sample
        assert sample is not None
        return sample(key, self.samples)

    def scored(self, views: Views, key: Key) -> tuple[Actions, Values]:
        """The same actions of the policy as it is now, and their log densities in nats [samples, batch]."""
        assert views.scored is not None
        return views.scored(key, self.samples)

    def formula(self, online: tuple[str, str], slow: tuple[str, str], parts: dict) -> tuple[str, str]:
        """The next action, as text and LaTeX; `online`, `slow`: the policy at s' and its slow mean action."""
        text, latex = online
        if self.copies == "slow":  # the behaviour, where it stands for the policy, is its own slow copy
            text, latex = text.replace("π(", "π̄("), latex.replace(r"\pi(", r"\bar\pi(")
        text, latex = f"a' ~ {text}, clipped to ±1", rf"a' \sim {latex}\ \text{{clipped to }} \pm 1"
        if self.samples == 1:
            return text, latex
        best = f", of {self.samples} that of the greatest next value"
        if self.over == "mean":
            best = f", {self.samples} of them, on average in y"
        return text + best, rf"{latex}\text{{{best}}}"
