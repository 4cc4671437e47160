"""Reading YAML: numbers, origins, and everything that is refused."""

import math
import re

import pytest

from pogospec.errors import Origin, Problem, SpecError
from pogospec.spec.yaml import MAX_BYTES, parse, parse_mapping, plain_of, read_tree, scalar, show, write

SCALARS = [
    ("1e-3", 1e-3), ("5e5", 5e5), ("500_000", 500_000), ("1_000.5", 1000.5), (".5", 0.5), ("1.", 1.0),
    ("-3", -3),
    ("010", 10), ("+2", 2), ("1E+3", 1e3), ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"),
    ("true", True),
    ("False", False), ("null", None), ("~", None), ("", None), ("1_", "1_"), ("_1", "_1"), ("1__0", "1__0"),
    ("e5", "e5"), ("1e", "1e"), (".", "."), ("-", "-"), ("1.2.3", "1.2.3"), ("2020-01-01", "2020-01-01"),
    ("1:30", "1:30"), ("9" * 5000, math.inf), (".inf", math.inf), ("-.INF", -math.inf), ("1\n", "1\n"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=lambda x: repr(x)[:12])
def test_scalars(text, value):
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_nan_and_quoted_scalars():
    assert math.isnan(scalar(".nan"))
    assert plain_of(parse("{a: '1', b: \"true\", c: 'null', d: 1}", None)) == {
        "a": "1",
        "b": "true",
        "c": "null",
        "d": 1,
    }


def test_every_node_knows_its_place_and_path():
    tree = parse("a:\n  b: [1, {c: x}]\n", "f.yaml")
    node = tree.value["a"].value["b"].value[1].value["c"]
    assert (node.path, str(node.origin), str(node.key_origin)) == ("a.b[1].c", "f.yaml:2:14", "f.yaml:2:11")


REFUSED = {
    "tab": ("a:\n\tb: 1\n", "2:1", "spaces"),
    "syntax": ("a: 1\nb: [1, 2\nc: 3\n", "3:2", "syntax error"),
    "duplicate": ("a: 1\nb: 2\na: 3\n", "3:1", "first at line 1, column 1"),
    "nested duplicate": ("a: {b: 1, b: 2}", "1:11", "a.b: found the key twice"),
    "python tag": ("a: !!python/object/apply:os.system [ls]", "1:4", "no YAML tags"),
    "core tag": ("a: !!str 5", "1:4", "no YAML tags"),
    "own tag": ("a: !x {b: 1}", "1:4", "'!x'"),
    "bare tag": ("a: ! 5", "1:4", "no YAML tags"),
    "merge key": ("a: &a {b: 1}\nc: {<<: *a}", "2:5", "merge key"),
    "number as key": ("1: a", "1:1", "found 1 as a key, allowed text"),
    "null as key": ("~: a", "1:1", "as a key"),
    "list as key": ("? [a]\n: b", "1:3", "as a key"),
    "documents": ("a: 1\n---\nb: 2\n", "2:1", "second document"),
    "empty": ("", "1:1", "is empty"),
    "comment": ("# only this\n", "1:1", "is empty"),
    "null": ("---\n", "2:1", "no mapping"),
    "list": ("- a\n", "1:1", "no mapping"),
    "word": ("hello", "1:1", "no mapping"),
    "deep flow": ("a: " + "[" * 3000, "1:53", "nesting deeper than 50"),
    "deep block": ("\n".join(" " * i + "a:" for i in range(60)), "51:51", "nesting deeper than 50"),
    "alias of nothing": ("a: *b", "1:4", "is undefined"),
    "alias of itself": ("a: &a [*a]", "1:4", "nesting deeper"),
    "control character": ("a: 1\nb: \x07", "2:4", "does not allow"),
    "many values": ("a: [" + "1," * 70_000 + "]", "1:", "more than 20000 values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    text, place, words = REFUSED[name]
    with pytest.raises(SpecError) as caught:
        parse_mapping(text, "f.yaml")
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"f.yaml:{place}")
    assert words in str(caught.value)


def test_alias_bomb_and_honest_aliases():
    lines = ["a0: &a0 [1, 1]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30)]
    with pytest.raises(SpecError, match="with aliases written out"):
        parse("\n".join(lines), "f.yaml")
    assert plain_of(parse("a: &x [1]\nb: *x", None)) == {"a": [1], "b": [1]}


def test_characters_that_cannot_be_written():
    for escape in (r"\0", r"\ud83d", r"\udca1 x", r"\udca1\ud83d"):
        with pytest.raises(SpecError, match="f.yaml:1:4: a: found the character"):
            parse(f'a: "{escape}"', "f.yaml")
        with pytest.raises(SpecError, match="f.yaml:1:1: found the character"):
            parse(f'"{escape}": 1', "f.yaml")
    assert plain_of(parse(r'{"a": "\ud83d\udca1", "\ud83d\udca1": 1}', None)) == {"a": "💡", "💡": 1}  # JSON's pairs


def test_what_is_told_is_one_short_line():
    assert show("two\nlines\x7f\u202e") == r"'two\nlines\x7f\u202e'"
    assert show("ünï 💡") == "'ünï 💡'"
    long = show("a" * 500 + "z" * 500)
    assert len(long) < 70
    assert long.startswith("'aaa")
    assert long.endswith("zzz'")
    assert show(10**90) == show(10**90)[:40] + "…" + "0" * 15
    problem = Problem(Origin("file", "a\nb.yaml", 1, 2), "x." * 400, "said\ttwice")
    assert str(problem).isprintable()
    assert len(str(problem)) < 200


def test_several_mistakes_come_together():
    with pytest.raises(SpecError) as caught:
        parse("a: !!int 1\nb: 1\nb: 2\n3: c\n", "f.yaml")
    assert [p.origin.line for p in caught.value.problems] == [1, 3, 4]


def test_files(tmp_path):
    bad = {
        "missing.yaml": (None, "cannot be read"),
        "latin.yaml": (b"a: 1\nb: caf\xe9\n", "latin.yaml:2:7: found the byte 0xe9, allowed UTF-8"),
        "large.yaml": (b"#" * (MAX_BYTES + 1), "1 MiB"),
    }
    for name, (content, words) in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SpecError, match=words):
            read_tree(tmp_path / name)
    with pytest.raises(SpecError, match="cannot be read"):
        read_tree(tmp_path)
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert plain_of(read_tree(tmp_path / "bom.yaml")) == {"a": 1}


def test_what_is_written_reads_back():
    plain = {
        "numbers": [1e-8, 1e16, 1e22, 0.1, -0.0, 5e-324, 3, 0, 1.5e300],
        "words": [
            "1e-3",
            "5e5",
            "500_000",
            "no",
            "on",
            "true",
            "null",
            "~",
            "",
            ".inf",
            "010",
            "1_0",
            "a: b",
            "- x",
        ],
        "odd": [
            "#",
            "é",
            "two\nlines",
            "\ttab",
            "*a",
            "&a",
            "!x",
            "'",
            '"',
            "2020-01-01",
            "<<",
            " x ",
            "=",
            "\u2028",
        ],
        "1e5": {"no": None, "b": [True, False, None, [], {}]},
    }
    assert plain_of(parse(write(plain), None)) == plain


@pytest.mark.parametrize(
    ("text", "says"),
    {
        "a: [1, 2": "close it with ]",
        "a: {b: 1": "close it with }",
        "a: 'x": "a quote does not end",
        "a: b: c": "a second colon in a value",
        "a: %x": "a value begins with %; quote it",
        "a:\n  b: 1\n c: 2": "a line is indented as none above it",
        "a: *x": "no anchor &x stands above it",
        'a: "\\q"': "\\q means nothing in double quotes",
        "a: 1\nb": "a line has no colon",
        "a: &x &y 1": "two anchors",
        "{a: 1}}": "} stands where a value is looked for",
        "%YAML 3.0\n---\na: 1": "a directive",
        "a: |z\n x": "nothing but + or -",
        "&a a: &a b": "the anchor &a stands here twice",
        "a: &": "& and * need a name",
        "a: [b] c": "text goes on after the end of a value",
        'a: "\\xZZ"': "lacks digits",
        "a: \x01": "the character U+0001",
    }.items(),
)
def test_syntax_is_told_in_our_own_words(text, says):
    with pytest.raises(SpecError) as caught:
        parse(text, "f.yaml")
    told = str(caught.value)
    assert says in told
    assert not re.search("scanning|parsing|token|block (end|mapping|sequence)|flow|scalar|stream", told)
