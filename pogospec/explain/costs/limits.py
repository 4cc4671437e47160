"""What a run needs at least, and what this machine has: what cannot fit is refused before anything is made."""

from __future__ import annotations

import contextlib
import math
import os
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from pogospec.compiler.compile import compile_spec
from pogospec.compiler.program import State
from pogospec.errors import TooLargeError
from pogospec.explain.costs.operations import batch_shapes
from pogospec.explain.costs.sizes import NETWORKS, bytes_of, bytes_of_data
from pogospec.spec.schema import Spec
from pogospec.training.batching import Batching
from pogospec.training.chunk import precision
from pogospec.types import Dataset, Space

ENVIRONMENT = 10_000
"""Bytes that an environment takes, at the very least; those of MuJoCo take some hundred times as many."""
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container says how much it may take."""
Needs = dict[str, int]
"""Bytes by what they are for."""


def require_memory(specs: Sequence[Spec], space: Space, dataset: Dataset | None = None) -> None:
    """Raise TooLargeError where specs that train in one program need more memory than this machine has.

    Counted is what they need for certain, not what they will take.
    """
    runs = specs[0].seed_count * len(specs)
    with precision(specs[0]):
        device, host = _on_device(specs[0], space, runs), _on_host(specs[0], runs, dataset)
    own = _of_device()
    if own is None:
        _require({**device, **host}, _of_host(), "this machine")
    else:
        _require(device, own, str(jax.local_devices()[0]))
        _require(host, _of_host(), "this machine")


def _on_device(spec: Spec, space: Space, runs: int) -> Needs:
    program, batch = compile_spec(spec, space), batch_shapes(space, spec.train.batch_size)
    states, key = [jax.eval_shape(program.init, program.numbers, jax.random.key(0))], jax.random.key(0)
    for stage in (stage for index, stage in enumerate(program.stages) if stage.source == index):
        states.append(jax.eval_shape(stage.enter, program.numbers, states[-1], batch, key))
    batching = Batching.of(spec.train.batch_runs, runs)
    at_once = min(len(batching.devices), runs) if batching.in_turn else runs
    rows = f"{spec.train.batch_size:,} rows" + f" of {at_once:,} seeds at once" * (at_once > 1)
    return {
        f"networks and optimisers of {_runs(runs)}, held twice": 2 * runs * max(map(bytes_of, states)),
        f"a minibatch of {rows}": at_once * bytes_of(batch),
        f"the outputs of the widest layer, {rows}": at_once * spec.train.batch_size * max(map(_widest, states)),
    }


def _widest(state: State) -> int:
    """Bytes of the outputs of the widest layer of any network, of one row."""
    weights = [leaf for leaf in jax.tree.leaves([getattr(state, name) for name in NETWORKS]) if leaf.ndim >= 2]
    return max((math.prod(leaf.shape[:-1]) * leaf.dtype.itemsize for leaf in weights), default=0)


def _on_host(spec: Spec, runs: int, dataset: Dataset | None) -> Needs:
    needs: Needs = {}
    if dataset is not None:
        needs["data"] = bytes_of_data(spec, dataset, runs)
    if dataset is None or dataset.environment is not None:
        count = spec.evaluate.episodes * runs
        needs[f"environments, {spec.evaluate.episodes:,} episodes of {_runs(runs)}"] = count * ENVIRONMENT
    return needs


def _runs(runs: int) -> str:
    return "1 seed" if runs == 1 else f"{runs:,} seeds"


def _require(needs: Needs, there: int | None, where: str) -> None:
    total = sum(needs.values())
    if there is None or total <= there:
        return
    parts = ", ".join(f"{bytes_text(size)} for {name}" for name, size in needs.items() if size > total / 1000)
    raise TooLargeError(
        f"the run needs {bytes_text(total)} of memory at least, and {where} has {bytes_text(there)}: {parts}; take "
        "narrower networks, a smaller train.batch_size, or fewer seeds or evaluate.episodes"
    )


def _of_device() -> int | None:
    """Bytes of the device that computes; None where it has no memory of its own."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return None
    return (device.memory_stats() or {}).get("bytes_limit")


def _of_host() -> int | None:
    """Bytes that this process may have; None where the system does not say."""
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            yield int(Path(file).read_text())
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft


def bytes_text(count: int) -> str:
    """A number of bytes for people."""
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:.0f} kB" if count >= 1e4 else f"{count:,} bytes"
