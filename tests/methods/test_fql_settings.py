"""specs/fql.yaml on D4RL and OGBench, against the command lines of its authors, read again one by one."""

from typing import Any

import pytest

from pogospec.checking.check import load
from pogospec.data.sources.ogbench import IDS
from pogospec.spec.shipped import spec_path, suite_path
from pogospec.spec.suite import read_suite

ADROIT = [
    f"D4RL/{task}/{sort}-v2" for task in ("pen", "door", "hammer", "relocate") for sort in ("human", "cloned", "expert")
]
LINES = {
    "antmaze-large-navigate": "--agent.q_agg=min --agent.alpha=10",
    "antmaze-giant-navigate": "--agent.discount=0.995 --agent.q_agg=min --agent.alpha=10",
    "humanoidmaze-medium-navigate": "--agent.discount=0.995 --agent.alpha=30",
    "humanoidmaze-large-navigate": "--agent.discount=0.995 --agent.alpha=30",
    "antsoccer-arena-navigate": "--agent.discount=0.995 --agent.alpha=10",
    "cube-single-play": "--agent.alpha=300",
    "cube-double-play": "--agent.alpha=300",
    "scene-play": "--agent.alpha=300",
    "puzzle-3x3-play": "--agent.alpha=1000",
    "puzzle-4x4-play": "--agent.alpha=1000",
    "d4rl/antmaze-umaze-v2": "--offline_steps=500000 --agent.alpha=10",
    "d4rl/antmaze-umaze-diverse-v2": "--offline_steps=500000 --agent.alpha=10",
    "d4rl/antmaze-medium-play-v2": "--offline_steps=500000 --agent.alpha=10",
    "d4rl/antmaze-medium-diverse-v2": "--offline_steps=500000 --agent.alpha=10",
    "d4rl/antmaze-large-play-v2": "--offline_steps=500000 --agent.alpha=3",
    "d4rl/antmaze-large-diverse-v2": "--offline_steps=500000 --agent.alpha=3",
}
ALPHAS = (10000, 10000, 3000, 30000, 30000, 30000, 30000, 10000, 30000, 10000, 30000, 30000)
LINES |= {
    name: f"--offline_steps=500000 --agent.q_agg=min --agent.alpha={alpha}"
    for name, alpha in zip(ADROIT, ALPHAS, strict=True)
}


def ids(name):
    """A dataset, or the six tasks of an environment of OGBench."""
    return [name] if "/" in name else [one for one in IDS if one.startswith(f"ogbench/{name}-singletask")]


@pytest.mark.parametrize("name", LINES)
def test_settings_are_those_of_the_command_lines(name):
    flags = dict(part.lstrip("-").split("=") for part in LINES[name].split())
    assert len(ids(name)) in (1, 6)
    for dataset in ids(name)[-2:]:
        spec: Any = load(spec_path("fql"), [("data.dataset", dataset)])
        (step,) = spec.schedule.steps
        assert 1 / (2 * step.tau) == pytest.approx(float(flags["agent.alpha"]), rel=1e-12)
        assert step.updates == int(flags.get("offline_steps", 1_000_000))
        assert spec.critic.q_agg == flags.get("agent.q_agg", "mean")
        assert spec.critic.discount == float(flags.get("agent.discount", 0.99))
        assert spec.energy["q"].scale == "none"
        assert spec.policy.hidden == spec.behavior.hidden == spec.critic.hidden == (512,) * 4
        assert (spec.seeds, spec.evaluate.episodes) == (8, 50)
        assert spec.data.reward.shift == (-1.0 if "antmaze" in dataset and "d4rl" in dataset else 0.0)


@pytest.mark.parametrize(("suite", "count"), [("fql_ogbench", 50), ("fql_d4rl", 18)])
def test_the_suites_are_all_of_them(suite, count):
    found = [task.dataset for task in read_suite(suite_path(suite)).tasks]
    wanted = [one for name in LINES for one in ids(name) if "-singletask-v0" not in one]
    assert set(found) == {one for one in wanted if one.startswith("ogbench/") is (suite == "fql_ogbench")}
    assert len(found) == count
