"""What a judge is: the gain of a step's policy over the one that the step began with, and its standard error.

A judge sees what the step was not fitted on: the episodes of `data.holdout`, and, of the critics, what did not drive
the policy there. The bound of a gain is gain - errors * error + margin; a step is taken where it is positive, else the
policy goes back.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pogospec.compiler.beside import Beside
from pogospec.spec.fields import Within
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.measure import standard_error
from pogospec.types import Space, Transitions, Values

NONE = -1e300
"""A bound of what is no number, which JSON can hold."""


class Finding(NamedTuple):
    """What a judge finds, for each run."""

    gain: Float[np.ndarray, " runs"]
    error: Float[np.ndarray, " runs"]


class Bench(NamedTuple):
    """What a judge may look at, of all runs at once; networks have a row for each run.

    ask: an answer of each run to a question about both policies in held-out states; one question a judge.
    once: what a name stands for as long as the step goes on; a function makes it when it is first asked for.
    """

    measured: dict[str, np.ndarray]  # what flow.csv says of the policy, [runs] each
    held: Transitions  # the held-out episodes, whole and in order, as the step would see them
    family: Any
    policy: Any
    reference: Any  # the policy that the step began with
    action: str  # how policies act: mean or sample
    bounded: bool  # whether actions have bounds
    discount: float
    ask: Callable[[Callable[[Beside], Any]], Any]
    once: Callable[[str, Callable[[], Any]], Any]
    layout: Callable[[Callable, tuple[int | None, ...]], Callable]  # how many critics are computed


class AbstractJudge(eqx.Module):
    """Finds the gain of a policy over its reference, in units that a kind says."""

    unit: ClassVar[str]
    by_critic: ClassVar[bool] = True  # whether it asks the step's own critics
    episodes: ClassVar[int] = 2  # that must be held out at least

    errors: Annotated[
        float,
        Within(ge=0.0),
        "standard errors that the gain must exceed; of steps without gain, looked at once, 1 takes one in 6, 1.645 one "
        "in 20; of the best of several looks more",
    ] = 1.0
    margin: Annotated[float, Within(ge=0.0), "loss that is allowed beyond them, in the judge's units"] = 0.0

    @abc.abstractmethod
    def finding(self, bench: Bench) -> Finding:
        """The gain of each run's policy, and its standard error over episodes."""

    @abc.abstractmethod
    def words(self) -> str:
        """What the gain is, with its numbers."""

    def refused(self, spec: Spec, step: StepSpec) -> Iterator[tuple[str, str]]:
        """Why it cannot judge a step: keys of the judge, or "" for itself, and what is wrong."""
        yield from ()

    def updates_of_critics(self, checks: int) -> int:
        """Updates of critics that it fits for one run in a step with so many checks."""
        return 0

    def work(self, space: Space) -> float:
        """Floating-point operations of one of these updates."""
        return 0.0

    def bound(self, finding: Finding) -> np.ndarray:
        """The gain less `errors` of its standard errors, plus the margin, [runs]; very low where it is no number."""
        off = self.errors * finding.error if self.errors else 0.0
        return np.nan_to_num(finding.gain - off + self.margin, nan=NONE, posinf=NONE, neginf=NONE)

    def sentence(self) -> str:
        """When a step is taken."""
        errors = f" − {self.errors:.6g} · its standard error over episodes" if self.errors else ""
        return f"gain{errors} > {-self.margin if self.margin else 0:.6g}"


def over_episodes(rows: Values, episodes: Any) -> tuple[Any, Any]:
    """The mean of rows, and its standard error over the episodes that they belong to."""
    return rows.mean(), standard_error(jnp.asarray(rows), episodes)


def asked(bench: Bench, rows: Callable[[Beside], Values]) -> Finding:
    """The mean gain over held-out states by a function that gives that of each."""
    found = bench.ask(lambda both: over_episodes(rows(both), both.episodes))
    return Finding(*(np.asarray(column, np.float64) for column in found))


def count_of(critic: Any) -> int:
    """How many critics of action values there are."""
    return getattr(critic, "size", getattr(critic, "members", 2))


def terms_of_q(step: StepSpec) -> dict[str, Any]:
    """The terms of a step's energy that ask critics, by name."""
    return {name: term for name, term in (step.energy or {}).items() if term.needs_critic}
