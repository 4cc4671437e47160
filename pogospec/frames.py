"""Pictures into a film: a GIF by Pillow, an MP4 by the encoder of imageio-ffmpeg."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from PIL import Image

from pogospec.errors import UsageError

Colours = Callable[[Image.Image], Sequence[Image.Image]]
"""The first picture of a film -> pictures of its width, whose colours a GIF has."""
SUFFIXES = (".gif", ".mp4")
COLOURS = 256


def require(path: Path, name: str = "-o") -> None:
    """Raise UsageError for a file that is no film, or that this machine cannot write; `name`: who asked for it."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{name}: found '{path.name}', allowed a file {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise UsageError(f"{name}: {path} is a folder, allowed a file {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError:
            raise UsageError(
                f'{path.name}: MP4 needs imageio-ffmpeg, which is not installed; pip install "pogospec[film]", or '
                "write a .gif"
            ) from None


def write(path: Path, pictures: Iterator[Image.Image], rate: float, colours: Colours = lambda first: [first]) -> int:
    """Write pictures, so many a second, and publish the file as a whole; how many there were. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        count = _gif(part, pictures, rate, colours) if path.suffix.lower() == ".gif" else _mp4(part, pictures, rate)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _gif(path: Path, pictures: Iterator[Image.Image], rate: float, colours: Colours) -> int:
    first = next(pictures)
    palette = _palette(colours(first))
    count = 0

    def reduced() -> Iterator[Image.Image]:
        nonlocal count
        for picture in itertools.chain([first], pictures):
            count += 1
            yield picture.quantize(palette=palette, dither=Image.Dither.NONE)

    frames = reduced()
    # a GIF counts hundredths of a second
    next(frames).save(path, save_all=True, append_images=frames, duration=max(2, round(100 / rate)) * 10, loop=0)
    return count


def _palette(pictures: Sequence[Image.Image]) -> Image.Image:
    """Colours of several pictures of one width."""
    every = Image.new("RGB", (pictures[0].width, sum(picture.height for picture in pictures)))
    top = 0
    for picture in pictures:
        every.paste(picture, (0, top))
        top += picture.height
    return every.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # small things keep theirs


def _mp4(path: Path, pictures: Iterator[Image.Image], rate: float) -> int:
    import imageio_ffmpeg

    first, fps = next(pictures), cast(int, rate)  # a fraction is as good
    writer = imageio_ffmpeg.write_frames(
        str(path), first.size, fps=fps, codec="libx264", quality=7, macro_block_size=2, ffmpeg_log_level="error"
    )
    with warnings.catch_warnings():  # of JAX: a process that starts another one at once is not what it fears
        warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
        writer.send(None)
    count = 0
    try:
        for picture in itertools.chain([first], pictures):
            writer.send(picture.tobytes())
            count += 1
    finally:
        writer.close()
    return count
