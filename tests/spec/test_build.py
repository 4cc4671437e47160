"""Typed values from trees: every kind of field, every kind of mistake, and the way back."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from pogospec import registry
from pogospec.errors import Origin
from pogospec.spec.build import Builder, build_node, digest, dump, to_plain
from pogospec.spec.fields import Increasing, Length, Slot, Within
from pogospec.spec.yaml import parse


@dataclass(frozen=True)
class Ball:
    """A kind."""

    radius: Annotated[float, Within(gt=0.0), "radius"] = 1.0


@dataclass(frozen=True)
class Box:
    """A kind with a required key."""

    size: Annotated[int, Within(ge=1), "size"]


@dataclass(frozen=True)
class Inner:
    """A nested mapping."""

    weight: Annotated[float, Within(ge=0.0), "weight"] = 0.5


@dataclass(frozen=True)
class Thing:
    """One field of every type."""

    rate: Annotated[float, Within(gt=0.0), "rate"]
    count: Annotated[int, Within(ge=1, le=1_000_000), "count"] = 3
    flag: Annotated[bool, "flag"] = False
    text: Annotated[str, "text"] = "t"
    from_: Annotated[Literal["data", "previous"], "from"] = "data"
    widths: Annotated[tuple[int, ...], Length(least=1, most=3), Within(ge=1), "widths"] = (2,)
    clip: Annotated[tuple[float, float] | None, Increasing(), "bounds"] = None
    inner: Annotated[Inner | None, "inner"] = None
    mode: Annotated[Literal["mean"] | Inner | float, "a word, a mapping or a number"] = "mean"
    shape: Annotated[Any, Slot("shape"), "a node"] = Ball()
    either: Annotated[Literal["none"] | Any, Slot("shape"), "a node or a word"] = "none"
    shapes: Annotated[dict[str, Any], Slot("shape", named=True), "nodes"] = field(
        default_factory=lambda: {"ball": Ball()}
    )


@pytest.fixture(autouse=True)
def _shapes(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "shape", {"ball": f"{__name__}:Ball", "box": f"{__name__}:Box"})


def build(text) -> Any:
    builder = Builder()
    return builder.record(Thing, parse(text, "f"), ""), [str(p) for p in builder.problems], builder


GOOD = [
    ("count: 5e5", "count", 500_000), ("count: 500_000", "count", 500_000), ("flag: true", "flag", True),
    ("text: no", "text", "no"), ("text: '5'", "text", "5"), ("from: previous", "from_", "previous"),
    ("widths: [64, 64]", "widths", (64, 64)), ("clip: [1e-3, 2]", "clip", (1e-3, 2.0)),
    ("clip: null", "clip", None),
    ("inner: {}", "inner", Inner()), ("inner: {weight: 1}", "inner", Inner(1.0)),
    ("mode: {weight: 2}", "mode", Inner(2.0)),
    ("mode: 3", "mode", 3.0), ("mode: mean", "mode", "mean"), ("shape: ball", "shape", Ball()),
    ("either: none", "either", "none"),
    ("either: ball", "either", Ball()), ("shape: {kind: box, size: 2}", "shape", Box(2)),
    ("shapes: {ball: }", "shapes", {"ball": Ball()}),
    ("shapes: {ball: {radius: 2}, b: {kind: box, size: 1}, c: ball}", "shapes",
     {"ball": Ball(2.0), "b": Box(1), "c": Ball()}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "value"), GOOD, ids=lambda x: str(x)[:30])
def test_good(text, name, value):
    thing, problems, _ = build(f"rate: 1\n{text}\n")
    assert problems == []
    assert getattr(thing, name) == value
    assert type(getattr(thing, name)) is type(value)
    assert type(thing.rate) is float


BAD = [
    ("count: 0", "f:2:8: count: found 0, allowed a whole number >= 1 and <= 1e+06"),
    ("count: 1.5", "f:2:8: count: found 1.5, allowed a whole number"),
    ("count: true", "f:2:8: count: found true, allowed a whole number"),
    ("count: '5'", "f:2:8: count: found '5', allowed a whole number >= 1 and <= 1e+06, did you mean 5 wi"),
    ("count: .nan", "f:2:8: count: found nan, allowed a finite number"),
    ("count: -.inf", "f:2:8: count: found -inf, allowed a finite number"),
    ("count:", "f:2:7: count: found nothing, allowed a whole number"),
    ("count: [1]", "f:2:8: count: found a list, allowed a whole number"),
    ("flag: yes", "f:2:7: flag: found 'yes', allowed true or false"),
    ("flag: 1", "f:2:7: flag: found 1, allowed true or false"),
    ("text: 5", "f:2:7: text: found 5, allowed text"),
    ("from: prevous", "f:2:7: from: found 'prevous', allowed data, previous, did you mean previous?"),
    ("from_: data", "f:2:1: from_: found unknown key 'from_', allowed rate,"),
    ("cuont: 1", "shapes, did you mean count?"),
    ("widths: 64", "f:2:9: widths: found 64, allowed a list"),
    ("widths: []", "f:2:9: widths: found 0 entries, allowed 1 to 3"),
    ("widths: [1, 0]", "f:2:13: widths[1]: found 0, allowed a whole number >= 1"),
    ("clip: [1]", "f:2:7: clip: found 1 entries, allowed 2"),
    ("clip: [2, 1]", "f:2:7: clip: found [2.0, 1.0], allowed numbers that increase"),
    ("inner: {wieght: 1}", "f:2:9: inner.wieght: found unknown key 'wieght', allowed weight, did you mean"),
    ("inner: 3", "f:2:8: inner: found 3, allowed a mapping"),
    ("shape: bal", "f:2:8: shape: found 'bal', allowed ball, box, did you mean ball?"),
    ("shape: {kind: bx}", "f:2:15: shape.kind: found 'bx', allowed ball, box, did you mean box?"),
    ("shape: {radius: 1}", "f:2:8: shape.kind: missing, required: ball, box"),
    ("shape: {kind: }", "shape.kind: found nothing, allowed ball, box"),
    ("shape: 3", "f:2:8: shape: found 3, allowed ball, box"),
    ("shape: box", "f:2:8: shape.size: missing, required: a whole number >= 1"),
    ("shape: {kind: ball, radius: -1}", "f:2:29: shape.radius: found -1, allowed a number > 0"),
    ("shapes: {bal: }",
     "f:2:10: shapes.bal: found unknown name 'bal', allowed ball, box, or any name with `kind`, did you mean ball?"),
    ("shapes: {a.b: ball}", "f:2:10: shapes.a.b: found the name 'a.b', allowed letters"),
    ("shapes: {}", "f:2:9: shapes: found an empty mapping, allowed"),
    ("shapes: ball", "f:2:9: shapes: found 'ball', allowed a mapping from names"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD, ids=lambda x: x[:30])
def test_bad(text, message):
    thing, problems, _ = build(f"rate: 1\n{text}\n")
    assert len(problems) == 1
    assert message in problems[0]
    assert thing.rate == 1.0, "a bad field takes its default"


def test_required_keys_and_all_mistakes_at_once():
    thing, problems, _ = build("count: 0\nshape: {kind: ball, radius: x}\nnmae: 1\n")
    assert thing.rate == 1.0, "a required number stands in, so that rules may be checked"
    assert [p.split(":")[1] for p in sorted(problems)] == ["1", "1", "2", "3"]
    assert "f:1:1: rate: missing, required: a number > 0" in problems


def test_origins():
    _, _, builder = build("rate: 1\nshape: {kind: box, size: 2}\n")
    assert builder.origins["shape.size"] == Origin("file", "f", 2, 26)
    assert builder.origins["count"] == Origin("default")
    assert builder.origins["shapes"] == Origin("default")


def test_there_and_back():
    thing, _, _ = build(
        "{rate: 1, from: previous, inner: {}, either: {kind: box, size: 2}, text: '1e-3', clip: [1e-9, 1e20]}"
    )
    plain = to_plain(thing)
    assert next(iter(plain["either"])) == "kind"
    assert plain["from"] == "previous"
    again, problems, _ = build(dump(thing))
    assert (again, problems) == (thing, [])
    assert digest(again) == digest(thing) == digest(plain)
    assert build_node("shape", {"kind": "box", "size": 2}) == Box(2)
    with pytest.raises(ValueError, match="size"):
        build_node("shape", {"kind": "box", "size": 0})


def test_array_scalars_become_numbers():
    assert to_plain({"weight": np.float32(0.1)}) == {"weight": 0.1}
    assert type(to_plain({"weight": np.float64(0.1)})["weight"]) is float
    assert to_plain({"weight": np.int64(2)}) == {"weight": 2}
