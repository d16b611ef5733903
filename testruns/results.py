"""Writes what a run found, all of it or nothing."""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from environments import transitions
from environments.models import Environment, LayerRun
from testruns.engine import Finding as Found
from testruns.engine import Outcome, ScenarioOutcome
from testruns.models import Finding, ScenarioResult, TestRun, Trace

STATE = TestRun.State


def announce(run: TestRun) -> None:
    """Browsers look again."""
    environment_id = run.deployment.environment_id
    Environment.objects.filter(pk=environment_id).update(version=F("version") + 1)
    transitions.announce(environment_id)


def store(run: TestRun, token: str, outcome: Outcome) -> None:
    """By the run's tester only; a second try replaces what a first one may have left."""
    with transaction.atomic():
        state = STATE.NOT_RUN if outcome.not_run else STATE.DONE
        mine = TestRun.objects.filter(pk=run.pk, lease_token=token).update(
            state=state, reason=outcome.not_run, error_code=outcome.not_run_code, finished_at=timezone.now()
        )
        if not mine:
            return
        run.results.all().delete()
        run.findings.all().delete()
        run.traces.all().delete()
        ScenarioResult.objects.bulk_create(_result(run, scenario) for scenario in outcome.scenarios)
        Finding.objects.bulk_create(_finding(run, finding) for finding in outcome.findings)
        repository = run.deployment.environment.repository
        Trace.objects.bulk_create(
            Trace(
                repository=repository,
                test_run=run,
                scenario_key=trace.scenario.key,
                title=trace.scenario.title,
                sha=run.sha,
                document=trace.model_dump(mode="json"),
            )
            for trace in outcome.traces
        )
        transaction.on_commit(partial(announce, run))


def supersede(run: TestRun) -> None:
    """A newer wish has its own run. One that another tester took over, or that is new, goes on."""
    deployment = run.deployment
    if not Environment.objects.filter(pk=deployment.environment_id, generation__gt=deployment.generation).exists():
        return
    TestRun.objects.filter(pk=run.pk).exclude(state__in=[STATE.DONE, STATE.NOT_RUN]).update(
        state=STATE.SUPERSEDED, reason="A newer commit came.", finished_at=timezone.now()
    )
    LayerRun.objects.filter(deployment=run.deployment_id, layer="tests", state=LayerRun.State.RUNNING).update(
        state=LayerRun.State.SKIPPED, summary="superseded", finished_at=timezone.now()
    )


def _result(run: TestRun, scenario: ScenarioOutcome) -> ScenarioResult:
    return ScenarioResult(
        test_run=run,
        scenario_key=scenario.key,
        title=scenario.title[:300],
        origin=scenario.origin,
        outcome=scenario.outcome,
        reason=scenario.reason,
        seconds=scenario.seconds,
        steps=[
            {"intent": step.intent, "action": step.action, "outcome": step.outcome, "ms": step.ms}
            for step in scenario.steps
        ],
    )


def _finding(run: TestRun, finding: Found) -> Finding:
    verdict = finding.verdict
    return Finding(
        test_run=run,
        scenario_key=finding.key,
        title=finding.title[:300],
        step=finding.step[:300],
        expected=finding.expected,
        seen=finding.seen,
        verdict=verdict.verdict,
        cause=verdict.cause[:60],
        gate=verdict.gate[:60],
        confidence=verdict.confidence,
        needs_person=verdict.needs_person,
        evidence=list(verdict.evidence),
        picture=finding.after or None,
    )
