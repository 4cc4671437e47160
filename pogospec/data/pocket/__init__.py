"""The embedded suite: small sets of real MuJoCo physics that ship with the package."""

from pathlib import Path

FOLDER = Path(__file__).parent
