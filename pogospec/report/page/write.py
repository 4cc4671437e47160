"""A page put together: contents into a template, into a file that holds all that it needs.

Its curves are SVG that a few hundred lines of its own JavaScript draw, not those of a library of plots: such a library
is megabytes in each page, while the rest of one is some hundred kilobytes, and curves that it draws on a canvas nobody
can walk along by keyboard. The policy of the page lets a browser fetch nothing, and run nothing but its own script.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from pogospec import __version__
from pogospec.errors import UsageError, reason
from pogospec.report.page import about, curves, films, mathematics, pictures, results
from pogospec.report.page.changes import fingerprint
from pogospec.report.page.members import members_of, renamed
from pogospec.report.reading.find import Plan
from pogospec.report.tables.flows import targets_of
from pogospec.runs.directory import RunDirectory
from pogospec.runs.files import publish
from pogospec.text import plain

HERE = Path(__file__).parent
NEEDED = ("jinja2", "latex2mathml")
NAME = "report.html"


class Written(NamedTuple):
    """A page in a file, and what is not in it, a sentence each."""

    path: Path
    size: int
    left: list[str]


class Page(NamedTuple):
    """A page as text; `version` changes whenever the runs write something; `left`: what is not in it."""

    text: str
    version: str
    left: list[str]


def require() -> None:
    """Raise UsageError where a package is missing that pages need."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f'a page needs {" and ".join(missing)}; pip install "pogospec[report]"')


def default_file(paths: Sequence[Path]) -> Path:
    """Where a page goes that is given no file: into the one folder that was named, else beside the first."""
    first = paths[0]
    return (first if len(paths) == 1 and first.is_dir() else first.parent) / NAME


def write_page(
    runs: Sequence[RunDirectory],
    plan: Plan | None,
    path: Path,
    score: str = "last",
    title: str | None = None,
    named: Sequence[Path] = (),
) -> Written:
    """Write the page of runs, or of a suite, into a file; raises UsageError where it cannot be made or written.

    `named`: films beside those of the runs.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out: found suffix '{path.suffix}' of {path}, allowed .html")
    page = page_of(runs, plan, score, title, named)
    content = page.text.encode(errors="replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {reason(error)}; choose another --out") from None
    return Written(path, len(content), page.left)


def page_of(
    runs: Sequence[RunDirectory],
    plan: Plan | None,
    score: str = "last",
    title: str | None = None,
    named: Sequence[Path] = (),
    every: float | None = None,
) -> Page:
    """The page of runs; `named`: films beside theirs; `every`: seconds after which one that is watched looks for news.

    Raises UsageError.
    """
    require()
    films.require(named)
    targets_of(runs)
    version = fingerprint(runs, named)
    members = members_of(runs, plan)
    lines = about.lines_of(members)
    drawn = curves.curves_of(members)
    shown = films.films_of(members, named)
    left = [f"{film.whose}: {film.left}" for film in shown if film.left]
    if drawn["left"]:
        left.append(f"curves of {', '.join(drawn['left'])}: too many numbers for one page; name fewer runs")
    running = any(line.progress.state == "running" for line in lines)
    specs, facts = about.provenance(members)
    found = {
        "title": title or _title(members, plan),
        "lines": lines,
        "results": results.results_of(members, plan, score),
        "differences": results.differences(members),
        "objectives": mathematics.objectives_of(members),
        "cards": about.cards_of(members),
        "specs": specs,
        "facts": facts,
        "films": shown,
        "pictures": pictures.pictures_of(members),
        "data": drawn | {"quantiles": results.quantiles(members), "every": every, "version": version},
        "left": left,
        "running": running,
        "every": every,
        "made": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "pogospec": __version__,
        "renamed": renamed(members),
    }
    return Page(_rendered(found), version, left)


def _title(members: Sequence[Any], plan: Plan | None) -> str:
    if plan is not None:
        return plan.name
    specs = list(dict.fromkeys(member.manifest["name"] for member in members))
    datasets = list(dict.fromkeys(member.dataset for member in members))
    several = f"{len(datasets)} datasets" if len(datasets) > 2 else " and ".join(datasets)
    return f"{', '.join(specs[:3])}{f' and {len(specs) - 3} more' if len(specs) > 3 else ''} on {several}"


def _rendered(found: dict[str, Any]) -> str:
    """The template with its contents; all text is escaped, what does not print is an escape."""
    from markupsafe import Markup

    script, style = ((HERE / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    own = {"script": Markup(script), "style": Markup(style), "policy": _policy(script, style, found["every"])}
    return _template().render(found | own)


@functools.lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, pass_context
    from markupsafe import Markup

    @pass_context
    def shown(context: Any, value: Any) -> Any:
        if isinstance(value, Markup):
            return value
        text = plain(str(value))
        for whole, name in context["renamed"].items():
            text = text.replace(whole, name)
        return text

    options = {"autoescape": True, "finalize": shown, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=FileSystemLoader(HERE), **options).get_template("page.html")


def _policy(script: str, style: str, every: float | None) -> str:
    """What a browser may do with the page: run its script and look like its style; a watched one asks its server."""
    connect = "'none'" if every is None else "'self'"
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; media-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
