"""Natural flows beside SVI, Laplace, Pathfinder and BlackJAX on thirteen posteriors: `python benchmarks/posteriors.py`.

For each posterior and family (diagonal, full): the best evidence lower bound (ELBO) of the family, found by L-BFGS on
samples that are the same for all; then gradients of the log joint density and seconds, without compilation, until the
ELBO of a fit is within 0.02 nats of it, at four checks in a row and at the end; medians over seeds. Flows have their
defaults, whatever the posterior; SVI and BlackJAX's VI the best of three learning rates, SVI of two budgets too, chosen
for each posterior after the fact. NUTS says how far means and standard deviations of what a fit ends with are off.
Double precision.

Writes `posteriors.json`, which grows by each posterior, and `posteriors.png` into `--out`; `--show` prints the table of
such a folder. Pathfinder and BlackJAX ask for `pip install -e '.[peers]'`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from densities import PROBLEMS
from numpyro.infer import MCMC, NUTS
from rich.console import Console
from rich.table import Table
from rivals import METHODS, Fit, fits
from scipy.stats import norm, qmc

from pogospec.targets.given import GivenModel, given

FAMILIES = ("gaussian", "full_gaussian")
NEAR, IN_ROW = 0.02, 4
FLOW = "natural flow"


def main() -> None:
    """Fit, judge, write and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", metavar="POSTERIOR", help=f"of {', '.join(PROBLEMS)}; default: all")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--draws", type=int, default=4000, help="of NUTS, after 500 for warm-up; 0: none")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--show", action="store_true", help="print the table of what is there, and draw it")
    options = parser.parse_args()
    unknown = set(options.problems) - set(PROBLEMS)
    if unknown:
        parser.error(f"found {', '.join(sorted(unknown))}, allowed {', '.join(PROBLEMS)}")
    jax.config.update("jax_enable_x64", True)
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.out / "posteriors.json"
    found = json.loads(place.read_text()) if place.exists() else {}
    for name in () if options.show else options.problems or PROBLEMS:
        found[name] = measured(name, options)
        place.write_text(json.dumps(found, indent=1) + "\n")
        print(name, file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 150).print(table(found))
    draw(found, options.out / "posteriors.png")


def measured(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All fits of a posterior, by family."""
    model, arguments, known = PROBLEMS[name]()
    target: Any = given(model, arguments, known, None)
    truth = nuts(target, options.draws) if options.draws else None
    found: dict[str, Any] = {"dimensions": target.dimensions}
    for family in options.families:
        judge = Judge(target, family)
        raw = [taken(fit, options.seeds) for fit in fits(target, family, set(options.methods))]
        ends = [end for rows in raw for end in rows["ends"] if np.isfinite(end[0]).all() and np.isfinite(end[1]).all()]
        best = judge.best(max(ends, key=lambda end: judge.elbo(*end)))
        found[family] = {"best": best, "fits": [judged(rows, judge, best, truth) for rows in raw]}
    return found


def taken(fit: Fit, seeds: int) -> dict[str, Any]:
    """Paths from each seed; seconds of the quickest run, and those of compiling."""
    begun = time.perf_counter()
    jax.block_until_ready(fit.run(jax.random.key(0)))
    first = time.perf_counter() - begun
    paths, seconds = [], []
    for seed in range(seeds):
        begun = time.perf_counter()
        path = jax.block_until_ready(fit.run(jax.random.key(seed)))
        seconds.append(time.perf_counter() - begun)
        paths.append(tuple(np.asarray(part) for part in path))
    ends = [(means[-1], factors[-1]) for means, factors in paths]
    return {"fit": fit, "paths": paths, "ends": ends, "seconds": min(seconds), "compiling": first - min(seconds)}


def judged(rows: dict[str, Any], judge: Judge, best: float, truth: Any) -> dict[str, Any]:
    """What is written of a fit: of each seed the end, and when it was near for good."""
    fit, whole = rows["fit"], rows["fit"].gradients[-1]
    gaps = [best - judge.elbo(*end) for end in rows["ends"]]
    near = [settled(path, fit.gradients, judge, best) for path in rows["paths"]]
    errors = [off(end, truth) for end in rows["ends"]] if truth else []
    return {
        "method": fit.method,
        "choice": fit.choice,
        "gaps": [gap if np.isfinite(gap) else None for gap in gaps],
        "gradients": near,
        "seconds": [None if n is None else rows["seconds"] * n / int(whole) for n in near],
        "all_gradients": int(whole),
        "all_seconds": rows["seconds"],
        "compiling": rows["compiling"],
        "mean_error": float(np.median([one[0] for one in errors])) if truth else None,
        "std_error": float(np.median([one[1] for one in errors])) if truth else None,
    }


def settled(path: Any, gradients: np.ndarray, judge: Judge, best: float) -> int | None:
    """Gradients at the first of four checks in a row that are near; None where the last of all is not."""
    near = lambda k: best - judge.elbo(path[0][k], path[1][k]) < NEAR  # noqa: E731
    if not near(-1):
        return None
    run = 0
    for k in range(len(gradients)):
        run = run + 1 if near(k) else 0
        if run == IN_ROW:
            return int(gradients[k + 1 - IN_ROW])
    return int(gradients[-1 - max(run - 1, 0)])


class Judge:
    """The ELBO of Gaussians of a family on samples that are the same for all."""

    def __init__(self, target: GivenModel, family: str):
        self.size, self.full = target.dimensions, family == "full_gaussian"
        z = nodes(self.size)

        def elbo(mean: Any, factor: Any) -> Any:
            entropy = jnp.log(jnp.abs(jnp.diagonal(factor))).sum() + self.size * (1 + jnp.log(2 * jnp.pi)) / 2
            values = jax.lax.map(lambda some: target.log_density(mean + some @ factor.T), z)
            return values.mean() + entropy

        self._elbo = jax.jit(elbo)

    def elbo(self, mean: Any, factor: Any) -> float:
        """In nats; NaN where it is not finite."""
        return float(self._elbo(jnp.asarray(mean), jnp.asarray(factor)))

    def best(self, start: Any) -> float:
        """The highest of the family, by L-BFGS in the coordinates of a good start."""
        size, (mean, factor) = self.size, map(jnp.asarray, start)
        rows, columns = np.tril_indices(size, -1)

        def gaussian(x: Any) -> tuple[Any, Any]:
            inner = jnp.diag(jnp.exp(x[size : 2 * size]))
            inner = inner.at[rows, columns].set(x[2 * size :]) if self.full else jnp.diag(jnp.diag(inner))
            return mean + factor @ x[:size], factor @ inner

        slope = jax.jit(jax.value_and_grad(lambda x: -self._elbo(*gaussian(x))))
        found = scipy.optimize.minimize(
            lambda x: tuple(np.asarray(part, float) for part in slope(jnp.asarray(x))),
            np.zeros(2 * size + self.full * len(rows)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 500, "maxfun": 800, "ftol": 1e-12, "gtol": 1e-5},
        )
        return -float(found.fun)


def nodes(size: int) -> Any:
    """Standard normal points [blocks, n, d]: scrambled Sobol numbers in pairs, with covariance I."""
    count = 2**13 if size > 40 else 2**12
    half = norm.ppf(qmc.Sobol(size, seed=0).random(count // 2))
    half = np.linalg.solve(np.linalg.cholesky(half.T @ half / len(half)), half.T).T
    return jnp.asarray(np.concatenate([half, -half]).reshape(-1, 512, size))


def nuts(target: GivenModel, draws: int, chains: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the posterior in unconstrained space, [dimensions] each."""
    kernel = NUTS(potential_fn=lambda z: -target.log_density(z), target_accept_prob=0.9, max_tree_depth=8)
    sampler = MCMC(
        kernel,
        num_warmup=500,
        num_samples=draws // chains,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    starts = jax.random.normal(jax.random.key(1), (chains, target.dimensions))
    sampler.run(jax.random.key(0), init_params=starts)
    found = np.asarray(sampler.get_samples())
    return found.mean(0), found.std(0)


def off(end: Any, truth: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """The largest error of a mean, and of a standard deviation, in true standard deviations."""
    std = np.sqrt(np.square(end[1]).sum(-1))
    return float((np.abs(end[0] - truth[0]) / truth[1]).max()), float((np.abs(std - truth[1]) / truth[1]).max())


def median(values: list[Any]) -> float:
    """The median, where None is more than all numbers."""
    return float(np.median([np.inf if value is None else value for value in values]))


def chosen(rows: list[dict[str, Any]], kind: Callable[[str], bool]) -> dict[str, Any] | None:
    """The fit of the fewest gradients, among those of no end of the least gap; None where there are none."""
    some = [row for row in rows if kind(row["method"])]
    return min(some, key=lambda row: (median(row["gradients"]), median(row["gaps"])), default=None)


def table(found: dict[str, Any]) -> Table:
    """A row for each method of a posterior and family, with its best choice; SVI's numbers over the flow's below."""
    shown = Table(
        "posterior", "family", "method", "choice", "gradients", "range", "s", "compile s", "gap", "mean", "std"
    )
    ratios: list[list[float]] = [[], []]
    for name, problem in found.items():
        for family in (one for one in FAMILIES if one in problem):
            rows, label = problem[family]["fits"], f"{name}, {problem['dimensions']}"
            for method in dict.fromkeys(row["method"] for row in rows):
                best = chosen(rows, lambda one, method=method: one == method)
                assert best is not None
                shown.add_row(label, family.removesuffix("_gaussian"), method, *_cells(best))
                label = ""
            for many, part in zip(ratios, _ratios(rows), strict=True):
                many += [] if part is None else [part]
    if ratios[0]:
        shown.caption = "; ".join(
            f"{what} of the best SVI over the flow's: median {np.median(many):.1f}, {min(many):.2g} to {max(many):.3g}"
            for what, many in zip(("gradients", "seconds"), ratios, strict=True)
        )
    return shown


def _cells(row: dict[str, Any]) -> list[str]:
    near, known = median(row["gradients"]), sorted(one for one in row["gradients"] if one is not None)
    missed = len(row["gradients"]) - len(known)
    span = f"{known[0]:,} to {known[-1]:,}" if known else ""
    span += f", {missed} never" if missed and known else ""
    seconds = median(row["seconds"])
    return [
        row["choice"],
        f"{near:,.0f}" if np.isfinite(near) else "never",
        span,
        f"{seconds:.3f}" if np.isfinite(seconds) else "",
        f"{row['compiling']:.1f}",
        f"{median(row['gaps']):.4f}",
        *("" if row[part] is None else f"{row[part]:.2f}" for part in ("mean_error", "std_error")),
    ]


def _ratios(rows: list[dict[str, Any]]) -> tuple[float | None, float | None]:
    """Those of the best SVI over the flow's; 0 where SVI alone gets there, None where neither does."""
    flow, svi = (chosen(rows, kind) for kind in (lambda one: one == FLOW, lambda one: one.startswith("SVI")))
    if flow is None or svi is None or not np.isfinite(min(median(flow["gradients"]), median(svi["gradients"]))):
        return None, None
    if not np.isfinite(median(flow["gradients"])):
        return 0.0, 0.0
    # an SVI that never gets there counts with all that it took
    both = []
    for part in ("gradients", "seconds"):
        took = median(svi[part])
        both.append((took if np.isfinite(took) else svi[f"all_{part}"]) / median(flow[part]))
    return both[0], both[1]


def draw(found: dict[str, Any], place: Path) -> None:
    """Gradients until near, a dot for each method, a panel for each family."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 0.36 * len(found) + 1.6), sharey=True, sharex=True)
    for panel, family in zip(panels, FAMILIES, strict=True):
        methods: dict[str, list[tuple[float, int]]] = {}
        for height, problem in enumerate(found.values()):
            for row in problem.get(family, {"fits": []})["fits"]:
                best = chosen(problem[family]["fits"], lambda one, method=row["method"]: one == method)
                if best is row and np.isfinite(median(row["gradients"])):
                    methods.setdefault(row["method"], []).append((median(row["gradients"]), height))
        for method, dots in sorted(methods.items(), key=lambda item: item[0] == FLOW):
            ours = method == FLOW
            panel.scatter(*zip(*dots, strict=True), s=70 if ours else 30, marker="*" if ours else "o", label=method)
        panel.set(xscale="log", title={"gaussian": "diagonal", "full_gaussian": "full covariance"}[family])
        panel.set_xlabel(f"gradients until within {NEAR} nats of the family's best")
        panel.grid(alpha=0.3)
        if methods:
            panel.legend(fontsize=7)
    panels[0].set_yticks(range(len(found)), [f"{name} ({one['dimensions']})" for name, one in found.items()])
    panels[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(place, dpi=110)


if __name__ == "__main__":
    main()
