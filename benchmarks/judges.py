"""When is a second step worth taking, and which judge knows? `python benchmarks/judges.py run|table|figure`.

`run` trains POGO-W and POGO-FR, three seeds, on the embedded sets and those of MINARI_DATASETS_PATH: the first step
once, the later steps from six moments of it. In `moments` seven further steps without a judge follow, so that 1, 2, 4
and 8 steps can be compared; in a folder for each judge one further step, which the judge takes whatever it finds. What
is there is kept, so that `run` goes on where it stopped. `table` reads the runs into moments.csv and verdicts.csv, and
prints what they come to; without runs it prints what the files hold. `figure` draws them.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata

import pogospec
from pogospec.report.reading import final
from pogospec.runs.directory import RunDirectory, order

FOLDER = Path(__file__).parent / "judges"
MOMENTS = (2_000, 4_000, 6_000, 8_000, 10_000, 12_000)
LATER = 2_000
"""Updates of each later step."""
STEPS = (1, 2, 4, 8)
SETS = {  # weights as published for D4RL's set of the same kind, as tau = 1/(2 w)
    "pocket/reacher-mixed": 2.5,
    "pocket/hopper-mixed": 2.5,
    "pogobench/hopper/medium-v0": 2.5,
    "pogobench/hopper/medium-replay-v0": 5.0,
    "pogobench/hopper/expert-v0": 1.0,
    "pogobench/walker2d/medium-v0": 1.666667,
    "pogobench/walker2d/medium-replay-v0": 2.5,
    "pogobench/halfcheetah/medium-v0": 10.0,
    "pogobench/halfcheetah/medium-expert-v0": 0.25,
}
METHODS = {"pogo_w": "pogo_w_two_step", "pogo_fr": "pogo_fr_two_step"}
WHATEVER = 1e12
"""A margin by which a judge takes every step, so that all judges see the same policies."""
JUDGES: dict[str, dict[str, Any]] = {
    "fqe": {"kind": "fqe", "updates": 2_500},
    "cross_fitted": {"kind": "cross_fitted", "updates": 2_500},
    "second_critic": {"kind": "second_critic"},
    "proximal": {"kind": "proximal"},
    "ensemble_bound": {"kind": "ensemble_bound"},
}
COLUMNS = ("dataset", "method", "moment", "seed", "policy", "score")
VERDICTS = ("dataset", "method", "judge", "moment", "seed", "gain", "gain_error", "before", "after", "seconds")


def spec_of(method: str, dataset: str, later: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The spec of a study: 128 units, and the later steps as given."""
    first = {"updates": args.moments[-1], "learn": ["critic", "behavior", "policy"], "actor_every": 2}
    follow = {"updates": args.later, "learn": ["policy"], "actor_every": 1, "from": "previous"}
    if method == "pogo_w":
        first["tau"], follow["tau"] = SETS[dataset], 2 * SETS[dataset]
    return {
        "extends": METHODS[method],
        "name": method.replace("_", "-"),
        "data": {"dataset": dataset, "holdout": 0.2},
        "schedule": {
            "steps": [{"from": "behavior", **first}, {**follow, **later}],
            "branch": {"at": list(args.moments)},
        },
        "train": {"batch_size": 128},
        "evaluate": {"every": 1_000_000, "episodes": args.episodes},
        "seeds": args.seeds,
    }


def studies(args: argparse.Namespace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders of studies, and their specs; what tells most comes first."""
    for dataset in args.sets:
        for method in args.methods:
            place = args.out / dataset.replace("/", "-") / method
            yield place / "moments", spec_of(method, dataset, {"repeat": max(STEPS) - 1}, args)
            for name in args.judges if method == "pogo_w" else ():
                spec = spec_of(method, dataset, {"judge": JUDGES[name] | {"margin": WHATEVER}}, args)
                if name == "ensemble_bound":  # critics of its own, so that its policies are others
                    spec["critic"] = {"kind": "ensemble", "members": 5, "hidden": [128, 128], "replace": True}
                elif name != "fqe":  # the same policies as those of fqe, which are rolled out there
                    spec["evaluate"]["episodes"] = 1
                yield place / name, spec


def run(args: argparse.Namespace) -> None:
    """Train what is not there yet."""
    for folder, spec in studies(args):
        if not (folder / "seconds").exists():
            began = time.perf_counter()
            pogospec.sweep(spec, out=folder)
            (folder / "seconds").write_text(f"{time.perf_counter() - began:.1f}\n")
            print(f"{folder.relative_to(args.out)}: {time.perf_counter() - began:.0f} s", flush=True)


def branches(folder: Path) -> list[RunDirectory]:
    """The branches in a folder that are done, in the order of their moments."""
    found = [RunDirectory.open(path.parent) for path in folder.glob("updates-*/manifest.json")]
    found = [one for one in found if one.status()["state"] == "done"]
    return sorted(found, key=lambda one: one.manifest["branch"]["at"])


def scores(folder: Path) -> Iterator[tuple[int, str, np.ndarray]]:
    """Moments, policies and a score a seed."""
    for branch in branches(folder):
        cells = final(branch)
        for policy in sorted(cells, key=order):
            yield branch.manifest["branch"]["at"], policy, np.asarray(cells[policy].values)


def read_moments(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a moment, policy and seed; policies are numbered: 0 the behaviour, 1 the first step, and so on."""
    rows = []
    for folder, spec in studies(args):
        if folder.name == "moments" and (folder / "seconds").exists():
            counts: dict[int, int] = {}
            for moment, _, values in scores(folder):
                number = counts[moment] = counts.get(moment, -1) + 1
                if number in (0, *STEPS):
                    for seed, value in enumerate(values):
                        fixed = (spec["data"]["dataset"], folder.parent.name, moment, seed, number)
                        rows.append(dict(zip(COLUMNS, (*fixed, round(float(value), 2)), strict=True)))
    return rows


def read_verdicts(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a judge, moment and seed: what it found, and what the returns say."""
    rows = []
    for folder, spec in studies(args):
        if folder.name == "moments" or not (folder / "seconds").exists():
            continue
        seen = folder if folder.name == "ensemble_bound" else folder.parent / "fqe"
        if not (seen / "seconds").exists():
            continue
        truth = {(moment, policy): values for moment, policy, values in scores(seen)}
        seconds = float((folder / "seconds").read_text())
        for branch in branches(folder):
            moment = branch.manifest["branch"]["at"]
            with (branch.path / "flow.csv").open() as file:
                judged = [row for row in csv.DictReader(file) if row["stage"] == "step 2" and row["gain"]]
            for row in judged:
                seed = int(row["seed"])
                both = (round(float(truth[moment, f"step {k}"][seed]), 2) for k in (1, 2))
                found = (float(f"{float(row[name]):.6g}") for name in ("gain", "gain_error"))
                fixed = (spec["data"]["dataset"], folder.parent.name, folder.name, moment, seed)
                rows.append(dict(zip(VERDICTS, (*fixed, *found, *both, round(seconds)), strict=True)))
    return rows


def area(gains: np.ndarray, rises: np.ndarray) -> float:
    """Area under the curve: how often what a judge prefers of two is that which rises; 0.5 tells nothing."""
    up, down = rises.sum(), (~rises).sum()
    if not up or not down:
        return float("nan")
    return float((rankdata(gains)[rises].sum() - up * (up + 1) / 2) / (up * down))


def interval(rows: list[dict[str, Any]], of: Any, draws: int = 2_000) -> tuple[float, float]:
    """95% of a number over resamples of the runs, whose moments belong together."""
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["method"], row["seed"]), []).append(row)
    rng, members = np.random.default_rng(0), list(groups.values())
    found = []
    for _ in range(draws):
        picked = [row for one in rng.integers(0, len(members), len(members)) for row in members[one]]
        found.append(of(picked))
    low, high = np.nanquantile(found, (0.025, 0.975))
    return float(low), float(high)


def foretold(rows: list[dict[str, Any]]) -> float:
    """Area of the gains in units of their errors, within each set, so that sets with other units can be joined."""
    gains = np.asarray([row["gain"] / max(row["gain_error"], 1e-30) for row in rows])
    rises = np.asarray([row["after"] > row["before"] for row in rows])
    return area(gains, rises)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; NaN where one of them is constant."""
    both = [rankdata(a), rankdata(b)]
    return float(np.corrcoef(both)[0, 1]) if all(np.ptp(one) for one in both) else float("nan")


def show_verdicts(rows: list[dict[str, Any]]) -> None:
    """For each judge: how well it foretells, what it takes, and what taking so comes to.

    A rise is expected with the probability of a normal gain above 0; beside the Brier score stands that of one who
    always says the share that rises.
    """
    head = ("judge", "pairs", "area [95%]", "rank correlation", "within sets", "expects to rise", "rise", "Brier score")
    head = (*head, "takes", "of these rise", "of the others rise", "change by its rule", "always taken", "cost")
    print(f"\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for judge in JUDGES:
        own = [row for row in rows if row["judge"] == judge]
        if not own:
            continue
        change = np.asarray([row["after"] - row["before"] for row in own])
        ratio = np.asarray([row["gain"] / max(row["gain_error"], 1e-30) for row in own])
        taken, low_high = ratio > 1, interval(own, foretold)
        sets = np.asarray([row["dataset"] for row in own])
        within = np.nanmean([rank_correlation(ratio[sets == one], change[sets == one]) for one in np.unique(sets)])
        expected, rises = norm.cdf(ratio), change > 0
        brier = [np.mean((guess - rises) ** 2) for guess in (expected, rises.mean())]
        rise = [f"{100 * (change[part] > 0).mean():.0f}%" if part.any() else "-" for part in (taken, ~taken)]
        gain = np.where(taken, change, 0.0)
        cost = sum({(row["dataset"], row["method"]): row["seconds"] for row in own}.values())
        low, high = low_high
        cells = (
            judge,
            f"{len(own)}",
            f"{foretold(own):.2f} [{low:.2f}, {high:.2f}]",
            f"{rank_correlation(ratio, change):.2f}",
            f"{within:.2f}",
            f"{100 * expected.mean():.0f}%",
            f"{100 * rises.mean():.0f}%",
            f"{brier[0]:.2f} ({brier[1]:.2f})",
            f"{100 * taken.mean():.0f}%",
            *rise,
            f"{gain.mean():+.2f}",
            f"{change.mean():+.2f}",
            f"{cost:.0f} s",
        )
        print(f"| {' | '.join(cells)} |")


def show_rule(moments: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> None:
    """By set: a second step at fixed moments, one step alone, and the rule of each judge, over seeds.

    The rule is that of a spec: after the whole first step the second is kept where the judge finds a gain of more than
    its error, and given up otherwise.
    """
    print("\n| set | method | one step | two: best moment | two: worst moment | judge | its rule | less one step |")
    print("|" + " --- |" * 8)
    for dataset, method, judge in dict.fromkeys((r["dataset"], r["method"], r["judge"]) for r in verdicts):
        own = [r for r in moments if (r["dataset"], r["method"]) == (dataset, method)]
        at = {(r["moment"], r["seed"], r["policy"]): r["score"] for r in own}
        last, seeds = max(r["moment"] for r in own), sorted({r["seed"] for r in own})
        one = [at[last, seed, 1] for seed in seeds]
        two = [[at[moment, seed, 2] for seed in seeds] for moment in sorted({r["moment"] for r in own})]
        two.sort(key=np.mean)
        said = {
            v["seed"]: v["gain"] > v["gain_error"]
            for v in verdicts
            if (v["dataset"], v["method"], v["judge"], v["moment"]) == (dataset, method, judge, last)
        }
        ruled = [at[last, seed, 2 if said[seed] else 1] for seed in seeds]
        cells = (dataset, method, mean_and_error(one), mean_and_error(two[-1]), mean_and_error(two[0]), judge)
        cells = (*cells, mean_and_error(ruled), mean_and_error(np.subtract(ruled, one)))
        print(f"| {' | '.join(cells)} |")


def mean_and_error(values: Any) -> str:
    """Mean and standard error over seeds."""
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.1f}"


def show_moments(rows: list[dict[str, Any]]) -> None:
    """Scores by set, method and number of steps, at the best, the worst and the last moment."""
    moments = sorted({row["moment"] for row in rows})
    print("\n| set | method | behaviour | steps | " + " | ".join(f"{moment:,}" for moment in moments) + " |")
    print("| --- | --- | --- | --- |" + " --- |" * len(moments))
    for dataset, method in dict.fromkeys((row["dataset"], row["method"]) for row in rows):
        own = [row for row in rows if (row["dataset"], row["method"]) == (dataset, method)]
        last = max(row["moment"] for row in own)
        start = np.mean([row["score"] for row in own if row["policy"] == 0 and row["moment"] == last])
        for steps in STEPS:
            cells = []
            for moment in moments:
                values = [r["score"] for r in own if r["policy"] == steps and r["moment"] == moment]
                cells.append(f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "-")
            print(f"| {dataset} | {method} | {start:.1f} | {steps} | " + " | ".join(cells) + " |")


def update(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Write rows as a small file; what it holds of other studies stays."""
    new = {tuple(row[name] for name in ("dataset", "method", "judge") if name in row) for row in rows}
    old = read(path) if path.exists() else []
    rows = [row for row in old if tuple(row[n] for n in ("dataset", "method", "judge") if n in row) not in new] + rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of `update`, numbers as numbers."""
    with path.open() as file:
        words = ("dataset", "method", "judge")
        return [{k: v if k in words else _number(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def table(args: argparse.Namespace) -> None:
    """Read the runs where there are any, and print what the files come to."""
    if args.out.exists():
        update(args.csv / "moments.csv", read_moments(args), COLUMNS)
        update(args.csv / "verdicts.csv", read_verdicts(args), VERDICTS)
    show_moments(read(args.csv / "moments.csv"))
    show_verdicts(read(args.csv / "verdicts.csv"))
    show_rule(read(args.csv / "moments.csv"), read(args.csv / "verdicts.csv"))


def figure(args: argparse.Namespace) -> None:
    """Scores against the moment of the switch, a panel a set and method, a line a number of steps."""
    import matplotlib.pyplot as plt

    rows = read(args.csv / "moments.csv")
    panels = list(dict.fromkeys((row["dataset"], row["method"]) for row in rows))
    wide = min(4, len(panels))
    high = -(-len(panels) // wide)
    picture, grid = plt.subplots(high, wide, figsize=(3.3 * wide, 2.5 * high), squeeze=False, layout="constrained")
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (dataset, method) in zip(grid.flat, panels, strict=False):
        for steps in STEPS:
            own = [r for r in rows if (r["dataset"], r["method"], r["policy"]) == (dataset, method, steps)]
            x = sorted({row["moment"] for row in own})
            values = [[row["score"] for row in own if row["moment"] == at] for at in x]
            errors = [np.std(one, ddof=1) / np.sqrt(len(one)) if len(one) > 1 else 0.0 for one in values]
            axes.errorbar(np.asarray(x) / 1e3, [np.mean(one) for one in values], errors, label=f"{steps}", capsize=2)
        axes.set_title(f"{dataset.removeprefix('pogobench/')}\n{method}", fontsize=8)
        axes.tick_params(labelsize=7)
    grid[0, 0].legend(title="steps", fontsize=7, title_fontsize=7)
    picture.supxlabel("thousand updates of the first step before the switch", fontsize=9)
    picture.supylabel("score, mean ± standard error over seeds", fontsize=9)
    picture.savefig(args.csv / "moments.png", dpi=110)


def main() -> None:
    """Read the command line and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "figure"])
    parser.add_argument("--out", type=Path, default=Path("runs/judges"), help="where the runs lie")
    parser.add_argument("--csv", type=Path, default=FOLDER, help="where the tables lie")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--judges", nargs="*", default=list(JUDGES))
    parser.add_argument("--moments", nargs="+", type=int, default=list(MOMENTS))
    parser.add_argument("--later", type=int, default=LATER, help="updates of each later step")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    {"run": run, "table": table, "figure": figure}[args.what](args)


if __name__ == "__main__":
    main()
