"""Where mathematics and practice part: warnings computed from the numbers of a spec, each with what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pogospec.explain.cautions import closed_forms, known_energy
from pogospec.explain.mathematics.metric import factors, log_std_bounds
from pogospec.explain.numbers import short
from pogospec.explain.stages import Stage, entropy_weight, groups, kind_of, terms_of
from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, TanhNormal
from pogospec.spec.schema import Spec

FEW_CRITIC_UPDATES = 100_000
"""Updates below which a critic on such data has seldom settled; the published runs take 500,000."""


@dataclass(frozen=True)
class Caution:
    """One warning: the stages that it is about, what is the case, and what to do."""

    stages: tuple[str, ...]
    name: str
    text: str


Rule = Callable[[Spec, list[Stage], Stage, int], Iterator[tuple[str, str]]]


def cautions(spec: Spec, plan: list[Stage], act_dim: int) -> list[Caution]:
    """Every warning that applies; the same words about several stages are one warning."""
    found: dict[tuple[str, str], list[str]] = {}
    for group in groups(plan):
        told: set[str] = set()
        for stage in group.ends if group.first.learns_policy else ():
            rules = RULES if spec.target is None else KNOWN_RULES
            new = [pair for rule in rules for pair in rule(spec, plan, stage, act_dim) if pair[0] not in told]
            told |= {name for name, _ in new}
            for pair in new:
                found.setdefault(pair, []).append(group.label)
        for name, text in _checks(group.first):
            found.setdefault((name, text), []).append(group.label)
    if spec.seed_count == 1 and spec.target is None:
        text = "one seed gives no spread, and runs of one spec differ by more than most changes do: --seeds 5"
        found["seeds", text] = []
    return [Caution(tuple(labels), name, text) for (name, text), labels in found.items()]


def q_terms(stage: Stage) -> list[Any]:
    """The terms of a step that count and ask for Q."""
    terms = [term for kind in ("q", "advantage") for _, term in terms_of(stage, kind)]
    return [term for term in terms if term.weight > 0]


def _scale_of(term: Any) -> str:
    return getattr(term, "scale", "none")


def _std(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """What decides the std where Q does not see it."""
    if not spec.policy.has_density or not q_terms(stage) or closed_forms.seen_by_energy(stage) or _explicit(stage):
        return
    end = closed_forms.fixed_point(spec, stage, act_dim)
    other = "quadrature" if "quadrature" in spec.policy.looks else "{sample: n}"
    axes = " along each principal axis" if spec.policy.parameter_type is FullNormal else ""
    if end is None:
        yield (
            "std",
            "Q is taken at the mean action, so σ gets no gradient from it: entropy and the proximal term alone set σ. "
            f"Where Q should shape σ: energy.q.actions: {other}",
        )
    elif end.collapses:
        low, high = log_std_bounds(spec.policy)
        yield (
            "std collapses",
            f"Q at the mean action gives σ no gradient and the reference has no width: σ{axes} tends to {end.text}"
            f"{end.place(low, high)}. For a wider policy: more entropy, or energy.q.actions: quadrature",
        )
    else:
        yield (
            "std",
            f"Q is taken at the mean action, so σ gets no gradient from it and{axes} tends to {end.text}. "
            "Where Q should shape σ: energy.q.actions: quadrature",
        )


def _noise(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """A map of noise of which Q sees one action."""
    mapped = not _explicit(stage) and "sample" in spec.policy.looks and not spec.policy.has_density
    if mapped and q_terms(stage) and not closed_forms.seen_by_energy(stage):
        yield (
            "noise",
            "Q is taken at the mean action alone, so that it has no say in the other actions of the map; for all of "
            "them: energy.q.actions: {sample: n}",
        )


def _cubature(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """A rule that is exact for quadratic Q, used for a critic that is none."""
    places = {getattr(term, key, None) for term in q_terms(stage) for key in ("actions", "baseline")}
    if "quadrature" in places and not _explicit(stage):
        squashed = ", before the tanh" if spec.policy.parameter_type is TanhNormal else ""
        yield (
            "cubature",
            f"quadrature takes Q at 2d points {short(act_dim**0.5)} σ from the mean{squashed}: exact for quadratic Q "
            "under a Gaussian; a neural critic is not quadratic, and no number of updates lessens that error. Without "
            "it: energy.q.actions: {sample: n}",
        )


def _explicit(stage: Stage) -> bool:
    """Whether the step sees Q at points of its own."""
    scheme: Any = stage.step.scheme
    return scheme.at_reference


def _checks(stage: Stage) -> Iterator[tuple[str, str]]:
    """Rules that can never end what they are there to end."""
    step = stage.step
    if step.until is not None and step.until.least * step.until.every >= step.updates:
        yield (
            "until",
            f"it needs {step.until.least} checks, one every {step.until.every:,} updates, and the step ends after "
            f"{step.updates:,}: it ends nothing; lower until.every, or raise updates",
        )
    rule = step.repeat_until
    if rule is not None and not rule.keeps_best and rule.least + 1 >= step.repeat:
        yield (
            "repeat_until",
            f"it needs {rule.least + 1} repetitions, and there are {step.repeat}: it ends nothing; lower "
            "repeat_until.window, or raise repeat",
        )


def _saturation(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    if _explicit(stage):
        return
    scaled = any(_scale_of(term) != "none" for term in q_terms(stage))
    for term in stage.proximal:
        kind = kind_of("geometry", term.geometry)
        if kind not in closed_forms.BOUNDED:
            continue
        name, highest = closed_forms.BOUNDED[kind]
        gap = closed_forms.dead_gap(kind)
        floor = closed_forms.std(log_std_bounds(spec.policy)[0])
        each = gap / act_dim**0.5
        yield (
            "saturation",
            f"{name} saturates: its pull is below 1% of its peak once the means are {short(gap)} σ apart "
            f"({short(each)} σ in each of {act_dim} dimensions; {short(each * floor)} in actions where σ is at its "
            f"floor {short(floor)}). Nothing then holds the policy: raise policy.log_std[0], or gaussian_fisher_rao",
        )
        most = term.geometry.weight * highest / term.tau
        if scaled and most < 1:
            yield (
                "bounded cost",
                f"{name} is at most {short(highest)}, so leaving the reference altogether costs {short(most)}, while Q "
                "is scaled to mean size 1: the step may jump. Lower tau, or gaussian_fisher_rao",
            )


def _scale(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    scales = {_scale_of(term) for term in q_terms(stage)} - {"none"}
    if not scales:
        return
    if "batch" in scales:
        frozen = "critic" not in stage.meanwhile
        do = "scale: step fixes it in this step" if frozen else "compare energies with care; scale: none avoids it"
        yield (
            "moving energy",
            f"scale: batch divides Q by a number of each minibatch, so the objective is not one function: {do}",
        )
    heat = entropy_weight(stage)
    taus = ", ".join(short(term.tau) for term in stage.proximal)
    parts = [f"λ = {short(heat)} is λ · mean|Q|"] if heat else []
    parts += [f"tau = {taus} is tau / mean|Q|"] if taus else []
    if parts:
        unit = "the reward" if spec.target is None else "Q"
        yield (
            "units",
            f"in units of {unit}, {' and '.join(parts)}; mean|Q| is unknown before training: read scale of flow.csv",
        )


def _clip(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    for factor in factors(spec, stage, act_dim):
        if factor.bound:
            yield (
                "clip",
                f"the clip of the natural gradient binds at every σ: the factor of {factor.parameter} is "
                f"{short(factor.low)}, not {factor.text}. Widen gradient.clip, or use euclidean",
            )


def _reach(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    rate = stage.step.optimizer.policy.learning_rate
    far = stage.policy_updates * rate
    if stage.proximal and far < 0.5 and not (spec.policy.borrows or stage.is_set):
        yield (
            "unfinished step",
            f"{stage.policy_updates:,} updates of the policy at learning rate {short(rate)} move a weight by about "
            f"{short(far)} at most, so the updates, not tau, decide how far the step goes: more updates",
        )


def _clipping(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    heat = entropy_weight(stage)
    if heat and spec.policy.parameter_type in (DiagonalNormal, FullNormal, LowRankNormal):
        yield (
            "entropy and clipping",
            "entropy is of the Gaussian before its actions are clipped to [-1, 1]; width outside the bounds is "
            "rewarded and never acted: lower policy.log_std[1], or policy.kind: tanh_gaussian",
        )


def _reference(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    if "behavior" in stage.meanwhile and any(term.reference == "behavior" for term in stage.proximal):
        yield (
            "moving reference",
            "the behaviour is fitted in the step that is kept near it, so the reference moves meanwhile; to settle it "
            "first, put a step {learn: [critic, behavior], updates: …} before",
        )


def _critic(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    if not q_terms(stage):
        return
    if not stage.proximal and not (spec.critic is not None and spec.critic.pessimistic):
        yield "no proximal term", "nothing keeps the policy near the data while it follows Q: add from, geometry, tau"
    if "critic" in stage.meanwhile:
        return
    seen = sum(other.step.updates for other in plan[: stage.index] if "critic" in other.step.learn)
    if seen < FEW_CRITIC_UPDATES:
        yield (
            "unsettled critic",
            f"{stage.policy_updates:,} updates of the policy follow a critic frozen after {seen:,} updates, errors "
            "included: see that critic_loss has levelled off (pogospec plot RUN --y critic_loss), or train it longer",
        )


def _penalty(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    penalty = getattr(spec.critic, "target_penalty", None)
    if penalty is None or getattr(penalty, "geometry", None) is None or "critic" not in stage.step.learn:
        return
    for term in stage.proximal:
        inside, outside = penalty.weight * penalty.geometry.weight, term.geometry.weight / term.tau
        if term.reference == "behavior" and abs(inside - outside) > 1e-6 * outside:
            yield (
                "two penalties",
                f"the value target takes off {short(inside)} D, the policy pays {short(outside)} D: Q is not the value "
                f"of what the policy minimises; critic.target_penalty.weight={short(outside)} makes them one",
            )


def _weights(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """Weights of logged actions that compare states, not actions."""
    if not stage.weighs_data:
        return
    if any(True for _ in terms_of(stage, "q")):
        yield (
            "no baseline",
            "the weight of a logged action is exp(tau Q), so that states of high value count for more and actions "
            "hardly differ: use the energy advantage, which takes the value of the state off",
        )


RULES: tuple[Rule, ...] = (
    _std, _noise, _cubature, _saturation, _scale, _clip, _reach, _clipping, _reference, _critic, _penalty, _weights,
)  # fmt: skip
KNOWN_RULES: tuple[Rule, ...] = (_std, _saturation, _scale, _clip, _reach, *known_energy.RULES)
