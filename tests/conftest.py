"""Shared fixtures."""

import jax
import pytest


@pytest.fixture
def float64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
