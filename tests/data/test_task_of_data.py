"""What data say of their task is kept, may be overridden by data, never by code, and is judged alike everywhere."""

import json
import sys
import time
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from commands import pogospec, sets
from made import columns, write
from minari.serialization import serialize_space

from pogospec import data, modules
from pogospec.checking.check import load as load_spec
from pogospec.data import catalog
from pogospec.data.columns import compact
from pogospec.data.gym import quiet
from pogospec.data.inspection import examine
from pogospec.data.sources.imported import import_file
from pogospec.data.sources.minari import folder_of, local_ids
from pogospec.data.tasks import guard, play, task_of
from pogospec.errors import DataError, PogospecError, SpecError, TaskError
from pogospec.evaluate import Evaluator
from pogospec.launch.record import new_run
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read

ABOUT = dict.fromkeys(("algorithm_name", "author", "author_email", "code_permalink"), "a test")
IMAGES = gymnasium.spaces.Box(0, 255, (32, 32, 1), np.uint8)
SWING = {"g": 2.0, "max_episode_steps": 30}


def collect(dataset_id, name="Pendulum-v1", wrap=lambda env: env, form="hdf5", episodes=2, **arguments):
    """A Minari dataset of random actions."""
    with quiet():
        env = minari.DataCollector(wrap(gymnasium.make(name, **arguments)), data_format=form)
        env.action_space.seed(0)
        for seed in range(episodes):
            env.reset(seed=seed)
            over = False
            while not over:
                *_, ended, cut, _ = env.step(env.action_space.sample())
                over = ended or cut
        env.create_dataset(dataset_id=dataset_id, **ABOUT)
        env.close()


def rescaled(env):
    bounds: Any = (-0.5, 0.5)  # Minari keeps no wrapper whose arguments JSON has not
    return gymnasium.wrappers.RescaleAction(env, *bounds)


def by_hand(action, wrap=lambda env: env, seed=3, **arguments):
    """The return of a constant action in an environment that Gymnasium makes, and the steps of its episode."""
    with quiet():
        env = wrap(gymnasium.make("Pendulum-v1", **arguments))
        env.reset(seed=seed)
        total, steps, over = 0.0, 0, False
        while not over:
            _, reward, ended, cut, _ = env.step(np.full(1, action, np.float32))
            total, steps, over = total + float(reward), steps + 1, ended or cut
    return total, steps


def rolled_out(environment, action):
    evaluator = Evaluator(environment, 1, 3)
    found = evaluator.rollout(lambda observations, time: np.full((1, 1, 1), action), 1)[0, 0]
    evaluator.close()
    return found, evaluator.lengths[0, 0]


def spec_on(dataset_id, *more):
    given = [("data.dataset", json.dumps(dataset_id)), ("policy.hidden", "[4]"), *more]
    return load_spec("bc", given)


def edit(dataset_id, **changes):
    """Change the metadata of a Minari dataset; None leaves an entry out."""
    path = folder_of(dataset_id) / "metadata.json"
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def test_arguments_limit_and_wrappers_of_minari_are_those_of_evaluation(places, tmp_path):
    collect("aa/swing-v0", wrap=rescaled, **SWING)
    found = data.load("aa/swing-v0")
    task = task_of(str(found.environment))
    assert (task.id, task.arguments) == ("Pendulum-v1", SWING)
    assert task_of(str(task)) == task
    wanted = by_hand(0.3, rescaled, **SWING)
    assert rolled_out(found.environment, 0.3) == pytest.approx(wanted)
    assert abs(wanted[0] - by_hand(0.3)[0]) > 100  # the plain task is another
    run = new_run(spec_on("aa/swing-v0"), found, tmp_path / "run", "cpu")
    assert run.manifest["environment"] == found.environment
    shown = pogospec("data", "inspect", "aa/swing-v0").stdout
    assert '"g": 2.0' in shown
    assert '"max_episode_steps": 30' in shown
    assert "RescaleAction" in shown


def test_a_spec_overrides_id_arguments_and_limit(places):
    collect("aa/swing-v0", **SWING)

    def played(*more):
        return task_of(str(data.load_for(spec_on("aa/swing-v0", *more)).environment))[:2]

    assert played() == ("Pendulum-v1", SWING)
    assert played(("data.arguments", "{g: 5.0}")) == ("Pendulum-v1", {"max_episode_steps": 30, "g": 5.0})
    assert played(("data.arguments.g", "5.0"))[1] == {"max_episode_steps": 30, "g": 5.0}
    assert played(("data.max_episode_steps", "7"))[1] == {"g": 2.0, "max_episode_steps": 7}
    assert played(("data.environment", "Pendulum-v1")) == ("Pendulum-v1", {})
    environment = data.load("aa/swing-v0", arguments={"g": 5.0}, max_episode_steps=7).environment
    assert rolled_out(environment, 0.3) == pytest.approx(by_hand(0.3, g=5.0, max_episode_steps=7))


def test_arguments_of_no_environment_or_of_code_are_refused_in_their_place(places, tmp_path):
    write(tmp_path / "plain.npz")
    with pytest.raises(TaskError, match=r"data\.arguments: the data name no environment; set data\.environment"):
        data.load(f"file:{tmp_path}/plain.npz", arguments={"g": 2.0})
    for value, words in (
        ("{a: 'os:system'}", "os:system"),
        ("[1]", "allowed a mapping"),
        ("{a: .nan}", "JSON has not"),
    ):
        with pytest.raises(SpecError, match=words):
            spec_on("pocket/reacher-mixed", ("data.arguments", value))


def test_the_evaluation_environment_that_minari_data_name_is_the_one(places):
    collect("aa/swing-v0", **SWING)
    spec = json.loads(json.loads((folder_of("aa/swing-v0") / "metadata.json").read_text())["env_spec"])
    edit("aa/swing-v0", eval_env_spec=json.dumps(spec | {"kwargs": {"g": 9.0}, "max_episode_steps": 200}))
    assert data.read("aa/swing-v0").environment == 'Pendulum-v1 {"g": 9.0}'  # 200 is Pendulum's own limit


def test_reference_returns_of_the_data_make_their_scores_in_their_task_alone(places, tmp_path):
    collect("aa/swing-v0")
    edit("aa/swing-v0", ref_min_score=-1500.0, ref_max_score=-500.0)
    found = data.load("aa/swing-v0").reference
    assert found is not None
    assert found.score(-750.0) == 75.0
    assert data.load("aa/swing-v0", arguments={"g": 2.0}).reference is None
    for low, high in ((1.0, 1.0), (float("nan"), 1.0), ("x", 1.0), (None, 1.0)):
        edit("aa/swing-v0", ref_min_score=low, ref_max_score=high)
        assert data.load("aa/swing-v0").reference is None
    swing = {"observations": np.zeros((8, 3), np.float32), "low": np.array([-2.0]), "high": np.array([2.0])}
    stated = {"environment": np.array("Pendulum-v1"), "arguments": np.array('{"g": 2.0}')}
    stated |= {"max_episode_steps": np.array(30), "ref_min_score": np.array(-10.0), "ref_max_score": np.array(0.0)}
    import_file(write(tmp_path / "own.npz", **swing, **stated), "mine/own")
    for name in (f"file:{tmp_path}/own.npz", "mine/own"):
        own = data.load(name)
        assert own.reference is not None
        assert (task_of(str(own.environment))[:2], own.reference[:2]) == (("Pendulum-v1", SWING), (-10.0, 0.0))


def test_d4rl_reference_returns_are_those_of_the_plain_task():
    from pogospec.data.tasks.references import reference_for

    assert reference_for("Hopper-v5") is not None
    assert reference_for('Hopper-v5 {"healthy_reward": 5.0}') is None


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_the_storages_of_minari_hold_the_same_rows(places, form):
    collect("aa/one-v0", **SWING)
    collect("aa/two-v0", form=form, **SWING)
    one, two = data.load("aa/one-v0"), data.load("aa/two-v0")
    for a, b in zip(one.transitions, two.transitions, strict=True):
        np.testing.assert_array_equal(a, b)
    assert two.environment == one.environment
    before = two.sha256
    file = next((folder_of("aa/two-v0") / "1").glob("*.*"))
    file.write_bytes((folder_of("aa/two-v0") / "0" / file.name).read_bytes())
    assert data.load("aa/two-v0").sha256 != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_format": "lance"}, "stored in the format 'lance', which is not read; allowed hdf5, arrow, parquet"),
        ({"minari_version": "9.9"}, "stored by Minari 9.9, which the Minari that is installed does not read"),
        ({"observation_space": None}, "lacks observation_space; write the space"),
        ({"action_space": '{"type": "Discrete", "n": 2, "start": 0}'}, r"action_space Discrete\(2\), allowed a Box"),
        (
            {"observation_space": json.dumps({"type": "Tuple", "subspaces": []})},
            r"observation_space Tuple\(\), allowed a Box of numbers, or a Dict",
        ),
        ({"observation_space": serialize_space(IMAGES)}, "observation_space images, allowed a Box of numbers"),
    ],
)  # fmt: skip
def test_a_minari_set_that_is_not_read_is_not_called_damaged(places, changes, words):
    collect("aa/swing-v0", max_episode_steps=3)
    edit("aa/swing-v0", **changes)
    with pytest.raises(DataError, match=words) as caught:
        data.read("aa/swing-v0")
    assert "damaged" not in str(caught.value)
    assert "remove" not in str(caught.value)
    catalog.at_hand()


def test_rows_of_any_shape_are_flat_and_a_lost_observation_costs_one_row(places):
    collect("aa/swing-v0", max_episode_steps=5)
    whole = data.load("aa/swing-v0").transitions
    with h5py.File(folder_of("aa/swing-v0") / "main_data.hdf5", "a") as file:
        group: Any = file["episode_1"]
        for name, change in (("observations", lambda rows: rows[:-1]), ("rewards", lambda rows: rows[:, None])):
            changed = change(group[name][()])
            del group[name]
            group[name] = changed
        group["actions"][2] = 2.5
    found = data.read("aa/swing-v0")
    assert found.faults() == []
    assert "first in row 7 (episode 1, step 2): [2.5]" in found.changes[0]
    assert "1 episodes lack their last observation" in found.changes[1]
    loaded = found.dataset()
    assert len(loaded.changes) == 2
    np.testing.assert_array_equal(loaded.transitions.observations, whole.observations[:9])
    np.testing.assert_array_equal(loaded.transitions.next_observations, whole.next_observations[:9])
    assert loaded.transitions.actions[7, 0] == 1.0  # the bound, scaled
    assert loaded.transitions.terminated.sum() == 0


# what a file names is never imported


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module that registers an environment, and leaves a trace where it was imported."""
    (tmp_path / "evil_task.py").write_text(
        f"open({str(tmp_path / 'trace')!r}, 'w').close()\n"
        "import gymnasium\n"
        "from gymnasium.envs.classic_control.pendulum import PendulumEnv\n"
        "gymnasium.register('Evil-v0', PendulumEnv, max_episode_steps=9)\n"
        "class Wrap(gymnasium.Wrapper):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "trace"
    sys.modules.pop("evil_task", None)
    gymnasium.registry.pop("Evil-v0", None)


PENDULUM = {"observations": np.zeros((8, 3), np.float32)}
BOUNDS = {"low": np.array([-2.0]), "high": np.array([2.0])}


def hostile(kind, folder):
    """A dataset of each kind that names code, with a way to name it."""
    if kind == "attribute":
        path = write(folder / "evil.hdf5", **PENDULUM, **BOUNDS)
        with h5py.File(path, "a") as file:
            file.attrs["environment"] = "evil_task:Evil-v0"
        return f"file:{path}"
    if kind in ("bounds", "argument"):
        name = "evil_task:Evil-v0" if kind == "bounds" else "Pendulum-v1"
        more = {} if kind == "bounds" else {"arguments": np.array('{"inner": [{"entry_point": "evil_task.Wrap"}]}')}
        return f"file:{write(folder / 'evil.npz', **PENDULUM, environment=np.array(name), **more)}"
    collect("aa/evil-v0", max_episode_steps=4)
    spec = json.loads(json.loads((folder_of("aa/evil-v0") / "metadata.json").read_text())["env_spec"])
    wrapper = {"name": "Wrap", "entry_point": "evil_task:Wrap", "kwargs": {}}
    changes = {
        "id": {"id": "evil_task:Evil-v0"},
        "wrapper": {"additional_wrappers": [wrapper]},
        "kwargs": {"kwargs": {"env_id": "evil_task:Evil-v0"}},
        "spaces": {"id": "Evil-v0", "entry_point": "evil_task:Wrap"},
    }[kind]
    edit("aa/evil-v0", env_spec=json.dumps(spec | changes), **({"action_space": None} if kind == "spaces" else {}))
    return "aa/evil-v0"


@pytest.mark.parametrize("kind", ["attribute", "bounds", "argument", "id", "wrapper", "kwargs", "spaces"])
def test_no_data_import_a_module(places, tmp_path, evil, kind):
    dataset_id = hostile(kind, tmp_path)
    told = []
    try:
        found = data.read(dataset_id)
        told = examine(found)["faults"]
        new_run(spec_on(dataset_id), found.dataset(), tmp_path / "run", "cpu")
    except DataError as error:
        told.append(str(error))
    assert told
    assert not evil.exists()
    assert not (tmp_path / "run").exists()
    assert kind == "spaces" or any("--allow-module" in text for text in told)
    if kind in ("attribute", "id", "wrapper"):
        with modules.allowing("evil_task"):
            examined = examine(data.read(dataset_id))
        assert (examined["faults"], evil.exists()) == ([], True)


def test_a_foreign_run_directory_imports_nothing_but_what_evaluate_is_allowed(places, tmp_path, evil):
    path = write(tmp_path / "rows.npz", **PENDULUM, **BOUNDS)
    small = sets("policy.hidden=[4]", "schedule.steps[*].updates=2", "train.batch_size=4", "evaluate.episodes=1")
    run = tmp_path / "run"
    pogospec("run", "bc", "--dataset", f"file:{path}", *small, "--out", run, "--quiet")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"environment": "evil_task:Evil-v0"}))
    refused = pogospec("evaluate", run, check=False, cwd=tmp_path)
    assert refused.returncode == 2
    assert "names code, 'evil_task:Evil-v0', whose module is not allowed" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not evil.exists()
    assert "step 1" in pogospec("evaluate", run, "--allow-module", "evil_task", cwd=tmp_path).stdout
    assert evil.exists()


def test_an_allowed_module_may_register_what_a_spec_names(places, tmp_path, evil):
    path = write(tmp_path / "rows.npz", **PENDULUM)
    with pytest.raises(DataError, match="allow the module that registers it with --allow-module"):
        data.load(f"file:{path}", "Evil-v0")
    with modules.allowing("evil_task"):
        assert data.load(f"file:{path}", "Evil-v0").space.low == (-2.0,)
        assert (
            spec_on(f"file:{path}", ("data.environment", "evil_task:Evil-v0")).data.environment == "evil_task:Evil-v0"
        )
    with pytest.raises(SpecError, match="allowed the id alone"):
        spec_on(f"file:{path}", ("data.environment", "evil_task:Evil-v0"))


# what environments do wrong


class Sound(gymnasium.Env):
    """An environment of which one method is made wrong by each case."""

    observation_space, action_space = gymnasium.spaces.Box(-9, 9, (2,)), gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, wrong=None):
        self.wrong = wrong
        self.act("make")

    def act(self, where):
        if self.wrong == f"{where} raises":
            raise ZeroDivisionError("by no means")
        if self.wrong == f"{where} exits":
            sys.exit(3)
        while self.wrong == f"{where} hangs":
            try:
                time.sleep(0.01)
            except Exception:
                continue

    def reset(self, *, seed=None, options=None):
        self.act("reset")
        return np.zeros(3 if self.wrong == "reset is of another size" else 2, np.float32), {}

    def step(self, action):
        self.act("step")
        found = np.zeros(1 if self.wrong == "step is of another size" else 2, np.float32)
        reward = np.ones(2) if self.wrong == "step rewards twice" else np.array([1.0])
        if self.wrong == "step gives four":
            return found, 1.0, True, {}
        return found, reward, self.wrong != "step never ends", False, {}


WRONG = [f"{where} {how}" for where in ("make", "reset", "step") for how in ("raises", "exits", "hangs")]
WRONG += ["reset is of another size", "step is of another size", "step rewards twice", "step gives four"]
WRONG += ["step never ends"]


@pytest.fixture
def sound():
    gymnasium.register("Sound-v0", lambda **arguments: Sound(**arguments), disable_env_checker=True)
    yield
    gymnasium.registry.pop("Sound-v0")


@pytest.mark.parametrize("wrong", WRONG)
def test_what_an_environment_does_wrong_is_told_with_its_key_before_training(sound, monkeypatch, tmp_path, wrong):
    monkeypatch.setattr(play, "LONGEST", 50)
    short = guard._alarm
    monkeypatch.setattr(guard, "_alarm", lambda seconds: short(0.2))
    observed = {"observations": np.zeros((8, 2), np.float32)}
    stated = {"environment": np.array("Sound-v0"), "arguments": np.array(json.dumps({"wrong": wrong}))}
    path = write(tmp_path / "rows.npz", **observed, **stated, low=np.array([-1.0]), high=np.array([1.0]))
    found = data.read(f"file:{path}")
    with pytest.raises(TaskError, match="Sound-v0.*data.environment|Sound-v0.*data.max_episode_steps") as caught:
        new_run(spec_on(f"file:{path}"), found.dataset(), tmp_path / "run", "cpu")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert examine(data.read(f"file:{path}"))["faults"] == [str(caught.value)]
    cure = data.load(f"file:{path}", max_episode_steps=5)
    if wrong == "step never ends":
        assert rolled_out(cure.environment, 0.0) == (5.0, 5)


def test_a_timer_of_before_goes_on(sound):
    import signal

    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with guard.guarded("any", "stepped"):
            time.sleep(0.05)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.3
        time.sleep(0.4)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGALRM, before)


# inspection and training judge alike


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rewards": np.full(8, 1e30)},
        {"rewards": np.full(8, 1e14)},
        {"rewards": np.full(8, np.nan)},
        {"observations": np.full((8, 1), 1e300)},
        {"timeouts": np.ones(8, bool), "terminals": np.zeros(8, bool)},
        {"actions": np.full((8, 1), 3.0)},
        {"low": np.array([1.0]), "high": np.array([1.0])},
        {"environment": np.array("Pendulum-v1")},  # of other sizes
        {"environment": np.array("Nowhere-v0"), "low": np.array([-1.0]), "high": np.array([1.0])},
        {"environment": np.array("Pendulum-v1 {"), "low": np.array([-1.0]), "high": np.array([1.0])},
    ],
)
def test_inspection_refuses_what_training_refuses(tmp_path, changes):
    path = tmp_path / "rows.npz"
    np.savez(path, **columns(**changes))
    dataset_id = f"file:{path}"

    def refused(act):
        try:
            return act()
        except PogospecError:
            return True

    inspected = refused(lambda: not examine(data.read(dataset_id))["ok"])
    trained = refused(lambda: not new_run(spec_on(dataset_id), data.load(dataset_id), tmp_path / "run", "cpu"))
    assert (
        inspected
        == trained
        == (bool(changes) and "1e14" not in str(changes) and changes.get("rewards", [0])[0] != 1e14)
    )


def test_rewards_that_the_spec_scales_are_judged_as_they_are_trained_on(tmp_path):
    path = write(tmp_path / "rows.npz", rewards=np.arange(8) * 1e28)
    spec = spec_on(f"file:{path}", ("data.reward.scale", "1e-28"))
    assert new_run(spec, data.load_for(spec), tmp_path / "run", "cpu").manifest["data_changes"] == []


# precision, links and paths


def test_small_steps_at_a_large_offset_survive_until_they_are_standardised(tmp_path):
    import jax

    from pogospec.data.arrays import standardize
    from pogospec.policies.gaussian import GaussianPolicy
    from pogospec.runs.saved import SavedPolicy
    from pogospec.types import Space

    draw = np.random.default_rng(0)
    rows = np.stack([1e6 + 1e-2 * draw.normal(size=8), draw.normal(size=8)], 1)
    read_ = data.load(f"file:{write(tmp_path / 'rows.npz', observations=rows)}").transitions
    found, normalizer = standardize(read_)
    used = np.concatenate([rows[:5], rows[6:7]])  # the time limit and the last row have no next observation
    exact = (used - used.mean(0)) / (used.std(0) + 1e-3)
    np.testing.assert_allclose(found.observations, exact, rtol=1e-5, atol=1e-6)
    family, space = GaussianPolicy(hidden=()), Space(2, 1, (-1.0,), (1.0,))
    network = jax.vmap(lambda key: family.init(key, space))(jax.random.split(jax.random.key(0), 1))
    saved = SavedPolicy(family, network, normalizer, space)
    again = SavedPolicy.load(*saved.dump())
    for policy in (saved, again):
        np.testing.assert_allclose(policy.normalised(used), exact, rtol=1e-5, atol=1e-6)
    assert np.ptp(again.batched()(used[None], 0)) > 0


def test_columns_are_float32_unless_that_blurs_them():
    draw = np.random.default_rng(0).normal(size=(100, 1))
    assert compact(draw).dtype == compact(draw + 100).dtype == np.float32
    assert compact(np.full((5, 1), 0.1)).dtype == np.float32  # there is nothing to blur
    assert compact(1e4 + draw).dtype == np.float64
    assert compact((1e4 + draw).astype(np.float32).astype(np.float64)).dtype == np.float32  # it was none other
    assert compact(np.array([1_700_000_000, 1_700_000_001])).dtype == np.float64


def test_links_to_folders_are_followed(places, tmp_path):
    collect("aa/swing-v0", max_episode_steps=4)
    root = tmp_path / "MINARI_DATASETS_PATH"
    (root / "aa").rename(tmp_path / "elsewhere")
    (root / "aa").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(root)
    assert local_ids()[0] == "aa/swing-v0"
    assert len(data.load("aa/swing-v0").transitions.rewards) == 8
    import_file(write(tmp_path / "rows.npz"), "mine/rows")
    (places / "mine").rename(tmp_path / "own")
    (places / "mine").symlink_to(tmp_path / "own")
    assert "mine/rows" in [entry.dataset for entry in catalog.at_hand()]


def test_a_run_finds_its_file_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    write(tmp_path / "a" / "rows.npz")
    spec = spec_on("file:rows.npz")
    run = new_run(spec, data.load_for(spec), tmp_path / "run", "cpu")
    monkeypatch.chdir(tmp_path)
    kept = read(run.path / "spec.yaml").spec
    assert kept is not None
    assert data.load_for(kept).sha256 == RunDirectory.open(run.path).manifest["data_sha256"]
    assert run.manifest["dataset"] == f"file:{tmp_path / 'a' / 'rows.npz'}"
