"""Fixtures of the data tests."""

import pytest


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Empty folders in the place of all folders that are searched for datasets; the first one is this package's."""
    for variable in ("POGOSPEC_DATA_DIR", "D4RL_DATASET_DIR", "MINARI_DATASETS_PATH"):
        folder = tmp_path / variable
        folder.mkdir()
        monkeypatch.setenv(variable, str(folder))
    return tmp_path / "POGOSPEC_DATA_DIR"
