"""Episodes, one after another, as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pogospec.data.columns import Columns, Episode
from pogospec.data.staged import Room
from pogospec.errors import DataError


def join(episodes: Iterable[Sequence], short: bool = False, room: Room | None = None) -> Columns:
    """Join episodes (tuples in the order of `Episode`); an episode that ends with neither flag counts as truncated.

    `short`: one may lack its last observation; it keeps all rows, and the next observation of its last is not known.
    `room`: where vectors and rewards are put as they come, to be read from there. Raises DataError on columns of
    unequal length or size, and where there are no data.
    """
    room, flags, lacking = Room() if room is None else room, ([], []), []
    for number, columns in enumerate(episodes):
        episode = Episode(*(np.asarray(column) for column in columns))
        if len(episode.actions):
            lacks = short and episode.observations.ndim == 2 and len(episode.observations) == len(episode.actions)
            if lacks:
                episode = episode._replace(
                    observations=np.concatenate([episode.observations, episode.observations[-1:]])
                )
            _check_shapes(number, episode)
            cut = np.array(episode.truncated, bool)
            cut[-1] |= not episode.terminated[-1]
            room.add("observations", episode.observations[:-1])
            room.add("next_observations", episode.observations[1:])
            room.add("actions", episode.actions)
            room.add("rewards", episode.rewards)
            flags[0].append(np.asarray(episode.terminated, bool))
            flags[1].append(cut)
            lacking.append(lacks)
    if not lacking:
        raise DataError("the dataset holds no transitions; collect it again, or choose another")
    for name in ("observations", "actions"):
        widths = room.widths(name)
        if len(widths) > 1:
            raise DataError(f"the episodes have {name} of different sizes {widths}, allowed one size")
    kind = room.kind("observations")
    terminated, truncated = (np.concatenate(each) for each in flags)
    unknown = np.zeros(len(terminated), bool)
    unknown[np.cumsum([len(each) for each in flags[0]]) - 1] = lacking
    return Columns(
        room.take("observations", kind),
        room.take("actions", np.float32),
        room.take("rewards", room.kind("rewards")),
        terminated,
        truncated,
        room.take("next_observations", kind),
        unknown=unknown if any(lacking) else None,
    )


def _check_shapes(number: int, episode: Episode) -> None:
    length = len(episode.actions)
    shapes = ((length + 1, "obs"), (length, "act"), (length,), (length,), (length,))
    for name, column, shape in zip(Episode._fields, episode, shapes, strict=True):
        wanted = tuple(column.shape[-1] if isinstance(size, str) and column.ndim == 2 else size for size in shape)
        if column.shape != wanted:
            raise DataError(
                f"episode {number}: {name} of shape {list(column.shape)} for {length} actions, allowed "
                f"[{', '.join(map(str, shape))}]"
            )
