"""Reads a growing log file line by line, through rotation, and keeps the last lines."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

TAIL = 30
LONGEST_LINE = 4000


class Lines:
    """Cuts bytes as they come into lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""
        self.last: deque[str] = deque(maxlen=TAIL)

    def feed(self, chunk: bytes) -> None:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:  # a program that never ends its line
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            self._say(line)

    def finish(self) -> None:
        if self._rest:
            line, self._rest = self._rest, b""
            self._say(line)

    def _say(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip("\r")[:LONGEST_LINE]
        self.last.append(text)
        self._on_line(text)


class LogTail:
    """Follows one file from its beginning."""

    def __init__(self, file: Path, on_line: Callable[[str], None]) -> None:
        self._file = file
        self._lines = Lines(on_line)
        self._inode = 0
        self._offset = 0

    def poll(self) -> None:
        """Says what was written since the last call."""
        try:
            with open(self._file, "rb") as opened:
                found = os.fstat(opened.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._inode, self._offset = found.st_ino, 0
                opened.seek(self._offset)
                while chunk := opened.read(65536):
                    self._offset += len(chunk)
                    self._lines.feed(chunk)
        except FileNotFoundError:
            return

    def last(self) -> list[str]:
        """The last lines, after everything that is there has been said."""
        self.poll()
        self._lines.finish()
        return list(self._lines.last)


def last_lines(file: Path, count: int) -> Iterator[str]:
    """The last `count` lines of a log and, where needed, of the one it was rotated from."""
    found: list[bytes] = []
    for part in (file, file.with_name(file.name + ".1")):
        if len(found) < count and part.exists():
            found = [*part.read_bytes().splitlines(), *found]
    yield from (line.decode("utf-8", errors="replace") for line in found[-count:])
