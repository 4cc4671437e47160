"""Pictures into a film: a GIF by Pillow, an MP4 by the encoder of imageio-ffmpeg."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from PIL import Image

from pogospec.errors import UsageError
from pogospec.film.picture import paled

SUFFIXES = (".gif", ".mp4")
COLOURS = 256


def require(path: Path) -> None:
    """Raise UsageError for a file that is no film, or that this machine cannot write."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o: found '{path.name}', allowed a file {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise UsageError(f"-o: {path} is a folder, allowed a file {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError:
            raise UsageError(
                f'{path.name}: MP4 needs imageio-ffmpeg, which is not installed; pip install "pogospec[film]", or '
                "write a .gif"
            ) from None


def write(path: Path, pictures: Iterator[Image.Image], rate: float) -> int:
    """Write pictures, so many a second, and publish the file as a whole; how many there were. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        count = (_gif if path.suffix.lower() == ".gif" else _mp4)(part, pictures, rate)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _gif(path: Path, pictures: Iterator[Image.Image], rate: float) -> int:
    first = next(pictures)
    palette = _palette(first)
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


def _palette(picture: Image.Image) -> Image.Image:
    """Colours of a picture, and of what it becomes where an episode is over."""
    both = Image.new("RGB", (picture.width, 2 * picture.height))
    both.paste(picture, (0, 0))
    both.paste(paled(picture), (0, picture.height))
    return both.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # small things keep theirs


def _mp4(path: Path, pictures: Iterator[Image.Image], rate: float) -> int:
    import imageio_ffmpeg

    first, fps = next(pictures), cast(int, rate)  # a fraction is as good
    writer = imageio_ffmpeg.write_frames(
        str(path), first.size, fps=fps, codec="libx264", quality=7, macro_block_size=2, ffmpeg_log_level="error"
    )
    writer.send(None)
    count = 0
    try:
        for picture in itertools.chain([first], pictures):
            writer.send(picture.tobytes())
            count += 1
    finally:
        writer.close()
    return count
