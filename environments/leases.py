"""The lease that makes one worker at a time responsible for an Environment."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from django.db import DatabaseError, close_old_connections, connection
from django.db.models import Q
from django.utils import timezone

from environments.models import Environment
from environments.ports import Superseded

TTL = timedelta(seconds=15)
"""A worker that was killed holds its environment up for at most this long."""
RENEW_EVERY = 5.0
FENCE_EVERY = 0.3
"""Seconds between two looks at the database by one fence: cheap enough for every log line."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Lease:
    """Held by the worker that knows `token`, for the wish numbered `generation`."""

    environment_id: int
    token: str
    generation: int
    _looked: list[float] = field(default_factory=lambda: [0.0], compare=False, repr=False)

    def fence(self) -> None:
        """Raises Superseded when a newer wish came, or another worker has the lease."""
        now = time.monotonic()
        if now - self._looked[0] < FENCE_EVERY:
            return
        self._looked[0] = now
        if not Environment.objects.filter(
            pk=self.environment_id, generation=self.generation, lease_token=self.token
        ).exists():
            raise Superseded


def take(environment_id: int) -> Lease | None:
    """The lease, unless somebody else holds it. One update: two workers can't both get it."""
    token = uuid.uuid4().hex
    now = timezone.now()
    free = Q(lease_token="") | Q(lease_until__lt=now)
    taken = Environment.objects.filter(free, pk=environment_id).update(lease_token=token, lease_until=now + TTL)
    if not taken:
        return None
    generation = Environment.objects.values_list("generation", flat=True).get(pk=environment_id)
    return Lease(environment_id, token, generation)


def release(lease: Lease) -> None:
    """Safe when it was lost already."""
    Environment.objects.filter(pk=lease.environment_id, lease_token=lease.token).update(
        lease_token="", lease_until=None
    )


@contextmanager
def held(lease: Lease) -> Iterator[None]:
    """Renews the lease in the background, and releases it at the end."""
    mine = Environment.objects.filter(pk=lease.environment_id, lease_token=lease.token)
    with renewed(lambda: mine.update(lease_until=timezone.now() + TTL), f"lease-{lease.environment_id}"):
        try:
            yield
        finally:
            release(lease)


@contextmanager
def renewed(renew: Callable[[], object], name: str) -> Iterator[None]:
    """Calls `renew` every RENEW_EVERY seconds, in a thread with a database connection of its own."""
    stop = threading.Event()
    keeper = threading.Thread(target=_keep, args=(renew, stop, name), name=name, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()


def _keep(renew: Callable[[], object], stop: threading.Event, name: str) -> None:
    try:
        while not stop.wait(RENEW_EVERY):
            try:
                close_old_connections()
                renew()
            except DatabaseError as error:
                # The lease may run out meanwhile: the fence then stops the worker.
                log.warning("lease not renewed", lease=name, error=str(error))
    finally:
        connection.close()
