"""How the runs of one program are laid out: side by side, one after another, over devices, over processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pogospec.training import hosts

RUNS = "runs"


class Batching:
    """How the runs of one program are computed: `vmap`, `map` or `shard`.

    vmap: side by side, on one device. map: one after another, each as if it were alone, bit for bit. shard: over the
    devices of this host; on each of them one after another where it is a processor's core, else side by side, and then
    over as many devices as divide the number of runs. Of several processes each computes a share of the runs so.
    """

    def __init__(self, kind: str, runs: int = 1, apart: bool = True):
        self.kind, self.runs, devices = kind, runs, jax.local_devices()
        self.here = None
        if apart and kind == "shard" and hosts.count() > 1:
            own = hosts.rows(runs)
            self.here = Batching(kind, max(1, own.stop - own.start), apart=False)
            self.in_turn, self.devices = self.here.in_turn, self.here.devices
            return
        on_cores = devices[0].platform == "cpu"
        self.in_turn = kind == "map" or (kind == "shard" and on_cores)
        allowed = [n for n in range(1, len(devices) + 1) if n <= runs and (on_cores or runs % n == 0)]
        self.devices = devices[: max(allowed) if kind == "shard" else 1]
        mesh = Mesh(np.asarray(self.devices), (RUNS,))
        self.everywhere = NamedSharding(mesh, PartitionSpec())
        self.apart = NamedSharding(mesh, PartitionSpec(RUNS))
        self.rows = self.apart if runs % len(self.devices) == 0 else self.everywhere

    @classmethod
    def of(cls, kind: str, runs: int) -> Batching:
        """What a spec asks for; `auto`: over devices where there are several, else what is faster on the device."""
        if kind == "auto":
            alone = "map" if jax.default_backend() == "cpu" else "vmap"
            several = len(jax.local_devices()) > 1 or hosts.count() > 1
            kind = "shard" if several and runs > 1 else alone
        return cls(kind, runs)

    def over(self, function: Callable, axes: tuple[int | None, ...]) -> Callable:
        """A function of runs from that of one; `axes` says which arguments have a row for each run (0)."""
        if not self.in_turn:
            return jax.vmap(function, in_axes=axes)

        def each(*arguments):
            def one(rows):
                left = iter(rows)
                both = zip(arguments, axes, strict=True)
                return function(*(next(left) if axis == 0 else argument for argument, axis in both))

            return jax.lax.map(one, [argument for argument, axis in zip(arguments, axes, strict=True) if axis == 0])

        return each

    def jit(self, function: Callable, axes: tuple[int | None, ...], donate: tuple[int, ...] = ()) -> Callable:
        """The same, jitted, its arguments and results laid out over the devices; results take what is donated."""
        if self.here is not None:
            return Apart(self.here.jit(function, axes, donate), self, axes)
        if self.kind != "shard":
            return jax.jit(_named(self.over(function, axes), function), donate_argnums=donate)
        even = self.rows is self.apart
        if not even:
            function, axes = _guarded(function), (0, *axes)
            donate = tuple(number + 1 for number in donate)
        places = tuple(self.apart if axis == 0 else self.everywhere for axis in axes)
        spread = jax.shard_map(
            self.over(function, axes),
            mesh=self.apart.mesh,
            in_specs=tuple(place.spec for place in places),
            out_specs=self.apart.spec,
            check_vma=False,
        )
        program = jax.jit(
            _named(spread, function), in_shardings=places, out_shardings=self.apart, donate_argnums=donate
        )
        return program if even else Uneven(program, self, axes[1:])

    def shared(self, tree: Any) -> Any:
        """Arrays that all runs read, where the program expects them; the cores of a processor share their memory."""
        if self.here is not None:
            return self.here.shared(tree)
        if self.kind != "shard":
            return tree
        if self.in_turn:
            tree = jax.tree.map(np.asarray, tree)
        return jax.device_put(tree, self.everywhere)

    def own(self, tree: Any) -> Any:
        """Arrays with a row for each run, where the program expects them."""
        if self.here is not None:
            return tree
        return jax.device_put(tree, self.rows) if self.kind == "shard" else tree

    def ahead(self, tree: Any) -> Any:
        """The same, sent there before the program is called, where its rows come out even."""
        if self.here is not None:
            return tree
        if self.kind == "shard":
            return tree if self.rows is self.everywhere else jax.device_put(tree, self.apart)
        return jax.device_put(tree, self.devices[0])


@dataclass(frozen=True)
class Uneven:
    """A program of runs that do not come out even over the devices, some of which compute one less.

    Rows are added and cut off outside of it: inside, devices would have to exchange them, and XLA ends a process in
    which one waits long for another.
    """

    program: Any  # jitted, lowered or compiled; of whether each row is a run, and the arguments
    batching: Batching
    axes: tuple[int | None, ...]

    def __call__(self, *arguments: Any) -> Any:
        """The results of all runs, a row each."""
        live, *filled = self._filled(arguments)
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(filled)):
            return jax.tree.map(lambda leaf: leaf[: self.batching.runs], self.program(live, *filled))
        both = zip(filled, self.axes, strict=True)
        placed = [jax.device_put(given, self.batching.apart) if axis == 0 else given for given, axis in both]
        found = self.program(jax.device_put(live, self.batching.apart), *placed)
        return jax.tree.map(lambda leaf: self.batching.own(np.asarray(leaf)[: self.batching.runs]), found)

    def lower(self, *arguments: Any) -> Uneven:
        """As jitted functions have it."""
        rows = [given if axis == 0 else None for given, axis in zip(arguments, self.axes, strict=True)]
        live, *shapes = jax.eval_shape(lambda *rows: self._filled(rows), *rows)
        both = zip(arguments, shapes, self.axes, strict=True)
        filled = [shape if axis == 0 else given for given, shape, axis in both]
        return replace(self, program=self.program.lower(live, *filled))

    def compile(self) -> Uneven:
        """As what is lowered has it."""
        return replace(self, program=self.program.compile())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)

    def _filled(self, arguments: Sequence[Any]) -> list[Any]:
        """Which rows are runs, and the arguments with as many rows on each device; the last run fills them up."""
        runs, devices = self.batching.runs, len(self.batching.devices)
        every = np.arange(-(-runs // devices) * devices)
        rows = np.minimum(every, runs - 1)
        both = zip(arguments, self.axes, strict=True)
        filled = [jax.tree.map(lambda leaf: leaf[rows], given) if axis == 0 else given for given, axis in both]
        return [every < runs, *filled]


@dataclass(frozen=True)
class Apart:
    """A program of runs of which each process computes its own; all get the results of all.

    There is no exchange inside of it, so that each run is what it would be in one process. A process without a run
    computes one that others have, too.
    """

    program: Any  # of the runs of this process: jitted, lowered or compiled
    batching: Batching
    axes: tuple[int | None, ...]

    def __call__(self, *arguments: Any) -> Any:
        """The results of all runs, a row each."""
        runs, here = self.batching.runs, self.batching.here
        assert here is not None
        own = self._own(arguments)
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(own)):  # somebody asks for shapes
            found = self.program(*own)
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], (runs, *leaf.shape[1:])), found)
        placed = [here.own(given) if axis == 0 else given for given, axis in zip(own, self.axes, strict=True)]
        leaves, structure = jax.tree.flatten(self.program(*placed))
        return jax.tree.unflatten(structure, map(jnp.asarray, hosts.rows_of_all([*map(np.asarray, leaves)], runs)))

    def lower(self, *arguments: Any) -> Apart:
        """As jitted functions have it."""
        shape = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)  # noqa: E731 - without where it lies now
        both = zip(arguments, self.axes, strict=True)
        shapes = [jax.tree.map(shape, given) if axis == 0 else given for given, axis in both]
        return replace(self, program=self.program.lower(*self._own(shapes)))

    def compile(self) -> Apart:
        """As what is lowered has it."""
        return replace(self, program=self.program.compile())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)

    def _own(self, arguments: Sequence[Any]) -> list[Any]:
        """The arguments of the runs of this process."""
        rows = hosts.rows(self.batching.runs)
        rows = rows if rows.stop > rows.start else slice(0, 1)

        def cut(leaf: Any) -> Any:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct((rows.stop - rows.start, *leaf.shape[1:]), leaf.dtype)
            return leaf[rows]

        both = zip(arguments, self.axes, strict=True)
        return [jax.tree.map(cut, given) if axis == 0 else given for given, axis in both]


def _guarded(function: Callable) -> Callable:
    """A function of whether a row is a run, and the arguments; zeros where it is none."""

    def guarded(live, *arguments):
        return jax.lax.cond(live, lambda: function(*arguments), lambda: _zeros(function, arguments))

    guarded.__name__ = getattr(function, "__name__", "program")
    return guarded


def _named(program: Callable, function: Callable) -> Callable:
    """A program that profiles and the cache of compiled ones call what it is."""

    def named(*arguments):
        return program(*arguments)

    named.__name__ = getattr(function, "__name__", "program")
    return named


def _zeros(function: Callable, arguments: tuple) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, *arguments))


def a_device_for_each_core(cores: int | None = None) -> None:
    """Let JAX see each core that this process may use as a device, so that runs can be spread over them.

    `cores`: how many it may use, where the system does not tell.

    Changes nothing once JAX has looked for its devices, nor where the user has said their number.
    """
    said = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if said or jax.config.jax_num_cpu_devices >= 0:  # type: ignore[attr-defined]
        return
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # JAX has looked
        jax.config.update("jax_num_cpu_devices", cores or 1)
