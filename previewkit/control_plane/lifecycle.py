"""Starting and stopping the control plane: what comes after what, and nothing left behind.

Imports no Django: `previewkit up` only starts the programs that do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import fasteners
import httpx
import psycopg
import redis

from environments.errors import PlatformError
from environments.providers.local import LocalProvider
from environments.providers.local_hook import HookTarget
from previewkit.control_plane import servers
from previewkit.control_plane.authority import Certificates, ensure_certificates
from previewkit.control_plane.configuration import Configuration, settle
from previewkit.control_plane.supervision import Program, Supervisor, end_leftovers, leftovers, wait_until
from previewkit.home import CHECKOUT, Home

READY_WITHIN = 180.0
"""Seconds; a busy machine is slow. A program that ends instead of starting is noticed at once."""
WORKER_THREADS = 8
TEST_THREADS = 1

Say = Callable[[str, float | None], None]
"""Takes one line of progress, and the seconds that it took (None: nothing to time)."""


@dataclass(frozen=True)
class Running:
    home: Home
    configuration: Configuration
    supervisor: Supervisor
    was_running: bool
    """True: this call found it running and started nothing."""


# ── up ──────────────────────────────────────────────────────────────────────────────────────


def up(home: Home, say: Say) -> Running:
    """Starts what is not running and returns when the dashboard answers over TLS. Called at once by two: one
    starts, the other waits and finds it running. Raises PlatformError, with nothing left running."""
    with _alone(home):
        found = running(home)
        if found:
            return found
        configuration = _prepared(home, say)
        supervisor = Supervisor(home, configuration)
        try:
            _start(home, configuration, supervisor, say)
        except BaseException:
            _stop(home, supervisor)
            raise
    return Running(home, configuration, supervisor, was_running=False)


def running(home: Home) -> Running | None:
    """The control plane of this state directory, when its supervisord answers."""
    configuration = Configuration.load(home)
    if configuration is None:
        return None
    supervisor = Supervisor(home, configuration)
    return Running(home, configuration, supervisor, was_running=True) if supervisor.answers() else None


def _prepared(home: Home, say: Say) -> Configuration:
    """Everything that can be settled before the first program starts."""
    stored = Configuration.load(home)
    if stored:
        ended = end_leftovers(home, stored.owner_id)
        if ended:
            say(f"Ended what an earlier crash had left: {', '.join(ended)}", None)
    configuration = settle(stored, os.environ, lambda line: say(line, None))
    # The user's own servers are asked before anything of ours starts.
    if not configuration.embedded_postgres:
        servers.check_database(configuration.database_url)
    if not configuration.embedded_valkey:
        servers.check_broker(configuration.redis_url)
    configuration.save(home)
    LocalProvider(home.git).connect(
        HookTarget(f"{configuration.web_url}/webhooks/local", configuration.hook_secret, configuration.dashboard_url)
    )
    return configuration


def _start(home: Home, configuration: Configuration, supervisor: Supervisor, say: Say) -> None:
    certificates = ensure_certificates(home.tls, configuration.base_domain, configuration.dashboard_host)
    if configuration.embedded_postgres and not servers.has_postgres_data(home):
        with _timed(say, "Database made"):
            servers.make_postgres_data(home, configuration)
    programs = _programs(home, configuration, certificates)
    first = [program.name for program in programs if program.first]
    later = [program.name for program in programs if not program.first]
    with _timed(say, f"{_listed(first)} up"):
        launched = supervisor.launch(programs)
        wait_until(supervisor.refusal, "supervisord", READY_WITHIN, lambda: _ended(launched, supervisor))
        _wait_for_servers(configuration, supervisor, first)
    with _timed(say, "Database migrated"):
        _migrate(home)
    with _timed(say, f"{_listed(later)} up"):
        for name in later:
            supervisor.start(name)
        _wait_for_dashboard(configuration, certificates, supervisor, [*first, *later])
    started = time.monotonic()
    if count := _environments(home, configuration, "start"):
        say(f"Environments started again: {count}", time.monotonic() - started)


def _programs(home: Home, configuration: Configuration, certificates: Certificates) -> list[Program]:
    """In the order of starting; they stop in reverse."""
    python = sys.executable
    worker = [python, "-m", "dramatiq", "previewkit.worker", "--processes", "1", "--skip-logging"]
    # A killed worker's work is continued by another, so it is not waited for.
    worker += ["--worker-shutdown-timeout", "5000"]
    web = [python, "-m", "uvicorn", "previewkit.asgi:application", "--host", "127.0.0.1", "--no-access-log"]
    web += ["--port", str(configuration.web_port), "--timeout-graceful-shutdown", "3", "--log-level", "warning"]
    programs = []
    if configuration.embedded_postgres:
        postgres = servers.postgres_command(home, configuration)
        # INT: it ends the connections that are open, rather than waiting for them.
        programs.append(Program("postgres", postgres, first=True, stop_signal="INT", stop_seconds=30))
    if configuration.embedded_valkey:
        programs.append(Program("valkey", servers.valkey_command(home, configuration), first=True))
    programs += [
        Program("traefik", servers.traefik_command(home, configuration, certificates), first=True, stop_seconds=5),
        Program("web", web),
        Program("worker", [*worker, "--threads", str(WORKER_THREADS), "--queues", "default"]),
        Program("tests", [*worker, "--threads", str(TEST_THREADS), "--queues", "tests"]),
        Program("scheduler", [python, str(CHECKOUT / "manage.py"), "scheduler"]),
    ]
    return programs


def _wait_for_servers(configuration: Configuration, supervisor: Supervisor, names: Sequence[str]) -> None:
    def database() -> str:
        try:
            servers.ensure_database(configuration)
        except psycopg.OperationalError as error:
            return str(error)
        return ""

    def broker() -> str:
        try:
            servers.ask_broker(configuration.redis_url)
        except redis.RedisError as error:
            return str(error)
        return ""

    if configuration.embedded_postgres:
        wait_until(database, "Postgres", READY_WITHIN, lambda: supervisor.failure(names))
    if configuration.embedded_valkey:
        wait_until(broker, "Valkey", READY_WITHIN, lambda: supervisor.failure(names))


def _migrate(home: Home) -> None:
    """In a process of its own: this one loads no Django."""
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), "prepare"],
        env={**os.environ, "PREVIEWKIT_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-12:]
        raise PlatformError(
            "database_unavailable",
            f"PreviewKit's database could not be migrated: {tail[-1] if tail else 'no reason given'}",
            "If the database is your own, check what its user may do.",
            log_tail=tail,
        )


def _wait_for_dashboard(
    configuration: Configuration, certificates: Certificates, supervisor: Supervisor, names: Sequence[str]
) -> None:
    """Through the front door: TLS, Traefik, the web program. And every other program has stayed up."""
    url = f"https://127.0.0.1:{configuration.https_port}/healthz"
    trust = servers.trusting(certificates)
    with httpx.Client(verify=trust, timeout=5, trust_env=False) as client:
        # The name is given to TLS by hand: not every machine resolves *.localhost.
        named = {"sni_hostname": configuration.dashboard_host}

        def refusal() -> str:
            try:
                reply = client.get(url, headers={"Host": configuration.dashboard_host}, extensions=named)
            except httpx.TransportError as error:
                return f"{url}: {error}"
            return "" if reply.status_code == 200 else f"{url}: status {reply.status_code}"

        wait_until(refusal, "The dashboard", READY_WITHIN, lambda: supervisor.failure(names))

    def not_running() -> str:
        return ", ".join(program.name for program in supervisor.programs() if program.state != "RUNNING")

    wait_until(not_running, "Every program", READY_WITHIN, lambda: supervisor.failure(names))


# ── down ────────────────────────────────────────────────────────────────────────────────────


def down(home: Home) -> bool:
    """Stops everything of this state directory, also what a crash left. False: nothing was running."""
    configuration = Configuration.load(home)
    if configuration is None:
        return False
    with _alone(home):
        supervisor = Supervisor(home, configuration)
        was_running = bool(leftovers(home, configuration.owner_id))
        _stop(home, supervisor)
    return was_running


def _stop(home: Home, supervisor: Supervisor) -> None:
    """The programs that make work, then the environments, then the servers below them."""
    answers = supervisor.answers()
    try:
        if answers:
            supervisor.stop(("scheduler", "tests", "worker", "web"))
        _environments(home, supervisor.configuration, "stop")
    finally:
        if answers:
            supervisor.shut_down()
        end_leftovers(home, supervisor.configuration.owner_id)
        home.supervisord_pid.unlink(missing_ok=True)


def _environments(home: Home, configuration: Configuration, to: Literal["start", "stop"]) -> int:
    """The processes of every environment end with PreviewKit and come back with it; their data stays."""
    if not home.environments.is_dir():
        return 0
    from environments.runtimes.embedded import EmbeddedRuntime

    runtime = EmbeddedRuntime(home.environments, owner=configuration.owner_id, routes_dir=home.routes)
    if to == "start":
        runtime.start_all()
    else:
        runtime.stop_all()
    return len(runtime.owned())


# ── small things ────────────────────────────────────────────────────────────────────────────


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """One start or stop at a time."""
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with fasteners.InterProcessLock(home.lock_file):
        yield


@contextmanager
def _timed(say: Say, line: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    say(line, time.monotonic() - started)


def _ended(launched: subprocess.Popen[bytes], supervisor: Supervisor) -> PlatformError | None:
    if launched.poll() is None:
        return None
    tail = supervisor.log_tail("supervisord") + _tail(supervisor.home.logs / "supervisord.out")
    return PlatformError(
        "internal",
        f"supervisord ended at once: {tail[-1] if tail else f'exit code {launched.returncode}'}",
        f"Its log: {supervisor.home.logs / 'supervisord.log'}",
        log_tail=tail,
    )


def _tail(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-12:] if path.exists() else []


def _listed(names: Sequence[str]) -> str:
    return names[0].capitalize() if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}".capitalize()
