"""Means of a learner's weights over the updates of a step, kept beside them: a window of the last ones, or a decay.

A law says what is averaged (`init`, `update`); what it keeps says the mean by itself (`of`), without the law.
"""

from __future__ import annotations

from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from pogospec.spec.fields import Within
from pogospec.types import Params

BLOCKS = 8
"""Blocks of updates in a window; weights are held once for each, and once more."""


class Blocks(eqx.Module):
    """Sums of the weights over blocks of updates, in a ring."""

    sums: Params  # [slots, ...] of each array of the network
    count: Any  # updates of the learner in the step
    window: int = eqx.field(static=True)

    def of(self, network: Params) -> Params:
        """The mean over the last `window` updates, or over all where there were fewer; `network` where there were none.

        The block in which the window begins counts for the share of it that lies in the window.
        """
        block, slots = sizes(self.window)
        newest = jnp.maximum(self.count - 1, 0) // block  # number of the block that is being filled
        filled = self.count - newest * block
        age = (newest - jnp.arange(slots)) % slots  # of the block in each slot, in blocks
        share = jnp.clip((self.window - filled - (age - 1) * block) / block, 0.0, 1.0)
        share = jnp.where(age == 0, 1.0, jnp.where(age <= newest, share, 0.0))
        total = filled + (jnp.where(age == 0, 0.0, share) * block).sum()

        def mean(sums, now):
            parts = [share[slot].astype(sums.dtype) * sums[slot] for slot in range(slots)]
            whole = sum(parts[1:], parts[0]) / jnp.maximum(total, 1.0).astype(sums.dtype)  # in the order of the slots
            return jnp.where(self.count > 0, whole, now)

        return jax.tree.map(mean, self.sums, network)


class Window(eqx.Module):
    """The mean of the weights after each of the last `window` updates of the learner in the step.

    It is kept as sums over blocks of window // 8 updates. Where 8 divides the window the mean is exact after each
    whole block, and for windows below 16 always; in between the oldest block counts in part, by its own mean.
    """

    window: Annotated[int, Within(ge=1), "updates of the learner, the last in the step, whose weights are averaged"]

    @property
    def copies(self) -> int:
        """How often the weights are held."""
        return sizes(self.window)[1]

    def init(self, network: Params) -> Blocks:
        """Nothing averaged yet."""
        zeros = lambda leaf: jnp.zeros((self.copies, *leaf.shape), leaf.dtype)  # noqa: E731
        return Blocks(jax.tree.map(zeros, network), jnp.zeros((), jnp.int32), self.window)

    def update(self, kept: Blocks, network: Params, count: Any, moved: Any) -> Blocks:
        """Take the weights in after `count` updates of the learner; `moved`: whether this was one of them."""
        block, slots = sizes(self.window)
        number = jnp.maximum(count - 1, 0)
        slot, begins = (number // block) % slots, moved & (number % block == 0)

        def add(sums, now):
            before = jnp.where(begins, jnp.zeros_like(now), sums[slot])
            return sums.at[slot].set(before + jnp.where(moved, now, jnp.zeros_like(now)))

        return Blocks(jax.tree.map(add, kept.sums, network), jnp.int32(count), self.window)

    def words(self) -> str:
        """What is averaged."""
        return f"the mean over its last {self.window:,} updates"


class Running(eqx.Module):
    """A mean in which older weights count less."""

    mean: Params
    count: Any  # updates of the learner in the step

    def of(self, network: Params) -> Params:
        """The mean; `network` where there were no updates."""
        return jax.tree.map(lambda mean, now: jnp.where(self.count > 0, mean, now), self.mean, network)


class Decay(eqx.Module):
    """The weights after each update of the learner in the step, those k updates ago with weight decay^k.

    The weights of the mean sum to 1 from the first update on (bias correction): m <- m + (w - m) (1 - d)/(1 - d^n).
    """

    decay: Annotated[
        float, Within(gt=0.0, le=0.999999), "weight of the mean so far: it reaches back some 1/(1 - decay) updates"
    ]

    @property
    def copies(self) -> int:
        """How often the weights are held."""
        return 1

    def init(self, network: Params) -> Running:
        """Nothing averaged yet."""
        return Running(jax.tree.map(jnp.zeros_like, network), jnp.zeros((), jnp.int32))

    def update(self, kept: Running, network: Params, count: Any, moved: Any) -> Running:
        """Take the weights in after `count` updates of the learner; `moved`: whether this was one of them."""
        new = 1.0 - jnp.asarray(self.decay, float)
        rate = new / -jnp.expm1(jnp.maximum(count, 1) * jnp.log1p(-new))
        rate = jnp.where(moved, rate, 0.0)
        add = lambda mean, now: mean + rate.astype(mean.dtype) * (now - mean)  # noqa: E731
        return Running(jax.tree.map(add, kept.mean, network), jnp.int32(count))

    def words(self) -> str:
        """What is averaged."""
        return f"the mean of its weights, those of k updates ago by {self.decay:g}^k"


def sizes(window: int) -> tuple[int, int]:
    """Updates in a block of a window, and blocks that are held: those that are full, and the one that is filled."""
    block = max(1, window // BLOCKS)
    return block, 1 - (-(window - 1) // block)
