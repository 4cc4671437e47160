"""The films of a page: those that lie in its runs, and files that were named beside them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pogospec import regular
from pogospec.errors import UsageError, reason
from pogospec.report.page.members import Member
from pogospec.runs.directory import RunDirectory

FILM, FILMS = 8_000_000, 24_000_000
"""Bytes of a film, and of all films of a page, that are put into it."""
KINDS = {".gif": "image/gif", ".mp4": "video/mp4"}
SIGNS = {".gif": (b"GIF87a", b"GIF89a"), ".mp4": (b"ftyp",)}
"""How such files begin, those of MP4 behind a length of four bytes."""


class Film(NamedTuple):
    """A film as an address that holds all of it, or why it is left out; `spec` and `dataset` of a run's own."""

    path: Path
    spec: str = ""
    dataset: str = ""
    address: str = ""
    left: str = ""

    @property
    def kind(self) -> str:
        """What a browser calls it."""
        return KINDS[self.path.suffix.lower()]

    @property
    def title(self) -> str:
        """What to call it."""
        return f"{self.spec} on {self.dataset}: {self.path.name}" if self.spec else self.path.name

    @property
    def whose(self) -> str:
        """The file, and the method that it is of where that is known."""
        return f"{self.path.name} of {self.spec}" if self.spec else self.path.name


def require(paths: Sequence[Path]) -> None:
    """Raise UsageError for files that were named and hold no film."""
    for path in paths:
        if path.suffix.lower() not in KINDS:
            raise UsageError(f"--film: found '{path.name}', allowed a file {' or '.join(KINDS)}")
        try:
            begin = regular.read(path, 8)
        except OSError as error:
            raise UsageError(f"--film: {reason(error)}; `pogospec render RUN` makes films") from None
        if not _is_film(path, begin):
            raise UsageError(f"--film: no {path.suffix[1:].upper()} inside: {path}")


def files_of(run: RunDirectory) -> list[Path]:
    """Files of films in a run directory."""
    return sorted(path for path in run.path.iterdir() if path.suffix.lower() in KINDS and path.is_file())


def films_of(members: Sequence[Member], named: Sequence[Path] = ()) -> list[Film]:
    """Films in the run directories and those that were named, each once: their files, up to a size."""
    every = [Film(path, member.spec, member.dataset) for member in members for path in files_of(member.run)]
    every += [Film(path) for path in named]
    alone: dict[Path, Film] = {}
    for film in every:
        alone.setdefault(film.path.resolve(), film)
    found, room = [], FILMS
    for film in alone.values():
        film, size = _filled(film, room)
        room -= size
        found.append(film)
    return found


def _filled(film: Film, room: int) -> tuple[Film, int]:
    """A film with its address, where it fits into so many bytes; and how many it takes."""
    path = film.path
    try:
        size = path.stat().st_size
        if size > min(FILM, room):
            most, what = (FILM, "a film") if size > FILM else (FILMS, "all films of a page")
            told = f"{size / 1e6:.1f} MB, of at most {most / 1e6:.0f} MB for {what}: {path}"
            return film._replace(left=told), 0
        content = regular.read(path)
    except OSError as error:
        return film._replace(left=reason(error)), 0
    if not _is_film(path, content):
        return film._replace(left=f"no {path.suffix[1:].upper()} inside: {path}"), 0
    return film._replace(address=f"data:{film.kind};base64,{base64.b64encode(content).decode()}"), len(content)


def _is_film(path: Path, content: bytes) -> bool:
    suffix = path.suffix.lower()
    return content[4:8] in SIGNS[suffix] if suffix == ".mp4" else content[:6] in SIGNS[suffix]
