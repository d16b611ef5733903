"""What happens after a visible change is committed: browsers are told, the comment is due."""

from __future__ import annotations

from typing import Any

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.dispatch import receiver

from environments.reporting import log_added
from environments.transitions import environment_changed, wished

log = structlog.get_logger()


@receiver(environment_changed)
def tell_browsers(environment_id: int, **_: Any) -> None:
    message = {"type": "environment.changed", "environment_id": environment_id}
    push("environments", message)
    push(f"environment-{environment_id}", message)


@receiver(log_added)
def tell_log(environment_id: int, layer: str, **_: Any) -> None:
    push(
        f"environment-{environment_id}",
        {"type": "log.added", "environment_id": environment_id, "layer": layer},
    )


@receiver(wished)
def worker_is_due(environment_id: int, **_: Any) -> None:
    from environments.actors import reconcile

    try:
        reconcile.send(environment_id)
    except Exception as error:  # noqa: BLE001  (any broker's errors)
        # The sweeper asks again for every wish that is not brought about.
        log.warning("reconcile not queued", environment=environment_id, error=str(error))


@receiver(environment_changed)
def comment_is_due(environment_id: int, final: bool, **_: Any) -> None:
    from environments.actors import comment_soon  # Loaded with the broker, not with the models.

    try:
        comment_soon(environment_id, final)
    except Exception as error:  # noqa: BLE001  (any broker's errors)
        # The sweeper writes a comment whose version is behind.
        log.warning("comment not queued", environment=environment_id, error=str(error))


def push(group: str, message: dict[str, Any]) -> None:
    """A page that misses a push shows the present state when it reconnects; no work may fail for it."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(layer.group_send)(group, message)
    except Exception as error:  # noqa: BLE001  (redis-py's, asyncio's and the kernel's)
        log.warning("push failed", group=group, error=str(error))
