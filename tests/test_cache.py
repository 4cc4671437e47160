"""Compiled programs on disk: whole entries, shared by runs, bounded, and never the end of a run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import COMMAND, sets

from pogospec.runs import cache

SMALL = ["run", "td3_bc", "--updates", "60", *sets("train.log_every=30", "evaluate.episodes=1")]
SMALL += sets("policy.hidden=[8]", "critic.hidden=[8]", "train.batch_size=16")
LISTENING = """
import jax
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
from pogospec.runs import cache
cache.LEAST_SECONDS = 0.0
"""
PROGRAM = f"{LISTENING}cache.enable()\njax.numpy.sin(2.0)\nprint(*events)"
HIT, MISS = "/jax/compilation_cache/cache_hits", "/jax/compilation_cache/cache_misses"


def environment(folder) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return own | {cache.VARIABLE: str(folder)}


def start(folder, out) -> subprocess.Popen[str]:
    command = [*COMMAND, *SMALL, "--quiet", "--out", str(out)]
    return subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(folder, out) -> str:
    process = start(folder, out)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


def compiled(folder, code=PROGRAM) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=environment(folder), capture_output=True, text=True)


def numbers(out) -> list[str]:
    """What a run came to, without the seconds that it took."""
    rows = [line.split(",") for line in (out / "metrics.csv").read_text().splitlines()]
    timed = {rows[0].index(name) for name in rows[0] if "second" in name}
    found = [",".join(cell for index, cell in enumerate(row) if index not in timed) for row in rows]
    return [*found, (out / "returns.csv").read_text()]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A cache that two runs filled at once, and what they and a run without a cache came to."""
    base = tmp_path_factory.mktemp("shared")
    both = [start(base / "cache", base / name) for name in ("one", "two")]
    for process in both:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
    assert run("off", base / "without") == ""
    return base


@pytest.mark.exhaustive("three whole runs from an empty cache")
def test_two_runs_fill_one_cache_and_a_third_without_comes_to_the_same(shared):
    found = [numbers(shared / name) for name in ("one", "two", "without")]
    assert found[0] == found[1] == found[2]
    files = list((shared / "cache").rglob("*.*"))
    assert {file.suffix for file in files if file.is_file()} == {cache.SUFFIX, ".csv"}
    assert any(file.name.startswith("jit_one_run") for file in files)
    assert not (shared / "off").exists()
    assert (shared / "cache").stat().st_mode & 0o077 == 0


@pytest.mark.exhaustive("stands on three whole runs")
def test_a_warm_run_comes_to_the_same_and_writes_nothing(shared):
    before = {file: file.stat().st_ino for file in (shared / "cache").rglob(f"*{cache.SUFFIX}")}
    assert run(shared / "cache", shared / "warm") == ""
    assert numbers(shared / "warm") == numbers(shared / "without")
    chunk = next(file for file in before if file.name.startswith("jit_one_run"))
    assert chunk.stat().st_ino == before[chunk]


@pytest.mark.thinned(1, "a whole run for each")
@pytest.mark.parametrize("how", ["cut", "empty", "garbage"])
def test_damaged_entries_are_compiled_anew_and_replaced(tmp_path, how):
    assert MISS in compiled(tmp_path).stdout
    assert MISS not in compiled(tmp_path).stdout
    for file in tmp_path.rglob(f"*{cache.SUFFIX}"):
        whole = file.read_bytes()
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "garbage": whole[:-1] + b"?"}[how])
    again = compiled(tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert HIT not in again.stdout
    assert MISS not in compiled(tmp_path).stdout


def test_an_entry_of_another_kind_of_program_ends_no_run(tmp_path):
    compiled(tmp_path)
    folder = cache.Folder(next(tmp_path.iterdir()))
    for file in tmp_path.rglob(f"*{cache.SUFFIX}"):
        folder.put(file.stem, b"whole, but no program")
    again = compiled(tmp_path)
    assert again.returncode == 0, again.stderr
    assert MISS not in compiled(tmp_path).stdout


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = compiled(tmp_path / "file" / "cache")
    assert done.returncode == 0
    assert done.stderr.startswith("note: compiled programs are not kept:")
    assert done.stderr.count("\n") == 1
    assert "POGOSPEC_COMPILE_CACHE to a folder that can be written, or to off" in done.stderr


def test_a_full_disk_is_said_once(tmp_path):
    code = f"""{LISTENING}
def full(handle, mode):
    raise OSError(28, "No space left on device")
cache.enable()
cache.os.fdopen = full
print(jax.numpy.sin(2.0), jax.numpy.arange(7.0).sum())"""
    done = compiled(tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_another_jax_compiles_anew_and_says_so(tmp_path):
    other = "import jax._src.compilation_cache as other\ndel other._cache\n"
    done = compiled(tmp_path, PROGRAM.replace("cache.enable()", f"{other}cache.enable()"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("note: compiled programs are not kept: not known how with JAX ")
    assert not list(tmp_path.rglob(f"*{cache.SUFFIX}"))


def test_a_cache_of_the_users_own_is_left_alone(tmp_path):
    code = f"import jax\njax.config.update('jax_compilation_cache_dir', {str(tmp_path / 'own')!r})\n{PROGRAM}"
    done = compiled(tmp_path / "ours", code)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ours").exists()


def test_entries_unused_for_longest_go_first(tmp_path):
    folder = tmp_path / "jax"
    folder.mkdir()
    entries = cache.Folder(folder)
    now = time.time()
    for age, key in enumerate(["new", "middle", "old"]):
        entries.put(key, b"x" * 100)
        os.utime(folder / f"{key}{cache.SUFFIX}", (now - 1000 * age, now - 1000 * age))
    assert entries.get("old") == b"x" * 100  # now the one that was used last
    each = (folder / f"new{cache.SUFFIX}").stat().st_size
    cache.prune(tmp_path, 2 * each)
    assert {file.stem for file in folder.iterdir()} == {"new", "old"}
    assert cache.usage(tmp_path) == (2, 2 * each)
    assert entries.get("middle") is None


def test_processors_and_versions_have_folders_of_their_own(monkeypatch):
    names = {cache._machine()}
    monkeypatch.setattr(cache.os, "sched_getaffinity", lambda _: range(77), raising=False)
    names.add(cache._machine())
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "flags : none\n")
    names.add(cache._machine())
    monkeypatch.setattr(cache, "version", lambda name: "0.0.1")
    names.add(cache._machine())
    assert len(names) == 4
