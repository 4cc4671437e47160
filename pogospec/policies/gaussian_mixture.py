"""Gaussian mixture policies: weights, means and log-stds of K components are heads of one network."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from pogospec.geometries.base import Formula, Seen, divergence, estimate
from pogospec.nets import MLP, Activation, Init, LayerNorm, Linear, mlp
from pogospec.policies.base import AbstractPolicy, ActionChoice, DiagonalNormal, FullNormal, Point, Sample, normals
from pogospec.policies.heads import LogStdBounds, StdMap, bounded, unbounded
from pogospec.policies.mixtures import Mixture, standardised, transport_cost
from pogospec.spec.fields import Increasing, Within
from pogospec.targets.base import log_volume
from pogospec.types import Actions, Key, Observations, Space, Values

APART = 0.3
"""Share of the std of a placed mixture that lies between its components."""


class GaussianMixturePolicy(AbstractPolicy):
    """Mixture of Gaussians with independent dimensions; actions are clipped to the bounds where they are used."""

    parameter_type: ClassVar[type] = Mixture
    has_density: ClassVar[bool] = True
    looks: ClassVar[tuple[str, ...]] = ("mean", "sample")

    components: Annotated[int, Within(ge=1, le=64), "Gaussians in each state"] = 5
    action: Annotated[
        Literal["mean", "heaviest"], "the mean action: of the mixture, or of the component of the largest weight"
    ] = "mean"
    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    mean: Annotated[Literal["tanh", "linear"], "squashing of the means"] = "tanh"
    log_std: Annotated[LogStdBounds, Within(ge=-20.0, le=10.0), Increasing(), "bounds of the log-stds"] = (-5.0, 2.0)
    log_std_map: Annotated[StdMap, "clamp: hard bounds, no gradient outside; tanh: squashed into them"] = "clamp"
    logit: Annotated[
        float,
        Within(gt=0.0, le=50.0),
        "bound of the logits, b tanh(x/b): no weight is below exp(-2 b) times another, so that none is lost",
    ] = 5.0
    entropy_samples: Annotated[int, Within(ge=1), "samples of each component for the entropy"] = 4
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"

    def init(self, key: Key, space: Space) -> MLP:
        """A network whose components differ from the first: biases of their means are drawn from U(-1, 1)."""
        each = self.components * space.act_dim
        outputs = self.components + 2 * each
        net = mlp(
            key, space.obs_dim, self.hidden, outputs, self.layer_norm, self.initialization, activation=self.activation
        )
        last = net.layers[-1]
        apart = jax.random.uniform(jax.random.fold_in(key, 1), (each,), minval=-1.0, maxval=1.0)
        bias = last.bias.at[self.components : self.components + each].set(apart)
        return net.ending(Linear(last.weight, bias, last.rounded))

    def parameters(self, network: MLP, observations: Observations) -> Mixture:
        """Logits within their bound, means after their squashing, log-stds within their bounds."""
        out = network(observations, self.layer_norm)
        logits, rest = out[..., : self.components], out[..., self.components :]
        means, log_stds = (
            half.reshape(*half.shape[:-1], self.components, half.shape[-1] // self.components)
            for half in jnp.split(rest, 2, -1)
        )
        means = jnp.tanh(means) if self.mean == "tanh" else means
        logits = self.logit * jnp.tanh(logits / self.logit)
        return Mixture(logits, means, bounded(log_stds, self.log_std, self.log_std_map))

    def placed(self, network: MLP, mean: Sequence[float], std: Sequence[float]) -> MLP:
        """Equal components around the mean, 0.3 std apart in mean square, so that they can part; the std is `std`."""
        centre, width = jnp.asarray(mean), jnp.asarray(std)
        apart = standardised(self.components, len(centre), jax.random.key(0)) * (self.components > 1)
        means = centre + APART * width * apart
        means = jnp.arctanh(means) if self.mean == "tanh" else means
        own = width * jnp.sqrt(1 - APART**2 * (self.components > 1))
        log_stds = jnp.broadcast_to(unbounded(jnp.log(own), self.log_std, self.log_std_map), means.shape)
        return network.placed(jnp.concatenate([jnp.zeros(self.components), means.ravel(), log_stds.ravel()]))

    def fit_loss(self, parameters: Mixture, actions: Actions, key: Key) -> Values:
        """Negative log-likelihood in nats."""
        return -self.log_likelihood(parameters, actions)

    def log_likelihood(self, parameters: Mixture, actions: Actions) -> Values:
        """Log density in nats."""
        return parameters.log_density(actions)

    def entropy(self, parameters: Mixture, key: Key) -> Values:
        """Entropy in nats, by samples of each component that count by their weights."""
        return -averaged(parameters, self.entropy_samples, key, parameters.log_density)

    def average(
        self, choice: ActionChoice, function: Callable[[Actions], Values], parameters: Mixture, key: Key
    ) -> Values:
        """The mean of a function; by samples of each component, which tell the weights what each is worth."""
        if isinstance(choice, Sample):
            return averaged(parameters, choice.sample, key, function)
        return super().average(choice, function, parameters, key)

    def reads(self, meaning: str) -> str:
        """Samples are those of each component."""
        return re.sub(r"(samples?) of π\(·\|s\)", r"\1 of each component of π(·|s), averaged by its weight", meaning)

    def remarks(self) -> list[tuple[str, str]]:
        """How components begin, what bounds them, and what samples can tell."""
        low, high = self.log_std
        count = self.entropy_samples
        return [
            ("components", "their means begin apart, by biases drawn from U(-1, 1) before any squashing"),
            ("log-std", f"log σ of each component in [{low:g}, {high:g}]; logits in ±{self.logit:g}, by tanh"),
            ("entropy", f"by {count} sample{'s' * (count > 1)} of each component, which count by their weights"),
            (
                "samples",
                "geometries by samples take quantiles, each dimension given those before it; the gradients of the "
                "weights by implicit reparameterisation are noisy where components are far apart",
            ),
        ]

    def mean_action(self, parameters: Mixture) -> Actions:
        """The mean of each row, or that of its heaviest component."""
        if self.action == "mean":
            return parameters.mean
        heaviest = parameters.logits.argmax(-1)[..., None, None]
        return jnp.take_along_axis(parameters.means, heaviest, -2)[..., 0, :]


def averaged(parameters: Mixture, count: int, key: Key, function: Any) -> Values:
    """E f(a) by `count` samples of each component; no component is chosen, so that gradients have no part missing."""
    z = jax.random.normal(key, (count, *parameters.means.shape), parameters.means.dtype)
    actions = jnp.moveaxis(parameters.of_components(z), -2, 1)
    values = jnp.moveaxis(function(actions).mean(0), 0, -1)
    return (jnp.exp(parameters.log_weights) * values).sum(-1)


def _log_density(parameters: Any, actions: Actions) -> Values:
    return (
        parameters.log_density(actions)
        if isinstance(parameters, Mixture)
        else parameters.distribution().log_prob(actions)
    )


def _kl(geometry: Any, p: Any, q: Any, seen: Seen) -> Values:
    """KL of the geometry's direction, by samples of its first distribution."""
    p, q = (p, q) if geometry.direction == "policy_to_reference" else (q, p)
    gap = lambda actions: _log_density(p, actions) - _log_density(q, actions)  # noqa: E731
    if isinstance(p, Mixture):
        return averaged(p, geometry.samples, seen.key, gap)
    return gap(p.at(normals(p, geometry.samples, seen.key))).mean(0)


def _components(parameters: Any) -> tuple[Any, Any, Any]:
    """Weights, means and stds [..., K, act] of a mixture, a Gaussian or a point."""
    if isinstance(parameters, Mixture):
        return jnp.exp(parameters.log_weights), parameters.means, jnp.exp(parameters.log_stds)
    mean = parameters.mean[..., None, :]
    std = jnp.exp(parameters.log_std)[..., None, :] if isinstance(parameters, DiagonalNormal) else 0 * mean
    return jnp.ones_like(mean[..., 0]), mean, std


def _wasserstein2(geometry: Any, p: Any, q: Any) -> Values:
    """MW2 (Delon and Desolneux 2020): the least transport of components, at W2^2 of each pair; an upper bound of W2^2.

    Exact where one side is a point.
    """
    (first, means, stds), (second, others, widths) = _components(p), _components(q)
    squares = jnp.square(means[..., :, None, :] - others[..., None, :, :])
    costs = geometry.reduce(squares + jnp.square(stds[..., :, None, :] - widths[..., None, :, :]))
    if 1 in costs.shape[-2:]:
        return (first[..., :, None] * second[..., None, :] * costs).sum((-2, -1))
    return transport_cost(costs, first, second)


def _kl_written(geometry: Any, formula: Formula) -> Formula:
    text, latex, meaning = formula
    how = f"by {geometry.samples} samples of the first distribution, of each component of a mixture"
    return text, latex, meaning.replace("in closed form", how)


def _wasserstein2_written(geometry: Any, formula: Formula) -> Formula:
    text, latex, meaning = formula
    words = "MW₂: the least transport of components at W₂² of the pairs, an upper bound of the 2-Wasserstein distance"
    others = meaning.split("; ")[1:]
    return text.replace("W₂", "MW₂"), latex.replace("W_2", r"\mathrm{MW}_2"), "; ".join([words, *others])


for _pair in itertools.product((Mixture, DiagonalNormal, FullNormal), repeat=2):
    if Mixture in _pair:
        estimate("kl", *_pair, written=_kl_written)(_kl)
for _pair in itertools.product((Mixture, DiagonalNormal, Point), repeat=2):
    if Mixture in _pair:
        _words = None if Point in _pair else _wasserstein2_written
        divergence("wasserstein2", *_pair, written=_words)(_wasserstein2)


@log_volume.register
def _(parameters: Mixture, z):
    """The density of normals over that of their actions."""
    rows = z.reshape(len(z), *(1,) * (parameters.logits.ndim - 1), z.shape[-1])
    normal = (-jnp.square(rows) / 2 - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)
    return normal - parameters.log_density(parameters.at(rows))
