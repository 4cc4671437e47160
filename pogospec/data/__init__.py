"""Data sources; each yields one `Dataset`."""

from __future__ import annotations

from pogospec.types import Dataset


def load(dataset_id: str, environment: str | None = None) -> Dataset:
    """Load an embedded set (`pocket/…`) or a local Minari dataset; raises DataError."""
    from pogospec.data.minari import load_minari
    from pogospec.data.pocket.loader import load_pocket

    dataset = load_pocket(dataset_id) if dataset_id.startswith("pocket/") else load_minari(dataset_id)
    return dataset if environment is None else dataset._replace(environment=environment)


def available() -> list[tuple[str, str]]:
    """Ids of the datasets at hand, each with a line about it."""
    from pogospec.data.minari import local_ids, root
    from pogospec.data.pocket.loader import cards

    embedded = [(name, card["about"]) for name, card in cards().items()]
    return embedded + [(name, f"local Minari dataset in {root()}") for name in local_ids()]
