"""What stands around the printed mathematics: numbers, labels, gradients, LaTeX."""

import re

import equinox as eqx
import jax.numpy as jnp
import pytest
from compared import SPECS, TEXT
from printed import written

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.energies.base import AbstractTerm
from pogospec.explain.mathematics.formula import objective
from pogospec.explain.mathematics.latex import latex
from pogospec.explain.numbers import number
from pogospec.explain.stages import groups as steps_of
from pogospec.explain.stages import stages
from pogospec.types import Space


class Curiosity(AbstractTerm):
    """Rewards what is new."""

    needs_density = False
    needs_critic = False
    weight: float = 0.25

    def value(self, parameters, context, key):
        return jnp.zeros(len(context.observations))


def test_a_class_without_a_formula_is_written_by_its_name():
    spec = written(
        TEXT.format(policy="gaussian", energy="{q: {}}", geometry="kl", step="from: data, geometry: wasserstein2")
    )
    energy = spec.schedule.steps[1].energy
    assert energy is not None
    energy["new"] = Curiosity()
    terms = objective(stages(spec)[1])
    assert str(terms[1]) == "+ 0.25 · Curiosity[π](s)"
    assert terms[1].meaning == "Curiosity: Rewards what is new."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20.0, "20"),
        (0.4167, "0.4167"),
        (1e-5, "1e-5"),
        (3e-4, "3e-4"),
        (0.01, "0.01"),
        (0.0, "0"),
        (1.25, "1.25"),
        (2.5e-3, "0.0025"),
        (2.5e-4, "2.5e-4"),
        (0.99, "0.99"),
    ],
)
def test_numbers_are_short_and_read_back(value, text):
    assert number(value) == text
    assert float(number(value / 3)) == pytest.approx(value / 3, rel=1e-11)


FACTORS = [
    ("gaussian", "fisher_rao", "natural", "natural gradient (σ² on the mean, ½ on log σ)"),
    ("tanh_gaussian", "kl", "natural", "natural gradient (σ² on the mean before tanh, ½ on log σ)"),
    ("gaussian", "{kind: kl, weight: 0.5}", "natural", "natural gradient (2 σ² on the mean, 1 on log σ)"),
    (
        "gaussian",
        "{kind: wasserstein2, reduction: mean}",
        "{kind: natural, clip: [1.0e-9, 1.0e+9]}",
        "natural gradient (3 on the mean, 3/σ² on log σ)",
    ),
    (
        "gaussian",
        "wasserstein2",
        "natural",
        "natural gradient (1 on the mean, 1/σ² on log σ, held by the clip where log σ is outside [-3.45, 2])",
    ),
    ("dirac", "wasserstein2", "natural", "natural gradient (1 on the mean)"),
    (
        "full_gaussian",
        "fisher_rao",
        "natural",
        "natural gradient (σ² on the mean, 1 on the whitened shape; σ²: eigenvalues of the covariance)",
    ),
    (
        "full_gaussian",
        "{kind: wasserstein2, reduction: mean}",
        "{kind: natural, clip: [1.0e-9, 1.0e+9]}",
        "natural gradient (3 on the mean, 6/σ² on the whitened shape; σ²: eigenvalues of the covariance)",
    ),
    ("gaussian", "fisher_rao", "euclidean", "euclidean gradient"),
]


@pytest.mark.parametrize(("policy", "geometry", "gradient", "expected"), FACTORS)
def test_a_natural_gradient_is_printed_as_facts_say(policy, geometry, gradient, expected):
    from pogospec.explain.mathematics.blocks import gradient as printed

    step = f"from: previous, gradient: {gradient}"
    spec = written(TEXT.format(policy=policy, energy="{q: {}}", geometry=geometry, step=step))
    assert printed(spec, stages(spec)[1], 3) == expected


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_labels_are_those_of_the_program(path):
    spec = load(path)
    program = compile_spec(spec, Space(4, 2, (-1.0,) * 2, (1.0,) * 2))
    assert [stage.label for stage in stages(spec)] == [stage.label for stage in program.steps]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_latex_is_sound(path):
    from matplotlib.mathtext import MathTextParser

    firsts = [group.first for group in steps_of(stages(load(path)))]  # repetitions are a line of words
    text = latex(load(path), stages(load(path)))
    head, _, rest = text.partition("\\begin{align*}\n")
    body, end, _ = rest.partition("\n\\end{align*}")
    assert head.startswith("%")
    assert end
    averaged = sum(step.learns_policy and not step.policy.borrows for step in firsts)
    assert body.count(r"\Big[") == body.count(r"\Big]") == averaged
    parser = MathTextParser("agg")
    for row in body.split("\\\\\n"):
        assert row.count("&") == 1, row
        for cell in row.split("&"):
            plain = re.sub(r"\\([bB]ig)", "", cell.strip()).replace("tfrac", "frac").replace(r"\textbf", r"\mathbf")
            parser.parse(f"${plain.replace(chr(92) + 'text{', chr(92) + 'mathrm{')}$" if plain else "x")


def test_a_repeated_step_is_re_centred_at_the_one_before():
    text = TEXT.format(
        policy="gaussian",
        energy="{q: {}}",
        geometry="kl",
        step="from: previous, repeat: 3, tau: {kind: geometric, start: 8, factor: 0.5}",
    )
    plan = stages(written(text))
    assert [str(objective(stage)[-1]) for stage in plan[1:]] == [
        "+ (1/8) · KL(π ‖ π₁)",
        "+ (1/4) · KL(π ‖ π₂)",
        "+ (1/2) · KL(π ‖ π₃)",
    ]
    assert eqx.tree_equal(plan[1].step, plan[3].step)
