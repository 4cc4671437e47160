"""A page for each shipped spec: what it claims, its mathematics as `explain` has it, its settings, its YAML."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import Any

from generate.markdown import code, fenced, math, page, prose, table, target
from pogospec.checking.check import checked
from pogospec.data import load_for
from pogospec.explain.overview import Caution, Explanation, explanation
from pogospec.spec.catalog import show
from pogospec.spec.resolve import read
from pogospec.spec.shipped import FOLDERS, shipped_specs, shipped_suites, spec_name, spec_path
from pogospec.spec.yaml import plain_of, read_tree

END = " \\\\\n"
"""What ends a row of LaTeX."""


def pages() -> dict[str, str]:
    """Path -> Markdown of a page a system, one of all suites, and the lists that other pages include."""
    found = {f"systems/{spec_name(path)}.md": system_page(path) for path in shipped_specs()}
    for folder in FOLDERS:
        paths = [path for path in shipped_specs() if spec_name(path).rpartition("/")[0] == folder]
        found[f"systems/parts/{folder or 'data'}.md"] = _listed(paths)
    return found | {"suites/index.md": suites_page()}


def _listed(paths: list[Path]) -> str:
    rows = [(f"[{code(spec_name(path))}](#{anchor(path)})", prose(_plain(path).get("about", ""))) for path in paths]
    return table(("spec", "what it is"), rows)


def anchor(path: Path) -> str:
    """The target of a system's page."""
    return f"system-{spec_name(path).replace('/', '-')}"


def system_page(path: Path) -> str:
    """All that is known of one shipped spec."""
    name, text, plain = spec_name(path), path.read_text(encoding="utf-8"), _plain(path)
    found, base = explained(path), plain.get("extends")
    above = f"It changes [{code(Path(base).stem)}](#{anchor(base_of(path, base))}).\n" if base else ""
    meanings = table(("symbol", "meaning"), [(prose(symbol), prose(text)) for symbol, text in found.meanings])
    several = len(found.blocks) > 1
    warnings = [f"- {_caution(one, several)}\n" for one in found.cautions]
    parts = [
        f"{prose(plain.get('about', ''))}\n",
        above,
        fenced(f"pogospec run {name}", "sh"),
        f"{_told(claim(text))}\n",
        "## Mathematics\n",
        *mathematics(found.latex),
        meanings,
        "## Step by step\n",
        f"As {code(f'pogospec explain {name}')} prints it:\n",
        fenced(printed(found)),
        "## Where mathematics and practice part\n" if warnings else "",
        "".join(warnings),
        _tuned(plain.get("tuned") or {}),
        "## The spec\n",
        fenced(text, "yaml"),
    ]
    return target(anchor(path)) + page(name.rpartition("/")[2], *parts)


def _caution(caution: Caution, several: bool) -> str:
    where = f" ({', '.join(caution.stages)})" if several and caution.stages else ""
    return f"**{prose(caution.name)}**{prose(where)}: {prose(caution.text)}"


def base_of(path: Path, base: str) -> Path:
    """The file that a shipped spec extends."""
    beside = path.parent / base
    return beside if beside.is_file() else spec_path(base)


def explained(path: Path) -> Explanation:
    """What `explain` knows of a spec, without costs."""
    document = read(path)
    spec = checked(document)
    data = load_for(spec)
    return explanation(document, spec, data.space, data)


def claim(text: str) -> str:
    """The comment at the head of a spec."""
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines)


def mathematics(latex: str) -> list[str]:
    """The rows of `explain --to latex`, a block a step under its name."""
    rows = latex.partition("\\begin{align*}\n")[2].partition("\n\\end{align*}")[0].split(END)
    steps: list[tuple[str, list[str]]] = []
    for row in rows:
        label = re.fullmatch(r"\s*&\\textbf\{(.*)\}", row)
        if label is None:
            steps[-1][1].append(row)
        else:
            steps.append((label[1], []))
    blocks = [math(f"\\begin{{aligned}}\n{END.join(own)}\n\\end{{aligned}}") for _, own in steps]
    return [f"**{prose(label)}**\n\n{block}" for (label, _), block in zip(steps, blocks, strict=True)]


def _told(text: str) -> str:
    """A comment as prose, in which what stands in backticks is code."""
    return "`".join(part if number % 2 else prose(part) for number, part in enumerate(text.split("`")))


def printed(found: Explanation) -> str:
    """The blocks of an explanation as lines of text."""
    lines = []
    for block in found.blocks:
        lines += [f"{block.label}  {block.heading}"]
        width = max((len(topic) for topic, _ in block.rows), default=0)
        for topic, text in block.rows:
            first, *more = text.splitlines()
            lines += [f"  {topic:<{width}}  {first}", *(f"  {'':<{width}}  {line}" for line in more)]
        lines.append("")
    return "\n".join(lines)


def _tuned(tuned: dict[str, Any]) -> str:
    """The settings that apply where a dataset runs, which is where published ones stand."""
    if not tuned:
        return ""
    rows = []
    for pattern, settings in tuned.items():
        for number, (key, value) in enumerate(settings.items()):
            rows.append((code(pattern) if number == 0 else "", code(key), code(show(value))))
    words = "They take the place of the values below where a dataset of the name runs (`--dataset`).\n"
    return "\n".join(["## Settings by dataset\n", words, table(("dataset", "key", "value"), rows)])


def suites_page() -> str:
    """Every shipped suite."""
    parts = [
        "Tables of specs and datasets; `pogospec suite NAME` runs what is missing of one. In a suite of yours "
        "`set: {path: value}` changes all specs, and an entry of `specs` may have values of its own: "
        "`{spec: pogo_w, name: pogo-w-wide, updates: 10_000, set: {policy.hidden: [512, 512]}}`.\n"
    ]
    for path in shipped_suites():
        text = path.read_text(encoding="utf-8")
        about = f"{prose(plain_of(read_tree(path)).get('about', ''))}\n"
        parts.append("\n".join([f"## {path.stem}\n", about, f"{_told(claim(text))}\n", fenced(text, "yaml")]))
    return target("suites") + page("Suites", *parts)


def _plain(path: Path) -> dict[str, Any]:
    return plain_of(read_tree(path))
