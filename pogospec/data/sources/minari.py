"""Local Minari datasets, found through MINARI_DATASETS_PATH, and downloads through Minari: nothing else downloads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pogospec.data import catalog
from pogospec.data.columns import Columns, Episode, edges, outside, spanned
from pogospec.data.episodes import join
from pogospec.data.gym import quiet
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.sources.base import Entry, NotAtHand, Source, walk
from pogospec.data.staged import Room
from pogospec.data.tasks import is_antmaze
from pogospec.data.tasks.goals import Goals, refused
from pogospec.data.tasks.metadata import about_task, environment_in, reference_in, task_in
from pogospec.data.tasks.references import reference_for
from pogospec.errors import DataError, printable
from pogospec.terminal import say

ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*-v\d+")
"""How ids are written, with a version at the end."""
METADATA = "metadata.json"
FORMATS = ("hdf5", "arrow", "parquet")
"""How Minari stores rows."""


def root() -> Path:
    """The folder of local Minari datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")).expanduser()


def local_ids() -> list[str]:
    """Ids of the local Minari datasets; folders that are links are followed."""
    found = []
    for folder, inner, _ in walk(root()):
        if "data" in inner and os.path.isfile(folder / "data" / METADATA):
            found.append(folder.relative_to(root()).as_posix())
            inner.remove("data")
    return sorted(found)


def folder_of(dataset_id: str) -> Path:
    """The folder of the files of a dataset."""
    return root() / dataset_id / "data"


def metadata_of(dataset_id: str) -> dict[str, Any]:
    """What the files of a local dataset say about it; raises OSError, and ValueError where that is no mapping."""
    found = json.loads((folder_of(dataset_id) / METADATA).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{METADATA} holds no mapping")
    return found


class Minari(Source):
    """Datasets in Minari's folder; ids that end with a version are Minari's unless they are another source's."""

    label, form, observes = "Minari", "the id of a Minari dataset, NAMESPACE/NAME-vN", True
    in_parts = True

    def owns(self, dataset_id: str) -> bool:
        """Whether it is written as an id of Minari, or one at hand."""
        return ID.fullmatch(dataset_id) is not None or dataset_id in local_ids()

    def find(self, dataset_id: str) -> Path:
        """The file of a dataset, or the folder where it has one an episode.

        Raises NotAtHand, and DataError for a format of Minari's that is not known.
        """
        if dataset_id in local_ids():
            return _place(dataset_id)
        close = catalog.near(dataset_id)
        hint = f"; did you mean {close}?" if close else ""
        how = f"et MINARI_DATASETS_PATH to the folder that holds it, or get it with: pogospec data fetch {dataset_id}"
        raise NotAtHand(
            dataset_id,
            f"s{how}{hint}",
            f"data.dataset: '{dataset_id}' is not in {root()}{hint or '.'} Found there: "
            f"{', '.join(local_ids()) or 'no datasets'}. S{how}",
        )

    def read(
        self,
        dataset_id: str,
        environment: str | None = None,
        observe: Sequence[str] | None = None,
        room: Room | None = None,
    ) -> Logged:
        """Read a dataset; raises DataError as `find` does, and where it is damaged or of an unsupported kind.

        `observe`: which entries of Dict observations make up an observation, in order. Actions outside of their space
        are clipped to it, as environments do with them.
        """
        file = self.find(dataset_id)
        try:
            metadata = metadata_of(dataset_id)
            own, reference = task_in(metadata, observe), reference_in(metadata)
            digest = _digest(file)
            with quiet():
                opened = _open(dataset_id, metadata, observe, is_antmaze(own))
                columns = join(opened.episodes, True, room)
            if not is_antmaze(own):  # of which what follows the goal is left out
                _check_count(metadata, columns)
        except DataError as error:
            if str(error).startswith("data.observe"):
                raise
            raise DataError(f"data.dataset: '{dataset_id}': {error}") from None
        except ImportError as error:
            raise DataError(
                f"data.dataset: '{dataset_id}': Minari cannot read it here ({error}); pip install "
                '"pogospec[parquet]" for its Arrow and Parquet formats'
            ) from None
        except (OSError, LookupError, ValueError, TypeError, RuntimeError, AssertionError) as error:
            raise DataError(
                f"data.dataset: '{dataset_id}': {file} or the metadata.json beside it is damaged ({error}); "
                f"remove {folder_of(dataset_id).parent} and get it again with: pogospec data fetch {dataset_id}"
            ) from None
        low, high = (tuple(float(x) for x in bound.ravel()) for bound in (opened.actions.low, opened.actions.high))
        return Logged(
            dataset_id,
            columns,
            low,
            high,
            "the action space's",
            own,
            digest,
            file,
            reference or reference_for(own),
            notes=(*about_task(metadata), *(() if opened.goals is None else opened.goals.notes())),
            changes=(*_clipped(columns, low, high), *_unended(columns)),
            remedy=f"correct low and high of action_space in {folder_of(dataset_id) / METADATA}",
        )

    def files(self, dataset_id: str) -> list[Path]:
        """Rows and metadata; raises as `find` does."""
        self.find(dataset_id)
        return [folder / name for folder, _, names in walk(folder_of(dataset_id)) for name in names]

    def ids(self) -> list[str]:
        """Ids of the local datasets."""
        return local_ids()

    def describe(self, dataset_id: str) -> Entry:
        """What the metadata say."""
        try:
            metadata = metadata_of(dataset_id)
            environment, rows = environment_in(metadata).get("id"), int(metadata["total_steps"])
        except (OSError, ValueError, KeyError, TypeError):
            environment = rows = None
        about = f"local Minari dataset in {root()}"
        try:
            place = self.find(dataset_id)
        except DataError:
            place, rows = folder_of(dataset_id), None
        return Entry(dataset_id, self.label, environment, rows, about, str(place))

    def fetch(self, dataset_id: str) -> Path:
        """Download a dataset into Minari's folder; raises DataError in one line where that cannot be done."""
        if dataset_id not in local_ids():
            say(f"asking Minari's server for {dataset_id}", error=True)
            _download(dataset_id)
        return root() / dataset_id


def _place(dataset_id: str) -> Path:
    """Where the rows of a local dataset lie; raises DataError for a format that is not known."""
    folder = folder_of(dataset_id)
    try:
        form = metadata_of(dataset_id).get("data_format", "hdf5")
    except (OSError, ValueError):
        form = "hdf5"  # what is wrong with the metadata is told when they are read
    if form not in FORMATS:
        raise DataError(
            f"data.dataset: '{dataset_id}': {folder} is stored in the format '{form}', which is not read; allowed "
            f"{', '.join(FORMATS)}; write it again in one of them, with Minari"
        )
    return folder / "main_data.hdf5" if form == "hdf5" else folder


def _digest(place: Path) -> str:
    """The checksum of a file; of a folder, that of the names and checksums of all files in it."""
    if not place.is_dir():
        return sha256_of(place)
    digest = hashlib.sha256()
    for folder, _, names in walk(place):
        for name in names:
            digest.update(f"{(folder / name).relative_to(place).as_posix()} {sha256_of(folder / name)}\n".encode())
    return digest.hexdigest()


class _Opened(NamedTuple):
    """The action space, the episodes, and of Dict observations what is made of them."""

    actions: Any
    episodes: Iterator[Episode]
    goals: Goals | None


def _open(dataset_id: str, metadata: dict[str, Any], observe: Sequence[str] | None, maze: bool) -> _Opened:
    """Open a dataset without its environment, which is code of others; `maze`: of an AntMaze.

    Raises what h5py, pyarrow and Minari raise, and DataError for other spaces.
    """
    from gymnasium.spaces import Box, Dict
    from minari import supported_dataset_versions
    from minari.dataset._storages import get_minari_storage
    from minari.dataset.minari_storage import is_image_space
    from minari.serialization import deserialize_space

    version = metadata.get("minari_version")
    if version is not None and version not in supported_dataset_versions:
        raise DataError(
            f"was stored by Minari {version}, which the Minari that is installed does not read; allowed "
            f"{supported_dataset_versions}; install another Minari, or store it again"
        )
    lacking = [name for name in ("observation_space", "action_space") if not metadata.get(name)]
    if lacking:
        raise DataError(
            f"{folder_of(dataset_id) / METADATA} lacks {' and '.join(lacking)}; write the space of the environment "
            "there, as minari.serialization.serialize_space gives it"
        )
    space, actions = (deserialize_space(metadata[name]) for name in ("observation_space", "action_space"))
    for name, found in {"observation_space": space, "action_space": actions}.items():
        flat = isinstance(found, Box) and not is_image_space(found)
        if not flat and not (isinstance(found, Dict) and found is space):
            kind = "images" if isinstance(found, Box) else printable(str(found), 200)
            raise DataError(
                f"found the {name} {kind}, allowed a Box of numbers"
                + (", or a Dict of them" if found is space else "")
                + "; log the dataset again with such a space"
            )
    goals = None
    if isinstance(space, Dict):
        goals = Goals(space, observe)
    elif observe is not None:
        raise refused(observe)
    how = {"jpeg_encoding": bool(metadata["jpeg_encoding"])} if "jpeg_encoding" in metadata else {}
    storage = get_minari_storage(metadata.get("data_format", "hdf5"))(folder_of(dataset_id), space, actions, **how)
    logged = map(_episode, storage.get_episodes(range(int(metadata["total_episodes"]))))
    if goals is None:
        return _Opened(actions, (e._replace(observations=_rows(e.observations)) for e in logged), None)
    if maze:
        return _Opened(actions, (piece for e in logged for piece in goals.pieces(e)), goals)
    return _Opened(actions, map(goals.flat, logged), goals)


def _episode(found: dict[str, Any]) -> Episode:
    """An episode as Minari gives it, actions and rewards with a row a step."""
    columns = (np.asarray(found[name]) for name in ("rewards", "terminations", "truncations"))
    rewards, ended, cut = (column.ravel() if column.size == len(column) else column for column in columns)
    return Episode(found["observations"], _rows(found["actions"]), rewards, ended, cut)


def _rows(column: Any) -> np.ndarray:
    """A row of numbers for each entry, whatever their shape."""
    column = np.asarray(column)
    return column.reshape(len(column), int(np.prod(column.shape[1:])))


def _check_count(metadata: dict[str, Any], columns: Columns) -> None:
    """Raise ValueError where a folder of files holds other rows than it says: Minari pairs batches with episodes."""
    said, found = metadata.get("total_steps"), len(columns.rewards)
    if metadata.get("data_format") in ("arrow", "parquet") and isinstance(said, int) and found != said:
        raise ValueError(f"it holds {found:,} steps, and says {said:,}")


def _clipped(columns: Columns, low: Sequence[float], high: Sequence[float]) -> tuple[str, ...]:
    """Clip actions to the bounds of their space, as environments do with them, and say so."""
    if not spanned(low, high, columns.actions.shape[1]):
        return ()
    rows = outside(columns.actions, low, high)
    if not len(rows):
        return ()
    first = [round(float(x), 6) for x in columns.actions[rows[0]]]
    where, many = edges(columns).place(int(rows[0])), f"{len(rows):,} of {len(columns.actions):,} rows"
    bounds = np.asarray([low, high], np.float32)
    columns.actions[rows] = np.clip(columns.actions[rows], bounds[0], bounds[1])
    return (
        f"actions of {many} lie outside the action space and are clipped to it, as environments do with them; first in "
        f"{where}: {first}",
    )


def _unended(columns: Columns) -> tuple[str, ...]:
    """Say of episodes that lack their last observation what becomes of them."""
    if columns.unknown is None:
        return ()
    many = f"{columns.unknown.sum():,} episodes lack their last observation"
    return (f"{many}: their last step is trained on if it terminates",)


def _download(dataset_id: str) -> None:
    """Download through Minari; raises DataError."""
    import minari

    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # else it tells of every retry
    with contextlib.redirect_stdout(sys.stderr), quiet():
        try:
            minari.download_dataset(dataset_id)
        except ImportError:
            raise DataError('Minari downloads with huggingface_hub; pip install "pogospec[fetch]"') from None
        except Exception as error:  # each remote of Minari raises types of its own libraries
            raise _not_fetched(dataset_id, error) from None
    if dataset_id not in local_ids():
        raise DataError(f"'{dataset_id}' was downloaded, but its files are not in {root()}; fetch it again")


def _not_fetched(dataset_id: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if type(error) is ValueError and "Malformed" in reason:
        return DataError(
            f"found '{dataset_id}', allowed the id of a Minari dataset, NAMESPACE/NAME-vN, for example "
            "mujoco/hopper/medium-v0; see what there is with: minari list remote"
        )
    if type(error) is ValueError:  # Minari's own words on unknown names, versions and formats
        return DataError(f"'{dataset_id}' was not downloaded: {reason} See what there is with: minari list remote")
    return DataError(
        f"'{dataset_id}' was not downloaded ({reason[:300]}); try again where Minari's server can be reached, or copy "
        f"the folder {dataset_id} of Minari datasets elsewhere into {root()}"
    )
