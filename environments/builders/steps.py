"""Runs one step of a build: its own session, its output line by line, and an end to all of it when it must end."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from environments.builders.detect.model import Command
from environments.ports import Fence, OnLine, UserError

LONGEST_LINE = 4096
TAIL = 30
MARK = "PREVIEWKIT_BUILD"
"""Environment variable that every process of a build inherits: how strays are found, however they detached."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")


@dataclass
class Limits:
    """What is left to a build: counted over all its steps."""

    ends_at: float
    """On time.monotonic()."""
    seconds: float
    output: int
    """Bytes that its steps may still print."""
    output_total: int
    grace: float = 3.0
    """Seconds between the polite signal and the last one."""


@dataclass
class Lines:
    """Bytes to log lines: `\\r` overwrites, escapes go, long lines are cut."""

    decoder: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))
    rest: str = ""
    longest: int = LONGEST_LINE

    def feed(self, raw: bytes, *, final: bool = False) -> list[str]:
        text = self.rest + self.decoder.decode(raw, final).replace("\r\n", "\n")
        *whole, self.rest = text.split("\n")
        if final and self.rest:
            whole, self.rest = [*whole, self.rest], ""
        # A progress bar redraws itself: only its last picture matters. A "\r" at the end may still become "\r\n".
        if len(self.rest) > self.longest:
            bar = self.rest.rpartition("\r")[2] if "\r" in self.rest[:-1] else self.rest
            self.rest = bar[: self.longest + 1]
        return [self._clean(line) for line in whole]

    def _clean(self, line: str) -> str:
        line = _ESCAPES.sub("", line.rstrip("\r").rpartition("\r")[2])
        line = line.replace("\x00", "�").rstrip()
        return line if len(line) <= self.longest else line[: self.longest] + "…"


@dataclass(frozen=True)
class Ended:
    code: int
    tail: tuple[str, ...]


def run_step(
    command: Command,
    cwd: Path,
    env: Mapping[str, str],
    limits: Limits,
    on_line: OnLine,
    fence: Fence,
    *,
    longest: int = LONGEST_LINE,
) -> Ended:
    """Runs it to its end. Whatever is raised (by the fence, by on_line, by a limit), nothing of it runs on.

    `longest`: characters of a line, what is beyond is cut off.
    Raises UserError(build_timeout | build_output_limit); FileNotFoundError when there is no such program.
    """
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    fence()
    child = subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return _follow(child, limits, on_line, fence, longest)
    finally:
        _stop(child, limits.grace)


def _follow(child: subprocess.Popen[bytes], limits: Limits, on_line: OnLine, fence: Fence, longest: int) -> Ended:
    assert child.stdout is not None
    tail: deque[str] = deque(maxlen=TAIL)
    lines = Lines(longest=longest)

    def say(found: list[str]) -> None:
        for line in found:
            tail.append(line)
            on_line(line)
            fence()

    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        fenced_at = time.monotonic()
        while True:
            if ready.select(timeout=0.2):
                raw = os.read(child.stdout.fileno(), 65536)
                if not raw:
                    break
                limits.output -= len(raw)
                say(lines.feed(raw))
                _check(limits, tail)
            elif child.poll() is not None:
                break  # ended, though something that it left holds the pipe
            if time.monotonic() - fenced_at > 0.5:
                fence()
                fenced_at = time.monotonic()
            _check(limits, tail)
    say(lines.feed(b"", final=True))
    while child.poll() is None:  # it closed its output and works on
        fence()
        _check(limits, tail)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)
    return Ended(child.returncode, tuple(tail))


def _check(limits: Limits, tail: Sequence[str]) -> None:
    if limits.output < 0:
        raise printed_too_much(limits, tail)
    if time.monotonic() > limits.ends_at:
        raise timed_out(limits, tail)


def printed_too_much(limits: Limits, tail: Sequence[str]) -> UserError:
    return UserError(
        "build_output_limit",
        f"The build printed more than {limits.output_total / 2**20:.3g} MiB and was stopped.",
        "Make it quieter; if it should not print that much, something is probably looping.",
        log_tail=tail,
    )


def timed_out(limits: Limits, tail: Sequence[str]) -> UserError:
    return UserError(
        "build_timeout",
        f"The build took longer than {limits.seconds:g} s and was stopped.",
        "Make it shorter, or ask an operator for a longer limit.",
        log_tail=tail,
    )


def _stop(child: subprocess.Popen[bytes], grace: float) -> None:
    """Ends the whole process group, if its leader still lives. What has left the group, kill_marked finds."""
    try:
        if child.poll() is None:
            _signal_group(child, signal.SIGTERM)
            try:
                child.wait(timeout=grace)
            except subprocess.TimeoutExpired:
                _signal_group(child, signal.SIGKILL)
                child.wait()
    finally:
        if child.stdout is not None:
            child.stdout.close()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The leader is not yet waited for, so its group's number can't be anybody else's.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def kill_marked(mark: str) -> int:
    """Kills every process that inherited this build's mark; how many there were."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                process.kill()
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # gone already, or another user's: not of this build
    psutil.wait_procs(found, timeout=5)
    return len(found)
