"""Cases of a parametrised test, of which the quick part of the tests takes some."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def thinned(cases: Iterable[Any], quick: int | Sequence[Any], reason: str) -> list[Any]:
    """All cases; those that are not in `quick`, or not among so many evenly spread ones, are exhaustive."""
    cases = list(cases)
    spread = {round(i * len(cases) / quick) for i in range(quick)} if isinstance(quick, int) else set()
    found = []
    for number, case in enumerate(cases):
        chosen = number in spread if isinstance(quick, int) else case in quick
        values = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*values, marks=() if chosen else pytest.mark.exhaustive(reason)))
    return found
