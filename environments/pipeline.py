"""reconcile: brings what is to what is wished. Knows the six layers and their order, not the platform."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from django.db.utils import InterfaceError, OperationalError

from environments import leases, secrets, transitions, wiring
from environments.layers import app, build, dependencies, namespace, routing, tests
from environments.layers.context import LayerContext, Outcome, StartOver
from environments.leases import Lease
from environments.models import LAYERS, Deployment, Environment, Event, LayerRun
from environments.ports import PlatformError, PreviewError, RetryLater, Route, Superseded, UserError
from environments.reporting import LayerLog
from environments.transitions import Phase, Wanted
from environments.wiring import Outside

log = structlog.get_logger()

BRING_UP: dict[str, Callable[[LayerContext], Outcome]] = {
    "build": build.bring_up,
    "namespace": namespace.bring_up,
    "dependencies": dependencies.bring_up,
    "app": app.bring_up,
    "routing": routing.bring_up,
    "tests": tests.bring_up,
}
PHASE_BEFORE = {"build": Phase.BUILDING, "namespace": Phase.STARTING, "tests": Phase.TESTING}
"""The phase that begins with a layer; the others go on in the one before."""
NOT_OURS = (Superseded, StartOver, RetryLater, OperationalError, InterfaceError)
"""Said to the caller, or the database itself: nothing can be written, and the sweeper comes back to it."""


def reconcile(environment_id: int, outside: Outside | None = None) -> timedelta | None:
    """One worker's try to bring the present wish about.

    Returns when to come back (zero: at once), or None when nothing is left to do or somebody else is at it.
    """
    lease = leases.take(environment_id)
    if lease is None:
        return None
    again: timedelta | None = None
    with leases.held(lease):
        try:
            again = _bring_about(lease, outside or wiring.outside())
        except (Superseded, StartOver):
            again = timedelta(0)
        except RetryLater as later:
            again = timedelta(seconds=later.delay)
    if again is None and not Environment.objects.get(pk=environment_id).is_settled:
        again = timedelta(0)
    return again


def _bring_about(lease: Lease, outside: Outside) -> timedelta | None:
    environment = Environment.objects.select_related("repository", "pull").get(pk=lease.environment_id)
    if environment.is_settled:
        return None
    try:
        if environment.wanted == Wanted.ABSENT:
            _tear_down(lease, environment, outside)
        else:
            _bring_up(lease, environment, outside)
    except NOT_OURS:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, the author and the operator see it, and it ends)
        return _postpone(lease, _explained(error, environment), environment, outside)
    return None


# ── up ──────────────────────────────────────────────────────────────────────────────────────


def _bring_up(lease: Lease, environment: Environment, outside: Outside) -> None:
    deployment = transitions.begin_deployment(lease, environment.wanted_sha)
    if _fresh_is_wished(lease):
        outside.runtime.destroy(environment.namespace)
    _clear_checkouts(environment, outside)
    runs = {run.layer: run for run in deployment.layers.all()}
    folder = outside.checkouts / f"{environment.namespace}-{lease.generation}"
    hidden: dict[str, str] = {}
    ctx: LayerContext | None = None
    layer = LAYERS[0]
    try:
        for layer in LAYERS:
            run = runs[layer]
            if layer in PHASE_BEFORE:
                transitions.advance(lease, PHASE_BEFORE[layer], sha=deployment.sha)
            transitions.start_layer(lease, run)
            if ctx is None:
                ctx = _context(lease, environment, deployment, outside, folder, hidden)
            ctx.run, ctx.log = run, LayerLog(run, environment.pk, hidden)
            try:
                outcome = BRING_UP[layer](ctx)
            finally:
                ctx.log.flush()
            _finish(lease, run, outcome)
    except StartOver:
        outside.runtime.destroy(environment.namespace)
        raise
    except UserError as error:
        _give_up(lease, environment, runs[layer], secrets.redact_error(error, hidden), outside)
        return
    except NOT_OURS:
        raise
    except Exception as error:
        explained = secrets.redact_error(_explained(error, environment), hidden)
        transitions.fail_layer(lease, runs[layer], explained)
        raise explained from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    testing = runs["tests"].state == LayerRun.State.RUNNING
    if not testing:
        transitions.settle(lease, Phase.READY, Deployment.Outcome.SUCCEEDED, "Ready")
    else:
        transitions.settle(lease, Phase.TESTING, None, "Testing")


def _clear_checkouts(environment: Environment, outside: Outside) -> None:
    """What a killed worker of an earlier wish left."""
    for left in outside.checkouts.glob(f"{environment.namespace}-*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _fresh_is_wished(lease: Lease) -> bool:
    wishes = Event.objects.filter(environment_id=lease.environment_id, generation=lease.generation, kind="wish")
    return wishes.filter(facts__rebuild=True).exists()


def _context(
    lease: Lease,
    environment: Environment,
    deployment: Deployment,
    outside: Outside,
    folder: Path,
    hidden: dict[str, str],
) -> LayerContext:
    repository = environment.repository
    origin = outside.provider(repository).clone_source(repository.ref)
    commit = outside.source.checkout(wiring.slug(repository), origin, deployment.sha, folder)
    return LayerContext(lease, environment, deployment, outside, commit, hidden=hidden)


def _finish(lease: Lease, run: LayerRun, outcome: Outcome) -> None:
    if outcome.state == LayerRun.State.RUNNING:
        # The test pipeline may have concluded it already: only the words are ours.
        LayerRun.objects.filter(pk=run.pk, state=LayerRun.State.RUNNING, summary="").update(summary=outcome.summary)
        return
    transitions.finish_layer(lease, run, outcome.state, outcome.summary)


def _give_up(lease: Lease, environment: Environment, run: LayerRun, error: PreviewError, outside: Outside) -> None:
    """The author has to act. What served before goes on serving; of a first try nothing stays."""
    transitions.fail_layer(lease, run, error)
    serving = _still_serving(environment, outside)
    if serving:
        # A deployment that failed, or was overtaken, after it was routed has taken the addresses with it.
        outside.runtime.apply_routes(environment.namespace, serving.generation, _routes_of(serving))
        outside.runtime.retire_services(environment.namespace, keep=serving.generation)
        phase, text = Phase.DEGRADED, f"{error.message} {serving.sha[:8]} goes on serving."
    else:
        outside.runtime.destroy(environment.namespace)
        phase, text = Phase.FAILED, error.message
    transitions.settle(lease, phase, Deployment.Outcome.FAILED, text, error)


def _still_serving(environment: Environment, outside: Outside) -> Deployment | None:
    """The older deployment that visitors reach; None where its namespace or its services are gone."""
    serving = Environment.objects.select_related("serving").get(pk=environment.pk).serving
    if serving is None:
        return None
    seen = outside.runtime.observe(environment.namespace)
    return serving if any(service.revision == serving.generation for service in seen.services) else None


def _routes_of(serving: Deployment) -> list[Route]:
    rows = [
        *serving.services.exclude(url="").values_list("url", "name"),
        *serving.dependencies.exclude(url="").values_list("url", "name"),
    ]
    return [Route(urlsplit(url).hostname or "", name) for url, name in rows]


def _postpone(lease: Lease, error: PreviewError, environment: Environment, outside: Outside) -> timedelta | None:
    log.warning("platform error", environment=environment.namespace, code=error.code, error=error.message)
    # What should be gone is never given up.
    wait = transitions.postpone(lease, error, for_ever=environment.wanted == Wanted.ABSENT)
    if wait is not None:
        return wait
    run = LayerRun.objects.filter(deployment__environment=environment, deployment__generation=lease.generation).exclude(
        error_code=""
    )
    try:
        _give_up(lease, environment, run.last() or _first_layer(lease), error, outside)
    except (PreviewError, OSError) as worse:
        # Nothing may stay of what is given up, and what is there can't be removed now.
        return transitions.postpone(lease, _explained(worse, environment), for_ever=True)
    return None


def _first_layer(lease: Lease) -> LayerRun:
    return LayerRun.objects.get(
        deployment__environment_id=lease.environment_id, deployment__generation=lease.generation, position=0
    )


def _explained(error: Exception, environment: Environment) -> PreviewError:
    """Any error under a code. What nobody foresaw is `internal`, with its traceback in the worker's log."""
    if isinstance(error, PreviewError):
        return error
    log.error("unforeseen error", environment=environment.namespace, exc_info=error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PlatformError("disk_full", "The disk is full.", "Free some space on PreviewKit's machine.")
    kind = type(error).__name__
    return PlatformError("internal", f"PreviewKit itself failed ({kind}).", "Operators see the details in its log.")


# ── down ────────────────────────────────────────────────────────────────────────────────────


def _tear_down(lease: Lease, environment: Environment, outside: Outside) -> None:
    transitions.advance(lease, Phase.STOPPING, "Closing")
    outside.runtime.destroy(environment.namespace)
    _clear_checkouts(environment, outside)
    left = outside.runtime.blockers(environment.namespace)
    if left:
        raise PlatformError("teardown_stuck", f"Still there: {'; '.join(left)}", "It is tried again.")
    transitions.settle(lease, Phase.GONE, None, "Gone: nothing is left")
