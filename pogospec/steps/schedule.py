"""How the step size of a step is chosen: over its repetitions, or by trial."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import equinox as eqx

from pogospec.spec.fields import Increasing, Length, Within


class Geometric(eqx.Module):
    """tau_k = start * factor^k at the repetitions k = 0, 1, and so on; not below `least`, where that is given."""

    start: Annotated[float, Within(gt=0.0), "step size of the first repetition, in flow time"]
    factor: Annotated[float, Within(gt=0.0), "ratio of one repetition's step size to the one before"]
    least: Annotated[float | None, Within(gt=0.0), "step sizes that fall do not fall below it; default: no floor"] = (
        None
    )

    def __check_init__(self):
        if self.least is not None and (self.factor >= 1 or self.least >= self.start):
            law = f"found least {self.least:g} beside start {self.start:g} and factor {self.factor:g}"
            raise ValueError(f"{law}, which never fall to it; allowed less than start, with a factor below 1")

    def at(self, k: int) -> float:
        """Step size of repetition k."""
        return max(self.start * self.factor**k, 0.0 if self.least is None else self.least)

    def words(self, states: bool = True) -> str:
        """The law with its numbers; whether there are several states does not matter to it."""
        law = f"{self.start:.6g} · {self.factor:.6g}^k at repetition k = 0, 1, …"
        return law if self.least is None else f"{law}, not below {self.least:.6g}"


class Backtracking(eqx.Module):
    """Tries `start` and smaller step sizes until the proximal inequality holds on held-out states beyond its error.

    E[pi] + D(pi, reference)/tau <= E[reference] is what an exact step satisfies. A step is accepted where the mean over
    held-out states of the left side minus the right is negative by more than `errors` standard errors; else the step
    is taken again from its reference with tau times `factor`. Where no step size is accepted the policy stays.
    """

    start: Annotated[float, Within(gt=0.0), "step size that is tried first, in flow time"]
    factor: Annotated[float, Within(gt=0.0, lt=1.0), "factor of the next step size"] = 0.5
    tries: Annotated[int, Within(ge=1), "step sizes that are tried"] = 5
    errors: Annotated[
        float, Within(ge=0.0), "standard errors by which the inequality must hold; 1.645: one false acceptance in 20"
    ] = 1.645

    def at(self, k: int) -> float:
        """The step size that is tried first, at every repetition."""
        return self.start

    def share(self, tries: int) -> float:
        """The step size after so many that were rejected, over the first."""
        return self.factor**tries

    def words(self, states: bool = True) -> str:
        """The sizes that are tried, and when one is taken; `states`: whether there are several."""
        sizes = [f"{self.start * self.factor**k:.4g}" for k in range(self.tries)]
        listed = ", ".join(sizes if self.tries <= 6 else [*sizes[:3], "…", sizes[-1]])
        errors = f" by {self.errors:.4g} standard errors" if self.errors else ""
        where = f" on held-out states{errors}" if states else ""
        return f"the first of {listed} for which E[π] + D/tau < E[reference]{where}; where none: the policy stays"


class Choice(eqx.Module):
    """Takes the step with each of several sizes, from the same policy, and keeps what the step's judge finds best.

    Best is the highest gain less the judge's `errors` standard errors; the judge may take none of them.
    """

    keeps_best: ClassVar[bool] = True

    of: Annotated[tuple[float, ...], Length(least=2), Within(gt=0.0), Increasing(), "step sizes, in flow time"]

    @property
    def tries(self) -> int:
        """Step sizes that are tried."""
        return len(self.of)

    @property
    def solves(self) -> int:
        """How often a repetition is solved."""
        return len(self.of)

    def at(self, k: int) -> float:
        """The step size that is tried first, at every repetition."""
        return self.of[0]

    def share(self, tries: int) -> float:
        """The step size after so many, over the first."""
        return self.of[min(tries, len(self.of) - 1)] / self.of[0]

    def words(self, states: bool = True) -> str:
        """The sizes that are tried, and which is kept."""
        return f"each of {', '.join(f'{tau:.6g}' for tau in self.of)} from the same policy; the judge's best is kept"


class Doubling(eqx.Module):
    """Adapts tau to a local error by step doubling: one step of 2 tau against two of tau from the same policy.

    The local error of a seed is sqrt(2 mean D(two, one)), the distance between both ends in the geometry of the step
    over held-out states. Where it is at most `tolerance` the policy after two steps is kept, and flow time grows by
    2 tau; else the policy goes back. Each repetition is one attempt. The error falls like tau^2, so the next one has
    tau times safety sqrt(tolerance / error), within `least` and `most` (Hairer, Norsett and Wanner, "Solving ordinary
    differential equations I", II.4). The last attempt lands on `time`; a seed that is there stays as it is.
    """

    solves: ClassVar[int] = 3
    doubles: ClassVar[bool] = True

    start: Annotated[float, Within(gt=0.0), "step size of the first attempt, in flow time"]
    time: Annotated[float, Within(gt=0.0), "flow time that the repetitions cover, met exactly"]
    tolerance: Annotated[float, Within(gt=0.0), "largest local error that is kept, as a distance of the geometry"]
    safety: Annotated[float, Within(gt=0.0, le=1.0), "factor of the next step size"] = 0.9
    least: Annotated[float, Within(gt=0.0, lt=1.0), "smallest ratio of one step size to the one before"] = 0.2
    most: Annotated[float, Within(gt=1.0), "largest such ratio"] = 5.0
    longest: Annotated[float | None, Within(gt=0.0), "largest step size (null: half of time)"] = None

    def at(self, k: int) -> float:
        """The step size of the first attempt, at every repetition."""
        return self.start

    @property
    def bound(self) -> float:
        """The largest step size that an attempt may have."""
        return self.time / 2 if self.longest is None else min(self.longest, self.time / 2)

    def tau(self, wanted: float, left: float) -> float:
        """The step size of an attempt that shall have one; two of them are no longer than the flow time that is left.

        What differs from half of it by rounding alone is half of it.
        """
        wanted, half = min(wanted, self.bound), left / 2
        return half if wanted > half * (1 - ROUNDING) else wanted

    def following(self, tau: float, error: float) -> float:
        """The step size that the next attempt shall have, after a local error."""
        ratio = self.safety * math.sqrt(self.tolerance / error) if error > 0 else self.most
        return tau * min(max(ratio, self.least), self.most)

    def words(self, states: bool = True) -> str:
        """The rule and its mathematics with their numbers; `states`: whether there are several."""
        apart = "mean D(two, one) over held-out states" if states else "D(two, one)"
        allowed = f"{self.tolerance:.4g}"
        sizes = f"{self.safety:.4g} √({allowed}/error), within {self.least:.4g} and {self.most:.4g}"
        cap = "" if self.longest is None else f", at most {self.longest:.4g}"
        return (
            f"step doubling, first {self.start:.6g}. An attempt takes one step of 2 tau, and two of tau from the same "
            f"policy; error = √(2 {apart}). Error ≤ {allowed}: the policy after two is kept, flow time "
            f"grows by 2 tau; else the policy goes back. The next tau: tau times {sizes}{cap}. Flow time ends at "
            f"{self.time:.6g} exactly"
        )


ROUNDING = 1e-9
"""Of a flow time, relative."""
