"""Parts that time what happens once in a run: start-up, compiling, loading, rollouts, memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rates import shape
from workers import HERE, Missing, Options, Part, Worker, environment, summary

MAIN = "from pogospec.cli import main; main()"
TYPER = """
import typer
app = typer.Typer()
@app.command()
def one(): pass
@app.command()
def two(): pass
app()
"""
LIST = """
import json, sys
before, out = set(sys.modules), sys.argv.pop(1)
from pogospec.cli import main
try:
    main()
finally:
    json.dump([name for name in sys.modules if name not in before], open(out, "w"))
"""
IMPORT = """
import importlib, json, sys
for name in json.load(open(sys.argv[1])):
    try:
        importlib.import_module(name)
    except Exception:
        pass
"""
DEFAULT = ("td3_bc", "pogo_fr_two_step")
"""Specs whose compiling is timed; the second is that of the README."""
SMALL = ["--updates", "60", "--set", "evaluate.episodes=1", "--quiet"]
BEGIN = "networks, and entering the last stage"
ROWS = 2_000_000


def startup(options: Options) -> Part:
    """Each command from nothing, beside a bare Typer program and beside its own imports."""
    part, taken = Part("Start-up of commands, all cores"), {}
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        run = str(here / "run")
        _call(options, MAIN, "run", "td3_bc", *SMALL, "--out", run)
        commands = {
            "--help": ["--help"],
            "check td3_bc": ["check", "td3_bc"],
            "run --help": ["run", "--help"],
            "list specs": ["list", "specs"],
            "schema": ["schema"],
            "explain td3_bc": ["explain", "td3_bc"],
            "data list": ["data", "list"],
            "data inspect": ["data", "inspect", "pocket/reacher-mixed"],
            "suite --dry-run": ["suite", "pocket_table", "--dry-run", "--out", str(here / "suite")],
            "compare": ["compare", run],
            "plot": ["plot", run, "--out", str(here / "plot.png")],
            "resume, done": ["resume", run],
            "evaluate": ["evaluate", run, "--episodes", "1"],
            "doctor": ["doctor"],
        }
        commands = dict(list(commands.items())[:2]) if options.quick else commands
        timed: dict[str, tuple[str, ...]] = {"a bare Typer program": (TYPER, "--help")}
        for number, (name, arguments) in enumerate(commands.items()):
            listed = str(here / f"{number}.json")
            _call(options, LIST, listed, *arguments)
            timed |= {name: (MAIN, *arguments), f"{name}: its imports": (IMPORT, listed)}
        taken = {name: [] for name in timed}
        for _ in range(min(options.rounds, 5)):
            for name, (code, *arguments) in timed.items():
                taken[name].append(_call(options, code, *arguments))
    medians = {name: summary(values)["median"] for name, values in taken.items()}
    bare = medians["a bare Typer program"]
    part.rows.append({"name": "a bare Typer program", "seconds": summary(taken["a bare Typer program"])})
    for name in commands:
        imports = medians[f"{name}: its imports"]
        row = {"name": name, "seconds": summary(taken[name]), "of its imports": medians[name] / imports}
        part.rows.append(row | {"imports s": imports})
    part.target("--help / a bare Typer program", medians["--help"] / bare, 2.0, most=True)
    part.target("check / its imports", medians["check td3_bc"] / medians["check td3_bc: its imports"], 1.5, most=True)
    return part


def _call(options: Options, code: str, *arguments: str) -> float:
    """Seconds of a Python process; raises Missing where it fails."""
    begin = time.perf_counter()
    command = [sys.executable, str(HERE / "pinned.py"), code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(options.cores))
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise Missing(f"pogospec {' '.join(arguments)} ended with {done.returncode}: {said}")
    return time.perf_counter() - begin


def compiling(options: Options) -> Part:
    """Each stage from an empty cache, and again from what that left; the same of a whole short run."""
    part, names = Part("Compiling, all cores"), DEFAULT[: 1 if options.quick else None]
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(min(options.rounds, 3)):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                for how in ("cold", "warm"):
                    for what, seconds in _compile(options, name, folder).items():
                        found.setdefault((what, how), []).append(seconds)
            with tempfile.TemporaryDirectory() as folder:
                for how in ("cold", "warm"):
                    out = str(Path(folder) / how)
                    spent = _run(options, folder, "run", name, *SMALL, "--out", out)
                    found.setdefault((f"{name}: a whole short run", how), []).append(spent)
    for what in dict.fromkeys(what for what, _ in found):
        both = {how: summary(found[what, how]) for how in ("cold", "warm")}
        part.rows.append({"name": what, "cold s": both["cold"], "warm s": both["warm"]})
    for name in names:
        own = [row for row in part.rows if row["name"].startswith(f"{name}: ") and not row["name"].endswith("run")]
        slowest = max(row["cold s"]["median"] for row in own if row["name"] != f"{name}: {BEGIN}")
        part.target(f"{name}: the slowest stage cold, s", slowest, 8.0, most=True)
        warm = sum(row["warm s"]["median"] for row in own)
        part.target(f"{name}: all stages and networks warm, s", warm, 2.0, most=True)
    part.notes.append("traced, lowered and compiled or read; a run compiles its networks beside its first stage")
    return part


def _compile(options: Options, name: str, folder: str) -> dict[str, float]:
    """Seconds of each stage of a spec in one process, and of its networks and entering the last stage."""
    from pogospec.checking.check import load
    from pogospec.spec.shipped import spec_path

    steps, found = load(spec_path(name)).schedule.steps, {}
    with Worker("ours", options.cores, POGOSPEC_COMPILE_CACHE=folder) as worker:
        number = 0
        for step in steps:
            about = worker.ask(name=str(number), task={"kind": "spec", "spec": name, "stage": number})
            found[f"{name}: {about['stage']}"] = about["compile"]
            found[f"{name}: {BEGIN}"] = about["begin"]
            number += step.repeat
    return found


def _run(options: Options, cache: str, *arguments: str) -> float:
    begin = time.perf_counter()
    command = [sys.executable, str(HERE / "pinned.py"), MAIN, *arguments]
    given = environment(options.cores, POGOSPEC_COMPILE_CACHE=f"{cache}/programs")
    subprocess.run(command, capture_output=True, check=True, env=given)
    return time.perf_counter() - begin


def data(options: Options) -> Part:
    """A file in D4RL's layout of two million transitions, compressed as theirs are: seconds and peak memory."""
    part, rows = Part("Loading a dataset in D4RL's layout, all cores"), 20_000 if options.quick else ROWS
    file = str(options.folder / f"d4rl-{rows}" / "hopper_medium-v2.hdf5")
    _alone(options, "write", file, str(rows))  # what writing takes is not what loading takes
    found = [_alone(options, "load", file) for _ in range(min(options.rounds, 5))]
    seconds, peak = summary([one["seconds"] for one in found]), summary([one["peak"] for one in found])
    arrays = found[0]["arrays"]
    row = {"name": f"{rows:,} transitions", "seconds": seconds, "peak MiB": _mebi(peak), "arrays MiB": arrays / 2**20}
    part.rows.append(row)
    part.target("seconds", seconds["median"], 5.0, most=True)
    part.target("peak memory / bytes of the arrays", peak["median"] / arrays, 1.3, most=True)
    part.notes.append("peak: resident memory above that of the imports")
    return part


def rollouts(options: Options) -> Part:
    """Ten episodes of a thousand steps of hopper that does not fall, by a policy of two layers of 256."""
    part, steps = Part("Rollouts, one process"), 50 if options.quick else 1000
    found = [_alone(options, "rollout", "10", str(steps)) for _ in range(min(options.rounds, 5))]
    seconds = summary([one["seconds"] for one in found])
    rates = summary([10 * steps / one["seconds"] for one in found])
    part.rows.append({"name": f"10 episodes x {steps} steps", "seconds": seconds, "steps/s": rates})
    part.target("seconds", seconds["median"], 3.0, most=True)
    return part


def memory(options: Options) -> Part:
    """What a chunk of TD3+BC takes, by the compiler's account, beside what it has to."""
    part, task = Part("Memory of training"), shape(options) | {"kind": "memory"}
    for seeds in (1, 5):
        with Worker("ours", options.cores) as worker:
            about = worker.ask(name="memory", task=task | {"seeds": seeds})
        needed = about["state"] + about["data"] + about["activations"]
        names = ("taken", "state", "data", "activations", "resident_growth")
        sizes: dict[str, Any] = {f"{name.replace('_', ' ')} MiB": about[name] / 2**20 for name in names}
        label = f"{seeds} seed{'s' * (seeds > 1)}"
        part.rows.append({"name": label, **sizes})
        part.target(f"taken / (state + data + activations), {label}", about["taken"] / needed, 1.2, most=True)
    part.notes.append("resident growth: of the process, over its first updates")
    return part


def _alone(options: Options, *arguments: str) -> dict[str, Any]:
    """What a process of its own measured; raises Missing where it fails."""
    command = [sys.executable, str(HERE / "alone.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(options.cores))
    if done.returncode:
        raise Missing(f"{' '.join(arguments)}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _mebi(found: dict[str, Any]) -> dict[str, Any]:
    return summary([value / 2**20 for value in found["all"]])


PARTS = {function.__name__: function for function in (startup, compiling, data, rollouts, memory)}
