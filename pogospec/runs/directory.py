"""The contract of a run directory; plain files, safetensors and JSON only.

spec.yaml       the resolved spec
manifest.json   name, digest, data and its hash, environment, versions, device, seeds, reference returns
status.json     state (running, done, failed or interrupted), message, update
metrics.csv     one row a chunk of updates and seed
returns.csv     one row an evaluation episode, raw and undiscounted
flow.csv        one row a policy that was measured on held-out states and seed
checkpoints/    complete states with their checksum, published atomically; the newest two are kept
policies/       a whole policy a file: behavior and each Euler step, all seeds

What the columns of the tables mean is in `columns.py`.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.errors import RunDirectoryError
from pogospec.runs import files
from pogospec.runs.columns import FLOW, HEAD, RETURNS

TABLES = ("metrics.csv", "returns.csv", "flow.csv")
STATES = ("running", "done", "failed", "interrupted")
KEPT = 2
MOST_LETTERS, MOST_BYTES = 100, 200
"""Of the name of a directory; file systems take 255 bytes, and a time may follow."""


class RunDirectory:
    """A run on disk; `notes` collects what was passed over while reading it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.notes: list[str] = []

    @classmethod
    def create(
        cls, path: str | Path, spec_yaml: str, manifest: dict[str, Any], terms: Sequence[str] = ()
    ) -> RunDirectory:
        """Make a new run directory; `terms` are the names of the energy's terms, a metric each."""
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunDirectoryError(
                f"{path} exists already; choose another directory with --out, or go on with: pogospec resume {path}"
            )
        try:
            (path / "checkpoints").mkdir(parents=True)
            (path / "policies").mkdir()
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be made: {error.strerror}; choose another --out") from None
        run = cls(path)
        (path / "spec.yaml").write_text(spec_yaml, encoding="utf-8")
        run._append("metrics.csv", [[*HEAD, *(f"energy.{term}" for term in terms)]])
        run._append("returns.csv", [list(RETURNS)])
        run._append("flow.csv", [list(FLOW)])
        run.status("running")
        files.write_json(path / "manifest.json", manifest)
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open an existing run directory."""
        if not (Path(path) / "manifest.json").is_file():
            raise RunDirectoryError(
                f"{path} is no run directory (it has no manifest.json); `pogospec list runs` shows runs"
            )
        return cls(path)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was run, on what, with which versions."""
        return files.read_json(self.path / "manifest.json")

    def status(self, state: str | None = None, message: str = "", update: int = 0) -> dict[str, Any]:
        """Read the status, or set it."""
        if state is None:
            return files.read_json(self.path / "status.json")
        if state not in STATES:
            raise ValueError(f"found state {state!r}, allowed {', '.join(STATES)}")
        content = {"state": state, "message": message, "update": update}
        files.publish(self.path / "status.json", json.dumps(content, ensure_ascii=False).encode())
        return content

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep a second process from writing into the same run."""
        return files.locked(self.path)

    def append_metrics(
        self,
        seed: int,
        stage: str,
        update: int,
        total: int,
        seconds: float,
        rate: float,
        metrics: dict[str, float],
    ) -> None:
        """Add one row; metrics that the stage does not have stay empty."""
        row = {"seed": seed, "stage": stage, "update": update, "total_update": total}
        row |= {"seconds": f"{seconds:.3f}", "updates_per_second": f"{rate:.1f}"}
        row |= {name: repr(float(value)) for name, value in metrics.items()}
        self._append("metrics.csv", [[row.get(name, "") for name in self._head("metrics.csv")]])

    def append_returns(self, policy: str, total: int, returns: np.ndarray, stage: str) -> None:
        """Add the raw returns [seeds, episodes] of one evaluation."""
        rows = [
            [policy, stage, total, seed, episode, repr(float(value))]
            for seed, row in enumerate(returns)
            for episode, value in enumerate(row)
        ]
        self._append("returns.csv", rows)

    def append_flow(
        self, seed: int, stage: str, update: int, total: int, time: float, accepted: Any, found: dict[str, float]
    ) -> None:
        """Add what was measured of one policy on held-out states; what is not known stays empty."""
        row = {"seed": seed, "stage": stage, "update": update, "total_update": total, "flow_time": repr(time)}
        row |= {"accepted": accepted} | {name: repr(value) for name, value in found.items() if value == value}
        self._append("flow.csv", [[row.get(name, "") for name in self._head("flow.csv")]])

    def _append(self, name: str, rows: list[list[Any]]) -> None:
        with (self.path / name).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    def _head(self, name: str) -> list[str]:
        """The columns that a table has; one of an older version may lack some."""
        with (self.path / name).open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file))

    def read(self, name: str) -> list[dict[str, str]]:
        """Rows of metrics.csv or returns.csv; a row cut short at the end is left out."""
        try:
            with (self.path / name).open(newline="", encoding="utf-8") as file:
                return [row for row in csv.DictReader(file) if None not in row.values() and None not in row]
        except OSError:
            raise RunDirectoryError(f"{self.path / name} is missing") from None

    def truncate_after(self, total: int) -> None:
        """Drop what lies beyond an update, so that a resumed run writes the files of an uninterrupted one."""
        for name in TABLES:
            with (self.path / name).open(newline="", encoding="utf-8") as file:
                head, *rows = list(csv.reader(file))
            at = head.index("total_update")
            kept = [r for r in rows if len(r) == len(head) and r[at].isdigit() and int(r[at]) <= total]
            if "update" in head:  # what was measured when the next stage began is measured again
                kept = [r for r in kept if int(r[at]) < total or r[head.index("update")] != "0"]
            lines = "\r\n".join(",".join(row) for row in [head, *kept]) + "\r\n"
            files.publish(self.path / name, lines.encode())
        for file in self._checkpoints():
            if int(file.stem) > total:
                file.unlink()

    def _checkpoints(self) -> list[Path]:
        found = (self.path / "checkpoints").glob("*.safetensors")
        return sorted((file for file in found if file.stem.isdigit()), key=lambda file: int(file.stem))

    def save_checkpoint(self, n: int, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Publish a checkpoint after n updates: written aside, synced, renamed; the two newest stay."""
        for name in TABLES:
            with (self.path / name).open("rb") as file:
                os.fsync(file.fileno())
        folder = self.path / "checkpoints"
        files.save_arrays(folder / f"{n:012d}.safetensors", arrays, meta)
        files.sync(folder)
        for old in [*self._checkpoints()[:-KEPT], *folder.glob("*.part")]:
            old.unlink()

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The newest whole checkpoint, or None where none was written; a damaged one is passed over with a note."""
        broken = []
        for file in reversed(self._checkpoints()):
            try:
                loaded = files.load_arrays(file)
            except RunDirectoryError as error:
                broken.append(str(error))
                continue
            self.notes += [f"{trouble}; going on from {file}" for trouble in broken]
            return loaded
        if broken:
            raise RunDirectoryError("; ".join(broken) + "; no whole checkpoint is left, run the spec again")
        return None

    def checkpoints(self) -> list[int]:
        """After how many updates a checkpoint was written, of those that are left."""
        return [int(file.stem) for file in self._checkpoints()]

    def load_checkpoint_of(self, n: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The checkpoint after n updates; raises RunDirectoryError where it is damaged."""
        return files.load_arrays(self.path / "checkpoints" / f"{n:012d}.safetensors")

    def save_policy(self, label: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Save the policies of all seeds under a label."""
        files.save_arrays(self._policy(label), arrays, meta)

    def load_policy(self, label: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Load what `save_policy` saved."""
        path = self._policy(label)
        if not path.is_file():
            if label in self._trained():
                raise self._missing([label])
            known = ", ".join(self.saved()) or "none yet"
            raise RunDirectoryError(f"{self.path} holds no policy '{label}', allowed {known}")
        return files.load_arrays(path)

    def policies(self) -> list[str]:
        """Labels of the policies, in the order of training; raises RunDirectoryError where a saved one was removed."""
        saved = self.saved()
        lost = [label for label in self._trained() if label not in saved]
        if lost:
            raise self._missing(lost)
        return saved

    def saved(self) -> list[str]:
        """Labels of the policies whose files are there, in the order of training."""
        found = (self.path / "policies").glob("*.safetensors")
        return sorted((file.stem.replace("_", " ") for file in found), key=order)

    def _trained(self) -> list[str]:
        """Labels of what steps that are over have learned, and saved."""
        if not (self.path / "metrics.csv").is_file():
            return []
        last: dict[str, int] = {}
        learned: dict[str, str] = {}  # label -> stage
        for row in self.read("metrics.csv"):
            stage, total = row.get("stage", ""), row.get("total_update", "")
            last[stage] = int(total) if total.isdigit() else last.get(stage, 0)
            for column, label in (("objective", stage), ("behavior_loss", "behavior")):
                if row.get(column):
                    learned[label] = stage
        done, end = self.status()["state"] == "done", max(last.values(), default=0)
        return [label for label, stage in learned.items() if done or last[stage] < end]

    def _missing(self, labels: Sequence[str]) -> RunDirectoryError:
        names = ", ".join(f"policies/{self._policy(label).name}" for label in labels)
        return RunDirectoryError(
            f"{self.path} lacks {names}, which it saved; put it back, or name another policy, or run the spec again"
        )

    def _policy(self, label: str) -> Path:
        return self.path / "policies" / f"{label.replace(' ', '_')}.safetensors"


def run_name(*parts: str) -> str:
    """A name for a directory, one that is neither hidden nor an option; of a long one its beginning and a digest.

    So too where the file system has no name of these letters.
    """
    whole = "-".join(parts)
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in whole)
    plain = f"_{plain[1:]}" if plain.startswith((".", "-")) else plain or "_"
    try:
        size = len(os.fsencode(plain))
    except UnicodeEncodeError:
        plain, size = plain.encode("ascii", "replace").decode().replace("?", "-"), MOST_BYTES + 1
    if len(plain) <= MOST_LETTERS and size <= MOST_BYTES:
        return plain
    short = plain[: MOST_LETTERS - 10].encode()[: MOST_BYTES - 10].decode(errors="ignore")
    return f"{short}-{hashlib.sha256(whole.encode(errors='surrogatepass')).hexdigest()[:8]}"


def order(label: str) -> tuple:
    """Sorting key of policy labels: behavior first, then the steps by number."""
    return (label != "behavior", [int(number) for number in re.findall(r"\d+", label)], label)
