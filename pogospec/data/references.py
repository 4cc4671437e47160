"""Reference returns behind normalised scores, with their source."""

from __future__ import annotations

from pogospec.types import Reference

D4RL = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
}


def reference_for(environment: str | None, dataset: str) -> Reference | None:
    """D4RL's reference returns of an environment; the name says D4RL-normalised for D4RL's own data only."""
    task = (environment or "").partition("-")[0].lower()
    if task not in D4RL:
        return None
    label = "D4RL-normalised" if dataset.startswith("d4rl/") else "normalised by D4RL's reference returns"
    return Reference(*D4RL[task], "D4RL, d4rl/infos.py", label)
