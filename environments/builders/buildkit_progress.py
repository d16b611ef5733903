"""Turns BuildKit's progress (`buildctl --progress=rawjson`) into log lines, step by step. Pure: text in, lines out."""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from environments.builders.steps import TAIL, Lines
from environments.ports import OnLine

SILENT = ("[internal]", "[auth]", "importing cache manifest", "resolve image config")
"""What BuildKit does for itself: a line of it is worth reading only when it fails."""
WORTH_TELLING = 0.05
"""Seconds, from which on a step's duration is told."""
MASK = "••••"
SHORTEST_SECRET = 4
"""Characters. Shorter values stand in too many words to be taken out of them."""


@dataclass
class Step:
    """One vertex of the build graph, as far as it is known."""

    name: str
    number: int = 0
    """In the order in which they are told; 0: not yet."""
    finished: bool = False
    streams: dict[int, Lines] = field(default_factory=dict)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    error: str = ""

    @property
    def silent(self) -> bool:
        return self.name.startswith(SILENT)


@dataclass
class Progress:
    """The state of one build; `feed` takes each line that buildctl prints."""

    on_line: OnLine
    secrets: Sequence[str] = ()
    steps: dict[str, Step] = field(default_factory=dict)
    said: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    """What buildctl says beside the progress: the failing lines of the Dockerfile, the error."""
    printed: int = 0
    """Bytes that the steps' programs printed."""
    _told: int = 0

    def feed(self, line: str) -> None:
        if not line.startswith("{"):
            if line.strip():
                self.said.append(self.hide(line))
            return
        try:
            status = json.loads(line)
        except ValueError:  # a Dockerfile's own line that starts like this, quoted in an error
            self.said.append(self.hide(line))
            return
        for vertex in status.get("vertexes") or ():
            self._vertex(vertex)
        for log in status.get("logs") or ():
            self._log(log)
        for warning in status.get("warnings") or ():
            text = base64.b64decode(warning.get("short") or "").decode("utf-8", "replace")
            self._say(f"Warning: {text}")

    @property
    def failed(self) -> Step | None:
        """The step that ended the build."""
        broken = [step for step in self.steps.values() if step.error and not step.error.endswith("context canceled")]
        return next((step for step in broken if not step.name.startswith("importing cache")), None)

    @property
    def error(self) -> str:
        """BuildKit's own last word."""
        marks = [line for line in self.said if line.startswith(("error: ", "ERROR: "))]
        return marks[-1].partition(": ")[2] if marks else "; ".join(self.said)

    def tail(self) -> tuple[str, ...]:
        """The last lines of the step that failed, or of the one that was at work; else what buildctl said."""
        step = self.failed or next((step for step in reversed(self.steps.values()) if step.tail), None)
        return tuple(step.tail) if step and step.tail else tuple(self.said)

    def hide(self, text: str) -> str:
        for secret in self.secrets:
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, MASK)
        return text

    # ── vertices and their output ───────────────────────────────────────────────────────────

    def _vertex(self, found: Mapping[str, Any]) -> None:
        step = self.steps.get(found["digest"])
        if step is None:
            step = self.steps[found["digest"]] = Step(_title(found.get("name", "")))
        if not found.get("started"):
            return
        if found.get("cached"):
            self._tell(step, " CACHED")
            step.finished = True
        elif found.get("completed"):
            self._tell(step)
            self._finish(step, found)
        else:
            self._tell(step)

    def _tell(self, step: Step, mark: str = "") -> None:
        if step.silent or (step.number and not mark) or step.finished:
            return
        name = "" if step.number else f" {step.name}"
        self._number(step)
        self._say(f"#{step.number}{name}{mark}")

    def _number(self, step: Step) -> None:
        if not step.number:
            self._told += 1
            step.number = self._told

    def _finish(self, step: Step, found: Mapping[str, Any]) -> None:
        for stream in step.streams.values():
            self._print(step, stream.feed(b"", final=True))
        step.streams.clear()
        if error := str(found.get("error") or ""):
            step.error = self.hide(error)
            if not error.endswith("context canceled") and not step.silent:
                self._say(f"#{step.number} ERROR {error}")
            return
        seconds = _seconds(found)
        if seconds >= WORTH_TELLING and not step.silent:
            self._say(f"#{step.number} done in {seconds:.1f} s")

    def _log(self, log: Mapping[str, Any]) -> None:
        raw = base64.b64decode(log.get("data") or "")
        self.printed += len(raw)
        step = self.steps.get(log["vertex"])
        if step is None:
            return
        stream = step.streams.setdefault(log.get("stream", 1), Lines())
        self._print(step, stream.feed(raw))

    def _print(self, step: Step, lines: Sequence[str]) -> None:
        self._number(step)
        for line in lines:
            step.tail.append(self.hide(line))
            self._say(f"#{step.number} {line}")

    def _say(self, line: str) -> None:
        self.on_line(self.hide(line))


def _title(name: str) -> str:
    """`[build 2/5] RUN npm ci` on one line, without mounts; a here-document's text is not part of it."""
    first = re.sub(r"^((?:\[[^\]]*\] )?RUN )(?:--\w\S* )+", r"\1", name.strip().partition("\n")[0])
    return first if len(first) <= 200 else f"{first[:200]}…"


def _seconds(found: Mapping[str, Any]) -> float:
    return (_time(found["completed"]) - _time(found["started"])).total_seconds()


def _time(written: str) -> datetime:
    """RFC 3339 with nanoseconds, of which Python reads six digits."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", written).replace("Z", "+00:00"))
