"""Chains on a frozen critic, which has one energy: with a judge none is seen to rise, without one many are."""

import numpy as np
import pytest

import pogospec
from pogospec.data import load_for
from pogospec.launch.record import new_run
from pogospec.report.reading import read_flow
from pogospec.training.loop import train

CHAINS, REPEAT = 200, 6
SPEC = f"""
seeds: {CHAINS}
data: {{dataset: pocket/reacher-mixed, holdout: 0.1}}
policy: {{kind: gaussian, hidden: [4], mean: tanh}}
critic: {{kind: clipped_double_q, hidden: [4]}}
energy: {{q: {{critics: first, scale: batch}}, entropy: {{weight: 0.01}}}}
geometry: wasserstein2
train: {{batch_size: 4}}
optimizer: {{kind: adam, learning_rate: 0.03}}
schedule:
  steps:
    - {{learn: [critic, behavior], updates: 30}}
    - {{from: behavior, tau: 3, updates: 20, learn: [policy]}}
    - {{from: previous, tau: 3, updates: 20, learn: [policy], repeat: {REPEAT}}}
"""


def energies(folder, **judge):
    """Energies on held-out states [points, chains] after each step, and errors of their falls."""
    folder.mkdir()
    (folder / "chains.yaml").write_text(SPEC)
    spec = pogospec.load(folder / "chains.yaml", judge)
    dataset = load_for(spec)._replace(environment=None)  # nothing is rolled out
    run = new_run(spec, dataset, folder / "run", "cpu")
    train(spec, dataset, run, lambda event: None)
    columns = read_flow(run).columns
    return columns["energy"][-REPEAT - 1 :], columns["gap_error"][-REPEAT:]


@pytest.mark.exhaustive("two runs of 200 chains")
def test_no_energy_of_a_judged_chain_rises_beyond_its_error(tmp_path):
    """Measured: of 200 chains of six steps none rises with the judge, and 8% do without."""
    rises = {}
    for name, judge in {"judged": {"schedule.steps[2].judge": "proximal"}, "free": {}}.items():
        energy, error = energies(tmp_path / name, **judge)
        assert energy.shape == (REPEAT + 1, CHAINS)
        beyond = np.diff(energy, axis=0) > np.maximum(np.nan_to_num(error), 1e-6 * np.abs(energy[1:]))
        rises[name] = float(beyond.any(0).mean())
    assert rises["judged"] == 0
    assert rises["free"] >= 0.03
