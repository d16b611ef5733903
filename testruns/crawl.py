"""A bounded, polite crawl: GET only, same origin, nothing that looks like it ends or deletes something."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from testruns.browser import Session
from testruns.page import Element, PageLook, Problem, StepFailed

LEAVE_ALONE = re.compile(
    r"log.?out|sign.?out|log.?off|delete|destroy|remove|unsubscribe|cancel|purge|reset|/admin\b|/static/|/media/",
    re.IGNORECASE,
)
NOT_A_PAGE = re.compile(
    r"\.(pdf|zip|gz|csv|xml|json|ico|png|jpe?g|gif|svg|webp|mp4|txt|rss|atom|css|js)$", re.IGNORECASE
)
_VARIABLE = re.compile(r"^(\d+|[0-9a-f]{8,}|[0-9a-f-]{32,})$", re.IGNORECASE)


@dataclass(frozen=True)
class CrawlLimits:
    pages: int = 25
    per_template: int = 3
    """Pages that differ only in a number, or that look the same beside one another."""
    seconds: float = 15.0


@dataclass(frozen=True)
class CrawledPage:
    path: str
    template: str
    """`/products/{n}`, or `/products/{…}` where its neighbours look the same: one journey for all of them."""
    look: PageLook
    status: int
    problem: Problem | None = None
    """A server or script error that the page itself had."""


@dataclass(frozen=True)
class Crawl:
    pages: tuple[CrawledPage, ...]
    skipped: tuple[tuple[str, str], ...]
    """(path, why)"""


def template_of(path: str) -> str:
    """The path with numbers and ids as `{n}`, and the names of its query's parameters."""
    parts = urlsplit(path)
    segments = ["{n}" if _VARIABLE.match(segment) else segment for segment in parts.path.split("/")]
    names = sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)})
    return "/".join(segments) + (f"?{'&'.join(names)}" if names else "")


def crawl(session: Session, start: str, limits: CrawlLimits) -> Crawl:
    """Breadth first from `start`. Raises StepFailed when the start page itself can't be opened."""
    deadline = time.monotonic() + limits.seconds
    queue = deque([start])
    known = {start}
    pages: list[CrawledPage] = []
    skipped: list[tuple[str, str]] = []
    templates: Counter[str] = Counter()
    shapes: Counter[tuple[str, str]] = Counter()
    while queue:
        path = queue.popleft()
        if len(pages) >= limits.pages or time.monotonic() > deadline:
            skipped.append((path, f"over the limit of {limits.pages} pages or {limits.seconds:.0f} s"))
            continue
        template = template_of(path)
        beside = (path.rsplit("/", 1)[0], _common_shape(shapes, path, limits.per_template))
        if templates[template] >= limits.per_template or beside[1]:
            skipped.append((path, "like pages that were seen already"))
            continue
        page = _visit(session, path, template, skipped, first=not pages)
        if page is None:
            continue
        templates[template] += 1
        shapes[(path.rsplit("/", 1)[0], page.look.shape)] += 1
        pages.append(page)
        for link in _followable(session, page.look):
            if link not in known:
                known.add(link)
                queue.append(link)
    return Crawl(_grouped(pages), tuple(skipped))


def _common_shape(shapes: Counter[tuple[str, str]], path: str, most: int) -> str:
    parent = path.rsplit("/", 1)[0]
    if not parent:
        return ""
    return next((shape for (of, shape), count in shapes.items() if of == parent and count >= most), "")


def _visit(
    session: Session, path: str, template: str, skipped: list[tuple[str, str]], first: bool
) -> CrawledPage | None:
    try:
        session.goto(path)
        look = session.look()
    except StepFailed as failure:
        session.take_window()
        if first:
            raise
        skipped.append((path, failure.problem.message))
        return None
    window = session.take_window()
    status = window.status or 0
    if 400 <= status < 500 and not first:
        skipped.append((path, f"answered {status}"))
        return None
    problem = None
    if window.server_errors:
        error = window.server_errors[0]
        problem = Problem("http_5xx", f"{error.method} {error.url} answered {error.status}.")
    elif window.page_errors:
        problem = Problem("page_error", window.page_errors[0])
    return CrawledPage(path, template, look, status, problem)


def _followable(session: Session, look: PageLook) -> list[str]:
    return [
        path
        for link in look.links
        if (path := _path_on(session.target.origin, link)) and not LEAVE_ALONE.search(f"{path} {link.name}")
    ]


def _path_on(origin: str, link: Element) -> str:
    """Empty when it leads elsewhere, or to something that is not a page."""
    if not link.href.startswith((origin + "/", origin + "?")) or "download" in link.opens:
        return ""
    path = link.href.removeprefix(origin)
    return "" if NOT_A_PAGE.search(urlsplit(path).path) else path


def _grouped(pages: list[CrawledPage]) -> tuple[CrawledPage, ...]:
    """Neighbours of the same make-up (`/products/mug`, `/products/cup`) get one template."""
    beside = Counter((page.path.rsplit("/", 1)[0], page.look.shape) for page in pages)
    grouped = []
    for page in pages:
        parent = page.path.rstrip("/").rsplit("/", 1)[0]
        same = [o for o in pages if o.path.rstrip("/").rsplit("/", 1)[0] == parent and o.look.shape == page.look.shape]
        if parent and len(same) > 1 and beside and "?" not in page.path and "{n}" not in page.template:
            slash = "/" if page.path.endswith("/") else ""
            page = CrawledPage(page.path, f"{parent}/{{…}}{slash}", page.look, page.status, page.problem)
        grouped.append(page)
    return tuple(grouped)
