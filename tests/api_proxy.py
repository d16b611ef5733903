"""A real API server behind a proxy that misbehaves on demand: slow, refusing, cutting streams. For tests."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from environments.runtimes.kubernetes.api import connect

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


@dataclass
class Trouble:
    """What happens to the next requests, oldest first: a status to answer, seconds to wait, or None: nothing."""

    next: deque[int | float | None] = field(default_factory=deque)
    cut_after: float | None = None
    """Seconds after which each stream is broken off."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    delay: float = 0.0
    """Seconds that every request takes longer: the recorded latency of a distant API server."""


@contextmanager
def misbehaving(kubeconfig: str, directory: Path) -> Iterator[tuple[str, Trouble]]:
    """(a kubeconfig that goes by the proxy, what it does)."""
    trouble = Trouble()
    client = connect(kubeconfig)
    upstream = client.configuration.host

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            trouble.seen.append((self.command, self.path))
            happens = trouble.next.popleft() if trouble.next else None
            if isinstance(happens, int):
                return self._refuse(happens)
            time.sleep(trouble.delay + (happens or 0.0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            client.update_params_for_auth(headers, [], ["BearerToken"], self.path, self.command, None)
            answer = client.rest_client.pool_manager.request(
                self.command, upstream + self.path, body=body, headers=headers, retries=False, preload_content=False
            )
            try:
                self._relay(answer)
            except OSError:
                self.close_connection = True  # who asked has gone
            finally:
                answer.close()

        def _relay(self, answer: Any) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            stream = "watch=" in urlsplit(self.path).query or "follow=" in urlsplit(self.path).query
            timer = None
            if stream and trouble.cut_after is not None:
                timer = threading.Timer(trouble.cut_after, answer.shutdown)
                timer.start()
            try:
                while chunk := answer.read1(65536):
                    self.wfile.write(chunk)
                    self.wfile.flush()
            except (OSError, ValueError, AttributeError):
                return  # cut, as was wished
            finally:
                if timer:
                    timer.cancel()
                    timer.join()

        def _refuse(self, status: int) -> None:
            body = json.dumps({"kind": "Status", "code": status, "message": "made up by a test"}).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _pass_on

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield write_kubeconfig(directory / "proxied", f"http://127.0.0.1:{server.server_port}", {}), trouble
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        client.rest_client.close()


def write_kubeconfig(path: Path, server: str, user: dict[str, str]) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(config))
    return str(path)


def with_token(kubeconfig: str, path: Path, token: str) -> str:
    """The same cluster, entered by a token."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    return str(path)
