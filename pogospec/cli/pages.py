"""Commands that show runs in a browser: report, watch."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from pogospec.cli.app import Allow, allow_modules
from pogospec.terminal import say

Runs = Annotated[list[Path], typer.Argument(help="Run directories, folders of runs, a suite: its folder or file.")]
Score = Annotated[
    str, typer.Option(metavar="RULE", help="last, best (of each seed; optimistic), mean-last-K; fqe, wis or dr.")
]
Title = Annotated[str | None, typer.Option(metavar="TEXT", help="Of the page; default: specs and datasets.")]

Films = Annotated[
    list[Path] | None,
    typer.Option("--film", metavar="FILE", help="A .gif or .mp4 beside those that lie in the runs; may be repeated."),
]


def _leave_devices() -> None:
    """Compute pictures on the processor: a GPU or TPU is the training's, whose memory JAX would take."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def report(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="A file .html; default: report.html in the one folder named."),
    ] = None,
    score: Score = "last",
    title: Title = None,
    film: Films = None,
    allow: Allow = None,
) -> None:
    """Write runs as one page that needs no network: curves to hover and zoom, tables, objectives, data, films.

    Films are those that `pogospec render RUN` left in the runs, and what --film names.
    """
    allow_modules(allow)
    _leave_devices()
    from pogospec.report.page import default_file, write_page
    from pogospec.report.reading import open_any

    opened, plan, other = open_any(runs)
    if other:
        say(f"passed over: {', '.join(other)}", error=True)
    written = write_page(opened, plan, out or default_file(runs), score, title, film or ())
    for text in written.left:
        say(f"left out: {text}", error=True)
    say(f"page  {written.path}  ({written.size / 1e6:.1f} MB, {len(opened)} run{'s'[: len(opened) > 1]})")


def watch(
    runs: Runs,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0 takes a free one.")] = 8642,
    every: Annotated[float, typer.Option(min=1, max=3600, help="Seconds between looks, at least.")] = 5.0,
    score: Score = "last",
    title: Title = None,
    film: Films = None,
    allow: Allow = None,
) -> None:
    """Serve that page to this machine alone, and renew it while runs go on; Ctrl-C ends it.

    What is chosen and zoomed stays. A page that takes long to make is made less often, up to once a minute.
    """
    allow_modules(allow)
    _leave_devices()
    from pogospec.report.page import fingerprint, page_of, serve
    from pogospec.report.reading import open_any

    def tell(address: str) -> None:
        say(f"watching at  {address}  (Ctrl-C ends it)")
        sys.stdout.flush()

    with contextlib.suppress(KeyboardInterrupt):
        serve(
            lambda: page_of(*open_any(runs)[:2], score, title, film or (), every),
            lambda: fingerprint(open_any(runs)[0], film or ()),
            port,
            every,
            tell,
        )
