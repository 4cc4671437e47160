"""Downloads datasets through Minari; nothing else in the package does."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from pogospec.data import d4rl, files
from pogospec.data.gym import quiet
from pogospec.data.minari import local_ids, root
from pogospec.data.pocket import loader
from pogospec.errors import DataError, UsageError


def fetch(dataset_id: str) -> Path:
    """Download a dataset into Minari's folder; raises DataError in one line where that cannot be done."""
    import minari

    _check_id(dataset_id)
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
    return root() / dataset_id


def _check_id(dataset_id: str) -> None:
    """Refuse ids that Minari has nothing to do with."""
    if dataset_id.startswith(loader.PREFIX):
        raise UsageError(f"'{dataset_id}' is embedded, or not at all; see: pogospec data list")
    if dataset_id.startswith(files.PREFIX):
        raise UsageError(f"'{dataset_id}' is a file of yours; allowed the id of a Minari dataset")
    if dataset_id.startswith(d4rl.PREFIX):
        known = dataset_id if dataset_id in d4rl.IDS else "d4rl/hopper-medium-v2"
        name = d4rl.file_name(known)
        where = f"put {name} at {d4rl.folders()[0] / name}"
        raise UsageError(f"D4RL's files are not fetched: get them from the D4RL project; for {known} {where}")


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
