"""Episode edges, the embedded set, real Minari data, and bad data."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pogospec import data
from pogospec.checking.check import load
from pogospec.data.arrays import from_episodes, held_out, split, standardize, transform_rewards
from pogospec.data.columns import Episode
from pogospec.data.pocket import FOLDER, collect
from pogospec.data.sources import pocket
from pogospec.errors import DataError
from pogospec.runs.directory import RunDirectory
from pogospec.spec.schema import RewardSpec
from pogospec.training.loop import _Trainer

MINARI = pytest.mark.skipif("MINARI_DATASETS_PATH" not in os.environ, reason="MINARI_DATASETS_PATH is not set")


def episode(start, length, terminated):
    observations = start + np.arange(length + 1.0)[:, None]
    end = np.arange(length) == length - 1
    return Episode(
        observations, np.full((length, 1), start / 100), np.ones(length), end & terminated, end & (not terminated)
    )


def test_nothing_crosses_the_edges_of_three_episodes():
    rows = from_episodes([episode(0, 2, True), episode(10, 3, False), episode(20, 1, True)], [-1.0], [1.0])
    np.testing.assert_array_equal(rows.observations[:, 0], [0, 1, 10, 11, 12, 20])
    np.testing.assert_array_equal(rows.next_observations[:, 0], [1, 2, 11, 12, 13, 21])
    np.testing.assert_array_equal(rows.terminated, [0, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(rows.truncated, [0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(rows.next_action_valid, [1, 0, 1, 1, 0, 0])
    np.testing.assert_allclose(rows.next_actions[:, 0], [0, 0, 0.1, 0.1, 0, 0])
    np.testing.assert_array_equal(rows.episodes, [0, 0, 1, 1, 1, 2])


def test_actions_are_scaled_from_their_bounds():
    rows = from_episodes([episode(40, 2, True)], [0.0], [0.8])
    np.testing.assert_allclose(rows.actions[:, 0], 0.0, atol=1e-7)


def test_unusable_numbers_are_refused():
    good = episode(0, 2, True)
    with pytest.raises(DataError, match="rewards holds NaN"):
        from_episodes([good._replace(rewards=np.array([1.0, np.nan]))], [-1.0], [1.0])
    with pytest.raises(DataError, match="outside the bounds"):
        from_episodes([good._replace(actions=np.full((2, 1), 1.5))], [-1.0], [1.0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"observations": np.zeros((2, 1))},
            r"episode 1: observations of shape \[2, 1\] for 2 actions, allowed \[3, obs\]",
        ),
        ({"rewards": np.zeros((2, 1))}, r"episode 1: rewards of shape \[2, 1\] for 2 actions, allowed \[2\]"),
        ({"observations": np.zeros((3, 2))}, r"observations of different sizes \[1, 2\], allowed one size"),
    ],
)
def test_episodes_of_the_wrong_shape_are_refused(changes, words):
    with pytest.raises(DataError, match=words):
        from_episodes([episode(0, 2, True), episode(10, 2, True)._replace(**changes)], [-1.0], [1.0])
    with pytest.raises(DataError, match="holds no transitions"):
        from_episodes([], [-1.0], [1.0])


def rewarded():
    """Three episodes with the returns 6, 9 and -1."""
    episodes = [episode(0, 2, True), episode(10, 3, False), episode(20, 1, True)]
    rewards = [[2.0, 4.0], [3.0, 3.0, 3.0], [-1.0]]
    return from_episodes([e._replace(rewards=np.array(r)) for e, r in zip(episodes, rewards, strict=True)], [-1], [1])


@pytest.mark.parametrize(
    ("reward", "wanted"),
    [
        (RewardSpec(), [2, 4, 3, 3, 3, -1]),
        (RewardSpec(scale=100.0), [200, 400, 300, 300, 300, -100]),
        (RewardSpec(shift=-1.0), [1, 3, 2, 2, 2, -2]),
        (RewardSpec(scale=10.0, shift=-5.0), [15, 35, 25, 25, 25, -15]),
        (RewardSpec(return_range=1000.0), [200, 400, 300, 300, 300, -100]),  # r * 1000 / (9 - -1)
        (RewardSpec(scale=2.0, shift=1.0, return_range=10.0), [5, 9, 7, 7, 7, -1]),
    ],
)
def test_rewards_are_transformed(reward, wanted):
    rows = rewarded()
    changed = transform_rewards(rows, reward)
    np.testing.assert_allclose(changed.rewards, wanted, rtol=1e-6)
    assert changed.rewards.dtype == np.float32
    np.testing.assert_array_equal(rows.rewards, [2, 4, 3, 3, 3, -1])
    assert all(a is b for a, b, name in zip(changed, rows, rows._fields, strict=True) if name != "rewards")


def test_a_return_range_of_zero_is_refused():
    rows = from_episodes([episode(0, 2, True), episode(10, 2, False)], [-1.0], [1.0])
    with pytest.raises(DataError, match="data.reward.return_range: all 2 episodes have the return 2"):
        transform_rewards(rows, RewardSpec(return_range=1000.0))


def test_training_sees_the_transformed_rewards(tmp_path):
    dataset = data.load("pocket/reacher-mixed", "Reacher-v4")
    spec = load("bc", [("data.reward", "{scale: 2, shift: -1, return_range: 1000}")])
    run = RunDirectory.create(tmp_path / "run", "", {"seeds": 1})
    trainer = _Trainer([spec], dataset, [run], lambda event: None)
    returns = np.bincount(dataset.transitions.episodes, dataset.transitions.rewards)
    wanted = dataset.transitions.rewards * 2 * 1000 / (returns.max() - returns.min()) - 1
    rows: Any = trainer.programs.data
    np.testing.assert_allclose(rows.rewards, wanted, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.99])
def test_held_out_episodes_are_measured_and_never_trained_on(share):
    rows = from_episodes([episode(0, 5, True) for _ in range(10)], [-1.0], [1.0])
    kept, held = (set(part.episodes.tolist()) for part in split(rows, share))
    assert len(held) == {0.0: 10, 0.01: 1, 0.4: 4, 0.99: 9}[share]
    assert kept == (set(range(10)) - held if share else held)
    assert set(held_out(rows, share).episodes.tolist()) == (held if share else set())


def test_standardised_observations():
    rows = data.load("pocket/hopper-mixed").transitions
    exact = np.asarray(rows.observations, np.float64)
    mean, scale = exact.mean(0), exact.std(0) + 1e-3
    changed, normalizer = standardize(rows)
    np.testing.assert_allclose(normalizer.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(normalizer.scale, scale, rtol=1e-6)
    np.testing.assert_allclose(changed.next_observations, (rows.next_observations - mean) / scale, atol=1e-4)


@pytest.mark.parametrize("name", pocket.cards())
def test_an_embedded_set_loads_fast_and_whole(name):
    start = time.process_time()
    dataset = data.load(name)
    assert time.process_time() - start < 2
    card = pocket.cards()[name]
    assert len(dataset.transitions.rewards) == card["transitions"]
    assert dataset.transitions.terminated.sum() == card["terminated"]
    assert dataset.transitions.truncated.sum() == card["truncated"]
    returns = np.bincount(dataset.transitions.episodes, dataset.transitions.rewards)
    assert returns.mean() == pytest.approx(card["mean_return"], rel=1e-4)
    assert dataset.reference is not None
    assert dataset.reference.label != "D4RL-normalised"


@pytest.mark.parametrize("name", collect.RECIPES)
def test_an_embedded_set_can_be_collected_again(name):
    first = collect.first(name, 2)
    shipped = data.load(name).transitions
    rows = min(100, sum(len(e["rewards"]) for e in first))  # contacts amplify rounding in long episodes
    for column in ("observations", "rewards"):
        again = np.concatenate([e[column] for e in first])[:rows]
        np.testing.assert_allclose(again, getattr(shipped, column)[:rows], atol=1e-4)


def test_the_embedded_suite_is_small():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 6e6


def test_a_changed_file_and_an_unknown_set_are_refused(monkeypatch, tmp_path):
    with pytest.raises(DataError, match="did you mean pocket/reacher-mixed"):
        data.load("pocket/reacher-mixd")
    raw = pocket.file_of("pocket/reacher-mixed").read_bytes()
    changed = tmp_path / "reacher-mixed.safetensors"
    changed.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    monkeypatch.setattr(pocket, "file_of", lambda _: changed)
    with pytest.raises(DataError, match="sha256"):
        data.load("pocket/reacher-mixed")


@MINARI
def test_real_minari_data():
    dataset = data.load("pogobench/hopper/medium-v0")
    assert dataset.transitions.rewards.shape == (100166,)
    assert dataset.transitions.terminated.sum() == 199
    assert dataset.transitions.truncated.sum() == 27
    assert dataset.environment == "Hopper-v4"
    assert dataset.reference is not None
    assert dataset.reference.label != "D4RL-normalised"
    assert dataset.reference.score(1619.6) == pytest.approx(50.4, abs=0.05)


@MINARI
def test_damaged_minari_data(monkeypatch, tmp_path):
    source = Path(os.environ["MINARI_DATASETS_PATH"]) / "pogobench/hopper/medium-v0/data"
    target = tmp_path / "pogobench/hopper/medium-v0/data"
    target.mkdir(parents=True)
    shutil.copy(source / "metadata.json", target)
    (target / "main_data.hdf5").write_bytes((source / "main_data.hdf5").read_bytes()[:100_000])
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"damaged .* with: pogospec data fetch pogobench/hopper/medium-v0"):
        data.load("pogobench/hopper/medium-v0")


def test_a_missing_minari_set_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(DataError, match="pogospec data fetch some/data-v0"):
        data.load("some/data-v0")
