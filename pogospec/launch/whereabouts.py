"""How far the runs of a suite are, which worker trains each, how fast, and what is left; from any machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pogospec.engines import lease
from pogospec.engines.lease import Lease
from pogospec.engines.unit import UNITS
from pogospec.launch.job import Job
from pogospec.launch.states import State
from pogospec.launch.view import span
from pogospec.report.screen import show_columns

HEAD = ["run", "state", "updates", "updates/s", "time left", "worker", "heard"]


def show_whereabouts(console: Console, folder: Path, jobs: Sequence[Job], found: Sequence[State]) -> None:
    """A row a run, and all of it in a line."""
    leases = _leases(folder)
    rows, rate, at_work = [], 0.0, 0
    for job, state in zip(jobs, found, strict=True):
        own = leases.get(job.path.name)
        live = own is not None and state.left and own.live
        share = float(own.about.get("rate") or 0.0) if live and own is not None else 0.0
        at_work, rate = at_work + live, rate + share
        rows.append([job.path.name, *_row(job, state, own, live, share)])
    show_columns(console, HEAD, rows)
    done = sum(not state.left for state in found)
    updates = sum(job.updates - state.update for job, state in zip(jobs, found, strict=True) if state.left)
    left = f"; {updates:,} updates are left" if updates else ""
    left += f", about {span(updates / rate)} at {rate:,.0f} updates/s" if rate and updates else ""
    console.print(f"{done} of {len(jobs)} runs are done, {at_work} at work{left}", highlight=False, soft_wrap=True)
    if leases:
        console.print(f"logs: log.txt of each run, and {folder / UNITS}/*.log", highlight=False, soft_wrap=True)


def _leases(folder: Path) -> dict[str, Lease]:
    """The leases of units, by the runs in them."""
    found = {}
    for file in sorted((folder / UNITS).glob("*.lease")):
        own = lease.read(file)
        for run in own.about.get("runs") or () if own is not None else ():
            found[run] = own
    return found


def _row(job: Job, state: State, own: Lease | None, live: bool, rate: float) -> list[str]:
    word = "at work" if live else {"missing": "not begun"}.get(state.word, state.word)
    if own is not None and own.state == "running" and state.left and not live:
        word = "worker lost"
    percent = f"{state.update:,} of {job.updates:,}"
    left = span((job.updates - state.update) / rate) if rate else ""
    if own is None:
        return [word, percent, "", "", "", ""]
    engine = f" {own.about.get('engine')} {own.about.get('job') or ''}".rstrip()
    heard = f"{span(own.age)} ago" if state.left else ""
    return [word, percent, f"{rate:,.0f}" if rate else "", left, f"{own.about.get('host')}{engine}", heard]
