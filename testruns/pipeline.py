"""A TestRun from queued to over: its lease, its place beside the base branch's run, the engine, the results."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import F, Q
from django.utils import timezone

from environments import leases, reporting, wiring
from environments.layers.app import SNAPSHOT
from environments.models import Deployment, Environment, LayerRun
from environments.ports import PlatformError, PreviewError, Superseded
from environments.source import Source
from environments.spec import Spec
from testruns import conclusion, engine, reference, results
from testruns.models import TestRun
from testruns.page import Target
from testruns.trace import Source as TraceSource
from testruns.trace import Trace

log = structlog.get_logger()

STATE = TestRun.State
TTL = timedelta(seconds=20)
FENCE_EVERY = 0.5
BASE_PATIENCE = timedelta(minutes=5)
"""How long a pull request's run waits for the base branch's, whose traces it is held against."""
MAX_ATTEMPTS = 3
LOCK_SPACE = 0x50564B55
"""First key of the advisory locks: one run at a time resets an environment's data."""


@dataclass
class Held:
    """The run as its tester holds it."""

    run: TestRun
    token: str
    log: reporting.LayerLog
    _looked: float = field(default=0.0)

    def fence(self) -> None:
        """Raises Superseded when a newer commit came, or another tester took the run."""
        self.log.flush_if_due()
        if time.monotonic() - self._looked < FENCE_EVERY:
            return
        self._looked = time.monotonic()
        current = TestRun.objects.filter(
            pk=self.run.pk,
            lease_token=self.token,
            deployment__environment__generation=self.run.deployment.generation,
        ).exists()
        if not current:
            raise Superseded

    def say(self, line: str) -> None:
        self.log.say(line)

    def stage(self, stage: str) -> None:
        TestRun.objects.filter(pk=self.run.pk, lease_token=self.token).update(state=stage)
        LayerRun.objects.filter(pk=self.log.run.pk).update(summary=stage)
        results.announce(self.run)


def waiting() -> list[int]:
    """Runs that nobody is at and that are not over, or whose layer does not know it: their tester died, or their
    message was lost."""
    free = Q(lease_token="") | Q(lease_until__lt=timezone.now())
    over = Q(state__in=(STATE.DONE, STATE.NOT_RUN, STATE.SUPERSEDED))
    concluded = ~Q(deployment__environment__phase=Environment.Phase.TESTING) | ~Q(
        deployment__environment__generation=F("deployment__generation")
    )
    quiet = timezone.now() - timedelta(seconds=10)
    rows = TestRun.objects.filter(free, created_at__lt=quiet).exclude(over & concluded)
    return list(rows.values_list("pk", flat=True)[:200])


def run(run_id: int) -> timedelta | None:
    """One try. Returns when to come back, or None when it is over or somebody else is at it."""
    token = uuid.uuid4().hex
    now = timezone.now()
    free = Q(lease_token="") | Q(lease_until__lt=now)
    if not TestRun.objects.filter(free, pk=run_id).update(lease_token=token, lease_until=now + TTL):
        return None
    row = TestRun.objects.select_related("deployment__environment__repository", "deployment__environment__pull").get(
        pk=run_id
    )
    try:
        mine = TestRun.objects.filter(pk=run_id, lease_token=token)
        with leases.renewed(lambda: mine.update(lease_until=timezone.now() + TTL), f"tester-{run_id}"):
            return _try(row, token)
    finally:
        TestRun.objects.filter(pk=run_id, lease_token=token).update(lease_token="", lease_until=None)


def _try(row: TestRun, token: str) -> timedelta | None:
    if row.is_over:
        conclusion.conclude(row.pk)  # Its tester may have died before it told the layer.
        return None
    layer = row.deployment.layers.get(layer="tests")
    held = Held(row, token, reporting.LayerLog(layer, row.deployment.environment_id, {}))
    try:
        held.fence()
        if wait := _wait_for_base(row):
            LayerRun.objects.filter(pk=layer.pk, state=LayerRun.State.RUNNING).update(
                summary="waiting for the base branch's tests"
            )
            return wait
        if row.attempts >= MAX_ATTEMPTS:
            return _broken(row, token, PlatformError("tests_failed", "The tester died each time it tried."))
        TestRun.objects.filter(pk=row.pk).update(started_at=timezone.now(), attempts=row.attempts + 1)
        outcome = _perform(held)
        held.log.flush()
        results.store(row, token, outcome)
    except Superseded:
        results.supersede(row)
        return None
    except (OperationalError, InterfaceError):
        raise  # The database itself: the sweeper comes back to it.
    except PreviewError as error:
        return _broken(row, token, error)
    except Exception:
        log.exception("test run broke", run=row.pk)
        return _broken(row, token, PlatformError("tests_failed", "The test run itself broke."))
    finally:
        held.log.flush()
    conclusion.conclude(row.pk)
    return None


def _broken(row: TestRun, token: str, error: PreviewError) -> timedelta | None:
    """Environment trouble is "not run", with its reason, after a few tries."""
    log.warning("test run broke", run=row.pk, code=error.code, error=error.message)
    if row.attempts + 1 < MAX_ATTEMPTS:
        return timedelta(seconds=3)
    results.store(row, token, engine.Outcome(not_run=error.message, not_run_code=error.code))
    conclusion.conclude(row.pk)
    return None


def _wait_for_base(row: TestRun) -> timedelta | None:
    base = reference.base_environment(row.deployment.environment)
    if base is None or timezone.now() - row.created_at > BASE_PATIENCE:
        return None
    at_work = not base.is_settled or base.phase == Environment.Phase.TESTING
    return timedelta(seconds=2) if at_work else None


# ── one pass ────────────────────────────────────────────────────────────────────────────────


def _perform(held: Held) -> engine.Outcome:
    environment = held.run.deployment.environment
    base = reference.base_environment(environment)
    newest = reference.reference_run(base) if base else None
    traces = _traces(held, newest)
    usable = base if base and traces and base.serving_id else None
    with _alone([environment, *([usable] if usable else [])]), _code(held, newest) as code:
        spec = Spec.model_validate(held.run.deployment.spec)
        head = _as_target(environment, held.run.deployment)
        on_base = _as_target(usable, usable.serving) if usable and usable.serving else None
        outcome = engine.run(
            head,
            base=on_base,
            reference=traces,
            start_path=spec.tests.start,
            source=TraceSource(sha=held.run.sha, spec_hash=held.run.deployment.spec_hash),
            source_tree=code.tree,
            changed_files=code.changed,
            diff=code.diff,
            on_line=held.say,
            on_stage=held.stage,
            fence=held.fence,
            budget=engine.Budget(seconds=settings.TEST_SECONDS),
        )
        # People find the data as it was before the tests.
        for used in (head, on_base):
            if used:
                used.reset()
        return outcome


def _traces(held: Held, reference_run: TestRun | None) -> list[Trace]:
    if reference_run is None:
        held.say("no reference: the base branch has no finished tests")
        return []
    found = [Trace.model_validate(row.document) for row in reference.traces(reference_run)]
    held.say(f"{len(found)} reference traces of {reference_run.deployment.environment.branch} {reference_run.sha[:8]}")
    return found


def _as_target(environment: Environment, deployment: Deployment) -> engine.Environment:
    """The first public address, and how its data is brought back to the seed."""
    urls = [
        *deployment.services.filter(public=True).exclude(url="").values_list("url", flat=True),
        *deployment.dependencies.exclude(url="").values_list("url", flat=True),
    ]
    if not urls:
        raise PlatformError("tests_failed", f"{environment} has no public address.")
    spec = Spec.model_validate(deployment.spec)
    stores = [item.name for item in spec.dependencies if item.recipe != "api-gateway"]
    return engine.Environment(
        Target(urls[0], host_rules=(f"*.{settings.BASE_DOMAIN}",), extra_origins=tuple(urls[1:])),
        _reset(environment.namespace, stores),
    )


def _reset(namespace: str, stores: Sequence[str]) -> Callable[[], None]:
    def reset() -> None:
        if stores:
            wiring.runtime().restore(namespace, stores, SNAPSHOT)

    return reset


@dataclass(frozen=True)
class Code:
    """The head's files, and what the pull request changes."""

    tree: Path
    changed: tuple[str, ...] = ()
    diff: str = ""


@contextmanager
def _code(held: Held, reference_run: TestRun | None) -> Iterator[Code]:
    """Read, never run. The difference is to the commit that the reference was recorded on."""
    repository = held.run.deployment.environment.repository
    slug = wiring.slug(repository)
    source: Source = wiring.outside().source
    origin = wiring.provider(repository.provider).clone_source(repository.ref)
    # Named after the namespace: should this tester be killed, it goes with the environment.
    prefix = f"{held.run.deployment.environment.namespace}-tests-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=_checkouts(), ignore_cleanup_errors=True) as folder:
        tree = Path(folder) / "tree"
        source.checkout(slug, origin, held.run.sha, tree)
        if reference_run is None:
            yield Code(tree)
            return
        base = reference_run.sha
        changed = source.changed_files(slug, origin, base, held.run.sha)
        yield Code(tree, tuple(changed), source.diff(slug, origin, base, held.run.sha))


def _checkouts() -> Path:
    path = wiring.outside().checkouts
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _alone(environments: Sequence[Environment]) -> Iterator[None]:
    """Nobody else resets these environments' data meanwhile. Taken in one order, so that two runs can't deadlock."""
    ids = sorted({environment.pk for environment in environments})
    with connection.cursor() as cursor:
        for pk in ids:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", [LOCK_SPACE, pk])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for pk in ids:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK_SPACE, pk])
