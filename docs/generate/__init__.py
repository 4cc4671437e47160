"""Pages that are derived from the package; made anew at every build, and none is committed."""

from __future__ import annotations

from pathlib import Path

from generate import commands, geometries, language, systems


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown."""
    return language.pages() | systems.pages() | geometries.pages() | commands.pages()


def write(folder: Path) -> list[Path]:
    """Write the pages below a folder where they differ from what is there, and remove those that are no longer made."""
    made = pages()
    for room in {path.partition("/")[0] for path in made}:
        for old in (folder / room).glob("**/*.md"):
            if old.relative_to(folder).as_posix() not in made:
                old.unlink()
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return [folder / name for name in made]
