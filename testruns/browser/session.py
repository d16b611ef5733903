"""One visitor: a fresh context and page with the trace's determinism. Lives in the browser's thread.

Every wait is for an event and has an end; what does not end is a StepFailed with a named reason.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from playwright import sync_api as pw

from testruns.browser.events import Events, clean
from testruns.page import Element, Limits, PageLook, Problem, ProblemKind, StepFailed, Target, Window
from testruns.trace import Action, Determinism, Locator

_IN_PAGE = Path(__file__).parent.with_name("in_page")
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

NETWORK_CHANGES = 5
"""Times that opening one address begins again because the machine's network changed."""


class Session:
    """One visitor of one environment. Lives in the browser's thread."""

    def __init__(self, context: pw.BrowserContext, target: Target, limits: Limits) -> None:
        self.target = target
        self.limits = limits
        self._page = context.new_page()
        self._events = Events(context, self._page, target)
        origins = "|".join(re.escape(origin) for origin in (target.origin, *target.extra_origins))
        context.route(re.compile(rf"^(?!(?:{origins})(?:[/?#]|$))(?:https?|ftp)://"), self._events.block)

    @classmethod
    @contextmanager
    def open(cls, chromium: pw.Browser, target: Target, told: Determinism, limits: Limits) -> Iterator[Session]:
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
            yield cls(context, target, limits)
        finally:
            context.close()

    # ── acting ──────────────────────────────────────────────────────────────────────────────

    def goto(self, url: str) -> None:
        """Opens the address of the environment and waits until the page has settled."""
        with self._told(f"open {url}", slow="navigation_timeout"):
            # "commit": the rest of the waiting is settle()'s, which says better what was waited for.
            self._open(self.target.absolute(url))
        self.settle()

    def _open(self, address: str) -> None:
        """Again where this machine's own network changed meanwhile (a container came or went): that cuts what
        Chromium is loading, and says nothing of the page."""
        for _ in range(NETWORK_CHANGES):
            try:
                self._page.goto(address, wait_until="commit")
                return
            except pw.Error as error:
                if "ERR_NETWORK_CHANGED" not in str(error):
                    raise
        self._page.goto(address, wait_until="commit")

    def act(self, action: Action, locator: Locator | None) -> None:
        """Performs the action on the element (None: the page) and waits until the page has settled."""
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
            if self._events.crashed:
                raise StepFailed(Problem("tab_crashed", f"The tab crashed: {what}.")) from error
            if is_gone(error):
                raise
            raise StepFailed(self._navigation_problem(what, first_line(error))) from error

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
            if self._events.crashed:
                raise StepFailed(Problem("tab_crashed", "The tab crashed while the page was loading."))
            if error := self._events.take_navigation_error():
                raise StepFailed(self._navigation_problem("load the page", error))
            waited = time.monotonic() - began
            loading = self._events.loading
            documents = [request for request in loading if self._events.is_document(request)]
            if quiet and not loading:
                return
            # Loading may take as long as a navigation may; only what is loaded has to become still sooner.
            loaded = quiet is not None and not documents
            if time.monotonic() > navigating or (loaded and waited > self.limits.quiet):
                self._unsettled(documents, quiet, waited)
                return

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
            if is_gone(error) and not self._events.crashed:
                raise
            return None

    def wait_for_change(self, seconds: float) -> bool:
        """True when the content changed within `seconds`; False when it stayed as it is."""
        try:
            changed = self._page.evaluate(_CHANGED, seconds * 1000)
        except pw.Error as error:
            if is_gone(error):
                raise
            changed = True
        if changed:
            self.settle()
        return bool(changed)

    def take_window(self) -> Window:
        """All that happened since the last call."""
        return self._events.take()

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
            return clean(self._find(locator).first.input_value(), 1000)

    def aria(self) -> str:
        with self._told("read the page's roles and names"):
            return self._page.locator("body").aria_snapshot()

    def look(self) -> PageLook:
        """What is on the page now."""
        try:
            return PageLook.model_validate(self._page.evaluate(_LOOK_AT_PAGE))
        except pw.Error as error:
            if is_gone(error) and not self._events.crashed:
                raise
            # It navigated between settling and looking: once more, after it has settled again.
            self.settle()
            with self._told("look at the page"):
                return PageLook.model_validate(self._page.evaluate(_LOOK_AT_PAGE))

    def picture(self) -> bytes:
        """PNG of the viewport; empty when the page can't be drawn any more."""
        try:
            return self._page.screenshot(type="png", animations="disabled", scale="css", timeout=3000)
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


def is_gone(error: pw.Error) -> bool:
    """The page, its context or the whole browser ended under the call."""
    return "has been closed" in str(error) or "Connection closed" in str(error)


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return clean(text.splitlines()[0] if text else type(error).__name__, 300)


def _call_log(error: BaseException) -> str:
    """Playwright's own account of what it waited for, in one line."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    useful = [line for line in lines if line and not line.startswith(("Call log", "="))]
    return clean("; ".join(dict.fromkeys(useful)), 400)
