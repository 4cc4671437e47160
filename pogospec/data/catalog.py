"""Which source an id is of, and the datasets at hand: every door to data goes through here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pogospec import registry
from pogospec.data.sources.base import Entry, Source
from pogospec.data.tasks.goals import refused
from pogospec.errors import DataError
from pogospec.registry import nearest


def sources() -> Iterator[Source]:
    """All sources in the order in which they are asked: those with a prefix, then those that look closer.

    Raises DataError where the package of a third party cannot be imported.
    """
    others = []
    for name in registry.table("source"):
        source = _load(name)
        if source.prefix:
            yield source
        else:
            others.append(source)
    yield from others


def _load(name: str) -> Source:
    try:
        return registry.load("source", name)()
    except Exception as error:  # what the module of another package raises
        where, why = registry.table("source")[name], f"{type(error).__name__}: {error}"
        raise DataError(
            f"the source of data '{name}', {where}, cannot be loaded ({why}); mend or remove the package that has it"
        ) from None


def source_of(dataset_id: str, observe: Sequence[str] | None = None) -> Source:
    """The source of an id; raises DataError for an id that is of none, and for `observe` where nothing is chosen."""
    for source in sources():
        if source.owns(dataset_id):
            if observe is not None and not source.observes:
                raise refused(observe)
            return source
    close = near(dataset_id)
    raise DataError(
        f"data.dataset: found '{dataset_id}', allowed {', '.join(forms())}"
        + (f"; did you mean {close}?" if close else "; see those at hand with: pogospec data list")
    )


def forms() -> list[str]:
    """How ids are written, for people."""
    return [source.form or f"{source.prefix}NAME" for source in sources()]


def near(dataset_id: str) -> str | None:
    """The dataset of any source that may be meant by an id."""
    meant = [source.near(dataset_id) for source in sources()]
    return nearest(dataset_id, [name for name in meant if name is not None], cutoff=0.0)


def at_hand(shipped: bool = False) -> list[Entry]:
    """All datasets that can be listed, each under the source that its id is of; `shipped`: those on every machine.

    Nothing but headers of files is read, but for sources of third parties that know no better.
    """
    every = list(sources())
    return [
        source.describe(name)
        for source in every
        if source.shipped or not shipped
        for name in source.ids()
        if next(one for one in every if one.owns(name)) is source
    ]
