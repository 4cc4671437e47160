"""What runs found, in Python: a run with its scores, runs compared, policies ranked, and pictures of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pogospec.console import Screen
from pogospec.errors import UsageError
from pogospec.report.figures import Look, look_of, picture_of, write
from pogospec.report.reading import Plan, final, is_target, of_sweeps, open_any, read_flow, seeds_of
from pogospec.report.screen import show_comparison, show_flows, show_grids, show_matrix, show_rankings
from pogospec.report.tables import (
    Ranking,
    Sheet,
    flow_warnings,
    matrix_of,
    matrix_to_text,
    rankings,
    refuse_rule,
    refuse_table,
    selection_about,
    selection_below,
    selection_rows,
    selection_sheet,
    selection_to_text,
    sheet_of,
    sheets,
    targets_of,
    titled,
    to_text,
    warnings,
)
from pogospec.runs.directory import RunDirectory
from pogospec.text import html_table, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Runs = RunDirectory | str | Path | Sequence[RunDirectory | str | Path]
WIDTH = 110


class Run(RunDirectory):
    """A run on disk with what it found; `path`, `status()` and `manifest` say what it is."""

    @property
    def scores(self) -> dict[str, np.ndarray]:
        """Policy -> a score a seed at the last evaluation, raw returns where the data have no reference.

        Raises UsageError for flows on known energies, which nothing evaluates: see `table`.
        """
        if is_target(self):
            raise UsageError(f"{self.path} is a flow on a known energy, which has no scores; allowed table()")
        return {policy: cell.values for policy, cell in final(self).items()}

    def table(self, score: str = "last") -> Any:
        """A pandas table with a row a policy and seed; of flows on known energies what flow.csv measured.

        `score`: last, best or mean-last-K. Raises UsageError where pandas is not installed.
        """
        return _frame(_rows([self], score))

    def __repr__(self) -> str:
        title, rows, head = self._shown()
        width = max([len(name) for name, _ in rows], default=0)
        lines = [title, *(f"  {name:<{width}}  {text}" for name, text in rows), *([] if rows else [f"  {head[1]}"])]
        return "\n".join(map(plain, lines))

    def _repr_html_(self) -> str:
        title, rows, head = self._shown()
        return html_table(head, rows, title)

    def _shown(self) -> tuple[str, list[tuple[str, str]], tuple[str, str]]:
        """A title, what each policy came to, and what these numbers are."""
        about, status = self.manifest, self.status()
        count = f"{about['seeds']} seed{'s'[: about['seeds'] > 1]}"
        state = status["state"] + ("" if status["state"] == "done" else f" after {status['update']:,} updates")
        title = f"Run {about['name']} on {about['dataset']}, {count}, {state}: {self.path}"
        if is_target(self):
            flow = read_flow(self)
            ends = [0, -1] if len(flow.labels) > 1 else [0] if flow.labels else []
            rows = [(flow.labels[i], f"energy {flow.columns['energy'][i].mean():.4g}") for i in ends]
            return title, rows, ("policy", "energy" if rows else "nothing is measured yet")
        cells = final(self)
        unit = "return" if about["reference"] is None else "score"
        rows = [(policy, f"{unit} {cell}") for policy, cell in cells.items()]
        return title, rows, ("policy", unit if rows else "nothing is evaluated yet")


class Comparison:
    """Runs beside each other: printed as `pogospec compare` prints them, and as a table in notebooks."""

    def __init__(
        self,
        runs: Sequence[RunDirectory],
        show: Callable[[Screen], None],
        text: Callable[..., str],
        shown: Sequence[Sheet],
        found: Sequence[str],
        score: str,
    ):
        self.runs, self.warnings, self._score = [*runs], [*found], score
        self._show, self._text, self._sheets = show, text, shown

    def __repr__(self) -> str:
        return _printed(self._show)

    def _repr_html_(self) -> str:
        *first, last = [(sheet, ()) for sheet in self._sheets]
        told = [f"warning: {text}" for text in self.warnings]
        return "\n".join(
            html_table(sheet.head, sheet.rows, sheet.title, below) for sheet, below in [*first, (last[0], told)]
        )

    def to(
        self,
        style: Literal["markdown", "latex", "csv", "json"],
        caption: str | None = None,
        label: str | None = None,
    ) -> str:
        """The table as text for documents and programs; raises UsageError for another style.

        `caption`, `label`: of LaTeX, in the place of the protocol and of tab:comparison.
        """
        _among("the style", style, ("markdown", "latex", "csv", "json"))
        if (caption, label) != (None, None) and style != "latex":
            raise UsageError(f"found a caption or label with {style}, allowed with latex")
        return self._text(style, caption=caption, label=label)

    def table(self) -> Any:
        """A pandas table with a row a run, policy and seed; raises UsageError where pandas is not installed."""
        return _frame(_rows(self.runs, self._score))


def compare(runs: Runs, score: str = "last", stat: str | None = None, published: str | None = None) -> Comparison:
    """Compare runs, folders of runs or a suite, as `pogospec compare` does; print it, or look at it in a notebook.

    Args:
        runs: one or several: runs, run directories, folders that hold some, or a suite's folder or file.
        score: last, best (of each seed; optimistic) or mean-last-K.
        stat: mean-std, iqm-ci or iqm-bootstrap: one table of datasets by methods, as suites have.
        published: a source of the literature, or all, beside that table.

    Raises:
        UsageError, RunDirectoryError: as the command line reports them.

    """
    opened, plan = named(runs)
    if stat is not None:
        _among("stat", stat, ("mean-std", "iqm-ci", "iqm-bootstrap"))
    if targets_of(opened):
        refuse_rule(score)
        refuse_table(stat, published)
        show, text, shown = partial(show_flows, runs=opened), partial(to_text, opened), sheets(opened)
        return Comparison(opened, show, text, shown, flow_warnings(opened), score)
    if plan or stat or published:
        found = matrix_of(opened, score, stat or "mean-std", published, plan)
        show, text = partial(show_matrix, matrix=found), partial(matrix_to_text, found)
        return Comparison(opened, show, text, [sheet_of(found)], found.warnings, score)
    show = partial(show_grids if of_sweeps(opened) else show_comparison, runs=opened, score=score)
    text, shown = partial(to_text, opened, score=score), sheets(opened, score)
    return Comparison(opened, show, text, shown, warnings(opened, score), score)


class Selection:
    """Policies ranked by what the data say of them: printed as `pogospec select` prints them, and as a table."""

    def __init__(self, found: Sequence[Ranking]):
        self.rankings = [*found]

    def __repr__(self) -> str:
        return _printed(partial(show_rankings, rankings=self.rankings))

    def _repr_html_(self) -> str:
        pages = []
        for ranking in self.rankings:
            sheet, title = selection_sheet(ranking), f"{ranking.dataset}: {selection_about(ranking)}"
            pages.append(html_table(sheet.head, sheet.rows, title, selection_below(ranking)))
        return "\n".join(pages)

    def to(self, style: Literal["csv", "json"]) -> str:
        """The choices as text for programs, with regrets and notes as json; raises UsageError for another style."""
        _among("the style", style, ("csv", "json"))
        return selection_to_text(self.rankings, style)

    def table(self) -> Any:
        """A pandas table with a row a choice, the best of each dataset first; raises UsageError without pandas."""
        return _frame([row for ranking in self.rankings for row in selection_rows(ranking)])


def select(
    runs: Runs,
    by: Literal["low", "value"] = "low",
    estimator: Literal["fqe", "wis", "dr"] = "fqe",
    per: Literal["seed", "policy"] = "seed",
    first: Sequence[int] = (1, 3),
) -> Selection:
    """Rank policies by what `estimate` found, where none may be tried, as `pogospec select`; print it, or look at it.

    Args:
        runs: as `compare` takes them; each holds estimates, of the same discount and rewards.
        by: low, the lower end of the interval, or value, the estimate.
        estimator: fqe, wis or dr.
        per: what is chosen: one seed of a policy, or a policy, mean over its seeds.
        first: the k of regret@k, where rollouts exist.

    Raises:
        UsageError, RunDirectoryError: as the command line reports them.

    """
    _among("by", by, ("low", "value"))
    _among("the estimator", estimator, ("fqe", "wis", "dr"))
    _among("per", per, ("seed", "policy"))
    if not all(isinstance(k, int) and k >= 1 for k in first):
        raise UsageError(f"found first {first!r}, allowed whole numbers from 1 on, such as (1, 3)")
    return Selection(rankings(named(runs)[0], estimator, by, per, first))


def plot(
    runs: Runs,
    figure: str | None = None,
    out: str | Path | None = None,
    *,
    y: str = "score",
    x: Literal["updates", "seconds", "flow_time"] = "updates",
    by: Literal["step", "run"] | None = None,
    state: int | None = None,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    dpi: int | None = None,
    y_label: str | None = None,
    x_label: str | None = None,
) -> Figure:
    """Draw runs as `pogospec plot` does; a figure of Matplotlib, which is written where `out` names a file.

    Args:
        runs: as `compare` takes them.
        figure: curves (default), sweep, switching, path, energy (default for flows on known energies), proximal or
            density.
        out: a file .png, .svg or .pdf.
        y: of curves: score, return, a column of metrics.csv or flow.csv.
        x: of curves: the horizontal axis.
        by: of curves: what a colour means.
        state: of density: a row of the data.
        title: in the place of the picture's own; "" for none.
        size: width and height in inches.
        dpi: dots an inch.
        y_label: name of the y axis.
        x_label: name of the x axis.

    Raises:
        UsageError, RunDirectoryError: as the command line reports them.

    """
    look: Look = look_of(title, size, dpi, y_label, x_label)
    drawn = picture_of(named(runs)[0], figure, y, x, by, state, look)
    if dpi is not None:
        drawn.set_dpi(dpi)
    if out is not None:
        write(drawn, Path(out), Look(dpi=dpi))
    return drawn


def named(runs: Runs) -> tuple[list[RunDirectory], Plan | None]:
    """Runs that are named in any way, and the plan of a suite where its folder or file is."""
    given: list[Any] = [runs] if isinstance(runs, (RunDirectory, str, Path)) else list(runs)
    for one in given:
        if not isinstance(one, (RunDirectory, str, Path)):
            raise UsageError(f"found a run of type {type(one).__name__}, allowed runs and paths")
    if not given:
        raise UsageError("found no runs, allowed one or more")
    paths = [one.path if isinstance(one, RunDirectory) else Path(one) for one in given]
    return open_any(paths)[:2]


def _printed(show: Callable[[Screen], None]) -> str:
    """What is shown, as text."""
    out = io.StringIO()
    show(Screen(file=out, width=WIDTH))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _among(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(f"found {name} {value!r}, allowed {', '.join(allowed)}")


def _rows(runs: Sequence[RunDirectory], score: str) -> list[dict[str, Any]]:
    """A row a run, policy and seed."""
    found = []
    for title, run in titled(runs):
        about = {"run": title, "dataset": run.manifest["dataset"]}
        if is_target(run):
            flow = read_flow(run)
            known = [name for name in flow.columns if flow.known(name)]
            for number, label in enumerate(flow.labels):
                for place, seed in enumerate(seeds_of(run)):
                    numbers = {name: float(flow.columns[name][number, place]) for name in known}
                    found.append(about | {"policy": label, "seed": seed} | numbers)
            continue
        for policy, cell in final(run, score).items():
            for place, seed in enumerate(seeds_of(run)):
                if cell.bounds is None:
                    scores = None if cell.scores is None else float(cell.scores[place])
                    numbers = {"return": float(cell.returns[place]), "score": scores}
                else:  # an estimate is no return
                    low, high = (float(end[place]) for end in cell.bounds)
                    numbers = {"value": float(cell.values[place]), "low": low, "high": high}
                found.append(about | {"policy": policy, "seed": seed} | numbers | {"updates": cell.total_update})
    return found


def _frame(rows: list[dict[str, Any]]) -> Any:
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "a table needs pandas; pip install pandas, or read what .to('csv') gives, and returns.csv, without it"
        ) from None
    return pandas.DataFrame(rows)
