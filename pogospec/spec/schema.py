"""The whole document: every top-level key of a spec, its type, default, bounds and one-line doc."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pogospec.spec.fields import Increasing, Length, Slot, Within

Reference = Literal["behavior", "data", "previous"]
Learner = Literal["critic", "behavior", "policy"]
Count = Annotated[int, Within(ge=1)]


@dataclass(frozen=True)
class RewardSpec:
    """Affine change of the logged rewards, before training; evaluation reports raw returns."""

    scale: Annotated[float, "factor of each reward (ReBRAC on AntMaze: 100)"] = 1.0
    shift: Annotated[float, "added to each scaled reward (IQL on AntMaze: -1)"] = 0.0
    return_range: Annotated[
        float | None, Within(gt=0.0), "first divide by max - min of the episodes' returns, times this (IQL: 1000)"
    ] = None


@dataclass(frozen=True)
class DataSpec:
    """Where the transitions come from."""

    dataset: Annotated[str, "id of a dataset; `pogospec data list` shows those at hand, and how others are written"]
    environment: Annotated[
        str | None, "Gymnasium id for evaluation, in the place of what the data name; it comes without their arguments"
    ] = None
    arguments: Annotated[
        dict[str, Any] | None, "what the environment is made with, in the place of what the data say"
    ] = field(default=None, hash=False)
    max_episode_steps: Annotated[
        int | None,
        Within(ge=1),
        "time limit of an episode in evaluation (null: that of the data, or the environment's)",
    ] = None
    observe: Annotated[
        tuple[str, ...] | None,
        "entries of Dict observations that are observed, in order (null: D4RL's AntMaze: achieved_goal, observation)",
    ] = None
    normalize_observations: Annotated[bool, "standardise observations: (o - mean) / (std + 1e-3)"] = True
    reward: Annotated[RewardSpec, "change of the logged rewards"] = field(default_factory=RewardSpec)
    holdout: Annotated[
        float, Within(ge=0.0, lt=1.0), "share of the episodes that is kept from training, for rules and diagnostics"
    ] = 0.0
    rows: Annotated[
        Literal["memory", "disk"],
        "where rows lie: in memory, or in a file from which batches are read ahead, the same ones; for sets that do "
        "not fit into memory",
    ] = "memory"


@dataclass(frozen=True)
class StartSpec:
    """The Gaussian with independent dimensions at which a flow on a known energy starts."""

    mean: Annotated[float | tuple[float, ...], "mean, of all dimensions or of each"] = 0.0
    std: Annotated[float | tuple[float, ...], Within(gt=0.0), "standard deviation, of all dimensions or of each"] = 1.0

    def moments(self, dimensions: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of each dimension."""
        every = [value if isinstance(value, tuple) else (value,) * dimensions for value in (self.mean, self.std)]
        return every[0], every[1]


@dataclass(frozen=True)
class OptimizerSpec:
    """The optimiser of each learner; a single node in YAML serves all three."""

    critic: Annotated[Any, Slot("optimizer"), "optimiser of the critics"]
    behavior: Annotated[Any, Slot("optimizer"), "optimiser of the fitted behaviour policy"]
    policy: Annotated[Any, Slot("optimizer"), "optimiser of the policy"]


@dataclass(frozen=True)
class ProximalSpec:
    """One proximal term of a step: D(policy, reference) / tau."""

    reference: Annotated[Reference, "what the policy is kept near"]
    geometry: Annotated[Any, Slot("geometry", named="also"), "the divergence; default: the step's geometry"]
    tau: Annotated[float | Any, Slot("tau"), Within(gt=0.0), "step size of this term; default: the step's tau"]


@dataclass(frozen=True)
class StepSpec:
    """One Euler step of the schedule, with every default and override already merged in."""

    learn: Annotated[tuple[Learner, ...], Length(least=1), "what this step trains"]
    updates: Annotated[int, Within(ge=1), "minibatch updates"]
    optimizer: Annotated[OptimizerSpec, "override of the optimiser in this step"]
    name: Annotated[str | None, "label in tables; default: step 1, step 2, …, or warm-up without the policy"] = None
    from_: Annotated[Reference | None, "reference of the proximal term; the long form is `proximal`"] = None
    tau: Annotated[float | Any | None, Slot("tau"), Within(gt=0.0), "step size of the Euler step, in flow time"] = None
    geometry: Annotated[Any | None, Slot("geometry", named="also"), "override of the geometry in this step"] = None
    proximal: Annotated[
        tuple[ProximalSpec, ...] | None, Length(least=1), "several proximal terms, instead of from, geometry and tau"
    ] = None
    energy: Annotated[dict[str, Any] | None, Slot("energy", named=True), "override of the energy in this step"] = None
    gradient: Annotated[Any | None, Slot("gradient"), "euclidean, or natural in the metric of the geometry"] = None
    behavior_gradient: Annotated[
        Any | None, Slot("gradient"), "gradient of the behaviour's loss: euclidean (null), or natural in the geometry"
    ] = None
    scheme: Annotated[Any | None, Slot("scheme"), "how the Euler step is taken"] = None
    start: Annotated[
        Literal["as_is", "behavior"], "where the policy starts: its weights at hand, or a copy of the fitted behaviour"
    ] = "as_is"
    optimizer_state: Annotated[Literal["reset", "keep"], "fresh optimisers, or go on with those of earlier steps"] = (
        "reset"
    )
    actor_every: Annotated[int, Within(ge=1), "the policy updates once in so many updates"] = 1
    actor_on: Annotated[
        Literal["last", "first"], "which of these updates is the policy's: the last (TD3+BC), or the first (ReBRAC)"
    ] = "last"
    order: Annotated[
        Literal["critic_first", "policy_first", "at_once"],
        "within an update: the critic before the policy (TD3), the policy first (SAC-N, EDAC), or each beside the "
        "weights before the update (CQL)",
    ] = "critic_first"
    slow_policy: Annotated[
        Literal["updated", "before_update"],
        "what the slow copy of the policy follows: its weights after the update (TD3), or those before it (ReBRAC)",
    ] = "updated"
    behavior_batch: Annotated[
        Literal["shared", "own"], "the behaviour is fitted on the minibatch of all, or on one of its own (POGO)"
    ] = "shared"
    target_every: Annotated[int | None, Within(ge=1), "target networks move every so many updates"] = None
    repeat: Annotated[int, Within(ge=1, le=10_000), "take this step so many times"] = 1
    until: Annotated[Any | None, Slot("until"), "end the step early, when this has settled; updates is the bound"] = (
        None
    )
    repeat_until: Annotated[
        Any | None, Slot("until"), "end the repetitions early, when this has settled; repeat is the bound"
    ] = None
    judge: Annotated[
        Any | None,
        Slot("judge", default="fqe"),
        "what decides by held-out episodes whether the step is taken; without a kind fqe; null: it is taken",
    ] = None

    @property
    def sizes(self) -> tuple[Any, ...]:
        """The step size of each proximal term, or of the step, as it is written."""
        return tuple(term.tau for term in self.proximal or ()) or (self.tau,)

    @property
    def keeps_best(self) -> bool:
        """Whether the best policy that the judge has seen is kept beside the last one."""
        return any(getattr(rule, "keeps_best", False) for rule in (self.until, *self.sizes))

    @property
    def solves(self) -> int:
        """How often a repetition is solved, where that is known before: more than once where sizes are compared."""
        return max(getattr(rule, "solves", 1) for rule in self.sizes)

    @property
    def spent(self) -> int:
        """Updates of a repetition, at most where a rule may end it."""
        return self.updates * self.solves

    @property
    def doubles(self) -> bool:
        """Whether a repetition is an attempt by step doubling."""
        return any(getattr(rule, "doubles", False) for rule in self.sizes)

    def policy_updates(self, count: int) -> int:
        """Updates of the policy among the first `count` of a step that learns it."""
        return (count if self.actor_on == "last" else count + self.actor_every - 1) // self.actor_every


@dataclass(frozen=True)
class BranchSpec:
    """Moments of a step from which the later steps are taken, each a run; what comes before them runs once."""

    at: Annotated[
        tuple[int, ...], Length(least=1), Within(ge=1), Increasing(), "updates of the step after which one branches off"
    ]
    step: Annotated[int, Within(ge=0), "index of the step, as in schedule.steps[0]"] = 0


@dataclass(frozen=True)
class ScheduleSpec:
    """The Euler steps, in order."""

    steps: Annotated[tuple[StepSpec, ...], Length(least=1), "the Euler steps"]
    mode: Annotated[
        Literal["sequential", "concurrent"],
        "one step after another, or all that learn the policy in the same updates, the critic fed by the first",
    ] = "sequential"
    branch: Annotated[
        BranchSpec | None, "take the later steps from several moments of a step that runs once, each a cell of a sweep"
    ] = None

    @property
    def at_once(self) -> int:
        """Policies that train in the same updates, the last steps with their repetitions; 1 in sequential mode."""
        actors = sum(step.repeat for step in self.steps if "policy" in step.learn)
        return actors if self.mode == "concurrent" else 1

    @property
    def in_turn(self) -> list[StepSpec]:
        """The steps as updates are spent on them, repetitions written out; a concurrent chain is its first step."""
        written_out = [step for step in self.steps for _ in range(step.repeat)]
        return written_out[: len(written_out) - self.at_once + 1]


@dataclass(frozen=True)
class TrainSpec:
    """The training loop."""

    batch_size: Annotated[int, Within(ge=1), "transitions in a minibatch"] = 256
    precision: Annotated[
        Literal["float32", "bfloat16_matmul", "float64"],
        "type of networks, data and updates; bfloat16_matmul: float32, but layers multiply numbers rounded to bfloat16",
    ] = "float32"
    batch_runs: Annotated[
        Literal["auto", "vmap", "map", "shard"],
        "seeds and cells side by side, one after another, or over devices; auto: over devices, each core being one",
    ] = "auto"
    log_every: Annotated[int, Within(ge=1), "updates that one row of metrics averages over"] = 1000
    checkpoint_every: Annotated[int, Within(ge=1), "updates between checkpoints"] = 5000
    track: Annotated[
        tuple[Annotated[Any, Slot("tracker")], ...],
        "libraries that hear of the run as it goes: tensorboard, wandb, mlflow, trackio; no number depends on them",
    ] = ()


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
    target: Annotated[Any | None, Slot("target"), "a known energy, instead of data: Q is its log density"] = None
    start: Annotated[StartSpec, "where the flow on a target starts"] = field(default_factory=StartSpec)
    geometry: Annotated[
        Any | None, Slot("geometry", named="also"), "the geometry of the proximal term, or {name: node}: a weighted sum"
    ] = None
    critic: Annotated[Any | None, Slot("critic"), "what learns the action values"] = None
    name: Annotated[str, "name of the spec; run directories carry it"] = "spec"
    about: Annotated[str, "what the spec declares, in a sentence; not taken from a base"] = ""
    train: Annotated[TrainSpec, "the training loop"] = field(default_factory=TrainSpec)
    evaluate: Annotated[EvaluateSpec, "rollouts while training"] = field(default_factory=EvaluateSpec)
    seeds: Annotated[
        Annotated[int, Within(ge=1)] | Annotated[tuple[int, ...], Within(ge=0), Length(least=1)],
        "independent runs in one program: how many, with seeds 0, 1, …, or a list of seeds",
    ] = 1

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds, in the order of rows."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(sorted(self.seeds))

    @property
    def seed_count(self) -> int:
        """How many runs there are."""
        return self.seeds if isinstance(self.seeds, int) else len(self.seeds)
