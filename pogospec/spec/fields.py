"""How a class declares the keys of a node: annotations carry the type, the bounds and a one-line doc.

    class Wasserstein2(AbstractGeometry):
        reduction: Annotated[Literal["sum", "mean"], "over action dimensions"] = "sum"
        weight: Annotated[float, Within(ge=0.0), "factor of this distance"] = 1.0

A field whose value is another node names its slot: `Annotated[Any, Slot("geometry"), "..."]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Within:
    """Bounds of a number, or of each number in a tuple."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a concrete number lies within the bounds."""
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        signs = {">=": self.ge, ">": self.gt, "<=": self.le, "<": self.lt}
        return " and ".join(f"{sign} {bound:g}" for sign, bound in signs.items() if bound is not None)


@dataclass(frozen=True)
class Length:
    """Bounds on the number of entries of a tuple."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Slot:
    """The field holds a node of this slot.

    `named`: a mapping from names to such nodes; "also": either a node or such a mapping. `default`: the kind of a
    mapping that names none.
    """

    name: str
    named: Literal[True, False, "also"] = False
    default: str | None = None


@dataclass(frozen=True)
class Increasing:
    """The numbers of a tuple must rise strictly."""
