"""Ports of environments: leased from a range below the system's own, one at a time, kept in one file."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from environments.ports import PlatformError
from environments.runtimes.machine.files import write_whole
from environments.runtimes.machine.locks import exclusive


class PortLeases:
    """Who has which port: `{port: [namespace, purpose]}` in one file under one lock."""

    def __init__(self, file: Path, first: int, last: int) -> None:
        self._file = file
        self._lock = file.with_suffix(".lock")
        self._ports = range(first, last + 1)

    def take(self, namespace: str, purpose: str) -> int:
        """The port of (namespace, purpose), the same at every call until it is dropped."""
        with exclusive(self._lock):
            leases = self._read()
            for port, holder in leases.items():
                if holder == (namespace, purpose):
                    return port
            port = self._free(leases)
            self._write({**leases, port: (namespace, purpose)})
            return port

    def drop(self, namespace: str, purpose: str | None = None) -> None:
        """Gives up one lease, or all of the namespace. Leases that are not there are fine."""
        with exclusive(self._lock):
            leases = self._read()
            kept = {
                port: holder
                for port, holder in leases.items()
                if holder[0] != namespace or (purpose is not None and holder[1] != purpose)
            }
            if kept != leases:
                self._write(kept)

    def held(self, namespace: str) -> dict[str, int]:
        """Purpose → port."""
        return {purpose: port for port, (holder, purpose) in self._read().items() if holder == namespace}

    def _free(self, leases: dict[int, tuple[str, str]]) -> int:
        # From a random place: two installations on one machine know nothing of each other's leases.
        start = random.randrange(len(self._ports))
        for port in (*self._ports[start:], *self._ports[:start]):
            if port not in leases and is_free(port):
                return port
        raise PlatformError(
            "port_in_use",
            f"All ports from {self._ports[0]} to {self._ports[-1]} are taken.",
            "Close some environments, or give PreviewKit a larger range of ports.",
        )

    def _read(self) -> dict[int, tuple[str, str]]:
        try:
            stored = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        return {int(port): (holder[0], holder[1]) for port, holder in stored.items()}

    def _write(self, leases: dict[int, tuple[str, str]]) -> None:
        write_whole(self._file, json.dumps({str(port): list(holder) for port, holder in leases.items()}))


def is_free(port: int) -> bool:
    """True when a program could listen on it, on this machine's loopback and on all its addresses."""
    for address in ("127.0.0.1", ""):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def accepts(port: int, timeout: float = 0.5) -> bool:
    """True when something takes a connection on 127.0.0.1:`port` now."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout):
            return True
    except OSError:
        return False
