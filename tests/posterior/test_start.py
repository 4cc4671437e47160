"""Starts at a maximum with its curvature, and steps on densities without second derivatives."""

from typing import Any

import jax
import jax.numpy as jnp
import models
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import pogospec
from pogospec.errors import RunError, UsageError
from pogospec.posterior.curvature import lacks_curvature
from pogospec.posterior.start import Start, found
from pogospec.steps.implicit import Implicit
from pogospec.steps.natural import Natural
from pogospec.steps.points import Antithetic
from pogospec.targets.given import given

KEY = jax.random.key(0)
BEGUN: dict[str, Any] = {"scheme": "natural", "steps": 1, "tau": 1e-9}
PRECISION = np.array([[4.0, 1.5], [1.5, 1.0]])


def quadratic(x):
    gap = x - jnp.array([30.0, -2.0])
    return -0.5 * gap @ jnp.asarray(PRECISION) @ gap


def target_of(function, dimensions=2):
    return given(function, (), None, dimensions)


def start_of(target, temperature=1.0) -> Start:
    start = found("map", target, temperature, KEY)
    assert start is not None
    return start


def started(start, temperature=1.0, **options) -> Any:
    return pogospec.flow(
        quadratic, dimensions=2, start=start, temperature=temperature, **(BEGUN | options)
    ).distribution(0)


def test_a_quadratic_starts_at_its_optimum():
    covariance = np.linalg.inv(PRECISION)
    first = started("map", family="full_gaussian")
    np.testing.assert_allclose(first.mean, [30.0, -2.0], rtol=1e-4)
    np.testing.assert_allclose(first.covariance_matrix, covariance, rtol=1e-4)
    first = started("map", temperature=2.0)
    np.testing.assert_allclose(first.variance, 2.0 / PRECISION.diagonal(), rtol=1e-4)  # of the nearest diagonal one


def test_the_curvature_of_a_model_is_that_of_its_posterior():
    model = given(models.regression, (models.X, models.Y), None, None)
    mean, covariance = models.regression_posterior()
    start = start_of(model)
    np.testing.assert_allclose(start.mean, mean, atol=1e-3)
    np.testing.assert_allclose(start.covariance, covariance, rtol=1e-3)


def test_a_maximum_is_found_where_the_density_is_none_at_0():
    def log_density(x):
        return (
            3 * jnp.log(x[0]) - x[0]
        )  # of a Gamma(4): its maximum is 3, its curvature -1/3, and there is none below 0

    start = start_of(target_of(log_density, 1))
    assert start.mean == pytest.approx([3.0], rel=1e-3)
    assert start.covariance[0, 0] == pytest.approx(3.0, rel=1e-2)


def test_directions_that_do_not_bend_keep_a_standard_deviation_of_1():
    start = start_of(target_of(lambda x: -0.5 * (x[0] - 2.0) ** 2 * 25.0))
    np.testing.assert_allclose(start.covariance, np.diag([1 / 25, 1.0]), atol=1e-6)
    np.testing.assert_allclose(start.std, [0.2, 1.0], rtol=1e-5)
    assert Start(np.zeros(2), np.array([4.0, 9.0])).std.tolist() == [2.0, 3.0]


def test_what_has_no_maximum_is_told_with_its_site():
    def model():
        numpyro.sample("held", dist.Normal(0.0, 1.0))
        level = numpyro.sample("level", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.factor("pull", level)

    with pytest.raises(RunError, match="^flow: start: no maximum was found: .* rises along the site level"):
        pogospec.flow(model, start="map", **BEGUN)
    with pytest.raises(RunError, match="^start: the log density is finite nowhere near 0"):
        found("map", target_of(lambda x: jnp.log(-1 - x[0] ** 2)), 1.0, KEY)
    with pytest.raises(UsageError, match="^start: found 'map' in 5,000 dimensions, allowed up to 4,096"):
        found("map", target_of(lambda x: -(x**2).sum(), 5000), 1.0, KEY)
    with pytest.raises(UsageError, match=r"^flow: start: found 'mode', allowed a pair \(mean, std\), \"map\", or"):
        started("mode")


@jax.custom_vjp
def own_rule(x):
    return quadratic(x)


own_rule.defvjp(lambda x: (quadratic(x), x), lambda x, g: (g * jax.grad(quadratic)(x),))


@jax.custom_vjp
def on_the_host(x):
    return quadratic(x)


def _by_callback(x, g):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    slope = lambda x: np.asarray(-PRECISION @ (x - np.array([30.0, -2.0])), x.dtype)  # noqa: E731
    return (g * jax.pure_callback(slope, shape, x, vmap_method="sequential"),)


on_the_host.defvjp(lambda x: (quadratic(x), x), _by_callback)


@pytest.mark.parametrize("function", [own_rule, on_the_host])
def test_densities_with_rules_of_their_own(function):
    """Second derivatives by reverse mode alone, or none at all: there a plane is laid through gradients."""
    options: dict[str, Any] = {
        "family": "full_gaussian",
        "scheme": "natural",
        "steps": 40,
        "tau": 0.5,
        "start": ([28.0, 0.0], 1.0),
        "actions": {"antithetic": 8},
    }
    end: Any = pogospec.flow(function, dimensions=2, **options).distribution()
    np.testing.assert_allclose(end.mean, [30.0, -2.0], atol=1e-3)
    np.testing.assert_allclose(end.covariance_matrix, np.linalg.inv(PRECISION), rtol=1e-2)


def test_second_derivatives_that_somebody_asked_for():
    target = target_of(on_the_host)
    with pytest.raises(
        UsageError, match="scheme.curvature: found 'exact', which takes second derivatives .* allowed plane"
    ):
        lacks_curvature(target, Natural(curvature="exact"))
    own = Natural(actions=Antithetic(4))
    assert lacks_curvature(target, own)
    assert not lacks_curvature(target, Natural())  # lays a plane anyway
    assert not lacks_curvature(target, Implicit())
    assert not lacks_curvature(target_of(own_rule), own)
    assert not lacks_curvature(target_of(quadratic), own)
