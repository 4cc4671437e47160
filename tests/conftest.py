"""Fixtures and marks of all tests: one compile cache, runs that are made once, what is left to the exhaustive part."""

import collections
import contextlib
import ctypes
import gc
import os
import random
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from xdist.scheduler import LoadScopeScheduling

SPREAD = {
    "test_combinations.py",
    "test_flow.py",
    "test_formula.py",
    "test_mutations.py",
    "test_no_inert_option.py",
    "test_printed_flows.py",
    "test_printed_losses.py",
    "test_printed_steps.py",
    "test_refusals.py",
    "test_shapes.py",
    "test_storms.py",
}
"""Files whose tests share little, and go to whichever worker is free; those of other files stay together."""
LONGEST = (
    "test_combinations.py",
    "test_shapes.py",
    "test_no_inert_option.py",
    "test_storms.py",
    "test_flow.py",
    "test_formula.py",
    "test_printed_steps.py",
    "test_printed_flows.py",
)
"""Files that begin first, so that no worker is left with a long one at the end."""
QUICK_TO_COMPILE = " ".join(
    (
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_experimental_ynn_fusion_type=",
        "--xla_cpu_parallel_codegen_split_count=1",
    )
)
"""What halves the time of XLA's compiler, and so that of most tests; commands that tests start inherit it."""
OPTIMISED = {"test_coverage.py", "test_flow_theory.py", "test_rows_on_disk.py", "test_train.py"}
"""Files whose programs are compiled as users' are: long ones, and some of all that runs."""


def pytest_configure():
    if QUICK_TO_COMPILE not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_TO_COMPILE}"


def pytest_collection_finish():
    """Tracing makes millions of objects, most of which go by themselves: look for the others less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


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
def pytest_collection_modifyitems(config, items):
    families = collections.defaultdict(list)
    for item in items:
        if item.get_closest_marker("thinned"):
            families[item.path, item.originalname].append(item)
    for family in families.values():
        if not any("::" in argument for argument in config.args):  # what is named is run
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


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory) -> Path:
    """A folder of this session, for what workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def compile_cache(of_all_workers):
    """What one test compiled serves all workers, and the programs that they start."""
    jax.devices()  # looked for now, since commands in this process ask for one for each core
    folder = str(of_all_workers / "compiled")
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
    _forget()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    if _memory() > MOST_MEMORY:
        _forget()


def _forget():
    """Drop what was compiled, and give its memory back, which the allocator of Linux would keep."""
    jax.clear_caches()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _memory() -> int:
    """What this process takes now, in bytes; 0 where the system does not tell."""
    table = Path("/proc/self/statm")
    return int(table.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if table.exists() else 0
