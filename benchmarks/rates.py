"""Parts that time updates: peers, cores, specs, growth, shares."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from workers import Job, Missing, Options, Part, Worker, interleave, python_of, ratio, summary

SWEEP = 10
"""Cells of the sweep."""


def shape(options: Options) -> dict[str, Any]:
    """TD3+BC in the published size on a task like hopper; a toy where it must be quick."""
    size = {"batch": 32, "width": 32, "rows": 2000} if options.quick else {"batch": 256, "width": 256, "rows": 100_000}
    return {"kind": "td3_bc", "seeds": 1, "layers": 2, "critics": 2, "obs": 11, "act": 3, **size}


def product(task: dict[str, Any], worker: Worker, kind: str = "forward") -> Job:
    """Products of the shape of a task's hidden layers."""
    sizes = {"batch": task["batch"], "width": task["width"]}
    return Job(f"matrix product, {kind.replace('_', ' ')}", worker, {"product": kind, **sizes})


def peers(options: Options) -> Part:
    """TD3+BC as a spec, as a loop written by hand in JAX, in PyTorch and in d3rlpy, on one core."""
    part, task = Part("TD3+BC beside its peers, one core, one thread"), shape(options)
    with ExitStack() as stack:
        start = lambda *given: stack.enter_context(Worker(given[0], options.one, *given[1:]))  # noqa: E731
        jobs = {}
        for script, name in (("ours", "pogospec"), ("plain_jax", "JAX by hand")):
            for seeds in (1, 5):
                label = f"{name}, {seeds} seed{'s' * (seeds > 1)}"
                jobs[script, seeds] = Job(label, start(script), task | {"seeds": seeds}, seeds)
        in_turn = task | {"seeds": 5, "in_turn": True}
        jobs["in_turn", 5] = Job("JAX by hand, 5 seeds one after another", start("plain_jax"), in_turn, 5)
        for script, peer in (("plain_torch", "torch"), ("d3rlpy_loop", "d3rlpy")):
            try:
                label = "PyTorch by hand" if peer == "torch" else peer
                jobs[script, 1] = Job(label, start(script, python_of(peer, options)), task)
            except Missing as why:
                part.notes.append(f"left out: {why}")
        kinds = ("forward", "input_gradient", "weight_gradient", "bfloat16")
        products = [product(task, start("products"), kind) for kind in kinds]
        interleave([*jobs.values(), *products], options)
    each, peak = jobs["ours", 1].about["operations"], products[0].flops
    for (_, seeds), job in jobs.items():
        job.about.setdefault("operations", each * seeds)
        part.rows.append(job.row(peak))
    part.rows += [job.row() for job in products]
    part.notes.append(f"{each / 1e6:.1f} MFLOP of matrix products an update; updates of all seeds together")
    for seeds in (1, 5):
        hand = [job for (script, count), job in jobs.items() if script in ("plain_jax", "in_turn") and count == seeds]
        best = max(hand, key=lambda job: job.rate)
        part.target(f"pogospec / {best.name}", ratio(jobs["ours", seeds], best), 0.97)
    for script, name, wanted in (("plain_torch", "PyTorch by hand", 1.9), ("d3rlpy_loop", "d3rlpy", 3.0)):
        found = ratio(jobs["ours", 1], jobs[script, 1]) if (script, 1) in jobs else None
        part.target(f"pogospec / {name}", found, wanted)
    return part


def cores(options: Options) -> Part:
    """One program on one core and on all, for one seed, five, and the cells of a sweep."""
    part, task = Part(f"One core and {len(options.cores)}"), shape(options)
    if len(options.cores) < 2:
        part.notes.append("left out: this process may use one core only")
        return part
    with ExitStack() as stack:
        jobs = {}
        for cores in (options.one, options.cores):
            worker, many = stack.enter_context(Worker("ours", cores)), len(cores)
            for seeds in (1, 5):
                name = f"{seeds} seed{'s' * (seeds > 1)}, {many} core{'s' * (many > 1)}"
                jobs[seeds, many] = Job(name, worker, task | {"seeds": seeds}, seeds)
            name = f"a sweep of {SWEEP} cells, {many} core{'s' * (many > 1)}"
            jobs[SWEEP, many] = Job(name, worker, task | {"cells": SWEEP}, SWEEP)
        interleave(list(jobs.values()), options)
    part.rows = [job.row() for job in jobs.values()]
    single, most = jobs[1, 1], len(options.cores)
    part.target(f"one seed, {most} cores / one core", ratio(jobs[1, most], single), 1.8)
    part.target(f"five seeds, {most} cores / one seed, one core", ratio(jobs[5, most], single), 2.0)
    for many in (1, most):
        what = f"cells of a sweep / single cells, {many} core{'s' * (many > 1)}"
        part.target(what, ratio(jobs[SWEEP, many], jobs[1, many]), 0.95)
    part.notes.append("the cells are TD3+BC at different tau in one program, as seeds are; updates of all together")
    return part


def specs(options: Options) -> Part:
    """Every stage of every shipped spec on its own data, on all cores."""
    from pogospec.checking.check import load
    from pogospec.spec.shipped import shipped_specs, spec_name, spec_path

    part = Part("Shipped specs, each stage, all cores")
    names, few = [spec_name(path) for path in shipped_specs()], ("td3_bc", "pogo_w_concurrent", "flows/quadratic_w2")
    names = [name for name in names if name in few] if options.quick else names
    with ExitStack() as stack:
        worker, jobs = stack.enter_context(Worker("ours", options.cores)), []
        for name in names:
            spec, number = load(spec_path(name)), 0
            together = spec.schedule.mode == "concurrent"  # one stage, whatever the number of steps
            for step in spec.schedule.steps[: 1 if together else None]:
                task = {"kind": "spec", "spec": name, "stage": number}
                jobs.append(Job(f"{name} {number}", worker, task, spec.seeds))
                number += step.repeat
        top = product({"batch": 256, "width": 128}, stack.enter_context(Worker("products", options.cores)))
        interleave([*jobs, top], options)
    for job in jobs:
        row = job.row(top.flops)
        kilo = job.about["operations"] / job.seeds / 1e6
        part.rows.append({**row, "name": f"{job.task['spec']}, {job.about['stage']}", "MFLOP": kilo})
    part.rows.append(top.row())
    part.notes.append("on a known energy there are few matrix products, so their rate says little")
    return part


def growth(options: Options) -> Part:
    """How the cost of an update grows with batch, width, critics, seeds and rows of data; on one core."""
    part, task = Part("How an update's cost grows, one core"), shape(options)
    values = {
        "batch": (64, 128, 256, 512, 1024),
        "width": (64, 128, 256, 512, 1024),
        "critics": (1, 2, 4, 8),
        "seeds": (1, 2, 5, 10),
        "rows": (10_000, 100_000, 1_000_000, 2_000_000),
    }
    if options.quick:
        values = {name: tuple(task[name] * k for k in (1, 2)) for name in values}
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(script, options.one)) for script in ("ours", "plain_jax")]
        jobs = {}
        for axis, sizes in values.items():
            for size in sizes:
                for worker, who in zip(workers, ("pogospec", "JAX by hand"), strict=True):
                    given = task | {axis: size}
                    jobs[axis, size, who] = Job(f"{axis} {size}, {who}", worker, given, given["seeds"])
        interleave(list(jobs.values()), options)
    for (axis, size, who), job in jobs.items():
        found = summary([1e3 * job.seeds / rate for rate in job.rates])
        part.rows.append({"name": job.name, "axis": axis, "size": size, "who": who, "ms an update": found})
    part.notes.append("milliseconds of one update of all seeds")
    return part


def shares(options: Options) -> Part:
    """What an update spends beside its networks, and what a policy-only step is charged; on one core."""
    part, task = Part("Where the time of an update goes, one core"), shape(options)
    names = ("sampling", "random_numbers", "optimiser", "targets", "metrics")
    with ExitStack() as stack:
        worker = stack.enter_context(Worker("ours", options.one))
        whole = Job("whole update", worker, task)
        jobs = [Job(name.replace("_", " "), worker, task | {"kind": "part", "part": name}) for name in names]
        alone = Job("a policy-only step", worker, task | {"kind": "policy", "spec": "pogo_w_two_step", "stage": 1})
        top = product(task, stack.enter_context(Worker("products", options.one)))
        interleave([whole, *jobs, alone, top], options)
    total = 0.0
    for job in (whole, *jobs, alone):
        micro = summary([1e6 / rate for rate in job.rates])
        row = {"name": job.name, "µs an update": micro}
        row |= {"share": whole.rate / job.rate} if job is not alone else {}
        part.rows.append(row | {k: v for k, v in job.row(top.flops).items() if "FLOP" in k or "matrix" in k})
        total += whole.rate / job.rate if job in jobs else 0.0
    part.target("sampling, random numbers, optimiser, targets and metrics, share", total, 0.10, most=True)
    charged = alone.about["operations"] / alone.about["own"]
    part.target("operations of a policy-only step / its own", charged, 1.0, most=True)
    part.notes.append("each part runs in a loop of its own, where it may fuse with less than in the whole")
    return part


def rows(options: Options) -> Part:
    """Updates with rows in a file, read ahead, beside those with rows in memory; on one core and on all."""
    part, task = Part("Rows in memory and rows in a file"), shape(options)
    task |= {"kind": "rows", "folder": str(options.folder), "rows": 4000 if options.quick else 2_000_000}
    with ExitStack() as stack:
        jobs = {}
        for cores in dict.fromkeys((options.one, options.cores)):
            worker, many = stack.enter_context(Worker("ours", cores)), len(cores)
            for seeds in (1, 5):
                for where in ("memory", "disk"):
                    label = f"{where}, {seeds} seed{'s' * (seeds > 1)}, {many} core{'s' * (many > 1)}"
                    jobs[where, seeds, many] = Job(label, worker, task | {"seeds": seeds, "rows_in": where}, seeds)
        interleave(list(jobs.values()), options)
    part.rows = [job.row() for job in jobs.values()]
    for where, seeds, many in jobs:
        if where == "disk":
            what = f"disk / memory, {seeds} seed{'s' * (seeds > 1)}, {many} core{'s' * (many > 1)}"
            part.target(what, ratio(jobs["disk", seeds, many], jobs["memory", seeds, many]), 0.9)
    part.notes.append(
        "seconds are of the loop of a run, with whatever it waits for; the file may be in the system's cache"
    )
    return part


PARTS = {function.__name__: function for function in (peers, cores, specs, growth, shares, rows)}
