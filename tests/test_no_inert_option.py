"""Every field of every shipped spec changes something: data, networks, an update, the schedule or the evaluation."""

import dataclasses
import functools
import hashlib
import itertools
import re
import typing
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters.partial_eval import dce_jaxpr

from pogospec import train
from pogospec.check import checked
from pogospec.compile import compile_spec
from pogospec.data.arrays import from_episodes
from pogospec.errors import SpecError
from pogospec.policies.heads import SharedStd
from pogospec.runs import RunDirectory
from pogospec.spec.build import fields_of, split, to_plain
from pogospec.spec.fields import Slot, Within
from pogospec.spec.resolve import read
from pogospec.types import Batch, Dataset, Space

SHIPPED = sorted((Path(__file__).parents[1] / "specs").glob("*.yaml"))
SPACE = Space(3, 2, (-1.0, -2.0), (1.0, 2.0))
SMALL = [(f"{slot}.hidden", "[6, 5]") for slot in ("policy", "behavior", "critic")]
QUIET = [("schedule.steps[*].updates", "6"), ("evaluate.every", "3"), ("train.log_every", "5")]
QUIET += [("train.checkpoint_every", "4"), ("train.batch_size", "7"), ("evaluate.episodes", "2")]
TEXT = {"name", "about"}
LEARNERS = ("critic", "behavior", "policy")
EXTRA = {
    "tanh with entropy": ("kl_brac", [("energy.entropy.weight", "0.1")]),
    "shared std": ("pogo_fr_two_step", [("policy.std", "shared"), ("geometry", "{kl: {}, wasserstein2: {}}")]),
    "sampled": ("pogo_w_two_step", [("energy.q.actions", "{sample: 2}"), ("energy.action_norm.weight", "0.2")]),
    "settled scale": ("pogo_w_two_step", [("schedule.steps[1].energy.q.scale", "step")]),
    "long form": (
        "td3_bc",
        [("schedule.steps[0].from", "null"), ("schedule.steps[0].proximal", "[{reference: data}]")],
    ),
    "repeated": (
        "pogo_w_two_step",
        [
            ("schedule.steps[1].repeat", "2"),
            ("schedule.steps[1].tau", "{kind: geometric, start: 2, factor: 2}"),
            ("optimizer.policy.decay", "cosine"),
            ("schedule.steps[1].optimizer_state", "keep"),
        ],
    ),
}


def episodes():
    rng = np.random.default_rng(0)
    for length in (9, 12, 8):
        actions = np.clip(1.2 * rng.normal(size=(length, 2)), -1, 1) * [1.0, 2.0]
        ends = np.zeros(length, bool)
        ends[-1] = length != 12
        yield rng.normal(size=(length + 1, 3)), actions, rng.normal(size=length), ends, np.zeros(length, bool)


TRANSITIONS = from_episodes(episodes(), SPACE.low, SPACE.high)


class Recorder:
    """Stands where the evaluator stands, and writes down all it is asked."""

    def __init__(self, *arguments):
        self.seen: list[Any] = [arguments[:3]]
        RECORDERS.append(self)

    def check(self):
        """Nothing to check."""

    def close(self):
        """Nothing to close."""

    def rollout(self, act, policies):
        self.seen.append(np.asarray(act(np.ones((policies, 2, 3), np.float32), 0)).tobytes())
        return np.zeros((policies, 2))


RECORDERS: list[Recorder] = []


def digest(tree):
    leaves, structure = jax.tree.flatten(tree)
    found = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        leaf = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        found.update(str((leaf.shape, leaf.dtype)).encode() + np.asarray(leaf).tobytes())
    return found.hexdigest()


def wild(state):
    """Networks whose heads leave their bounds in some states."""

    def grow(net):
        net = None if net is None else jax.tree.map(lambda w: 4 * w + 0.05, net)
        return SharedStd(net.mean, jnp.array([-9.0, 9.0])) if isinstance(net, SharedStd) else net

    policy = grow(state.policy)
    return state._replace(policy=policy, policy_target=policy, behavior=grow(state.behavior))


class Mathematics:
    """What a spec computes: its schedule, its programs as text without dead code, and numbers from running them."""

    def __init__(self, spec):
        self.program = compile_spec(spec, SPACE)
        self.key, self.data = jax.random.key(0), Batch(*(jnp.asarray(column) for column in TRANSITIONS))
        self.jitted: list[Any] = []

    def texts(self):
        """The schedule and every function of the program; lazily, since one difference is enough."""
        yield str([stage[:3] for stage in self.program.stages])
        yield text_of(self.program.init, self.key)
        numbers, state = self.program.numbers, jax.eval_shape(self.program.init, self.key)
        for stage in self.program.stages:
            yield text_of(stage.enter, numbers, state, self.data, self.key)
            state = jax.eval_shape(stage.enter, numbers, state, self.data, self.key)
            yield text_of(stage.update, numbers, state, self.data, self.key, jnp.int32(0))

    def run(self, numbers):
        """The state after a few updates of every stage, with these numbers in the place of the spec's."""

        def whole(stage, numbers, state, key):
            def one(index, carry):
                return stage.update(numbers, carry, self.data, jax.random.fold_in(key, index), index)[0]

            return jax.lax.fori_loop(0, 4, one, stage.enter(numbers, state, self.data, key))

        self.jitted = self.jitted or [jax.jit(functools.partial(whole, stage)) for stage in self.program.stages]
        state, found = wild(self.program.init(self.key)), []
        for number, stage in enumerate(self.jitted):
            state = stage(numbers, state, jax.random.fold_in(self.key, number))
            found.append(digest(state))
        return found

    def differs(self, spec):
        """Whether another spec computes something else."""
        other = Mathematics(spec)
        alike = jax.tree.structure(self.program.numbers) == jax.tree.structure(other.program.numbers)
        if alike and jax.tree.leaves(self.program.numbers) != jax.tree.leaves(other.program.numbers):
            return self.run(self.program.numbers) != self.run(other.program.numbers)
        self.known = getattr(self, "known", None) or list(self.texts())
        return any(a != b for a, b in itertools.zip_longest(self.known, other.texts()))


def text_of(function, *arguments):
    """A function as text, without the operations that its results do not need."""
    closed = jax.make_jaxpr(function)(*arguments)
    lean, _ = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return re.sub(r"0x[0-9a-f]+", "", str(lean))


def loop(spec, folder):
    """What the training loop asks of the data, the evaluator and the files; no update is computed."""
    dataset = Dataset("made/up", TRANSITIONS, SPACE, spec.data.environment or "Made-up", "0", None)
    run = RunDirectory.create(folder, "", {"seeds": spec.seeds})
    RECORDERS.clear()
    trainer = train._Trainer(spec, dataset, run, lambda event: None)
    stops = []

    def compiled(number):
        def chunk(numbers, data, state, roots, start, stop):
            stops.append((number, start, stop))
            nothing = {"q": jnp.zeros(spec.seeds)}
            return state, nothing, jnp.zeros(spec.seeds), {"q": jnp.full(spec.seeds, -1)}, jnp.ones(spec.seeds, bool)

        return chunk

    trainer._compile = compiled
    with jax.disable_jit():
        trainer.go(False)
    saved = sorted(path.name for path in folder.rglob("*.safetensors"))
    stream = digest(train.stream(train.fold(trainer.roots[0], 0), 1, 2)), spec.train.batch_size
    returns = (folder / "returns.csv").read_text(), len(run.read("metrics.csv"))
    return [digest(trainer.data), stops, saved, stream, returns, [recorder.seen for recorder in RECORDERS]]


def leaves(value: Any, annotation: Any, path: str):
    """Every field below a value, as (path, value, annotation)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for key, (inner, field) in fields_of(type(value)).items():
            yield from leaves(getattr(value, field.name), inner, f"{path}.{key}" if path else key)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, Any, f"{path}.{key}")
    elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        for index, item in enumerate(value):
            yield from leaves(item, Any, f"{path}[{index}]")
    else:
        yield path, value, annotation


NODES = {
    "geometry": ["kl", "{wasserstein2: {}, kl: {}}"],
    "target_penalty": ["{reference: next_action}"],
    "gradient": ["natural"],
    "tau": ["{kind: geometric, start: 3, factor: 2}"],
    "energy": ["{action_norm: {}}"],
}


def others(value: Any, annotation: Any):
    """Other values that a field may take, as YAML."""
    options, marks, _ = split(annotation)
    bounds = [mark for mark in marks if isinstance(mark, Within)]
    slot = next((mark for mark in marks if isinstance(mark, Slot)), None)
    within = lambda x: all(b.holds(x) for b in bounds)  # noqa: E731
    if isinstance(value, bool):
        yield str(not value).lower()
    elif isinstance(value, int):
        yield from (str(other) for other in (value + 1, value + 2) if within(other))
    elif isinstance(value, float):
        yield from (repr(other) for other in (0.6 * value, 1.4 * value + 0.01, value + 0.5) if within(other))
    elif isinstance(value, tuple) and all(isinstance(item, (int, float)) for item in value):
        for index, item in enumerate(value):
            changed = [*value[:index], item + (1 if isinstance(item, int) else 0.7), *value[index + 1 :]]
            yield str(changed)
    elif value is None and slot is None:
        yield from ("3", "Made-up-too", "[0.02, 0.5]", "[{reference: data}, {reference: behavior}]", "behavior")
    elif slot is not None:
        yield from NODES.get(slot.name, [])
    for option in options:
        option, *_ = split(option)[0]
        if typing.get_origin(option) is Literal:
            yield from (str(word) for word in typing.get_args(option) if word != value)
        elif dataclasses.is_dataclass(option):
            yield "{sample: 3}"
    if isinstance(value, tuple) and value and value[0] in LEARNERS:
        yield from (f"[{name}]" for name in value)


def spec_of(path, overrides):
    return checked(read(path, overrides))


def inherited(path: str) -> bool:
    """Whether a value of a step is the top level's, merged into it."""
    parts = path.split(".")
    return parts[0] == "schedule" and len(parts) > 2 and parts[2].split("[")[0] in ("energy", "geometry", "optimizer")


def fields(path, given):
    """Fields of a spec that its file can say, without free text and learners that nothing trains."""
    document = read(path, given)
    spec = checked(document)
    learned = {name for step in spec.schedule.steps for name in step.learn}
    for where, value, annotation in leaves(spec, Any, ""):
        top, _, rest = where.partition(".")
        unused = top == "behavior" and "behavior" not in learned
        unused |= top == "optimizer" and rest.partition(".")[0] not in learned
        if where.rpartition(".")[2] in TEXT or unused or inherited(where):
            continue
        yield where, value, annotation, document.origins[where].layer != "default"


ACTIVE: dict[str, bool] = {}
"""Field of a class, as its path without names and numbers -> whether it changed something in any spec."""
CASES = [(path.stem, path, []) for path in SHIPPED]
CASES += [(name, SHIPPED[0].with_name(f"{stem}.yaml"), list(more)) for name, (stem, more) in EXTRA.items()]


@pytest.mark.parametrize(("path", "more"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_no_option_is_inert(path, more, tmp_path, float64, monkeypatch):
    monkeypatch.setattr(train, "Evaluator", Recorder)
    given = [*more, *QUIET]
    spec = spec_of(path, given)
    declared = {name for name in ("policy", "behavior", "critic") if getattr(spec, name) is not None}
    given += [pair for pair in SMALL if pair[0].partition(".")[0] in declared]
    counter = itertools.count()
    plain = spec_of(path, given)
    same, before = Mathematics(plain), loop(plain, tmp_path / "before")
    inert = []
    for where, value, annotation, written in fields(path, given):
        if not written and ACTIVE.get(where):
            continue
        found = []
        for text in others(value, annotation):
            try:
                changed = spec_of(path, [*given, (where, text)])
            except SpecError:
                continue
            if to_plain(changed) == to_plain(plain):
                continue
            looped = where.split(".")[0] in ("train", "evaluate", "data", "seeds")
            found.append(loop(changed, tmp_path / str(next(counter))) != before if looped else same.differs(changed))
            if found[-1] and not isinstance(value, tuple):
                break
        ACTIVE[where] = ACTIVE.get(where, False) or any(found)
        if written and found and not (all(found) if isinstance(value, tuple) else found[-1]):
            inert.append(where)
    assert inert == []


def test_every_field_was_active_somewhere():
    silent = sorted(where for where, active in ACTIVE.items() if not active)
    assert silent == []
