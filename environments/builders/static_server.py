"""Serves a directory of files over HTTP on PORT: what a static site's environment runs. Standard library alone.

    python -I static_server.py ROOT [--single-page]

Run by path, in an interpreter that knows nothing of PreviewKit.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from urllib.parse import unquote, urlsplit


class Site(SimpleHTTPRequestHandler):
    """Files as they are; `/about` finds about.html; unknown paths get 404.html, or index.html in a single page."""

    protocol_version = "HTTP/1.1"
    server_version = "static"
    single_page = False
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
        ".woff2": "font/woff2",
        ".svg": "image/svg+xml",
    }

    def translate_path(self, path: str) -> str:
        found = super().translate_path(path)
        root = os.path.realpath(self.directory)
        real = os.path.realpath(found.replace("\0", ""))
        hidden = any(part.startswith(".") and part != ".well-known" for part in real[len(root) :].split(os.sep))
        if "\0" in found or hidden or (real != root and not real.startswith(root + os.sep)):
            return os.path.join(os.devnull, "absent")
        if not os.path.exists(found) and os.path.isfile(found + ".html"):
            return found + ".html"
        return found

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        if code != HTTPStatus.NOT_FOUND:
            return super().send_error(code, message, explain)
        name = urlsplit(self.path).path.rpartition("/")[2]
        as_page = self.single_page and "." not in unquote(name)
        page = os.path.join(self.directory, "index.html" if as_page else "404.html")
        if not os.path.isfile(page):
            return super().send_error(code, message, explain)
        with open(page, "rb") as file:
            body = file.read()
        self.send_response(HTTPStatus.OK if as_page else code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        kind = super().guess_type(path)
        return f"{kind}; charset=utf-8" if kind in ("text/html", "text/css", "text/javascript") else kind

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        """A directory without an index.html is not a page."""
        self.send_error(HTTPStatus.NOT_FOUND)


class SinglePage(Site):
    single_page = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(root: str, *options: str) -> None:
    handler = SinglePage if "--single-page" in options else Site
    address = (os.environ.get("HOST", "0.0.0.0"), int(os.environ["PORT"]))
    with Server(address, partial(handler, directory=os.path.abspath(root))) as server:

        def stop(number: int, frame: FrameType | None) -> None:
            raise SystemExit(0)

        signal.signal(signal.SIGTERM, stop)
        print(f"Serving {root} on {address[0]}:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
