"""Pages that are derived from the package hold what it has; pictures are those that the script draws."""

import doctest
import importlib
import re

import pytest
from pages import DOCS, WRITTEN

import pogospec
from pogospec import registry
from pogospec.spec.annotations import fields_of
from pogospec.spec.catalog import kinds_of
from pogospec.spec.json_schema import required_keys
from pogospec.spec.schema import Spec, StepSpec
from pogospec.spec.shipped import shipped_specs, spec_name
from pogospec.types import Space


@pytest.fixture(scope="module")
def made():
    """Path -> Markdown of the derived pages, without those of the systems, which take longest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        rooms = [importlib.import_module(f"generate.{name}") for name in ("language", "geometries", "commands")]
        yield {path: text for room in rooms for path, text in room.pages().items()}


def test_every_kind_and_every_key_has_its_line(made):
    for slot in registry.slots():
        text = made[f"language/{slot}.md"]
        for kind, cls in kinds_of(slot).items():
            section = text.partition(f"({slot}-{kind})=\n")[2].partition("\n(")[0]
            assert section, (slot, kind)
            assert all(f"| `{key}` |" in section for key in fields_of(cls)), (slot, kind)
    for cls in (Spec, StepSpec):
        section = made["language/spec.md"].partition(f"(record-{cls.__name__})=")[2].partition("\n(")[0]
        assert all(f"| `{key}` |" in section for key in fields_of(cls))


def test_rows_say_type_bounds_default_and_words(made):
    text = made["language/optimizer.md"]
    assert "| `b1` | a number ≥ 0 and \\< 1 | `0.9` | decay of the first moment |" in text
    assert "| `sample` |" not in made["language/energy.md"]
    assert re.search(r"\| `actions\.sample` \| a whole number ≥ 1 \| required \|", made["language/energy.md"])
    assert re.search(r"\| `hidden` \| a list, each a whole number ≥ 1", made["language/policy.md"])


def test_what_a_page_calls_required_is_required_of_a_file(made):
    for name, required in zip(("Spec", "StepSpec"), required_keys(), strict=True):
        section = made["language/spec.md"].partition(f"(record-{name})=")[2].partition("\n(")[0]
        told = re.findall(r"^\| `(\w+)` \|.*\| required(?:, or `target`)? \|", section, re.M)
        assert set(told) == set(required)


def test_geometries_say_where_they_are_known(made):
    text = made["geometries/fisher_rao.md"]
    assert re.search(r"^\| `gaussian` \| .*`gaussian`.*\| yes \|$", text, re.M)
    assert not re.search(r"^\| `dirac` ", text, re.M)
    assert "falls as 1/√n" in made["geometries/mmd.md"]
    assert all(f"[`{kind}`](#about-{kind})" in made["geometries/parts/list.md"] for kind in registry.table("geometry"))


def test_commands_have_all_their_options(made):
    text = made["commands/reference.md"]
    run = text.partition("(command-run)=")[2].partition("\n(command-")[0]
    assert "pogospec run SPECS… [OPTIONS]" in run
    for option in ("--dataset <str>", "--seeds SEEDS", r"--device <cpu\|gpu\|tpu>", "--set PATH=VALUE", "--quiet"):
        assert f"| `{option}` |" in run
    assert "(command-data-import)=" in text


def test_every_system_has_a_page_with_its_mathematics():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        systems = importlib.import_module("generate.systems")
        (path,) = (path for path in shipped_specs() if spec_name(path) == "td3_bc")
        text = systems.system_page(path)
        listed = systems._listed(shipped_specs())
    assert r"\tfrac{1}{2d} W_2^2" in text
    assert "| `d4rl/*-v2` | `policy.hidden` | `[256, 256]` |" in text
    assert "minimise over π  E_s[" in text
    assert "name: td3-bc" in text
    assert all(f"[`{spec_name(path)}`]" in listed for path in shipped_specs())


def test_examples_in_docstrings_hold():
    globs = {"pogospec": pogospec, "load": pogospec.load, "Space": Space}
    for name in ("load", "compile"):
        (example,) = doctest.DocTestFinder().find(getattr(pogospec, name), name, globs=dict(globs))
        runner = doctest.DocTestRunner()
        runner.run(example)
        assert runner.failures == 0 < runner.tries


def test_mathematics_is_mathml(monkeypatch):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    monkeypatch.syspath_prepend(str(DOCS))
    mathml, refused = importlib.import_module("mathml"), importlib.import_module("sphinx.errors").SphinxError
    found = re.sub(r"\s", "", mathml.converted(r"\bar Q_i \Big[ x \Big]", block=True))
    assert '<msub><mrow><moveraccent="true"><mi>Q</mi>' in found  # the index stands beside the letter, not below it
    assert "Big" not in found
    with pytest.raises(refused, match="mathematics that cannot be converted"):
        mathml.converted(r"\nosuchcommand", block=False)


@pytest.fixture(scope="module")
def script():
    """The script that draws the pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield importlib.import_module("pictures")


def test_every_picture_is_drawn_by_the_script_and_shown(script, made):
    there = {path.name for path in (DOCS / "pictures").iterdir()}
    texts = [path.read_text(encoding="utf-8") for path in WRITTEN] + list(made.values())
    shown = {name for text in texts for name in re.findall(r"pictures/([\w-]+\.png)", text)}
    assert there == set(script.names()) == shown


@pytest.mark.exhaustive("a picture with many estimates")
def test_a_picture_is_drawn(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "PICTURES", tmp_path)
    script.main(["geometry-energy_distance"])
    assert [path.name for path in tmp_path.iterdir()] == ["geometry-energy_distance.png"]
    assert (tmp_path / "geometry-energy_distance.png").stat().st_size > 10_000
    with pytest.raises(SystemExit, match=r"found geometry-none.png, allowed geometry-wasserstein2.png"):
        script.main(["geometry-none"])


def test_distances_of_the_pictures_are_those_of_gaussians(script):
    """D of Wasserstein-2 in the picture against its closed form."""
    (mean, std), found = script.START, script.divergences("wasserstein2", [0.1, -0.6], [0.35, 0.05])
    assert found.tolist() == pytest.approx([(0.1 - mean) ** 2 / 2, (0.05 - std) ** 2 / 2], rel=1e-5)
