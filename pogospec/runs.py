"""The contract of a run directory.

spec.yaml       the resolved spec
manifest.json   digest, data and its hash, environment, versions, device, reference returns
status.json     running, done, failed or interrupted, with a message
metrics.csv     one row a chunk of updates and seed; see `METRICS`
returns.csv     one row an evaluation episode: policy, total_update, seed, episode, return (raw, undiscounted)
checkpoints/    complete states, published atomically; the newest two are kept
policies/       a whole policy a file: behavior and each Euler step, all seeds
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.errors import RunDirectoryError

METRICS = {
    "seed": "seed of the row",
    "step": "Euler step of the schedule",
    "update": "updates done in this step",
    "total_update": "updates done in the run",
    "seconds": "wall time of the chunk, all seeds",
    "updates_per_second": "rate of the chunk, all seeds advancing together",
    "critic_loss": "sum over critics of the mean squared Bellman error",
    "q": "mean action value of the logged actions",
    "behavior_loss": "negative log-likelihood in nats (gaussian) or squared error (dirac)",
    "objective": "energy plus proximal terms",
    "energy": "energy of the policy, minimised",
    "energy.*": "each weighted term of the energy",
    "distance": "divergence D from the policy to its reference",
}
RETURNS = ("policy", "total_update", "seed", "episode", "return")
HEAD = [name for name in METRICS if name != "energy.*"]


class RunDirectory:
    """A run on disk."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, path: str | Path, spec_yaml: str, manifest: dict[str, Any], terms: list[str]) -> RunDirectory:
        """Make a new run directory; `terms` are the names of the energy's terms."""
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunDirectoryError(
                f"{path} exists already; choose another directory with --out, or go on with: pogospec resume {path}"
            )
        (path / "checkpoints").mkdir(parents=True)
        (path / "policies").mkdir()
        (path / "spec.yaml").write_text(spec_yaml)
        _publish(path / "manifest.json", json.dumps(manifest, indent=2).encode())
        with (path / "metrics.csv").open("w", newline="") as file:
            csv.writer(file).writerow([*HEAD, *(f"energy.{term}" for term in terms)])
        with (path / "returns.csv").open("w", newline="") as file:
            csv.writer(file).writerow(RETURNS)
        run = cls(path)
        run.status("running")
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open an existing run directory."""
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise RunDirectoryError(
                f"{path} is no run directory (it has no manifest.json); `pogospec list runs` shows runs"
            )
        return cls(path)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was run, on what, with which versions."""
        return json.loads((self.path / "manifest.json").read_text())

    def status(self, state: str | None = None, message: str = "") -> dict[str, str]:
        """Read the status, or set it."""
        file = self.path / "status.json"
        if state is not None:
            _publish(file, json.dumps({"state": state, "message": message}).encode())
        return json.loads(file.read_text())

    def append_metrics(
        self,
        seed: int,
        step: str,
        update: int,
        total: int,
        seconds: float,
        rate: float,
        metrics: dict[str, float],
    ) -> None:
        """Add one row; metrics that the step does not have stay empty."""
        head = self._head()
        row = {"seed": seed, "step": step, "update": update, "total_update": total}
        row |= {"seconds": f"{seconds:.3f}", "updates_per_second": f"{rate:.1f}"}
        row |= {name: repr(value) for name, value in metrics.items()}
        with (self.path / "metrics.csv").open("a", newline="") as file:
            csv.writer(file).writerow([row.get(name, "") for name in head])

    def _head(self) -> list[str]:
        with (self.path / "metrics.csv").open(newline="") as file:
            return next(csv.reader(file))

    def append_returns(self, policy: str, total: int, returns: np.ndarray) -> None:
        """Add the raw returns [seeds, episodes] of one evaluation."""
        with (self.path / "returns.csv").open("a", newline="") as file:
            writer = csv.writer(file)
            for seed, row in enumerate(returns):
                writer.writerows(
                    [policy, total, seed, episode, repr(float(value))] for episode, value in enumerate(row)
                )

    def read(self, name: str) -> list[dict[str, str]]:
        """Rows of metrics.csv or returns.csv."""
        with (self.path / name).open(newline="") as file:
            return list(csv.DictReader(file))

    def truncate_after(self, total: int) -> None:
        """Drop rows beyond an update, so that a resumed run writes the files of an uninterrupted one."""
        for name in ("metrics.csv", "returns.csv"):
            with (self.path / name).open(newline="") as file:
                head, *rows = list(csv.reader(file))
            column = head.index("total_update")
            kept = [
                row for row in rows if len(row) == len(head) and row[column].isdigit() and int(row[column]) <= total
            ]
            lines = "\r\n".join(",".join(row) for row in [head, *kept]) + "\r\n"
            _publish(self.path / name, lines.encode())

    def save_checkpoint(self, total: int, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Publish a checkpoint: written aside, synced, renamed; the two newest stay."""
        _save(self.path / "checkpoints" / f"{total:012d}.safetensors", arrays, meta)
        for old in sorted((self.path / "checkpoints").glob("*.safetensors"))[:-2]:
            old.unlink()

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The newest whole checkpoint; None where none was ever written."""
        files = sorted((self.path / "checkpoints").glob("*.safetensors"), reverse=True)
        broken = []
        for file in files:
            try:
                return _load(file)
            except RunDirectoryError as error:
                broken.append(str(error))
        if broken:
            raise RunDirectoryError("; ".join(broken) + "; no whole checkpoint is left, run the spec again")
        return None

    def save_policy(self, label: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Save the policies of all seeds under a label."""
        _save(self._policy(label), arrays, meta)

    def load_policy(self, label: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Load what `save_policy` saved."""
        if not self._policy(label).is_file():
            raise RunDirectoryError(
                f"{self.path} holds no policy '{label}', allowed {', '.join(self.policies()) or 'none yet'}"
            )
        return _load(self._policy(label))

    def policies(self) -> list[str]:
        """Labels of the saved policies."""
        return sorted(file.stem.replace("_", " ") for file in (self.path / "policies").glob("*.safetensors"))

    def _policy(self, label: str) -> Path:
        return self.path / "policies" / f"{label.replace(' ', '_')}.safetensors"


def _publish(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _save(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    _publish(path, save(arrays, metadata={"meta": json.dumps(meta), "sha256": _digest(arrays)}))


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = path.read_bytes()
    try:
        arrays = load(raw)
    except SafetensorError:
        raise RunDirectoryError(f"{path} is damaged or cut short") from None
    metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
    if metadata["sha256"] != _digest(arrays):
        raise RunDirectoryError(f"{path} is damaged: its checksum differs")
    return arrays, json.loads(metadata["meta"])
