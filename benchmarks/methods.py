"""Parts that time what single methods are made of: fql, edac, sampled, chain."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from rates import product, shape
from workers import Job, Options, Part, Worker, interleave, ratio, summary

NEVER = 1_000_000
"""So many updates between two of the policy that there is none."""


def sizes(options: Options, *published: tuple[int, int]) -> list[tuple[int, int]]:
    """Widths and numbers of hidden layers; a toy where it must be quick."""
    return [(32, 2)] if options.quick else list(published)


def of_spec(options: Options, spec: str, width: int, layers: int, **changes: Any) -> dict[str, Any]:
    """The first stage of a shipped spec in a shape; changes are by paths, whose dots are written as __."""
    task = shape(options) | {"spec": spec, "width": width, "layers": layers}
    return task | {"changes": [[path.replace("__", "."), str(value)] for path, value in changes.items()]}


def milli(job: Job) -> dict[str, Any]:
    """Milliseconds of an update."""
    return summary([1e3 * job.seeds / rate for rate in job.rates])


def fql(options: Options) -> Part:
    """FQL as a spec beside the same by hand in JAX, one core."""
    part = Part("FQL beside a loop by hand, one core, one thread")
    with ExitStack() as stack:
        ours, hand = (stack.enter_context(Worker(script, options.one)) for script in ("ours", "plain_fql"))
        top = stack.enter_context(Worker("products", options.one))
        for width, layers in sizes(options, (128, 3), (512, 4)):
            task = of_spec(options, "fql", width, layers, behavior__hidden=[width] * layers)
            what = f"{width} x {layers}"
            jobs = [Job(f"pogospec, {what}", ours, task)]
            for noises, how in ((2, "the same"), (1, "one noise for Q and distance")):
                jobs.append(Job(f"JAX by hand, {how}, {what}", hand, task | {"noises": noises}))
            rate = product(task, top)
            rate.name += f", {width}"
            interleave([*jobs, rate], options)
            jobs[1].about["operations"] = jobs[0].about["operations"]
            part.rows += [job.row(rate.flops) for job in jobs]
            part.target(f"pogospec / JAX by hand, {what}", ratio(jobs[0], jobs[1]), 0.97)
            found = ratio(jobs[1], jobs[2])
            part.notes.append(f"{what}: two noises instead of the authors' one, both by hand: {found:.3f} of the rate")
    return part


def edac(options: Options) -> Part:
    """EDAC and SAC-N with 10 and 50 critics, beside what operations say, one core."""
    part, counts = Part("Growth with the critics of an ensemble, one core"), (2, 4) if options.quick else (10, 50)
    ((width, layers),) = sizes(options, (256, 3))
    with ExitStack() as stack:
        worker, jobs = stack.enter_context(Worker("ours", options.one)), {}
        for spec in ("edac", "sac_n"):
            for count in counts:
                task = of_spec(options, spec, width, layers, critic__members=count)
                jobs[spec, count] = Job(f"{spec}, {count} critics", worker, task)
        interleave(list(jobs.values()), options)
    _grown(part, jobs, counts)
    return part


def chain(options: Options) -> Part:
    """Policies that train at once beside one critic: one, two and four, beside what operations say, one core."""
    part, counts = Part("Growth with the policies of a chain, one core"), (1, 2, 4)
    ((width, layers),) = sizes(options, (256, 2))
    with ExitStack() as stack:
        worker, jobs = stack.enter_context(Worker("ours", options.one)), {}
        for count in counts:
            spec, more = (
                ("pogo_w_concurrent", {"schedule__steps[1]__repeat": count - 1}) if count > 1 else ("pogo_w", {})
            )
            task = of_spec(options, spec, width, layers, behavior__hidden=[width] * layers, **more)
            jobs["chain", count] = Job(f"policies at once: {count}", worker, task)
        interleave(list(jobs.values()), options)
    _grown(part, jobs, counts)
    return part


def _grown(part: Part, jobs: dict[tuple[str, int], Job], counts: tuple[int, ...]) -> None:
    """Rows of jobs, and how the time of an update grows beside its operations."""
    for job in jobs.values():
        part.rows.append(job.row() | {"ms an update": milli(job), "MFLOP": job.about["operations"] / 1e6})
    few, *_, many = counts
    for name in dict.fromkeys(name for name, _ in jobs):
        first, last = jobs[name, few], jobs[name, many]
        operations = last.about["operations"] / first.about["operations"]
        part.notes.append(f"{name}: {operations:.2f} times the operations, {ratio(first, last):.2f} times the time")
        part.target(f"{name}: growth of time / of operations", ratio(first, last) / operations, 1.05, most=True)


def sampled(options: Options) -> Part:
    """What geometries by samples and the steps of a flow cost beside critic and behaviour, one core."""
    from pogospec.spec.catalog import kinds_of

    part = Part("Geometries by samples and steps of a flow, one core")
    ((width, layers),) = sizes(options, (256, 3))
    hidden = [width] * layers
    plain = {"behavior": {"kind": "transport_map", "hidden": hidden}, "schedule__steps[0]__order": "critic_first"}
    with ExitStack() as stack:
        worker = stack.enter_context(Worker("ours", options.one))

        def job(name: str, **changes: Any) -> Job:
            return Job(name, worker, of_spec(options, "fql", width, layers, **plain | changes))

        base = job("critic and behaviour alone", **{"schedule__steps[0]__actor_every": NEVER})
        # without a proximal term, so that what is added is the distance
        free = {f"schedule__steps[0]__{key}": "null" for key in ("from", "tau")}
        policy = job("with the policy, no distance", **free)
        jobs = [job("wasserstein2, shared noise")]
        kinds = [kind for kind, cls in kinds_of("geometry").items() if cls.by_samples]
        jobs += [job(f"{kind}, default keys", geometry=f"{{kind: {kind}}}") for kind in kinds]
        if "sinkhorn" in kinds:
            jobs.append(job("sinkhorn, as in PORL", geometry="{kind: sinkhorn, samples: 4, debiased: false}"))
        for steps in (1, 10):
            flow = {"behavior": {"kind": "flow_matching", "hidden": hidden, "steps": steps}}
            name = f"wasserstein2, shared noise, a flow of {steps} step{'s' * (steps > 1)}"
            jobs.append(job(name, **flow))
        interleave([base, policy, *jobs], options)
    for one in (base, policy, *jobs):
        more = 1 / ratio(one, base) if one is not base else 1.0
        row = one.row() | {"ms an update": milli(one), "MFLOP": one.about["operations"] / 1e6}
        part.rows.append(row | {"of critic and behaviour": more})
    part.notes.append("loops whose length the data decide, as Sinkhorn's, count once in MFLOP")
    return part


PARTS = {function.__name__: function for function in (fql, edac, sampled, chain)}
