"""What the program does that no key of the spec says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pogospec.data.arrays import HELD_ROWS
from pogospec.explain import known
from pogospec.explain.formula import number, short
from pogospec.explain.metric import log_std_bounds
from pogospec.explain.stages import Stage, groups, kind_of, terms_of
from pogospec.policies.base import DiagonalNormal, FullNormal, TanhNormal
from pogospec.spec.schema import Spec


def start(spec: Spec, stage: Stage) -> str:
    """Where the policy's weights come from when a step begins."""
    if spec.target is not None and "policy" not in stage.earlier:
        return f"π₀ = {known.beginning(spec)[0]}"
    if stage.step.start == "behavior":
        return "a copy of the fitted behaviour's weights"
    if stage.beside is not None:
        return f"the weights that {stage.earlier['policy']} starts from, at distance 0"
    if "policy" in stage.earlier:
        return f"the weights that {stage.earlier['policy']} ended with"
    return "fresh weights, not those of the behaviour"


def reference(spec: Spec, stage: Stage, name: str) -> str:
    """What the reference of a proximal term is."""
    if stage.begins_flow(name):
        return f"the start, {known.beginning(spec)[0]}"
    if stage.weighs_data:
        return "the policies that logged the data, known by their actions alone; no distance is taken"
    if name == "data":
        return "the Dirac at the logged action of each state"
    if name == "previous" and stage.beside is not None:
        return f"the policy of {stage.earlier['policy']} as it is now, trained in the same updates"
    if name == "previous":
        return f"the policy at the end of {stage.earlier['policy']}, frozen"
    if "behavior" in stage.step.learn:
        return "the behaviour policy, fitted in this very step"
    if stage.beside is not None and "behavior" in stage.meanwhile:
        return f"the behaviour policy, fitted in the same updates by {stage.beside.label}"
    return f"the behaviour policy as {stage.earlier['behavior']} left it, frozen"


def targets(spec: Spec, stage: Stage) -> str | None:
    """What the slow copies do in a stage; None where there is no critic, or where the first of a chain moves them."""
    if spec.critic is None or stage.beside is not None:
        return None
    if not stage.moves_targets:
        return "not moved: no critic is learned from here on"
    step = stage.step
    rate = number(spec.critic.target_rate)
    if step.target_every is None and stage.learns_policy:
        when = f"only when the policy updates ({every(step.actor_every)})"
    else:
        when = f"at {every(step.target_every or 1)}"
    names = "Q̄ ← Q̄ + {0} (Q − Q̄), μ̄ likewise" if _has_policy(spec) else "Q̄ ← Q̄ + {0} (Q − Q̄)"
    return f"{names.format(rate)}, {when}"


def every(count: int) -> str:
    """A rhythm of updates."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(count % 10 if count % 100 not in (11, 12, 13) else 0, "th")
    return "every update" if count == 1 else f"every {count}{ending} update"


def _has_policy(spec: Spec) -> bool:
    return any({"policy", "critic"} & set(step.learn) for step in spec.schedule.steps)


def optimizers(stage: Stage) -> dict[str, str]:
    """The optimiser of each learner of a stage, and whether its state is fresh."""
    found = {}
    for name in stage.step.learn:
        node: Any = getattr(stage.step.optimizer, name)
        text = f"{kind_of('optimizer', node)} {number(node.learning_rate)}"
        text = text[0].upper() + text[1:]
        if getattr(node, "decay", "none") != "none":
            text += f", {node.decay} decay"
        kept = stage.step.optimizer_state == "keep" and name in stage.earlier
        found[name] = text + (f", state kept from {stage.earlier[name]}" if kept else "")
    return found


def choices(spec: Spec, plan: list[Stage]) -> list[tuple[str, str]]:
    """Pairs of a topic and what is done."""
    plan = [group.first for group in groups(plan)]
    shared = [*_policy(spec, plan), *_critic(spec, plan), *_training(spec, plan)]
    if spec.target is not None:
        return [*known.choices(spec, plan), *shared, FINAL]
    return [*_data(spec), *shared, *_evaluation(spec), FINAL]


FINAL = ("final policy", "the last weights of each step; no averaging, no choice of the best")


def _data(spec: Spec) -> Iterator[tuple[str, str]]:
    if spec.data.normalize_observations:
        yield (
            "observations",
            "(o − mean) / (std + 1e-3), statistics once over the observations of all transitions (ddof 0)",
        )
    else:
        yield "observations", "as they are"
    yield "batches", f"{spec.train.batch_size} rows drawn uniformly with replacement, anew at every update"
    yield "episode ends", "only true terminations cut the bootstrap; time limits do not"
    yield "actions", "all mathematics in actions scaled to [-1, 1]; logged actions are clipped to it"
    if spec.data.holdout:
        share = f"{number(spec.data.holdout)} of the episodes, the same in every run, are kept from training"
        yield "holdout", f"{share}; rules and measurements look at up to {HELD_ROWS:,} of their rows"
    else:
        yield "measurements", f"on up to {HELD_ROWS:,} rows of the training data, the same in every run"


def _policy(spec: Spec, plan: list[Stage]) -> Iterator[tuple[str, str]]:
    family = spec.policy.parameter_type
    if spec.critic is not None:
        yield "clipping", "actions are clipped to [-1, 1] where they enter Q (no gradient outside) and the environment"
    if family in (DiagonalNormal, FullNormal, TanhNormal):
        low, high = log_std_bounds(spec.policy)
        way = "clamped, no gradient outside" if spec.policy.log_std_map == "clamp" else "squashed by tanh"
        what = "log of the diagonal of the Cholesky factor" if family is FullNormal else "log σ"
        yield "log-std", f"{what} in [{short(low)}, {short(high)}], {way}"
    if family is TanhNormal:
        yield "mean action", "tanh of the Gaussian's mean, the median of each dimension"
        yield (
            "density",
            f"actions are moved {number(spec.policy.margin)} inside the bounds where their density is taken",
        )
        if any(True for stage in plan for _ in terms_of(stage, "entropy")):
            count = spec.policy.entropy_samples
            yield "entropy", f"the Gaussian's exactly, the tanh's part by {count} sample{'s' * (count > 1)}"
    if any(stage.proximal and not stage.weighs_data for stage in plan):
        yield "reference", "no gradient flows into the reference of a proximal term"


def _critic(spec: Spec, plan: list[Stage]) -> Iterator[tuple[str, str]]:
    for stage in plan:
        asks = spec.critic is not None and spec.critic.needs_policy
        if "critic" in stage.step.learn and stage.bootstrap == "behavior" and asks:
            text = "next actions are those of the fitted behaviour as it is now, while no policy is learned"
            yield f"bootstrap, {stage.label}", text
    if spec.target is not None:
        return
    terms = [term for stage in plan for term in (stage.step.energy or {}).values() if term.needs_critic]
    slow = [getattr(term, "copies", "online") == "slow" for term in terms]
    if not all(slow):
        yield "Q in a step", "the critics themselves, not their slow copies; no gradient into their weights"
    if any(slow):
        yield (
            "Q̄ in a step",
            "the slow copies of the critics, before they move in that update; no gradient into their weights",
        )
    if any(stage.weighs_data for stage in plan):
        text = (
            "those of logged actions are not normalised, neither in a state nor in a minibatch; no gradient into them"
        )
        yield "weights", text


def _training(spec: Spec, plan: list[Stage]) -> Iterator[tuple[str, str]]:
    names = {"critic": "critic", "behavior": "behaviour", "policy": "policy"}
    learners = [text for name, text in names.items() if any(name in stage.step.learn for stage in plan)]
    if len(learners) > 1:
        yield "order", f"within an update: {', '.join(learners)}, each seeing the new weights of the one before"
    if plan[-1].at_once:
        yield (
            "chain",
            "its policies update one after the other on one batch, with one critic and the same slow copies, each near "
            "the one before as that has just moved; critic and slow copies follow the first alone",
        )
    if any(stage.step.actor_every > 1 for stage in plan if stage.learns_policy):
        yield "policy updates", "on the last of each `actor_every` updates, on that update's batch"
    later = [stage for stage in plan if stage.index or stage.step.repeat > 1]
    if any(stage.step.optimizer_state == "reset" for stage in later):
        yield "optimiser state", "fresh at the start of each step with optimizer_state: reset"
    seeds = f"0 to {spec.seeds - 1}, all" if spec.seeds > 1 else "0,"
    what = "initial weights and batches, the data are the same" if spec.target is None else "what samples are drawn"
    yield "seeds", f"{seeds} in one program; a seed sets {what}"
    keys = "keys are functions of seed, stage and update, so a resumed run is the same run"
    rounded = spec.train.precision == "bfloat16_matmul"
    what = "float32, layers multiply numbers rounded to bfloat16" if rounded else spec.train.precision
    yield "numbers", f"{what}; {keys}"


def _evaluation(spec: Spec) -> Iterator[tuple[str, str]]:
    last = spec.evaluate.seed + spec.evaluate.episodes - 1
    how = "its mean action" if spec.evaluate.action == "mean" else "samples"
    yield (
        "evaluation",
        f"reset seeds {spec.evaluate.seed} to {last}, the same for every policy and seed; acts by {how}, clipped",
    )
