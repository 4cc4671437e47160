"""Numbers, overrides, precedence and round trips."""

import pytest

from pogospec.checking.check import load
from pogospec.spec.build import digest, dump
from pogospec.spec.resolve import read_text
from pogospec.spec.shipped import shipped_specs, spec_path
from pogospec.spec.yaml import scalar

SPECS = shipped_specs()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("500_000", 500_000),
        ("5e5", 5e5),
        ("010", 10),
        ("no", "no"),
        ("true", True),
        ("~", None),
        ("-.5", -0.5),
    ],
)
def test_scalars_mean_what_a_person_means(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_resolved_yaml_reads_back_to_the_same_spec(path):
    spec = load(path)
    again = read_text(dump(spec))
    assert not again.problems
    assert again.spec is not None
    assert digest(again.spec) == digest(spec)


def test_a_whole_float_is_a_count():
    assert load(SPECS[0], [("schedule.steps[*].updates", "5e3")]).schedule.steps[0].updates == 5000


def test_set_reaches_every_step_and_bare_nodes():
    spec = load(spec_path("pogo_w_two_step"), [("schedule.steps[1].tau", "3"), ("geometry.reduction", "sum")])
    assert [step.tau for step in spec.schedule.steps] == [2.5, 3.0]
    assert all(getattr(step.geometry, "reduction", "") == "sum" for step in spec.schedule.steps)


def test_a_step_overrides_one_node():
    spec = load(spec_path("pogo_fr_two_step"), [("schedule.steps[1].geometry", "wasserstein2")])
    assert [getattr(step.geometry, "kind", "") for step in spec.schedule.steps] == ["fisher_rao", "wasserstein2"]


def test_tuned_beats_the_file_and_loses_to_the_command_line():
    text = SPECS[0].read_text().partition("\ntuned:")[0] + '\ntuned:\n  my/data: {"seeds": 5, "train.batch_size": 64}\n'
    overrides = [("data.dataset", "my/data"), ("train.batch_size", "32")]
    document = read_text(text, "spec.yaml", overrides)
    assert document.spec is not None
    assert (document.spec.seeds, document.spec.train.batch_size) == (5, 32)
    assert read_text(text).spec.seeds == 1  # type: ignore[union-attr]
    assert str(document.origins["train.batch_size"]) == "--set train.batch_size"
