"""Listens to one page: what it requests, says and asks, kept until it is taken as a Window."""

from __future__ import annotations

from typing import Any

from playwright import sync_api as pw

from testruns.page import Target, Window
from testruns.trace import ConsoleSeen, RequestSeen

MOST_RECORDED = 200
"""Requests, console lines or errors kept per step."""
STAYS_OPEN = ("eventsource", "websocket", "media", "ping")
"""By design; nobody waits for these to end."""


def clean(text: str, most: int) -> str:
    """Cut, and without what no JSON or database takes: lone surrogates and NUL."""
    return text[:most].replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


class Events:
    """Lives in the browser's thread. `pending` and `navigation_error` are for whoever waits for the page."""

    def __init__(self, context: pw.BrowserContext, page: pw.Page, target: Target) -> None:
        self._page = page
        self._target = target
        self._inside = tuple(f"{origin}/" for origin in (target.origin, *target.extra_origins))
        self._pending: set[pw.Request] = set()
        self._navigation_error = ""
        self.crashed = False
        """The tab is gone, by a crash or because the page closed it."""
        self._clear()
        page.on("request", self._on_request)
        page.on("requestfinished", lambda request: self._pending.discard(request))
        page.on("response", self._on_response)
        page.on("requestfailed", self._on_failed)
        page.on("console", self._on_console)
        page.on("pageerror", self._on_page_error)
        page.on("dialog", self._on_dialog)
        page.on("crash", self._on_gone)
        page.on("close", self._on_gone)
        context.on("page", self._on_new_tab)

    def _clear(self) -> None:
        self._requests: list[RequestSeen] = []
        self._console: list[ConsoleSeen] = []
        self._page_errors: list[str] = []
        self._dialogs: list[str] = []
        self._blocked: list[str] = []
        self._status: int | None = None

    def take(self) -> Window:
        """All that happened since the last call."""
        window = Window(
            requests=tuple(self._requests),
            console=tuple(self._console),
            page_errors=tuple(self._page_errors),
            dialogs=tuple(self._dialogs),
            blocked=tuple(self._blocked),
            status=self._status,
        )
        self._clear()
        return window

    def take_navigation_error(self) -> str:
        """Chromium's words for why the page could not be loaded; empty when it could."""
        error, self._navigation_error = self._navigation_error, ""
        return error

    @property
    def loading(self) -> list[pw.Request]:
        """The environment's own requests that have not ended."""
        return [request for request in self._pending if request.url.startswith(self._inside)]

    def is_document(self, request: pw.Request) -> bool:
        """Of the page itself, not of a frame in it."""
        return request.is_navigation_request() and request.frame == self._page.main_frame

    def block(self, route: pw.Route) -> None:
        _keep(self._blocked, clean(route.request.url, 500))
        route.abort("blockedbyclient")

    def _on_request(self, request: pw.Request) -> None:
        if request.resource_type not in STAYS_OPEN:
            self._pending.add(request)

    def _on_response(self, response: pw.Response) -> None:
        if self.is_document(response.request) and not 300 <= response.status < 400:
            self._status = response.status
            self._navigation_error = ""
        self._record(response.request, response.status)

    def _on_failed(self, request: pw.Request) -> None:
        self._pending.discard(request)
        failure = request.failure or "ERR_FAILED"
        # A page that is left cancels what it was loading; that says nothing.
        if "ERR_ABORTED" in failure:
            return
        if self.is_document(request) and "BLOCKED_BY_CLIENT" not in failure:
            self._navigation_error = failure
        self._record(request, None)

    def _record(self, request: pw.Request, status: int | None) -> None:
        if request.url.startswith(self._inside):
            url = clean(self._target.relative(request.url), 500)
            seen = RequestSeen(method=request.method, url=url, status=status, kind=request.resource_type)
            _keep(self._requests, seen)

    def _on_console(self, message: pw.ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            text = clean(self._target.relative(message.text), 500)
            _keep(self._console, ConsoleSeen(level=message.type, text=text))

    def _on_page_error(self, error: pw.Error) -> None:
        _keep(self._page_errors, clean(self._target.relative(f"{error.name}: {error.message}"), 500))

    def _on_dialog(self, dialog: pw.Dialog) -> None:
        """A question is answered as a person who goes on would: yes; a text that is asked for is not given."""
        _keep(self._dialogs, clean(f"{dialog.type}: {dialog.message}", 300))
        if dialog.type == "prompt":
            dialog.dismiss()
        else:
            dialog.accept()

    def _on_new_tab(self, page: pw.Page) -> None:
        _keep(self._dialogs, clean(f"new tab: {self._target.relative(page.url)}", 300))
        page.close()

    def _on_gone(self, _: pw.Page) -> None:
        self.crashed = True


def _keep(kept: list[Any], item: object) -> None:
    if len(kept) < MOST_RECORDED:
        kept.append(item)
