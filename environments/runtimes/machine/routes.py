"""The front door's rules for one environment: one file of Traefik's dynamic configuration, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from environments.runtimes.machine.files import write_whole


class RouteFile:
    """`<directory>/<namespace>.yml`. JSON is YAML, and needs no quoting rules."""

    def __init__(self, directory: Path, namespace: str, middlewares: Sequence[str] = ()) -> None:
        self.path = directory / f"{namespace}.yml"
        self._namespace = namespace
        self._middlewares = tuple(middlewares)

    def write(self, backends: Mapping[str, str]) -> None:
        """Host name → `http://host:port`; none: no file."""
        if not backends:
            self.remove()
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps({"http": self._http(backends)}, indent=2) + "\n", mode=0o644)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _http(self, backends: Mapping[str, str]) -> dict[str, Any]:
        noindex = f"{self._namespace}-noindex"
        routers, services = {}, {}
        for number, (host, url) in enumerate(sorted(backends.items())):
            name = f"{self._namespace}-{number}"
            routers[name] = {
                "rule": f"Host(`{host}`)",
                "entryPoints": ["websecure"],
                "tls": {},
                "middlewares": [*self._middlewares, noindex],
                "service": name,
            }
            services[name] = {"loadBalancer": {"servers": [{"url": url}], "passHostHeader": True}}
        return {
            "routers": routers,
            "services": services,
            "middlewares": {
                noindex: {"headers": {"customResponseHeaders": {"X-Robots-Tag": "noindex"}}},
            },
        }
