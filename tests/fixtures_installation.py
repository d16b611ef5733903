"""An installation of its own: a state directory, and the `previewkit` command for it, as a person uses it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from previewkit.control_plane.configuration import PORTS, Configuration
from previewkit.control_plane.supervision import Supervisor, leftovers
from previewkit.home import CHECKOUT, Home

DEFAULT_HTTPS_PORT = 8443
PATIENCE = 240.0
"""Seconds; every wait ends as soon as what it waits for is there."""


class Installation:
    """One state directory, and the `previewkit` command for it."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.home = Home(root)
        inherited = {name: value for name, value in os.environ.items() if name not in _OF_THE_TESTS}
        self.environment = inherited | {"PREVIEWKIT_HOME": str(root)} | environment

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "previewkit", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words),
            env=self.environment,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def configuration(self) -> Configuration:
        configuration = Configuration.load(self.home)
        assert configuration
        return configuration

    def pids(self) -> dict[str, int]:
        """Program → process id, of those that run."""
        supervisor = Supervisor(self.home, self.configuration)
        return {program.name: program.pid for program in supervisor.programs() if program.state == "RUNNING"}

    def healthy(self) -> bool:
        configuration = self.configuration
        trust = ssl.create_default_context(cafile=str(self.home.tls / "ca.pem"))
        try:
            with httpx.Client(verify=trust, trust_env=False) as client:
                answer = client.get(
                    f"https://127.0.0.1:{configuration.https_port}/healthz",
                    headers={"Host": configuration.dashboard_host},
                    extensions={"sni_hostname": configuration.dashboard_host},
                )
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def _is_own(self, port: str) -> bool:
        """Every installation likes the same HTTPS port best: once it is free, another test's may have it."""
        return port != "https_port" or self.configuration.https_port != DEFAULT_HTTPS_PORT

    def left(self) -> list[str]:
        """What should be gone after `down`: processes and open ports."""
        processes = [f"process {p.pid} {p.name()}" for p in leftovers(self.home, self.configuration.owner_id)]
        ports = [name for name in PORTS if self._is_own(name) and _accepts(getattr(self.configuration, name))]
        return processes + ports


_OF_THE_TESTS = {
    "DATABASE_URL", "REDIS_URL", "REDIS_PREFIX", "ENCRYPTION_KEYS", "SECRET_KEY", "HOOK_SECRET", "SECURE_SSL_REDIRECT",
    "PREVIEWKIT_HOME", "DJANGO_SETTINGS_MODULE",
}  # fmt: skip


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)
