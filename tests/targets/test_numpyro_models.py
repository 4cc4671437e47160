"""NumPyro models as targets: densities, sites, what may be named and what is refused."""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import scipy
from numpyro.distributions import biject_to, constraints
from numpyro.infer.util import initialize_model, log_density

sys.path.insert(0, str(Path(__file__).parent))
from pogospec.spec.build import build_node
from pogospec.targets.numpyro import NumpyroTarget, allow, allowing, registered

HERE = "given_models"
norm: Any = scipy.stats.norm
SHIPPED = {
    "conjugate_normal": [("mu", ())],
    "eight_schools": [("mu", ()), ("tau", ()), ("base", (8,))],
    "logistic_regression": [("intercept", ()), ("slopes", (3,))],
}
SUPPORTS = {"scale": (), "share": (2,), "part": (), "across": (3,), "anything": (), "local": (3,)}


def rows_of(target, count=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, target.dimensions))


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_are_registered(name):
    assert registered()[name] == f"pogospec.targets.models:{name}"
    sites = NumpyroTarget(name).sites
    assert [(site.name, site.shape) for site in sites] == SHIPPED[name]
    assert sites[0].start == 0
    assert all(a.stop == b.start for a, b in zip(sites, sites[1:], strict=False))


@pytest.mark.parametrize(("name", "log_of"), [("conjugate_normal", ()), ("eight_schools", ("tau",))])
def test_density_is_the_joint_density_and_the_jacobian(float64, name, log_of):
    target = NumpyroTarget(name)
    model, args, kwargs, sites = target._model[:4]

    def written_out(row):
        raw = {site.name: row[site.start : site.stop].reshape(site.shape) for site in sites}
        transforms = {k: biject_to(constraints.positive if k in log_of else constraints.real) for k in raw}
        values = {k: transforms[k](v) for k, v in raw.items()}
        joint = log_density(model, args, kwargs, values)[0]
        jacobian = sum(raw[k] for k in log_of)  # the positive sites are exponentials
        return joint + jacobian

    rows = rows_of(target, 4)
    found, expected = computed(lambda rows: (target.log_density(rows), jax.vmap(written_out)(rows)), rows)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_logistic_regression_is_what_it_says(float64):
    target = NumpyroTarget("logistic_regression")
    _, (inputs, answers), *_ = target._model
    row = rows_of(target, 1)[0]
    logits = row[0] + inputs @ row[1:]
    likelihood = -np.log1p(np.exp(np.where(answers, -logits, logits))).sum()
    prior = norm(0, 2.5).logpdf(row[0]) + norm(0, 1).logpdf(row[1:]).sum()
    assert computed(target.log_density, row) == pytest.approx(likelihood + prior, rel=1e-12)


def test_the_posterior_of_the_conjugate_model_is_known(float64):
    target: Any = NumpyroTarget("conjugate_normal")
    readings = np.array([1.2, 0.4, 2.1, 1.6, 0.9])
    precision = len(readings) + 0.25
    mean, covariance = target.optimum(1.0)
    assert mean[0] == pytest.approx(readings.sum() / precision, rel=1e-9)
    assert covariance[0, 0] == pytest.approx(1 / precision, rel=1e-8)
    covariance = np.eye(5) + 4.0
    evidence = -0.5 * (readings @ np.linalg.solve(covariance, readings) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    assert target.log_normalizer(1.0) == pytest.approx(evidence, rel=1e-9)


def test_all_supports_agree_with_numpyro(float64):
    with allowing(HERE):
        target = NumpyroTarget(f"{HERE}:kinds_of_support")
        assert {site.name: site.shape for site in target.sites} == SUPPORTS
        model, args, kwargs, *_ = target._model
        rows = rows_of(target, 6).reshape(2, 3, -1)

        def by_numpyro(row):
            start = initialize_model(
                jax.random.key(0), model, model_args=args, model_kwargs=kwargs, validate_grad=False
            )
            raw = {site.name: row[site.start : site.stop].reshape(site.shape) for site in target.sites}
            return -start.potential_fn(raw), start.postprocess_fn(raw)

        def both(rows):
            own = target.log_density(rows), target.constrain(rows)
            return own, jax.vmap(jax.vmap(by_numpyro))(rows)

        (density, sites), (joint, expected) = computed(both, rows)
        assert density.shape == (2, 3)
        np.testing.assert_allclose(density, joint, rtol=1e-12)
        assert set(expected) == set(sites) == {*SUPPORTS, "twice"}
        for name, value in expected.items():
            np.testing.assert_allclose(sites[name], value, rtol=1e-10)
        back = computed(target.unconstrain, {name: sites[name][1, 2] for name in SUPPORTS})
        np.testing.assert_allclose(back, rows[1, 2], rtol=1e-9, atol=1e-12)


def test_constrained_sites_of_eight_schools():
    target = NumpyroTarget("eight_schools")
    rows = rows_of(target, 6).reshape(2, 3, 10)
    sites = computed(target.constrain, rows)
    np.testing.assert_allclose(sites["tau"], np.exp(rows[..., 1]), rtol=1e-6)
    theta = sites["mu"][..., None] + sites["tau"][..., None] * sites["base"]
    np.testing.assert_allclose(sites["theta"], theta, rtol=1e-5, atol=1e-6)
    assert sites["theta"].shape == (2, 3, 8)


def test_integrals_while_all_else_is_float32():
    with allowing(HERE):
        for name in ("conjugate_normal", f"{HERE}:closes_over_data"):
            target = NumpyroTarget(name)
            single = computed(target.log_density, np.zeros((2, 1), np.float32))
            before = target.log_normalizer(1.7)
            with jax.enable_x64(True):
                exact = NumpyroTarget(name).log_normalizer(1.7)
                np.testing.assert_allclose(computed(target.log_density, np.zeros((2, 1))), single, rtol=1e-6)
            assert before == pytest.approx(exact, abs=1e-4)


def test_a_module_must_be_allowed():
    name = f"{HERE}:closes_over_data"
    sys.modules.pop(HERE, None)
    with pytest.raises(ValueError, match=f"not allowed; if you trust it, run with --allow-module {HERE}"):
        NumpyroTarget(name)
    with pytest.raises(ValueError, match="target: found the model .* not allowed"):
        build_node("target", {"kind": "numpyro", "model": name})
    assert HERE not in sys.modules  # refused before it is imported
    with allowing(HERE):
        assert NumpyroTarget(name).dimensions == 1
        with allowing("another_module"):
            assert build_node("target", {"kind": "numpyro", "model": name}).dimensions == 1
    with pytest.raises(ValueError, match="not allowed"):
        NumpyroTarget(name)
    with pytest.raises(ValueError, match="not allowed"), allowing("given"):
        NumpyroTarget(name)


def test_allow_lasts_for_the_process(monkeypatch):
    monkeypatch.setattr("pogospec.modules._allowed", set())
    allow(HERE)
    assert NumpyroTarget(f"{HERE}:closes_over_data").sites[0].name == "mu"


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(ValueError, match="unknown model 'eight_scools'.*did you mean eight_schools"):
        NumpyroTarget("eight_scools")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("discrete", r"latent site k is discrete \(Poisson\), with values that cannot all be listed"),
        ("point", "latent site k is a Delta"),
        ("subsampled", "plate rows is subsampled"),
        ("learned", "site a is a parameter"),
        ("empty", "no latent sites"),
        ("model_itself", "could not be made: .* allowed a function without arguments that returns a NumPyro model"),
        ("nothing", "returned None, allowed a function"),
        ("wants_arguments", "fails: TypeError: .* missing 1 required positional argument"),
        ("absent", "no attribute 'absent'"),
    ],
)
def test_models_that_cannot_be_used(name, words):
    with allowing(HERE), pytest.raises(ValueError, match=words) as caught:
        NumpyroTarget(f"{HERE}:{name}")
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there():
    with allowing("no_such_module"), pytest.raises(ValueError, match="No module named 'no_such_module'"):
        NumpyroTarget("no_such_module:f")
