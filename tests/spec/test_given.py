"""Specs and overrides that are data in Python: the same specs as from YAML, and mistakes with their path."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import pogospec
from pogospec.errors import SpecError, UsageError
from pogospec.spec.build import digest
from pogospec.spec.resolve import read_text
from pogospec.spec.shipped import shipped_specs
from pogospec.spec.yaml import plain_of, read_tree


@pytest.mark.parametrize("path", shipped_specs()[::6], ids=lambda path: path.stem)
def test_a_mapping_is_the_spec_that_its_yaml_is(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    found = pogospec.load(plain_of(read_tree(path)))
    assert digest(found) == digest(pogospec.load(path))


def test_values_of_numpy_and_jax_and_overrides_that_are_data():
    changes = {"hidden": np.array([8, 9]), "log_std": (jnp.float32(-5.0), np.float64(2))}
    overrides = {"seeds": 3, "schedule.steps[*].updates": np.int64(7), "policy.hidden": [4], "name": "mine"}
    spec = pogospec.load({"extends": "pogo_fr", "policy": changes}, overrides)
    assert (spec.seeds, spec.policy.hidden, spec.policy.log_std, spec.name) == (3, (4,), (-5.0, 2.0), "mine")
    assert {step.updates for step in spec.schedule.steps} == {7}
    same = [("seeds", "3"), ("schedule.steps[*].updates", "7"), ("policy.hidden", "[4]"), ("name", "mine")]
    wanted = read_text("extends: pogo_fr\npolicy: {hidden: [8, 9], log_std: [-5, 2]}\n", "x.yaml", same).spec
    assert digest(spec) == digest(wanted)
    assert digest(pogospec.load("pogo_fr", [("seeds", 3)])) == digest(pogospec.load("pogo_fr", [("seeds", "3")]))
    replaced = pogospec.load({"extends": "pogo_fr", "energy": {"replace": True, "q": {}}})
    assert list(replaced.energy) == ["q"]


def test_mistakes_name_their_path():
    for given, told in {
        "unknown": ({"extends": "td3_bc", "polcy": 3}, "<mapping>: polcy: found unknown key 'polcy'"),
        "type": (
            {"extends": "td3_bc", "policy": {"hidden": [object()]}},
            "policy.hidden[0]: found a value of type object",
        ),
        "key": ({"extends": "td3_bc", "policy": {3: 1}}, "policy: found 3 as a key, allowed text"),
        "rule": (
            {"extends": "td3_bc", "energy": {"entropy": {"weight": 1}}},
            "<mapping>: schedule.steps[0].energy.entropy: needs",
        ),
        "missing": ({}, "<mapping>: policy: missing"),
        "base": ({"extends": Path("nowhere.yaml")}, "<mapping>: extends: found 'nowhere.yaml'"),
        "text": ({"extends": "td3_bc", "name": "\0"}, "name: found"),
        "nan": ({"extends": "td3_bc", "seeds": float("nan")}, "<mapping>: seeds: found nan"),
    }.values():
        with pytest.raises(SpecError) as caught:
            pogospec.load(given)
        assert told in str(caught.value)
    round_and_round: dict = {"extends": "td3_bc"}
    round_and_round["policy"] = round_and_round
    with pytest.raises(SpecError, match="nothing that holds itself"):
        pogospec.load(round_and_round)
    with pytest.raises(SpecError, match="override seeds: seeds: found -1"):
        pogospec.load("td3_bc", {"seeds": -1})
    with pytest.raises(UsageError, match="the mapping declares a sweep over seeds|the mapping declares a sweep over"):
        pogospec.load({"extends": "td3_bc", "sweep": {"schedule.steps[0].tau": [1, 2]}})
