"""The literature's numbers, transcribed twice; their sources; whom they are shown beside."""

import numpy as np
import published_again
import pytest

from pogospec.errors import UsageError
from pogospec.report import published
from pogospec.spec.shipped import shipped_specs
from pogospec.spec.yaml import plain_of, read_tree


def again(source):
    """Dataset -> method -> what the second transcription says, as printed."""
    columns, rows = published_again.SOURCES[source]
    cells = {method: [" ".join(cell.split()) for cell in text.split(",")] for method, text in columns.items()}
    assert all(len(column) == len(rows) for column in cells.values())
    return {f"d4rl/{row}": {method: column[i] for method, column in cells.items()} for i, row in enumerate(rows)}


@pytest.mark.parametrize("source", published.sources())
def test_both_transcriptions_agree(source):
    found = {
        dataset: {method: "-" if cell is None else cell[0].replace(" ± ", " ") for method, cell in row.items()}
        for dataset, row in published.sources()[source].scores.items()
    }
    assert found == again(source)


def test_nothing_is_left_out():
    assert set(published.sources()) == set(published_again.SOURCES)


@pytest.mark.parametrize(("source", "method"), published_again.MEANS)
def test_averages_are_those_that_the_sources_print(source, method):
    column = next(c for c in published.of_source(published.sources()[source]) if c.method == method)
    computed = np.mean([column.means[f"d4rl/{row}"] for row in published_again.MUJOCO])
    printed = published_again.MEANS[source, method]
    digits = len(str(printed).partition(".")[2])
    assert computed == pytest.approx(printed, abs=0.0051 if digits == 2 or source != "iql" else 0.051)


def test_every_source_says_what_it_is():
    for source in published.sources().values():
        assert source.source
        assert source.std
        assert source.seeds is None or source.seeds > 0
        assert source.name in ("iql",) or f"{source.seeds} seeds" in source.about()


def test_methods_are_those_of_specs():
    names = {plain_of(read_tree(path)).get("name") for path in shipped_specs()}
    for spec in ("td3-bc", "bc", "pogo-w", "pogo-w-two-step", "pogo-fr", "pogo-wng-two-step"):
        assert spec in names
        assert published.of_method(published.named("all"), spec)
    assert published.of_method(published.named("all"), "kl-brac") == []
    (one,) = published.of_method(published.named("corl-last"), "td3_bc")
    assert (one.title, one.seeds, one.texts["d4rl/hopper-medium-v2"]) == ("TD3+BC (corl-last)", 4, "60.37 ± 3.49")
    assert (one.means["d4rl/hopper-medium-v2"], one.stds["d4rl/hopper-medium-v2"]) == (60.37, 3.49)


def test_a_source_that_is_none():
    with pytest.raises(
        UsageError, match="--published: found 'corl-lst', allowed all, pogo, .*; did you mean corl-last"
    ):
        published.named("corl-lst")
