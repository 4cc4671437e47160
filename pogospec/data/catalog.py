"""The datasets at hand: embedded, D4RL's files, imported, Minari's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pogospec.data import d4rl, local, minari
from pogospec.data.formats import as_text, open_table
from pogospec.data.pocket import loader
from pogospec.errors import DataError


class Entry(NamedTuple):
    """A dataset at hand; `rows` is None where its file cannot be read."""

    dataset: str
    source: str
    environment: str | None
    rows: int | None
    about: str
    file: str


def at_hand() -> list[Entry]:
    """All datasets that a spec can name; nothing but headers of files is read."""
    return [*_embedded(), *_d4rl(), *_imported(), *_minari()]


def _embedded() -> Iterator[Entry]:
    for name, card in loader.cards().items():
        file = str(loader.file_of(name))
        yield Entry(name, "embedded", card["environment"], card["transitions"], card["about"], file)


def _d4rl() -> Iterator[Entry]:
    for name in d4rl.at_hand():
        file = d4rl.file_of(name)
        assert file is not None
        rows, _ = _header(file)
        yield Entry(name, "D4RL", d4rl.environment_of(name), rows, f"D4RL file in {file.parent}", str(file))


def _imported() -> Iterator[Entry]:
    for name in local.local_ids():
        file = local.file_of(name)
        rows, about = _header(file)
        source = as_text(about.get("source"))
        line = f"imported into {local.root()}" + (f" from {source}" if source else "")
        yield Entry(name, "imported", as_text(about.get("environment")), rows, line, str(file))


def _minari() -> Iterator[Entry]:
    for name in minari.local_ids():
        file = minari.root() / name / "data" / "main_data.hdf5"
        try:
            metadata = minari.metadata_of(name)
            environment, rows = minari.environment_of(metadata), int(metadata["total_steps"])
        except (OSError, ValueError, KeyError, TypeError):
            environment = rows = None
        yield Entry(name, "Minari", environment, rows, f"local Minari dataset in {minari.root()}", str(file))


def _header(file: Path) -> tuple[int | None, dict]:
    """Rows of a file of columns and what it says beside them; nothing where it is damaged."""
    try:
        with open_table(file) as table:
            return table.rows("rewards"), table.attributes
    except DataError:
        return None, {}
