"""Reads printed explicit and forward-backward steps, and evaluates their losses from nothing but their lines."""

import re
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from printed import groups, kl, number, summed


class Printed:
    """An explicit step as printed; `symbols` are those of its stage, `place` is that of its advantage in the energy."""

    def __init__(self, text, symbols, key, place=0):
        self.symbols, self.key, self.place = symbols, key, place
        self.loss, *self.lines = text.split("\n")
        self.tolerance = 1e-9

    def points(self, text):
        """Standard normal points [n, batch, act] and their weights."""
        mean = self.symbols.p.mean
        drawn = re.fullmatch(r".*: (\d+) samples? of .+, anew at every update; ω_k = 1/(\d+)(?:;.*)?", text)
        if drawn:
            count = int(drawn[1])
            assert drawn[1] == drawn[2]
            return jax.random.normal(self.key, (count, *mean.shape), float), jnp.full(count, 1 / count)
        (grid,) = groups(r".*: the ([\d ×]+) Gauss-Hermite nodes of .+; ω_k: their weights, of sum 1(?:;.*)?", text)
        nodes, shares = [np.zeros(0)], np.ones(1)
        sizes = [int(size) for size in grid.split(" × ")]
        assert len(sizes) == mean.shape[-1]
        for size in sizes:
            axis, weights = np.polynomial.hermite_e.hermegauss(size)
            nodes = [np.append(node, x) for node in nodes for x in axis]
            shares = np.outer(shares, weights / weights.sum()).ravel()
        return jnp.broadcast_to(jnp.array(nodes)[:, None], (len(nodes), *mean.shape)), jnp.asarray(shares)

    def potential(self, symbol, actions):
        """A printed function of a, one value for each point and row."""
        symbol = symbol.replace("|s)", ")").replace("(s, ", "(")
        if symbol == "|a|²":
            return jnp.square(actions).sum(-1)
        gap = re.fullmatch(r"\((.+)\(a\) − (.+)\)", symbol)
        if gap:
            key = jax.random.fold_in(self.key, self.place)
            return self.symbols.q(gap[1], actions) - self.symbols.worth(gap[2], key)
        density = re.fullmatch(r"log (π\S+)\(a\)", symbol)
        if density:
            reference = self.symbols.reference(density[1])
            return self.symbols.log_density(self.symbols.spec.policy, reference, actions)
        name, size = groups(r"(Q̄?₁|min_i Q̄?_i|mean_i Q̄?_i|Q)\(a\)(?: / mean(.*))?", symbol)
        value = self.symbols.q(name, actions)
        if size:
            assert size.removeprefix("₀") == f"|{name}|"
            scale = self.symbols.state.energy["q"] if size.startswith("₀") else jnp.abs(value).mean()
            value = value / jax.lax.stop_gradient(scale)
        return value

    def product(self, text, actions):
        """Log of a printed product of powers of densities and an exponential of a sum."""
        total = jnp.zeros(actions.shape[:-1])
        powers, _, rest = text.partition("exp(")
        for factor in filter(None, powers.split(" · ")):
            density, power = groups(r"(π\S+?\(a(?:\|s)?\))(?:\^\((.+)\))?", factor)
            total += (1.0 if power is None else number(power)) * self.potential(f"log {density}", actions)
        for coefficient, symbol in summed(rest.removesuffix(")")) if rest else ():
            total += coefficient * self.potential(symbol, actions)
        return total

    def value(self, heads):
        """The printed loss of a policy, on average over the batch."""
        (step,) = groups(r".*, (an explicit|a forward-backward|a batch-and-match) step", self.loss)
        bare = re.sub(rf"minimise over π  (?:E_s\[ )?(.*?)(?: \])?, {step} step", r"\1", self.loss)
        if step == "a forward-backward":
            return self.proximal_gradient(bare, heads)
        if step == "a batch-and-match":
            return self.matched(bare, heads)
        if bare.startswith("Σ_k ω_k"):
            return self.transported(bare, heads)
        if bare.startswith("− min("):
            return self.weighted(bare, heads)
        assert bare.replace("(a_k|s)", "(a_k)") == "− Σ_k w_k log π(a_k)"
        weights, *power, ratio, points, limit = self.lines
        clipped = r"w_k ∝ ω_k min\((.+)/R, (.+)\), R = Σ_k ω_k \1, Σ_k w_k = 1"
        capped = re.fullmatch(clipped, weights)
        cap = capped[2] if capped else "inf"
        raised = capped[1] if capped else groups(r"w_k ∝ ω_k (.+), Σ_k w_k = 1", weights)[0]
        assert raised == ("r(a_k)^p" if power else "r(a_k)")
        if power:
            return self.split(power[0], ratio, points, float(cap), heads)
        (name,) = groups(r"a_k: .* of (π[^\s(,;]+)(?:\(·\|s\))?[,;].*", points)
        z, shares = self.points(points)
        reference = self.symbols.reference(name)
        actions = self.symbols.act(reference, z)
        log_r = self.product(ratio.removeprefix("r(a) = "), actions)
        (product,) = groups(r"π\S+ is the member of the family nearest to (.+) / Z, by maximum likelihood", limit)
        density = self.symbols.log_density(self.symbols.spec.policy, reference, actions)
        np.testing.assert_allclose(self.product(product, actions), log_r + density, rtol=1e-9, atol=1e-9)
        return self.likelihood(log_r, shares, actions, float(cap), heads)

    def likelihood(self, log_r, shares, actions, cap, heads):
        """Minus the log density of points, weighted."""
        ratios = jnp.exp(log_r) / (shares[:, None] * jnp.exp(log_r)).sum(0)
        w = shares[:, None] * jnp.minimum(ratios, cap)
        w = w / w.sum(0)
        return -(w * self.symbols.log_density(self.symbols.spec.policy, heads, actions)).sum(0).mean()

    def split(self, power, ratio, points, cap, heads):
        """The loss on points of the policy itself, with a power of the weights at which so many count."""
        (least,) = groups(
            r"p: the largest power, at most 1, at which \(Σ_k ω_k r\^p\)²/Σ_k ω_k r\^2p is (.+) or more: .*", power
        )
        (points,) = groups(
            r"(a_k: .* of π(?:\(·\|s\))?[,;].*); π: the policy as it is, held fixed in the weights", points
        )
        z, shares = self.points(points)
        actions = self.symbols.act(heads, z)
        log_now = self.symbols.log_density(self.symbols.spec.policy, heads, actions)
        text = re.sub(r" · π\(a(?:\|s)?\)\^\(−1\)", "", ratio.removeprefix("r(a) = "))
        assert text != ratio.removeprefix("r(a) = ")
        log_r = self.product(text, actions) - log_now
        powers = np.ones(log_r.shape[1])
        for row, logs in enumerate(np.asarray(log_r).T):

            def share(p, logs=logs):
                r = np.exp(p * (logs - logs.max()))
                return (shares @ r) ** 2 / (shares @ r**2)

            if share(1.0) < float(least):
                root: Any = scipy.optimize.brentq(lambda p: share(p) - float(least), 0.0, 1.0, xtol=1e-12)
                powers[row] = root
        found = self.likelihood(log_r * powers, shares, actions, cap, heads)
        self.tolerance = 1e-9 if (powers == 1).all() else 1e-4  # the power is found by halving 20 times
        return found

    def weighted(self, bare, heads):
        """The negative log-likelihood of the logged actions, weighted."""
        ratio, point, limit = self.lines
        (cap,) = groups(r"− min\(r\(a\), (.+)\) log π\(a\|s\)", bare)
        assert point == "a: the logged action of s, one of π_D(·|s)"
        ratio = ratio.removeprefix("r(a) = ")
        assert re.fullmatch(r"π\S+ is the member of the family nearest to (.+) / Z, by maximum likelihood", limit)
        assert f"nearest to π_D(a|s) · {ratio} / Z" in limit
        actions = self.symbols.batch.actions
        weights = jnp.minimum(jnp.exp(self.product(ratio, actions)), float(cap))
        return -(weights * self.symbols.log_density(self.symbols.spec.policy, heads)).mean()

    def transported(self, bare, heads):
        """Half the mean squared gap of moved points."""
        assert bare == "Σ_k ω_k |F_π(z_k) − a'_k|²/2"
        moved, *velocity, points = self.lines
        name = groups(r".*a_k = F_(π\S+)\(z_k\)", moved)[0]
        z, shares = self.points(points)
        actions = self.symbols.act(self.symbols.reference(name), z)
        aims = self.moved(moved, velocity, actions, shares)
        if "full covariance" in points and type(self.symbols.spec.policy).__name__ == "FullGaussianPolicy":
            z = self.turned(heads, self.symbols.reference(name), z, aims - actions, shares)
        elif "with the sign of" in points:
            centred = z - (shares[:, None, None] * z).sum(0)
            z = jnp.where((shares[:, None, None] * centred * aims).sum(0) < 0, -z, z)
        gaps = jnp.square(self.symbols.act(heads, z) - aims).sum(-1) / 2
        return (shares[:, None] * gaps).sum(0).mean()

    def proximal_gradient(self, bare, heads):
        """Half the squared distance from the Gaussian of a forward-backward step, by matrices and their roots."""
        assert bare == "W₂²(π, N(m⁺, S⁺))/2"
        mean, shape, moved, fit, velocity, points = self.lines
        length, name = groups(r"m⁺ = m \+ (.+) · g; (π\S+) = N\(m, S\)", mean)
        again, curved = groups(r"S' = M S M, M = I \+ (.+) · (diag\(H\)|H)", moved)
        assert again == length
        assert fit.startswith("g, H: v(a) ≈ g + H (a − m) by least squares over a_k with weights ω_k, H made symmetric")
        (potential,) = groups(r"v\(a\) = ∇ₐ\[(.+)\]", velocity)
        root = (
            r"S⁺ = \(S' \+ (.+) I \+ \(S' \(S' \+ (.+) I\)\)\^½\)/2: the step of the entropy, eigenvalue by eigenvalue"
        )
        twice, four = (0.0, 0.0) if shape == "S⁺ = S'" else map(number, groups(root, shape))
        z, shares = self.points(points)
        reference = self.symbols.reference(name)
        actions = self.symbols.act(reference, z)

        def total(a):
            return sum(c * self.potential(symbol, a).sum() for c, symbol in summed(potential))

        v, means, factors = np.asarray(jax.grad(total)(actions)), [], []
        for row, m in enumerate(np.asarray(reference.mean)):
            rows = np.sqrt(np.asarray(shares))[:, None]
            design = np.concatenate([np.ones_like(rows), np.asarray(actions[:, row]) - m], 1)
            g, *h = np.linalg.lstsq(rows * design, rows * v[:, row], rcond=None)[0]
            h, identity = np.array(h), np.eye(len(m))
            h = np.diag(np.diag(h)) if curved == "diag(H)" else (h + h.T) / 2
            s = (identity + number(length) * h) @ np.asarray(reference.factor[row])
            s = s @ s.T
            root = np.real(scipy.linalg.sqrtm(s @ (s + four * identity)))
            means.append(m + number(length) * g)
            factors.append(np.linalg.cholesky((s + twice * identity + root) / 2))
        aim = SimpleNamespace(mean=jnp.array(means), factor=jnp.array(factors), squashed=False)
        self.tolerance = 1e-7
        return self.symbols.w2(heads, aim).mean() / 2

    def matched(self, bare, heads):
        """KL from the Gaussian of a batch-and-match step, by roots of matrices."""
        assert bare == "KL(N(m⁺, S⁺) ‖ π)"
        mean, shape, sides, shorter, means, velocity, points = self.lines
        left, share, name = groups(r"m⁺ = (\S+) · m \+ (\S+) · \(S⁺ v̄ \+ ā\); (π\S+) = N\(m, S\)", mean)
        own = groups(r"S⁺ U S⁺ \+ S⁺ = V(; all of them diagonal)?", shape)[0] is not None
        length, again = groups(
            r"U = (\S+) · Cov\(v\) \+ (\S+) · v̄ v̄ᵀ, V = S \+ \1 · Cov\(a\) \+ \2 · \(m − ā\)\(m − ā\)ᵀ", sides
        )
        tau = number(length)
        assert again == share
        assert number(share) == pytest.approx(tau / (1 + tau), rel=1e-11)
        assert number(left) == pytest.approx(1 / (1 + tau), rel=1e-11)
        assert means == "ā, Cov(a), v̄, Cov(v): means and covariances over a_k with weights ω_k"
        most = groups(rf"{length} is quartered while the energy at a_k would rise by more than (\S+)", shorter)
        potential, heat = groups(r"v\(a\) = ∇ₐ\[(.+)\]/(\S+)", velocity)
        assert most == (heat,)
        z, shares = self.points(points)
        reference = self.symbols.reference(name)
        actions = self.symbols.act(reference, z)

        def total(a):
            return sum(c * self.potential(symbol, a).sum() for c, symbol in summed(potential))

        v, w, aims, factors = np.asarray(jax.grad(total)(actions)) / number(heat), np.asarray(shares), [], []
        for row, m in enumerate(np.asarray(reference.mean)):
            factor = np.asarray(reference.factor[row])
            (a_bar, a), (v_bar, slope) = (
                (w @ x[:, row], np.cov(x[:, row].T, aweights=w, ddof=0)) for x in (np.asarray(actions), v)
            )
            u = tau * slope + tau / (1 + tau) * np.outer(v_bar, v_bar)
            hold = factor @ factor.T + tau * a + tau / (1 + tau) * np.outer(m - a_bar, m - a_bar)
            u, hold = (np.diag(np.diag(x)) if own else x for x in (u, hold))
            root = np.real(scipy.linalg.sqrtm(np.eye(len(m)) + 4 * u @ hold))
            s = 2 * hold @ np.linalg.inv(np.eye(len(m)) + root)
            aims.append((m + tau * (s @ v_bar + a_bar)) / (1 + tau))
            factors.append(np.linalg.cholesky((s + s.T) / 2))
        factor = jnp.array(factors)
        aim = SimpleNamespace(mean=jnp.array(aims), factor=factor, std=jnp.diagonal(factor, axis1=1, axis2=2))
        self.tolerance = 1e-7
        return kl(aim, heads).mean()

    def particles(self):
        """Noise of a printed cloud and what becomes of it; what is printed of its times."""
        moved, *velocity, points, times = self.lines
        (count,) = groups(r"π is the law of a'_k, k = 1, …, (\d+), in each state, an explicit step", self.loss)
        assert points == f"z_k ~ N(0, I), anew whenever it is asked; ω_k = 1/{count}"
        z = jax.random.normal(self.key, (int(count), *self.symbols.p.mean.shape), float)
        actions = self.symbols.act(self.symbols.reference("π_β"), z)
        assert moved.endswith("a_k = F_π_β(z_k)")
        return z, self.moved(moved, velocity, actions, jnp.full(int(count), 1 / int(count))), times

    def moved(self, path, velocity, actions, shares):
        """Points [n, batch, act] after their moves, one written after the other."""
        v = self.velocity(velocity, shares)
        once = re.fullmatch(r"a'_k = a_k \+ (.+) · v\(a_k\), a_k = .*", path)
        if once:
            return actions + number(once[1]) * v(actions)
        adam = re.fullmatch(
            r"a'_k: a_k after (\d+) moves? by Adam of learning rate (\S+) along v(, clipped to ±1)?, .*", path
        )
        if adam:
            first = second = 0 * actions
            for t in range(1, int(adam[1]) + 1):
                g = v(actions)
                first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
                step = (first / (1 - 0.9**t)) / (jnp.sqrt(second / (1 - 0.999**t)) + 1e-8)
                actions = actions + number(adam[2]) * step
                actions = jnp.clip(actions, -1, 1) if adam[3] else actions
            return actions
        count, length, within = groups(
            r"a'_k: a_k after (\d+) moves? a_k ← a_k \+ (\S+) · v\(a_k\)(, clipped to ±1)?, a_k = .*", path
        )
        for _ in range(int(count)):
            actions = actions + number(length) * v(actions)
            actions = jnp.clip(actions, -1, 1) if within else actions
        return actions

    def velocity(self, lines, shares):
        """The printed velocity as a function of points."""

        def force(text):
            def total(a):
                return sum(c * self.potential(symbol, a).sum() for c, symbol in summed(text))

            return jax.grad(total)

        if len(lines) == 1:
            return force(groups(r"v\(a\) = ∇ₐ\[(.+)\]", lines[0])[0])
        along, inner, kernel = lines
        (heat,) = groups(r"v\(a\) = Σ_j ω_j \[κ\(a, a_j\) f\(a_j\) \+ (\S+) · ∇κ\(a_j, a\)\], ∇: in a_j", along)
        f = force(groups(r"f\(a\) = ∇ₐ\[(.+)\]", inner)[0])
        (width,) = groups(r"κ\(a, b\) = exp\(−\|a − b\|²/\(2 h² \+ 1e-6\)\), (.+)", kernel)

        def of_state(x, forces):
            squares = jnp.square(x[:, None] - x).sum(-1)
            given = re.fullmatch(r"h = (\S+)", width)
            if given:
                h = number(given[1]) ** 2
            else:
                (size,) = groups(r"h²: median of \|a_j − a_l\|² over all j, l / \(2 log (\d+)\)", width)
                h = jnp.median(squares) / (2 * np.log(int(size)))
            h = jax.lax.stop_gradient(h)
            kappa = lambda a, b: jnp.exp(-jnp.square(a - b).sum() / (2 * h + 1e-6))  # noqa: E731
            at = lambda a: sum(  # noqa: E731
                w * (kappa(a, b) * g + number(heat) * jax.grad(kappa)(b, a))
                for w, b, g in zip(shares, x, forces, strict=True)
            )
            return jnp.stack([at(a) for a in x])

        return lambda points: jnp.swapaxes(
            jax.vmap(of_state)(jnp.swapaxes(points, 0, 1), jnp.swapaxes(f(points), 0, 1)), 0, 1
        )

    def turned(self, heads, reference, z, change, shares):
        """Points after the rotation O that brings them nearest to a linear map of a Gaussian reference."""
        mean = lambda x: (shares[:, None, None] * x).sum(0)  # noqa: E731
        fitted = []
        for row in range(z.shape[1]):
            x, y = (np.sqrt(np.asarray(shares))[:, None] * np.asarray(v - mean(v))[:, row] for v in (z, change))
            fitted.append(np.linalg.lstsq(x, y, rcond=None)[0].T)
        left, _, right = jnp.linalg.svd(jnp.swapaxes(heads.factor, -1, -2) @ (reference.factor + np.array(fitted)))
        return jnp.einsum("bij,nbj->nbi", left @ right, z)
