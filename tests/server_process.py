"""Runs one Postgres and one Valkey for a test session, until its standard input ends.

A process of its own, so that the servers end and their directory goes also when pytest was killed.
Prints one line of JSON when both answer: {"database_url": …, "redis_url": …}.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import redis

from environments.recipes.postgres_binaries import installation
from environments.runtimes.unprivileged import as_unprivileged, give_to_unprivileged
from previewkit.control_plane.servers import valkey_program

POSTGRES_BIN = installation("16").bin
READY_WITHIN = 60.0


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    root = Path(tempfile.mkdtemp(prefix="previewkit-tests-"))
    servers: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
    try:
        password = secrets.token_urlsafe(16)
        postgres_port, valkey_port = free_ports(2)
        servers.append((start_valkey(root, valkey_port, password), signal.SIGTERM))
        servers.append((start_postgres(root, postgres_port, password), signal.SIGINT))
        database_url = f"postgres://previewkit:{password}@127.0.0.1:{postgres_port}/postgres"
        redis_url = f"redis://:{password}@127.0.0.1:{valkey_port}/0"
        wait_for_both(database_url, redis_url, servers)
        print(json.dumps({"database_url": database_url, "redis_url": redis_url}), flush=True)
        sys.stdin.read()
    finally:
        for server, stop_signal in servers:
            server.send_signal(stop_signal)
        for server, _ in servers:
            server.wait(timeout=30)
        shutil.rmtree(root)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_postgres(root: Path, port: int, password: str) -> subprocess.Popen[bytes]:
    data = root / "postgres"
    data.mkdir(mode=0o700)
    password_file = data.parent / "password"
    password_file.write_text(password)
    give_to_unprivileged(data)
    initdb = [POSTGRES_BIN / "initdb", "-D", data, "-U", "previewkit", "-A", "scram-sha-256", "-E", "UTF8"]
    initdb += ["--locale=C.UTF-8", "--no-sync", f"--pwfile={password_file}"]
    subprocess.run(as_unprivileged([str(word) for word in initdb]), check=True, cwd="/", stdout=subprocess.DEVNULL)
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "200",
        "log_min_messages": "panic",
    }
    words = [str(POSTGRES_BIN / "postgres"), "-D", str(data), "-p", str(port)]
    words += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return subprocess.Popen(as_unprivileged(words), cwd="/", stdin=subprocess.DEVNULL)


def start_valkey(root: Path, port: int, password: str) -> subprocess.Popen[bytes]:
    words = [str(valkey_program()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(root), "--save", ""]
    words += ["--requirepass", password, "--loglevel", "warning"]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wait_for_both(
    database_url: str, redis_url: str, servers: list[tuple[subprocess.Popen[bytes], signal.Signals]]
) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            psycopg.connect(database_url, connect_timeout=5).close()
            with redis.Redis.from_url(redis_url) as client:
                client.ping()
            return
        except (psycopg.OperationalError, redis.ConnectionError):
            if time.monotonic() > deadline or any(server.poll() is not None for server, _ in servers):
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    main()
