"""Plausible values for form fields: always the same for the same field of the same scenario.

A unique part, taken from the scenario's key, keeps sign-ups of different scenarios apart. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from testruns.page import FieldSeen
from testruns.trace import ActionName

PASSWORD = "Preview-7-Kestrel"
CARD = "4242424242424242"
"""A number that passes the checksum, known to payment providers as a test card."""


@dataclass(frozen=True)
class Entry:
    """How one field is filled: an action of the trace and its value."""

    action: ActionName
    value: str


_BY_TYPE: dict[str, str] = {
    "url": "https://example.com/",
    "color": "#336699",
    "date": "2030-06-15",
    "time": "10:30",
    "datetime-local": "2030-06-15T10:30",
    "month": "2030-06",
    "week": "2030-W24",
    "password": PASSWORD,
}
_BY_WORDS: tuple[tuple[str, Callable[[str], str]], ...] = (
    (r"e-?mail", lambda unique: f"visitor-{unique}@example.com"),
    (r"user.?name|\blogin\b|nick|handle", lambda unique: f"visitor{unique}"),
    (r"pass(word|wd|phrase)?\b", lambda unique: PASSWORD),
    (r"first.?name|given", lambda unique: "Ada"),
    (r"last.?name|family|surname", lambda unique: "Byron"),
    (r"company|organi[sz]ation", lambda unique: "Analytical Works"),
    (r"name\b", lambda unique: "Ada Byron"),
    (r"phone|mobile|\btel\b", lambda unique: "+1 202 555 0143"),
    (r"zip|post(al)?.?code", lambda unique: "10115"),
    (r"card.?(number|no)|\bcc\b|ccnum", lambda unique: CARD),
    (r"cvc|cvv|security.?code", lambda unique: "123"),
    (r"expir", lambda unique: "12/34"),
    (r"country", lambda unique: "Germany"),
    (r"city|town", lambda unique: "Berlin"),
    (r"state|region|province", lambda unique: "Berlin"),
    (r"street|address", lambda unique: "12 Invalidenstrasse"),
    (r"qty|quantity|amount|count", lambda unique: "2"),
    (r"url|website", lambda unique: "https://example.com/"),
    (r"title|subject|headline", lambda unique: f"A note {unique}"),
    (r"search|query|^q$", lambda unique: "a"),
)


def entry_for(field: FieldSeen, unique: str, stated: dict[str, str]) -> Entry | None:
    """None: the field is best left as it is."""
    if field.disabled or field.type == "file":
        return None
    if field.field in stated:
        value = stated[field.field]
        return Entry("select" if field.type == "select" else "fill", value)
    if field.type == "checkbox":
        return Entry("check", "on") if field.required and not field.checked else None
    if field.type == "radio":
        return None
    if field.type == "select":
        return _choice(field)
    if field.type in ("range", "color") and field.value:
        return None
    return Entry("fill", _fitted(field, _text_for(field, unique)))


def _choice(field: FieldSeen) -> Entry | None:
    if field.value:
        return None
    options = [option for option in field.options if option.value]
    return Entry("select", options[0].value) if options else None


def _text_for(field: FieldSeen, unique: str) -> str:
    if field.type in _BY_TYPE:
        return _BY_TYPE[field.type]
    words = " ".join((field.autocomplete, field.field.replace("_", " "), field.name, field.placeholder)).lower()
    if field.type in ("number", "range"):
        return _number(field, 2 if re.search(r"qty|quantity|amount|count", words) else 1)
    if field.type == "email":
        return f"visitor-{unique}@example.com"
    if field.type == "tel":
        return "+1 202 555 0143"
    for pattern, value in _BY_WORDS:
        if re.search(pattern, words):
            return value(unique)
    return f"Fine, thank you ({unique})" if field.type == "textarea" else f"Plain words {unique}"


def _number(field: FieldSeen, wanted: int) -> str:
    value: float = wanted
    if _is_number(field.min):
        value = max(value, float(field.min))
    if _is_number(field.max):
        value = min(value, float(field.max))
    return f"{value:g}"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def _fitted(field: FieldSeen, value: str) -> str:
    """Within `maxlength`; digits where the pattern wants only digits."""
    digits = re.fullmatch(r"\^?(?:\\d|\[0-9\])(?:\{(\d+)(?:,\d*)?\}|[+*])?\$?", field.pattern)
    if digits:
        value = ("1234567890" * 3)[: int(digits[1] or 5)]
    return value[: field.max_length] if field.max_length >= 0 else value
