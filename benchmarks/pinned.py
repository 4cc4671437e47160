"""Run code on the cores of BENCHMARK_CORES: `python pinned.py CODE [ARGUMENTS]`."""

import os
import sys

if os.environ.get("BENCHMARK_CORES") and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(core) for core in os.environ["BENCHMARK_CORES"].split(",")})
del sys.path[0]  # this folder
CODE = sys.argv.pop(1)
sys.argv[0] = "-c"
exec(compile(CODE, "<code>", "exec"), {"__name__": "__main__"})
