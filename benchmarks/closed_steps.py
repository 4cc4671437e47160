"""What does an update of a closed step cost beside an implicit one? `python benchmarks/closed_steps.py [--rounds N]`.

Updates of critic, behaviour and policy of pogo_fr with two layers of 64 units, the step taken in the ways of
`specs/suites/closed_steps.yaml`, in one process, chunks interleaved. Prints medians with ranges, and each beside the
implicit step of its geometry that looks at the mean action.
"""

from __future__ import annotations

import argparse
import os
import statistics

from skipped_actor import prepare

STEP = "schedule.steps[0]"
ALL = [(f"{STEP}.gradient", "euclidean"), (f"{STEP}.actor_every", "1"), ("policy.hidden", "[64, 64]")]
ALL += [("behavior.hidden", "[64, 64]"), ("critic.hidden", "[64, 64]"), ("critic.target_penalty", "null")]
W2, KL = [*ALL, ("geometry", "wasserstein2")], [*ALL, ("geometry", "kl")]
PROGRAMS = {
    "w2-implicit": W2,
    "w2-forward-backward": [*W2, (f"{STEP}.scheme", "{kind: forward_backward, actions: {rotated: 1}}")],
    "kl-implicit": KL,
    "kl-implicit-samples": [*KL, ("energy.q.actions", "{sample: 5}")],
    "kl-natural": [*KL, (f"{STEP}.scheme", "natural")],
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    runs = {name: prepare(overrides, options.seeds) for name, overrides in PROGRAMS.items()}
    times = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            times[name].append(run())
    print(f"{options.seeds} seeds, {options.rounds} rounds of 1,000 updates of critic, behaviour and policy, load "
          f"{os.getloadavg()[0]:.2f}")  # fmt: skip
    for name, taken in times.items():
        base = statistics.median(times[f"{name[:2]}-implicit"])
        middle = statistics.median(taken)
        ranged = f"{middle:.3f} ms ({min(taken):.3f} to {max(taken):.3f})"
        print(f"{name:20}  {ranged} an update, {middle / base:.2f} of implicit")


if __name__ == "__main__":
    main()
