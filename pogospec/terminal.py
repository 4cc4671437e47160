"""What is printed: all text as it is, never markup or escape codes, whatever the encoding of the output holds."""

from __future__ import annotations

import codecs
import io
import shlex
import sys
import unicodedata

from pogospec.text import plain

HANDLER = "pogospec"
SPELLED = {
    "±": "+-", "−": "-", "×": "x", "·": "*", "…": "...", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "√": "sqrt",
    "∝": "~", "∂": "d", "∇": "grad ", "∫": "int ", "‖": "||", "\u0304": "_bar",
}  # fmt: skip
"""The package's own signs in ASCII; Greek letters and small digits are spelled by rule, see `_spelled`."""


def prepare() -> None:
    """Let the output of this process take all text: what its encoding does not hold is spelled in ASCII."""
    codecs.register_error(HANDLER, _handle)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def say(text: object, error: bool = False) -> None:
    """Print text and a newline, to the standard output or that of errors."""
    print(plain(str(text)), file=sys.stderr if error else sys.stdout)


def writable(text: str) -> str:
    """Text as the standard output will show it; so that columns are as wide as they will be."""
    text, encoding = plain(text), getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if _holds(encoding, c) else _spelled(c) for c in text)
    return text


def command(*words: object) -> str:
    """A command of this program as a shell takes it."""
    return shlex.join(["pogospec", *map(str, words)])


def _holds(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _handle(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelled, error.object[error.start : error.end])), error.end


def _spelled(letter: str) -> str:
    """A character in ASCII: σ sigma, Σ Sigma, ² ^2, ₁ _1, ½ 1/2, and of those without a spelling the number."""
    if letter in SPELLED:
        return SPELLED[letter]
    words = unicodedata.name(letter, "").split()
    if len(words) == 4 and words[0] == "GREEK" and words[2] == "LETTER":
        name = words[3].lower().replace("lamda", "lambda")
        return name if words[1] == "SMALL" else name.capitalize()
    kind, plainer = unicodedata.decomposition(letter).partition(" ")[0], unicodedata.normalize("NFKD", letter)
    sign = {"<super>": "^", "<sub>": "_", "<fraction>": ""}.get(kind)
    plainer = plainer.replace("\u2044", "/")
    return f"(U+{ord(letter):04X})" if sign is None or not plainer.isascii() else sign + plainer
