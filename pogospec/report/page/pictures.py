"""Pictures of a page that need no JavaScript: Matplotlib's, as SVG whose ink follows the colours of the reader."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pogospec.errors import PogospecError
from pogospec.report.figures.catalog import EACH, NAMES, picture_of
from pogospec.report.page.members import Member
from pogospec.report.reading.flow import is_target
from pogospec.report.reading.series import series
from pogospec.report.reading.sweeps import of_branches, of_sweeps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ON_PAPER = ("sweep", "path", "density")
"""Pictures that colour areas on which ink stands, or take their colours from a scale that is dark at one end."""
TEXTS = {
    "curves": "Mean and std over seeds, over updates",
    "sweep": "The last step of every cell against what was swept",
    "switching": "Later steps against the moment where they branch off",
    "path": "The policies on their manifold",
    "energy": "Energy and distances along the flow",
    "proximal": "Energy plus D/tau before and after re-centring",
    "density": "Action densities of the behaviour, or the start, and each step, in one state",
}
GREY = re.compile(r"#([0-9a-f]{2})\1\1\b")
IN_DARK = {"0072b2": "3d9ee0", "d55e00": "f07f35", "009e73": "1fc99a"}
"""Colours of curves that are too dark on a dark page -> what the page draws them in there."""
COLOR = re.compile(f"#({'|'.join(IN_DARK)})\\b", re.IGNORECASE)
STYLE = "svg{{fill:#1b1f24}}{light}@media (prefers-color-scheme:dark){{svg{{fill:#e6e9ee}}{dark}}}"


class Picture(NamedTuple):
    """A picture as an address that holds all of it; `drawn`: a browser with JavaScript draws the same itself."""

    name: str
    text: str
    address: str
    paper: bool
    drawn: bool


def pictures_of(members: Sequence[Member]) -> list[Picture]:
    """Every picture that applies to the runs."""
    runs = [member.run for member in members]
    known = is_target(runs[0])
    apart = {
        "curves": known or not any(series(run) for run in runs),
        "sweep": not of_sweeps(runs),
        "switching": not of_branches(runs),
        "path": not known,
        "energy": len({member.dataset for member in members}) > 1 and not known,
    } | dict.fromkeys(EACH, len(runs) > 1)
    found = []
    for name in NAMES:
        if apart.get(name):
            continue
        try:
            figure = picture_of(runs, name)
        except PogospecError:  # a step that has not ended yet, a family without a density, data that are elsewhere
            continue
        paper = name in ON_PAPER
        found.append(Picture(name, TEXTS[name], _address(figure, paper), paper, name == "curves"))
    return found


def _address(figure: Figure, paper: bool) -> str:
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "pogospec"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=not paper)
    text = out.getvalue()
    return f"data:image/svg+xml;base64,{base64.b64encode((text if paper else in_both(text)).encode()).decode()}"


def in_both(svg: str) -> str:
    """An SVG whose greys, black among them, turn over, and whose curves get lighter, where the reader asks for dark."""
    shades = sorted({found[1] for found in GREY.finditer(svg)})
    colors = sorted({found[1].lower() for found in COLOR.finditer(svg)})
    light = "".join([*(f"--g{shade}:#{shade * 3};" for shade in shades), *(f"--c{one}:#{one};" for one in colors)])
    dark = "".join(
        [*(f"--g{shade}:#{_turned(shade) * 3};" for shade in shades), *(f"--c{one}:#{IN_DARK[one]};" for one in colors)]
    )
    style = STYLE.format(light=f"svg{{{light}}}", dark=f"svg{{{dark}}}")
    inked = GREY.sub(lambda found: f"var(--g{found[1]})", svg)
    inked = COLOR.sub(lambda found: f"var(--c{found[1].lower()})", inked)
    return re.sub(r"(<svg\b[^>]*>)", lambda found: f"{found[1]}<style>{style}</style>", inked, count=1)


def _turned(shade: str) -> str:
    """A grey that is as far from black as the given one is from white."""
    return f"{max(0x14, min(0xE6, 255 - int(shade, 16))):02x}"
