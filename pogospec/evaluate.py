"""Rollouts from Python: the twin of `pogospec evaluate` for policies of your own."""

from pogospec.training.rollout import Act, Evaluator

__all__ = ["Act", "Evaluator"]
