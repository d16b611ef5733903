"""All processes of one environment, found even when its supervisor is dead, and ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

MARKER = "PREVIEWKIT_DIRECTORY"
"""Environment variable of every process: the absolute directory of its environment."""


def members(directory: Path, session: tuple[int, float] | None, pids: Iterable[int]) -> list[psutil.Process]:
    """Every living process of the environment in `directory`.

    Four nets, since programs slip through each: the supervisor's session (pid, start time), control groups
    (`pids`), the marker variable (Postgres overwrites its own), the working directory; and all their children.
    """
    known = set(pids)
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    leader = _session_of(session)
    for process in psutil.process_iter():
        if process.pid in spared or not is_alive(process):
            continue
        if process.pid in known or _belongs(process, directory, leader):
            found[process.pid] = process
    for process in list(found.values()):
        for child in _children(process):
            if child.pid not in spared:
                found.setdefault(child.pid, child)
    return list(found.values())


def is_alive(process: psutil.Process) -> bool:
    """A zombie is dead: nobody has fetched its exit code yet, that is all."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def still(pid: int, started: float) -> psutil.Process | None:
    """The process `pid` if it lives and is the one that started then: numbers are used again."""
    try:
        process = psutil.Process(pid)
        return process if is_alive(process) and abs(process.create_time() - started) < 0.05 else None
    except psutil.NoSuchProcess:
        return None


def end(
    processes: Iterable[psutil.Process],
    gently: Callable[[psutil.Process], int | None] = lambda process: None,
    seconds: float = 0.5,
) -> None:
    """Kills them at once; those for which `gently` names a signal get that first, and `seconds`. Returns when
    all are dead, 5 s after the last signal at most."""
    waiting = []
    for process in processes:
        first = gently(process)
        _send(process, first or signal.SIGKILL)
        waiting.append(process)
    waiting = _until_dead(waiting, seconds)
    for process in waiting:
        _send(process, signal.SIGKILL)
    _until_dead(waiting, 5.0)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; empty when it is gone."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return []
    return [process, *_children(process)]


def listeners(processes: Iterable[psutil.Process]) -> dict[int, set[str]]:
    """TCP port → addresses on which these processes listen."""
    ports: dict[int, set[str]] = {}
    for process in processes:
        for ip, port in _listening(process):
            ports.setdefault(port, set()).add(ip)
    return ports


def listens(processes: Iterable[psutil.Process], port: int) -> bool:
    """Whether one of them listens on `port`; cheaper than all `listeners` where the first one does."""
    return any(port == found for process in processes for _, found in _listening(process))


def has_listener(pid: int, port: int) -> bool:
    """Whether a process, or else one of its descendants, listens on `port`. Descendants cost a look at every
    process of the machine; most servers listen themselves."""
    if pid <= 0:
        return False
    try:
        first = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return False
    return listens([first], port) or listens(_children(first), port)


def _listening(process: psutil.Process) -> Iterator[tuple[str, int]]:
    try:
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                yield connection.laddr.ip, connection.laddr.port
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return


def _session_of(session: tuple[int, float] | None) -> int | None:
    if session is None:
        return None
    pid, started = session
    if still(pid, started) is None and psutil.pid_exists(pid):
        return None  # the number was given to another program since
    return pid


def _belongs(process: psutil.Process, directory: Path, session: int | None) -> bool:
    try:
        if session is not None and os.getsid(process.pid) == session:
            return True
    except OSError:
        return False
    try:
        if process.environ().get(MARKER) == str(directory):
            return True
        # Somebody's shell that stands in the directory is not ours: it has a terminal.
        return Path(process.cwd()).is_relative_to(directory) and process.terminal() is None
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in process.children(recursive=True) if is_alive(child)]
    except psutil.NoSuchProcess:
        return []


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _until_dead(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while processes := [process for process in processes if is_alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    return processes
