"""All that is known of a spec before it runs, gathered in one place and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pogospec.checking.inherited import doubtful
from pogospec.compiler.compile import compile_spec
from pogospec.explain.cautions.rules import Caution, cautions
from pogospec.explain.choices import choices
from pogospec.explain.costs.operations import matrix_rate, operations, stage_seconds
from pogospec.explain.costs.rates import Rate, estimate, measure
from pogospec.explain.costs.sizes import Memory, Network, memory, networks
from pogospec.explain.mathematics.blocks import Block, blocks, gradient, meanings
from pogospec.explain.mathematics.endings import checks, endings
from pogospec.explain.mathematics.explicit import explicit_step
from pogospec.explain.mathematics.formula import behavior_loss, critic_loss, objective
from pogospec.explain.mathematics.known_energy import Known, known
from pogospec.explain.mathematics.latex import latex
from pogospec.explain.mathematics.learning import optimizers, reference, start, targets
from pogospec.explain.origins import Value, grouped, values
from pogospec.explain.stages import Group, Stage, groups, in_turn, kind_of, stages
from pogospec.spec.resolve import Document
from pogospec.spec.schema import BranchSpec, Spec, StepSpec
from pogospec.training.chunk import precision
from pogospec.types import Dataset, Space

UNKNOWN = Space(1, 1, (-1.0,), (1.0,))


def seconds(spec: Spec, counts: list[float], space: Space) -> float:
    """Estimate of the time of all updates and judges, of all seeds, by `operations` and a matrix product timed now."""
    updates, each = zip(*stage_seconds(spec, counts, matrix_rate()), strict=True)
    work = sum(count * one for count, one in zip(updates, each, strict=True))
    return work + judging(spec.schedule.in_turn, counts, each, space)


def judging(steps: Sequence[StepSpec], counts: Sequence[float], each: Sequence[float], space: Space) -> float:
    """Seconds of the critics that judges fit, by their operations beside those of the steps that they judge.

    `each`: seconds of an update of a step, of all seeds together.
    """
    seconds = 0.0
    for step, count, one in zip(steps, counts, each, strict=True):
        judge: Any = step.judge
        if judge is not None and count:
            seconds += judge.updates_of_critics(checks(step)) * judge.work(space) / count * one
    return seconds


@dataclass(frozen=True)
class Cost:
    """Shapes, memory and time on this machine."""

    networks: list[Network]
    operations: list[float]  # of a mean update of one seed, for each stage that updates are spent on
    rates: list[Rate]
    memory: Memory

    def seconds(self, plan: list[Stage]) -> float:
        """Training time of all updates and seeds, without rollouts and compiling."""
        pairs = zip(in_turn(plan), self.rates, strict=True)
        return sum(stage.step.spent / rate.per_second for stage, rate in pairs)

    def judging(self, plan: list[Stage], space: Space) -> float:
        """Time of the critics that judges fit, by their operations beside those of the steps that they judge."""
        each = [1 / rate.per_second for rate in self.rates]
        return judging([stage.step for stage in in_turn(plan)], self.operations, each, space)

    def branches(self, plan: list[Stage], branch: BranchSpec) -> tuple[float, float]:
        """The same of all branches, whose trunk runs once, and of the same runs one by one."""
        each: dict[bool | None, float] = {}  # before the step that branches, an update of it, after it
        for stage, rate in zip(in_turn(plan), self.rates, strict=True):
            number = int(stage.path.removeprefix("schedule.steps[").rstrip("]"))
            part, count = (None, 1) if number == branch.step else (number > branch.step, stage.step.spent)
            each[part] = each.get(part, 0.0) + count / rate.per_second
        before, own, later = (each.get(part, 0.0) for part in (False, None, True))
        runs = len(branch.at)
        return before + branch.at[-1] * own + runs * later, runs * (before + later) + sum(branch.at) * own


@dataclass(frozen=True)
class Explanation:
    """What `explain` shows; `space` and `cost` are None where the sizes of the task are unknown."""

    spec: Spec
    plan: list[Stage]
    blocks: list[Block]
    meanings: list[tuple[str, str]]
    values: list[Value]
    choices: list[tuple[str, str]]
    cautions: list[Caution]
    space: Space | None
    dataset: Dataset | None
    known: Known | None
    cost: Cost | None

    @property
    def act_dim(self) -> int:
        """Action dimensions; 1 where they are unknown."""
        return (self.space or UNKNOWN).act_dim

    @property
    def grouped(self) -> list[Value]:
        """The values without repetition, and without defaults that mean nothing here."""
        return grouped(self.values, self.spec.target is not None)

    @property
    def timed(self) -> list[Group]:
        """The steps that updates are spent on."""
        return groups(in_turn(self.plan))

    @property
    def latex(self) -> str:
        """The mathematics as an align* environment."""
        return latex(self.spec, self.plan, self.act_dim)


def explanation(document: Document, spec: Spec, space: Space | None, dataset: Dataset | None) -> Explanation:
    """Everything but the costs; `spec` is the checked spec of the document."""
    plan = stages(spec)
    act_dim = (space or UNKNOWN).act_dim
    return Explanation(
        spec=spec,
        plan=plan,
        blocks=blocks(spec, plan, act_dim),
        meanings=meanings(plan, act_dim),
        values=values(document),
        choices=choices(spec, plan),
        cautions=[*cautions(spec, plan, act_dim), *_inherited(document, plan)],
        space=space,
        dataset=dataset,
        known=_known(spec, plan),
        cost=None,
    )


def _inherited(document: Document, plan: list[Stage]) -> list[Caution]:
    """What steps take from the spec that theirs extends, and hardly mean to."""
    found = []
    for path, what, keys in doubtful(document):
        labels = tuple(dict.fromkeys(group.label for group in groups(plan) if group.first.path == path))
        text = f"{what}, of the spec that this one extends: say here what is meant, or take it away ({keys})"
        found.append(Caution(labels, "inherited", text))
    return found


def _known(spec: Spec, plan: list[Stage]) -> Known | None:
    with precision(spec):
        return known(spec, plan)


def cost(spec: Spec, plan: list[Stage], space: Space, dataset: Dataset | None, measured: bool) -> Cost:
    """Shapes, operations, memory and time; `measured`: by real updates, or by the matrix rate alone."""
    with precision(spec):
        counts = operations(spec, space)
        if measured:
            rates = measure(spec, space, dataset, counts)
        else:
            rates = estimate(spec, [stage.label for stage in compile_spec(spec, space).stages], counts)
        reserved = max((rate.reserved or 0 for rate in rates), default=0)
        return Cost(networks(spec, space), counts, rates, memory(spec, space, dataset, reserved or None))


def plain(found: Explanation) -> dict[str, Any]:
    """The explanation as data for JSON."""
    about: dict[str, Any] = {"name": found.spec.name, "about": found.spec.about}
    about["data"] = {"dataset": found.spec.data.dataset, "present": found.dataset is not None}
    if found.space is not None:
        about["data"] |= {"obs_dim": found.space.obs_dim, "act_dim": found.space.act_dim}
    if found.known is not None:
        about["target"] = asdict(found.known)
    elif found.dataset is not None:
        about["data"] |= {"transitions": rows(found.dataset), "episodes": episodes(found.dataset)}
    gradients = {path: gradient(found.spec, stage, found.act_dim) for path, stage in _firsts(found.plan)}
    about["stages"] = [_stage(found, stage, gradients.get(stage.path)) for stage in found.plan]
    about["symbols"] = dict(found.meanings)
    about["latex"] = found.latex
    about["values"] = [
        {"path": v.path, "value": v.value, "layer": v.origin.layer, "from": str(v.origin)} for v in found.values
    ]
    about["choices"] = [{"topic": topic, "text": text} for topic, text in found.choices]
    about["warnings"] = [asdict(caution) for caution in found.cautions]
    if found.cost is not None:
        about["networks"] = [asdict(network) for network in found.cost.networks]
        about["operations"] = found.cost.operations
        about["rates"] = [asdict(rate) for rate in found.cost.rates]
        about["memory"] = asdict(found.cost.memory) | {"total": found.cost.memory.total}
        about["seconds"] = found.cost.seconds(found.plan)
        if found.space is not None and (judging := found.cost.judging(found.plan, found.space)):
            about["seconds_of_judges"] = judging
        branch = found.spec.schedule.branch
        if branch is not None:
            together, alone = found.cost.branches(found.plan, branch)
            about["branches"] = {"runs": len(branch.at), "seconds": together, "seconds_one_by_one": alone}
    return about


def _firsts(plan: list[Stage]) -> list[tuple[str, Stage]]:
    """The first repetition of each Euler step, by its path."""
    return [(group.first.path, group.first) for group in groups(plan) if group.first.learns_policy]


def _stage(found: Explanation, stage: Stage, by: str | None) -> dict[str, Any]:
    spec, step = found.spec, stage.step
    about: dict[str, Any] = {"label": stage.label, "path": stage.path, "learn": step.learn, "updates": step.updates}
    if stage.at_once:
        about["beside"] = None if stage.beside is None else stage.beside.label
    about["optimizers"] = {} if stage.is_set else optimizers(stage)
    about["slow_copies"] = targets(spec, stage)
    if stage.learns_policy:
        about |= _euler(spec, stage, found.act_dim) | {"gradient": by}
    loss = behavior_loss(spec, stage)
    about["critic_loss"] = [{"text": text, "latex": tex} for text, tex in critic_loss(spec, stage)]
    about["behavior_loss"] = None if loss is None else {"text": loss[0], "latex": loss[1]}
    about["endings"] = [{"topic": topic, "text": text} for topic, text in endings(stage)]
    return about


def _euler(spec: Spec, stage: Stage, act_dim: int) -> dict[str, Any]:
    """What an Euler step minimises, and where it starts; `objective` of an explicit step is the implicit one's."""
    explicit = explicit_step(stage, act_dim)
    terms = [asdict(term) | {"coefficient": term.coefficient} for term in objective(stage)]
    about: dict[str, Any] = {"scheme": kind_of("scheme", stage.step.scheme), "objective": terms}
    if explicit is not None:
        about["explicit"] = {
            "kind": explicit.kind,
            "length": explicit.length,
            "parts": [asdict(part) for part in explicit.parts],
            "lines": [{"text": text, "latex": tex} for text, tex in explicit.lines],
        }
    names = dict.fromkeys(term.reference for term in stage.proximal)
    about["references"] = {stage.reference(name)[0]: reference(spec, stage, name) for name in names}
    return about | {"start": start(spec, stage), "actor_every": stage.step.actor_every}


def rows(dataset: Dataset) -> int:
    """Transitions of a dataset."""
    return len(dataset.transitions.rewards)


def episodes(dataset: Dataset) -> int:
    """Episodes of a dataset."""
    return int(len(set(dataset.transitions.episodes.tolist()))) if dataset.stored is None else dataset.stored.episodes
