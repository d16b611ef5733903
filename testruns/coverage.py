"""How much of what the crawl knows the traces went through: pages and forms. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from testruns.crawl import template_of
from testruns.trace import BASE_URL, Trace


@dataclass(frozen=True)
class Coverage:
    pages_known: int = 0
    pages_covered: int = 0
    forms_known: int = 0
    forms_covered: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    """(path, why): what the crawl left alone."""


def coverage_of(
    pages: Sequence[str], forms: Sequence[str], skipped: tuple[tuple[str, str], ...], traces: Iterable[Trace]
) -> Coverage:
    """`pages` are templates of paths; `forms` are `method template fields`, as the Plan has them."""
    seen: set[str] = set()
    sent: set[str] = set()
    for trace in traces:
        for step in trace.steps:
            seen.add(step.observed.url.removeprefix(BASE_URL))
            fingerprint = step.target.fingerprint if step.target else None
            if fingerprint and step.action.name in ("click", "submit", "press"):
                page = urlsplit(step.observed.url.removeprefix(BASE_URL)).path
                sent.add(template_of(fingerprint.attributes.get("form", fingerprint.attributes.get("action", page))))
    return Coverage(
        pages_known=len(pages),
        pages_covered=sum(any(_fits(path, template) for path in seen) for template in pages),
        forms_known=len(forms),
        forms_covered=sum(form.split(" ")[1] in sent for form in forms),
        skipped=skipped,
    )


def _fits(path: str, template: str) -> bool:
    if template_of(path) == template:
        return True
    pattern = re.escape(template).replace(re.escape("{…}"), "[^/?]+").replace(re.escape("{n}"), "[^/?]+")
    return re.fullmatch(pattern, path) is not None
