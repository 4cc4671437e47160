"""Sources of datasets, one file each; `base.py` says what a source provides, `registry.py` names them all."""
