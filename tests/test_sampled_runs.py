"""Geometries between samples, as users run them: `check`, `explain`, `run`, `explain` of the run."""

import csv
import math
import re

import pytest
from commands import pogospec as command

SPEC = """
data: {dataset: pocket/reacher-mixed}
policy: {kind: full_gaussian, hidden: [8]}
behavior: {kind: tanh_gaussian, hidden: [8]}
energy: {q: {actions: {sample: 1}}}
geometry:
  sinkhorn: {samples: 3}
  plan: {kind: sinkhorn, samples: 4, debiased: false, epsilon: 0.05, unit: absolute}
  sliced_wasserstein2: {samples: 3}
  energy_distance: {samples: 3}
  map: {kind: wasserstein2, coupling: {shared_noise: 2}}
critic: {kind: clipped_double_q, hidden: [8]}
train: {batch_size: 16, log_every: 50}
evaluate: {every: 200, episodes: 1}
schedule:
  steps:
    - {learn: [critic, behavior], updates: 50}
    - {from: behavior, tau: 0.01, learn: [policy], updates: 200}
optimizer: {kind: adam, learning_rate: 0.01}
"""


@pytest.mark.exhaustive("compiles five geometries by samples, some of them loops")
def test_a_step_near_a_behaviour_of_another_family(tmp_path):
    path, run = tmp_path / "near.yaml", tmp_path / "run"
    path.write_text(SPEC)
    assert "fine" in command("check", path).stdout
    said = re.sub(r"\s+", " ", command("explain", path, "--no-measure").stdout)
    for words in (
        "+ (1/0.01) · S(π, π_β)/2", "· OT(π, π_β)/2", "· d SW₂²(π, π_β)/2", "· E²(π, π_β)/2", "· W̃₂²(π, π_β)/2",
        "by samples sinkhorn, n = 3 actions on each side of a transport, two sets of each: no bias where",
        "n = 4 actions on each side of a transport: too large by", "and by the blur of ε = 0.05, which does not fall",
        "n = 2 noises a state: above W₂²",
    ):  # fmt: skip
        assert words in said
    command("run", path, "--out", run, "--quiet")
    rows = [row for row in csv.DictReader((run / "metrics.csv").read_text().splitlines()) if row["distance"]]
    distances = [float(row["distance"]) for row in rows]
    assert all(map(math.isfinite, distances))
    assert distances[-1] < 0.5 * distances[0]
    assert "S(π, π_β)/2" in command("explain", run).stdout
