"""The Python twin of the command line: run a spec, load a policy and act; compare, select and plot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import jax

from pogospec.acting import Policy, load_policy, policy_of
from pogospec.checking.check import Overrides, as_overrides, checked, documents, located
from pogospec.checking.trackers import require_trackers
from pogospec.console import Screen
from pogospec.data import load_for
from pogospec.errors import UsageError
from pogospec.film.render import render_run
from pogospec.launch.offline import ESTIMATORS, Asked
from pogospec.launch.offline import evaluate as evaluate_offline
from pogospec.launch.one import execute
from pogospec.launch.record import new_run
from pogospec.launch.sweep import jobs_of, run_sweep
from pogospec.modules import allowing
from pogospec.offline.settings import Settings
from pogospec.report.page import NAME, write_page
from pogospec.results import Comparison, Run, Runs, Selection, compare, named, plot, select
from pogospec.runs.directory import RunDirectory, run_name
from pogospec.runs.files import locked
from pogospec.shipping.check import TOLERANCE
from pogospec.shipping.write import Exported, export_policy
from pogospec.spec.resolve import Document
from pogospec.spec.schema import Spec
from pogospec.spec.shipped import spec_path
from pogospec.tuning.results import Results
from pogospec.tuning.whole import Whole, document_of, plan_of, require_found

__all__ = [
    "Comparison", "Policy", "Run", "Selection", "compare", "default_directory", "estimate", "export", "load_policy",
    "plot", "render", "report", "run", "select", "sweep", "tune",
]  # fmt: skip


def default_directory(spec: Spec) -> Path:
    """The run directory of a spec where none is given: runs/NAME-DATASET-TIME."""
    return Path("runs") / f"{run_name(spec.name, spec.data.dataset)}-{time.strftime('%Y%m%d-%H%M%S')}"


def run(
    spec: Spec | str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    overrides: Overrides = (),
    show: bool = False,
    allow_modules: Sequence[str] = (),
) -> Run:
    """Train and evaluate a spec into a run directory.

    Args:
        spec: a spec from `load`, a file, the name of a shipped spec, or a mapping.
        out: the run directory; default runs/NAME-DATASET-TIME.
        overrides: paths and values, as `load` takes them; not with a spec from `load`.
        show: print the live view of the command line.
        allow_modules: modules of which data and spec may name code, as `--allow-module` does.

    Raises:
        SpecError, DataError, RunError: as the command line reports them.

    """
    with allowing(*allow_modules):
        return _run(spec, out, overrides, show)


def _run(spec: Spec | str | Path | Mapping[str, Any], out: str | Path | None, overrides: Overrides, show: bool) -> Run:
    if isinstance(spec, Spec) and overrides:
        raise UsageError("found overrides for a spec that is loaded already, allowed with a file; give them to load")
    if isinstance(spec, Spec):
        loaded, place = spec, nullcontext()
        require_trackers([Document(spec, [], {}, "spec")])
    else:
        document = documents(spec, overrides)[0]
        if document.cell:
            name = "the mapping" if isinstance(spec, Mapping) else spec
            raise UsageError(f"{name} declares a sweep over {', '.join(document.cell)}; run it with pogospec.sweep")
        loaded, place = checked(document), located(document)
        require_trackers([document])
    if loaded.schedule.branch is not None:
        raise UsageError("found schedule.branch, which makes several runs; run the file with pogospec.sweep")
    with place:
        data = load_for(loaded)
        target = default_directory(loaded) if out is None else Path(out)
        directory = new_run(loaded, data, target, str(jax.devices()[0]))
        execute(Screen(quiet=not show), loaded, data, directory)
    return Run(directory.path)


def sweep(
    path: str | Path | Mapping[str, Any],
    grid: Mapping[str, Sequence[Any]] | None = None,
    out: str | Path | None = None,
    overrides: Overrides = (),
    show: bool = False,
    allow_modules: Sequence[str] = (),
) -> list[Run]:
    """Train and evaluate every cell of a sweep, each into a run directory of one folder; done ones are kept.

    Args:
        path: a file, the name of a shipped spec, or a mapping.
        grid: paths and lists of values, beside what the file sweeps.
        out: the folder; default runs/NAME-DATASET-TIME.
        overrides: paths and values, as `load` takes them.
        show: print the live view of the command line.
        allow_modules: modules of which data and specs may name code, as `--allow-module` does.

    Returns the runs in the order of the grid, the last path fastest; `status()` says which failed.

    Raises:
        SpecError, DataError: as the command line reports them.

    """
    given = [(name, list(values), f"grid {name}") for name, values in (grid or {}).items()]
    with allowing(*allow_modules):
        cells = documents(path, overrides, given)
        if not cells[0].cell and checked(cells[0]).schedule.branch is None:
            name = "the mapping" if isinstance(path, Mapping) else path
            raise UsageError(f"{name} sweeps nothing; give a grid, such as {{'energy.entropy.weight': [0, 0.01]}}")
        folder = default_directory(checked(cells[0])) if out is None else Path(out)
        jobs = jobs_of(cells, folder)
        require_trackers([job.document for job in jobs])
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            run_sweep(Screen(quiet=not show), jobs, str(jax.devices()[0]))
    return [Run.open(job.path) for job in jobs]


def tune(
    spec: str | Path,
    trials: int | None = None,
    out: str | Path | None = None,
    by: Literal["returns", "fqe"] | None = None,
    sampler: Literal["tpe", "random", "grid"] = "tpe",
    pruner: Literal["none", "halving", "hyperband"] = "none",
    seed: int | None = None,
    fqe_updates: int | None = None,
    fqe_hidden: Sequence[int] | None = None,
    overrides: Overrides = (),
    show: bool = False,
    allow_modules: Sequence[str] = (),
) -> Results:
    """Search the ranges that a spec declares, each trial a run, as `pogospec tune`; a search that stopped goes on.

    Args:
        spec: a file with a key `tune`, or the name of a shipped one.
        trials: how many; default 20, of a grid all its points.
        out: the folder; default runs/NAME-DATASET-tune.
        by: score of a trial: rollouts of its last policy (default), or fitted Q evaluation of it.
        sampler: where to look: Parzen estimators after 5 random trials, at random, or on a grid.
        pruner: stops trials whose evaluations fall behind: by successive halving, in one or many brackets.
        seed: of the search; default: the first seed of the spec.
        fqe_updates: of each critic of fitted Q evaluation; default 10,000.
        fqe_hidden: hidden layers of these critics; default (128, 128).
        overrides: paths and values, as `load` takes them.
        show: print the live view of the command line.
        allow_modules: modules of which data and specs may name code, as `--allow-module` does.

    Returns the trials, the best first in `ranked`; its spec is best.yaml in the folder.

    Raises:
        SpecError, DataError, RunError, UsageError: as the command line reports them.

    """
    with allowing(*allow_modules):
        path, given = str(spec_path(spec)), as_overrides(overrides)
        document = document_of(str(spec), path, given)
        critics = {"fqe_updates": fqe_updates, "fqe_hidden": None if fqe_hidden is None else tuple(fqe_hidden)}
        plan = plan_of(document, by, sampler, pruner, seed, critics)
        folder = None if out is None else Path(out)
        whole = Whole(Screen(quiet=not show), plan, document, path, given, folder, trials, str(jax.devices()[0]))
        whole.run()
        found = whole.end()
        require_found(found)
    return found


def estimate(
    run: RunDirectory | str | Path,
    policy: str | None = None,
    *,
    estimators: Sequence[str] | None = None,
    discount: float | None = None,
    action: Literal["mean", "sample"] | None = None,
    rewards: Literal["run", "logged"] = "run",
    samples: int = 8,
    level: float = 0.95,
    moves: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    allow_modules: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """What the policies of a run are worth by its data alone, as `pogospec evaluate RUN --offline`; written to ope.csv.

    Args:
        run: a run directory.
        policy: behavior, 'step 1', …; default: all.
        estimators: of fqe, wis and dr; default: those that can be had.
        discount: below 1; default: that of the run's critic, or 0.99.
        action: how the policies act; default: as in the run.
        rewards: those of the run over the size of their scale, or as they were logged.
        samples: actions in each place, where policies sample.
        level: of the intervals.
        moves: of particles: moves before one acts.
        seed: of critics and samples.
        settings: how critics are fitted; its discount gives way to `discount`.
        allow_modules: modules of which data may name code, as `--allow-module` does.

    Returns a row an estimate, policy and seed, with the columns of ope.csv.

    Raises:
        UsageError, RunDirectoryError, DataError, RunError: as the command line reports them.

    """
    unknown = [name for name in estimators or () if name not in ESTIMATORS]
    if unknown:
        raise UsageError(f"estimators: found '{unknown[0]}', allowed {', '.join(ESTIMATORS)}")
    if action not in (None, "mean", "sample") or rewards not in ("run", "logged"):
        raise UsageError(f"found action '{action}' and rewards '{rewards}', allowed mean or sample, and run or logged")
    if samples < 1:
        raise UsageError(f"samples: found {samples}, allowed 1 or more")
    if not 0 < level < 1 or not 0 <= (discount or 0) < 1:
        raise UsageError(f"found level {level:g} and discount {discount}, allowed between 0 and 1, and below 1")
    names = tuple(estimators) if estimators else None
    how = settings or Settings()
    directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    with allowing(*allow_modules):
        asked = Asked(policy, moves, discount, action, rewards, names, samples, level, seed, how)
        return evaluate_offline(directory, asked).rows


def export(
    run: RunDirectory | str | Path,
    to: str,
    policy: str | None = None,
    seed: int | None = None,
    action: Literal["mean", "sample"] | None = None,
    out: str | Path | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write a policy of a run as a file that acts without this package, with a model card and a loader beside it.

    Args:
        run: a run directory.
        to: onnx, stablehlo, torch or npz.
        policy: behavior, 'step 1', …; default: the last step.
        seed: one of the run's; default: its first.
        action: the mean action or samples; default: as the run evaluates.
        out: the file; default in the run, exports/step_1-mean.npz.
        tolerance: the largest difference from the policy, in actions scaled to [-1, 1]; more is refused, but four times
            what rounding changes in the policy itself.

    Returns paths of file, card and loader, and what the check found.

    Raises UsageError for what cannot be written, RunError where the file acts otherwise than the policy.

    """
    directory, label = policy_of(run, policy)
    return export_policy(directory, to, label, seed, action, None if out is None else Path(out), tolerance)


def render(
    run: RunDirectory | str | Path,
    out: str | Path | None = None,
    policies: Sequence[str] | None = None,
    seed: int | None = None,
    episodes: int = 1,
    seconds: float | None = None,
    speed: float = 1.0,
    pixels: int = 320,
) -> Path:
    """Film the same episodes of several policies side by side, without a screen; the file.

    Args:
        run: a run directory.
        out: a file .gif or .mp4; default in the run, film.gif.
        policies: behavior, 'step 1', …; default: all that are saved.
        seed: one of the run's; default: its first.
        episodes: how many, one after another, from the reset seed of the run's evaluation on.
        seconds: of an episode at most, as the task counts them; default: all of it.
        speed: 0.5 shows it half as fast.
        pixels: width and height of a policy's panel.

    Raises UsageError for what cannot be filmed, RunError where nothing draws on this machine.

    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    path = None if out is None else Path(out)
    return render_run(directory, path, policies, seed, episodes, None, seconds, speed, pixels).path


def report(
    runs: Runs,
    path: str | Path = NAME,
    score: str = "last",
    title: str | None = None,
    films: Sequence[str | Path] = (),
    allow_modules: Sequence[str] = (),
) -> Path:
    """Write runs, folders of runs or a suite as one page that needs no network, as `pogospec report`; its file.

    Args:
        runs: as `compare` takes them.
        path: a file .html.
        score: last, best (of each seed; optimistic), mean-last-K, fqe, wis or dr.
        title: of the page; default: specs and datasets.
        films: files of `render` beside those that lie in the runs.
        allow_modules: modules of which data and specs may name code, as `--allow-module` does.

    Raises:
        UsageError, RunDirectoryError: as the command line reports them.

    """
    with allowing(*allow_modules):
        return write_page(*named(runs), Path(path), score, title, [*map(Path, films)]).path
