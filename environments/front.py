"""The front door as the pipeline sees it: has Traefik taken a route over, and does the service behind it answer?"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

import httpx
from django.conf import settings

from environments.ports import PlatformError

TIMEOUT = 30.0
STEP = 0.02
ROUTED_HEADER = "X-Robots-Tag"
"""The embedded runtime's routes set it on every answer, Traefik's own 404 does not: so it tells the two apart."""
UNROUTED = ("404 page not found", "default backend - 404", "404 Not Found")
"""How ingress controllers begin their own 404 (Traefik, ingress-nginx), where no header tells."""
NOBODY_BEHIND = (502, 504)


def wait_routed(host: str, fence: Callable[[], None]) -> None:
    """Until `host` is routed and something behind it answers. Raises PlatformError(route_failed)."""
    deadline = time.monotonic() + TIMEOUT
    seen = "nothing"
    with client() as http:
        while time.monotonic() < deadline:
            fence()
            seen, routed = _probe(http, host)
            if routed:
                return
            time.sleep(STEP)  # Traefik offers no event for a route that it has taken over.
    raise PlatformError("route_failed", f"{host} did not answer in {TIMEOUT:.0f} s: {seen}.")


def client() -> httpx.Client:
    """Trusts PreviewKit's own authority, and the system's where the certificate is the operator's own."""
    context = ssl.create_default_context()
    if settings.TLS_AUTHORITY:
        context.load_verify_locations(cafile=settings.TLS_AUTHORITY)
    return httpx.Client(verify=context, timeout=10.0, trust_env=False)


def get(http: httpx.Client, host: str, path: str = "/") -> httpx.Response:
    """Asks the front door for `host`, whatever the resolver thinks of the name."""
    address, port = settings.FRONT_ADDRESS
    return http.get(f"https://{address}:{port}{path}", headers={"Host": host}, extensions={"sni_hostname": host})


def _probe(http: httpx.Client, host: str) -> tuple[str, bool]:
    """(what came, whether it came through a route of ours from a service that answers)."""
    try:
        answer = get(http, host)
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__, False
    return (
        f"status {answer.status_code}",
        ROUTED_HEADER in answer.headers and answer.status_code not in NOBODY_BEHIND,
    )
