"""Data on which what is printed is worked out."""

import jax
import pytest
from printed import real_batch


@pytest.fixture(scope="module")
def data():
    with jax.enable_x64(True):
        yield real_batch()
