"""Rules that end a step, or its repetitions, before their bound: pure functions of what was measured so far.

A history maps names to arrays [checks, seeds], oldest first: `objective` and `energy` of the policy on held-out states,
`q_drift`, the root mean square change of Q on held-out rows since the check before over its standard deviation over the
rows, `critic_noise`, the standard deviation of the critic loss over those updates over the variance of Q over rows, and
`bound`, what the judge of the step found. At the ends of repetitions: `objective`, and `taken`, whether the judge did.
"""

from __future__ import annotations

import abc
from typing import Annotated, ClassVar

import equinox as eqx
import numpy as np

from pogospec.spec.fields import Within

History = dict[str, np.ndarray]
NOTHING = 1e-12
"""A change this small, in units of the values themselves, is none."""


class AbstractRule(eqx.Module):
    """A rule that says when something has settled."""

    needs: ClassVar[str]
    keeps_best: ClassVar[bool] = False  # whether the step ends with the best policy that its judge has seen

    every: eqx.AbstractVar[Annotated[int, Within(ge=1), "updates between checks"]]

    @property
    @abc.abstractmethod
    def least(self) -> int:
        """Checks after the beginning before the rule can say so."""

    @abc.abstractmethod
    def words(self, check: str = "check") -> str:
        """What counts as settled; `check`: what one is called."""

    @abc.abstractmethod
    def settled(self, history: History) -> np.ndarray:
        """Whether each seed has settled; [seeds]."""


class CriticSettled(AbstractRule):
    """The variance of the critic loss levels off and Q on held-out rows stops drifting, both beside the range of Q."""

    needs: ClassVar[str] = "critic"

    every: Annotated[int, Within(ge=1), "updates between checks"] = 1000
    window: Annotated[int, Within(ge=1), "checks that are compared with as many before them"] = 5
    spread: Annotated[float, Within(gt=0.0), "largest relative change of the critic loss's std between windows"] = 0.2
    drift: Annotated[float, Within(gt=0.0), "largest change of Q between checks, in its std over the rows"] = 0.1

    @property
    def least(self) -> int:
        """Two windows."""
        return 2 * self.window

    def words(self, check: str = "check") -> str:
        """Both criteria with their numbers."""
        return (
            f"over the last {self.window} {check}s the std of its loss differs from that of the {self.window} before "
            f"by at most {self.spread:.3g} of it, and Q on held-out rows moves by at most {self.drift:.3g} of its std"
        )

    def settled(self, history: History) -> np.ndarray:
        """Both criteria, over two windows of checks."""
        stds, drifts = history["critic_noise"], history["q_drift"]
        if len(stds) < 2 * self.window:
            return np.zeros(stds.shape[1:], bool)
        now, before = stds[-self.window :].mean(0), stds[-2 * self.window : -self.window].mean(0)
        level = np.abs(now - before) <= self.spread * before
        return level & (drifts[-self.window :].mean(0) <= self.drift)


class EnergySettled(AbstractRule):
    """What the step minimises no longer falls: its last change is a small part of its whole change."""

    needs: ClassVar[str] = "policy"

    every: Annotated[int, Within(ge=1), "updates between checks; not used between repetitions"] = 1000
    window: Annotated[int, Within(ge=1), "checks over which the change is taken"] = 3
    tolerance: Annotated[float, Within(gt=0.0), "largest last change, as a part of the whole change"] = 0.01

    @property
    def least(self) -> int:
        """A window, since the beginning is one of its ends."""
        return self.window

    def words(self, check: str = "check") -> str:
        """The criterion with its numbers."""
        checks = f"{self.window} {check}s" if self.window > 1 else check
        return f"over the last {checks} it changed by at most {self.tolerance:.3g} of its whole change"

    def settled(self, history: History) -> np.ndarray:
        """The change over the last checks against that since the first."""
        values = history["objective"]
        if len(values) <= self.window:
            return np.zeros(values.shape[1:], bool)
        last = np.abs(values[-1] - values[-1 - self.window])
        whole = np.abs(values[-1] - values[0])
        return last <= self.tolerance * whole + NOTHING * np.abs(values[-1])


class Judged(AbstractRule):
    """The gain that the step's judge finds no longer rises; the step ends with the best policy that was judged.

    Compared is the gain less the judge's `errors` standard errors. Between repetitions: one of them was not taken.
    """

    needs: ClassVar[str] = "policy"
    keeps_best: ClassVar[bool] = True

    every: Annotated[int, Within(ge=1), "updates between checks; not used between repetitions"] = 1000
    window: Annotated[int, Within(ge=1), "last checks without a new best; not used between repetitions"] = 3

    @property
    def least(self) -> int:
        """A check that the window is compared with, and the window."""
        return self.window + 1

    def words(self, check: str = "check") -> str:
        """The criterion with its numbers."""
        if check == "repetition":
            return "the judge has not taken it"
        checks = f"{self.window} {check}s are" if self.window > 1 else f"{check} is"
        return f"the last {checks} no better, by the judge's lower bound, than the best before"

    def settled(self, history: History) -> np.ndarray:
        """The last checks against the best before them; the repetitions that were not taken."""
        if "bound" not in history:
            return (history["taken"] == 0).any(0)
        bounds = history["bound"]
        if len(bounds) <= self.window:
            return np.zeros(bounds.shape[1:], bool)
        return bounds[-self.window :].max(0) <= bounds[: -self.window].max(0)
