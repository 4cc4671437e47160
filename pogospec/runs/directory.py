"""The contract of a run directory; plain files, safetensors and JSON only.

spec.yaml       the resolved spec
manifest.json   name, digest, data and its hash, environment, versions, device, seeds, reference returns; the format of
                the directory, the hash of spec.yaml, and the identity: a digest of the spec and the data, which
                checkpoints and policies carry too
status.json     state (running, done, failed or interrupted), message, update
metrics.csv     one row a chunk of updates and seed
returns.csv     one row an evaluation episode, raw and undiscounted
flow.csv        one row a policy that was measured on held-out states and seed
ope.csv         one row a policy, seed and estimate of its value from the data alone, where that was asked for
checkpoints/    complete states with their checksum, published atomically; the newest two are kept
tracking/       where there are trackers: by which id each knows the run, what it was told, and files of its own
policies/       a whole policy a file: behavior and each Euler step, all seeds; where weights are averaged, the last too

The manifest comes last: a directory without it is the beginning of a run that was stopped as it was made. What the
columns of the tables mean is in `columns.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from pogospec import regular
from pogospec.errors import ForeignError, RunDirectoryError, reason
from pogospec.runs import files, tables
from pogospec.runs.columns import FLOW, HEAD, LAST, RETURNS
from pogospec.runs.manifest import FORMAT, checked

TABLES = ("metrics.csv", "returns.csv", "flow.csv")
STATES = ("running", "done", "failed", "interrupted")
FOLDERS = ("checkpoints", "policies")
BEGUN = {*FOLDERS, *TABLES, "spec.yaml", "status.json", "manifest.json"}
"""What a run directory may hold, perhaps half written, before it has a manifest."""
KEPT = 2
MOST_LETTERS, MOST_BYTES = 100, 200
"""Of the name of a directory; file systems take 255 bytes, and a time may follow."""


class RunDirectory:
    """A run on disk; `notes` collects what was passed over while reading it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.notes: list[str] = []

    @classmethod
    def create(cls, path: str | Path, spec_yaml: str, manifest: dict[str, Any], terms: Sequence[str] = ()) -> Self:
        """Make a new run directory; `terms` are the names of the energy's terms, a metric each.

        The beginning of a run that was stopped as it was made gives way. Raises RunDirectoryError, with none left
        behind, where the directory holds something else or cannot be made.
        """
        run = cls(path)
        run._refuse_taken()
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            with run.lock():
                run._refuse_taken()
                try:
                    run._clear()
                    run._make(spec_yaml, manifest, terms)
                except OSError:
                    with contextlib.suppress(OSError):
                        run._clear()
                    raise
        except OSError as error:
            with contextlib.suppress(OSError):
                (run.path / ".lock").unlink(missing_ok=True)
                run.path.rmdir()
            raise RunDirectoryError(f"{run.path} cannot be made: {reason(error)}; choose another --out") from None
        return run

    def _refuse_taken(self) -> None:
        try:
            names = {entry.name for entry in self.path.iterdir()} - {".lock"}
        except FileNotFoundError:
            return
        except NotADirectoryError:
            names = {""}
        except OSError as error:
            raise RunDirectoryError(f"{self.path} cannot be made: {reason(error)}; choose another --out") from None
        if names and not begun(self.path):
            raise RunDirectoryError(
                f"{self.path} exists already; choose another directory with --out, or go on with: "
                f"pogospec resume {self.path}"
            )

    def _make(self, spec_yaml: str, manifest: dict[str, Any], terms: Sequence[str]) -> None:
        """Write all that a run begins with, the manifest last."""
        for name in FOLDERS:
            (self.path / name).mkdir()
        files.publish(self.path / "spec.yaml", spec_yaml.encode())
        self._append("metrics.csv", [[*HEAD, *(f"energy.{term}" for term in terms)]])
        self._append("returns.csv", [list(RETURNS)])
        self._append("flow.csv", [list(FLOW)])
        self.status("running")
        about = {"format": FORMAT, "spec_sha256": hashlib.sha256(spec_yaml.encode()).hexdigest()}
        files.write_json(self.path / "manifest.json", {**manifest, **about})

    def _clear(self) -> None:
        """Remove the beginning of a run; raises OSError where a folder is not empty."""
        for entry in self.path.iterdir():
            if entry.name in FOLDERS:
                entry.rmdir()
            elif entry.name != ".lock":
                entry.unlink()

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open an existing run directory; raises RunDirectoryError where there is none that this version reads."""
        run = cls(path)
        if not os.path.lexists(run.path / "manifest.json"):  # of names too long too
            if begun(run.path):
                raise RunDirectoryError(
                    f"{path} is a run that was stopped as it was made; begin it again with: "
                    f"pogospec run SPEC --out {path}"
                )
            raise RunDirectoryError(
                f"{path} is no run directory (it has no manifest.json); `pogospec list runs` shows runs"
            )
        _ = run.manifest
        return run

    @property
    def manifest(self) -> dict[str, Any]:
        """What was run, on what, with which versions."""
        path = self.path / "manifest.json"
        content = files.read_json(path)
        checked(path, content)
        return content

    def untouched(self) -> bool:
        """Whether spec.yaml is as it was written; True where the format of the directory does not tell."""
        written = self.manifest.get("spec_sha256")
        try:
            return written in (None, hashlib.sha256(regular.read(self.path / "spec.yaml")).hexdigest())
        except OSError:
            return False

    def status(self, state: str | None = None, message: str = "", update: int = 0) -> dict[str, Any]:
        """Read the status, or set it."""
        if state is None:
            return self._status()
        if state not in STATES:
            raise ValueError(f"found state {state!r}, allowed {', '.join(STATES)}")
        path, content = self.path / "status.json", {"state": state, "message": message, "update": update}
        text = json.dumps(content, ensure_ascii=False).encode()
        try:
            files.publish(path, text)
        except OSError:
            if not path.exists():
                raise
            files.write_over(path, text)  # where a disk is full there is room in the place of the old one
        return content

    def _status(self) -> dict[str, Any]:
        path = self.path / "status.json"
        content = files.read_json(path)
        state, update = content["state"], content["update"]
        if state not in STATES or type(update) is not int or update < 0 or not isinstance(content["message"], str):
            raise RunDirectoryError(f"{path} is missing or damaged")
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
        head = tables.head(self.path / "metrics.csv")
        self._append("metrics.csv", [[row.get(name, "") for name in head]])

    def append_returns(self, policy: str, total: int, returns: np.ndarray, stage: str) -> None:
        """Add the raw returns [seeds, episodes] of one evaluation."""
        rows = [
            [policy, stage, total, seed, episode, repr(float(value))]
            for seed, row in zip(self.manifest.get("seed_numbers") or range(len(returns)), returns, strict=False)
            for episode, value in enumerate(row)
        ]
        self._append("returns.csv", rows)

    def append_flow(
        self, seed: int, stage: str, update: int, total: int, time: float, accepted: Any, found: dict[str, float]
    ) -> None:
        """Add what was measured of one policy on held-out states; what is not known stays empty."""
        row = {"seed": seed, "stage": stage, "update": update, "total_update": total, "flow_time": repr(time)}
        row |= {"accepted": accepted} | {name: repr(value) for name, value in found.items() if value == value}
        self._append("flow.csv", [[row.get(name, "") for name in tables.head(self.path / "flow.csv")]])

    def _append(self, name: str, rows: list[list[Any]]) -> None:
        files.append(self.path / name, tables.lines_of(rows))

    def read(self, name: str) -> list[dict[str, str]]:
        """Rows of one of the tables; a row cut short at the end is left out. Raises RunDirectoryError."""
        head, rows = tables.read(self.path / name)
        return [dict(zip(head, row, strict=True)) for row in rows]

    def truncate_after(self, total: int) -> None:
        """Drop what lies beyond an update, so that a resumed run writes the files of an uninterrupted one."""
        for name in TABLES:
            files.publish(self.path / name, tables.cut_back(self.path / name, total))
        for file in self._checkpoints():
            if int(file.stem) > total:
                file.unlink()

    def _checkpoints(self) -> list[Path]:
        found = (self.path / "checkpoints").glob("*.safetensors")
        return sorted((file for file in found if file.stem.isdigit()), key=lambda file: int(file.stem))

    def save_checkpoint(
        self, n: int, arrays: dict[str, np.ndarray], meta: dict[str, Any], kept: Sequence[int] = ()
    ) -> None:
        """Publish a checkpoint after n updates: written aside, synced, renamed; the two newest stay, and those kept."""
        for name in TABLES:
            files.sync(self.path / name)
        folder = self.path / "checkpoints"
        files.save_arrays(folder / f"{n:012d}.safetensors", arrays, meta | self._identity())
        files.sync(folder)
        past = [file for file in self._checkpoints()[:-KEPT] if int(file.stem) not in kept]
        for old in [*past, *folder.glob("*.part")]:
            old.unlink()

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The newest whole checkpoint, or None where none was written; a damaged one is passed over with a note.

        Raises ForeignError where the newest is of another run, RunDirectoryError where none is whole.
        """
        broken = []
        for file in reversed(self._checkpoints()):
            try:
                loaded = self._load(file)
            except ForeignError:
                raise
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
        """The checkpoint after n updates; raises RunDirectoryError where it is damaged, ForeignError of another run."""
        return self._load(self.path / "checkpoints" / f"{n:012d}.safetensors")

    def _load(self, file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, meta = self._own(file)
        if meta.get("total_update") != int(file.stem):
            raise ForeignError(
                f"{file} is the checkpoint after {meta.get('total_update')} updates, under another name; remove it, "
                "and the run goes on from the newest of the others"
            )
        return arrays, meta

    def _own(self, file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays of a file of this run, and what it says of them."""
        arrays, meta = files.load_arrays(file)
        identity = self.manifest.get("identity")
        if meta.pop("identity", None) != identity and identity is not None:
            raise ForeignError(f"{file} is of another run, with another spec or other data; remove it")
        return arrays, meta

    def _identity(self) -> dict[str, str]:
        """What the files of this run carry; nothing in directories of a format that knows none."""
        identity = self.manifest.get("identity")
        return {} if identity is None else {"identity": identity}

    def save_policy(self, label: str, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Save the policies of all seeds under a label."""
        files.save_arrays(self.policy_file(label), arrays, meta | self._identity())

    def load_policy(self, label: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Load what `save_policy` saved."""
        path = self.policy_file(label)
        if not os.path.lexists(path):
            if label in self._trained():
                raise self._missing([label])
            known = ", ".join(self.saved()) or "none yet"
            raise RunDirectoryError(f"{self.path} holds no policy '{label}', allowed {known}")
        return self._own(path)

    def policies(self, last: bool = False) -> list[str]:
        """Labels of the policies, in the order of training; raises RunDirectoryError where a saved one was removed.

        `last`: those of last weights too, which are saved beside averaged ones.
        """
        saved = self.saved()
        lost = [label for label in self._trained() if label not in saved]
        if lost:
            raise self._missing(lost)
        return [label for label in saved if last or not label.endswith(LAST)]

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
        names = ", ".join(f"policies/{self.policy_file(label).name}" for label in labels)
        return RunDirectoryError(
            f"{self.path} lacks {names}, which it saved; put it back, or name another policy, or run the spec again"
        )

    def policy_file(self, label: str) -> Path:
        """The file of a policy."""
        return self.path / "policies" / f"{label.replace(' ', '_')}.safetensors"


def begun(path: Path) -> bool:
    """Whether a directory holds what a run leaves that is stopped as it is made, and nothing else."""
    try:
        entries = [entry for entry in path.iterdir() if entry.name != ".lock"]
        return bool(entries) and all(map(_at_the_beginning, entries))
    except OSError:
        return False


def _at_the_beginning(entry: Path) -> bool:
    """Whether this is something that a run directory holds before the run begins; tables have no rows then."""
    if entry.name.removesuffix(".part") not in BEGUN or entry.name == "manifest.json":
        return False
    if entry.name in FOLDERS:
        return not any(entry.iterdir())
    return entry.name not in TABLES or regular.read(entry).count(b"\n") <= 1


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
    """Sorting key of policy labels: behavior first, then the steps by number; last weights after averaged ones."""
    return (label.removesuffix(LAST) != "behavior", [int(number) for number in re.findall(r"\d+", label)], label)
