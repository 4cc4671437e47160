"""The Python twin: specs load, compile and run, and a loaded policy acts as it was trained."""

import functools
import itertools
import subprocess
import sys

import jax
import numpy as np
import pytest

import pogospec
from pogospec.api import Policy
from pogospec.checking.check import checked
from pogospec.data.arrays import from_episodes
from pogospec.errors import RunDirectoryError, SpecError, UsageError
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read_text
from pogospec.training import loop as train
from pogospec.types import Batch, Dataset, Space

LOW, HIGH = np.array([-2.0, 0.0]), np.array([0.5, 3.0])
SPACE = Space(3, 2, tuple(LOW), tuple(HIGH))
TEXT = """
data: {{dataset: made/up, normalize_observations: {normalized}}}
policy: {{kind: {family}, hidden: [8]}}
energy: {{action_norm: {{}}}}
schedule: {{steps: [{{learn: [policy], updates: 2}}]}}
train: {{batch_size: 8, precision: {precision}}}
seeds: 2
"""
SMALL = [("policy.hidden", "[8]"), ("critic.hidden", "[8]"), ("schedule.steps[*].updates", "20")]
SMALL += [("evaluate.episodes", "1"), ("train.batch_size", "8")]
CLOSE: dict = {"rtol": 0, "atol": 1.5e-6}
"""1e-6 in scaled actions, whose widest range is 3."""
CASES = [*itertools.product(["dirac", "gaussian", "tanh_gaussian"], ["true", "false"], ["float32"])]
CASES += [("full_gaussian", "true", "float32"), ("gaussian", "true", "float64")]
CASES += [(family, "true", "float32") for family in ("gaussian_mixture", "transport_map", "flow_matching")]
QUICK = ("gaussian", "tanh_gaussian", "transport_map")
KEPT = (*(f"{family}-true-float32" for family in QUICK), "gaussian-false-float32", "gaussian-true-float64")


def observations(count, seed=0):
    """Raw observations, far from standardised."""
    return np.random.default_rng(seed).normal([30.0, -2.0, 0.1], [9.0, 0.5, 0.01], (count, 3)).astype(np.float32)


DATA = observations(61)


def dataset():
    rng = np.random.default_rng(1)
    ends = np.arange(60) == 59
    columns = DATA, LOW + rng.uniform(size=(60, 2)) * (HIGH - LOW), rng.normal(size=60), ends, np.zeros(60, bool)
    return Dataset("made/up", from_episodes([columns], SPACE.low, SPACE.high), SPACE, None, "0", None)


@functools.cache
def asked(policy):
    """Parameters of a network, their mean action and a sample of them, by one program."""

    def both(network, rows, key):
        found = policy.parameters(network, rows)
        stacked = jax.vmap(policy.parameters)(jax.tree.map(lambda leaf: leaf[None], network), rows[None])
        return found, policy.mean_action(found), policy.sample(stacked, key)[0]

    return jax.jit(both)


class Trained:
    """A finished run, and the networks as they were in the trainer when it ended."""

    def __init__(self, folder, family, normalized, precision):
        self.spec = checked(read_text(TEXT.format(family=family, normalized=normalized, precision=precision)))
        self.run = RunDirectory.create(folder, "", {"seeds": 2})
        trainer, self.states = train._Trainer, []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer, "_checkpoint", lambda _, state: self.states.append(state))
            train.train(self.spec, dataset(), self.run, lambda event: None)
        self.normalized, self.double = normalized == "true", precision == "float64"
        self.networks, self.asked = jax.device_get(self.states[-1].policy), asked(self.spec.policy)

    def act(self, raw, seed, key=None):
        """Actions by the trainer's network, with statistics of the data taken here; `key`: a sample."""
        known = DATA[:60].astype(np.float64)
        rows = (raw - known.mean(0)) / (known.std(0) + 1e-3) if self.normalized else raw
        with jax.enable_x64(self.double):
            network = jax.tree.map(lambda leaf: leaf[seed], self.networks)
            given = network, np.asarray(rows, float), jax.random.key(0) if key is None else key
            found, mean, scaled = jax.device_get(self.asked(*given))
        if key is None:
            scaled = mean if not hasattr(found, "mean") else found.mean
            scaled = np.tanh(scaled) if "TanhNormal" in type(found).__name__ else scaled
        return LOW + (np.clip(scaled, -1, 1) + 1) / 2 * (HIGH - LOW)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run of a case, made once."""
    return functools.cache(lambda *case: Trained(tmp_path_factory.mktemp("api") / "run", *case))


@pytest.fixture(scope="module")
def gaussian(runs):
    return runs("gaussian", "true", "float32")


@pytest.mark.thinned(KEPT, "trains a policy more, and normalising is the same for all families")
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_loaded_policy_acts_as_it_was_trained(runs, case):
    trained, raw = runs(*case), observations(40, seed=3)
    for seed in (0, 1):
        policy, expected = pogospec.load_policy(trained.run.path, seed=seed), trained.act(raw, seed)
        batch = policy.act(raw)
        assert batch.shape == (40, 2)
        np.testing.assert_allclose(batch, expected, **CLOSE)
        np.testing.assert_allclose(policy.act(raw[7]), expected[7], **CLOSE)
        np.testing.assert_allclose(policy.act(list(raw[7])), expected[7], **CLOSE)
        assert (batch >= LOW).all()
        assert (batch <= HIGH + 1e-6).all()
        assert (batch.std(0) > 1e-3).all()


@pytest.mark.thinned(KEPT, "trains a policy more, and normalising is the same for all families")
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_samples_are_those_of_the_trained_distribution(runs, case):
    trained, raw = runs(*case), observations(40, seed=4)
    for seed in (0, 1):
        policy = pogospec.load_policy(trained.run.path, seed=seed)
        for draw in (1, 2):
            found, key = policy.act(raw, action="sample"), jax.random.fold_in(jax.random.key(seed), draw)
            np.testing.assert_allclose(found, trained.act(raw, seed, key), **CLOSE)
        again = pogospec.load_policy(trained.run.path, seed=seed).act(raw[0], action="sample")
        assert again.shape == (2,)
        if "Dirac" in type(policy.family).__name__:
            np.testing.assert_allclose(again, policy.act(raw[0]), **CLOSE)
        else:
            assert (policy.act(raw, action="sample") != found).any()


def test_seeds_and_steps_are_told_apart(gaussian):
    raw = observations(5)
    first, second = (pogospec.load_policy(gaussian.run, seed=seed) for seed in (0, 1))
    assert (first.act(raw) != second.act(raw)).any()
    assert pogospec.load_policy(gaussian.run, "step 1").label == first.label == "step 1"
    with pytest.raises(UsageError, match="found seed 2, allowed 0 to 1"):
        pogospec.load_policy(gaussian.run, seed=2)
    with pytest.raises(RunDirectoryError, match="no policy 'step 2', allowed step 1"):
        pogospec.load_policy(gaussian.run, "step 2")


def test_parameters_are_those_behind_the_actions(gaussian):
    policy, raw = pogospec.load_policy(gaussian.run), observations(5)
    parameters = policy.parameters(raw)
    scaled = np.clip(np.asarray(parameters.distribution().mean), -1, 1)
    np.testing.assert_allclose(policy.act(raw), LOW + (scaled + 1) / 2 * (HIGH - LOW), **CLOSE)
    np.testing.assert_allclose(policy.parameters(raw[1]).log_std, np.asarray(parameters.log_std)[1], rtol=1e-5)


def test_samples_of_a_key_are_those_of_the_key(gaussian):
    policy, raw, key = pogospec.load_policy(gaussian.run), observations(5), jax.random.key(7)
    found = policy.act(raw, key=key)
    np.testing.assert_array_equal(found, policy.act(raw, "sample", key=7))
    np.testing.assert_array_equal(found, policy.act(raw, key=jax.random.PRNGKey(7)))
    np.testing.assert_allclose(found, gaussian.act(raw, 0, jax.random.fold_in(key, 0)), **CLOSE)
    assert (found != policy.act(raw, key=8)).any()
    policy.act(raw, "sample")
    np.testing.assert_array_equal(found, policy.act(raw, key=key))
    with pytest.raises(UsageError, match="found a key for the action 'mean'"):
        policy.act(raw, "mean", key=key)
    for wrong in ("a", 1.5, jax.random.split(key), True):
        with pytest.raises(UsageError, match="found a key of another form"):
            policy.act(raw, key=wrong)


def test_a_policy_and_a_program_say_what_they_are(gaussian):
    policy = pogospec.load_policy(gaussian.run, seed=1)
    assert repr(policy) == (
        "Policy 'step 1', seed 1, family gaussian, observations 3, actions 2 in [-2, 0.5] × [0, 3], parameters 68"
    )
    assert "<td" in policy._repr_html_()
    assert "[-2, 0.5] × [0, 3]" in policy._repr_html_()
    program = pogospec.compile(gaussian.spec, SPACE)
    assert repr(program).splitlines()[1:] == ["  step 1  2 updates; learns policy"]
    assert repr(program).startswith("Program of 1 step: Gaussian, 3 observations, 2 actions")
    assert "<td" in program._repr_html_()


def test_observations_that_are_no_numbers_are_refused(gaussian):
    policy = pogospec.load_policy(gaussian.run)
    for method in (policy.act, policy.parameters):
        with pytest.raises(UsageError, match="found nan in entry 1 of an observation, allowed finite numbers"):
            method([0.0, np.nan, 1.0])
        with pytest.raises(UsageError, match="found inf in entry 2 of row 1"):
            method([[0.0, 0.0, 0.0], [0.0, 0.0, np.inf]])


@pytest.mark.parametrize("shape", [(), (2,), (4,), (5, 2), (1, 5, 3), (0,)])
def test_observations_of_another_size_are_refused(gaussian, shape):
    policy = pogospec.load_policy(gaussian.run)
    for method in (policy.act, policy.parameters):
        with pytest.raises(UsageError, match=r"allowed \(3,\) or \(batch, 3\)"):
            method(np.zeros(shape))


def test_other_mistakes_are_said(gaussian, tmp_path):
    policy: Policy = pogospec.load_policy(gaussian.run)
    with pytest.raises(UsageError, match="found the action 'mode', allowed mean, sample"):
        policy.act(np.zeros(3), action="mode")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="allowed numbers"):
        policy.act(["a", "b", "c"])
    with pytest.raises(RunDirectoryError, match="no run directory"):
        pogospec.load_policy(tmp_path)
    empty = RunDirectory.create(tmp_path / "empty", "", {"seeds": 1})
    with pytest.raises(UsageError, match="holds no policies yet"):
        pogospec.load_policy(empty)
    with pytest.raises(UsageError, match="give them to load"):
        pogospec.run(gaussian.spec, overrides=[("seeds", "2")])
    with pytest.raises(SpecError, match="nowhere"):
        pogospec.load(tmp_path / "nowhere.yaml")
    with pytest.raises(AttributeError, match="allowed load, compile, run"):
        pogospec.lode  # noqa: B018


def test_run_trains_into_a_directory(tmp_path, capsys):
    spec = pogospec.load("td3_bc", SMALL)
    run = pogospec.run(spec, out=tmp_path / "run")
    assert run.path == tmp_path / "run"
    assert run.status()["state"] == "done"
    assert run.policies() == ["step 1"]
    action = pogospec.load_policy(run).act(np.zeros(11))
    assert action.shape == (2,)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(RunDirectoryError, match="exists already"):
        pogospec.run(spec, out=tmp_path / "run")


def test_a_sweep_from_python(tmp_path):
    with pytest.raises(UsageError, match="sweeps nothing; give a grid"):
        pogospec.sweep("td3_bc", out=tmp_path / "none")
    grid = {"schedule.steps[0].tau": [1, 2.5]}
    runs = pogospec.sweep("td3_bc", grid, tmp_path / "sweep", SMALL)
    assert [run.manifest["sweep"] for run in runs] == [{"schedule.steps[0].tau": 1}, {"schedule.steps[0].tau": 2.5}]
    assert {run.status()["state"] for run in runs} == {"done"}
    assert pogospec.load_policy(runs[1]).act(np.zeros(11)).shape == (2,)


def test_a_program_is_pure_functions_that_run_under_jit_and_vmap():
    small = [(f"{slot}.hidden", "[8]") for slot in ("policy", "behavior", "critic")]
    program = pogospec.compile(pogospec.load("pogo_fr_two_step", small), SPACE)
    assert [stage.label for stage in program.stages] == ["step 1", "step 2"]
    batch, keys = jax.device_put(Batch(*dataset().transitions)), jax.vmap(jax.random.key)(np.arange(3))

    def two_updates(key):
        state = program.init(program.numbers, key)
        for stage in program.stages:
            state = stage.enter(program.numbers, state, batch, key)
            update = lambda state, index, stage=stage: stage.update(  # noqa: E731
                program.numbers, state, batch, jax.random.fold_in(key, index), index
            )
            state, info = jax.lax.scan(update, state, np.arange(2))
        return state, info

    together, info = jax.jit(jax.vmap(two_updates))(keys)
    alone, _ = jax.jit(two_updates)(keys[1])
    together, info, alone = jax.device_get((together, info, alone))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((together, info)))
    for many, one in zip(jax.tree.leaves(together.policy), jax.tree.leaves(alone.policy), strict=True):
        np.testing.assert_allclose(many[1], one, rtol=2e-4, atol=1e-6)
    moved = jax.tree.map(lambda a, b: (a != b).any(), together.policy, together.reference)
    assert all(jax.tree.leaves(moved))


def test_public_names_start_no_backend():
    code = (
        "import sys, pogospec; assert 'jax' not in sys.modules and 'numpy' not in sys.modules\n"
        "names = [getattr(pogospec, name) for name in pogospec.__all__]; pogospec.load('pogo_fr_two_step')\n"
        "from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()\n"
        "assert set(pogospec.__all__) <= set(dir(pogospec))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
