"""The snippets of the README on flows, as they stand there."""

import re
from pathlib import Path

import jax
import pytest

README = Path(__file__).parents[2] / "README.md"


def snippets():
    section = README.read_text(encoding="utf-8").partition("\n## Flows on densities\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)


def test_posterior_predictive_draws_in_five_lines(capsys):
    first, second = snippets()
    names: dict = {}
    exec(first.partition("\n\n\n")[0], names)  # its imports
    exec(second, names)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("Flow on the model eight_schools: 10 dimensions, ")
    assert shown[2].strip().startswith("sites: mu 4.")
    assert names["obs"].shape == (1000, 8)
    assert 8 < float(names["obs"].std()) < 25
    asked = second.rpartition("\n\n\n")[2].splitlines()
    assert len(asked) == 5


@pytest.mark.exhaustive("trains 60 steps by an optimiser")
def test_samples_of_the_first_snippet(capsys):
    names: dict = {}
    exec(snippets()[0], names)
    said = eval(capsys.readouterr().out)  # noqa: S307
    assert said["mu"][0] == pytest.approx(2.49, abs=0.1)
    assert said["sigma"][0] == pytest.approx(0.83, abs=0.1)
    assert jax.numpy.isfinite(names["flow"].energies).all()
