"""The part `gpu`: published sizes on one device, one to sixty-four seeds at once: time, memory, share of the peak."""

from __future__ import annotations

import sys
from typing import Any

from workers import Job, Missing, Options, Part, Worker, summary

METHODS = {
    "td3_bc": (0, 2),
    "pogo_w_two_step": (0, 2),
    "pogo_w_two_step, step 2": (1, 2),
    "iql": (0, 2),
    "rebrac": (0, 3),
}
"""Shipped specs: the stage, and hidden layers as published, of 256 units."""
BATCHES, SEEDS, WIDTH = (256, 1024), (1, 4, 16, 64), 256
SQUARE = 4096
"""Rows and columns of the product that the peak is measured by."""


def gpu(options: Options) -> Part:
    """TD3+BC, POGO-W two-step, IQL and ReBRAC on one device, 1 to 64 seeds at once; not among the default parts."""
    batches, seeds = ((32,), (2,)) if options.quick else (BATCHES, SEEDS)
    part = Part(f"{'Toy' if options.quick else 'Published'} sizes on one device")
    peak, how = _peak(options)
    for name, (stage, layers) in METHODS.items():
        for batch in batches:
            for count in seeds:
                print(f"{name}, batch {batch}, {count} seeds", file=sys.stderr)
                task = _task(options, name.partition(",")[0], stage, layers, batch, count)
                try:
                    part.rows.append(_measured(options, f"{name}, batch {batch}", task, count, peak))
                except Missing as why:
                    part.notes.append(f"{name}, batch {batch}, {count} seeds left out: {why}")
    devices = {row["device"] for row in part.rows}
    part.title += f": {', '.join(sorted(devices)) or 'none'}"
    part.notes.append(f"peak: {peak / 1e12:.3g} TFLOP/s, {how}; operations are those of matrix products")
    part.notes.append("each row in a process of its own; seeds side by side; float32 as the device multiplies it")
    accounts = sorted({row["memory by"] for row in part.rows})
    part.notes.append(f"memory: the most that was taken, by {' and '.join(accounts) or 'nobody'}")
    return part


def _task(options: Options, spec: str, stage: int, layers: int, batch: int, seeds: int) -> dict[str, Any]:
    width = 32 if options.quick else WIDTH
    changes = [["train.batch_runs", "vmap"]]
    if spec.startswith("pogo"):
        changes.append(["behavior.hidden", str([width] * layers)])
    shape = {"obs": 11, "act": 3, "rows": 2000 if options.quick else 1_000_000, "critics": 2}
    shape |= {"batch": batch, "width": width, "layers": layers}
    return shape | {"kind": "device", "spec": spec, "stage": stage, "seeds": seeds, "changes": changes}


def _measured(options: Options, name: str, task: dict[str, Any], seeds: int, peak: float) -> dict[str, Any]:
    with Worker("ours", options.cores) as worker:
        job = Job(name, worker, task, seeds)
        job.prepare(options.slice)
        for _ in range(options.rounds):
            job.time()
    assert job.flops is not None
    return {
        "name": f"{name}, {seeds} seed{'s' * (seeds > 1)}",
        "updates/s": summary([rate / seeds for rate in job.rates]),
        "of all seeds": summary(job.rates),
        "compile s": job.about["compile"],
        "memory MB": job.about["peak"] / 1e6,
        "of the peak": job.flops / peak,
        "device": job.about["device"],
        "memory by": job.about["peak_by"],
    }


def _peak(options: Options) -> tuple[float, str]:
    """Operations a second that count as all, and where the number is from."""
    if options.peak is not None:
        return 1e12 * options.peak, "as --peak says"
    size = 256 if options.quick else SQUARE
    with Worker("products", options.cores) as worker:
        job = Job("square product", worker, {"product": "forward", "batch": size, "width": size})
        job.prepare(options.slice)
        for _ in range(options.rounds):
            job.time()
    assert job.flops is not None
    return job.flops, f"measured by products of {size} x {size} in the same float32"


PARTS = {"gpu": gpu}
