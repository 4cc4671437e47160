"""What a spec means: mathematics, choices and their origins, shapes, costs, and where practice departs from theory."""

from pogospec.explain.cost import matrix_rate, operations, seconds, stage_seconds

__all__ = ["matrix_rate", "operations", "seconds", "stage_seconds"]
