"""Every policy family in every format: the file, read by its own loader, acts as the policy does."""

import functools
import runpy

import jax
import numpy as np
import pytest

from pogospec import registry
from pogospec.critics.clipped_double_q import ClippedDoubleQ
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.errors import UsageError
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.carried import CarriedParticles
from pogospec.policies.gaussian_mixture import GaussianMixturePolicy
from pogospec.policies.particles import ParticlesPolicy
from pogospec.policies.transport_map import Average, TransportMapPolicy
from pogospec.runs.saved import SavedPolicy
from pogospec.shipping.formats.base import Deed, Input, format_of
from pogospec.steps.explicit import Explicit
from pogospec.types import Normalizer, Space

SPACE = Space(5, 3, (-2.0, 0.0, -1.0), (0.5, 3.0, 1.0))
HALF = (np.array(SPACE.high) - np.array(SPACE.low)) / 2
FORMATS = tuple(registry.table("export"))
ACTIONS = ("mean", "sample")
ROWS = 300


def family(kind: str):
    """A small policy of a kind, whose every part is in use."""
    cls = registry.load("policy", kind)
    if kind == "normalizing_flow":  # as wide as policies are; rounding in splines of ±5 is 3e-6 times its width
        return cls(hidden=(16,), conditioner=(16,), layers=2, log_std=(-5.0, -2.0))
    if not cls.borrows:
        return cls(hidden=(16, 16))
    scheme = Explicit(kernel="stein", moves=2, bound="clip")
    energy = {"q": QTerm(), "entropy": EntropyTerm(weight=0.1)}
    behavior = GaussianMixturePolicy(hidden=(16,), components=2)
    return CarriedParticles(
        ParticlesPolicy(count=4), behavior, ClippedDoubleQ(hidden=(16,)), energy, Wasserstein2(), scheme, 0.5
    )


MORE = {
    "transport_map, averaged": TransportMapPolicy(hidden=(16,), noise=2, action=Average(5), layer_norm="before"),
    "gaussian_mixture, heaviest": GaussianMixturePolicy(hidden=(16,), action="heaviest", activation="gelu"),
}
KINDS = (*registry.table("policy"), *MORE)


@functools.cache
def saved(kind: str, double: bool = False) -> SavedPolicy:
    """A fresh policy of one seed, which standardises observations far from 0."""
    policy = MORE.get(kind) or family(kind)
    network = jax.jit(lambda key: policy.init(key, SPACE))(jax.random.key(3))
    mean, scale = np.array([30.0, -2.0, 0.1, 0.0, 5.0]), np.array([9.0, 0.5, 0.01, 1.0, 2.0])
    kinds = np.float64 if double else np.float32
    with jax.enable_x64(double):
        network = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf[None], kinds), network)
    return SavedPolicy(policy, network, Normalizer(mean.astype(kinds), scale.astype(kinds)), SPACE)


def observations() -> np.ndarray:
    normalizer = saved("dirac").normalizer
    return normalizer.mean + normalizer.scale * np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float32)


@functools.cache
def acted(kind: str, action: str, double: bool = False) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """What a policy does, by the door that rollouts use, and what a file is given for the same."""
    policy, rows = saved(kind, double), observations()
    act = policy.batched(action, 0)
    if action == "mean":
        alone = policy.family.borrows  # in a batch it acts otherwise
        actions = np.concatenate([act(row[None, None], 0)[0] for row in rows[:40]]) if alone else act(rows[None], 0)[0]
        return actions, (rows[: len(actions)],)
    return act(rows[None], 5)[0], (rows, policy.noise(rows[None], 0, 5)[0])


@functools.cache
def deed(kind: str, action: str, double: bool = False) -> Deed:
    function, observed, noise = saved(kind, double).pure(action)
    inputs = [Input("observation", (5,), observed), Input("noise", noise.shape, np.dtype(noise.dtype))]
    return Deed(function, tuple(inputs[: 1 + (action == "sample")]), {})


def loaded(name: str, kind: str, action: str, folder, double: bool = False):
    """The loader's policy of a file; formats whose packages are missing are skipped, with the reason."""
    try:
        written_as = format_of(name)
    except UsageError as error:
        pytest.skip(str(error))
    path = folder / f"policy{written_as.suffix}"
    path.write_bytes(written_as.dumped(deed(kind, action, double)))
    return runpy.run_path(str(written_as.loader))["Policy"](str(path))


def difference(policy, expected: np.ndarray, given: tuple[np.ndarray, ...]) -> float:
    """The largest difference, in actions scaled to [-1, 1], over batches of several sizes."""
    largest, start = 0.0, 0
    for size in (1, 1, 7, len(expected) - 9):
        part = slice(start, start + size)
        found = policy(*(one[part] for one in given))
        assert found.shape == (size, 3)
        largest, start = max(largest, float((np.abs(found - expected[part]) / HALF).max())), start + size
    return largest


QUICK = (
    "npz-tanh_gaussian-sample", "stablehlo-tanh_gaussian-sample", "npz-gaussian_mixture-sample",
    "onnx-gaussian_mixture-sample",
)  # fmt: skip


@pytest.mark.thinned(QUICK, "a program more each, and all formats but one hold the same operations")
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_acts_as_its_policy(name, kind, action, tmp_path):
    policy = loaded(name, kind, action, tmp_path)
    off = difference(policy, *acted(kind, action))
    assert off <= 1e-6
    for wrong in (np.zeros(3), np.zeros((2, 3))):
        with pytest.raises(ValueError, match=r"^found 3 observations, the policy takes 5: \[5\] or \[batch, 5\]$"):
            policy(wrong)


@pytest.mark.thinned(("tanh_gaussian",), "double precision is the same for all families")
@pytest.mark.parametrize("kind", KINDS)
def test_in_double_precision_nothing_is_left_of_the_difference(kind, tmp_path):
    """So that what is left in single precision is rounding."""
    policy = loaded("npz", kind, "sample", tmp_path, double=True)
    assert difference(policy, *acted(kind, "sample", True)) <= 1e-12


def test_observations_may_need_more_digits_than_networks(tmp_path):
    """Networks of float32 whose observations float32 would blur: these are standardised in float64."""
    single = saved("gaussian")
    mean, scale = np.array([1e6, -1e6, 0.0, 0.0, 0.0]), np.array([0.01, 0.01, 1.0, 1.0, 1.0])
    policy = single._replace(normalizer=Normalizer(mean, scale))
    rows = mean + scale * np.random.default_rng(1).normal(size=(20, 5))
    function, observed, _ = policy.pure("mean")
    for name in ("npz", "stablehlo"):
        written_as = format_of(name)
        path = tmp_path / f"wide{written_as.suffix}"
        path.write_bytes(written_as.dumped(Deed(function, (Input("observation", (5,), observed),), {})))
        found = runpy.run_path(str(written_as.loader))["Policy"](str(path))(rows)
        assert found.dtype == np.float32
        assert (np.abs(found - policy.batched()(rows[None], 0)[0]) / HALF).max() <= 1e-6
        assert np.ptp(found, 0).min() > 1e-3
