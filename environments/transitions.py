"""Every change of state: one compare-and-swap update, its Event in the same transaction, told after commit.

`phase` is written here and nowhere else. A write by a worker carries the lease's token and the generation,
or it changes nothing and raises Superseded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models import F
from django.dispatch import Signal
from django.utils import timezone

from environments.leases import Lease
from environments.models import LAYERS, Deployment, Environment, Event, LayerRun
from environments.ports import PreviewError, Superseded, describe

Phase = Environment.Phase
Wanted = Environment.Wanted

environment_changed = Signal()
"""Sent after commit with `environment_id` and `final` (True: nothing more will happen by itself)."""

wished = Signal()
"""Sent after commit with `environment_id`: a worker is needed."""

COMES_FROM: dict[str, frozenset[str]] = {
    Phase.QUEUED: frozenset(Phase),
    Phase.BUILDING: frozenset(set(Phase) - {Phase.STOPPING, Phase.GONE}),
    Phase.STARTING: frozenset({Phase.BUILDING}),
    Phase.TESTING: frozenset({Phase.STARTING}),
    Phase.READY: frozenset({Phase.STARTING, Phase.TESTING}),
    Phase.DEGRADED: frozenset({Phase.QUEUED, Phase.BUILDING, Phase.STARTING, Phase.READY}),
    Phase.FAILED: frozenset({Phase.QUEUED, Phase.BUILDING, Phase.STARTING}),
    Phase.ASLEEP: frozenset({Phase.READY, Phase.DEGRADED}),
    Phase.STOPPING: frozenset(set(Phase) - {Phase.GONE}),
    Phase.GONE: frozenset({Phase.STOPPING}),
}
"""The one table of allowed moves. A new wish queues, or stops, from anywhere; all else follows the layers."""

FINAL = frozenset({Phase.READY, Phase.DEGRADED, Phase.FAILED, Phase.GONE, Phase.ASLEEP})
FIRST_RETRY = timedelta(seconds=2)
LAST_RETRY = timedelta(minutes=5)
MAX_ATTEMPTS = 8
"""Platform errors of one generation before it is given up as failed: the waits are four minutes together."""


def announce(environment_id: int, final: bool = False) -> None:
    environment_changed.send(sender=Environment, environment_id=environment_id, final=final)


def _tell(environment_id: int, kind: str, text: str, generation: int, actor: str, **facts: object) -> None:
    Event.objects.create(
        environment_id=environment_id, kind=kind, text=text[:1000], generation=generation, actor=actor,
        facts=facts,
    )  # fmt: skip


# ── wishes ──────────────────────────────────────────────────────────────────────────────────


def wish(
    environment_id: int,
    wanted: str,
    sha: str,
    *,
    actor: str,
    why: str,
    again: bool = False,
    seen: int | None = None,
    **facts: bool,
) -> bool:
    """The environment should be at `sha`, or absent. Bumps `generation` when that is news, or `again`.

    Returns False when it is wished already: a late or repeated delivery changes nothing. Nor does a wish
    that was made for generation `seen`, when there is a newer one.
    """
    with transaction.atomic():
        environment = Environment.objects.select_for_update().get(pk=environment_id)
        if seen is not None and environment.generation != seen:
            return False
        same = environment.wanted == wanted and (wanted == Wanted.ABSENT or environment.wanted_sha == sha)
        if same and not again:
            return False
        environment.wanted = wanted
        environment.wanted_sha = sha or environment.wanted_sha
        environment.generation += 1
        environment.version += 1
        environment.attempts = 0
        environment.retry_at = None
        phase = Phase.QUEUED if wanted == Wanted.PRESENT else Phase.STOPPING
        if environment.phase != phase and not (wanted == Wanted.ABSENT and environment.phase == Phase.GONE):
            environment.phase = phase
            environment.phase_changed_at = timezone.now()
        environment.save()
        _supersede_older(environment)
        _tell(environment.pk, "wish", why, environment.generation, actor, sha=environment.wanted_sha, **facts)
        transaction.on_commit(partial(announce, environment.pk))
        transaction.on_commit(partial(wished.send, sender=Environment, environment_id=environment.pk))
    return True


def _supersede_older(environment: Environment) -> None:
    """Deployments of older wishes end as superseded, their open layers as not run."""
    older = Deployment.objects.filter(
        environment=environment, generation__lt=environment.generation, outcome=Deployment.Outcome.RUNNING
    )
    LayerRun.objects.filter(deployment__in=older, state__in=[LayerRun.State.WAITING, LayerRun.State.RUNNING]).update(
        state=LayerRun.State.SKIPPED, summary="superseded", finished_at=timezone.now()
    )
    older.update(outcome=Deployment.Outcome.SUPERSEDED, finished_at=timezone.now())


# ── a worker's writes ───────────────────────────────────────────────────────────────────────


@contextmanager
def fenced(lease: Lease, *, final: bool = False, told: bool = True) -> Iterator[None]:
    """A transaction that only the lease's holder at the lease's generation can commit.

    `told`: browsers and the comment show it at once; else with the next change that is told.
    """
    with transaction.atomic():
        mine = Environment.objects.filter(
            pk=lease.environment_id, generation=lease.generation, lease_token=lease.token
        ).update(version=F("version") + int(told))
        if not mine:
            raise Superseded
        yield
        if told:
            transaction.on_commit(partial(announce, lease.environment_id, final))


def advance(lease: Lease, to: str, text: str = "", **facts: object) -> None:
    """Move the environment to phase `to`. Raises Superseded when it was overtaken."""
    with fenced(lease, final=to in FINAL):
        moved = (
            Environment.objects.filter(pk=lease.environment_id, phase__in=COMES_FROM[to])
            .exclude(phase=to)
            .update(phase=to, phase_changed_at=timezone.now())
        )
        if moved:
            _tell(lease.environment_id, to, text or Phase(to).label, lease.generation, "PreviewKit", **facts)


def begin_deployment(lease: Lease, sha: str) -> Deployment:
    """The deployment of this generation with its six waiting layers; found again after a crash."""
    with fenced(lease):
        deployment, _ = Deployment.objects.get_or_create(
            environment_id=lease.environment_id, generation=lease.generation, defaults={"sha": sha}
        )
        for position, layer in enumerate(LAYERS):
            LayerRun.objects.get_or_create(deployment=deployment, layer=layer, defaults={"position": position})
    return deployment


def start_layer(lease: Lease, run: LayerRun) -> None:
    """Continuing after a crash keeps the first start: the duration is what the author waited.

    What an earlier try left of the later layers is no longer so.
    """
    with fenced(lease):
        LayerRun.objects.filter(deployment_id=run.deployment_id, position__gt=run.position).update(
            state=LayerRun.State.WAITING, summary="", finished_at=None,
            error_code="", error_message="", error_hint="", log_tail=[],
        )  # fmt: skip
        run.started_at = run.started_at or timezone.now()
        run.state, run.finished_at, run.summary = LayerRun.State.RUNNING, None, ""
        run.error_code = run.error_message = run.error_hint = ""
        run.log_tail = []
        run.save()


def finish_layer(lease: Lease, run: LayerRun, state: str, summary: str) -> None:
    with fenced(lease):
        run.state, run.summary, run.finished_at = state, summary[:300], timezone.now()
        run.save()


def fail_layer(lease: Lease, run: LayerRun, error: BaseException) -> None:
    """The layer's error as the page and the comment show it."""
    facts = describe(error)
    with fenced(lease):
        run.state, run.finished_at = LayerRun.State.FAILED, timezone.now()
        run.error_code, run.error_message = facts["code"], facts["message"]
        run.error_hint, run.log_tail = facts["hint"], facts["log_tail"]
        run.save()


def settle(lease: Lease, phase: str, outcome: str | None, text: str, error: BaseException | None = None) -> None:
    """This generation is brought about, or given up: nothing more happens until a new wish."""
    with fenced(lease, final=phase in FINAL):
        fields: dict[str, object] = {"settled_generation": lease.generation, "retry_at": None}
        if phase == Phase.GONE:
            fields |= {"gone_at": timezone.now(), "namespace_uid": "", "serving": None, "seeded": {}}
        else:
            fields |= {"gone_at": None}
        if phase == Phase.FAILED:
            fields |= {"serving": None}
        Environment.objects.filter(pk=lease.environment_id).update(**fields)
        moved = (
            Environment.objects.filter(pk=lease.environment_id, phase__in=COMES_FROM[phase])
            .exclude(phase=phase)
            .update(phase=phase, phase_changed_at=timezone.now())
        )
        deployments = Deployment.objects.filter(environment_id=lease.environment_id, generation=lease.generation)
        if outcome:
            deployments.update(outcome=outcome, finished_at=timezone.now())
        LayerRun.objects.filter(deployment__in=deployments, state=LayerRun.State.WAITING).exclude(
            layer="tests" if phase == Phase.TESTING else ""
        ).update(state=LayerRun.State.SKIPPED, summary="not run")
        if moved:
            facts = {"code": error.code} if isinstance(error, PreviewError) else {}
            _tell(lease.environment_id, phase, text, lease.generation, "PreviewKit", **facts)


def postpone(lease: Lease, error: BaseException, *, for_ever: bool = False) -> timedelta | None:
    """A platform error: try again later. Returns the wait, or None when the tries are used up."""
    code = describe(error)["code"]
    with fenced(lease):
        environment = Environment.objects.get(pk=lease.environment_id)
        attempts = environment.attempts + 1
        if attempts >= MAX_ATTEMPTS and not for_ever:
            return None
        wait: timedelta = min(FIRST_RETRY * 2 ** min(attempts - 1, MAX_ATTEMPTS), LAST_RETRY)
        fields: dict[str, object] = {"attempts": attempts, "retry_at": timezone.now() + wait}
        if environment.wanted != Wanted.ABSENT:
            fields["phase"] = Phase.QUEUED
        Environment.objects.filter(pk=lease.environment_id).update(**fields)
        _tell(
            lease.environment_id, "retry", f"{error} Trying again in {wait.total_seconds():.0f} s.",
            lease.generation, "PreviewKit", code=code,
        )  # fmt: skip
    return wait


def serve(lease: Lease, deployment: Deployment) -> None:
    """The addresses lead to this deployment now."""
    with fenced(lease):
        now = timezone.now()
        Environment.objects.filter(pk=lease.environment_id).update(serving=deployment)
        Deployment.objects.filter(pk=deployment.pk, answered_at=None).update(answered_at=now)
        _tell(lease.environment_id, "serving", f"Serving {deployment.sha[:8]}", lease.generation, "PreviewKit")


def conclude_tests(deployment_id: int, state: str, summary: str, error: PreviewError | None = None) -> bool:
    """The tests layer of a deployment ended. Returns False when a newer wish has overtaken it."""
    with transaction.atomic():
        deployment = Deployment.objects.select_related("environment").get(pk=deployment_id)
        moved = Environment.objects.filter(
            pk=deployment.environment_id, generation=deployment.generation, phase=Phase.TESTING
        ).update(phase=Phase.READY, phase_changed_at=timezone.now(), version=F("version") + 1)
        if not moved:
            return False
        run = deployment.layers.get(layer="tests")
        run.state, run.summary, run.finished_at = state, summary[:300], timezone.now()
        if error:
            run.error_code, run.error_message, run.error_hint = error.code, error.message, error.hint
        run.save()
        Deployment.objects.filter(pk=deployment_id, outcome=Deployment.Outcome.RUNNING).update(
            outcome=Deployment.Outcome.SUCCEEDED, finished_at=timezone.now()
        )
        _tell(deployment.environment_id, "tests", summary, deployment.generation, "PreviewKit")
        transaction.on_commit(partial(announce, deployment.environment_id, True))
    return True
