"""What an api-gateway routes where: its options, checked and typed, the same for both runtimes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from environments.recipes import checks
from environments.spec import Dependency

SERVICE = re.compile(r"services\.([a-z0-9][a-z0-9-]*)")
PATH = re.compile(r"/[A-Za-z0-9/_.~-]*")
HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
HEADER_VALUE = re.compile(r"[A-Za-z0-9 ._:/=,;+@-]{0,500}")
"""Without what has a meaning of its own in a server's configuration: quotes, braces, `$`."""
SIZE = re.compile(r"(\d{1,5})(k|m|g)")
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}
KEYS = frozenset({"path", "to", "strip_prefix", "rewrite", "headers"})
SHAPE = "each has a `path` that begins with `/`, `to`, and perhaps `strip_prefix`, `rewrite` or `headers`"


@dataclass(frozen=True)
class GatewayRoute:
    path: str
    """Without a slash at its end; empty: everything."""
    service: str
    prefix: str | None = None
    """What `path` becomes on the way: empty for strip_prefix; None: it stays."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Set on each request."""


def check(dependency: Dependency) -> None:
    options = dependency.options
    routes = options.get("routes", [])
    if not isinstance(routes, list | tuple) or not all(_is_route(route) for route in routes):
        raise checks.refuse_option(
            dependency, "routes", SHAPE, "Write `routes: [{path: /api, to: services.api, strip_prefix: true}]`."
        )
    default = options.get("default")
    if default is not None and not SERVICE.fullmatch(str(default)):
        raise checks.refuse_option(
            dependency, "default", f"{default!r} is not a service", "Write `default: services.web`."
        )
    if not SIZE.fullmatch(str(options.get("max_body", "1m"))):
        raise checks.refuse_option(dependency, "max_body", "is not a size", "Write `max_body: 10m`.")


def routes_of(dependency: Dependency) -> list[GatewayRoute]:
    """As they are written, the default last."""
    found = [_route(route) for route in dependency.options.get("routes", [])]
    if default := dependency.options.get("default"):
        found.append(GatewayRoute("", _service(default)))
    return found


def max_body(dependency: Dependency) -> int | None:
    """Bytes; None: no limit."""
    match = SIZE.fullmatch(str(dependency.options.get("max_body", "")))
    return int(match[1]) * UNITS[match[2]] if match else None


def _route(written: Mapping[str, Any]) -> GatewayRoute:
    prefix = written["rewrite"].rstrip("/") if "rewrite" in written else "" if written.get("strip_prefix") else None
    path = written["path"].rstrip("/")
    return GatewayRoute(path, _service(written["to"]), prefix if path else None, written.get("headers", {}))


def _service(reference: str) -> str:
    """`services.api` → `api`."""
    return reference.removeprefix("services.")


def _is_route(route: object) -> bool:
    return (
        isinstance(route, Mapping)
        and set(route) <= KEYS
        and PATH.fullmatch(str(route.get("path", ""))) is not None
        and SERVICE.fullmatch(str(route.get("to", ""))) is not None
        and isinstance(route.get("strip_prefix", False), bool)
        and PATH.fullmatch(str(route.get("rewrite", "/"))) is not None
        and not (route.get("strip_prefix") and "rewrite" in route)
        and _are_headers(route.get("headers", {}))
    )


def _are_headers(headers: object) -> bool:
    return isinstance(headers, Mapping) and all(
        HEADER.fullmatch(str(name)) and isinstance(value, str) and HEADER_VALUE.fullmatch(value)
        for name, value in headers.items()
    )
