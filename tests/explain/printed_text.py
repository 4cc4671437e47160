"""Reads printed text."""

import re


def groups(pattern, text):
    """The groups of a pattern that a whole text must match."""
    match = re.fullmatch(pattern, text)
    assert match is not None, f"{text!r} is not of the form {pattern!r}"
    return match.groups()
