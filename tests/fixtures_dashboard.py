"""A real dashboard for browser tests: uvicorn in its own process, on the test's own database and Valkey."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from testruns.chromium import BrowserMissing, find_browser

CHECKOUT = Path(__file__).parent.parent
T = TypeVar("T")


class Worker:
    """Runs a test's database work as a worker would: not in the thread that drives the browser.

    Playwright keeps an event loop in that thread, in which Django refuses to query and Channels to push.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)

    def __call__(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return self._thread.submit(work, *args, **kwargs).result(timeout=60)

    def end(self) -> None:
        self(lambda: connection.close())  # this thread's: the name is looked up in it
        self._thread.shutdown()


class Dashboard:
    """The running dashboard, and how to get a signed-in browser for it."""

    def __init__(self, url: str, browser: Browser, worker: Worker) -> None:
        self.url = url
        self.browser = browser
        self.worker = worker

    def signed_in(self, user: User, **context: Any) -> BrowserContext:
        made = self.browser.new_context(base_url=self.url, **context)
        made.set_default_timeout(20_000)
        made.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": self.worker(_session, user), "url": self.url}]
        )
        return made


def _session(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


class Server:
    """uvicorn over a socket that listens before it starts: early requests wait in the backlog."""

    def __init__(self, database_url: str) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._environment = {**os.environ, "DATABASE_URL": database_url, "LOG_LEVEL": "WARNING"}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        descriptor = self._socket.fileno()
        words = [sys.executable, "-m", "uvicorn", "previewkit.asgi:application", "--fd", str(descriptor)]
        words += ["--log-level", "warning", "--no-access-log", "--timeout-graceful-shutdown", "1"]
        self._process = subprocess.Popen(
            words, cwd=CHECKOUT, env=self._environment, pass_fds=[descriptor], stdin=subprocess.DEVNULL
        )

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def end(self) -> None:
        self.stop()
        self._socket.close()


@pytest.fixture(scope="module")
def dashboard_server(django_db_setup: None) -> Iterator[Server]:
    told = settings.DATABASES["default"]
    url = f"postgres://{told['USER']}:{told['PASSWORD']}@{told['HOST']}:{told['PORT']}/{told['NAME']}"
    server = Server(url)
    yield server
    server.end()


@pytest.fixture
def dashboard(transactional_db: None, dashboard_server: Server) -> Iterator[Dashboard]:
    found = find_browser()
    if isinstance(found, BrowserMissing):
        pytest.skip(f"{found.why} {found.mend}")
    worker = Worker()
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.path, args=flags)
        yield Dashboard(f"http://127.0.0.1:{dashboard_server.port}", browser, worker)
        browser.close()
    worker.end()
