"""The numbers behind the pictures of energies and paths."""

import closed_forms
import flows
import numpy as np
from flows import HEAT, MEAN, STD, TAU, A, M, apart, curves, exact_steps, legend, placed

from pogospec.report.figures import energy, path
from pogospec.report.reading.known_energy import Known

LEAST = -HEAT * 0.5 * np.log(2 * np.pi * HEAT / A)


def test_energies_and_kl_over_flow_time(ran):
    run, _ = ran
    picture = energy.figure([run])
    left, right = (curves(axes) for axes in picture.axes)
    name = "spec"
    times = np.array([0, 0.4, 0.8, 1.2])
    np.testing.assert_allclose(left[name][0], times)
    np.testing.assert_allclose(left[name][1][1:], flows.column(run, "energy").mean(1) - LEAST)
    np.testing.assert_allclose(right[name][1][1:], flows.column(run, "kl_optimum").mean(1))
    np.testing.assert_allclose(left[name][1], HEAT * right[name][1], rtol=1e-6)
    t, guide = right[f"{name}: rate"]
    np.testing.assert_allclose(guide, right[name][1][0] * np.exp(-2 * A * t))
    t, line = right[f"{name}: continuous flow"]
    mean, std = closed_forms.w2_flow_quadratic(MEAN, STD, M, A, HEAT, t)
    kl = closed_forms.kl(mean[:, None], std[:, None], np.array([M]), np.array([np.sqrt(HEAT / A)]))
    np.testing.assert_allclose(line, kl, rtol=1e-9)
    np.testing.assert_allclose(left[f"{name}: continuous flow"][1], HEAT * kl, rtol=1e-9)
    assert legend(picture) == ["Euler steps", "continuous flow", "theoretical rate 2 min A = 4"]
    assert all(axes.get_yscale() == "log" for axes in picture.axes)
    assert apart(picture)


def test_the_rate_of_fisher_rao_is_twice_lambda(flow):
    for kind in ("fisher_rao", "kl"):
        run = flow(kind, geometry=kind, rows=flows.steps(2, [4.0, 4.0], [2.0, 3.0]), seeds=2)
        picture = energy.figure([run])
        found = curves(picture.axes[1])
        t, guide = found["flow: rate"]
        np.testing.assert_allclose(guide, 8 * np.exp(-2 * HEAT * t))
        assert "theoretical rate 2 λ = 1" in legend(picture)
        band = np.asarray(picture.axes[1].collections[0].get_paths()[0].vertices)
        end = band[band[:, 0] == 0.5][:, 1]
        np.testing.assert_allclose([end.min(), end.max()], [5 - np.sqrt(2), 5 + np.sqrt(2)])


def test_energies_without_a_minimum_are_drawn_as_they_are(flow):
    rows = flows.steps(1, [4.0], [-2.0])
    run = flow(rows=rows, target="{kind: banana}", energy="{q: {actions: {sample: 8}}, entropy: {weight: 1}}")
    picture = energy.figure([run])
    np.testing.assert_allclose(curves(picture.axes[0])["flow"][1], [4, -2])
    assert picture.axes[0].get_ylabel() == "energy E, Q by 8 samples"
    assert (picture.axes[0].get_yscale(), legend(picture)) == ("linear", ["Euler steps"])


def test_a_point_has_a_distance_and_half_the_rate(flow):
    rows = [(0, "step 1", update, 10, 0.5 * (update > 0), "", {"energy": 2.0, "w2_optimum": 3.0}) for update in (0, 10)]
    picture = energy.figure([flow(policy="dirac", energy="{q: {}}", rows=rows)])
    t, guide = curves(picture.axes[1])["flow: rate"]
    np.testing.assert_allclose(guide, 3 * np.exp(-A * t))
    assert "theoretical rate min A = 2" in legend(picture)


def test_runs_of_one_name_on_two_targets_stay_apart(flow):
    rows = flows.steps(1, [4.0], [2.0])
    runs = [flow("a", rows=rows), flow("b", rows=rows, target="{kind: mixture, means: [0], stds: [1]}")]
    assert legend(energy.figure(runs))[:2] == ["flow on target/quadratic", "flow on target/mixture"]


def test_energies_of_a_run_on_data_over_updates(make):
    run = make(seeds=2)
    for total, stage in ((100, "step 1"), (200, "step 1"), (300, "step 2")):
        for seed in range(2):
            numbers = {"energy": total + seed, "entropy": 1.0 * seed}
            run.append_flow(seed, stage, total % 300 or 100, total, 0.0, "", numbers)
    picture = energy.figure([run])
    assert [axes.get_ylabel() for axes in picture.axes] == ["energy E", "entropy H\n[nats]"]
    found = curves(picture.axes[0])
    assert [part.tolist() for part in found["flow: step 1"]] == [[100, 200], [100.5, 200.5]]
    assert [part.tolist() for part in found["flow: step 2"]] == [[200, 300], [200.5, 300.5]]
    assert legend(picture) == ["step 1", "step 2"]
    assert apart(picture)


def test_the_path_of_a_run_and_of_the_continuous_flow(ran):
    run, _ = ran
    found = path.path(Known.open(run))
    means, stds = exact_steps(3)
    assert found.labels == ["start", "step 1", "step 2", "step 3"]
    np.testing.assert_allclose(found.moments.mean[..., 0], np.stack([means, means], 1), atol=1e-5)
    np.testing.assert_allclose(found.moments.std[..., 0], np.stack([stds, stds], 1), atol=1e-5)
    assert found.line is not None
    mean, std = closed_forms.w2_flow_quadratic(MEAN, STD, M, A, HEAT, 3 * TAU)
    np.testing.assert_allclose([found.line.mean[-1, 0], found.line.std[-1, 0]], [mean, std])
    picture = path.figure([run])
    drawn = curves(picture.axes[0])
    np.testing.assert_allclose(drawn["spec"], [means, stds], atol=1e-5)
    np.testing.assert_allclose(drawn["optimum"], [[M], [np.sqrt(HEAT / A)]])
    assert picture.axes[0].collections  # levels of KL
    assert legend(picture)[:3] == ["Euler steps", "continuous flow", "start"]
    assert apart(picture)


def test_the_path_in_the_plane_and_in_more_dimensions(flow):
    plane = flow("a", seeds=2, target="{kind: quadratic, center: [1, 0], curvature: [1, 2]}")
    placed(plane, "step 1", [0.5, 0.0], [0.2, 1.0])
    (axes,) = path.figure([plane]).axes
    found = curves(axes)
    np.testing.assert_allclose(found["flow"], [[-0.6, 0.5], [-0.6, 0.0]], atol=1e-6)
    np.testing.assert_allclose(np.ravel(found["mean of the optimum"]), [1, 0])
    ellipses = [np.array([line.get_xdata(), line.get_ydata()]) for line in axes.get_lines()]
    last = next(e for e in reversed(ellipses) if e.shape[1] == 121)
    np.testing.assert_allclose([np.ptp(last[0]), np.ptp(last[1])], [0.4, 2.0], rtol=1e-3)
    space = flow("b", seeds=2, target="{kind: quadratic, center: [1, 0, 2], curvature: [1, 2, 4]}")
    placed(space, "step 1", [0.5, 0.0, 0.1], [0.2, 1.0, 0.7])
    picture = path.figure([space])
    np.testing.assert_allclose(curves(picture.axes[2])["flow"], [[-0.6, 0.1], [0.3, 0.7]], atol=1e-6)
    np.testing.assert_allclose(np.ravel(curves(picture.axes[2])["optimum"]), [2, np.sqrt(HEAT / 4)])
