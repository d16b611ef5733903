"""One supervisord for each environment: started when needed, asked over its socket, found dead, started again."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import supervisor
from supervisor.xmlrpc import Faults, SupervisorTransport

from environments.ports import PlatformError
from environments.runtimes.machine import processes
from environments.runtimes.machine.files import write_whole
from environments.runtimes.machine.place import Place, SupervisorRecord

SOCKET = "supervisor.sock"
LONGEST_SOCKET_PATH = 90  # sun_path holds 108; supervisord adds ".<pid>" while it binds
HERE = Path(__file__).parent

# Paths are relative to its working directory, the environment's: supervisord expands `%` in them, some twice.
CONFIGURATION = """[supervisord]
nodaemon=true
logfile=logs/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile=supervisord.pid
{user}
[unix_http_server]
file={socket}
chmod=0600
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files=programs/*.conf
"""

PROGRAM = """[program:{name}]
command={command}
autostart=true
autorestart=true
startsecs=1
startretries=8
stopsignal={stop_signal}
stopwaitsecs={stop_seconds}
stopasgroup={as_group}
killasgroup=true
redirect_stderr=true
stdout_logfile=logs/{name}.log
stdout_logfile_maxbytes=2MB
stdout_logfile_backups=1
"""


@dataclass(frozen=True)
class ProgramState:
    name: str
    state: str
    """supervisord's word: STARTING, RUNNING, BACKOFF, EXITED, FATAL, STOPPING, STOPPED."""
    pid: int


class Supervisor:
    """The supervisord of one environment, for the time of one call."""

    def __init__(self, place: Place) -> None:
        self._place = place

    # ── its life ────────────────────────────────────────────────────────────────────────────

    def is_running(self, known: SupervisorRecord | None) -> bool:
        return known is not None and processes.still(known.pid, known.started) is not None

    def start(self, groups: tuple[str, ...]) -> SupervisorRecord:
        """Starts it without waiting until it answers. The caller holds the environment's lock."""
        directory = self._place.path
        user = "user=root" if os.geteuid() == 0 else ""
        text = CONFIGURATION.format(socket=self._bind_path(), user=user)
        write_whole(directory / "supervisord.conf", text)
        packages = str(Path(supervisor.__file__).parent.parent)
        answer = subprocess.run(
            [sys.executable, "-P", str(HERE / "supervise.py"), "supervisord.conf", *groups],
            cwd=directory,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "PYTHONPATH": packages,
                processes.MARKER: str(directory),
                "PREVIEWKIT_NAMESPACE": self._place.namespace,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            raise PlatformError(
                "runtime_unavailable", f"The supervisor of {self._place.namespace} did not start.",
                log_tail=answer.stderr.splitlines()[-10:],
            )  # fmt: skip
        pid = int(answer.stdout)
        return SupervisorRecord(pid=pid, started=psutil.Process(pid).create_time())

    def wait(self, known: SupervisorRecord, seconds: float = 20.0) -> None:
        """Until it answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self._calls() as call:
                    call.getState()
                return
            except (OSError, http.client.HTTPException):
                alive = self.is_running(known)
                if not alive or time.monotonic() > deadline:
                    what = "did not answer" if alive else "ended at its start"
                    raise PlatformError(
                        "runtime_unavailable", f"The supervisor of {self._place.namespace} {what}.",
                        log_tail=self._own_log(),
                    ) from None  # fmt: skip
            time.sleep(0.01)

    def stop(self, known: SupervisorRecord, first: Sequence[str], seconds: float = 20.0) -> None:
        """Stops all programs, each by its stop signal, then itself. `first`: those that use the others."""
        process = processes.still(known.pid, known.started)
        if process is None:
            return
        self.wait(known)
        # Asked one by one, it stops each group only after the one before has ended.
        everything = list(self.states())
        self.pause(*(name for name in everything if name in first))
        self.pause(*(name for name in everything if name not in first))
        process.terminate()
        deadline = time.monotonic() + seconds
        while processes.is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.01)

    # ── its programs ────────────────────────────────────────────────────────────────────────

    def add(self, name: str, *, stop_signal: str, stop_seconds: int, as_group: bool) -> None:
        """Starts the program whose launch file is written; it is started again whenever supervisord is."""
        words = [sys.executable, "-I", "-S", str(HERE / "launch.py"), f"launch/{name}.json"]
        text = PROGRAM.format(
            name=name,
            command=_escaped(shlex.join(words)),
            stop_signal=stop_signal,
            stop_seconds=stop_seconds,
            as_group=str(as_group).lower(),
        )
        write_whole(self._file(name), text)
        with self._calls() as call:
            call.reloadConfig()
            with _faults(Faults.ALREADY_ADDED):
                call.addProcessGroup(name)
                return
            with _faults(Faults.ALREADY_STARTED):  # was there, perhaps stopped or given up
                call.startProcess(name, False)

    def remove(self, *names: str, seconds: float = 12.0) -> None:
        """Stops the programs, all at once, and forgets them."""
        self.pause(*names, seconds=seconds)
        with self._calls() as call:
            for name in names:
                self._file(name).unlink(missing_ok=True)
                with _faults(Faults.BAD_NAME):
                    call.removeProcessGroup(name)

    def pause(self, *names: str, seconds: float = 12.0) -> None:
        """Stops the programs, all at once; `resume` starts one again."""
        with self._calls() as call:
            for name in names:
                with _faults(Faults.NOT_RUNNING, Faults.BAD_NAME):
                    call.stopProcess(name, False)
            self._until_stopped(call, set(names), seconds)

    def resume(self, name: str) -> None:
        with self._calls() as call, _faults(Faults.ALREADY_STARTED):
            call.startProcess(name, False)

    def states(self) -> dict[str, ProgramState]:
        """By program; raises OSError when supervisord does not answer."""
        with self._calls() as call:
            return {
                found["name"]: ProgramState(found["name"], found["statename"], found["pid"])
                for found in call.getAllProcessInfo()
            }

    def state(self, name: str) -> ProgramState | None:
        with self._calls() as call:
            with _faults(Faults.BAD_NAME):
                found = call.getProcessInfo(name)
                return ProgramState(name, found["statename"], found["pid"])
            return None

    def last_exit(self, name: str) -> str:
        """How the program ended last: `exit status 3`, `terminated by SIGKILL`. supervisord keeps it only in its
        log where a program ended within its first second."""
        pattern = re.compile(rf"(?:exited|stopped): {re.escape(name)} \((.+?)(?:; (?:not )?expected)?\)$")
        for line in reversed(self._own_log(lines=500)):
            if match := pattern.search(line):
                return match[1]
        return "not started"

    # ── parts ───────────────────────────────────────────────────────────────────────────────

    def _file(self, program: str) -> Path:
        return self._place.path / "programs" / f"{program}.conf"

    def _own_log(self, lines: int = 10) -> list[str]:
        found: list[str] = []
        for name in ("supervisord.err", "supervisord.log"):
            file = self._place.path / "logs" / name
            if file.exists():
                found += file.read_text(errors="replace").splitlines()
        return found[-lines:]

    def _bind_path(self) -> str:
        """Short, however deep the environment's directory is: that is its working directory."""
        if os.path.isdir("/proc/self/cwd"):
            return f"/proc/self/cwd/{SOCKET}"
        return _escaped(str(self._place.path / SOCKET))

    @contextmanager
    def _calls(self) -> Iterator[Any]:
        """supervisord's methods. A fault that the caller does not expect is a platform error."""
        path = self._place.path / SOCKET
        directory = None
        address = str(path)
        if len(address) > LONGEST_SOCKET_PATH:
            directory = os.open(self._place.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            address = f"/proc/self/fd/{directory}/{SOCKET}"
        transport = SupervisorTransport(None, None, f"unix://{address}")
        try:
            yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor
        except xmlrpc.client.Fault as fault:
            raise PlatformError(
                "runtime_unavailable", f"The supervisor of {self._place.namespace} refused: {fault.faultString}."
            ) from fault
        finally:
            transport.close()
            if directory is not None:
                os.close(directory)

    @staticmethod
    def _until_stopped(call: Any, names: set[str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not any(found["name"] in names and found["pid"] for found in call.getAllProcessInfo()):
                return
            time.sleep(0.01)


@contextmanager
def _faults(*expected: int) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode not in expected:
            raise


def _escaped(text: str) -> str:
    """supervisord expands `%(name)s` in its configuration."""
    return text.replace("%", "%%")
