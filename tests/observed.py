"""What can be seen of a spec: its mathematics, and what the training loop asks of data, evaluator and files."""

import functools
import hashlib
import itertools
import re
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters.partial_eval import dce_jaxpr

import pogospec.data
from pogospec.compiler.compile import compile_spec
from pogospec.compiler.program import Actor
from pogospec.data.arrays import from_episodes
from pogospec.data.known import known
from pogospec.judges import fitted
from pogospec.nets import mlp
from pogospec.offline import Reading
from pogospec.runs.directory import RunDirectory
from pogospec.spec.build import to_plain
from pogospec.training import cells, evaluation, programs
from pogospec.training import loop as train
from pogospec.training.watch import Watch
from pogospec.types import Batch, Dataset, Space

SPACE = Space(3, 3, (-1.0, -2.0, -1.0), (1.0, 2.0, 1.0))
FAST: Any = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""Compiled once and run for a few microseconds: compiling is what takes the time."""


def episodes(lengths=(40, 50, 30)):
    rng = np.random.default_rng(0)
    for length in lengths:
        actions = np.clip(1.2 * rng.normal(size=(length, 3)), -1, 1) * SPACE.high
        ends = np.zeros(length, bool)
        ends[-1] = length != 50
        yield rng.normal(size=(length + 1, 3)), actions, rng.normal(size=length), ends, np.zeros(length, bool)


TRANSITIONS = from_episodes(episodes(), SPACE.low, SPACE.high)
MANY = from_episodes(episodes([6] * 20), SPACE.low, SPACE.high)
"""As many rows, in episodes of which a judge can be given enough."""


def dataset_of(spec) -> Dataset:
    if spec.target is not None:
        return known(spec.target, spec.data.dataset)
    judged = any(step.judge is not None for step in spec.schedule.steps)
    return Dataset(
        spec.data.dataset, MANY if judged else TRANSITIONS, SPACE, spec.data.environment or "Made-up", "0", None
    )


def digest(tree) -> str:
    leaves, structure = jax.tree.flatten(tree)
    found = hashlib.sha256(str(structure).encode())
    for leaf in map(jnp.asarray, leaves):
        leaf = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        found.update(str((leaf.shape, leaf.dtype)).encode() + np.asarray(leaf).tobytes())
    return found.hexdigest()


def text_of(function, *arguments) -> tuple[str, Any]:
    """A function as text, without the operations that its results do not need, and the shapes of its results."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    lean, used = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    assert len(used) == len(jax.tree.leaves(arguments))
    return re.sub(r"0x[0-9a-f]+", "", str(lean)) + digest(closed.consts), shapes


def wild(shapes):
    """Networks of these shapes whose heads leave their bounds in some states."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(2 * rng.normal(size=leaf.shape) + 0.05, leaf.dtype)

    def grow(net):
        net = jax.tree.map(draw, net)
        if hasattr(net, "factor"):  # of the log-std
            net = eqx.tree_at(lambda n: n.factor, net, jnp.full_like(net.factor, 9.0))
        shared = next((name for name in ("log_std", "log_diagonal") if hasattr(net, name)), None)
        if shared is None:
            return net
        spread = jnp.linspace(-9.0, 9.0, getattr(net, shared).size).at[0].set(-22.0)  # below every floor, inside, above
        return eqx.tree_at(lambda n: getattr(n, shared), net, spread)

    return shapes._replace(**{name: grow(value) for name, value in shapes._asdict().items()})


class Mathematics:
    """What a spec computes: its schedule, its functions as text without dead code, and numbers from running them."""

    def __init__(self, spec):
        self.spec, data = spec, dataset_of(spec)
        with jax.enable_x64(True):
            self.program = compile_spec(spec, data.space)
            floats = [np.asarray(c, float if c.dtype == np.float32 else None) for c in data.transitions]
            self.data, self.key = Batch(*map(jnp.asarray, floats)), jax.random.key(0)

    @functools.cached_property
    def begin(self) -> tuple[str, Any]:
        """How networks are drawn, as text, and their shapes."""
        return self._text(self.program.init, self.program.numbers, self.key)

    def entered(self, number: int, state) -> tuple[str, Any]:
        """How a stage is entered with a state of these shapes, as text, and the shapes in it."""
        return self._text(self.program.stages[number].enter, self.program.numbers, state, self.data, self.key)

    def updated(self, number: int, state) -> str:
        """What an update does with a state of these shapes, as text."""
        update, numbers = self.program.stages[number].update, self.program.numbers
        return self._text(update, numbers, state, self.data, self.key, jnp.int32(0))[0]

    @functools.cached_property
    def stages(self) -> list[tuple[tuple[str, str], Any]]:
        """The texts and the shapes of every stage."""
        found, state = [], self.begin[1]
        for number in range(len(self.program.stages)):
            enter, state = self.entered(number, state)
            found.append(((enter, self.updated(number, state)), state))
        return found

    def measures_differently(self, spec) -> bool:
        """Whether the numbers that are measured between updates are others in the first stage."""
        texts = []
        for one in (self, Mathematics(spec)):
            arguments = one.program.numbers, one.stages[0][1], one.data, one.key
            texts.append(one._text(one.program.stages[0].measure, *arguments)[0])
        return texts[0] != texts[1]

    def _text(self, function, *arguments) -> tuple[str, Any]:
        with jax.enable_x64(True):
            return text_of(function, *arguments)

    @functools.cached_property
    def jitted(self) -> dict[int, Any]:
        """Whole stages of four updates, compiled; repetitions share the program of the first."""

        def whole(stage, numbers, state, key):
            def one(index, carry):
                return stage.update(numbers, carry, self.data, jax.random.fold_in(key, index), index)[0]

            return jax.lax.fori_loop(0, 4, one, stage.enter(numbers, state, self.data, key))

        sources = {stage.source for stage in self.program.stages}
        return {n: jax.jit(functools.partial(whole, self.program.stages[n]), compiler_options=FAST) for n in sources}

    def run(self, numbers) -> list[str]:
        """The states at the ends of all stages, with these numbers in the place of the spec's."""
        with jax.enable_x64(True):
            state, found = wild(self.begin[1]), []
            program = self.program._replace(numbers=numbers)
            for number, stage in enumerate(program.stages):
                key = jax.random.fold_in(self.key, number)
                state = self.jitted[stage.source](program.numbers_of(number), state, key)
                found.append(digest(state))
        return found

    def drawn(self, numbers) -> str:
        """The fresh networks, with these numbers in the place of the spec's."""
        with jax.enable_x64(True):
            return digest(self.drawing(numbers, self.key))

    @functools.cached_property
    def drawing(self) -> Any:
        """How networks are drawn, compiled."""
        return jax.jit(self.program.init, compiler_options=FAST)

    @functools.cached_property
    def ran(self) -> list[str]:
        return self.run(self.program.numbers)

    def differs(self, spec) -> bool:
        """Whether another spec computes something else."""
        other = Mathematics(spec)
        plans = [[(*stage[:3], stage.batches) for stage in one.program.stages] for one in (self, other)]
        if plans[0] != plans[1]:
            return True
        mine, others = self.program.numbers, other.program.numbers
        if jax.tree.structure(mine) == jax.tree.structure(others) and jax.tree.leaves(mine) != jax.tree.leaves(others):
            return self.ran != self.run(others) or self.drawn(mine) != self.drawn(others)
        return self.reads_differently(other, self.alike(other)) or self.reads_differently(other, 0)

    def alike(self, other: "Mathematics") -> int:
        """How many stages say the same, where networks are the same too; a first look may pass over them."""
        first, second = to_plain(self.spec), to_plain(other.spec)
        if any(first[name] != second[name] for name in ("policy", "behavior", "critic", "target", "start")):
            return 0
        pairs = zip(self.program.stages, other.program.stages, strict=True)
        same = [to_plain(a.step) == to_plain(b.step) and a.learn == b.learn for a, b in pairs]
        return len(list(itertools.takewhile(bool, same)))

    def reads_differently(self, other: "Mathematics", first: int) -> bool:
        """Whether a text differs, from a stage on."""
        if first == 0 and self.begin[0] != other.begin[0]:
            return True
        state = self.stages[first - 1][1] if first else other.begin[1]
        for number in range(first, len(self.program.stages)):
            mine, (enter, state) = self.stages[number][0], other.entered(number, state)
            if enter != mine[0] or other.updated(number, state) != mine[1]:
                return True
        return False


class Recorder:
    """Stands where the evaluator stands, and writes down all it is asked."""

    def __init__(self, seen: list, *arguments):
        self.seen = seen
        seen.append(arguments[:3])

    def check(self):
        """Nothing to check."""

    def close(self):
        """Nothing to close."""

    def rollout(self, act, policies):
        self.seen.append(np.asarray(act(np.ones((policies, 2, 3), np.float32), 0)).tobytes())
        return np.zeros((policies, 2))


class Chunk(NamedTuple):
    """Stands where the compiled updates stand: nothing is updated, and the critic loss calms down by itself."""

    seen: list
    number: int
    batch_size: int

    def lower(self, *_):
        return self

    def compile(self):
        return self

    def __call__(self, numbers, data, state, roots, start, stop):
        self.seen.append(
            (self.number, self.batch_size, start, stop, *(map(digest, (data, roots)) if start == 0 else ()))
        )
        seeds = len(roots)
        spread = 1 / (1 + stop / 3)
        sums = {"q": jnp.zeros(seeds), "critic_loss": jnp.full(seeds, float(stop - start))}
        squares = jnp.full(seeds, (stop - start) * (1 + spread**2))
        return state, sums, squares, {"q": jnp.full(seeds, -1)}, jnp.ones(seeds, bool)


def hollow(seen: list, spec, space):
    """A program without mathematics: nothing is entered, and energies, values and inequalities follow a clock."""
    program, clock = compile_spec(spec, space), itertools.count()
    state = wild(jax.eval_shape(program.init, program.numbers, jax.random.key(0)))

    def measured(stage):
        def measure(numbers, state, batch, key):
            time, taus = next(clock), [term.tau for term in numbers[stage.source].problem.proximal]
            seen.append(digest(batch))
            rows = jnp.array([0.0, 1.0, 2.0, 3.0])
            found = {"q_rows": rows + jnp.array([1.0, -1.0, 0.0, 0.0]) * np.log1p(time)}
            energy, tau = jnp.asarray(np.exp(-time / 5)), jnp.asarray(taus[0] if taus else 1.0)
            if "policy" in stage.learn:
                found |= {
                    "energy": energy,
                    "objective": energy,
                    "tau": tau,
                    "gap": tau - 1,
                    "gap_error": energy * 0 + 0.12,
                    "distance": tau**4 * energy / 2,  # a local error of tau^2, which calms down
                    "reference_energy": energy,
                }
            return found

        return measure

    def entered(stage):
        def enter(numbers, state, data, key):
            further = Actor(state.policy, (), {}, {}, None, {})
            best = state.policy if stage.step.keeps_best else None
            scales = {name: jnp.ones(()) for name in stage.step.energy or {}}  # which judges of frozen critics ask for
            doubled = (state.policy, state.policy) if stage.step.doubles else ()
            others = (further,) * (len(stage.actors) - 1)
            return state._replace(chain=others, best=best, energy=scales, doubled=doubled)

        return enter

    def hollowed(stage):
        chain = tuple(actor._replace(measure=measured(actor)) for actor in stage.chain)
        return stage._replace(enter=entered(stage), measure=measured(stage), chain=chain)

    stages = [hollowed(stage) for stage in program.stages]
    return program._replace(init=lambda numbers, key: state, stages=tuple(stages))


def read(seen: list, settings, data, episodes, candidate, key, layout) -> Reading:
    """Stands where critics are fitted: writes down how, and reads what comes of the actions alone."""
    seen.append((settings, digest((data, candidate))))
    policies = len(candidate.first)
    keys = jax.random.split(jax.random.key(0), (policies, settings.folds))
    networks = jax.vmap(jax.vmap(lambda key: mlp(key, 6, (3,), 1)))(keys)
    draw = np.random.default_rng(len(settings.hidden)).normal(size=(1, 5))
    values = candidate.first.mean((1, 2, 3))[:, None] * (1 + draw)
    return Reading(values, values[:, 0], values[:, 0], networks, 1.0)


def loop(spec, folder) -> list[Any]:
    """What the training loop asks of the data, the evaluator and the files; no update is computed."""
    seen: list[Any] = []

    def load(*arguments):
        seen.append(arguments)
        return dataset_of(spec)

    chunks = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pogospec.data, "load", load)
        patch.setattr(evaluation, "Evaluator", functools.partial(Recorder, seen))
        patch.setattr(cells, "compile_spec", functools.partial(hollow, seen))
        patch.setattr(train.Batching, "of", lambda kind, runs: seen.append(kind) or train.Batching("vmap"))
        patch.setattr(programs, "chunk_function", lambda stage, size, *_, **__: Chunk(seen, next(chunks), size))
        patch.setattr(fitted, "fitted", functools.partial(read, seen))
        patch.setattr(Watch, "_optimum", lambda *_: {})
        patch.setattr(jax, "jit", lambda function, **_: function)  # what runs once is not worth compiling
        run = RunDirectory.create(folder, "", {"seeds": spec.seeds})
        train.train(spec, pogospec.data.load_for(spec), run, lambda event: None)
    saved = sorted(path.name for path in folder.rglob("*.safetensors"))
    texts = [(folder / name).read_text() for name in ("returns.csv", "flow.csv")]
    return [seen, saved, texts, len(run.read("metrics.csv"))]
