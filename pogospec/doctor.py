"""What is installed and reachable on this machine, what is missing, and how to get it.

Everything that can break is tried in a process of its own, so that a broken plugin or driver becomes a message.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from pogospec import accelerators
from pogospec.film import renderers
from pogospec.runs import cache

PACKAGE = "pogospec"
ENVIRONMENT = "Hopper-v4"
SECONDS = 120
MOST = 3
"""Packages of an extra that are named one by one."""
FOLDERS = {
    "POGOSPEC_DATA_DIR": ("~/.cache/pogospec/datasets", "imported datasets, D4RL files, and rows of data.rows: disk"),
    "MINARI_DATASETS_PATH": ("~/.minari/datasets", "local Minari datasets"),
    "D4RL_DATASET_DIR": ("~/.d4rl/datasets", "D4RL files, *.hdf5"),
    "OGBENCH_DATASET_DIR": ("~/.ogbench/data", "OGBench files, *.npz"),
}
DEVICES = """
import json, jax
print(json.dumps([[device.platform, str(device), device.device_kind] for device in jax.devices()]))
"""
STEPS = f"""
import json, warnings
warnings.simplefilter("ignore")
import gymnasium
gymnasium.logger.min_level = gymnasium.logger.ERROR
env = gymnasium.make({ENVIRONMENT!r})
env.reset(seed=0)
rewards = [float(env.step(0 * env.action_space.sample())[1]) for _ in range(10)]
print(json.dumps(rewards))
"""
DATASETS = """
import json
from pogospec.data import available
print(json.dumps([name for name, _ in available()]))
"""
MODELS = """
import json
from pogospec.targets.numpyro import NumpyroTarget, registered
found, broken = {}, {}
for name in registered():
    try:
        found[name] = NumpyroTarget(name).dimensions
    except Exception as error:
        broken[name] = str(error)
print(json.dumps([found, broken]))
"""


class Finding(NamedTuple):
    """One thing that was looked at; `fix` says how to get it where it is not `ok`."""

    section: str
    name: str
    found: str
    ok: bool = True
    needed: bool = True
    fix: str = ""


def examine() -> list[Finding]:
    """Look at everything; never raises for what is missing or broken."""
    codes = {"jax": DEVICES, "steps": STEPS, "data": DATASETS, "models": MODELS}
    tried = {name: _start(code) for name, code in codes.items()}
    installed, hardware, places = packages(), machine(), folders()
    drawing = {name: renderers.started(name) for name in renderers.NAMES}
    outcomes = {name: _finish(process) for name, process in tried.items()}
    drawn = drawing_of({name: renderers.works(process, SECONDS) for name, process in drawing.items()})
    last = [environment(outcomes["steps"]), drawn, datasets(outcomes["data"]), models(outcomes["models"])]
    computing = [devices(outcomes["jax"]), *unused(outcomes["jax"][0], accelerators.seen())]
    return [*installed, *hardware, *computing, *places, *last]


def healthy(findings: list[Finding]) -> bool:
    """Whether everything that is needed is there."""
    return all(finding.ok or not finding.needed for finding in findings)


def packages() -> list[Finding]:
    """Python, this package, what it requires, and its extras."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    python = platform.python_version()
    try:
        about = metadata.metadata(PACKAGE)
        wanted = about["Requires-Python"]
        requirements = [Requirement(text) for text in metadata.requires(PACKAGE) or []]
    except metadata.PackageNotFoundError:
        fix = "install it from its folder: pip install ."
        return [Finding("package", "python", python), Finding("package", PACKAGE, "not installed", False, True, fix)]
    fits = SpecifierSet(wanted).contains(python, prereleases=True)
    found = [
        Finding("package", "python", f"{python}, supported {wanted}", fits, True, f"install Python {wanted}"),
        Finding("package", PACKAGE, metadata.version(PACKAGE)),
    ]
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found.append(_package(requirement))
            if requirement.name == "jax":
                found += _jaxlib()
    return found + _extras(about.get_all("Provides-Extra") or [], requirements)


def _package(requirement: Any, section: str = "package", needed: bool = True, fix: str = "") -> Finding:
    supported = f", supported {requirement.specifier}" if requirement.specifier else ""
    fix = fix or f"pip install '{str(requirement).partition(';')[0].strip()}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(section, requirement.name, f"not installed{supported}", False, needed, fix)
    ok = requirement.specifier.contains(version, prereleases=True)
    return Finding(section, requirement.name, version + supported, ok, needed, "" if ok else fix)


def _jaxlib() -> list[Finding]:
    """jaxlib, in the range that the jax at hand asks for."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in metadata.requires("jax") or []]
    except metadata.PackageNotFoundError:
        return []
    return [_package(one) for one in wanted if one.name == "jaxlib" and one.marker is None]


def _extras(names: list[str], requirements: list[Any]) -> list[Finding]:
    """One finding an extra: what of it is missing or out of range."""
    found = []
    for extra in names:
        asked = [one for one in requirements if one.marker is not None and one.marker.evaluate({"extra": extra})]
        asked = [one for one in asked if not one.marker.evaluate({"extra": ""})]
        looks = [_package(one) for requirement in asked for one in (requirement, *_brought(requirement))]
        wrong = [f"{look.name} {look.found}" for look in looks if not look.ok]
        text = "; ".join(wrong) or f"all {len(looks)} packages"
        if len(wrong) > MOST:
            text = f"{len(wrong)} of {len(looks)} packages are missing or out of range"
        found.append(Finding("extra", extra, text, not wrong, False, f"pip install '{PACKAGE}[{extra}]'"))
    return found


def _brought(requirement: Any) -> list[Any]:
    """What the extras of a requirement ask for themselves, as in jax[cuda13]."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in metadata.requires(requirement.name) or []]
    except metadata.PackageNotFoundError:
        return []
    marked = [(one, one.marker) for one in wanted if one.marker is not None]
    own = [(one, marker) for one, marker in marked if not marker.evaluate({"extra": ""})]
    return [one for one, marker in own if any(marker.evaluate({"extra": extra}) for extra in requirement.extras)]


def machine() -> list[Finding]:
    """Processors and memory."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    found = [Finding("machine", "processors", f"{usable} usable of {os.cpu_count()}, {system}")]
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return found
    return [*found, Finding("machine", "memory", f"{total / 2**30:.1f} GiB")]


def folders() -> list[Finding]:
    """Folders of data and caches: where, whether they exist, how large."""
    places = [_folder(variable, default, about) for variable, (default, about) in FOLDERS.items()]
    return [*places, compiled()]


def compiled() -> Finding:
    """Where compiled programs are kept, how many, and how to be rid of them."""
    folder, own = cache.root(), os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if own:
        return _folder("JAX_COMPILATION_CACHE_DIR", own, "compiled programs; made by the first run")
    if folder is None:
        return Finding("folder", cache.VARIABLE, "off: every run compiles anew")
    where = f"{folder}" if os.environ.get(cache.VARIABLE) else f"{folder} (default)"
    count, size = cache.usage(folder)
    most = f"{size / 2**20:,.1f} of at most {cache.LIMIT / 2**20:,.0f} MiB"
    clear = f"; remove the folder to clear it, {cache.VARIABLE}=off switches it off"
    return Finding("folder", cache.VARIABLE, f"{where}: {count:,} compiled programs, {most}{clear}")


def _folder(variable: str, default: str, about: str) -> Finding:
    value = os.environ.get(variable) or default
    path = Path(value).expanduser()
    where = f"{path}" if os.environ.get(variable) else f"{path} (default)"
    if not path.is_dir():
        fix = f"only needed for {about}; set {variable} to the folder that holds them"
        return Finding("folder", variable, f"{where} does not exist", False, False, fix)
    count = size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue
            count += 1
    return Finding("folder", variable, f"{where}: {count:,} files, {size / 2**20:,.1f} MiB")


def devices(outcome: tuple[Any, str]) -> Finding:
    """What JAX computes on."""
    listed, error = outcome
    if listed:
        named = ", ".join(f"{name} ({kind})" if kind.lower() != platform_ else name for platform_, name, kind in listed)
        return Finding("machine", "devices", named)
    asked = os.environ.get("JAX_PLATFORMS")
    fix = f"JAX_PLATFORMS is '{asked}'; unset it, or" if asked else "compute without the broken plugin:"
    return Finding("machine", "devices", f"JAX finds none: {error}", False, True, f"{fix} export JAX_PLATFORMS=cpu")


def unused(listed: Any, found: list[accelerators.Accelerator]) -> list[Finding]:
    """GPUs and TPUs of this machine on which JAX does not compute; `listed`: those on which it does, if any."""
    used = {{"cuda": "gpu", "rocm": "gpu"}.get(device[0], device[0]) for device in listed or ()}
    return [
        Finding("machine", one.platform, f"{one.name} sits unused", False, False, one.remedy)
        for one in found
        if one.platform not in used
    ]


def environment(outcome: tuple[Any, str]) -> Finding:
    """Whether MuJoCo steps."""
    rewards, error = outcome
    if rewards:
        text = f"made and stepped, return of {len(rewards)} steps {sum(rewards):.3f}"
        return Finding("environment", ENVIRONMENT, text)
    fix = "pip install 'gymnasium[mujoco]' in the range above"
    return Finding("environment", ENVIRONMENT, f"cannot be stepped: {error}", False, True, fix)


def drawing_of(drawn: dict[str, bool]) -> Finding:
    """How MuJoCo draws without a screen, for films."""
    good, asked = [name for name, works in drawn.items() if works], os.environ.get(renderers.VARIABLE)
    if not good:
        found = f"nothing draws: neither {' nor '.join(drawn)}"
        return Finding("environment", "pictures", found, False, False, renderers.FIX)
    ok = asked in (None, *good)
    found = f"drawn by {', '.join(good)}" + ("" if ok else f", but {renderers.VARIABLE} is '{asked}'")
    return Finding("environment", "pictures", found, ok, False, "" if ok else f"export {renderers.VARIABLE}={good[0]}")


def datasets(outcome: tuple[Any, str]) -> Finding:
    """Which datasets can be named in a spec."""
    names, error = outcome
    if names:
        return Finding("data", "datasets", f"{len(names)}: {', '.join(names)}")
    fix = f"install {PACKAGE} again; its embedded sets are part of it"
    return Finding("data", "datasets", f"cannot be listed: {error or 'none found'}", False, True, fix)


def models(outcome: tuple[Any, str]) -> Finding:
    """Which NumPyro models can be named in a spec, with the dimensions of their posteriors."""
    listed, error = outcome
    fix = f"install {PACKAGE} again, or mend the package that registers the model"
    if not listed:
        return Finding("data", "models", f"cannot be listed: {error or 'none found'}", False, False, fix)
    found, broken = listed
    text = f"{len(found)}: {', '.join(f'{name} ({size})' for name, size in found.items())}"
    for name, why in broken.items():
        text += f"; {name} cannot be used: {why}"
    return Finding("data", "models", text, not broken, False, fix if broken else "")


def _start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def _finish(process: subprocess.Popen[str], seconds: float = SECONDS) -> tuple[Any, str]:
    """What a process printed last, read as JSON; or None and why not, in a line."""
    try:
        out, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, f"no answer within {seconds:g} s"
    if process.returncode == 0 and out.strip():
        return json.loads(out.strip().splitlines()[-1]), ""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return None, lines[-1][:300] if lines else f"the process ended with {process.returncode}"
