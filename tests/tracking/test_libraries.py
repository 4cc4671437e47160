"""Each tracker, read back by its own library: what was logged, once, over two sessions; spec and table; no network."""

import contextlib
import importlib.util
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_tracking import points_of

import pogospec as package
from pogospec.data import load_for
from pogospec.launch.record import manifest
from pogospec.runs.directory import RunDirectory
from pogospec.spec.build import dump
from pogospec.tracking import listener
from pogospec.tracking.base import library
from pogospec.tracking.listener import Tracking
from pogospec.training import events

DEAD = "http://127.0.0.1:9"
"""A proxy that nobody serves, for what libraries start in processes of their own."""


class Read(NamedTuple):
    """What a library has of a run; points may be there twice."""

    points: list[tuple[int, str, float]]
    spec: str
    table: str
    name: str


def tensorboard(run: RunDirectory, id: str) -> Read:
    reading = library("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(id, size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    points = [(e.step, tag, e.value) for tag in found.Tags()["scalars"] for e in found.Scalars(tag)]
    text = lambda tag: found.Tensors(tag)[0].tensor_proto.string_val[0].decode()  # noqa: E731
    return Read(points, text("spec"), text("results"), run.path.name)


def wandb(run: RunDirectory, id: str) -> Read:
    records = []
    for file in sorted(run.path.glob(f"tracking/wandb/wandb/offline-run-*/run-{id}.wandb")):
        for data in logged(file.read_bytes()):
            records.append(library("wandb.proto.wandb_internal_pb2").Record())
            records[-1].ParseFromString(data)
    items = [record.history.item for record in records if record.HasField("history")]
    rows = [{(*one.nested_key, one.key)[0]: json.loads(one.value_json) for one in row} for row in items]
    points = [(row["updates"], name, value) for row in rows for name, value in row.items() if "/" in name]
    (spec,) = run.path.glob("tracking/wandb/wandb/offline-run-*/files/spec.yaml")
    (table,) = run.path.glob("tracking/wandb/wandb/offline-run-*/files/media/table/*.json")
    (named,) = {(r.run.display_name, r.run.run_group, r.run.project) for r in records if r.HasField("run")}
    assert named[1:] == ("folder", "pogospec")
    return Read(points, spec.read_text(), table.read_text(), named[0])


def logged(content: bytes) -> Iterator[bytes]:
    """The records of an offline run, a log of LevelDB's form: blocks of 32 KiB, records that may go on in the next."""
    assert content[:4] == b":W&B"
    block, head, at, whole = 32768, 7, 7, b""
    while at + head <= len(content):
        if block - at % block < head:
            at += block - at % block
            continue
        size, kind = struct.unpack("<HB", content[at + 4 : at + head])
        whole += content[at + head : at + head + size]
        at += head + size
        if kind in (1, 4):  # whole, or its last part
            yield whole
            whole = b""


def mlflow(run: RunDirectory, id: str) -> Read:
    client = library("mlflow").MlflowClient()
    found = client.get_run(id)
    history = [point for name in found.data.metrics for point in client.get_metric_history(id, name)]
    files = {name: Path(client.download_artifacts(id, name)).read_text() for name in ("spec.yaml", "results.md")}
    assert found.info.status == "FINISHED"
    assert (found.data.params["seeds"], found.data.params["schedule.steps_0_.updates"]) == ("2", "10000")
    assert found.data.tags["group"] == "folder"
    points = [(point.step, point.key, point.value) for point in history]
    return Read(points, files["spec.yaml"], files["results.md"], found.info.run_name)


def trackio(run: RunDirectory, id: str) -> Read:
    storage = library("trackio.sqlite_storage").SQLiteStorage
    rows = storage.get_logs("pogospec", run_id=id)
    points = [(row["step"], name, value) for row in rows for name, value in row.items() if "/" in name]
    texts = {name: row[name]["_value"] for row in rows for name in ("spec", "results") if name in row}
    about = storage.get_run_config("pogospec", run_id=id)
    assert (about["_Group"], about["seeds"]) == ("folder", 2)
    (record,) = storage.get_run_records("pogospec")
    return Read(points, texts["spec"], texts["results"], record["name"])


READERS: dict[str, Callable[[RunDirectory, str], Read]] = {
    "tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow, "trackio": trackio,
}  # fmt: skip


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No network: sockets of this process lead to itself at most, and those of others are sent to nobody."""
    real = socket.socket.connect

    def connect(self, address):
        local = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost")
        if not local:
            raise AssertionError(f"connects to {address}")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, DEAD)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def written(run: RunDirectory, totals: list[int]) -> None:
    """Rows of two seeds after so many updates, as a run writes them."""
    for total in totals:
        for seed in (0, 1):
            run.append_metrics(seed, "step 1", total, total, 0.1, 50.0, {"objective": total + seed, "critic_loss": 0.5})
        run.append_flow(0, "step 1", total, total, 0.5, "", {"energy": -1.0 / total, "tau": 0.5})
        run.append_flow(1, "step 1", total, total, 0.5, "", {"energy": -3.0 / total, "tau": 0.5})
        run.append_returns("step 1", total, np.array([[-9.0, -7.0], [-6.0, -5.0 - total]]), "step 1")


def progress(total: int) -> events.Progress:
    return events.Progress(0, "step 1", total, 20, total, 50.0, {})


@pytest.mark.thinned(("tensorboard",), "the others import for seconds")
@pytest.mark.parametrize("kind", READERS)
def test_a_library_has_what_was_logged(kind, tmp_path, alone, monkeypatch):
    if importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed: pip install 'pogospec[{kind}]'")
    spec = package.load("bc", {"train.track": f"[{kind}]", "seeds": 2, "evaluate.episodes": 2})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "suite.json").touch()
    run = RunDirectory.create(tmp_path / "folder" / "run", dump(spec), manifest(spec, load_for(spec), "cpu"))
    monkeypatch.setattr(listener, "FEWER", 120.0)  # some take long to start
    said: list[Any] = []
    with contextlib.suppress(KeyboardInterrupt), Tracking([spec], [run], said.append) as tracking:
        written(run, [5, 10])
        tracking(progress(10))
        raise KeyboardInterrupt
    run.truncate_after(5)
    with Tracking([spec], [run], said.append) as tracking:
        written(run, [10])
        tracking(progress(10))
        written(run, [15, 20])
        tracking(progress(20))
        tracking(events.Finished())
    assert [note.text.partition(":")[0] for note in said] == [kind, kind], said
    found = READERS[kind](run, tracking_id(run, kind))
    assert len(found.points) == len({point[:2] for point in found.points}), "a point is there twice"
    expected = points_of(run.path)
    assert {point[:2] for point in found.points} == expected.keys()
    for step, name, value in found.points:
        assert value == pytest.approx(expected[step, name], rel=1e-6), name
    assert (
        found.spec.removeprefix("```yaml").removesuffix("```").strip() == (run.path / "spec.yaml").read_text().strip()
    )
    assert "step 1" in found.table
    assert "-11.75" in found.table
    assert found.name == "run"


def tracking_id(run: RunDirectory, kind: str) -> str:
    return json.loads((run.path / "tracking" / f"{kind}.json").read_text())["id"]


def test_help_imports_none_of_them():
    code = "import sys\nsys.argv[1:] = ['run', '--help']\nfrom pogospec.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += f"assert not {{*sys.modules}} & {{'jax', *{list(READERS)!r}}}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=os.environ)
