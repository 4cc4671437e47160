"""Runs as one page that needs no network: written into a file, or served on this machine while they go on."""

from pogospec.report.page.changes import fingerprint
from pogospec.report.page.server import serve
from pogospec.report.page.write import NAME, Page, Written, default_file, page_of, require, write_page

__all__ = [
    "NAME", "Page", "Written", "default_file", "fingerprint", "page_of", "require", "serve",
    "write_page",
]  # fmt: skip
