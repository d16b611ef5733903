"""Writes the one comment of a pull request, newest state last, whoever writes."""

from __future__ import annotations

from django.conf import settings
from django.db import connection, transaction

from environments import comment, wiring
from environments.models import Environment, PullRequest

LOCK_SPACE = 0x50564B54
"""First key of the advisory locks: one comment writer for each environment at a time."""


def write(environment_id: int) -> None:
    """Renders under a lock and writes, until the newest version is shown: a late writer finds nothing to do."""
    pull_id = Environment.objects.values_list("pull_id", flat=True).get(pk=environment_id)
    if pull_id is None:
        return
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_SPACE, environment_id])
            environment = Environment.objects.select_related("repository", "pull").get(pk=environment_id)
            pull = environment.pull
            if pull is None or pull.comment_version >= environment.version:
                return
            version = environment.version
            _write_one(environment, pull)
            PullRequest.objects.filter(pk=pull.pk).update(comment_version=version, comment_id=pull.comment_id)


def _write_one(environment: Environment, pull: PullRequest) -> None:
    provider = wiring.provider(environment.repository.provider)
    ref = environment.repository.ref
    body = comment.render(environment)
    pull.comment_id = provider.upsert_comment(ref, pull.number, comment.marker(environment), body, pull.comment_id)
    state, description = comment.status(environment)
    provider.set_status(
        ref,
        environment.wanted_sha,
        state,
        description,
        f"{settings.DASHBOARD_URL}/environments/{environment.pk}/",
    )
