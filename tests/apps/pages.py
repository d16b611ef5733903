"""A web server of a few given pages, for tests of the browser: each test says what its pages are."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Page:
    body: str = ""
    status: int = 200
    location: str = ""
    stalls: bool = False
    """Answers only when the server is stopped."""
    content_type: str = "text/html; charset=utf-8"


@dataclass
class Site:
    url: str
    asked: list[str] = field(default_factory=list)
    """Method, Host header and path of each request."""


@contextmanager
def serving(pages: Mapping[str, Page | str]) -> Iterator[Site]:
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            site.asked.append(f"{self.command} {self.headers.get('Host')} {self.path}")
            page = pages.get(urlsplit(self.path).path, Page("<h1>Nothing here</h1>", 404))
            page = Page(page) if isinstance(page, str) else page
            if page.stalls:
                stopped.wait(60)
            body = page.body.encode()
            self.send_response(page.status)
            self.send_header("Content-Type", page.content_type)
            if page.location:
                self.send_header("Location", page.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A browser that has seen enough hangs up; that is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
