"""All that is known of a spec before it runs, gathered in one place and as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pogospec.explain.blocks import Block, block, gradient, meanings
from pogospec.explain.cautions import Caution, cautions
from pogospec.explain.choices import choices, optimizers, reference, start, targets
from pogospec.explain.cost import operations
from pogospec.explain.formula import behavior_loss, critic_loss, objective
from pogospec.explain.latex import latex
from pogospec.explain.measure import Rate, estimate, measure
from pogospec.explain.origins import Value, values
from pogospec.explain.sizes import Memory, Network, memory, networks
from pogospec.explain.stages import Stage, stages
from pogospec.spec.resolve import Document
from pogospec.spec.schema import Spec
from pogospec.types import Dataset, Space

UNKNOWN = Space(1, 1, (-1.0,), (1.0,))


@dataclass(frozen=True)
class Cost:
    """Shapes, memory and time on this machine."""

    networks: list[Network]
    operations: list[float]  # of a mean update of one seed, for each stage
    rates: list[Rate]
    memory: Memory

    def seconds(self, plan: list[Stage]) -> float:
        """Training time of all updates and seeds, without rollouts and compiling."""
        return sum(stage.step.updates / rate.per_second for stage, rate in zip(plan, self.rates, strict=True))


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
    cost: Cost | None

    @property
    def latex(self) -> str:
        """The mathematics as an align* environment."""
        return latex(self.spec, self.plan)


def explanation(document: Document, spec: Spec, space: Space | None, dataset: Dataset | None) -> Explanation:
    """Everything but the costs; `spec` is the checked spec of the document."""
    plan = stages(spec)
    act_dim = (space or UNKNOWN).act_dim
    return Explanation(
        spec=spec,
        plan=plan,
        blocks=[block(spec, stage, act_dim) for stage in plan],
        meanings=meanings(plan),
        values=values(document),
        choices=choices(spec, plan),
        cautions=cautions(spec, plan, act_dim),
        space=space,
        dataset=dataset,
        cost=None,
    )


def cost(spec: Spec, plan: list[Stage], space: Space, dataset: Dataset | None, measured: bool) -> Cost:
    """Shapes, operations, memory and time; `measured`: by real updates, or by the matrix rate alone."""
    counts = operations(spec, space)
    if measured:
        rates = measure(spec, space, dataset, counts)
    else:
        rates = estimate(spec, [stage.label for stage in plan], counts)
    reserved = max((rate.reserved or 0 for rate in rates), default=0)
    return Cost(networks(spec, space), counts, rates, memory(spec, space, dataset, reserved or None))


def plain(found: Explanation) -> dict[str, Any]:
    """The explanation as data for JSON."""
    about: dict[str, Any] = {"name": found.spec.name, "about": found.spec.about}
    about["data"] = {"dataset": found.spec.data.dataset, "present": found.dataset is not None}
    if found.space is not None:
        about["data"] |= {"obs_dim": found.space.obs_dim, "act_dim": found.space.act_dim}
    if found.dataset is not None:
        about["data"] |= {"transitions": rows(found.dataset), "episodes": episodes(found.dataset)}
    about["stages"] = [_stage(found, stage) for stage in found.plan]
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
    return about


def _stage(found: Explanation, stage: Stage) -> dict[str, Any]:
    spec, step = found.spec, stage.step
    about: dict[str, Any] = {"label": stage.label, "path": stage.path, "learn": step.learn, "updates": step.updates}
    about["optimizers"], about["slow_copies"] = optimizers(stage), targets(spec, stage)
    if stage.learns_policy:
        terms = [asdict(term) | {"coefficient": term.coefficient} for term in objective(stage)]
        about |= {"objective": terms, "start": start(stage), "actor_every": step.actor_every}
        about["gradient"] = gradient(spec, stage, (found.space or UNKNOWN).act_dim)
        names = dict.fromkeys(term.reference for term in stage.proximal)
        about["references"] = {stage.reference(name)[0]: reference(stage, name) for name in names}
    loss = behavior_loss(spec, stage)
    about["critic_loss"] = [{"text": text, "latex": tex} for text, tex in critic_loss(spec, stage)]
    about["behavior_loss"] = None if loss is None else {"text": loss[0], "latex": loss[1]}
    return about


def rows(dataset: Dataset) -> int:
    """Transitions of a dataset."""
    return len(dataset.transitions.rewards)


def episodes(dataset: Dataset) -> int:
    """Episodes of a dataset."""
    return int(len(set(dataset.transitions.episodes.tolist())))
