"""What a policy family is: networks that put out the parameters of an action distribution.

`Point`, `DiagonalNormal`, `FullNormal`, `LowRankNormal` and `TanhNormal` are parameter types: what networks put out,
what natural gradients act on, what crosses a `vmap`. The table of geometries is keyed by them; a NumPyro distribution
is made from them where one is needed.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions.util import validate_sample

from pogospec.roots import plus_one, rooted
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Observations, Params, Space, Values

ATANH_MARGIN = 1e-6
"""Actions are kept this far inside their bounds where the pre-squash action is recovered from them."""
STEEPEST = 36.0
"""Log of the largest d u/d tanh(u) that enters a gradient, so that its square is a float32."""
REACH, PANEL_NODES = 8.5, 6
BENDS = (-13.0, -7.0, -3.5, -1.5, 0.0, 1.5, 3.5, 7.0, 13.0)
"""Pre-activations between which tanh is smooth at the nodes of a panel; outside it is +-1 to 1e-11."""


class Sample(eqx.Module):
    """Expectations over a policy by Monte Carlo."""

    sample: Annotated[int, Within(ge=1), "actions a state"]


ActionChoice = Literal["mean", "quadrature"] | Sample
"""Where a term looks at a policy: its mean action, a cubature exact for quadratics, or reparameterised samples."""


def normals(parameters: Any, count: int, key: Key) -> Float[Array, "count *batch noise"]:
    """Standard normal numbers that `at` of the parameters makes `count` actions of in each row.

    Their shape in a row and their type are those of `parameters.noise` where a type has it, else those of its mean.
    """
    like = noise_of(parameters)
    return jax.random.normal(key, (count, *like.shape), like.dtype)


def noise_of(parameters: Any) -> Any:
    """Something of the shape [*batch, noise] and the type of what `at` takes."""
    return parameters.noise if hasattr(parameters, "noise") else parameters.mean


def inside(actions: Actions) -> Actions:
    """Actions clipped to [-1, 1], with their whole gradient up to the bounds, where points that are clipped lie."""
    return jnp.where(jnp.abs(actions) <= 1, actions, jnp.clip(jax.lax.stop_gradient(actions), -1.0, 1.0))


def row_of(parameters: Any, index: int) -> Any:
    """Parameters of one row of a batch."""
    return parameters.row(index) if hasattr(parameters, "row") else jax.tree.map(lambda leaf: leaf[index], parameters)


class Point(NamedTuple):
    """A Dirac at `mean` [..., act]."""

    mean: Actions

    def distribution(self) -> dist.Distribution:
        """The Dirac measure as a NumPyro Delta."""
        return dist.Delta(self.mean, event_dim=1)

    def at(self, z: Actions) -> Actions:
        """Actions at any noise z; the point itself."""
        rows = jnp.broadcast_shapes(z.shape[:-1], self.mean.shape[:-1])
        return jnp.broadcast_to(self.mean, (*rows, self.mean.shape[-1]))


class DiagonalNormal(NamedTuple):
    """A Gaussian with independent dimensions; `mean` and `log_std` [..., act]."""

    mean: Actions
    log_std: Actions

    def distribution(self) -> dist.Distribution:
        """The NumPyro distribution over actions."""
        return dist.Normal(self.mean, jnp.exp(self.log_std)).to_event(1)

    def at(self, z: Actions) -> Actions:
        """Quantiles at standard normal quantiles z, dimension by dimension."""
        return self.mean + jnp.exp(self.log_std) * z


class FullNormal(NamedTuple):
    """A Gaussian with covariance L L^T; `mean`, `log_diagonal` [..., act] and `lower` [..., act (act - 1) / 2].

    L is the lower Cholesky factor. exp(log_diagonal) is the std of each action given those before it; `lower` holds
    the entries of L below its diagonal row by row, in the units of actions.
    """

    mean: Actions
    log_diagonal: Actions
    lower: Float[Array, "*batch below"]

    def factor(self) -> Float[Array, "*batch act act"]:
        """The factor L of the covariance L L^T."""
        return triangle(jnp.exp(self.log_diagonal), self.lower)

    def distribution(self) -> dist.Distribution:
        """The NumPyro distribution over actions."""
        return dist.MultivariateNormal(self.mean, scale_tril=self.factor())

    def at(self, z: Actions) -> Actions:
        """The action mean + L z of standard normal z."""
        return self.mean + (self.factor() @ z[..., None])[..., 0]


class LowRankNormal(NamedTuple):
    """A Gaussian of covariance D (I + A A^T) D, D the diagonal of exp(log_std): `mean`, `log_std` [..., act].

    `loadings` [..., act, rank]: A, in units of D. Actions are D (I + A A^T)^(1/2) z of standard normal z.
    """

    mean: Actions
    log_std: Actions
    loadings: Float[Array, "*batch act rank"]

    def distribution(self) -> dist.Distribution:
        """The NumPyro distribution over actions."""
        std = jnp.exp(self.log_std)
        return dist.LowRankMultivariateNormal(self.mean, std[..., None] * self.loadings, jnp.square(std))

    def at(self, z: Actions) -> Actions:
        """The action of standard normal z, by the symmetric root of I + A A^T."""
        return self.mean + jnp.exp(self.log_std) * rooted(self.loadings, z)

    def factor(self) -> Float[Array, "*batch act act"]:
        """The factor D (I + A A^T)^(1/2) of the covariance, whole."""
        axes = jnp.eye(self.mean.shape[-1], dtype=self.mean.dtype)
        columns = axes.reshape(-1, *(1,) * (self.mean.ndim - 1), len(axes))
        return jnp.exp(self.log_std)[..., None] * jnp.moveaxis(rooted(self.loadings, columns), 0, -1)

    def whole(self) -> FullNormal:
        """The same Gaussian by its Cholesky factor, of cubic cost."""
        identity = jnp.eye(self.mean.shape[-1], dtype=self.mean.dtype)
        root = jnp.linalg.cholesky(identity + self.loadings @ jnp.swapaxes(self.loadings, -1, -2))
        diagonal = jnp.diagonal(root, axis1=-2, axis2=-1)
        lower = below(jnp.exp(self.log_std)[..., None] * root)
        return FullNormal(self.mean, self.log_std + jnp.log(diagonal), lower)

    def log_volume(self) -> Values:
        """Log |det| of the factor."""
        return self.log_std.sum(-1) + jnp.linalg.slogdet(plus_one(self.loadings))[1] / 2


def coupled(parameters: Any, reference: Any, z: Actions, change: Actions, shares: Values) -> Actions:
    """Actions at standard normal z [n, ..., act], for comparison with those of a reference there plus `change`.

    Independent dimensions are known up to the sign of z, a factor of a full covariance up to a rotation: taken is what
    brings the actions nearest to their aims, so that a map which turns the reference over does not flatten the policy.
    The rotation is that of the linear map nearest to the change, by least squares over the points with `shares` [n], so
    that a linear map of a Gaussian reference is seen whole in more points than dimensions, and no change turns nothing.
    """
    aims = reference.at(z) + change
    weights = shares.reshape(-1, *(1,) * (z.ndim - 1))
    centred, aims, moved = (x - (weights * x).sum(0) for x in (z, aims, change))
    if hasattr(parameters, "noise"):  # maps of any shape, whose signs mean nothing
        return parameters.at(z)
    if not hasattr(parameters, "factor"):  # a matrix
        return parameters.at(jnp.where((weights * centred * aims).sum(0) < 0, -z, z))
    size = z.shape[-1]
    axes = jnp.eye(size, dtype=z.dtype).reshape(size, *(1,) * (z.ndim - 2), size)
    moments = jnp.moveaxis(reference.at(axes) - reference.at(0 * axes), 0, -1)
    spread = jnp.einsum("n,n...i,n...j->...ij", shares, centred, centred)
    slopes = jnp.einsum("n,n...i,n...j->...ij", shares, moved, centred)
    moments += slopes @ jnp.linalg.pinv(spread, rtol=1e-3, hermitian=True)
    turned = jnp.swapaxes(parameters.factor(), -1, -2) @ moments
    left, _, right = jnp.linalg.svd(jax.lax.stop_gradient(turned))
    return parameters.at(((left @ right) @ z[..., None])[..., 0])


def triangle(diagonal: Actions, lower: Float[Array, "*batch below"]) -> Float[Array, "*batch act act"]:
    """A lower triangular matrix from its diagonal and its entries below, row by row."""
    size = diagonal.shape[-1]
    places = np.full((size, size), size + lower.shape[-1])
    np.fill_diagonal(places, np.arange(size))
    places[np.tril_indices(size, -1)] = size + np.arange(lower.shape[-1])
    return jnp.concatenate([diagonal, lower, jnp.zeros_like(diagonal[..., :1])], -1)[..., places]


def below(matrix: Float[Array, "*batch act act"]) -> Float[Array, "*batch below"]:
    """The entries of a matrix below its diagonal, row by row."""
    rows, columns = np.tril_indices(matrix.shape[-1], -1)
    return matrix[..., rows, columns]


class TanhNormal(NamedTuple):
    """tanh of a Gaussian with independent dimensions; `mean` and `log_std` [..., act] are those before the tanh."""

    mean: Actions
    log_std: Actions

    def distribution(self) -> dist.Distribution:
        """The NumPyro distribution over actions in (-1, 1)."""
        return TanhNormalDistribution(self.mean, self.log_std)

    def at(self, z: Actions) -> Actions:
        """Quantiles at standard normal quantiles z, dimension by dimension."""
        return jnp.tanh(self.before(z))

    def before(self, z: Actions) -> Actions:
        """The pre-activations of `at`, which an action near a bound no longer tells."""
        return self.mean + jnp.exp(self.log_std) * z


class TanhNormalDistribution(dist.Distribution):
    """tanh of a diagonal Gaussian, whose samples come with their pre-activation.

    log |d tanh(u)/du| = 2 (log 2 - u - softplus(-2 u)) is finite for every u; `log_prob` recovers u from an action,
    which is kept 1e-6 inside the bounds, so that it is finite at the bounds too.
    """

    arg_constraints: ClassVar[dict] = {"loc": dist.constraints.real_vector, "log_scale": dist.constraints.real_vector}
    support: Any = dist.constraints.independent(dist.constraints.interval(-1.0, 1.0), 1)
    reparametrized_params = ["loc", "log_scale"]

    def __init__(self, loc: Actions, log_scale: Actions, *, validate_args: bool | None = None):
        self.loc, self.log_scale = loc, log_scale
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def sample_with_intermediates(self, key: Key | None, sample_shape: tuple[int, ...] = ()) -> Any:
        """Actions [*sample_shape, ..., act] and, as the one intermediate, their pre-activations."""
        assert key is not None
        z = jax.random.normal(key, sample_shape + self.loc.shape, self.loc.dtype)
        before = self.loc + jnp.exp(self.log_scale) * z
        return jnp.tanh(before), [before]

    def sample(self, key: Key | None, sample_shape: tuple[int, ...] = ()) -> Any:
        """Actions [*sample_shape, ..., act]."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    @validate_sample
    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        """Log density in nats, summed over action dimensions; `intermediates`: the pre-activations of the actions."""
        inside = jnp.clip(value, -1 + ATANH_MARGIN, 1 - ATANH_MARGIN)
        before = intermediates[0] if intermediates else jnp.arctanh(inside)
        normal = dist.Normal(self.loc, jnp.exp(self.log_scale)).log_prob(before)
        return (normal - log_slope(before)).sum(-1)


def log_slope(before: Array) -> Array:
    """Log |d tanh(u)/du| = log sech^2(u), without overflow."""
    return 2 * (jnp.log(2.0) - before - jax.nn.softplus(-2 * before))


def unsquashed(before: Array, actions: Array) -> Array:
    """Pre-activations of tanh as a function of their actions, to first order."""
    slope = jnp.exp(jnp.minimum(-log_slope(before), STEEPEST))
    return before + slope * (actions - jax.lax.stop_gradient(actions))


def panels(*squashed: TanhNormal) -> tuple[Array, Array]:
    """Standard normal nodes and their weights, [n, ..., act] each, for means of functions of tanh(mean + std z).

    Composite Gauss-Legendre rules whose panels meet where each tanh bends and where it has become flat, so that narrow
    and wide ones are seen alike: for functions that are smooth otherwise and of the growth of z^2 the error is below
    1e-6 of their size at any mean and std. Nodes are held fixed in gradients, which are as good.
    """
    shape = jnp.broadcast_shapes(*(p.mean.shape for p in squashed))
    edges = jnp.linspace(-REACH, REACH, 10, dtype=squashed[0].mean.dtype)
    cuts = [jnp.broadcast_to(edges.reshape(-1, *(1,) * len(shape)), (len(edges), *shape))]
    for p in squashed:
        bends = jnp.asarray(BENDS, p.mean.dtype).reshape(-1, *(1,) * len(shape))
        cuts.append(jnp.clip((bends - p.mean) * jnp.exp(-p.log_std), -REACH, REACH))
    edges = jnp.sort(jax.lax.stop_gradient(jnp.concatenate(cuts)), 0)
    nodes, weights = np.polynomial.legendre.leggauss(PANEL_NODES)
    nodes, weights = (jnp.asarray(x, edges.dtype).reshape(-1, 1, *(1,) * len(shape)) for x in (nodes, weights))
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    z = (middle + half * nodes).reshape(-1, *shape)
    shares = (half * weights).reshape(-1, *shape) * jnp.exp(-jnp.square(z) / 2)
    return z, shares / shares.sum(0)


class AbstractPolicy(eqx.Module):
    """A policy family; its fields are configuration, its networks come from `init`."""

    parameter_type: ClassVar[type]
    has_density: ClassVar[bool]
    looks: ClassVar[tuple[str, ...]] = ("mean", "quadrature", "sample")  # where a term may look at it: `ActionChoice`
    borrows: ClassVar[bool] = False  # whether its networks are those of behaviour and critic, and a step makes it whole
    slot: ClassVar[str] = "policy"  # in which it is registered

    @abc.abstractmethod
    def init(self, key: Key, space: Space) -> Params:
        """Fresh networks."""

    @abc.abstractmethod
    def parameters(self, network: Params, observations: Observations) -> Any:
        """Parameters of the action distributions, in actions scaled to [-1, 1]."""

    @abc.abstractmethod
    def fit_loss(self, parameters: Any, actions: Actions, key: Key) -> Values:
        """Loss of fitting logged actions, one value a row; `key`: of the samples that it may take."""

    @abc.abstractmethod
    def mean_action(self, parameters: Any) -> Actions:
        """The action of each row that stands for its distribution, not clipped."""

    def placed(self, network: Params, mean: Sequence[float], std: Sequence[float]) -> Params:
        """The network whose distribution is the Gaussian with these moments (a Dirac: at the mean), in every state.

        Flows on known energies start there; a family without it has none of them.
        """
        raise NotImplementedError

    def assigned(self, network: Params, parameters: Any) -> Params:
        """The network whose distribution has these parameters [act] in every state; of families with closed steps."""
        raise NotImplementedError

    @classmethod
    def can_be_placed(cls) -> bool:
        """Whether flows on known energies may use the family."""
        return cls.placed is not AbstractPolicy.placed

    def noise_dimensions(self) -> int | None:
        """Dimensions of the noise that `at` of its parameters takes; None: those of the action, whatever they are."""
        return None

    def remarks(self) -> list[tuple[str, str]]:
        """What the family does that none of its keys says, for people: pairs of a topic and a text."""
        return []

    def log_likelihood(self, parameters: Any, actions: Actions) -> Values:
        """Log density of logged actions in nats, one value a row.

        A family whose parameters have `before(z)` is given, as a third argument, the pre-activations of actions that
        are no logged ones.
        """
        return parameters.distribution().log_prob(actions)

    def mean_square(self, parameters: Any) -> Values:
        """E |a|^2 of each row, exact for Gaussians."""
        return jnp.square(self.actions("quadrature", parameters, jax.random.key(0))).sum(-1).mean(0)

    def entropy(self, parameters: Any, key: Key) -> Values:
        """Entropy in nats, one value a row."""
        return parameters.distribution().entropy()

    def actions(self, choice: ActionChoice, parameters: Any, key: Key) -> Float[Array, "points *batch act"]:
        """Equally weighted actions over which a function is averaged, not clipped; differentiable."""
        if choice == "mean":
            return self.mean_action(parameters)[None]
        if choice == "quadrature":
            # 2 act points: exact for polynomials of degree 3 (Stroud, En^r2 3-1)
            size = parameters.mean.shape[-1]
            axes = jnp.sqrt(jnp.asarray(size, parameters.mean.dtype)) * jnp.eye(size, dtype=parameters.mean.dtype)
            z = jnp.concatenate([axes, -axes]).reshape(-1, *(1,) * (parameters.mean.ndim - 1), size)
        else:
            z = normals(parameters, choice.sample, key)
        return parameters.at(z)

    def average(self, choice: ActionChoice, function: Callable[[Actions], Values], parameters: Any, key: Key) -> Values:
        """The mean of a function [..., act] -> [...] over `actions`, for each row."""
        actions = self.actions(choice, parameters, key)
        if len(actions) == 1:
            return function(actions[0])  # matrix products of two dimensions are faster
        return function(actions).mean(0)

    def reads(self, meaning: str) -> str:
        """What the symbols of a term mean, as they read for this family."""
        return meaning

    def sample(self, parameters: Any, key: Key) -> Actions:
        """One action a row, not clipped."""
        return self.actions(Sample(1), parameters, key)[0]

    def sample_noise(self, parameters: Any, key: Key) -> Float[Array, "*batch *noise"]:
        """The standard normal numbers of each row that `sample` draws by this key."""
        return normals(parameters, 1, key)[0]

    def at_noise(self, parameters: Any, z: Float[Array, "*batch *noise"]) -> Actions:
        """One action a row, not clipped, as a function of what `sample_noise` draws; nothing else in it is random."""
        return parameters.at(z)

    def alone(self, parameters: Any) -> Actions:
        """The mean action of each row as if it were the only one, which a batch may change: see `ParticlesPolicy`."""
        return self.mean_action(parameters)

    def scored(self, parameters: Any, key: Key, count: int) -> tuple[Float[Array, "count *batch act"], Values]:
        """The actions of `Sample(count)`, not clipped, and their log densities in nats [count, *batch]."""
        actions = self.actions(Sample(count), parameters, key)
        if not hasattr(parameters, "before"):
            return actions, self.log_likelihood(parameters, actions)
        z = normals(parameters, count, key)
        return actions, self.log_likelihood(parameters, actions, parameters.before(z))  # type: ignore[call-arg]
