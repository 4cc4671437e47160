"""A page for each geometry: its divergence, between which families it is known and how, its keys, its picture."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from generate.language import HEAD, rows
from generate.markdown import code, fenced, math, page, prose, table, target
from pogospec import registry
from pogospec.spec.catalog import kinds_of, summary

POLICY, REFERENCE = ("π", r"\pi"), ("π_ref", r"\pi_{\mathrm{ref}}")
MOVES = {"reweight": "reweights actions of the reference", "transport": "moves actions of the reference"}


def pages() -> dict[str, str]:
    """Path -> Markdown of a page a geometry, and of the list that another page includes."""
    kinds = kinds_of("geometry")
    found = {f"geometries/{kind}.md": geometry_page(kind, cls) for kind, cls in kinds.items()}
    return found | {"geometries/parts/list.md": listed(kinds)}


def listed(kinds: dict[str, type[Any]]) -> str:
    """All geometries side by side."""
    lines = []
    for kind, cls in kinds.items():
        made = cls()
        _, closed, sampled, metric = zip(*pairs(made), strict=True)
        known = " and ".join(word for word, some in (("closed form", closed), ("samples", sampled)) if any(some))
        explicit = {"reweight": "reweights", "transport": "moves"}.get(made.retraction or "", "")
        natural = "yes" if any(metric) else ""
        lines.append((f"[{code(kind)}](#about-{kind})", prose(summary(cls)), known, natural, explicit))
    return table(("geometry", "what D is", "known by", "natural gradients", "explicit step"), lines)


def geometry_page(kind: str, cls: type[Any]) -> str:
    """All that is known of one geometry."""
    made = cls()
    text, latex, meaning = made.formula(POLICY, REFERENCE)
    module = cleandoc(inspect.getmodule(cls).__doc__ or "")  # type: ignore[union-attr]
    parts = [
        f"{prose(summary(cls))}\n",
        math(rf"D(\pi, \pi_{{\mathrm{{ref}}}}) = {latex}"),
        "".join(f"- {prose(part)}\n" for part in meaning.split("; ")),
        f"![{kind} on the half-plane of Gaussians](../pictures/geometry-{kind}.png)\n",
        f"From the head of {code(inspect.getmodule(cls).__name__)}:\n",  # type: ignore[union-attr]
        fenced(module),
        _accuracy(made),
        "## Between which families\n",
        _known(made),
        _explicit(made),
        "## Keys\n",
        table(HEAD, rows(cls)),
    ]
    return target(f"about-{kind}") + page(kind, *parts)


def _accuracy(made: Any) -> str:
    words = made.accuracy()
    if not words:
        return ""
    return f"## Error of the estimate\n\nWith the defaults, {prose(words)}.\n"


def _explicit(made: Any) -> str:
    if made.retraction is None:
        return "An explicit step (`scheme: explicit`) is not defined for it.\n"
    return f"An explicit step (`scheme: explicit`) {MOVES[made.retraction]}.\n"


def pairs(made: Any) -> Iterator[tuple[str, list[str], list[str], bool]]:
    """Of each family: to which others D is known in closed form, to which by samples, whether it has a metric."""
    types = {kind: cls.parameter_type for kind, cls in kinds_of("policy").items()}
    for kind, own in types.items():
        known = {other: made.estimates(own, type_) for other, type_ in types.items() if made.supports(own, type_)}
        closed, sampled = ([other for other, drawn in known.items() if drawn is how] for how in (False, True))
        yield kind, closed, sampled, made.has_metric(own)


def _known(made: Any) -> str:
    """Between which families D is known: in a sentence where that says it all, else as a table."""
    count = len(registry.table("policy"))
    every = [row for row in pairs(made) if row[1] or row[2]]
    if len(every) == count and all(len(sampled) == count and not metric for _, _, sampled, metric in every):
        return "Any two, by samples. Natural gradients are not defined for it.\n"
    lines = [(code(kind), _names(c, count), _names(s, count), "yes" if metric else "") for kind, c, s, metric in every]
    return table(("policy", "in closed form to", "by samples to", "natural gradients"), lines)


def _names(kinds: list[str], count: int) -> str:
    return "every family" if len(kinds) == count else ", ".join(map(code, kinds))
