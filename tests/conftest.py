"""Fixtures and marks of all tests: one compile cache, runs that are made once, what is left to the exhaustive part."""

import collections
import os
import random
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from xdist.scheduler import LoadScopeScheduling

SPREAD = {"test_flow.py", "test_mutations.py", "test_storms.py"}
"""Files whose tests share nothing, and go to whichever worker is free; those of other files stay together."""
LONGEST = ("test_no_inert_option.py", "test_storms.py", "test_flow.py", "test_formula.py")
"""Files that begin first, so that no worker is left with a long one at the end."""
QUICK_TO_COMPILE = " ".join(
    (
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_experimental_ynn_fusion_type=",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
)
"""What halves the time of XLA's compiler, and so that of most tests; commands that tests start inherit it."""
OPTIMISED = {"test_flow_theory.py", "test_train.py"}
"""Files whose programs are compiled as users' are: long ones, and some of all that runs."""


def pytest_configure():
    if QUICK_TO_COMPILE not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_TO_COMPILE}"


MOST_MEMORY = 1_500_000_000
"""Bytes that a worker may take before it forgets what it has compiled."""


class Scheduler(LoadScopeScheduling):
    """Files as a whole, but for those that may be spread; in the order of the collection."""

    def _split_scope(self, nodeid):
        file, _, _ = nodeid.partition("::")
        return nodeid if file.rpartition("/")[2] in SPREAD else file


def pytest_xdist_make_scheduler(config, log):
    return Scheduler(config, log)


@pytest.hookimpl(tryfirst=True)  # before marks choose
def pytest_collection_modifyitems(items):
    families = collections.defaultdict(list)
    for item in items:
        if item.get_closest_marker("thinned"):
            families[item.path, item.originalname].append(item)
    for family in families.values():
        _thin(family, *family[0].get_closest_marker("thinned").args)
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def _thin(cases, quick, reason):
    """Leave the cases to the exhaustive part but for some: those of these ids, or so many at random."""
    if isinstance(quick, int):
        kept = random.Random(0).sample(cases, min(quick, len(cases)))
    else:
        kept = [case for case in cases if case.callspec.id in quick]
        assert len(kept) == len(quick), f"{cases[0].nodeid}: no cases {quick}"
    for case in cases:
        if case not in kept:
            case.add_marker(pytest.mark.exhaustive(reason))


@pytest.fixture
def float64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session", autouse=True)
def compile_cache(tmp_path_factory):
    """What one test compiled serves all workers, and the programs that they start."""
    jax.devices()  # looked for now, since commands in this process ask for one for each core
    base = tmp_path_factory.getbasetemp()
    folder = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    compilation_cache.reset_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="module", autouse=True)
def programs(request, compile_cache):
    """How the programs of a file are compiled, and that they are gone when it ends: kept ones would fill the memory.

    Optimising most programs of tests takes longer than running them as they are.
    """
    quick = request.path.name not in OPTIMISED
    jax.config.update("jax_disable_most_optimizations", quick)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(quick)))
        yield
    jax.clear_caches()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    if _memory() > MOST_MEMORY:
        jax.clear_caches()


def _memory() -> int:
    """What this process takes now, in bytes; 0 where the system does not tell."""
    table = Path("/proc/self/statm")
    return int(table.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if table.exists() else 0
