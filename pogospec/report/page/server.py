"""The page of runs that go on, served to this machine alone and made anew as they write."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pogospec.errors import PogospecError, UsageError, reason
from pogospec.report.page.write import Page
from pogospec.terminal import say

HERE = "127.0.0.1"
SHARE, LONGEST = 10, 60.0
"""A page is made in one part of so many of the time of a processor, unless it is so many seconds old: the rest belongs
to the training."""


class Watched:
    """The newest page; made again when it is asked for and the runs have written something since."""

    def __init__(self, make: Callable[[], Page], look: Callable[[], str], every: float):
        self._make, self._look, self._every = make, look, every
        self._lock = threading.Lock()
        self._told = ""
        self._rest = 0.0  # until when the page stays; the first takes long, as it imports what pages need
        self._page = self._make()

    def _made(self) -> Page:
        begin = time.thread_time()
        page = self._make()
        took = time.thread_time() - begin
        self._rest = time.monotonic() + max(self._every, min(LONGEST, SHARE * took))
        return page

    def newest(self) -> Page:
        """The page as it is now; the one before where the runs cannot be read at this moment, which is told once."""
        with self._lock:
            try:
                if time.monotonic() >= self._rest and self._look() != self._page.version:
                    self._page = self._made()
            except Exception as error:  # a file that is replaced at this moment, for example
                self._rest = time.monotonic() + self._every
                told = str(error) if isinstance(error, PogospecError) else f"{type(error).__name__}: {error}"
                if told != self._told:
                    self._told = told
                    say(f"the page stays as it was: {told}", error=True)
            return self._page


class _Handler(BaseHTTPRequestHandler):
    """Answers for two addresses: the page, and which version of it is the newest."""

    server: _Server

    def do_GET(self) -> None:
        """Send the page, or its version."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Say what would be sent."""
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if self.headers.get("Host") not in self.server.hosts:  # another site that calls this machine by its own name
            self._send(403, "text/plain", f"ask for http://{self.server.hosts[0]}/\n", body)
        elif path == "/":
            self._send(200, "text/html", self.server.watched.newest().text, body)
        elif path == "/version":
            self._send(200, "text/plain", self.server.watched.newest().version, body)
        else:
            self._send(404, "text/plain", "there is one page here: /\n", body)

    def _send(self, code: int, kind: str, text: str, body: bool) -> None:
        content = text.encode(errors="replace")
        self.send_response(code)
        for name, value in (
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    watched: Watched

    def __init__(self, port: int):
        super().__init__((HERE, port), _Handler)
        own = self.server_address[1]
        self.hosts = [f"{HERE}:{own}", f"localhost:{own}", *((HERE, "localhost") if own == 80 else ())]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that goes away while it is sent something is no trouble."""


@contextmanager
def served(make: Callable[[], Page], look: Callable[[], str], port: int, every: float) -> Iterator[tuple[str, _Server]]:
    """A server at work, and its address; raises UsageError where the port cannot be taken."""
    server = _bound(port)
    try:
        server.watched = Watched(make, look, every)
        yield f"http://{server.hosts[0]}/", server
    finally:
        server.server_close()


def serve(
    make: Callable[[], Page],
    look: Callable[[], str],
    port: int,
    every: float,
    tell: Callable[[str], None] = say,
) -> None:
    """Serve pages on this machine until it is interrupted.

    Args:
        make: makes the page.
        look: the version that a page made now would have.
        port: of this machine; 0 takes a free one.
        every: seconds between looks, at least.
        tell: is told the address.

    Raises UsageError where the port cannot be taken, and what `make` raises the first time.

    """
    with served(make, look, port, every) as (address, server):
        tell(address)
        server.serve_forever(poll_interval=0.2)


def _bound(port: int) -> _Server:
    try:
        return _Server(port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is in use by another program" if taken else f"cannot be taken ({reason(error)})"
        raise UsageError(f"--port: {port} {why}; choose another, or 0 for a free one") from None
