"""One target of each kind and more, with their dimensions."""

from typing import Any

from pogospec import registry
from pogospec.targets.banana import BananaTarget
from pogospec.targets.mixture import MixtureTarget
from pogospec.targets.numpyro import NumpyroTarget
from pogospec.targets.quadratic import QuadraticTarget

QUADRATICS: dict[str, Any] = {
    "quadratic": QuadraticTarget((0.3, -1.2, 0.5), (4.0, 1.0, 0.25)),
    "quadratic 1d": QuadraticTarget((0.7,), (3.0,)),
    "quadratic 2d": QuadraticTarget((1.0, 2.0), (2.0, 0.5)),
    "quadratic matrix": QuadraticTarget((1.0, 2.0), ((2.0, 0.5), (0.5, 1.0))),
    "quadratic 5d matrix": QuadraticTarget(
        (0.1, 0.2, 0.3, 0.4, 0.5),
        tuple(tuple(3.0 if i == j else 0.2 * (-1) ** (i + j) for j in range(5)) for i in range(5)),
    ),
}
PLANAR: dict[str, Any] = {
    "mixture 1d": MixtureTarget((-2.0, 1.5), (0.5, 1.0)),
    "mixture narrow": MixtureTarget((-2.0, 2.0), (0.05, 0.1), (1.0, 3.0)),
    "mixture": MixtureTarget(((-1.0, 0.0), (1.0, 1.0), (0.0, -2.0)), (0.3, (0.2, 0.6), 0.5), (1.0, 2.0, 0.5)),
    "banana": BananaTarget(),
    "banana bent": BananaTarget(-0.5, (0.7, 0.2)),
}
OTHERS: dict[str, Any] = {
    "mixture 3d": MixtureTarget(((0.0, 0.0, 1.0), (1.0, -1.0, 0.5)), ((0.3, 0.5, 1.0), 0.4)),
    "conjugate_normal": NumpyroTarget("conjugate_normal"),
    "eight_schools": NumpyroTarget("eight_schools"),
    "logistic_regression": NumpyroTarget("logistic_regression"),
}
TARGETS = QUADRATICS | PLANAR | OTHERS
SIZES = dict(zip(TARGETS, (3, 1, 2, 2, 5, 1, 1, 2, 2, 2, 3, 1, 10, 4), strict=True))
KNOWN = {name: target for name, target in (QUADRATICS | PLANAR).items() if SIZES[name] <= 2}
"""Those whose integrals SciPy can check."""


def kinds() -> set[str]:
    """The kinds of these targets, as registered."""
    return {registry.kind_of("target", type(target)) for target in TARGETS.values()}
