"""Reads printed explicit steps, and evaluates their losses from nothing but their lines."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from printed import groups, number, summed


class Printed:
    """An explicit step as printed; `symbols` are those of its stage, `place` is that of its advantage in the energy.

    `equal`: pairs of arrays that the lines say are the same.
    """

    def __init__(self, text, symbols, key, place=0):
        self.symbols, self.key, self.place = symbols, key, place
        self.loss, *self.lines = text.split("\n")
        self.equal = []

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
        bare = re.sub(r"minimise over π  (?:E_s\[ )?(.*?)(?: \])?, an explicit step", r"\1", self.loss)
        if bare.startswith("Σ_k ω_k"):
            return self.transported(bare, heads)
        if bare.startswith("− min("):
            return self.weighted(bare, heads)
        assert bare.replace("(a_k|s)", "(a_k)") == "− Σ_k w_k log π(a_k)"
        weights, ratio, points, limit = self.lines
        (cap,) = groups(r"w_k ∝ ω_k min\(r\(a_k\)/R, (.+)\), R = Σ_k ω_k r\(a_k\), Σ_k w_k = 1", weights)
        (name,) = groups(r"a_k: .* of (π[^\s(,;]+)(?:\(·\|s\))?[,;].*", points)
        z, shares = self.points(points)
        reference = self.symbols.reference(name)
        actions = self.symbols.act(reference, z)
        log_r = self.product(ratio.removeprefix("r(a) = "), actions)
        (product,) = groups(r"π\S+ is the member of the family nearest to (.+) / Z, by maximum likelihood", limit)
        density = self.symbols.log_density(self.symbols.spec.policy, reference, actions)
        self.equal.append((self.product(product, actions), log_r + density))
        ratios = jnp.exp(log_r) / (shares[:, None] * jnp.exp(log_r)).sum(0)
        w = shares[:, None] * jnp.minimum(ratios, float(cap))
        w = w / w.sum(0)
        return -(w * self.symbols.log_density(self.symbols.spec.policy, heads, actions)).sum(0).mean()

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
        return -(weights * self.symbols.log_density(self.symbols.spec.policy, heads, actions)).mean()

    def transported(self, bare, heads):
        """Half the mean squared gap of moved points."""
        assert bare == "Σ_k ω_k |F_π(z_k) − a'_k|²/2"
        moved, velocity, points = self.lines
        length, name = groups(r"a'_k = a_k \+ (.+) · v\(a_k\), a_k = F_(π\S+)\(z_k\)", moved)
        (potential,) = groups(r"v\(a\) = ∇ₐ\[(.+)\]", velocity)
        z, shares = self.points(points)
        actions = self.symbols.act(self.symbols.reference(name), z)

        def total(a):
            return sum(c * self.potential(symbol, a).sum() for c, symbol in summed(potential))

        aims = actions + number(length) * jax.grad(total)(actions)
        if "full covariance" in points and type(self.symbols.spec.policy).__name__ == "FullGaussianPolicy":
            z = self.turned(heads, self.symbols.reference(name), z, aims - actions, shares)
        gaps = jnp.square(self.symbols.act(heads, z) - aims).sum(-1) / 2
        return (shares[:, None] * gaps).sum(0).mean()

    def turned(self, heads, reference, z, change, shares):
        """Points after the rotation O that brings them nearest to their aims, by moments of the Gaussian reference."""
        moments = reference.factor + jnp.einsum("n,nbi,nbj->bij", shares, change, z)
        left, _, right = jnp.linalg.svd(jnp.swapaxes(heads.factor, -1, -2) @ moments)
        return jnp.einsum("bij,nbj->nbi", left @ right, z)
