"""The sweeper: compares database, runtime and provider, and repairs each difference.

Refuses to delete in bulk: what a failing provider or an empty database makes look superfluous is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, connection
from django.db.models import F, Q
from django.utils import timezone

from environments import commenting, leases, transitions, wiring, wishes
from environments.models import Environment, Repository, WebhookDelivery
from environments.ports import PreviewError, Runtime, UserError

log = structlog.get_logger()

Phase = Environment.Phase
Wanted = Environment.Wanted
PROVIDER_EVERY = 15
"""Seconds between two looks at a repository's open pull requests."""
VANISHED_AFTER = 3
"""Times that a provider must say that a repository is gone before its environments are closed."""
BULK = 3
"""More orphans than this, and more than half of all that is ours, are left for a person."""
LOCK_SPACE = 0x50564B56
"""First key of the advisory lock of the one sweeper. Postgres frees it when the sweeper's worker is killed."""
UNINTERPRETED_FOR = timedelta(seconds=5)
MAX_INTERPRETATIONS = 20


def sweep() -> list[int]:
    """One pass. Returns the environments that need a worker. A part that fails does not stop the others."""
    with _alone() as alone:
        if not alone:
            return []
        for part in (interpret_waiting, ask_providers, write_late_comments, remove_orphans, revive_lost):
            with _noted(part.__name__):
                part()
        return waiting()


@contextmanager
def _alone() -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, 0)", [LOCK_SPACE])
        (taken,) = cursor.fetchone()
    try:
        yield taken
    finally:
        if taken:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, 0)", [LOCK_SPACE])


@contextmanager
def _noted(what: str, **of: object) -> Iterator[None]:
    """One thing that can't be repaired now holds up nothing else; the next pass tries it again."""
    try:
        yield
    except (OperationalError, InterfaceError):
        raise  # The database itself: nothing else can be repaired either.
    except PreviewError as error:
        log.warning("sweep", part=what, code=error.code, error=error.message, **of)
    except Exception:
        log.exception("sweep", part=what, **of)


def waiting() -> list[int]:
    """Environments whose wish is not brought about, that nobody is at work on, and whose time has come."""
    now = timezone.now()
    return list(
        Environment.objects.filter(settled_generation__lt=F("generation"))
        .filter(Q(lease_token="") | Q(lease_until__lt=now))
        .filter(Q(retry_at=None) | Q(retry_at__lte=now))
        .order_by("phase_changed_at")
        .values_list("pk", flat=True)[:500]
    )


def interpret_waiting() -> None:
    """Deliveries whose worker died, or whose message was lost."""
    late = WebhookDelivery.objects.filter(
        interpreted_at=None,
        received_at__lt=timezone.now() - UNINTERPRETED_FOR,
        attempts__lt=MAX_INTERPRETATIONS,
    ).order_by("received_at")
    for delivery in late[:200]:
        WebhookDelivery.objects.filter(pk=delivery.pk).update(attempts=F("attempts") + 1)
        with _noted("interpret", delivery=delivery.pk):
            wishes.interpret_delivery(delivery.pk)


def ask_providers() -> None:
    """Deliveries that never came: open pull requests and pinned branches as the provider shows them now."""
    for repository in Repository.objects.filter(removed_at=None):
        if cache.add(f"asked-{repository.pk}", 1, timeout=PROVIDER_EVERY):
            with _noted("provider", repository=str(repository)):
                ask_provider(repository)


def ask_provider(repository: Repository) -> None:
    provider = wiring.provider(repository.provider)
    try:
        shown = {state.number: state for state in provider.open_pull_requests(repository.ref)}
    except UserError as error:
        close_vanished(repository, error)
        raise
    cache.delete(f"vanished-{repository.pk}")
    for number, state in shown.items():
        wishes.converge_pull(repository, number, state)
    alive = Environment.objects.filter(repository=repository, pull__isnull=False).exclude(wanted=Wanted.ABSENT)
    for number in alive.values_list("pull__number", flat=True):
        if number not in shown:
            # Each is asked for by itself: a list that came back short deletes nothing.
            wishes.converge_pull(repository, number)
    wishes.converge_branch(repository, repository.default_branch)


def close_vanished(repository: Repository, error: UserError) -> None:
    """The provider says, again and again, that the repository is not there: nothing of it goes on running.

    When it comes back, its open pull requests are found again, as after any lost delivery."""
    key = f"vanished-{repository.pk}"
    cache.add(key, 0, timeout=None)
    if error.code != "repository_gone" or cache.incr(key) < VANISHED_AFTER:
        return
    for environment in Environment.objects.filter(repository=repository).exclude(wanted=Wanted.ABSENT):
        wishes.wish(environment, Wanted.ABSENT, "", "provider", f"{error.code}: {error.message} {error.hint}")


def write_late_comments() -> None:
    """Comments that show an older version than the database, because a write failed or was lost."""
    settled = timezone.now() - timedelta(seconds=5)
    late = Environment.objects.filter(
        pull__isnull=False, pull__comment_version__lt=F("version"), phase_changed_at__lt=settled
    ).filter(settled_generation=F("generation"))
    for pk in late.values_list("pk", flat=True)[:50]:
        with _noted("comment", environment=pk):
            commenting.write(pk)


def remove_orphans() -> None:
    """Namespaces with our label and no living Environment."""
    runtime = wiring.runtime()
    owned = runtime.owned()
    alive = set(Environment.objects.exclude(phase=Phase.GONE).values_list("namespace", flat=True))
    orphans = [item.name for item in owned if item.name not in alive]
    if len(orphans) > BULK and len(orphans) * 2 > len(owned):
        log.error("orphans left alone", count=len(orphans), owned=len(owned), first=orphans[:BULK])
        return
    for name in orphans:
        with _noted("orphan", namespace=name):
            _remove_orphan(runtime, name)


def _remove_orphan(runtime: Runtime, name: str) -> None:
    """Under the lease of the Environment that once had it, if there is one: it may be wanted again by now."""
    environment = Environment.objects.filter(namespace=name).first()
    if environment is None:
        log.warning("orphan removed", namespace=name)
        runtime.destroy(name)
    elif lease := leases.take(environment.pk):
        with leases.held(lease):
            if Environment.objects.filter(pk=environment.pk, phase=Phase.GONE).exists():
                log.warning("orphan removed", namespace=name)
                runtime.destroy(name)


def revive_lost() -> None:
    """Environments that should answer and whose namespace or services are not there any more (a reboot)."""
    runtime = wiring.runtime()
    candidates = Environment.objects.filter(
        phase__in=[Phase.READY, Phase.TESTING, Phase.DEGRADED],
        wanted=Wanted.PRESENT,
        settled_generation=F("generation"),
        phase_changed_at__lt=timezone.now() - timedelta(seconds=3),
    )
    for environment in candidates:
        with _noted("revive", namespace=environment.namespace):
            _revive(runtime, environment)


def _revive(runtime: Runtime, environment: Environment) -> None:
    """Unless it is lost because it was closed since it was read."""
    if lost := what_is_lost(runtime, environment):
        again = transitions.wish(
            environment.pk, Wanted.PRESENT, environment.wanted_sha, actor="sweeper", why=lost, again=True,
            seen=environment.generation,
        )  # fmt: skip
        log.warning("environment revived", namespace=environment.namespace, lost=lost, again=again)


def what_is_lost(runtime: Runtime, environment: Environment) -> str:
    """One sentence, or empty when all of it is there. Crashed services are restarted by the runtime itself."""
    seen = runtime.observe(environment.namespace)
    if not seen.exists:
        return "Its namespace is gone; bringing it up again"
    states = [*seen.services, *seen.dependencies]
    if states and not seen.asleep and all(state.state == "stopped" for state in states):
        return "Its processes are gone; bringing them up again"
    return ""
