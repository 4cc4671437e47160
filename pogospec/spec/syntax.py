"""What is wrong with text that is no YAML, in words of our own: PyYAML speaks of its parser's tokens."""

from __future__ import annotations

import re
from typing import Any

import yaml

REASONS = {
    r"expected ',' or '\]', but got '<stream end>'": "the list in [ ] does not end; close it with ]",
    r"expected ',' or '\}', but got '<stream end>'": "the mapping in { } does not end; close it with }",
    r"expected ',' or '\]'": "a list in [ ] lacks a comma, or its ]",
    r"expected ',' or '\}'": "a mapping in { } lacks a comma, or its }",
    r"expected the node content, but found '<stream end>'": "a [ or { does not end; close it",
    r"but found '([]}])'|node content, but found '([,:?])'": "{0} stands where a value is looked for; remove it",
    r"found unexpected end of stream": "a quote does not end; close it",
    r"could not find expected ':'": "a line has no colon, allowed key: value; see that what is above it is closed",
    r"mapping values are not allowed here": "a second colon in a value, a line indented too far, or one above lacks a "
    "colon; quote the text, put the key under its neighbours, or write key: value",
    r"found character '(.+)' that cannot start any token": "a value begins with {0}; quote it",
    r"expected <block end>, but found '<scalar>'": "text goes on after the end of a value; quote all of it",
    r"expected <block end>, but found '<anchor>'": "a value has two anchors; keep one",
    r"expected <block end>, but found": "a line is indented as none above it, or a list stands beside keys; align it",
    r"found undefined alias '(.+)'": "the alias *{0} is undefined, for no anchor &{0} stands above it",
    r"found duplicate anchor '(.+?)'": "the anchor &{0} stands here twice; keep one",
    r"found unknown escape character '(.+)'": "\\{0} means nothing in double quotes; use single quotes",
    r"hexadecimal numbers": "an escape in double quotes lacks digits; use single quotes",
    r"chomping or indentation": "| and > are followed by nothing but + or -",
    r"expected alphabetic": "& and * need a name; quote text that begins with them",
    r"tag|directive|YAML document|<document": "a tag, a directive or an end of document; remove it",
}
"""PyYAML's words -> ours; {0} is the first group."""


def reason(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, and what to do."""
    said = ", ".join(part for part in (error.context, error.problem) if part)
    for pattern, words in REASONS.items():
        if found := re.search(pattern, said, re.DOTALL):
            return words.replace("{0}", next((group for group in found.groups() if group), ""))
    return "look for brackets, quotes, colons and indentation that do not match here"


def forbidden(error: yaml.YAMLError) -> str:
    """The character that YAML does not allow, for people."""
    character: Any = getattr(error, "character", None)
    return f"U+{character:04X}" if isinstance(character, int) else "here"
