"""`{{…}}` in the values of `env`: what can be written there, found in a value, and filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

RECIPE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "postgres": ("url", "host", "port", "user", "password", "database"),
    "valkey": ("url", "host", "port", "password"),
    "redis": ("url", "host", "port", "password"),
    "temporal": ("address", "host", "port", "namespace"),
    "api-gateway": ("url", "host", "port"),
    "mysql": ("url", "host", "port", "user", "password", "database"),
    "image": ("host", "port", "password"),
}
"""The recipes that a file can name, each with the fields of its `{{name.field}}`: a new one is one line."""

RECIPES = tuple(RECIPE_FIELDS)

SERVICE_FIELDS = ("url", "host", "port", "public_url")
PR_FIELDS = ("number", "title", "branch", "sha")
PREVIEW_FIELDS = ("url", "sha")

RESERVED = ("services", "pr", "preview")
"""First words with a meaning of their own, which no dependency can be named."""

_NAMED = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")


@dataclass(frozen=True)
class Reference:
    name: str
    """What stands within the braces, without spaces: `services.api.url`."""
    start: int
    end: int
    """Where it stands in the value, braces included."""

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("."))

    @property
    def service(self) -> str | None:
        """The service that has to be running before this can be filled in.

        A `public_url` is known beforehand, so two services may know one another's.
        """
        parts = self.parts
        return parts[1] if parts[0] == "services" and parts[2:] in (("url",), ("host",), ("port",)) else None


@dataclass(frozen=True)
class Malformed:
    """Two braces that no reference follows."""

    text: str
    closed: bool


def scan(value: str) -> Iterator[Reference | Malformed]:
    """All that two opening braces begin, in order."""
    start = value.find("{{")
    while start >= 0:
        close = value.find("}}", start)
        if close < 0:
            yield Malformed(value[start:], closed=False)
            return
        name = value[start + 2 : close].strip()
        end = close + 2
        yield Reference(name, start, end) if _NAMED.fullmatch(name) else Malformed(value[start:end], closed=True)
        start = value.find("{{", end)


def references(value: str) -> tuple[Reference, ...]:
    """The references of a value of a parsed file."""
    return tuple(found for found in scan(value) if isinstance(found, Reference))


def resolve(value: str, lookup: Callable[[str], str]) -> str:
    """`value` with each `{{name}}` replaced by `lookup(name)`; what was filled in is not looked at again."""
    made, done = [], 0
    for reference in references(value):
        made += [value[done : reference.start], lookup(reference.name)]
        done = reference.end
    return "".join([*made, value[done:]])
