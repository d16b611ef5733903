"""On which ports a pod listens, asked from inside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from environments.ports import Fence, PlatformError
from environments.runtimes.kubernetes.api import Api
from environments.runtimes.manifests.pods import CONTAINER

LISTEN = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
SAID = re.compile(
    r"(?:listen|running|serving|server|started|ready|bound|port)[^\n]{0,60}?(?::|\bport\b[ :=]*)(\d{2,5})\b", re.I
)


@dataclass(frozen=True)
class Listener:
    port: int
    local: bool
    """Only from within the pod."""


def listeners(api: Api, namespace: str, pod: str, fence: Fence) -> list[Listener] | None:
    """None: it can't be asked, because the image has no `cat` or the container is not running."""
    command = ("cat", "/proc/net/tcp", "/proc/net/tcp6")
    try:
        found = api.execute(namespace, pod, CONTAINER, command, 10, fence)
    except PlatformError:
        return None  # a question more, not a fault: the wait goes on and ends with what is known
    return parse(found.output) if found.output.strip().startswith("sl") else None


def parse(table: str) -> list[Listener]:
    """The sockets in state LISTEN of /proc/net/tcp and tcp6 (proc(5))."""
    found: dict[int, bool] = {}
    for line in table.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == LISTEN:
            address, _, port = words[1].partition(":")
            found[int(port, 16)] = found.get(int(port, 16), True) and address in LOOPBACK
    return [Listener(port, local) for port, local in sorted(found.items())]


def said(lines: Sequence[str], wanted: int) -> int | None:
    """A port that the program's own words name, where it can't be asked."""
    for line in lines:
        for match in SAID.finditer(line):
            port = int(match[1])
            if port != wanted and 0 < port < 65536:
                return port
    return None
