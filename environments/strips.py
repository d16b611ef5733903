"""The six strips: each layer's state, word, seconds and share of the time. One picture, drawn in many places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from environments.models import LAYERS, LayerRun

State = LayerRun.State
LEAST_SHARE = 1.5
"""Percent of the width."""


@dataclass(frozen=True)
class Strip:
    """One layer. `offset` and `share` are percent of all six layers' time, in the order of the layers."""

    layer: str
    state: str
    word: str
    summary: str
    seconds: float | None
    """So far, while it runs; None where it did not begin."""
    started_at: datetime | None
    offset: float
    share: float

    @property
    def drawn_share(self) -> float:
        """Never so thin that its state can't be seen."""
        return max(self.share, LEAST_SHARE)

    @property
    def drawn_offset(self) -> float:
        return min(self.offset, 100 - LEAST_SHARE)

    @property
    def drawn_end(self) -> float:
        return self.drawn_offset + self.drawn_share

    @property
    def is_running(self) -> bool:
        return self.state == State.RUNNING


def strips(runs: Iterable[LayerRun], now: datetime) -> tuple[Strip, ...]:
    """Always six, in order; a layer without a LayerRun waits."""
    by_layer = {run.layer: run for run in runs}
    taken = {layer: _seconds(run, now) for layer, run in by_layer.items()}
    total = sum(seconds or 0 for seconds in taken.values()) or 1.0
    found: list[Strip] = []
    offset = 0.0
    for layer in LAYERS:
        run = by_layer.get(layer, LayerRun(layer=layer))
        seconds = taken.get(layer)
        share = 100 * (seconds or 0) / total
        found.append(
            Strip(
                layer, run.state, str(State(run.state).label), run.summary, seconds,
                run.started_at, round(offset, 2), round(share, 2),
            )
        )  # fmt: skip
        offset += share
    return tuple(found)


def total_seconds(found: Iterable[Strip]) -> float:
    return sum(strip.seconds or 0 for strip in found)


def _seconds(run: LayerRun, now: datetime) -> float | None:
    if run.state == State.RUNNING and run.started_at:
        return max(0.0, (now - run.started_at).total_seconds())
    return run.seconds
