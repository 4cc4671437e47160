"""What a spec means: mathematics, choices and their origins, shapes, costs, and where practice departs from theory.

In their order, each on what stands before it: `numbers` and the `stages` of a schedule; `mathematics`; `choices`,
`origins`, `cautions` and `costs` side by side; the `overview` of it all. The costs that a run shows are named here.
"""

from pogospec.explain.costs.limits import bytes_text, require_memory
from pogospec.explain.costs.operations import matrix_rate, operations, stage_seconds
from pogospec.explain.costs.sizes import known_space, memory

__all__ = [
    "bytes_text", "known_space", "matrix_rate", "memory", "operations", "require_memory", "stage_seconds",
]  # fmt: skip
