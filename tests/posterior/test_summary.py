"""What a flow prints, and the warning of directions in which nothing holds it."""

import warnings
from typing import Any

import jax.numpy as jnp
import models
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import pogospec
from pogospec.policies.base import DiagonalNormal, FullNormal, below
from pogospec.posterior.drift import warn_of_drift
from pogospec.targets.given import given

FULL: dict[str, Any] = {"family": "full_gaussian", "scheme": "natural"}


def test_five_lines_of_a_model():
    flow = pogospec.flow(models.regression, models.X, models.Y, steps=60, **FULL)
    assert flow.energies[0] > flow.energies[-1]  # which are at hand from here on
    lines = str(flow).splitlines()
    mean, covariance = models.regression_posterior()
    (slope, intercept), (first, second) = mean, np.sqrt(covariance.diagonal())
    assert len(lines) == 5
    assert lines[0].startswith("Flow on the model regression: 2 dimensions, 60 steps, flow time ")
    assert lines[0].endswith("ends at MultivariateNormal")
    energy = f"energy: {flow.energies[0]:.4g} to {flow.energies[-1]:.4g}"
    assert flow.kl is not None
    assert lines[1].strip() == f"{energy}; KL to the optimum: {flow.kl[0]:.4g} to {flow.kl[-1]:.4g} nats"
    told = f"sites: slope {slope:.3g} ± {first:.2g}, intercept {intercept:.3g} ± {second:.2g}, mean [12] "
    assert lines[2].strip().startswith(told)
    assert float(lines[3].split()[1]) == pytest.approx(-flow.energies[-1], abs=2e-3)
    assert "Pareto k: -inf (good: all weights are alike), by 1,000 draws" in lines[3]
    assert ".predictive(key, n)" in lines[4]
    html = flow._repr_html_()
    assert html.count("<tr>") == (1 + 2 + 12) + (1 + 11)
    assert ">slope</td>" in html
    assert "mean[11]" in html
    assert lines[3].strip() in html.replace("&#x27;", "'")
    assert repr(flow).count("\n") == 0  # what a debugger shows costs nothing


def test_a_line_without_energies_at_hand_and_with_many_sites(monkeypatch):
    """Energies are found of the draws of the summary where nobody has asked for those of the path."""

    def model():
        for index in range(8):
            numpyro.sample(f"site{index}", dist.LogNormal(0.1 * index, 0.2))

    flow = pogospec.flow(model, start=([0.1 * i for i in range(8)], 0.2), scheme="natural", steps=1, tau=1e-9)
    monkeypatch.setattr(pogospec.Flow, "at_hand", False)
    shown = str(flow)
    assert "KL" not in shown
    assert "<td" in flow._repr_html_()
    assert "flow time</th>" not in flow._repr_html_()
    assert "energy: 0.0000 ± 0.0000 to" in shown.replace("-0.0000", "0.0000")
    exact = np.exp(0.0 + 0.2**2 / 2), np.exp(0.02) * np.sqrt(np.expm1(0.04))
    assert f"site0 {exact[0]:.3g} ± {exact[1]:.1g}" in shown
    assert "site5" in shown
    assert "site6" not in shown
    assert ", and 2 more (mean ± standard deviation)" in shown


@pytest.mark.exhaustive("three more flows")
def test_lines_of_densities_points_and_minibatches(monkeypatch):
    flow = pogospec.flow(lambda x: -0.5 * (x[0] - 1) ** 2 - 50 * (x[1] + 2) ** 2, dimensions=2, steps=60, **FULL)
    assert "sites: x[0] 1 ± 1, x[1] -2 ± 0.1 (mean" in str(flow)
    point = pogospec.flow(lambda x: -jnp.sum(x**2), dimensions=1, family="dirac", temperature=0, steps=1, updates=2)
    assert "temperature 0: the end is a point, to which no weights belong" in str(point)
    assert point._repr_html_().startswith("<div>")
    options: dict[str, Any] = {"scheme": "natural", "steps": 1, "tau": 0.1}
    monkeypatch.setattr(pogospec.Flow, "at_hand", False)
    assert f"energy: {point.energies[0]:.4g} to {point.energies[-1]:.4g}" in str(point)
    part = pogospec.flow(models.minibatches, models.X, models.Y, 4, **options)
    assert "energy: flow.energies, by minibatches" in str(part)
    assert "flow.elbo(key, n) and flow.pareto_k(key, n) look at all data" in str(part)


def path(*covariances, size=2):
    """Gaussians of these covariances, one after each step."""
    factors = jnp.stack([jnp.linalg.cholesky(jnp.asarray(c, float)) for c in covariances])
    mean = jnp.zeros((len(covariances), size))
    return FullNormal(mean, jnp.log(jnp.diagonal(factors, axis1=-2, axis2=-1)), below(factors))


def target_of(function, dimensions=2):
    return given(function, (), None, dimensions)


def contrast(x):
    return -5.0 * (x[0] - x[1]) ** 2  # flat along (1, 1)


WIDENING = [np.eye(2) * 0.05 + np.ones((2, 2)) * s for s in (0.05, 4.0, 16.0, 64.0, 256.0)]


def test_a_flat_direction_that_widens_is_told():
    with pytest.warns(RuntimeWarning, match="nothing holds dimension 1 .*, dimension 2 .*: the log density is flat"):
        warn_of_drift(target_of(contrast), 1.0, path(*WIDENING))


@pytest.mark.parametrize(
    ("function", "covariances", "temperature"),
    [
        (lambda x: contrast(x) - 0.5 * (x[0] + x[1]) ** 2 / 1000, WIDENING, 1.0),  # held: 1/2 nat at its own width
        (contrast, WIDENING[:1] * 5, 1.0),  # flat, and does not widen
        (contrast, [*WIDENING[:2], *[WIDENING[2]] * 4], 1.0),  # no longer
        (contrast, [np.eye(2) * s for s in (0.05, 0.06, 0.08, 0.1, 0.12)], 1.0),  # not by much
        (contrast, WIDENING, 0.0),  # without entropy nothing widens by itself
    ],
)
def test_what_holds_or_stands_still_is_not_told(function, covariances, temperature):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_drift(target_of(function), temperature, path(*covariances))


def test_independent_dimensions_and_single_ones():
    log_std = jnp.log(jnp.array([[1.0, 1.0], [5.0, 0.5], [20.0, 0.5], [80.0, 0.5]]))
    with pytest.warns(RuntimeWarning, match=r"holds dimension 1 \(standard deviation 1 to 80\): "):
        warn_of_drift(target_of(lambda x: -2 * x[1] ** 2), 1.0, DiagonalNormal(jnp.zeros((4, 2)), log_std))


def improper():
    numpyro.sample("held", dist.Normal(0.0, 1.0))
    numpyro.sample("level", dist.ImproperUniform(dist.constraints.real, (), ()))


def test_a_flow_of_an_improper_posterior_warns_of_its_site():
    with pytest.warns(RuntimeWarning, match=r"^flow: nothing holds the site level \(standard deviation 1 to \S+\): "):
        pogospec.flow(improper, scheme="natural", steps=20, tau=0.5)


def test_a_second_print_asks_for_nothing(monkeypatch):
    flow = pogospec.flow(contrast, dimensions=2, scheme="natural", steps=1, tau=0.1)
    first = str(flow)
    monkeypatch.setattr("pogospec.posterior.summary.log_weights", None)
    assert str(flow) == first
