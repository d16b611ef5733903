"""Drives Chromium: the only importer of playwright.

`Browser` owns one Chromium and one thread in which all of Playwright's calls are made: its synchronous API keeps
an event loop running there, under which Django's ORM refuses to work; so callers give a job to `Browser.run`
and keep their own thread. `Session` is one visitor: a fresh context and page with the trace's determinism.
Every wait is for an event and has an end; what does not end is a StepFailed with a named reason.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
from playwright import sync_api as pw

from testruns.chromium import BrowserFound, launch_flags
from testruns.page import Element, Limits, PageLook, Problem, ProblemKind, StepFailed, Target, Window
from testruns.trace import Action, ConsoleSeen, Determinism, Locator, RequestSeen

T = TypeVar("T")
Fence = Callable[[], None]

_IN_PAGE = Path(__file__).with_name("in_page")
_STEADY = (_IN_PAGE / "steady.js").read_text("utf-8")
_QUIET = (_IN_PAGE / "quiet.js").read_text("utf-8")
_LOOK = (_IN_PAGE / "look.js").read_text("utf-8")
_LOOK_AT_PAGE = f"() => {{ {_LOOK}\nreturn page(); }}"
_LOOK_AT_ELEMENT = f"(el) => {{ {_LOOK}\nreturn element(el); }}"
_SUBMIT = """(el, check) => {
  const form = el.form || el.closest("form") || el;
  form.noValidate = check === "no";
  el === form ? form.requestSubmit() : form.requestSubmit(el);
}"""

STILL_MS = 80
"""A page whose content has not changed for this long has settled; two frames and a short debounce."""
MOST_RECORDED = 200
"""Requests, console lines or errors kept per step."""


class BrowserGone(Exception):
    """Chromium ended or had to be ended; the message says why. A new Browser is needed."""


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
        self._stop = threading.Event()
        self._broken = ""
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name="previewkit-browser", daemon=True)

    def __enter__(self) -> Browser:
        self._thread.start()
        try:
            self._started.result(timeout=60)
        except BaseException as error:
            self.close()
            if isinstance(error, (pw.Error, NotYet)):
                raise BrowserGone(f"{self.found.path} did not start: {_first_line(error)}") from error
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
        if self._broken:
            raise BrowserGone(self._broken)
        limits = limits or Limits()
        future: Future[T] = Future()

        def visit(chromium: pw.Browser) -> T:
            with Session.open(chromium, target, determinism, limits, self._stop) as session:
                return job(session)

        self._jobs.put((visit, future))
        return self._await(future, limits.job, fence)

    def _await(self, future: Future[T], seconds: float, fence: Fence) -> T:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fence()
            except BaseException:
                self._stop.set()
                self._end("The run was superseded.")
                raise
            try:
                return future.result(timeout=0.25)
            except NotYet:
                # The job itself may have raised a TimeoutError.
                if future.done():
                    raise
                if time.monotonic() > deadline:
                    self._end(f"A page did not answer for {seconds:.0f} s, so Chromium was ended.")
                    raise BrowserGone(self._broken) from None

    def _serve(self) -> None:
        try:
            with pw.sync_playwright() as playwright:
                chromium = playwright.chromium.launch(
                    executable_path=self.found.path,
                    args=self._flags,
                    chromium_sandbox=os.geteuid() != 0,
                    timeout=45_000,
                )
                self._started.set_result(None)
                while (item := self._jobs.get()) is not None:
                    job, future = item
                    try:
                        future.set_result(job(chromium))
                    except BaseException as error:  # noqa: BLE001 - the caller's thread gets it, whatever it is
                        future.set_exception(self._explained(error))
                if not self._broken:
                    chromium.close()
        except pw.Error as error:
            self._broken = self._broken or _first_line(error)
            if not self._started.done():
                self._started.set_exception(error)

    def _explained(self, error: BaseException) -> BaseException:
        if isinstance(error, pw.Error) and "has been closed" in str(error):
            self._broken = self._broken or f"Chromium ended by itself: {_first_line(error)}"
            return BrowserGone(self._broken)
        return error

    def _end(self, why: str) -> None:
        """Ends Chromium's processes, whatever they are doing; Playwright's calls then fail and the thread goes on."""
        self._broken = self._broken or why
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
            self._end("The browser did not close.")
            self._thread.join(timeout=10)


class Session:
    """One visitor of one environment. Lives in the browser's thread."""

    def __init__(self, context: pw.BrowserContext, target: Target, limits: Limits, stop: threading.Event) -> None:
        self.target = target
        self.limits = limits
        self._stop = stop
        self._context = context
        self._page = context.new_page()
        self._origins = {target.origin, *target.extra_origins}
        self._pending: set[pw.Request] = set()
        self._crashed = False
        self._navigation_error: str | None = None
        self._clear()
        self._listen()

    @classmethod
    @contextmanager
    def open(
        cls, chromium: pw.Browser, target: Target, told: Determinism, limits: Limits, stop: threading.Event
    ) -> Iterator[Session]:
        context = chromium.new_context(
            viewport={"width": told.viewport.width, "height": told.viewport.height},
            locale=told.locale,
            timezone_id=told.timezone,
            reduced_motion="reduce" if told.reduced_motion else "no-preference",
            color_scheme="light",
            service_workers="block",
            accept_downloads=False,
            ignore_https_errors=target.ignore_https_errors,
        )
        try:
            context.set_default_timeout(limits.element * 1000)
            context.set_default_navigation_timeout(limits.navigation * 1000)
            context.add_init_script(_steady_script(told))
            origins = "|".join(re.escape(origin) for origin in (target.origin, *target.extra_origins))
            outside = re.compile(rf"^(?!(?:{origins})(?:[/?#]|$))(?:https?|ftp)://")
            session = cls(context, target, limits, stop)
            context.route(outside, session._block)
            yield session
        finally:
            context.close()

    # ── what happens ────────────────────────────────────────────────────────────────────────

    def _clear(self) -> None:
        self._requests: list[RequestSeen] = []
        self._console: list[ConsoleSeen] = []
        self._page_errors: list[str] = []
        self._dialogs: list[str] = []
        self._blocked: list[str] = []
        self._status: int | None = None

    def _listen(self) -> None:
        page = self._page
        page.on("request", self._on_request)
        page.on("requestfinished", lambda request: self._pending.discard(request))
        page.on("response", self._on_response)
        page.on("requestfailed", self._on_failed)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: _keep(self._page_errors, _clean(f"{error.name}: {error.message}", 500)))
        page.on("dialog", self._on_dialog)
        page.on("crash", self._on_crash)
        self._context.on("page", self._on_page)

    def _block(self, route: pw.Route) -> None:
        _keep(self._blocked, _clean(route.request.url, 500))
        route.abort("blockedbyclient")

    def _on_request(self, request: pw.Request) -> None:
        # What stays open by design is not waited for.
        if request.resource_type not in ("eventsource", "websocket", "media", "ping"):
            self._pending.add(request)

    def _on_response(self, response: pw.Response) -> None:
        if self._is_main_document(response.request) and not 300 <= response.status < 400:
            self._status = response.status
            self._navigation_error = None
        self._record(response.request, response.status)

    def _on_failed(self, request: pw.Request) -> None:
        self._pending.discard(request)
        failure = request.failure or ""
        # A page that is left cancels what it was loading; that says nothing.
        if "ERR_ABORTED" in failure:
            return
        if self._is_main_document(request) and "BLOCKED_BY_CLIENT" not in failure:
            self._navigation_error = failure
        self._record(request, None)

    def _record(self, request: pw.Request, status: int | None) -> None:
        if not request.url.startswith(tuple(self._origins)):
            return
        url = _clean(self.target.relative(request.url), 500)
        _keep(
            self._requests,
            RequestSeen(method=request.method, url=url, status=status, kind=request.resource_type),
        )

    def _is_main_document(self, request: pw.Request) -> bool:
        return request.is_navigation_request() and request.frame == self._page.main_frame

    def _on_console(self, message: pw.ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            _keep(self._console, ConsoleSeen(level=message.type, text=_clean(message.text, 500)))

    def _on_dialog(self, dialog: pw.Dialog) -> None:
        """A question is answered as a person who goes on would: yes; a text that is asked for is not given."""
        _keep(self._dialogs, _clean(f"{dialog.type}: {dialog.message}", 300))
        if dialog.type == "prompt":
            dialog.dismiss()
        else:
            dialog.accept()

    def _on_page(self, page: pw.Page) -> None:
        if page is not self._page:
            _keep(self._dialogs, _clean(f"new tab: {self.target.relative(page.url)}", 300))
            page.close()

    def _on_crash(self, _: pw.Page) -> None:
        self._crashed = True

    def take_window(self) -> Window:
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

    # ── acting ──────────────────────────────────────────────────────────────────────────────

    def goto(self, url: str) -> None:
        """Opens the address of the environment and waits until the page has settled."""
        with self._told(f"open {url}", slow="navigation_timeout"):
            # "commit": the rest of the waiting is settle()'s, which says better what was waited for.
            self._page.goto(self.target.absolute(url), wait_until="commit")
        self.settle()

    def act(self, action: Action, locator: Locator | None) -> None:
        """Performs the action on the element (None: the page) and waits until the page has settled."""
        if self._stop.is_set():
            raise BrowserGone("The run was stopped.")
        if action.name == "goto":
            self.goto(action.args.get("url", "/"))
            return
        element = self._find(locator).filter(visible=True) if locator else self._page.locator("body")
        with self._told(f"{action.name} {locator.value if locator else 'the page'}"):
            _ACTIONS[action.name](element, action.args)
        self.settle()

    @contextmanager
    def _told(self, what: str, slow: ProblemKind = "action_failed") -> Iterator[None]:
        """Playwright's errors as Problems; `slow`: what it is when the time ran out."""
        try:
            yield
        except pw.TimeoutError as error:
            raise StepFailed(Problem(slow, f"Could not {what}: {_call_log(error)}")) from error
        except pw.Error as error:
            if self._crashed:
                raise StepFailed(Problem("tab_crashed", f"The tab crashed: {what}.")) from error
            if "has been closed" in str(error):
                raise
            raise StepFailed(self._navigation_problem(what, _first_line(error))) from error

    def _navigation_problem(self, what: str, error: str) -> Problem:
        code = re.search(r"ERR_[A-Z_]+", error)
        if code and re.search("CONNECTION|NAME_NOT_RESOLVED|ADDRESS|EMPTY_RESPONSE", code[0]):
            return Problem("unreachable", f"Could not {what}: {code[0]}.", seen=code[0])
        if code:
            return Problem("navigation_failed", f"Could not {what}: {code[0]}.", seen=code[0])
        return Problem("action_failed", f"Could not {what}: {error}")

    def settle(self) -> None:
        """Returns when nothing is loading and the content has stopped changing; else StepFailed."""
        began = time.monotonic()
        navigating = began + self.limits.navigation
        while True:
            quiet = self._is_quiet()
            if self._crashed:
                raise StepFailed(Problem("tab_crashed", "The tab crashed while the page was loading."))
            if self._navigation_error:
                error, self._navigation_error = self._navigation_error, None
                raise StepFailed(self._navigation_problem("load the page", error))
            waited = time.monotonic() - began
            loading = [request for request in self._pending if self._counts(request)]
            documents = [request for request in loading if self._is_main_document(request)]
            if quiet and not loading:
                return
            if time.monotonic() > navigating or (waited > self.limits.quiet and not documents):
                self._unsettled(documents, quiet, waited)
                return

    def _counts(self, request: pw.Request) -> bool:
        return request.url.startswith(tuple(self._origins))

    def _unsettled(self, documents: Sequence[pw.Request], quiet: bool | None, waited: float) -> None:
        if documents:
            where = self.target.relative(documents[-1].url)
            raise StepFailed(
                Problem(
                    "navigation_timeout",
                    f"{where} had not loaded after {waited:.0f} s.",
                    seen=f"{waited:.0f} s",
                )
            )
        if quiet is None:
            where = self.target.relative(self._page.url)
            raise StepFailed(
                Problem(
                    "navigation_timeout",
                    f"{where} was still loading, or loading again, after {waited:.0f} s.",
                )
            )
        if not quiet:
            where = self.target.relative(self._page.url)
            raise StepFailed(
                Problem(
                    "never_settled",
                    f"{where} was still changing after {waited:.0f} s.",
                    seen=f"{waited:.0f} s",
                )
            )
        # Only a request that the server holds open is left (long polling): the page itself is still.

    def _is_quiet(self) -> bool | None:
        """None: the page was left meanwhile, so ask the next one."""
        try:
            self._page.wait_for_load_state("load", timeout=self.limits.quiet * 1000)
            return bool(self._page.evaluate(_QUIET, {"still": STILL_MS, "limit": self.limits.quiet * 1000}))
        except pw.TimeoutError:
            return None
        except pw.Error as error:
            if "has been closed" in str(error) and not self._crashed:
                raise
            return None

    def wait_for_change(self, seconds: float) -> bool:
        """True when the content changed within `seconds`; False when it stayed as it is."""
        try:
            changed = self._page.evaluate(_CHANGED, seconds * 1000)
        except pw.Error as error:
            if "has been closed" in str(error):
                raise
            changed = True
        if changed:
            self.settle()
        return bool(changed)

    # ── finding and looking ─────────────────────────────────────────────────────────────────

    def _find(self, locator: Locator) -> pw.Locator:
        page, value = self._page, locator.value
        match locator.engine:
            case "test_id":
                return page.get_by_test_id(value)
            case "role":
                return page.locator(f"role={value}")
            case "label":
                return page.get_by_label(value, exact=True)
            case "placeholder":
                return page.get_by_placeholder(value, exact=True)
            case "text":
                return page.get_by_text(value, exact=True)
            case "id":
                return page.locator(f"[id={json.dumps(value)}]")
            case "css":
                return page.locator(f"css={value}")

    def count(self, locator: Locator) -> int:
        """How many visible elements it matches."""
        with self._told(f"look for {locator.value}"):
            return self._find(locator).filter(visible=True).count()

    def wait_for_any(self, locators: Sequence[Locator]) -> bool:
        """True as soon as one of them matches a visible element."""
        either = self._find(locators[0])
        for locator in locators[1:]:
            either = either.or_(self._find(locator))
        try:
            either.filter(visible=True).first.wait_for(state="visible", timeout=self.limits.element * 1000)
        except pw.TimeoutError:
            return False
        return True

    def describe(self, locator: Locator) -> Element:
        """The one visible element that it matches, with every way to find it."""
        with self._told(f"look at {locator.value}"):
            return Element.model_validate(self._find(locator).filter(visible=True).first.evaluate(_LOOK_AT_ELEMENT))

    def value_of(self, locator: Locator) -> str:
        with self._told(f"read {locator.value}"):
            return _clean(self._find(locator).first.input_value(), 1000)

    def aria(self) -> str:
        with self._told("read the page's roles and names"):
            return self._page.locator("body").aria_snapshot()

    def look(self) -> PageLook:
        """What is on the page now."""
        try:
            return PageLook.model_validate(self._page.evaluate(_LOOK_AT_PAGE))
        except pw.Error as error:
            if "has been closed" in str(error) and not self._crashed:
                raise
            # It navigated between settling and looking: once more, after it has settled again.
            self.settle()
            with self._told("look at the page"):
                return PageLook.model_validate(self._page.evaluate(_LOOK_AT_PAGE))

    def picture(self) -> bytes:
        """PNG of the viewport; empty when the page can't be drawn any more."""
        try:
            return self._page.screenshot(type="png", animations="disabled", scale="css", timeout=5000)
        except pw.Error:
            return b""


_CHANGED = """(limit) => new Promise((resolve) => {
  const observer = new MutationObserver(() => end(true));
  const timer = setTimeout(() => end(false), limit);
  const end = (changed) => { observer.disconnect(); clearTimeout(timer); resolve(changed); };
  observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
})"""

_ACTIONS: dict[str, Callable[[pw.Locator, dict[str, str]], object]] = {
    "click": lambda element, args: element.click(),
    "fill": lambda element, args: element.fill(args.get("value", "")),
    "select": lambda element, args: element.select_option(value=args.get("value", "")),
    "check": lambda element, args: element.set_checked(args.get("state", "on") == "on"),
    "press": lambda element, args: element.press(args.get("key", "Enter")),
    "submit": lambda element, args: element.evaluate(_SUBMIT, args.get("validate", "yes")),
}


def _steady_script(told: Determinism) -> str:
    clock = datetime.fromisoformat(told.clock.replace("Z", "+00:00")).timestamp() * 1000
    config = {"clock": int(clock), "started": int(time.time() * 1000), "seed": told.seed}
    return f"({_STEADY})({json.dumps(config)})"


def _keep(kept: list[Any], item: object) -> None:
    if len(kept) < MOST_RECORDED:
        kept.append(item)


def _clean(text: str, most: int) -> str:
    """Cut, and without lone surrogates, which no JSON reader likes."""
    return text[:most].encode("utf-8", "replace").decode("utf-8")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return _clean(text.splitlines()[0] if text else type(error).__name__, 300)


def _call_log(error: BaseException) -> str:
    """Playwright's own account of what it waited for, in one line."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    useful = [line for line in lines if line and not line.startswith(("Call log", "="))]
    return _clean("; ".join(dict.fromkeys(useful)), 400)
