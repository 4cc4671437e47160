"""What the program does that no key of the spec says."""

from __future__ import annotations

from collections.abc import Iterator

from pogospec.compiler.optimum import least
from pogospec.data.arrays import HELD_ROWS
from pogospec.data.stored import folder_of_rows
from pogospec.explain.mathematics.metric import log_std_bounds
from pogospec.explain.numbers import number, short
from pogospec.explain.stages import Stage, groups, terms_of
from pogospec.policies.base import DiagonalNormal, FullNormal, TanhNormal
from pogospec.spec.schema import Spec, StepSpec
from pogospec.training.decisions import ERRORS


def choices(spec: Spec, plan: list[Stage]) -> list[tuple[str, str]]:
    """Pairs of a topic and what is done."""
    plan = [group.first for group in groups(plan)]
    shared = [*_policy(spec, plan), *_critic(spec, plan), *_training(spec, plan), *_branches(spec, plan)]
    if spec.target is not None:
        return [*_known_energy(spec, plan), *_inequality(spec, plan), *shared, *_final(spec, plan)]
    return [*_data(spec), *_inequality(spec, plan), *shared, *_evaluation(spec), *_final(spec, plan)]


def _branches(spec: Spec, plan: list[Stage]) -> Iterator[tuple[str, str]]:
    """What branches off where."""
    branch = spec.schedule.branch
    if branch is None:
        return
    label = next(stage.label for stage in plan if stage.path == f"schedule.steps[{branch.step}]")
    at = ", ".join(f"{count:,}" for count in branch.at)
    yield (
        "branches",
        f"{len(branch.at)} runs, from {label} after {at} of its updates, which run once; each is bit for bit the run "
        f"whose {label} has so many updates",
    )


def _final(spec: Spec, plan: list[Stage]) -> Iterator[tuple[str, str]]:
    """Which weights a step leaves."""
    nodes = [(name, getattr(stage.step.optimizer, name)) for stage in plan for name in stage.step.learn]
    means = {name for name, node in nodes if getattr(node, "average", None) is not None}
    best = any(stage.step.keeps_best for stage in plan)
    chosen = "of steps whose judge looks more than once, the best one" if best else "no choice of the best"
    if not means:
        yield "final policy", f"the last weights of each step; no averaging, {chosen}"
        return
    last = "the last weights of each step" if "policy" not in means else "averaged weights of each step"
    yield "final policy", f"{last}; {chosen}"
    again = ", with as many rollouts again" if spec.target is None and means != {"critic"} else ""
    beside = f"; the last ones are saved as `step 1 (last)` beside them, and evaluated{again}" * (means != {"critic"})
    yield (
        "averaged weights",
        "within a step everything sees the last weights. The averaged ones are what a later step starts from and is "
        f"near to, and what is measured, evaluated and saved{beside}",
    )


def _data(spec: Spec) -> Iterator[tuple[str, str]]:
    if spec.data.normalize_observations:
        yield (
            "observations",
            "(o − mean) / (std + 1e-3), statistics once over the observations of all transitions (ddof 0)",
        )
    else:
        yield "observations", "as they are"
    if spec.data.rows == "disk":
        yield (
            "rows",
            f"in a file under {folder_of_rows()}, written once; the batches of the next updates are read from it while "
            "those before are computed, and are those of rows in memory",
        )
    own = any(step.behavior_batch == "own" and "behavior" in step.learn for step in spec.schedule.steps)
    whose = "; others for the behaviour" if own else ""
    yield "batches", f"{spec.train.batch_size} rows drawn uniformly with replacement, anew at every update{whose}"
    yield "episode ends", "only true terminations cut the bootstrap; time limits do not"
    yield "actions", "all mathematics in actions scaled to [-1, 1]; logged actions are clipped to it"
    if spec.data.holdout:
        share = f"{number(spec.data.holdout)} of the episodes, the same in every run, are kept from training"
        whole = "; judges that fit critics see all of them" if any(map(_fits, spec.schedule.steps)) else ""
        yield "holdout", f"{share}; rules and measurements look at up to {HELD_ROWS:,} of their rows{whole}"
    else:
        yield "measurements", f"on up to {HELD_ROWS:,} rows of the training data, the same in every run"


def _fits(step: StepSpec) -> bool:
    return step.judge is not None and step.judge.updates_of_critics(1) > 0


def _inequality(spec: Spec, plan: list[Stage]) -> Iterator[tuple[str, str]]:
    """How each step is judged when it is over."""
    if any(term.reference != "data" for stage in plan for term in stage.proximal):
        error = "standard errors over episodes" if spec.target is None else "standard errors"
        yield (
            "inequality",
            f"a step in which E[π] + D/tau ends above E[reference] by more than {ERRORS:g} {error} is told: violated "
            "of flow.csv, the end of the run, `explain RUN`",
        )


def _known_energy(spec: Spec, plan: list[Stage]) -> Iterator[tuple[str, str]]:
    yield "state", "one, with nothing to observe: the parameters of π are the biases of a network without inputs"
    yield "actions", "any real numbers, neither scaled nor clipped"
    yield "measurements", "at the start and the end of every step, and each `evaluate.every` updates, into flow.csv"
    found = [least(stage.target, spec.policy, stage.step) for stage in plan if stage.target is not None]
    if any(one.temperature > 0 and not one.why for one in found):
        count = "by quadrature in one or two dimensions, by 16,384 samples in more"
        yield "KL to the optimum", f"kl_optimum of flow.csv, where Z is known: {count}"


def _policy(spec: Spec, plan: list[Stage]) -> Iterator[tuple[str, str]]:
    family = spec.policy.parameter_type
    if spec.critic is not None:
        yield "clipping", "actions are clipped to [-1, 1] where they enter Q (no gradient outside) and the environment"
    if family in (DiagonalNormal, FullNormal, TanhNormal):
        low, high = log_std_bounds(spec.policy)
        way = "clamped, no gradient outside" if spec.policy.log_std_map == "clamp" else "squashed by tanh"
        what = "log of the diagonal of the Cholesky factor" if family is FullNormal else "log σ"
        yield "log-std", f"{what} in [{short(low)}, {short(high)}], {way}"
    yield from spec.policy.remarks()
    if spec.behavior != spec.policy and any("behavior" in stage.step.learn for stage in plan):
        yield from ((f"{topic}, behaviour", text) for topic, text in spec.behavior.remarks())
    if family is TanhNormal:
        yield "mean action", "tanh of the Gaussian's mean, the median of each dimension"
        yield (
            "density",
            f"logged actions are moved {number(spec.policy.margin)} inside the bounds where their density is taken",
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
        but = ", the policy V as it was before" if getattr(spec.critic, "seen_value", "updated") != "updated" else ""
        for order in dict.fromkeys(stage.step.order for stage in plan if len(stage.step.learn) > 1):
            yield "order", _order(order, learners) + (but if order == "critic_first" else "")
    if plan[-1].at_once:
        yield (
            "chain",
            "its policies update one after the other on one batch, with one critic and the same slow copies, each near "
            "the one before as that has just moved; critic and slow copies follow the first alone",
        )
    which = {stage.step.actor_on: None for stage in plan if stage.learns_policy and stage.step.actor_every > 1}
    if which:
        yield "policy updates", f"on the {' or '.join(which)} of each `actor_every` updates, on that update's batch"
    later = [stage for stage in plan if stage.index or stage.step.repeat > 1]
    if any(stage.step.optimizer_state == "reset" for stage in later):
        yield "optimiser state", "fresh at the start of each step with optimizer_state: reset"
    seeds = f"0 to {spec.seed_count - 1}, all" if spec.seed_count > 1 else "0,"
    if not isinstance(spec.seeds, int):
        seeds = ", ".join(map(str, spec.seed_numbers)) + (", all" if spec.seed_count > 1 else ",")
    what = "initial weights and batches, the data are the same" if spec.target is None else "what samples are drawn"
    yield "seeds", f"{seeds} in one program; a seed sets {what}"
    keys = "keys are functions of seed, stage and update, so a resumed run is the same run"
    rounded = spec.train.precision == "bfloat16_matmul"
    what = "float32, layers multiply numbers rounded to bfloat16" if rounded else spec.train.precision
    yield "numbers", f"{what}; {keys}"


def _order(order: str, learners: list[str]) -> str:
    """Who learns before whom."""
    if order == "at_once":
        return f"within an update: {', '.join(learners)} at once, each seeing the weights before the update"
    if order == "policy_first":
        learners = sorted(learners, key=lambda name: name != "policy")
    return f"within an update: {', '.join(learners)}, each seeing the new weights of the one before"


def _evaluation(spec: Spec) -> Iterator[tuple[str, str]]:
    last = spec.evaluate.seed + spec.evaluate.episodes - 1
    how = "its mean action" if spec.evaluate.action == "mean" else "samples"
    yield (
        "evaluation",
        f"reset seeds {spec.evaluate.seed} to {last}, the same for every policy and seed; acts by {how}, clipped",
    )
