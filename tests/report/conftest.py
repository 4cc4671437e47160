"""Hand-made run directories."""

import io

import flows
import numpy as np
import pytest
from rich.console import Console

import pogospec
from pogospec.launch.ending import report
from pogospec.runs.directory import RunDirectory

REFERENCE = {"low": -10.0, "high": 40.0, "source": "made up", "label": "made-up score"}
BEHAVIOR = np.array([[1.0, 3.0], [5.0, 5.0], [6.0, 8.0]])
STEPS = {100: np.array([[0.0, 0.0]] * 3), 200: np.array([[4.0, 6.0], [9.0, 11.0], [8.0, 10.0]])}
VERSIONS = {"mujoco": "4.0.0", "gymnasium": "1.4.0", "jax": "0.10.2"}


def make_run(path, seeds=3, done=True, more=(), evaluated=True, spec="", **changes):
    """Two steps of 200 updates, evaluated twice each; 3, 4, 1 and 2 seconds a chunk of 100 updates."""
    manifest = {
        "name": "flow", "digest": "d", "dataset": "pocket/x", "data_sha256": "a" * 64, "environment": "X-v4",
        "reference": REFERENCE, "seeds": seeds, "episodes": 2, "action": "mean", "evaluation_seed": 1000,
        "versions": VERSIONS,
    }  # fmt: skip
    run = RunDirectory.create(path, spec, manifest | changes, ["q"])
    for total, seconds in ((100, 3.0), (200, 4.0), (300, 1.0), (400, 2.0)):
        stage, own = ("step 1", {"critic_loss"}) if total <= 200 else ("step 2", set())
        for seed in range(seeds):
            values = {"critic_loss": 10.0 * seed + total, "energy.q": -float(seed**2)}
            values = {name: value for name, value in values.items() if name in own or name == "energy.q"}
            run.append_metrics(seed, stage, total - 200 * (total > 200), total, seconds, 1.0, values)
    if evaluated:
        for total, returns in STEPS.items():
            run.append_returns("step 1", total, returns[:seeds], "step 1")
        run.append_returns("behavior", 200, BEHAVIOR[:seeds], "step 1")
        run.append_returns("step 2", 300, STEPS[200][:seeds] + 1, "step 2")
        run.append_returns("step 2", 400, STEPS[200][:seeds] * 2, "step 2")
    for policy, total, returns in more:
        run.append_returns(policy, total, np.asarray(returns, float), policy)
    run.status("done" if done else "running")
    return run


@pytest.fixture
def make(tmp_path):
    """Make a run under tmp_path: make(name, **changes)."""
    return lambda directory="a", **changes: make_run(tmp_path / directory, **changes)


@pytest.fixture(scope="session")
def make_run_at():
    """Make a run anywhere: make_run_at(path, **changes)."""
    return make_run


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """A flow that was run: three exact Wasserstein steps on a quadratic, two seeds; its report, as it was printed."""
    out = io.StringIO()
    folder = tmp_path_factory.mktemp("ran")
    (folder / "flow.yaml").write_text("\n".join(f"{key}: {text}" for key, text in flows.SPEC.items()) + "\nseeds: 2\n")
    run = pogospec.run(folder / "flow.yaml", folder / "run")
    report(Console(file=out, width=110), run)
    return run, out.getvalue()


@pytest.fixture
def flow(tmp_path):
    """Make a flow by hand under tmp_path: flow(name, **changes)."""
    return lambda directory="flow", **changes: flows.by_hand(tmp_path / directory, **changes)
