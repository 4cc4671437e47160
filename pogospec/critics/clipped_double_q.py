"""Clipped double Q-learning (TD3), with the optional penalty of ReBRAC and BRAC inside the bracket.

y = r + discount (1 - terminated) [min_i Qbar_i(s', a') - penalty],
loss = sum_i mean (Q_i(s, a) - y)^2.
"""

from __future__ import annotations

from pogospec.critics.bellman import BellmanCritic


class ClippedDoubleQ(BellmanCritic):
    """Two critics; the bootstrap takes the smaller of their slow copies, or with `q_agg` their mean."""

    @property
    def size(self) -> int:
        """Two networks."""
        return 2
