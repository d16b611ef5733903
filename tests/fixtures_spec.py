"""Files that are right, to begin from, and how another YAML reader would read them."""

from __future__ import annotations

from typing import Any

from environments.spec.documents import read
from environments.spec.problems import Problems

SMALLEST = """\
services:
  web:
    build: railpack
    port: 3000
dependencies:
  - postgres@15
  - valkey@7
"""

WHOLE = """\
version: 1
services:
  web:
    build: railpack
    path: apps/web
    port: 3000
    public: true
    command: ["node", "server.js"]
    env: {API_URL: "{{services.api.url}}", DB: "{{postgres.url}}", PR: "{{pr.number}}"}
    secrets: [STRIPE_KEY]
    depends_on: [api]
    health: {path: /healthz, timeout: 120s}
    resources: {cpu: 500m, memory: 512Mi}
    replicas: 1
    migrate: python manage.py migrate
    seed: python manage.py loaddata demo
  api:
    port: 8000
dependencies:
  - postgres@15
  - {recipe: postgres, version: "15", name: analytics, options: {extensions: [pgcrypto]}}
  - temporal
  - {recipe: api-gateway, options: {routes: [{path: /api, to: services.api, strip_prefix: true}]}}
isolation: namespace
previews: {drafts: false, forks: ask, sleep_after: 30m, expire_after: 7d}
tests: {enabled: true, start: /, scenarios: [tests/preview/*.yaml]}
"""


def web(*lines: str, rest: str = "") -> str:
    """A file with one service, `web`, of these lines, and what follows."""
    return "services:\n  web:\n" + "".join(f"    {line}\n" for line in ("port: 3000", *lines)) + rest


def plain(text: str) -> Any:
    """The document as another YAML reader would hand it to a JSON Schema."""
    collected = Problems("test")
    node = read(text, collected)
    assert node is not None and not collected
    return node.plain()
