"""Fitted Q evaluation of the policy less that of its reference, in the same held-out episodes."""

from __future__ import annotations

import numpy as np

from pogospec.judges.base import Bench, Finding
from pogospec.judges.fitted import FittedJudge


class FQE(FittedJudge):
    """The gain in the discounted value from first observations on, by fitted Q evaluation of both policies.

    Both are read in the same resamples of the episodes, so that the error is that of the difference; it joins how far a
    looser ridge moves that. See `pogospec.offline`.
    """

    def finding(self, bench: Bench) -> Finding:
        """The difference of the values, with its paired error."""
        before, now = self.before(bench), self.read(bench, bench.policy)
        values = np.asarray(now.values, np.float64) - before.values
        gap = np.asarray(now.gap, np.float64) - before.gap
        return Finding(values[:, 0], np.sqrt(np.var(values[:, 1:], 1, ddof=1) + np.square(gap)))

    def words(self) -> str:
        """What is estimated, and how."""
        how = f"critics of {self.updates:,} updates on half of the held-out episodes, read in the other"
        return f"V(π) − V(reference) from the first observations of episodes on, by fitted Q evaluation ({how})"

    def updates_of_critics(self, checks: int) -> int:
        """Two critics of the reference, and two at each check."""
        return 2 * (1 + checks) * self.updates
