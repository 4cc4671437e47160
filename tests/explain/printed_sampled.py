"""Values of printed geometries that are estimated by samples, written out from their legends without the package."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from printed_text import groups


class Estimate(NamedTuple):
    """What an estimate is made of: its legend, what stands behind the brackets, draws, and a dual critic."""

    said: dict[str, str]
    tail: str
    key: Any
    drawn: Callable  # of a count of noises: actions [count, batch, act] of both sides
    together: Callable  # at the same noises
    dual: Callable  # values of actions


def wasserstein1(one, first, second):
    form = rf".* as (.+), a.+ ~ {first} and b.+ ~ {second} in each state"
    (gap,) = groups(form, one.said["W₁"])
    (count,) = groups(r"(?:\(1/(\d+)\) Σ_k )?\[?c\(s, a.+\) − c\(s, b.+\)\]?", gap)
    assert one.tail == ""
    return jnp.mean(jnp.subtract(*(one.dual(a) for a in one.drawn(int(count or 1)))), 0)


def over_pairs(function, one, estimate, count):
    """Half the mean of a function of gaps over pairs within each side, less that across."""
    assert one.tail == "/2"
    (x, y), n = one.drawn(int(count)), range(int(count))
    own = [(i, j) for i in n for j in n if i != j or estimate == "biased"]
    inner = jnp.stack([function(x[i] - x[j]) + function(y[i] - y[j]) for i, j in own]).mean(0)
    return inner / 2 - jnp.stack([function(x[i] - y[j]) for i in n for j in n]).mean(0)


def mmd(one, first, second):
    shape, width, estimate, count = groups(
        r".* the kernel exp\(−(\|x − y\|₁|\|x − y\|²)/(.+)\), (biased|unbiased), by (\d+) samples of each",
        one.said["MMD"],
    )
    if shape == "|x − y|₁":
        return over_pairs(lambda gap: jnp.exp(-jnp.abs(gap).sum(-1) / float(width)), one, estimate, count)
    square = float(groups(r"\(2 · (.+)²\)", width)[0]) ** 2
    return over_pairs(lambda gap: jnp.exp(-(gap**2).sum(-1) / 2 / square), one, estimate, count)


def energy(one, first, second):
    form = r"2 E\|x − y\| − E\|x − x'\| − E\|y − y'\|, (biased|unbiased), by (\d+) samples of each"
    length = lambda gap: -jnp.sqrt((gap**2).sum(-1))  # noqa: E731
    return over_pairs(length, one, *groups(form, one.said["E²"]))


def compared(cost, one, count, debiased):
    """Half the cost of both sides, less what two sets of one side cost."""
    assert one.tail == "/2"
    n = int(count)
    x, y = one.drawn(n * (1 + debiased))
    if not debiased:
        return cost([(x, y)])[0] / 2
    a, b, c, d = cost([(x[:n], y[:n]), (x[n:], y[n:]), (x[:n], x[n:]), (y[:n], y[n:])])
    return (a + b - c - d) / 4


def sliced(one, first, second):
    less, count, bases = groups(
        r"mean square of the gaps between sorted projections of x and y(, less half that of x to x' and of y to y')?, "
        r"by (\d+) samples of each along the axes of (\d+) random bas[ei]s",
        one.said["SW₂²"],
    )

    def cost(pairs):
        size = pairs[0][0].shape[-1]
        found = []
        for x, y in pairs:
            axes = jnp.concatenate(jax.random.orthogonal(jax.random.fold_in(one.key, 2), size, (int(bases),)), 1)
            gaps = [(jnp.sort(x @ axis, 0) - jnp.sort(y @ axis, 0)) ** 2 for axis in axes.T]
            found.append(size * jnp.stack(gaps).mean((0, 1)))
        return found

    return compared(cost, one, count, less is not None)


def sinkhorn(one, first, second):
    debiased = "S" in one.said
    if debiased:
        assert one.said["S"] == "Sinkhorn divergence OT(x, y) − [OT(x, x') + OT(y, y')]/2, two sets of each"
    eps, absolute, count = groups(
        r"min_P <P, C> \+ ε KL\(P ‖ x ⊗ y\), C = \|x − y\|², ε = ([\d.e-]+)(, at least 0.002)? of the mean "
        r"cost once means are matched, by (\d+) samples of each",
        one.said["OT"],
    )

    def cost(pairs):
        widths = [((side - side.mean(0)) ** 2).sum(-1).mean(0) for pair in pairs for side in pair]
        mean = 2 * sum(widths) / len(widths)
        heat = float(eps) * mean if absolute is None else jnp.maximum(float(eps), 0.002 * mean)
        return [plan(x, y, heat) for x, y in pairs]

    def plan(x, y, heat):
        c = ((x[:, None] - y[None]) ** 2).sum(-1)
        heat = jnp.where(heat > 0, heat, 1.0)  # between points there is one plan
        c = c / heat
        n = jnp.log(len(x))

        def step(_, g):
            f = n - jax.nn.logsumexp(g - c, 1)
            return n - jax.nn.logsumexp(f[:, None] - c, 0)

        g = jax.lax.fori_loop(0, 3_000, step, 0 * c[0])
        f = n - jax.nn.logsumexp(g - c, 1)
        p = jnp.exp(f[:, None] + g - c - 2 * n)
        return heat * (p * c + p * (f[:, None] + g - c)).sum((0, 1))

    return compared(cost, one, count, debiased)


def shared_noise(one, first, second):
    (count,) = groups(
        r"E_z \|T_π\(s, z\) − T_ref\(s, z\)\|² ≥ W₂², the same noise z on both sides, by (\d+) z a state",
        one.said["W̃₂²"],
    )
    x, y = one.together(int(count))
    return ((x - y) ** 2).sum(-1).mean(0) / {"/2": 2, "/(2d)": 2 * x.shape[-1]}[one.tail]


ESTIMATES = {
    "W₁": wasserstein1,
    "MMD²": mmd,
    "E²": energy,
    "d SW₂²": sliced,
    "S": sinkhorn,
    "OT": sinkhorn,
    "W̃₂²": shared_noise,
}
"""How a geometry is written -> its value; all others are closed forms."""
