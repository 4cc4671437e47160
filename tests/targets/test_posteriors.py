"""The benchmark of posteriors: its models can be used, its rule of arrival, and a run of one."""

# pyright: reportMissingImports=false
# the folder of the benchmark is on the path of these tests alone

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pogospec.targets.given import given

FOLDER = Path(__file__).parents[2] / "benchmarks"
SIZES = {
    "eight_schools": 10,
    "eight_schools_centred": 10,
    "logistic_4": 5,
    "logistic_25": 26,
    "logistic_100": 101,
    "hierarchical": 29,
    "process": 3,
    "counts": 17,
    "volatility": 43,
    "student": 4,
    "funnel": 10,
    "ill_conditioned": 20,
    "two_modes": 2,
}


@pytest.fixture
def there(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def test_models_have_their_dimensions(there):
    from densities import PROBLEMS

    found = {}
    for name, make in PROBLEMS.items():
        model, arguments, known = make()
        found[name] = given(model, arguments, known, None).dimensions
    assert found == SIZES


class Told:
    """A judge whose ELBO is what stands for the mean."""

    def elbo(self, mean, factor):
        return mean


@pytest.mark.parametrize(
    ("gaps", "near"),
    [
        ([1, 0.01, 0.5, 0.01, 0.01, 0.01, 0.01, 0.5, 0.01], 40),
        ([1, 0.01, 0.01, 0.01, 0.5, 0.01, 0.01], 60),
        ([1, 1, 0.01], 30),
        ([0.01, 0.01, 0.01, 0.01, 0.5], None),
        ([1, 0.01, float("nan")], None),
    ],
)
def test_a_fit_has_arrived_at_the_first_of_four_near_checks_and_at_the_end(there, gaps, near):
    from posteriors import settled

    path = -np.array(gaps), gaps
    assert settled(path, 10 * np.arange(1, len(gaps) + 1), Told(), 0.0) == near


@pytest.mark.exhaustive("runs the benchmark on one posterior")
def test_the_benchmark_writes_what_it_found(tmp_path):
    given = ["ill_conditioned", "--methods", "natural", "--seeds", "2", "--draws", "0", "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    done = subprocess.run(
        [sys.executable, str(FOLDER / "posteriors.py"), *given], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "natural flow" in done.stdout
    assert (tmp_path / "posteriors.png").stat().st_size > 1000
    found = json.loads((tmp_path / "posteriors.json").read_text())["ill_conditioned"]
    assert found["dimensions"] == 20
    for family in ("gaussian", "full_gaussian"):
        (fit,) = found[family]["fits"]
        assert len(fit["gradients"]) == len(fit["gaps"]) == 2
        assert max(fit["gaps"]) < 0.02
    assert abs(found["full_gaussian"]["best"]) < 1e-6  # the density is Gaussian and normalised
