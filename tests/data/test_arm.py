"""The two-link arm and its set: statics and rewards worked out by hand, two modes, and what behaviours score."""

import csv

import mujoco
import numpy as np
import pytest
from commands import pogospec

from pogospec import data
from pogospec.data.gym import quiet
from pogospec.data.pocket.behaviors import arm_controller
from pogospec.data.pocket.collect import REFERENCE_SEED
from pogospec.data.sources import pocket
from pogospec.data.tasks import ARM, make
from pogospec.data.tasks.arm import MODEL, postures, sag
from pogospec.errors import TaskError
from pogospec.evaluate import Evaluator

NAME = "pocket/arm-two-modes"


@pytest.fixture
def arm():
    with quiet():
        made = make(ARM)
        yield made
        made.close()


def hand(angles):
    links = np.array([angles[0], angles.sum()])
    return 0.5 * np.array([np.cos(links).sum(), np.sin(links).sum()])


def scores(act, episodes=5):
    """Scores of a controller in the first of the reference episodes."""
    evaluator = Evaluator(ARM, episodes, REFERENCE_SEED)
    returns = evaluator.rollout(lambda seen, time: np.array([[act(row) for row in seen[0]]]), 1)
    evaluator.close()
    low, high = (pocket.cards()[NAME]["reference"][key] for key in ("low", "high"))
    return 100 * (returns[0] - low) / (high - low)


@pytest.mark.parametrize("target", [(0.5, 0.3), (0.2, -0.35), (0.74, 0.0)])
def test_both_postures_reach_the_target_and_their_mean_does_not(target):
    both = postures(np.array(target))
    for angles in both:
        np.testing.assert_allclose(hand(angles), target, atol=1e-12)
    assert both[0, 1] > 0 > both[1, 1]
    missed = np.linalg.norm(hand(both.mean(0)) - target)
    assert missed == pytest.approx(1.0 - np.hypot(*target))  # stretched towards it


def test_a_servo_sags_by_what_gravity_asks_of_it(arm):
    arm.reset(seed=0)
    for told in ([0.0, 0.0], [0.4, -1.2], [-1.3, 2.0]):
        for _ in range(5):
            angles = arm.step(np.array(told))[0][:2]
        held = np.array(told) - angles
        np.testing.assert_allclose(held, sag(angles), atol=1e-5)
    # at the horizontal: 0.5 kg at 0.25 m and at 0.75 m on the shoulder, and at 0.25 m on the elbow
    np.testing.assert_allclose(sag(np.zeros(2)), [0.5 * 9.81 / 30, 0.5 * 9.81 * 0.25 / 15])


def test_a_reward_is_the_mean_closeness_at_the_end_of_an_action(arm):
    seen = arm.reset(seed=3)[0]
    model = mujoco.MjModel.from_xml_path(str(MODEL))  # pyright: ignore[reportAttributeAccessIssue]
    again = mujoco.MjData(model)  # pyright: ignore[reportAttributeAccessIssue]
    again.qpos[:] = seen[:2]
    rng = np.random.default_rng(0)
    for _ in range(3):
        target, action = seen[4:6], rng.uniform(arm.action_space.low, arm.action_space.high)
        again.ctrl[:] = action
        closeness = []
        for _ in range(45):
            mujoco.mj_step(model, again)  # pyright: ignore[reportAttributeAccessIssue]
            gap = hand(again.qpos) - target
            closeness.append(np.exp(-0.5 * gap @ gap / 0.1**2))
        seen, reward = arm.step(action)[:2]
        assert reward == pytest.approx(np.mean(closeness[-25:]), abs=1e-9)
        np.testing.assert_allclose(seen[:4], [*again.qpos, *again.qvel], atol=1e-9)


def test_episodes_begin_at_rest_are_forty_actions_and_come_again(arm):
    def episode(seed):
        seen = [arm.reset(seed=seed)[0]]
        ends = []
        while not any(ends):
            found, _, terminated, truncated, _ = arm.step(arm_controller(seen[-1], 0))
            assert not terminated
            seen.append(found)
            ends.append(truncated)
        return np.array(seen)

    first, other = episode(5), episode(6)
    assert len(first) == 41
    np.testing.assert_array_equal(first[0, 2:4], 0.0)
    np.testing.assert_array_equal(first, episode(5))
    assert np.abs(first[:, 4:] - other[:, 4:]).max() > 0.1
    distance = np.linalg.norm(first[:, 4:], axis=1)
    bearing = np.arctan2(first[:, 5], first[:, 4])
    assert 0.35 <= distance.min() < distance.max() <= 0.75
    assert -1 <= bearing.min() < -0.5 < 0.5 < bearing.max() <= 1


def test_behaviours_score_as_documented():
    rng = np.random.default_rng(0)
    low, high = np.array([-2.4, -2.6]), np.array([2.4, 2.6])
    found = {
        "random": scores(lambda seen: rng.uniform(low, high)).mean(),
        "between": scores(lambda seen: postures(seen[4:6]).mean(0)).mean(),
        "coin": scores(lambda seen: arm_controller(seen, int(rng.integers(2)))).mean(),
        "nearest": scores(arm_controller).mean(),
        "upper reference": scores(lambda seen: arm_controller(seen, weightless=False)).mean(),
    }
    assert found["random"] == pytest.approx(0, abs=1.5)
    assert found["between"] == pytest.approx(-2, abs=0.5)
    assert found["coin"] == pytest.approx(75, abs=7)
    assert found["nearest"] == pytest.approx(81, abs=5)
    assert found["upper reference"] == pytest.approx(100, abs=3)


def test_logged_actions_have_two_modes_in_every_state():
    rows = data.load(NAME).transitions
    action = rows.actions * np.array([2.4, 2.6])
    both = np.array([postures(target) for target in rows.observations[:, 4:6].astype(float)])
    gaps = np.abs(action[:, None] - both)  # [rows, postures, joints]
    chosen = gaps.max(-1).argmin(-1)
    off = action - both[np.arange(len(action)), chosen]
    # nine in ten are off by normals whose std is ~ U(0.1, 0.4), half of them by less than 0.152; one in ten is uniform
    assert 0.44 < (np.abs(off) < 0.152).mean() < 0.48
    stretched = np.abs(action - both.mean(1))[:, 1] < 0.5
    assert stretched.mean() == pytest.approx(0.1 * 0.5 / 2.6, abs=0.004)  # the uniform ones alone
    # the coin knows neither the posture that the arm is in nor the target
    up = rows.observations[:, 1] < 0
    for name, some in {"down": ~up, "up": up, "high": rows.observations[:, 5] > 0.2}.items():
        share = chosen[some].mean()
        assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(some.sum()), name


def test_an_action_of_other_size_and_an_unknown_arm_are_refused():
    evaluator = Evaluator(ARM, 1, 0)
    with pytest.raises(TaskError, match="needs actions of shape"):
        evaluator.rollout(lambda seen, time: np.zeros((1, 1, 3)), 1)
    with pytest.raises(TaskError, match="TwoLinkArm-v1"):
        make("pogospec/TwoLinkArm-v1")


@pytest.mark.exhaustive("trains two clones")
def test_a_clone_of_one_mode_misses_and_one_of_several_reaches(tmp_path):
    families = {"one": "{kind: gaussian, hidden: [64]}", "several": "{kind: gaussian_mixture, hidden: [64]}"}
    found = {}
    for name, family in families.items():
        settings = {
            "policy": family, "optimizer.learning_rate": 3e-3, "evaluate.every": 2000, "evaluate.episodes": 5,
            "evaluate.action": "mean" if name == "one" else "sample",
        }  # fmt: skip
        given = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
        pogospec("run", "bc", "--dataset", NAME, "--updates", 2000, *given, "--quiet", "--out", tmp_path / name)
        rows = list(csv.DictReader((tmp_path / name / "returns.csv").read_text().splitlines()))
        found[name] = np.mean([float(row["return"]) for row in rows if row["total_update"] == "2000"])
    behavior = pocket.cards()[NAME]["mean_return"]
    assert found["one"] < pocket.cards()[NAME]["random_return"]
    assert found["several"] > 0.5 * behavior
