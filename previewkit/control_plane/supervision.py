"""One supervisord runs all programs of the control plane, restarts those that die, and stops them together.

Imports no Django. What is running is asked of supervisord itself, over loopback HTTP with a password (a
socket file's path could be too long); nothing trusts a process id that may have been given to another program.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from environments.errors import PlatformError
from previewkit.control_plane.configuration import Configuration
from previewkit.home import CHECKOUT, Home

MARK = "PREVIEWKIT_SUPERVISED"
"""An environment variable of every program, with the installation's id: finds those that lost their supervisord."""
STOP_WITHIN = 45.0
_NOT_ANSWERING = (OSError, HTTPException, xmlrpc.client.ProtocolError)


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str]
    first: bool = False
    """Started with supervisord itself, before the database is migrated."""
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    """How long it may take to stop by itself."""


@dataclass(frozen=True)
class ProgramState:
    name: str
    state: str
    """supervisord's word: RUNNING, STARTING, BACKOFF, FATAL, STOPPED …"""
    pid: int
    seconds: float


class Supervisor:
    """The supervisord of one state directory, running or not."""

    def __init__(self, home: Home, configuration: Configuration) -> None:
        self.home = home
        self.configuration = configuration

    # ── asking ──
    def answers(self) -> bool:
        """True when it is ours that answers on its port."""
        return not self.refusal()

    def refusal(self) -> str:
        """Why it does not answer; empty when it does."""
        try:
            identification = self._call("supervisor.getIdentification")
        except (*_NOT_ANSWERING, xmlrpc.client.Fault) as error:
            return f"{type(error).__name__}: {error}"
        return "" if identification == self._identifier else f"it is another one: {identification}"

    def programs(self) -> list[ProgramState]:
        found: Any = self._call("supervisor.getAllProcessInfo")
        return [ProgramState(p["name"], p["statename"], p["pid"], p["now"] - p["start"]) for p in found]

    def pid(self) -> int:
        return int(self._call("supervisor.getPID"))

    def failure(self, names: Iterable[str]) -> PlatformError | None:
        """The first of these programs that ended instead of starting."""
        wanted = set(names)
        for program in self.programs():
            if program.name in wanted and program.state in ("BACKOFF", "FATAL", "EXITED"):
                tail = self.log_tail(program.name)
                return PlatformError(
                    "internal",
                    f"{program.name}, a program of PreviewKit itself, does not start: {(tail or ['no output'])[-1]}",
                    f"Its log: {self.home.logs / f'{program.name}.log'}",
                    log_tail=tail,
                )
        return None

    def log_tail(self, name: str, lines: int = 12) -> list[str]:
        path = self.home.logs / f"{name}.log"
        return path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []

    # ── starting ──
    def launch(self, programs: Sequence[Program]) -> subprocess.Popen[bytes]:
        """Starts supervisord in a session of its own, and with it the programs that come first."""
        if "%" in f"{self.home.root}{CHECKOUT}{sys.executable}":
            raise PlatformError(
                "runtime_unavailable",
                f"The path {self.home.root} or {CHECKOUT} has a % in it, which supervisord can't read.",
                "Move it, or set PREVIEWKIT_HOME to another directory.",
            )
        self.home.logs.mkdir(mode=0o700, exist_ok=True)
        self.home.supervisord_conf.touch(mode=0o600)
        self.home.supervisord_conf.write_text(self._conf(programs))
        # Inherited by every program.
        environment = {name: value for name, value in os.environ.items() if name not in _OF_MAKE} | self._environment()
        with open(self.home.logs / "supervisord.out", "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.home.supervisord_conf)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=CHECKOUT,
                env=environment,
            )

    def start(self, name: str) -> None:
        self._call("supervisor.startProcess", name, False)

    # ── stopping ──
    def stop(self, names: Sequence[str]) -> None:
        """All at once, and waits until they are stopped; stopped already is success."""
        for name in names:
            try:
                self._call("supervisor.stopProcess", name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode not in (Faults.NOT_RUNNING, Faults.BAD_NAME):
                    raise
        wait_until(lambda: self._stopping(names), "The programs that stop", STOP_WITHIN, lambda: None)

    def _stopping(self, names: Sequence[str]) -> str:
        stopped = ("STOPPED", "EXITED", "FATAL")
        return ", ".join(p.name for p in self.programs() if p.name in names and p.state not in stopped)

    def shut_down(self) -> None:
        """Stops what still runs, and supervisord; returns when it has ended."""
        process = psutil.Process(self.pid())
        self._call("supervisor.shutdown")
        try:
            process.wait(timeout=STOP_WITHIN)
        except psutil.TimeoutExpired:
            process.kill()

    # ── below ──
    @property
    def _identifier(self) -> str:
        return f"previewkit-{self.configuration.owner_id}"

    def _call(self, method: str, *args: Any) -> Any:
        url = f"http://127.0.0.1:{self.configuration.supervisor_port}"
        transport = SupervisorTransport("previewkit", self.configuration.supervisor_password, url)
        with xmlrpc.client.ServerProxy(url, transport=transport) as server:
            return getattr(server, method)(*args)

    def _conf(self, programs: Sequence[Program]) -> str:
        configuration, logs = self.configuration, self.home.logs
        sections = [
            _section(
                "supervisord",
                identifier=self._identifier,
                nodaemon="true",
                silent="true",
                pidfile=self.home.supervisord_pid,
                logfile=logs / "supervisord.log",
                logfile_maxbytes="5MB",
                logfile_backups="1",
                childlogdir=logs,
                directory=CHECKOUT,
                **({"user": "root"} if os.geteuid() == 0 else {}),
            ),
            _section(
                "inet_http_server",
                port=f"127.0.0.1:{configuration.supervisor_port}",
                username="previewkit",
                password=configuration.supervisor_password,
            ),
            _section("rpcinterface:supervisor", **{"supervisor.rpcinterface_factory": _RPC}),
            _section(
                "supervisorctl",
                serverurl=f"http://127.0.0.1:{configuration.supervisor_port}",
                username="previewkit",
                password=configuration.supervisor_password,
            ),
        ]
        for order, program in enumerate(programs):
            sections.append(
                _section(
                    f"program:{program.name}",
                    command=shlex.join(program.command),
                    # Stopped in the reverse order.
                    priority=100 + order,
                    autostart="true" if program.first else "false",
                    autorestart="true",
                    startsecs=1,
                    # It goes on trying, at growing intervals: what it needs may come back.
                    startretries=100_000,
                    stopsignal=program.stop_signal,
                    stopwaitsecs=program.stop_seconds,
                    killasgroup="true",
                    redirect_stderr="true",
                    stdout_logfile=logs / f"{program.name}.log",
                    stdout_logfile_maxbytes="10MB",
                    stdout_logfile_backups="1",
                )
            )
        return "# Written by `previewkit up`.\n" + "\n".join(sections)

    def _environment(self) -> dict[str, str]:
        return {
            MARK: self.configuration.owner_id,
            "PREVIEWKIT_HOME": str(self.home.root),
            "PYTHONUNBUFFERED": "1",
            "PLAYWRIGHT_BROWSERS_PATH": str(self.home.browsers),
        }


_RPC = "supervisor.rpcinterface:make_main_rpcinterface"
_OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
"""Would reach the builds of previews, and tell their `make` of a job server that is not there."""


def _section(name: str, **options: object) -> str:
    lines = [f"{key}={value}" for key, value in options.items()]
    return "\n".join([f"[{name}]", *lines, ""])


# ── what is left after a kill -9 or a crash ─────────────────────────────────────────────────


def leftovers(home: Home, owner_id: str) -> list[psutil.Process]:
    """Programs of this control plane that run, with or without their supervisord."""
    return [process for process in psutil.process_iter() if _belongs(process, home, owner_id)]


def _belongs(process: psutil.Process, home: Home, owner_id: str) -> bool:
    """Postgres overwrites its environment, and supervisord has none of its own: known by their command lines."""
    try:
        words = process.cmdline()
        if str(home.supervisord_conf) in words or str(home.postgres / "data") in words:
            return True
        return process.environ().get(MARK) == owner_id
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
        return False


def end_leftovers(home: Home, owner_id: str) -> list[str]:
    """Ends them: supervisord first, so that it restarts nothing; then all others, Postgres last. Their names."""
    found = leftovers(home, owner_id)
    names = sorted({process.name() for process in found if process.is_running()})
    supervisors = [one for one in found if str(home.supervisord_conf) in _words(one)]
    postgres = [one for one in found if str(home.postgres / "data") in _words(one)]
    others = [one for one in found if one not in supervisors and one not in postgres]
    _end(supervisors, lambda process: process.kill())
    _end(others, lambda process: process.terminate())
    _end(postgres, lambda process: process.send_signal(2))  # SIGINT: without waiting for its clients.
    return names


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _end(processes: list[psutil.Process], ask: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        if process.is_running():
            ask(process)
    _, alive = psutil.wait_procs(processes, timeout=15)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)


def wait_until(
    refusal: Callable[[], str], what: str, seconds: float, broken: Callable[[], PlatformError | None]
) -> None:
    """Asks until there is no refusal. Raises what `broken` finds, or PlatformError(internal) when time is over."""
    deadline = time.monotonic() + seconds
    while why := refusal():
        error = broken()
        if error:
            raise error
        if time.monotonic() > deadline:
            reason = " ".join(why.split())
            raise PlatformError(
                "internal",
                f"{what} did not answer within {seconds:.0f} s: {reason}",
                "See logs/ in the state directory.",
            )
        time.sleep(0.05)
