"""A worker: what specs compile to. Tasks: td3_bc (a shape), spec (shipped), sweep, part, memory, device, rows."""

from __future__ import annotations

from protocol import clock, serve  # isort: skip  # pins the process
import dataclasses
import resource
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import made
import numpy as np
import parts

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.critics.clipped_double_q import ClippedDoubleQ
from pogospec.data import load_for, stored
from pogospec.data.arrays import identity_normalizer
from pogospec.data.columns import Columns
from pogospec.data.logged import Logged
from pogospec.data.used import use
from pogospec.explain.costs.operations import _products, intermediates, operations
from pogospec.nets import ensemble
from pogospec.runs import cache
from pogospec.spec.shipped import spec_path
from pogospec.training.batching import Batching, a_device_for_each_core
from pogospec.training.cells import Cells
from pogospec.training.chunk import as_floats, chunk_function, precision
from pogospec.training.place import Place
from pogospec.training.programs import Programs
from pogospec.types import Space, Transitions


class Several(ClippedDoubleQ):
    """The clipped critic with another number of networks."""

    count: int = 2

    def init(self, key, space):
        """So many networks, stacked."""
        return ensemble(key, self.count, space.obs_dim + space.act_dim, self.hidden, 1)


def shaped(task, name="td3_bc"):
    """A spec with the networks, batch and critics of a task, and data made up in its shape."""
    hidden = str([task["width"]] * task["layers"])
    given = {"policy.hidden": hidden, "critic.hidden": hidden, "train.batch_size": str(task["batch"])}
    changes = map(tuple, task.get("changes", ()))
    spec = load(spec_path(name), [*given.items(), ("seeds", str(task["seeds"])), *changes])
    if task["critics"] != 2:
        fields = {field.name: getattr(spec.critic, field.name) for field in dataclasses.fields(spec.critic)}
        spec = dataclasses.replace(spec, critic=Several(**fields, count=task["critics"]))
    columns = made.hopper(task["rows"], task["obs"], task["act"])
    ends = columns["truncated"]
    more = {
        "next_actions": np.roll(columns["actions"], -1, 0),
        "next_action_valid": 1 - ends,
        "episodes": (np.cumsum(ends) - ends).astype(np.int32),
    }
    bounds = (-1.0,) * task["act"], (1.0,) * task["act"]
    return spec, Transitions(**columns, **more), Space(task["obs"], task["act"], *bounds)


class Made:
    """A stage of a spec, ready to run."""

    def __init__(self, spec, transitions, space, number: int, cells: int = 0):
        self.spec, self.program = spec, compile_spec(spec, space)
        self.stage, self.number = self.program.stages[number], number
        seeds = cells or spec.seeds
        batching = Batching.of(spec.train.batch_runs, seeds)
        self.data = batching.shared(jax.tree.map(as_floats, transitions))
        self.roots = batching.own(jax.vmap(jax.random.key)(jnp.arange(seeds)))
        self.numbers = self.program.numbers_of(number)
        if cells:  # each with a tau of its own
            self.numbers = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (cells, *leaf.shape)), self.numbers)
            scale = jnp.linspace(0.5, 2.0, cells)
            where = lambda n: [term.tau for term in n[self.stage.source].problem.proximal]  # noqa: E731
            self.numbers = eqx.tree_at(where, self.numbers, replace_fn=scale.__mul__)
        with clock() as self.beginning:
            self.state = batching.own(jax.block_until_ready(self._entered()))
        self.numbers = batching.own(self.numbers) if cells else batching.shared(self.numbers)
        self.chunk = chunk_function(self.stage, spec.train.batch_size, 0 if cells else None, batching, donate=True)
        self.done = 0

    def _entered(self):
        stages = dict.fromkeys(stage.source for stage in self.program.stages[: self.number + 1])

        def begin(roots, data):
            state = jax.vmap(self.program.init, in_axes=(None, 0))(self.program.numbers, roots)
            for source in stages:
                enter = jax.vmap(self.program.stages[source].enter, in_axes=(None, 0, None, 0))
                state = enter(self.program.numbers_of(source), state, data, roots)
            return state

        return jax.jit(begin)(self.roots, self.data)

    def compiled(self):
        """The program of a chunk, and the seconds that it took."""
        with clock() as spent:
            program = self.chunk.lower(self.numbers, self.data, self.state, self.roots, 0, 1).compile()
        return program, spent[0]

    def run(self, program, updates: int) -> float:
        """Seconds of so many updates."""
        with precision(self.spec), clock() as spent:
            stop = self.done + updates
            self.state, *_ = program(self.numbers, self.data, self.state, self.roots, self.done, stop)
            jax.block_until_ready(self.state)
        self.done = stop
        return spent[0]


def stage_of(task) -> Made:
    """The stage that a task names: of a shipped spec on its own data, or on data made up in the shape of a task."""
    if task["kind"] != "spec":
        return Made(*shaped(task, task.get("spec", "td3_bc")), task.get("stage", 0), task.get("cells", 0))
    spec = load(spec_path(task["spec"]))
    with precision(spec):
        dataset = load_for(spec)
        return Made(spec, dataset.transitions, dataset.space, task["stage"])


class Trained:
    """The loop of a run around a stage, with rows in memory or in a file, which is read ahead of the updates."""

    def __init__(self, task):
        self.spec, transitions, space = shaped(task)
        batching = Batching.of(self.spec.train.batch_runs, self.spec.seed_count)
        held = jax.tree.map(lambda column: as_floats(column[:64]), transitions)
        unwritten: Any = [None]
        cells = Cells([self.spec], unwritten, space, identity_normalizer(space.obs_dim), held, batching)
        data = _in_file(task, space, self.spec) if task["rows_in"] == "disk" else None
        data = batching.shared(jax.tree.map(as_floats, transitions)) if data is None else data
        self.programs, self.place = Programs(self.spec, cells, data), Place.fresh(self.spec.seed_count)
        self.state = self.programs.enter(0, self.programs.fresh(), self.place)

    def prepare(self):
        """What is known, and how to run updates."""
        with clock() as spent:
            self.run(1)
        stage, seeds = self.programs.stages[0], self.spec.seed_count
        counts = operations(self.spec, self.programs.cells.space)
        return {"compile": spent[0], "stage": stage.label, "seeds": seeds, "operations": seeds * counts[0]}, self.run

    def run(self, updates: int) -> float:
        """Seconds of so many updates, with whatever they wait for."""
        with clock() as spent:
            stop = self.place.done + updates
            self.state = self.programs.run(self.place, self.state, stop).state
        self.place.done = stop
        return spent[0]


def _in_file(task, space, spec):
    """The made-up data in a file, which is made once."""
    folder = Path(task["folder"]) / f"rows-{task['rows']}-{task['obs']}-{task['act']}"
    about = folder / "episodes"
    if not about.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        columns = made.hopper(task["rows"], task["obs"], task["act"])
        columns |= {name: columns[name] > 0 for name in ("terminated", "truncated")}
        logged = Logged("made", Columns(**columns), space.low, space.high, "", None, "", folder, None)
        about.write_text(str(stored.write(logged, folder / stored.ROWS)))
    return use(stored.Stored(folder / stored.ROWS, int(about.read_text())), spec.data)[0]


def prepare(task):
    """Compile; what is known of a task, and how to run updates."""
    cache.enable()
    if task["kind"] == "rows":
        return Trained(task).prepare()
    made = stage_of(task)
    if task["kind"] == "part":
        return parts.prepare(made, task["part"])
    with precision(made.spec):
        program, compiling = made.compiled()
        counts = operations(made.spec, made.program.space)
        seeds = len(made.roots)
        about = {"compile": compiling, "begin": made.beginning[0], "stage": made.stage.label, "seeds": seeds}
        about |= {"operations": seeds * counts[made.number], "jax": jax.__version__}
        about |= memory(made, program) if task["kind"] == "memory" else {}
        about |= {"own": own_operations(made)} if task["kind"] == "policy" else {}
        about |= most_taken(made, program) if task["kind"] == "device" else {}
    return about, lambda updates: made.run(program, updates)


def own_operations(made: Made) -> float:
    """Operations of the gradient of the policy alone."""
    batch, state, root = one(made)
    jaxpr = jax.make_jaxpr(made.stage.actor_gradient)(made.numbers, state, batch, root)
    return sum(_products(jaxpr.jaxpr, 1.0))


def one(made: Made):
    """A batch, and the state and the key of the first seed."""
    batch = jax.tree.map(lambda column: column[: made.spec.train.batch_size], made.data)
    return batch, *jax.tree.map(lambda leaf: leaf[0], (made.state, made.roots))


def memory(made: Made, program) -> dict:
    """Bytes that a chunk takes by the compiler's account, and by what its arrays and activations have to take."""
    about = program.memory_analysis()
    taken = about.argument_size_in_bytes + about.output_size_in_bytes - about.alias_size_in_bytes
    batch, state, root = one(made)
    update = jax.make_jaxpr(made.stage.update)(made.numbers, state, batch, root, jnp.int32(0))
    activations = len(made.roots) * intermediates(update.jaxpr)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made.run(program, 20)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "taken": taken + about.temp_size_in_bytes,
        "state": size(made.state),
        "data": size(made.data),
        "activations": activations,
        "resident_growth": 1024 * grown,
    }


def most_taken(made: Made, program) -> dict:
    """Bytes that were taken at most, by the device where it tells, else by the compiler's account; and the device."""
    made.run(program, 20)
    device, about = jax.devices()[0], program.memory_analysis()
    stats = device.memory_stats() or {}
    taken = about.argument_size_in_bytes + about.output_size_in_bytes - about.alias_size_in_bytes
    by_compiler = {"peak": taken + about.temp_size_in_bytes, "peak_by": "the compiler's account"}
    by_device = {"peak": stats.get("peak_bytes_in_use"), "peak_by": "the device"}
    return {"device": device.device_kind} | (by_device if by_device["peak"] else by_compiler)


def size(tree) -> int:
    """Bytes of all arrays."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


if __name__ == "__main__":
    a_device_for_each_core()
    serve(prepare)
