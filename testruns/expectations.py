"""What is worth expecting of a page that a step led to. Pure: a look in, expectations out.

Texts are expected anywhere on the page, and lists counted by plain tags, so that moving, wrapping or restyling
is no difference, while another total, message or address is.
"""

from __future__ import annotations

import re

from testruns.page import PageLook, Target, Window
from testruns.scenario import ScenarioKind
from testruns.seeded import SAFE_METHODS
from testruns.trace import Expectation, Locator

VOLATILE = (
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\b(?=[0-9a-f]*\d)[0-9a-f]{16,}\b"
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?\b"
    r"|\b\d{1,2}:\d\d(?::\d\d)?\b"
    r"|\b(?:\d{1,2} )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.? \d{1,4}(?:, \d{4})?\b"
    r"|\b(?:\d+|an?) (?:seconds?|minutes?|hours?|days?|weeks?|months?) ago\b"
    r"|\bjust now\b"
    r"|(?i:\b(?:order|invoice|ticket|booking)\s*(?:no\.?|number)?\s*#?\d+)"
)
"""Ids, tokens, dates and times: never the same tomorrow, so they are masked from the first day."""
NEW_ID = r"/\d+(?=/|$)"
"""In the address that a write led to: the number of what was just made says how much there was before."""

MOST = {"message": 3, "figure": 14, "item": 6}
MOST_BUTTONS = 6


def expectations_from(look: PageLook, window: Window, kind: ScenarioKind, target: Target) -> tuple[Expectation, ...]:
    url = _expect("url", target.relative(look.url))
    if any(request.method not in SAFE_METHODS for request in window.requests) and re.search(NEW_ID, look.path):
        url = url.model_copy(update={"mask": NEW_ID})
    found = [url]
    if window.status:
        found.append(_expect("status", str(window.status)))
    if look.title:
        found.append(_expect("title", look.title))
    found += [_expect("heading", heading) for heading in look.headings[:2]]
    left = dict(MOST)
    for line in look.lines:
        # The header's "Cart (2)" matters to a journey with a cart; elsewhere it would fail on every page at once.
        told = kind in ("cart", "buy") or not line.everywhere
        if told and left[line.kind] > 0 and line.text not in look.headings:
            left[line.kind] -= 1
            found.append(_expect("text", target.relative(line.text)))
    if kind == "visit":
        found += _buttons(look)
    if kind in ("search", "cart", "buy"):
        found += _longest_list(look)
    return tuple(found)


def _expect(kind: str, value: str, locator: Locator | None = None) -> Expectation:
    mask = VOLATILE if re.search(VOLATILE, value) else None
    return Expectation.model_validate({"kind": kind, "value": value, "mask": mask, "locator": locator})


def _buttons(look: PageLook) -> list[Expectation]:
    """What a visitor can do here: a button that is gone is a difference even when nobody pressed it."""
    found: dict[str, Expectation] = {}
    for button in look.buttons:
        role = next((locator for locator in button.locators if locator.engine == "role"), None)
        if role and role.value not in found:
            found[role.value] = _expect("visible", f"{button.role} “{button.name}”", role)
    return list(found.values())[:MOST_BUTTONS]


def _longest_list(look: PageLook) -> list[Expectation]:
    if not look.counts:
        return []
    selector, length = max(look.counts.items(), key=lambda pair: pair[1])
    if not length:
        return []
    return [_expect("count", str(length), Locator(engine="css", value=selector, score=30, unique=False))]
