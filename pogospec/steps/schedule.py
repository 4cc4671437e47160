"""How the step size changes over the repetitions of a step."""

from __future__ import annotations

from typing import Annotated

import equinox as eqx

from pogospec.spec.fields import Within


class Geometric(eqx.Module):
    """tau_k = start * factor^k at the repetitions k = 0, 1, and so on."""

    start: Annotated[float, Within(gt=0.0), "step size of the first repetition, in flow time"]
    factor: Annotated[float, Within(gt=0.0), "ratio of one repetition's step size to the one before"]

    def at(self, k: int) -> float:
        """Step size of repetition k."""
        return self.start * self.factor**k
