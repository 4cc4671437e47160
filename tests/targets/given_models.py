"""NumPyro models that the tests allow by name."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

DATA = np.array([0.3, -0.2, 0.9])


def kinds_of_support():
    """Sites whose unconstrained values have other shapes, and one whose support depends on another."""

    def model(data, shift):
        scale = numpyro.sample("scale", dist.HalfNormal(2.0))
        share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
        part = numpyro.sample("part", dist.Uniform(0.0, scale))
        numpyro.sample("across", dist.LKJCholesky(3, 1.0))
        numpyro.sample("anything", dist.ImproperUniform(dist.constraints.positive, (), ()))
        with numpyro.plate("rows", len(data)):
            local = numpyro.sample("local", dist.Normal(part + shift, scale))
            numpyro.sample("y", dist.Normal(local, 1.0), obs=data)
        numpyro.deterministic("twice", 2 * share)

    return model, (DATA,), {"shift": 0.5}


def closes_over_data():
    """Without arguments: its data belong to the module."""

    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", len(DATA)):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=DATA)

    return model


def discrete():
    return lambda: numpyro.sample("k", dist.Poisson(0.5))


def point():
    return lambda: numpyro.sample("k", dist.Delta(0.5))


def subsampled():
    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("rows", 10, subsample_size=3):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=0.0)

    return model


def learned():
    def model():
        numpyro.param("a", 1.0)
        numpyro.sample("mu", dist.Normal(0.0, 1.0))

    return model


def empty():
    return lambda: None


def model_itself():
    numpyro.sample("mu", dist.Normal(0.0, 1.0))


def nothing():
    return None


def wants_arguments():
    def model(data):
        numpyro.sample("mu", dist.Normal(data, 1.0))

    return model
