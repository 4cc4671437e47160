"""Numbers as text and LaTeX."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """A number in at most twelve digits, written the shorter way: 20, 0.4167, 0.01, 1e-3."""
    text = f"{value:.12g}"
    if 0 < abs(value) < 1:
        exponent = math.floor(math.log10(abs(value)))
        scientific = f"{value / 10.0**exponent:.12g}e{exponent}"
        text = scientific if "e" in text or len(scientific) < len(text) else text
    return text.replace("e+", "e")


def short(value: float) -> str:
    """A number for people, in three digits."""
    return number(float(f"{value:.3g}"))


def latex_number(value: float) -> str:
    """A number as LaTeX, powers of ten written out."""
    mantissa, e, exponent = number(value).partition("e")
    if not e:
        return mantissa
    power = rf"10^{{{exponent}}}"
    return power if mantissa == "1" else rf"{mantissa}\cdot {power}"
