"""What a chunk of updates asks of the machine: one trace, no word with the host, no memory twice."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_compile import entered_at, transitions

from pogospec import data
from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.explain.costs.operations import intermediates
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.runs.directory import RunDirectory
from pogospec.runs.saved import SavedPolicy, _act
from pogospec.spec.shipped import shipped_specs, spec_name, spec_path
from pogospec.training.chunk import chunk_function
from pogospec.training.loop import train
from pogospec.types import Normalizer, Space

SPECS = Path(__file__).parents[1] / "specs"
SHIPPED = [spec_name(path) for path in shipped_specs() if path.parent.name != "flows"]
SPACE = Space(11, 3, (-1.0,) * 3, (1.0,) * 3)


def size(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def made(name: str, rows: int, seeds: int, **options):
    """The chunk of the last stage of a shipped spec, the shapes of what it is called with, and the stage."""
    spec = load(spec_path(name), [("train.batch_size", "256")])
    program, table = compile_spec(spec, SPACE), jax.eval_shape(lambda: transitions(rows, 11, 3))
    number = len(program.stages) - 1
    roots = jax.eval_shape(lambda: jax.vmap(jax.random.key)(jnp.arange(seeds)))
    state = jax.eval_shape(jax.vmap(program.init, in_axes=(None, 0)), program.numbers, roots)
    for before in dict.fromkeys(stage.source for stage in program.stages):
        state = jax.eval_shape(lambda *given, at=before: entered_at(program, at, *given), state, table, roots)
    chunk = chunk_function(program.stages[number], spec.train.batch_size, **options)
    return chunk, (program.numbers_of(number), table, state, roots), program.stages[number]


@pytest.fixture(scope="module")
def started():
    """The chunk of TD3+BC that donates, and a function that makes what it is called with."""
    chunk, (numbers, *_), _ = made("td3_bc", 300, 2, donate=True)
    program, table = compile_spec(load(SPECS / "td3_bc.yaml"), SPACE), jax.device_put(transitions(300, 11, 3))
    roots = jax.vmap(jax.random.key)(jnp.arange(2))
    draw = jax.vmap(program.init, in_axes=(None, 0))
    begin = jax.jit(lambda roots, table: entered_at(program, 0, draw(program.numbers, roots), table, roots))
    return chunk, lambda: (numbers, table, begin(roots, table), roots)


@pytest.mark.thinned(2, "traces whole programs")
@pytest.mark.parametrize("name", SHIPPED)
def test_an_update_holds_no_word_with_the_host(name):
    chunk, (numbers, table, state, roots), _ = made(name, 300, 2)
    text = str(jax.make_jaxpr(chunk)(numbers, table, state, roots, 0, 4))
    assert "callback" not in text
    assert "infeed" not in text
    assert "while" in text or "scan" in text


def test_a_chunk_runs_under_the_transfer_guard(started):
    chunk, (numbers, table, state, roots) = started[0], started[1]()
    bounds = [jax.device_put(jnp.int32(value)) for value in (0, 2, 4)]
    state, *_ = chunk(numbers, table, state, roots, *bounds[:2])
    with jax.transfer_guard("disallow"):
        state, sums, *_ = chunk(numbers, table, state, roots, *bounds[1:])
        jax.block_until_ready(state)
        with pytest.raises(jax.errors.JaxRuntimeError, match="[Dd]isallowed"):
            jnp.sin(np.ones(3))
    assert np.isfinite(sums["critic_loss"]).all()


def test_a_run_traces_each_program_once(monkeypatch, tmp_path):
    """Two steps, one repeated: many chunks and repetitions, one trace of the update of each step."""
    traced: dict[str, int] = {}

    def counting(stage, *arguments, **options):
        def update(*inputs):
            traced[stage.label] = traced.get(stage.label, 0) + 1
            return stage.update(*inputs)

        return chunk_function(stage._replace(update=update), *arguments, **options)

    monkeypatch.setattr("pogospec.training.programs.chunk_function", counting)
    settings = {
        "schedule.steps[*].updates": "60",
        "schedule.steps[1].repeat": "3",
        "train.log_every": "10",
        "train.batch_size": "16",
        "policy.hidden": "[8]",
        "behavior.hidden": "[8]",
        "critic.hidden": "[8]",
        "evaluate.episodes": "1",
        "seeds": "2",
    }
    spec = load(SPECS / "pogo_w_two_step.yaml", list(settings.items()))
    run = RunDirectory.create(tmp_path / "run", "", {"seeds": 2})
    train(spec, data.load_for(spec), run, lambda event: None)
    assert len(run.read("metrics.csv")) == 2 * 4 * 6
    assert traced == {"step 1": 2, "step 2": 2}  # once for the shapes of the metrics, once for the program


@pytest.mark.thinned(1, "compiles the published size")
@pytest.mark.parametrize("seeds", [1, 5])
def test_a_chunk_takes_no_more_than_state_data_and_activations(seeds):
    chunk, inputs, stage = made("td3_bc", 100_000, seeds, donate=True)
    _, table, state, _ = inputs
    about = chunk.lower(*inputs, 0, 1).compile().memory_analysis()
    assert about is not None

    def one_update(numbers, table, state, roots):
        batch = jax.tree.map(lambda column: column[:256], table)
        state, root = jax.tree.map(lambda leaf: leaf[0], (state, roots))
        return stage.update(numbers, state, batch, root, jnp.int32(0))

    taken = about.argument_size_in_bytes + about.output_size_in_bytes - about.alias_size_in_bytes
    activations = seeds * intermediates(jax.make_jaxpr(one_update)(*inputs).jaxpr)
    assert taken + about.temp_size_in_bytes <= 1.2 * (size(state) + size(table) + activations)


def test_the_state_that_went_in_is_gone(started):
    chunk, (numbers, table, state, roots) = started[0], started[1]()
    new, *_ = chunk(numbers, table, state, roots, 0, 2)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((new, table)))


def test_policies_of_one_family_are_compiled_to_one_program():
    programs: Any = _act
    family, space = GaussianPolicy(hidden=(8,)), Space(11, 3, (-2.0,) * 3, (1.0,) * 3)
    observations, before = jnp.ones((2, 5, 11)), programs._cache_size()
    for seed in range(3):
        network = jax.vmap(lambda key: family.init(key, space))(jax.random.split(jax.random.key(seed), 2))
        normalizer = Normalizer(np.full(11, seed, np.float32), np.ones(11, np.float32))
        act = SavedPolicy(GaussianPolicy(hidden=(8,)), network, normalizer, space).batched()
        mean = jax.vmap(family.parameters)(network, observations - seed).mean
        expected = -0.5 + 1.5 * np.clip(mean, -1, 1)
        np.testing.assert_allclose(act(np.asarray(observations), seed), expected, rtol=1e-5, atol=1e-6)
    assert programs._cache_size() == before + 1
