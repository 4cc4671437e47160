"""The continuous flow of quadratics, and its rates, against closed forms and differential equations."""

import closed_forms
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pogospec.report.figures.continuous import Continuous, continuous, minimum
from pogospec.report.reading.known_energy import Known, Moments

M, A, HEAT = np.array([1.0, -0.5]), np.array([4.0, 0.5]), 0.5
MEAN, STD = np.array([-1.0, 1.0]), np.array([0.5, 2.0])
TIMES = np.array([0.0, 0.1, 0.7, 2.0])


def line(wasserstein, curvature=None, heat=HEAT, covariance=None, speed=1.0):
    curvature = np.diag(A) if curvature is None else curvature
    start = Moments(MEAN, np.diag(STD**2) if covariance is None else covariance)
    return Continuous(wasserstein, M, curvature, heat, 1.0, speed, start)


@pytest.mark.parametrize(
    ("wasserstein", "formula"),
    [(True, closed_forms.w2_flow_quadratic), (False, closed_forms.fisher_rao_flow_quadratic)],
)
def test_the_line_is_the_closed_form(wasserstein, formula):
    found = line(wasserstein).at(TIMES)
    mean, std = formula(MEAN, STD, M, A, HEAT, TIMES[:, None])
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.std, std, rtol=1e-12)
    np.testing.assert_allclose(line(wasserstein, speed=3.0).at(TIMES / 3).mean, mean, rtol=1e-12)


@pytest.mark.parametrize("heat", [0.0, 0.3])
@pytest.mark.parametrize("wasserstein", [True, False])
def test_full_matrices_obey_the_differential_equations(wasserstein, heat):
    curvature = np.array([[2.0, 0.7], [0.7, -0.3]])
    covariance = np.array([[1.0, -0.4], [-0.4, 0.5]])

    def change(_, state):
        mean, s = state[:2], state[2:].reshape(2, 2)
        pull = curvature @ (mean - M)
        if wasserstein:
            return np.concatenate([-pull, (2 * heat * np.eye(2) - curvature @ s - s @ curvature).ravel()])
        return np.concatenate([-s @ pull, (heat * s - s @ curvature @ s).ravel()])

    state = np.concatenate([MEAN, covariance.ravel()])
    solved = solve_ivp(change, (0, TIMES[-1]), state, t_eval=TIMES, rtol=1e-10, atol=1e-12).y.T
    found = line(wasserstein, curvature, heat, covariance).at(TIMES)
    np.testing.assert_allclose(found.mean, solved[:, :2], rtol=1e-7)
    np.testing.assert_allclose(found.covariance.reshape(-1, 4), solved[:, 2:], rtol=1e-6)


def test_kl_and_energy_along_the_line():
    flow = line(True)
    found = flow.at(TIMES)
    kl = closed_forms.kl(found.mean, found.std, M, np.sqrt(HEAT / A))
    np.testing.assert_allclose(flow.kl(TIMES), kl, rtol=1e-10)
    entropy = np.log(found.std).sum(-1) + np.log(2 * np.pi * np.e)
    energy = (A * ((found.mean - M) ** 2 + found.std**2)).sum(-1) / 2 - HEAT * entropy
    np.testing.assert_allclose(flow.energy(TIMES), energy, rtol=1e-12)
    np.testing.assert_allclose(np.diff(flow.energy(TIMES)), HEAT * np.diff(kl), rtol=1e-10)
    np.testing.assert_allclose(line(True, heat=0.0).energy(np.array([0.0])), (A * ((MEAN - M) ** 2 + STD**2)).sum() / 2)


@pytest.mark.parametrize("wasserstein", [True, False])
@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_the_rate_is_that_at_which_kl_falls_in_the_end(wasserstein, speed):
    flow = line(wasserstein, speed=speed)
    late = np.array([12.0, 14.0]) / speed
    fall = -np.diff(np.log(flow.kl(late)))[0] / np.diff(late)[0]
    assert flow.rate == pytest.approx(speed * (2 * 0.5))  # twice the least A, and twice lambda, which are equal here
    assert fall == pytest.approx(flow.rate, rel=0.01)
    assert flow.law == ("min A" if wasserstein else "λ")


def test_rates_that_do_not_exist():
    assert line(True, np.diag([1.0, -0.1])).rate is None
    assert line(False, heat=0.0).rate is None
    assert line(True, heat=0.0).rate == pytest.approx(1.0)
    assert line(False, heat=0.25).rate == pytest.approx(0.5)


MATRIX = "{kind: quadratic, center: [0, 0], curvature: [[2, 0.5], [0.5, 1]]}"
FULL = {"target": MATRIX, "policy": "full_gaussian", "start": "{mean: 0, std: 1}"}


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"geometry": "kl"}, {"geometry": "hellinger"}, {"geometry": "gaussian_fisher_rao"}, FULL,
        {"policy": "dirac", "energy": "{q: {}}"}, {"energy": "{q: {actions: {sample: 3}}, entropy: {weight: 2}}"},
        {"schedule": "{steps: [{tau: 0.4, updates: 2, from: behavior}, {tau: 0.2, updates: 2}]}"},
        {"schedule": "{steps: [{tau: 1, updates: 2, scheme: explicit}]}", "energy": "{q: {}, entropy: {weight: 0.5}}"},
    ],
)  # fmt: skip
def test_flows_that_are_known(flow, changes):
    assert continuous(Known.open(flow(**changes))) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "{kind: mixture, means: [0], stds: [1]}"}, {"policy": "tanh_gaussian"},
        {**FULL, "policy": "gaussian"}, {"energy": "{q: {}, entropy: {weight: 0.5}}"},
        {"geometry": "{wasserstein2: {}, kl: {}}"},
        {"energy": "{q: {actions: quadrature, scale: step}, entropy: {weight: 0.5}}"},
        {"energy": "{q: {actions: quadrature}, action_norm: {}}"},
        {"schedule": "{steps: [{tau: 0.4, updates: 2}, {tau: 0.2, updates: 2, from: behavior}]}"},
        {"schedule": "{steps: [{tau: 0.4, updates: 2}, {tau: 0.2, updates: 2, geometry: kl}]}"},
        {"schedule": "{steps: [{tau: 1, updates: 2}, {tau: 1, updates: 2, energy: {entropy: {weight: 1}}}]}"},
    ],
)  # fmt: skip
def test_flows_that_are_not(flow, changes):
    assert continuous(Known.open(flow(**changes))) is None


def test_weights_enter_curvature_speed_and_heat(flow):
    made = Known.open(flow(energy="{q: {actions: quadrature, weight: 3}, entropy: {weight: 0.5}}"))
    found = continuous(made)
    assert found is not None
    assert (found.curvature.tolist(), found.heat, found.speed) == ([[6.0]], 0.5, 1.0)
    assert made.heat == pytest.approx(0.5 / 3)
    np.testing.assert_allclose(found.kl(np.array([60.0])), 0, atol=1e-12)
    mean = Known.open(flow("b", geometry="{kind: wasserstein2, reduction: mean, weight: 4}", **two_dimensions()))
    other = continuous(mean)
    assert other is not None
    assert other.speed == pytest.approx(2 / 4)


def two_dimensions():
    return {"target": "{kind: quadratic, center: [0, 0], curvature: [1, 2]}"}


def test_the_least_energy(flow):
    std = np.sqrt(0.5 / 2)
    least = 0.5 * 2 * std**2 - 0.5 * np.log(std * np.sqrt(2 * np.pi * np.e))
    assert minimum(Known.open(flow("a"))) == pytest.approx(least)
    assert minimum(Known.open(flow("b", policy="dirac", energy="{q: {}}"))) == 0
    assert minimum(Known.open(flow("c", energy="{q: {}, entropy: {weight: 0.5}}"))) is None
    assert minimum(Known.open(flow("d", target="{kind: quadratic, center: [0], curvature: [-1]}"))) is None
    assert minimum(Known.open(flow("e", policy="tanh_gaussian"))) is None
