"""Speed beside peers and beside what was promised: `python benchmarks/run.py [PART …] [--quick]`.

Prints a table a part, and writes results.json and growth.png into the folder --out. Everything that is compared runs in
turns in one go (A, B, C, A, B, C), in processes pinned to cores, a thread a core; medians and ranges over rounds.
Compiling is never among what is timed, but where it is what is timed. PyTorch and d3rlpy live in environments of their
own, which are made when first needed. Run it on a machine that does nothing else: it says the load that it found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import accelerator
import methods
import once
import rates
import show
from rich.console import Console
from workers import Missing, Options, Part

USUAL = rates.PARTS | methods.PARTS | once.PARTS
PARTS = USUAL | accelerator.PARTS


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = "; ".join(f"{name}: {function.__doc__.partition('.')[0]}" for name, function in PARTS.items())
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all but gpu. {listed}")
    parser.add_argument("--quick", action="store_true", help="toy sizes, two rounds: whether it works, not how fast")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slice", type=float, default=1.0, help="seconds that are timed at once")
    parser.add_argument("--peak", type=float, help="gpu: TFLOP/s that count as all; default: measured by products")
    parser.add_argument("--cores", help="for example 0,1; default: all that this process may use")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "pogospec" / "benchmarks"
    parser.add_argument("--folder", type=Path, default=cache, help="of environments and files that are made once")
    given = parser.parse_args()
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; allowed {', '.join(PARTS)}")
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = tuple(int(core) for core in given.cores.split(",")) if given.cores else tuple(own)
    options = Options(given.folder, cores, given.rounds, given.slice, peak=given.peak)
    if given.quick:
        options = Options(given.folder, cores, 2, 0.02, quick=True, peak=given.peak)
    run(options, given.parts or list(USUAL), given.out)


def run(options: Options, names: list[str], out: Path) -> None:
    """Run parts, show each when it is done, and write what is known so far."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    found = {"machine": show.machine(options), "quick": options.quick, "parts": {}}
    show.about(console, found["machine"])
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        begin = time.perf_counter()
        try:
            part = PARTS[name](options)
        except Missing as why:
            part = Part(name, notes=[f"left out: {why}"])
        part.notes.append(f"took {time.perf_counter() - begin:.0f} s; load {os.getloadavg()[0]:.2f} at its end")
        show.table(console, part)
        found["parts"][name] = asdict(part)
        (out / "results.json").write_text(json.dumps(found, indent=1, ensure_ascii=False))
        if name == "gpu":
            print(show.markdown(part))
        if name == "growth" and part.rows:
            show.picture(part, out / "growth.png")
    console.print(f"written to {out}", highlight=False)


if __name__ == "__main__":
    main()
