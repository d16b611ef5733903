"""Background work. Messages carry ids only; losing one loses nothing, the sweeper asks again."""

from __future__ import annotations

import dramatiq
import structlog
from django.core.cache import cache

from environments import commenting, pipeline, sweeper, wishes

log = structlog.get_logger()

LONGEST = 2 * 3_600_000
"""Milliseconds: builds have limits of their own, far below."""


@dramatiq.actor(max_retries=0, time_limit=LONGEST)
def reconcile(environment_id: int) -> None:
    """Brings one environment towards its wish; comes back by itself while there is more to do."""
    again = pipeline.reconcile(environment_id)
    if again is not None:
        reconcile.send_with_options(args=(environment_id,), delay=int(again.total_seconds() * 1000) or None)


@dramatiq.actor(max_retries=3, max_age=60_000)
def interpret(delivery_id: int) -> None:
    wishes.interpret_delivery(delivery_id)


@dramatiq.actor(max_retries=3)
def write_comment(environment_id: int) -> None:
    commenting.write(environment_id)


@dramatiq.actor(max_retries=0, max_age=10_000, time_limit=300_000)
def sweep() -> None:
    """Repairs each difference between database, runtime and provider. One at a time, skipped while one runs."""
    for environment_id in sweeper.sweep():
        reconcile.send(environment_id)


def comment_soon(environment_id: int, final: bool) -> None:
    """Progress is debounced to one write a second; a final state is written at once."""
    if final:
        write_comment.send(environment_id)
    elif cache.add(f"comment-due-{environment_id}", 1, timeout=1):
        write_comment.send_with_options(args=(environment_id,), delay=1000)
