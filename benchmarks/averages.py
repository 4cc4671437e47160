"""Are averaged weights steadier, and better? `python benchmarks/averages.py run|table`.

`run` trains TD3+BC, layers of 128 units, three seeds, on the embedded hopper and sets of MINARI_DATASETS_PATH, once for
each law of averaging, and rolls the averaged and the last policy out at seven moments. Training does not depend on the
law. What is there is kept, so that `run` goes on where it stopped. `table` reads the runs into averages.csv, and prints
what they come to; without runs it prints what the file holds.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import pogospec
from pogospec.report.reading.scores import curves, normalised
from pogospec.runs.directory import RunDirectory

FILE = Path(__file__).with_suffix("") / "averages.csv"
SETS = (
    "pocket/hopper-mixed",
    "pogobench/hopper/medium-replay-v0",
    "pogobench/walker2d/medium-replay-v0",
    "pogobench/hopper/medium-v0",
    "pogobench/walker2d/medium-v0",
)
LAWS: dict[str, dict[str, Any]] = {  # of policy updates, one to two of the critic
    "window 5,000": {"window": 5_000},
    "window 1,250": {"window": 1_250},
    "decay 0.999": {"decay": 0.999},
}
STEP = {"from": "data", "learn": ["critic", "policy"], "tau": 1.25, "updates": 30_000, "actor_every": 2}
EVERY, FROM = 2_500, 15_000
COLUMNS = ("dataset", "law", "seed", "update", "averaged", "last")


def spec_of(dataset: str, law: str) -> dict[str, Any]:
    """TD3+BC with averaged weights of its policy."""
    return {
        "extends": "td3_bc",
        "name": "td3-bc",
        "data": {"dataset": dataset},
        "optimizer": {"policy": {"average": LAWS[law]}},
        "schedule": {"steps": [STEP]},
        "evaluate": {"every": EVERY, "episodes": 10},
        "seeds": 3,
    }


def folders(args: argparse.Namespace) -> Iterator[tuple[str, str, Path]]:
    """Data, a law and the folder of its run."""
    for dataset in args.sets:
        for law in LAWS:
            yield dataset, law, args.out / dataset.replace("/", "-") / law.replace(" ", "-").replace(",", "")


def done(folder: Path) -> bool:
    """Whether a run is there and whole."""
    return (folder / "status.json").exists() and RunDirectory.open(folder).status()["state"] == "done"


def run(args: argparse.Namespace) -> None:
    """Train what is not there yet."""
    for dataset, law, folder in folders(args):
        if not done(folder):
            pogospec.run(spec_of(dataset, law), out=folder)
            print(f"{folder.relative_to(args.out)}", flush=True)


def rows_of(dataset: str, law: str, folder: Path) -> Iterator[dict[str, Any]]:
    """A row a seed and moment: scores as means of ten episodes."""
    run = RunDirectory.open(folder)
    both = {name: returns for name, returns in curves(run).items() if name.startswith("step 1")}
    for update in sorted(both["step 1"]):
        if update >= FROM:
            values = [normalised(run, both[name][update]) for name in ("step 1", "step 1 (last)")]
            for seed, (averaged, last) in enumerate(np.round(np.transpose(values), 2).tolist()):
                yield dict(zip(COLUMNS, (dataset, law, seed, update, averaged, last), strict=True))


def table(args: argparse.Namespace) -> None:
    """Read the runs where there are any, and print, by set and law, means over evaluations and how far they vary."""
    new = [row for data, law, folder in folders(args) if done(folder) for row in rows_of(data, law, folder)]
    if new:
        FILE.parent.mkdir(exist_ok=True)
        with FILE.open("w", newline="") as file:
            writer: Any = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(new)
    with FILE.open() as file:
        rows = list(csv.DictReader(file))
    print("| set | law | last: mean | sd over moments | averaged: mean | sd over moments | averaged less last |")
    print("|" + " --- |" * 7)
    for dataset, law in dict.fromkeys((row["dataset"], row["law"]) for row in rows):
        own = [row for row in rows if (row["dataset"], row["law"]) == (dataset, law)]
        seeds = sorted({row["seed"] for row in own})
        shape = (len(seeds), -1)
        values = {
            name: np.reshape([float(row[name]) for seed in seeds for row in own if row["seed"] == seed], shape)
            for name in ("averaged", "last")
        }
        cells = [dataset, law]
        for name in ("last", "averaged"):
            cells += [spread(values[name].mean(1)), f"{values[name].std(1, ddof=1).mean():.1f}"]
        print(f"| {' | '.join((*cells, spread((values['averaged'] - values['last']).mean(1))))} |")


def spread(values: np.ndarray) -> str:
    """Mean and standard error over seeds."""
    return f"{values.mean():.1f} ± {values.std(ddof=1) / np.sqrt(len(values)):.1f}"


def main() -> None:
    """Run, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--out", type=Path, default=Path("runs/averages"), help="where the runs lie")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    args = parser.parse_args()
    {"run": run, "table": table}[args.what](args)


if __name__ == "__main__":
    main()
