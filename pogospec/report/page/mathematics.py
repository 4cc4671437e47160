"""The objectives of a page as mathematics: LaTeX of `explain` as MathML, which browsers draw by themselves."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from pogospec.errors import PogospecError
from pogospec.report.page.members import Member
from pogospec.runs.directory import RunDirectory
from pogospec.text import LATEX

ROW = " \\\\\n"
"""Between the rows of the environment that `explain` writes."""
ELEMENTS = {
    "math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "mfrac", "msqrt", "mroot", "mstyle", "mpadded",
    "mphantom", "msub", "msup", "msubsup", "munder", "mover", "munderover", "mtable", "mtr", "mtd",
}  # fmt: skip

SPELLED = (
    (re.compile(r"\\arg\\min_\{(.*?)\}"), r"\\underset{\1}{\\mathrm{arg\\,min}}"),
    (re.compile(r"\\operatorname\*?\{"), r"\\mathrm{"),
)
"""What the converter does not know, in words that it does."""
ESCAPES = {mark: text for text, mark in LATEX.items() if mark.startswith("\\")}
ESCAPED = re.compile("|".join(map(re.escape, ESCAPES)))
TEXT = re.compile(r"\\text\{(?:\\.|\{\}|[^{}\\])*\}")
STANDING = {escape: chr(0xE000 + number) for number, escape in enumerate(ESCAPES)}
"""Characters that nobody uses, for what stands for a character within a text, which the converter would misread."""
MEANT = {ord(standing): ESCAPES[escape] for escape, standing in STANDING.items()}


class Formula(NamedTuple):
    """What a step minimises, as MathML, which is None where its LaTeX has no other form."""

    label: str
    mathml: str | None
    latex: str


class Objectives(NamedTuple):
    """One spec: the methods that run it, formulas under the label of each step, and what `explain` says of it.

    `parts`: a label and rows of a topic and a text. `wrong`: why there is none of this.
    `heading`: its methods, told apart from those of other specs.
    """

    specs: list[str]
    about: str
    formulas: list[Formula]
    parts: list[tuple[str, list[tuple[str, str]]]]
    meanings: list[tuple[str, str]]
    cautions: list[str]
    text: str
    wrong: str = ""
    heading: str = ""


def objectives_of(members: Sequence[Member]) -> list[Objectives]:
    """Each spec once, whatever it was run on."""
    found: dict[tuple, tuple[Objectives, list[Member]]] = {}
    for member in members:
        path = member.run.path / "spec.yaml"
        try:
            one = _explained(member.run.path, path.stat().st_mtime_ns, _action_size(member.run))
        except (PogospecError, OSError) as error:
            one = Objectives([], "", [], [], [], [], _text(path), str(error))
        key = (
            one.about,
            *one.formulas,
            *(part for _, rows in one.parts for part in rows),
            *one.cautions,
            one.wrong and member.spec,
        )
        found.setdefault(key, (one, []))[1].append(member)
    groups = [list(dict.fromkeys(member.spec for member in own)) for _, own in found.values()]
    twice = {spec for specs in groups for spec in specs if sum(spec in other for other in groups) > 1}
    return [
        one._replace(specs=specs, heading=", ".join(dict.fromkeys(_called(member, twice) for member in own)))
        for (one, own), specs in zip(found.values(), groups, strict=True)
    ]


def _called(member: Member, twice: set[str]) -> str:
    """A method, with its dataset where other objectives bear its name."""
    return f"{member.spec} on {member.dataset}" if member.spec in twice else member.spec


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _action_size(run: RunDirectory) -> int | None:
    """Action dimensions, which stand in some formulas; None where no policy is saved that tells them."""
    return next((_saved_size(run.path, label) for label in run.saved()), None)


@functools.lru_cache(maxsize=1024)
def _saved_size(path: Path, label: str) -> int:
    _, about = RunDirectory(path).load_policy(label)
    return len(about["space"]["low"])


@functools.lru_cache(maxsize=256)
def _explained(path: Path, _changed: int, size: int | None) -> Objectives:
    from pogospec.checking.recorded import reread
    from pogospec.explain.overview import UNKNOWN, explanation

    run = RunDirectory(path)
    document, spec = reread(run)
    space = None if size is None else UNKNOWN._replace(act_dim=size, low=(-1.0,) * size, high=(1.0,) * size)
    found = explanation(document, spec, space, None)
    parts = [(f"{block.label}, {block.heading}", block.rows) for block in found.blocks]
    several = len(found.blocks) > 1
    cautions = []
    if size is None and spec.target is None:
        cautions.append("sizes: no policy is saved yet that tells the dimensions of actions: d = 1 here")
    for one in found.cautions:
        where = f" ({', '.join(one.stages)})" if several and one.stages else ""
        cautions.append(f"{one.name}{where}: {one.text}")
    text = _text(path / "spec.yaml")
    titles = [block.label for block in found.blocks]
    pairs = zip(titles, formulas(found.latex), strict=True)
    written = [Formula(label, mathml(rows), "\n".join(rows)) for label, rows in pairs]
    return Objectives([], spec.about or "", written, parts, found.meanings, cautions, text)


def formulas(latex: str) -> list[list[str]]:
    """The rows of the environment of `explain --to latex`, without the name of each step, which begins a group."""
    body = latex.split("\\begin{align*}\n")[1].rsplit("\n\\end{align*}", 1)[0]
    steps: list[list[str]] = []
    for row in (row.strip() for row in body.split(ROW)):
        if re.match(r"&\\textbf\{", row):
            steps.append([])
        else:
            steps[-1].append(row)
    return steps


def mathml(rows: Sequence[str]) -> str | None:
    """Rows of an align* environment as one element of MathML; None where the converter does not know all of it."""
    from latex2mathml.converter import convert

    text = TEXT.sub(lambda found: ESCAPED.sub(lambda mark: STANDING[mark[0]], found[0]), ROW.join(rows))
    for pattern, known in SPELLED:
        text = pattern.sub(known, text)
    try:
        tree = ElementTree.fromstring(convert(f"\\begin{{align*}}{text}\\end{{align*}}", display="block"))
    except Exception:  # the errors of the converter have nothing in common
        return None
    for element in tree.iter():
        words, kind = element.text or "", element.tag.rpartition("}")[2]
        if kind not in ELEMENTS or "\\" in words:
            return None
        element.text = words.translate(MEANT)
    ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")
    return ElementTree.tostring(tree, encoding="unicode")
