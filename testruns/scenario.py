"""A Scenario: one user journey worth testing, before it has been performed.

Its moves say what a visitor wants to do ("add to cart", "fill this form in"); the Generator finds out on the
real pages which elements that means and records them as steps. Pure values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

ScenarioKind = Literal["visit", "search", "form", "cart", "buy", "sign_up", "bad_input"]


@dataclass(frozen=True)
class FormHint:
    """Which form of a page: one with all of these fields, the first that also has the action's path, if any."""

    action: str = ""
    method: str = ""
    fields: frozenset[str] = frozenset()
    any_of: str = ""
    """A regular expression over the form's action, name and buttons: for forms that the crawl could not see."""


@dataclass(frozen=True)
class Move:
    do: Literal["open", "follow", "complete"]
    """open a path · follow a link or press a button · complete a form and submit it"""
    intent: str
    path: str = ""
    pattern: str = ""
    """follow: a regular expression over names (and hrefs) of links and buttons."""
    unlike: str = ""
    """follow: a regular expression that must not match."""
    form: FormHint | None = None
    values: dict[str, str] = field(default_factory=dict)
    """complete: stated values by field name; the rest is made up, plausibly and always the same."""
    leave_empty: bool = False
    """complete: submit without filling anything in, past the browser's own checks."""
    optional: bool = False
    """The journey goes on without it where the page offers no such thing."""


@dataclass(frozen=True)
class Scenario:
    key: str
    """The same for the same journey in every run."""
    title: str
    kind: ScenarioKind
    moves: tuple[Move, ...]
    rank: float = 0.0
    """Risk, and what the change touches: higher comes first."""
    because: tuple[str, ...] = ()
    """Where it comes from: pages that the crawl saw, files that the change touches."""

    @property
    def seed(self) -> str:
        """Eight hex digits that tell its made-up names from another scenario's."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:8]
