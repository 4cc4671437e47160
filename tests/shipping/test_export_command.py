"""`export`: file, card and loader from the command line and from Python; what is wrong is refused, nothing written."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shipped
from commands import pogospec

import pogospec as package
from pogospec.errors import RunError, UsageError
from pogospec.runs.saved import SavedPolicy
from pogospec.shipping import check, write
from pogospec.shipping.check import compare
from pogospec.shipping.formats.base import Deed, Input, Needs, format_of
from pogospec.shipping.formats.npz import Npz
from pogospec.shipping.formats.onnx import Onnx

ROWS = np.random.default_rng(0).normal(size=(50, 11))
ALONE = """
import json, sys
for name in {blocked}:
    sys.modules[name] = None  # an import of it fails
import numpy as np
sys.path.insert(0, {folder!r})
from load_{to} import Policy
rows, policy = np.array(json.loads(sys.stdin.read())), Policy({path!r}, seed=3)
print(json.dumps([policy(rows).tolist(), policy(rows[0]).tolist(), sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return shipped.run_in(tmp_path_factory.mktemp("shipped") / "run")


@pytest.fixture
def few(monkeypatch):
    """Checks of fewer rows in fewer batches, for which fewer programs are compiled."""
    monkeypatch.setattr(check, "BATCHES", ())
    monkeypatch.setattr(check, "ROWS", 64)


def alone(path, to, blocked):
    """Actions of a file in a process that cannot import this package, nor what else is named."""
    code = ALONE.format(blocked=["pogospec", *blocked], folder=str(path.parent), to=to, path=str(path))
    given = json.dumps(ROWS.tolist())
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    batch, single, modules = json.loads(done.stdout.splitlines()[-1])
    return np.array(batch), np.array(single), modules


def test_a_file_acts_where_the_package_is_not_installed(run):
    told = pogospec("export", run.path, "--to", "npz", "--seed", "1").stdout
    assert "checked on 4,096 observations of pocket/reacher-mixed in batches of 1, 7, 256, 3,720" in told
    path = run.path / "exports" / "step_1-seed_1-mean.npz"
    assert str(path) in told
    batch, single, modules = alone(path, "npz", ["jax", "equinox", "safetensors"])
    assert not [name for name in modules if name.startswith("pogospec.")]
    policy = package.load_policy(run, seed=1)
    np.testing.assert_allclose(batch, policy.act(ROWS), atol=1e-6)
    np.testing.assert_allclose(single, policy.act(ROWS[0]), atol=1e-6)
    card = path.with_name(path.name + ".md").read_text()
    for part in (run.manifest["data_sha256"], run.manifest["digest"], "| observation | [batch, 11] | float32 |",
                 "| action (output) | [batch, 2] | float32 |", "| **step 1** | -7.0 | -8.2 |", "[-1, 1], [-1, 1]",
                 f"jax {jax.__version__}", "largest difference", "from load_npz import Policy"):  # fmt: skip
        assert part in card, part
    assert "| noise |" not in card


def test_samples_take_their_noise_or_draw_it_by_a_seed(run, few, tmp_path):
    found = package.export(run, "stablehlo", "behavior", action="sample", out=tmp_path / "policy.stablehlo")
    assert found.check.largest <= 1e-6
    assert "| noise | [batch, 2] | float32 |" in found.card.read_text()
    batch, single, _ = alone(found.path, "stablehlo", ["equinox", "numpyro"])
    policy = package.load_policy(run, "behavior")
    noise = np.random.default_rng(3).standard_normal((50, 2))
    normal = policy.parameters(ROWS)
    np.testing.assert_allclose(batch, np.clip(normal.mean + np.exp(normal.log_std) * noise, -1, 1), atol=2e-6)
    assert single.shape == (2,)


def test_a_file_that_acts_otherwise_is_not_written(run, few, tmp_path, monkeypatch):
    whole = Npz.dumped

    def bent(self, deed):
        function = deed.function
        return whole(self, deed._replace(function=lambda *given: function(*given) + 2e-5))

    monkeypatch.setattr(Npz, "dumped", bent)
    with pytest.raises(RunError, match=r"otherwise than the policy, and was not written: .* difference 2.0e-05"):
        package.export(run, "npz", out=tmp_path / "policy.npz")
    assert not list(tmp_path.iterdir())
    package.export(run, "npz", out=tmp_path / "policy.npz", tolerance=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["load_npz.py", "policy.npz", "policy.npz.md"]


def test_a_check_sees_what_is_not_finite_and_what_has_another_shape(run, few):
    saved = SavedPolicy.load(*run.load_policy("step 1")).only(0)
    for broken in (lambda rows: np.full((len(rows), 2), np.nan), lambda rows: np.zeros((len(rows), 3))):
        with pytest.raises(RunError, match="not finite; nothing was written"):
            compare(saved, 0, "mean", broken, ROWS, "observations", 1e-6)


def test_without_the_data_observations_are_drawn(run, few, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "reread", lambda run: (_ for _ in ()).throw(UsageError("gone")))
    found = package.export(run, "npz", out=tmp_path / "policy.npz")
    assert "drawn around the mean of the data, which are not at hand" in found.card.read_text()


REFUSED = [
    (("--to", "tflite"), "--to: found 'tflite', allowed onnx, stablehlo, torch, npz"),
    (("--to", "npz", "-o", "policy.onnx"), "-o: found 'policy.onnx', allowed a file .npz"),
    (("--to", "npz", "--policy", "step 9"), "holds no policy 'step 9', allowed behavior, step 1"),
    (("--to", "npz", "--seed", "2"), "found seed 2, allowed 0 to 1"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_be_exported_is_said(run, options, message):
    done = pogospec("export", run.path, *options, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(Onnx, "needs", (Needs("no_such_package", "onnx"),))
    with pytest.raises(UsageError, match=r'no_such_package not installed; pip install "pogospec\[onnx\]", or use'):
        format_of("onnx")


def test_what_a_format_cannot_hold_is_said_with_what_can():
    inputs = (Input("observation", (2,), np.dtype(np.float32)),)
    for function, why in (
        (lambda rows: rows @ jnp.linalg.cholesky(rows.T @ rows + jnp.eye(2)), "has no form in simple operations"),
        (lambda rows: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, rows), "hangs on what is observed"),
    ):
        with pytest.raises(UsageError, match=rf"--to npz cannot hold step 1: .*{why}; --to stablehlo holds"):
            write._dumped(Npz(), Deed(function, inputs, {}), "npz", "step 1")
