"""What layers say while they work: log lines, kept in the database and pushed to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Mapping

from django.dispatch import Signal

from environments import secrets
from environments.models import LayerRun, LogChunk

log_added = Signal()
"""Sent with `environment_id` and `layer` when lines were stored."""

FLUSH_EVERY = 0.25
FLUSH_LINES = 200
LINE_LIMIT = 4000
"""Characters; the rest of a longer line is cut, and said to be."""
LAYER_LIMIT = 4 * 1024 * 1024
"""Characters of one layer's log that are kept."""


class LayerLog:
    """One layer's log. `say` is cheap: lines are stored a few times a second, in order."""

    def __init__(self, run: LayerRun, environment_id: int, hidden: Mapping[str, str]) -> None:
        self.run = run
        self.environment_id = environment_id
        self.hidden = hidden
        self.kept = 0
        self._waiting: list[tuple[str, str]] = []
        self._flushed_at = time.monotonic()

    def say(self, line: str, source: str = "") -> None:
        if self.kept > LAYER_LIMIT:
            return
        line = secrets.redact(secrets.storable(line), self.hidden)
        if len(line) > LINE_LIMIT:
            line = f"{line[:LINE_LIMIT]} … {len(line) - LINE_LIMIT} more characters"
        self.kept += len(line)
        if self.kept > LAYER_LIMIT:
            line = f"… the log is longer than {LAYER_LIMIT // 1024 // 1024} MiB; the rest is not kept."
        self._waiting.append((source, line))
        self.flush_if_due()

    def flush_if_due(self) -> None:
        due = time.monotonic() - self._flushed_at >= FLUSH_EVERY
        if self._waiting and (due or len(self._waiting) >= FLUSH_LINES):
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        chunks: list[LogChunk] = []
        lines: list[str] = []
        current = self._waiting[0][0]
        for source, line in [*self._waiting, (None, "")]:
            if source != current:
                chunks.append(LogChunk(layer_run=self.run, source=current, text="\n".join(lines)))
                lines, current = [], source or ""
            lines.append(line)
        self._waiting = []
        self._flushed_at = time.monotonic()
        LogChunk.objects.bulk_create(chunks)
        log_added.send(sender=LayerRun, environment_id=self.environment_id, layer=self.run.layer)
