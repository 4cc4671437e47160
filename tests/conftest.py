"""Shared fixtures."""

from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture
def float64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session", autouse=True)
def compile_cache(tmp_path_factory):
    """What one test compiled serves all that come after it, and the programs that they start."""
    jax.devices()  # looked for now, since commands in this process ask for one for each core
    folder = str(tmp_path_factory.mktemp("cache"))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    compilation_cache.reset_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="module", autouse=True)
def programs(request, compile_cache):
    """How the programs of a file are compiled, and that they are gone when it ends.

    Files in folders test mathematics and documents: optimising their programs takes longer than running them as they
    are. Files beside this one run things as users do. Kept programs would fill the memory.
    """
    quick = request.path.parent != Path(__file__).parent
    jax.config.update("jax_disable_most_optimizations", quick)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(quick)))
        yield
    jax.clear_caches()
