"""The whole document: every top-level key of a spec, its type, default, bounds and one-line doc."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pogospec.spec.fields import Length, Slot, Within

Learner = Literal["critic", "behavior", "policy"]
Count = Annotated[int, Within(ge=1)]


@dataclass(frozen=True)
class DataSpec:
    """Where the transitions come from."""

    dataset: Annotated[str, "embedded `pocket/…`, or the id of a local Minari dataset"]
    environment: Annotated[str | None, "Gymnasium id for evaluation, where the dataset names none"] = None
    normalize_observations: Annotated[bool, "standardise observations: (o - mean) / (std + 1e-3)"] = True


@dataclass(frozen=True)
class OptimizerSpec:
    """The optimiser of each learner; a single node in YAML serves all three."""

    critic: Annotated[Any, Slot("optimizer"), "optimiser of the critics"]
    behavior: Annotated[Any, Slot("optimizer"), "optimiser of the fitted behaviour policy"]
    policy: Annotated[Any, Slot("optimizer"), "optimiser of the policy"]


@dataclass(frozen=True)
class StepSpec:
    """One Euler step of the schedule, with every default and override already merged in."""

    from_: Annotated[Literal["behavior", "data", "previous"], "reference of the proximal term"]
    learn: Annotated[tuple[Learner, ...], Length(least=1), "what this step trains"]
    updates: Annotated[int, Within(ge=1), "minibatch updates"]
    energy: Annotated[dict[str, Any], Slot("energy", named=True), "override of the energy in this step"]
    optimizer: Annotated[OptimizerSpec, "override of the optimiser in this step"]
    gradient: Annotated[Any, Slot("gradient"), "euclidean, or natural in the metric of the geometry"]
    scheme: Annotated[Any, Slot("scheme"), "how the Euler step is taken"]
    geometry: Annotated[Any | None, Slot("geometry"), "override of the geometry in this step"] = None
    tau: Annotated[float | None, Within(gt=0.0), "step size of the Euler step, in flow time"] = None
    actor_every: Annotated[int, Within(ge=1), "the policy updates on the last of this many updates"] = 1
    target_every: Annotated[int | None, Within(ge=1), "target networks move every so many updates"] = None
    repeat: Annotated[int, Within(ge=1), "take this step so many times"] = 1


@dataclass(frozen=True)
class ScheduleSpec:
    """The Euler steps, in order."""

    steps: Annotated[tuple[StepSpec, ...], Length(least=1), "the Euler steps"]


@dataclass(frozen=True)
class TrainSpec:
    """The training loop."""

    batch_size: Annotated[int, Within(ge=1), "transitions in a minibatch"] = 256
    log_every: Annotated[int, Within(ge=1), "updates that one row of metrics averages over"] = 1000
    checkpoint_every: Annotated[int, Within(ge=1), "updates between checkpoints"] = 5000


@dataclass(frozen=True)
class EvaluateSpec:
    """Rollouts in the environment while training."""

    every: Annotated[int, Within(ge=1), "updates between evaluations; the end of a step is always one"] = 5000
    episodes: Annotated[int, Within(ge=1), "episodes of each evaluation"] = 10
    action: Annotated[Literal["mean", "sample"], "act by the mean of the policy, or by a sample"] = "mean"
    seed: Annotated[int, Within(ge=0), "first reset seed; the same episodes for every policy and seed"] = 1000


@dataclass(frozen=True)
class Spec:
    """A policy gradient flow, complete and typed."""

    policy: Annotated[Any, Slot("policy"), "the policy family"]
    energy: Annotated[dict[str, Any], Slot("energy", named=True), "terms of the energy; all are minimised"]
    schedule: Annotated[ScheduleSpec, "the Euler steps"]
    optimizer: Annotated[OptimizerSpec, "one optimiser for all, or one for each learner"]
    data: Annotated[DataSpec, "where the transitions come from"]
    behavior: Annotated[Any, Slot("policy"), "behaviour policy fitted to the data; same family as policy"]
    geometry: Annotated[Any | None, Slot("geometry"), "the geometry of the proximal term"] = None
    critic: Annotated[Any | None, Slot("critic"), "what learns the action values"] = None
    name: Annotated[str, "name of the spec; run directories carry it"] = "spec"
    about: Annotated[str, "what the spec declares, in a sentence"] = ""
    train: Annotated[TrainSpec, "the training loop"] = field(default_factory=TrainSpec)
    evaluate: Annotated[EvaluateSpec, "rollouts while training"] = field(default_factory=EvaluateSpec)
    seeds: Annotated[int, Within(ge=1), "independent runs with seeds 0, 1, …, in one program"] = 1
