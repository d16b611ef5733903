"""The control plane's own settings: generated once, kept in control-plane.env, read by Django's settings.

Imports no Django. Real environment variables win over the file, here as in previewkit/settings.py.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from cryptography.fernet import Fernet

from environments.errors import PlatformError
from previewkit.home import Home

HTTPS_PORT = 8443
PORTS = ("https_port", "web_port", "supervisor_port", "postgres_port", "valkey_port")


def _password() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Configuration:
    """One line of control-plane.env each. A port of 0 is chosen by the next `previewkit up`."""

    owner_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(50))
    encryption_keys: str = field(default_factory=lambda: Fernet.generate_key().decode())
    hook_secret: str = field(default_factory=_password)
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    supervisor_password: str = field(default_factory=_password)
    postgres_password: str = field(default_factory=_password)
    valkey_password: str = field(default_factory=_password)
    base_domain: str = "preview.localhost"
    dashboard_host: str = "previewkit.localhost"
    https_port: int = 0
    web_port: int = 0
    supervisor_port: int = 0
    postgres_port: int = 0
    valkey_port: int = 0
    database_url: str = ""
    """The embedded server's, or the user's own."""
    redis_url: str = ""
    embedded_postgres: bool = True
    embedded_valkey: bool = True
    further: Mapping[str, str] = field(default_factory=dict)
    """Lines that a person added, such as LOG_LEVEL; kept as they are."""

    @property
    def dashboard_url(self) -> str:
        return f"https://{self.dashboard_host}" + ("" if self.https_port == 443 else f":{self.https_port}")

    @property
    def web_url(self) -> str:
        """How programs on this machine reach the dashboard, without TLS."""
        return f"http://127.0.0.1:{self.web_port}"

    @classmethod
    def load(cls, home: Home) -> Configuration | None:
        """None: `previewkit up` has not run in this state directory yet."""
        if not home.env_file.exists():
            return None
        lines = (line.partition("=") for line in home.env_file.read_text().splitlines() if line[:1] != "#")
        stored = {name.strip(): value.strip() for name, _, value in lines if name.strip()}
        known = {one.name.upper(): one for one in fields(cls) if one.name != "further"}
        values = {known[name].name: _typed(known[name].type, value) for name, value in stored.items() if name in known}
        return cls(**values, further={name: value for name, value in stored.items() if name not in known})

    def save(self, home: Home) -> None:
        """Whole or not at all, readable by this user only."""
        values = {one.name.upper(): str(getattr(self, one.name)) for one in fields(self) if one.name != "further"}
        lines = ["# Written by `previewkit up`. Environment variables of the same names win."]
        lines += [f"{name}={value}" for name, value in {**values, **self.further}.items()]
        descriptor, temporary = tempfile.mkstemp(dir=home.root, prefix=".control-plane.env.")
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")
        os.replace(temporary, home.env_file)


def _typed(kind: object, text: str) -> Any:
    if kind == "int":
        return int(text)
    return text == "True" if kind == "bool" else text


def settle(stored: Configuration | None, environment: Mapping[str, str], say: Callable[[str], None]) -> Configuration:
    """The configuration to start with: ports that are free now, servers of the user's own where they are named.

    Called only while none of this control plane's programs run. Raises PlatformError(port_in_use).
    """
    before = stored or Configuration()
    ports: dict[str, Any] = _free_ports(before, environment, say)
    settled = replace(
        before,
        base_domain=environment.get("BASE_DOMAIN", before.base_domain),
        dashboard_host=environment.get("DASHBOARD_HOST", before.dashboard_host),
        **ports,
    )
    own_database, own_broker = environment.get("DATABASE_URL", ""), environment.get("REDIS_URL", "")
    return replace(
        settled,
        embedded_postgres=not own_database,
        embedded_valkey=not own_broker,
        database_url=own_database
        or f"postgres://previewkit:{settled.postgres_password}@127.0.0.1:{settled.postgres_port}/previewkit",
        redis_url=own_broker or f"redis://:{settled.valkey_password}@127.0.0.1:{settled.valkey_port}/0",
    )


def _free_ports(before: Configuration, environment: Mapping[str, str], say: Callable[[str], None]) -> dict[str, int]:
    """Kept where they are still free. All are held until the last is chosen, so no two are the same."""
    held: list[socket.socket] = []
    chosen: dict[str, int] = {}
    try:
        for name in PORTS:
            stated = environment.get(name.upper())
            wanted = int(stated) if stated else getattr(before, name) or (HTTPS_PORT if name == "https_port" else 0)
            taken = _listening(wanted)
            if taken is None and stated:
                raise PlatformError(
                    "port_in_use",
                    f"Port {wanted} can't be used: another program listens there, or it needs more rights.",
                    f"End that program, or set {name.upper()} to another port.",
                )
            if taken is None:
                taken = socket.create_server(("127.0.0.1", 0))
                if name == "https_port":
                    say(f"Port {wanted} is taken by another program: using {taken.getsockname()[1]}.")
            held.append(taken)
            chosen[name] = taken.getsockname()[1]
    finally:
        for one in held:
            one.close()
    return chosen


def _listening(port: int) -> socket.socket | None:
    """Holds the port; None when it is not to be had. A port may be free to listen on and still be another's: the
    rules of a container network take its connections. So it is asked whether somebody answers there."""
    if port and _answered(port):
        return None
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


def _answered(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True
