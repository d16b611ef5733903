"""One Chromium and the thread in which all of Playwright's calls are made.

Playwright's synchronous API keeps an event loop running in its thread, under which Django's ORM refuses to work;
so callers give a job to `Browser.run` and keep their own thread for themselves.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
from playwright import sync_api as pw

from testruns.browser.session import Session, first_line, is_gone
from testruns.chromium import BrowserFound, launch_flags
from testruns.page import Limits, Target
from testruns.trace import Determinism

T = TypeVar("T")
Fence = Callable[[], None]
"""Raises when the caller should stop; called several times a second while a job runs."""


class BrowserGone(Exception):
    """Chromium ended, or had to be ended, during this job; the message says why. The next job gets a new one."""


class Browser:
    """One Chromium process and its thread. Use as a context manager; `close` leaves no process behind."""

    def __init__(self, found: BrowserFound, targets: Sequence[Target]) -> None:
        self.found = found
        self._token = uuid.uuid4().hex
        self._flags = launch_flags(
            [target.host for target in targets]
            + [urlsplit(o).hostname or "" for t in targets for o in t.extra_origins],
            list(dict.fromkeys(rule for target in targets for rule in target.host_rules)),
            self._token,
        )
        self._jobs: SimpleQueue[tuple[Callable[[pw.Browser], Any], Future[Any]] | None] = SimpleQueue()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name="previewkit-browser", daemon=True)

    def __enter__(self) -> Browser:
        self._thread.start()
        try:
            self._started.result(timeout=60)
        except BaseException as error:
            self.close()
            if isinstance(error, (pw.Error, NotYet)):
                raise BrowserGone(f"{self.found.path} did not start: {first_line(error)}") from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        target: Target,
        determinism: Determinism,
        job: Callable[[Session], T],
        *,
        limits: Limits | None = None,
        fence: Fence = lambda: None,
    ) -> T:
        """`job` with a fresh Session, in the browser's thread; `fence` is called in the caller's meanwhile."""
        if not self._thread.is_alive():
            raise BrowserGone("The browser is closed.")
        limits = limits or Limits()
        future: Future[T] = Future()

        def visit(chromium: pw.Browser) -> T:
            with Session.open(chromium, target, determinism, limits) as session:
                return job(session)

        self._jobs.put((visit, future))
        return self._await(future, limits.job, fence)

    def _await(self, future: Future[T], seconds: float, fence: Fence) -> T:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fence()
            except BaseException:
                self._end()
                raise
            try:
                return future.result(timeout=0.25)
            except NotYet:
                # The job itself may have raised a TimeoutError.
                if future.done():
                    raise
            if not self._thread.is_alive():
                raise BrowserGone("Playwright's own process ended.")
            if time.monotonic() > deadline:
                self._end()
                raise BrowserGone(f"A page did not answer for {seconds:.0f} s, so Chromium was ended.")

    def _serve(self) -> None:
        try:
            with pw.sync_playwright() as playwright:
                chromium = self._launch(playwright)
                self._started.set_result(None)
                while (item := self._jobs.get()) is not None:
                    job, future = item
                    try:
                        if not chromium.is_connected():
                            chromium = self._launch(playwright)
                        future.set_result(job(chromium))
                    except BaseException as error:  # noqa: BLE001 - the caller's thread gets it, whatever it is
                        future.set_exception(_explained(error))
                if chromium.is_connected():
                    chromium.close()
        except pw.Error as error:
            if not self._started.done():
                self._started.set_exception(error)

    def _launch(self, playwright: pw.Playwright) -> pw.Browser:
        return playwright.chromium.launch(
            executable_path=self.found.path,
            args=self._flags,
            chromium_sandbox=os.geteuid() != 0,
            timeout=45_000,
        )

    def _end(self) -> None:
        """Ends Chromium's processes, whatever they are doing; Playwright's calls then fail and the thread goes on."""
        mark = f"--previewkit-browser={self._token}"
        for child in psutil.Process().children(recursive=True):
            try:
                if mark in child.cmdline():
                    child.kill()
            except psutil.NoSuchProcess:
                continue

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._jobs.put(None)
        self._thread.join(timeout=10)
        if self._thread.is_alive():
            self._end()
            self._thread.join(timeout=10)


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, pw.Error) and is_gone(error):
        return BrowserGone(f"Chromium ended by itself: {first_line(error)}")
    return error
