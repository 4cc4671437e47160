"""The published settings of D4RL's six AntMaze sets, in every spec that has some."""

import pytest

from pogospec.checking.check import checked_all, load
from pogospec.spec.shipped import suite_path
from pogospec.spec.suite import read_suite

WEIGHTS = {
    "umaze": (0.9, 0.0),
    "umaze-diverse": (0.5, 1e-3),
    "medium-play": (0.2, 3e-3),
    "medium-diverse": (0.06, 1e-3),
    "large-play": (0.1, 6e-3),
    "large-diverse": (0.06, 1e-4),
}
"""POGO-W's weight of the distance and of the entropy."""
REWARDS = {
    "bc": (1, 0),
    "td3_bc": (1, -1),
    "iql": (1, -1),
    "awac": (1, -1),
    "rebrac": (100, 0),
    "pogo_w": (1, 0),
    "pogo_w_two_step": (1, 0),
    "pogo_w_concurrent": (1, 0),
}
"""Scale and shift."""


def spec_of(name, maze):
    return load(name, [("data.dataset", f"d4rl/antmaze-{maze}-v2")])


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_and_protocol(name):
    for maze in WEIGHTS:
        spec = spec_of(name, maze)
        reward = spec.data.reward
        assert ((reward.scale, reward.shift), reward.return_range) == (REWARDS[name], None)
        assert spec.evaluate.episodes == 100
        assert spec.evaluate.every >= 50_000
        assert sum(step.updates for step in spec.schedule.in_turn) == 1_000_000


@pytest.mark.parametrize("maze", WEIGHTS)
@pytest.mark.parametrize("name", ["pogo_w", "pogo_w_two_step"])
def test_weights_of_pogo_w(name, maze):
    weight, entropy = WEIGHTS[maze]
    spec = spec_of(name, maze)
    for step in spec.schedule.steps:
        assert isinstance(step.tau, float)
        assert 1 / (2 * step.tau) == pytest.approx(weight, rel=1e-6)
        assert step.energy is not None
        assert step.energy["entropy"].weight == entropy
        assert {getattr(step.optimizer, who).learning_rate for who in step.learn} == {1e-4}
    assert spec.critic is not None
    assert spec.policy.hidden == spec.critic.hidden == (256, 256)


@pytest.mark.parametrize("maze", WEIGHTS)
def test_td3_bc_and_bc_are_as_on_other_data(maze):
    for name in ("td3_bc", "bc"):
        here, there = spec_of(name, maze), load(name, [("data.dataset", "d4rl/hopper-medium-v2")])
        assert here.schedule == there.schedule
        assert here.data.normalize_observations


def test_the_suite_is_the_table_of_the_paper():
    suite = read_suite(suite_path("antmaze"))
    specs = checked_all([task.document for task in suite.tasks])
    assert [task.dataset for task in suite.tasks[::5]] == [f"d4rl/antmaze-{maze}-v2" for maze in WEIGHTS]
    assert [task.method for task in suite.tasks[:5]] == ["iql", "td3-bc", "pogo-w", "rebrac", "pogo-w-two-step"]
    assert {(spec.seeds, spec.evaluate.episodes) for spec in specs} == {(5, 100)}
