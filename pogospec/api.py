"""The Python twin of the command line: run a spec, load a policy and act."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from pogospec.checking.check import checked, located
from pogospec.console import Screen
from pogospec.data import load_for
from pogospec.errors import UsageError
from pogospec.launch.one import execute
from pogospec.launch.record import new_run
from pogospec.launch.sweep import jobs_of, run_sweep
from pogospec.modules import allowing
from pogospec.policies.base import row_of
from pogospec.runs.directory import RunDirectory, run_name
from pogospec.runs.files import locked
from pogospec.runs.saved import SavedPolicy
from pogospec.spec.resolve import Override, read, read_cells
from pogospec.spec.schema import Spec
from pogospec.spec.shipped import spec_path
from pogospec.terminal import command


def default_directory(spec: Spec) -> Path:
    """The run directory of a spec where none is given: runs/NAME-DATASET-TIME."""
    return Path("runs") / f"{run_name(spec.name, spec.data.dataset)}-{time.strftime('%Y%m%d-%H%M%S')}"


def run(
    spec: Spec | str | Path,
    out: str | Path | None = None,
    overrides: Sequence[Override] = (),
    show: bool = False,
    allow_modules: Sequence[str] = (),
) -> RunDirectory:
    """Train and evaluate a spec into a run directory.

    Args:
        spec: a spec from `load`, a file, or the name of a shipped spec.
        out: the run directory; default runs/NAME-DATASET-TIME.
        overrides: pairs of path and YAML text, as `--set` takes them; only with a file or a name.
        show: print the live view of the command line.
        allow_modules: modules of which data and spec may name code, as `--allow-module` does.

    Raises:
        SpecError, DataError, RunError: as the command line reports them.

    """
    with allowing(*allow_modules):
        return _run(spec, out, overrides, show)


def _run(spec: Spec | str | Path, out: str | Path | None, overrides: Sequence[Override], show: bool) -> RunDirectory:
    if isinstance(spec, Spec) and overrides:
        raise UsageError("found overrides for a spec that is loaded already, allowed with a file; give them to load")
    if isinstance(spec, Spec):
        loaded, place = spec, nullcontext()
    else:
        document = read(spec_path(spec), overrides)
        if document.cell:
            raise UsageError(f"{spec} declares a sweep over {', '.join(document.cell)}; run it with pogospec.sweep")
        loaded, place = checked(document), located(document)
    with place:
        data = load_for(loaded)
        target = default_directory(loaded) if out is None else Path(out)
        directory = new_run(loaded, data, target, str(jax.devices()[0]))
        execute(Screen(quiet=not show), loaded, data, directory)
    return directory


def sweep(
    path: str | Path,
    grid: Mapping[str, Sequence[Any]] | None = None,
    out: str | Path | None = None,
    overrides: Sequence[Override] = (),
    show: bool = False,
    allow_modules: Sequence[str] = (),
) -> list[RunDirectory]:
    """Train and evaluate every cell of a sweep, each into a run directory of one folder; done ones are kept.

    Args:
        path: a file, or the name of a shipped spec.
        grid: paths and lists of values, beside what the file sweeps.
        out: the folder; default runs/NAME-DATASET-TIME.
        overrides: pairs of path and YAML text, as `--set` takes them.
        show: print the live view of the command line.
        allow_modules: modules of which data and specs may name code, as `--allow-module` does.

    Returns the runs in the order of the grid, the last path fastest; `status()` says which failed.

    Raises:
        SpecError, DataError: as the command line reports them.

    """
    given: list[Override] = [(name, json.dumps(list(values)), f"grid {name}") for name, values in (grid or {}).items()]
    with allowing(*allow_modules):
        documents = read_cells(spec_path(path), overrides, given)
        if not documents[0].cell:
            raise UsageError(f"{path} sweeps nothing; give a grid, such as {{'energy.entropy.weight': [0, 0.01]}}")
        folder = default_directory(checked(documents[0])) if out is None else Path(out)
        jobs = jobs_of(documents, folder)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            run_sweep(Screen(quiet=not show), jobs, str(jax.devices()[0]))
    return [RunDirectory.open(job.path) for job in jobs]


class Policy:
    """A trained policy of one seed, with normaliser, squashing and action bounds inside.

    `family`, `network` and `space` are there for those who want more than actions: `parameters` gives the
    parameters of the action distribution, whose `distribution()` is NumPyro's.
    """

    def __init__(self, saved: SavedPolicy, seed: int, label: str):
        network = jax.tree.map(lambda leaf: leaf[seed : seed + 1], saved.network)
        self._saved = saved._replace(network=network)
        self._draws = 0
        self.seed, self.label = seed, label
        self.family, self.space = saved.family, saved.space
        self.network = jax.tree.map(lambda leaf: leaf[0], network)
        self._act = {action: self._saved.batched(action, seed) for action in ("mean", "sample")}

    def act(self, observation: Any, action: Literal["mean", "sample"] = "mean") -> np.ndarray:
        """Actions in the environment's bounds, [act] or [batch, act], of raw observations [obs] or [batch, obs].

        Raises UsageError for observations of another size, and for an action that is neither.
        """
        if action not in self._act:
            raise UsageError(f"found the action '{action}', allowed {', '.join(self._act)}")
        observations = self._rows(observation)
        self._draws += action == "sample"
        chosen = self._act[action](observations[None], self._draws)[0]
        return chosen if np.ndim(observation) == 2 else chosen[0]

    def parameters(self, observation: Any) -> Any:
        """Parameters of the action distribution, in actions scaled to [-1, 1]; shapes as in `act`."""
        observations = self._rows(observation)
        with jax.enable_x64(self._saved.double):
            found = self.family.parameters(self.network, self._saved.normalised(observations))
        return found if np.ndim(observation) == 2 else row_of(found, 0)

    def _rows(self, observation: Any) -> np.ndarray:
        try:
            rows = np.asarray(observation, np.float64)
        except (TypeError, ValueError):
            raise UsageError(f"found an observation of type {type(observation).__name__}, allowed numbers") from None
        if rows.ndim not in (1, 2) or rows.shape[-1] != self.space.obs_dim:
            size = self.space.obs_dim
            raise UsageError(f"found an observation of shape {rows.shape}, allowed ({size},) or (batch, {size})")
        return rows[None] if rows.ndim == 1 else rows


def load_policy(run: RunDirectory | str | Path, policy: str | None = None, seed: int = 0) -> Policy:
    """Load a policy of a run: `policy` is behavior, 'step 1', …; default: the last step; raises RunDirectoryError."""
    directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    labels = directory.policies() if policy is None else [policy]
    if not labels:
        again = command("resume", directory.path)
        raise UsageError(f"{directory.path} holds no policies yet; go on with: {again}")
    label = labels[-1]
    seeds = directory.manifest["seeds"]
    if not 0 <= seed < seeds:
        raise UsageError(f"found seed {seed}, allowed 0 to {seeds - 1}")
    return Policy(SavedPolicy.load(*directory.load_policy(label)), seed, label)
