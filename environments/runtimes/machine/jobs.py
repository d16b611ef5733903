"""Runs one command of a service to its end: streamed, limited, and never twice at once."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from environments.ports import Fence, Job, OnLine, UserError
from environments.runtimes.machine import launches, processes
from environments.runtimes.machine.launches import Launch
from environments.runtimes.machine.limits import Limits
from environments.runtimes.machine.logtail import Lines
from environments.runtimes.machine.place import Place

FENCE_EVERY = 0.5
JOB_MARKER = "PREVIEWKIT_JOB"


@dataclass(frozen=True)
class _Ended:
    status: int
    timed_out: bool
    seconds: float


def run(
    place: Place, limits: Limits, job: Job, release: Path, env: Mapping[str, str], on_line: OnLine, fence: Fence
) -> None:
    """Raises UserError(migrate_failed | seed_failed | job_timeout) with the last lines."""
    program = f"job.{job.name}"
    stop(place, limits, job.name)
    limit = limits.open(place.namespace, program, job.resources)
    launch = launches.for_service(place, job.command, {**env, JOB_MARKER: job.name}, release, limit)
    file = place.launch(program)
    lines = Lines(on_line)
    try:
        launch.write(file)
        ended = _follow(_started(launch, file), job.timeout, lines, fence)
        out_of_memory = limits.oom_kills(place.namespace, program) > 0
    finally:
        stop(place, limits, job.name)
        file.unlink(missing_ok=True)
    if ended.status != 0 or ended.timed_out:
        fence()  # a newer wish, or another worker's same job, may be what ended it
        raise _error(job, ended, out_of_memory, lines)


def stop(place: Place, limits: Limits, name: str) -> None:
    """Ends what is still running of the job: its worker may have died."""
    program = f"job.{name}"
    if limits.kind == "rlimit":
        left = {process.pid for process in psutil.process_iter() if _is_of(process, place, name)}
    else:
        left = limits.process_ids(place.namespace, program)
    processes.end([each for pid in left for each in processes.tree(pid)])
    limits.close(place.namespace, program)


def _is_of(process: psutil.Process, place: Place, name: str) -> bool:
    try:
        env = process.environ()
    except (psutil.Error, OSError):
        return False
    return env.get(JOB_MARKER) == name and env.get(processes.MARKER) == str(place.path)


def _started(launch: Launch, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*launches.LAUNCHER, str(file)],
        cwd=launch.directory,
        # The launcher too is found by its markers, should this worker die now.
        env={name: launch.env[name] for name in ("PATH", processes.MARKER, JOB_MARKER)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _follow(process: subprocess.Popen[bytes], timeout: float, lines: Lines, fence: Fence) -> _Ended:
    """Says each line as it comes, until the job ends, is overtaken or takes too long."""
    began = time.monotonic()
    fenced = began
    pipe = process.stdout
    assert pipe is not None
    try:
        with pipe, selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while process.poll() is None:
                if selector.get_map():
                    _read(selector, lines)
                else:  # it closed its output and goes on
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=0.1)
                if time.monotonic() - fenced > FENCE_EVERY:
                    fence()
                    fenced = time.monotonic()
                if time.monotonic() - began > timeout:
                    return _Ended(-signal.SIGKILL, True, time.monotonic() - began)
            while selector.get_map() and _read(selector, lines, wait=0):
                pass
            return _Ended(process.returncode, False, time.monotonic() - began)
    finally:
        _kill(process)
        lines.finish()


def _read(selector: selectors.BaseSelector, lines: Lines, wait: float = 0.1) -> bool:
    """One piece of output, if there is one within `wait` seconds."""
    for key, _ in selector.select(wait):
        if chunk := os.read(key.fd, 65536):
            lines.feed(chunk)
            return True
        selector.unregister(key.fileobj)
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        processes.end(processes.tree(process.pid))
    process.wait()


def _error(job: Job, ended: _Ended, out_of_memory: bool, lines: Lines) -> UserError:
    words = job.command if isinstance(job.command, str) else " ".join(job.command)
    said = list(lines.last)
    if ended.timed_out:
        return UserError(
            "job_timeout",
            f"{job.kind} of {job.service} (`{words}`) was stopped after {ended.seconds:.0f} s.",
            "Make it shorter; it may be waiting for a lock or for input.",
            log_tail=said,
        )
    code = "migrate_failed" if job.kind == "migrate" else "seed_failed"
    if out_of_memory:
        return UserError(
            code,
            f"{job.kind} of {job.service} (`{words}`) was ended for using more than its "
            f"{job.resources.memory // 2**20} MiB of memory.",
            f"Raise `services.{job.service}.resources.memory`, or use less.",
            log_tail=said,
        )
    how = f"exit code {ended.status}" if ended.status > 0 else f"signal {signal.Signals(-ended.status).name}"
    return UserError(
        code,
        f"{job.kind} of {job.service} (`{words}`) ended with {how}.",
        "Read its last lines; the same command run by hand with the same variables shows the same.",
        log_tail=said,
    )
