"""What a page looks like to a visitor, and what went on while it was looked at.

`in_page/look.js` makes these in the browser, in one round trip. Pure values: no browser, no Django.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from testruns.trace import BASE_URL, ConsoleSeen, Fingerprint, Locator, RequestSeen

ProblemKind = Literal[
    "target_missing",
    "target_ambiguous",
    "action_failed",
    "expectation",
    "http_5xx",
    "page_error",
    "navigation_timeout",
    "navigation_failed",
    "never_settled",
    "tab_crashed",
    "unreachable",
]


@dataclass(frozen=True)
class Target:
    """An environment's address, as the browser reaches it."""

    base_url: str
    """Scheme, host and port, e.g. `https://web-pr-3-shop-1a2b3c4d.preview.localhost:8443`."""
    host_rules: tuple[str, ...] = ()
    """Host names or patterns (`*.preview.localhost`) that are reached at 127.0.0.1."""
    ignore_https_errors: bool = True
    """The certificate is our own installation's; the address is fixed by `host_rules`, so nothing is lost."""
    extra_origins: tuple[str, ...] = ()
    """Further origins of the same environment that its pages may call, e.g. its API's address."""

    @property
    def origin(self) -> str:
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    def absolute(self, url: str) -> str:
        """`{base_url}/cart` or `/cart` → the address in this environment."""
        path = url.removeprefix(BASE_URL)
        return path if path.startswith(("http://", "https://")) else self.origin + "/" + path.lstrip("/")

    def relative(self, text: str) -> str:
        """`text` with this environment's address replaced by `{base_url}`."""
        return text.replace(self.origin, BASE_URL) if self.origin in text else text


class Seen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Option(Seen):
    value: str
    label: str


class Element(Seen):
    """Something that can be used: a link, a button or a field."""

    role: str
    name: str
    locators: tuple[Locator, ...]
    fingerprint: Fingerprint
    href: str = ""
    """Of links: absolute, without fragment."""
    disabled: bool = False
    opens: str = ""
    """Of links: `target` and `download`, when it leaves the page."""


class FieldSeen(Element):
    field: str = ""
    """The control's `name`."""
    type: str = "text"
    """text, email, number, …, select, textarea, checkbox, radio."""
    required: bool = False
    value: str = ""
    checked: bool = False
    placeholder: str = ""
    autocomplete: str = ""
    pattern: str = ""
    min: str = ""
    max: str = ""
    max_length: int = -1
    options: tuple[Option, ...] = ()


class FormSeen(Seen):
    action: str
    """Path (with query) on this origin; empty when it goes elsewhere."""
    method: Literal["get", "post"]
    name: str = ""
    """Its accessible name or nearest heading."""
    fields: tuple[FieldSeen, ...] = ()
    submits: tuple[Element, ...] = ()
    locators: tuple[Locator, ...] = ()


class Line(Seen):
    """A line of visible text worth expecting: a total, a price, a count, a message."""

    text: str
    kind: Literal["message", "figure", "item"]
    everywhere: bool = False
    """Outside the main part: in the header or footer that every page has."""


class PageLook(Seen):
    url: str
    title: str
    headings: tuple[str, ...] = ()
    text: str = ""
    """All visible text, white space normalised, cut at 100,000 characters."""
    lines: tuple[Line, ...] = ()
    links: tuple[Element, ...] = ()
    buttons: tuple[Element, ...] = ()
    forms: tuple[FormSeen, ...] = ()
    counts: dict[str, int] = {}
    """`main li`, `tbody tr`, `main article`: how long the page's lists are."""
    shape: str = ""
    """A digest of the page's make-up without its content: equal for two products' pages."""

    @property
    def path(self) -> str:
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")


@dataclass(frozen=True)
class Window:
    """What happened in the browser between two moments."""

    requests: tuple[RequestSeen, ...] = ()
    console: tuple[ConsoleSeen, ...] = ()
    page_errors: tuple[str, ...] = ()
    dialogs: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    """Addresses outside the environment that the page asked for and did not get."""
    status: int | None = None
    """Of the last document that the main frame loaded; None: it loaded none."""

    @property
    def server_errors(self) -> tuple[RequestSeen, ...]:
        return tuple(request for request in self.requests if (request.status or 0) >= 500)


@dataclass(frozen=True)
class Problem:
    """Why a step did not end as it should."""

    kind: ProblemKind
    message: str
    expected: str = ""
    seen: str = ""


class StepFailed(Exception):
    """Raised by the browser session when an action or its settling ended badly."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True)
class Limits:
    """How long the browser waits, in seconds."""

    navigation: float = 15.0
    element: float = 2.5
    """For an element to appear on a page that has already settled."""
    quiet: float = 4.0
    """For a page to stop changing."""
    expectation: float = 1.5
    """For an expectation to come true on a page that has already settled."""
    job: float = 60.0
    """For one scenario, all told; then the browser is ended."""


@dataclass(frozen=True)
class Picture:
    name: str
    png: bytes = field(repr=False)
