"""Layers that multiply rounded numbers: what they compute, where they are, and what stays as it is."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import pogospec, sets
from test_compile import primitives, transitions

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.errors import SpecError
from pogospec.nets import mlp, rounded_product, with_products
from pogospec.runs.directory import RunDirectory
from pogospec.training.batching import Batching
from pogospec.training.chunk import chunk_function
from pogospec.types import Space

SPACE = Space(3, 2, (-1.0, -1.0), (1.0, 1.0))


def operands(program):
    """Types of what the matrix products of the last stage's update multiply."""
    key, batch = jax.random.key(0), transitions(16, 3, 2)
    state = jax.eval_shape(program.init, program.numbers, key)
    for stage in program.stages:
        state = jax.eval_shape(stage.enter, program.numbers, state, batch, key)
    jaxpr = jax.make_jaxpr(program.stages[-1].update)(program.numbers, state, batch, key, jnp.int32(0)).jaxpr
    products = [one for one in primitives(jaxpr) if one.primitive.name == "dot_general"]
    return {str(operand.aval.dtype) for one in products for operand in one.invars}


def rounded(x):
    """To eight significant bits, by integer arithmetic on the bits, ties to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("batch", [(), (7,), (2, 5)])
def test_a_product_and_its_gradients_are_those_of_rounded_numbers(batch):
    draw = np.random.default_rng(0)
    x, pull = (draw.normal(size=(*batch, n)).astype(np.float32) for n in (6, 4))
    weight = draw.normal(size=(6, 4)).astype(np.float32)
    value, back = jax.vjp(rounded_product, x, weight)
    exact = [rounded(a).astype(np.float64) for a in (x, weight, pull)]
    wanted = exact[0] @ exact[1]
    by_x = exact[2] @ exact[1].T
    by_weight = exact[0].reshape(-1, 6).T @ exact[2].reshape(-1, 4)
    found = (value, *back(jnp.asarray(pull)))
    for one, two in zip(found, (wanted, by_x, by_weight), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
    assert np.abs(np.asarray(value) - x @ weight).max() > 1e-4


def test_a_network_is_close_to_itself_in_full():
    network = mlp(jax.random.key(0), 6, (32, 32), 3, "after")
    x = jax.random.normal(jax.random.key(1), (50, 6))
    low = with_products(network, rounded=True)
    gap = np.abs(np.asarray(low(x) - network(x)))
    assert 1e-5 < gap.max() < 0.05
    again = with_products(low, rounded=False)
    np.testing.assert_array_equal(again(x), network(x))
    assert jax.tree.structure(again) == jax.tree.structure(network)


@pytest.mark.parametrize("name", ["td3_bc", "iql", "w_brac", "pogo_w_concurrent"])
def test_all_products_of_an_update_are_of_rounded_numbers(name):
    small = [(f"{slot}.hidden", "[8]") for slot in ("policy", "critic")]
    small += [("behavior.hidden", "[8]")] if name == "w_brac" else []
    types = {}
    for precision in ("float32", "bfloat16_matmul"):
        program = compile_spec(load(name, [*small, ("train.precision", precision)]), SPACE)
        types[precision] = operands(program)
    assert types["float32"] == {"float32"}
    assert types["bfloat16_matmul"] == {"bfloat16"}


@pytest.mark.exhaustive("compiles programs of the published size")
@pytest.mark.parametrize("kind", ["vmap", "map", "shard"])
@pytest.mark.parametrize("name", ["td3_bc", "pogo_fr_two_step"])
def test_rounded_products_run_in_the_published_shapes(name, kind):
    """Compiled as for users: XLA chooses kernels by shape, and has not all of them for rounded numbers."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_precision; "
    code += f"test_precision.published_shapes({name!r}, {kind!r})"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XLA_", "JAX_"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def published_shapes(name, kind):
    """Train a few updates of networks of real widths."""
    spec = load(name, [("train.precision", "bfloat16_matmul"), ("train.batch_size", "256")])
    program, data = compile_spec(spec, SPACE), transitions(300, 3, 2)
    how, roots = Batching(kind, 3), jax.vmap(jax.random.key)(jnp.arange(3))
    state = how.jit(program.init, (None, 0))(program.numbers, roots)
    for number in dict.fromkeys(stage.source for stage in program.stages):
        numbers, stage = program.numbers_of(number), program.stages[number]
        state = how.jit(stage.enter, (None, 0, None, 0))(numbers, state, data, roots)
        state, sums, *_ = chunk_function(stage, 256, None, how)(numbers, data, state, roots, 0, 4)
        assert np.isfinite(sums["critic_loss" if "critic_loss" in sums else "energy"]).all()


@pytest.mark.exhaustive("a whole run for each precision")
def test_a_run_saves_policies_that_act_in_full(tmp_path):
    small = sets("policy.hidden=[8]", "critic.hidden=[8]", "train.batch_size=16", "evaluate.episodes=1")
    for precision in ("bfloat16_matmul", "float32"):
        out = tmp_path / precision
        pogospec("run", "td3_bc", *small, "--set", f"train.precision={precision}", "--updates", "20", "--out", out)
    low, full = (RunDirectory.open(tmp_path / name).load_policy("step 1") for name in ("bfloat16_matmul", "float32"))
    assert low[1] == full[1]
    gaps = [np.abs(low[0][name] - full[0][name]).max() for name in low[0] if name.startswith("network")]
    assert 0 < max(gaps) < 0.1


def test_a_known_energy_has_no_layers():
    with pytest.raises(SpecError, match="train.precision: found bfloat16_matmul, allowed float32, float64"):
        load("flows/quadratic_w2", [("train.precision", "bfloat16_matmul")])
