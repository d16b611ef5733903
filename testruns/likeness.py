"""How alike two elements are, and which of several is nearest to one that is gone. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

from testruns.page import Element
from testruns.trace import Fingerprint

WEIGHTS = {"data-testid": 3.0, "id": 1.5, "name": 2.0, "type": 1.0, "href": 2.0, "form": 2.0, "class": 0.5}
NAME_WEIGHT = 4.0
ROLE_WEIGHT = 2.0
TAG_WEIGHT = 1.0

ALIKE = 0.72
"""From here on a structural locator's match is taken for the recorded element. A renamed button in its old form
is at about 0.85, the next button of the same list at about 0.6."""


def text_likeness(one: str, other: str) -> float:
    """1.0 for equal texts, regardless of case; 0.0 for texts with nothing in common."""
    if one.casefold() == other.casefold():
        return 1.0
    return SequenceMatcher(None, one.casefold()[:200], other.casefold()[:200], autojunk=False).ratio()


def likeness(recorded: Fingerprint, seen: Fingerprint) -> float:
    """0.0 to 1.0: tag, role, name and those attributes that either has, weighed."""
    total = TAG_WEIGHT + ROLE_WEIGHT
    score = TAG_WEIGHT * (recorded.tag == seen.tag) + ROLE_WEIGHT * (recorded.role == seen.role)
    if recorded.name or seen.name:
        total += NAME_WEIGHT
        score += NAME_WEIGHT * text_likeness(recorded.name, seen.name)
    for attribute, weight in WEIGHTS.items():
        one, other = recorded.attributes.get(attribute), seen.attributes.get(attribute)
        if one is None and other is None:
            continue
        total += weight
        score += weight * (one == other)
    return score / total


def nearest(recorded: Fingerprint, elements: Iterable[Element]) -> Element | None:
    """The element most like the one that is gone; None when nothing is even half like it."""
    ranked = sorted(elements, key=lambda element: likeness(recorded, element.fingerprint), reverse=True)
    if ranked and likeness(recorded, ranked[0].fingerprint) >= 0.5:
        return ranked[0]
    return None
