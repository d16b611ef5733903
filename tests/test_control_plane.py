"""`previewkit up` and `down`: everything comes up, what dies comes back, and nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from environments.errors import PlatformError
from previewkit.control_plane.configuration import PORTS, Configuration, settle
from previewkit.home import CHECKOUT, Home
from tests.fixtures_installation import PATIENCE, Installation, eventually

PROGRAMS = {"postgres", "valkey", "traefik", "web", "worker", "tests", "scheduler"}


@pytest.fixture
def parent() -> Iterator[Path]:
    """A directory that only this user may enter, as /root is; with a space, and too long for a socket."""
    made = Path(tempfile.mkdtemp(prefix=f"previewkit {'long ' * 20}"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def installation(parent: Path) -> Iterator[Installation]:
    made = Installation(parent / "state")
    yield made
    made.run("down")
    if made.home.env_file.exists():
        assert made.left() == []


# ── the whole ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.e2e
def test_it_comes_up_heals_itself_and_goes_without_a_trace(installation: Installation) -> None:
    # When it is started, twice at once
    starts = [installation.start("up", "--detach") for _ in range(2)]
    outputs = [start.communicate(timeout=PATIENCE)[0] for start in starts]
    # Then one started it and the other found it
    assert [start.returncode for start in starts] == [0, 0], outputs
    assert sorted("running already" in output for output in outputs) == [False, True]
    assert installation.healthy()
    before = installation.pids()
    assert before.keys() == PROGRAMS
    assert installation.run("status").stdout.count("running") == len(PROGRAMS)
    # And the settings with its secrets are for this user only
    assert installation.home.env_file.stat().st_mode & 0o077 == 0
    assert (installation.home.tls / "key.pem").stat().st_mode & 0o077 == 0
    # And every server listens on this machine only
    assert set().union(*(_listening_at(pid) for pid in before.values())) == {"127.0.0.1"}

    # When each program is killed
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    # Then each comes back, as another process
    eventually(lambda: _all_new(installation.pids(), before), "every program restarted")
    eventually(installation.healthy, "the dashboard answers again")

    # When supervisord itself is killed, and `up` is called again
    supervisord = int(installation.home.supervisord_pid.read_text())
    orphans = installation.pids()
    os.kill(supervisord, signal.SIGKILL)
    again = installation.run("up", "--detach")
    # Then what it left was ended, and all runs anew on the same ports
    assert again.returncode == 0, again.stdout + again.stderr
    assert "an earlier crash" in again.stdout
    assert _all_new(installation.pids(), orphans)
    assert not any(_is_previewkit(pid) for pid in orphans.values())

    # When it is stopped, then nothing is left, and stopping again is harmless
    ports = {name: getattr(installation.configuration, name) for name in PORTS}
    assert installation.run("down").returncode == 0
    assert installation.left() == []
    assert "not running" in installation.run("down").stdout
    assert installation.run("status").returncode == 3
    assert {name: getattr(installation.configuration, name) for name in PORTS} == ports


def _listening_at(pid: int) -> set[str]:
    """Addresses at which a program, or one that it started, listens."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    sockets = [one for process in family for one in process.net_connections("inet")]
    return {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}


def _all_new(now: dict[str, int], before: dict[str, int]) -> bool:
    return now.keys() == PROGRAMS and all(now[name] != before[name] for name in PROGRAMS)


def _is_previewkit(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.e2e
def test_a_signal_while_it_starts_leaves_nothing(installation: Installation) -> None:
    process = installation.start("up")
    eventually(lambda: installation.home.supervisord_pid.exists(), "supervisord started")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert installation.left() == []


@pytest.fixture
def own_database() -> Iterator[str]:
    """A database on the session's server: as a user's own, already running."""
    name = f"own_{os.getpid()}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    yield os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.e2e
def test_in_the_foreground_on_the_users_own_servers_a_signal_stops_everything(
    installation: Installation, own_database: str, valkey: redis.Redis
) -> None:
    # When it is started in the foreground, with servers of the user's own
    installation.environment |= {
        "DATABASE_URL": own_database,
        "REDIS_URL": os.environ["REDIS_URL"],
        "REDIS_PREFIX": f"up-{os.getpid()}",
    }
    process = installation.start("up")
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C stops it" in line:
            break
    # Then it is up, migrated, and no embedded server runs
    assert installation.healthy(), lines
    assert installation.pids().keys() == PROGRAMS - {"postgres", "valkey"}
    assert not installation.home.postgres.exists()
    with psycopg.connect(own_database) as server:
        found = server.execute("SELECT count(*) FROM auth_user WHERE username = 'admin'").fetchone()
    assert found == (1,)
    # When it is told to end, then all of it ends
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=PATIENCE)[0]
    assert "Nothing is left running" in rest
    assert process.returncode == 0
    assert installation.left() == []


# ── what can't be started ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("DATABASE_URL", "postgres://me:secret@127.0.0.1:1/nothing", "database_unavailable"),
        ("DATABASE_URL", "sqlite:////nowhere/file.db", "database_unavailable"),
        ("REDIS_URL", "redis://:secret@127.0.0.1:1/0", "broker_unavailable"),
        ("REDIS_URL", "not a url", "broker_unavailable"),
    ],
)
def test_a_server_that_does_not_answer_is_named_before_anything_starts(
    installation: Installation, variable: str, value: str, code: str
) -> None:
    installation.environment[variable] = value
    failed = installation.run("up", "--detach")
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"{code}: ") and variable in failed.stderr
    assert "secret" not in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr
    assert not installation.home.logs.exists()


def test_a_stated_port_that_is_taken_is_refused_and_another_one_is_chosen_where_none_was_stated() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PlatformError) as refused:
            settle(None, {"HTTPS_PORT": str(port)}, said.append)
        assert refused.value.code == "port_in_use" and str(port) in refused.value.message
        settled = settle(Configuration(https_port=port, web_port=port), {}, said.append)
    assert port not in {getattr(settled, name) for name in PORTS}
    assert said == [f"Port {port} is taken by another program: using {settled.https_port}."]


def test_ports_are_distinct_and_kept() -> None:
    first = settle(None, {"HTTPS_PORT": "0"}, lambda line: None)
    ports = [getattr(first, name) for name in PORTS]
    assert len(set(ports)) == len(ports)
    assert settle(first, {}, lambda line: None) == first


def test_the_configuration_is_read_as_it_was_written_with_a_persons_own_lines(tmp_path: Path) -> None:
    home = Home(tmp_path)
    written = settle(None, {"HTTPS_PORT": "0"}, lambda line: None)
    written.save(home)
    with home.env_file.open("a") as file:
        file.write("LOG_LEVEL=DEBUG\n# a remark\n\n")
    read = Configuration.load(home)
    assert read and read.further == {"LOG_LEVEL": "DEBUG"}
    read.save(home)
    assert Configuration.load(home) == read
    assert read.encryption_keys == written.encryption_keys


def test_help_names_every_command_and_is_quick() -> None:
    # Given nothing but the interpreter; Django alone would take longer than this allows on a machine at rest
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "previewkit", "--help"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    for command in ("up", "down", "status", "browser", "repo", "pr", "env"):
        assert f"\n  {command} " in answer.stdout
    loaded = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}
    assert not loaded & {"django", "cryptography", "psycopg", "pydantic", "httpx", "supervisor"}
