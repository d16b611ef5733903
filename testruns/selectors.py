"""What the dashboard and the comment read of one deployment's tests."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db.models import BooleanField, Case, Q, Value, When
from django.urls import reverse

from environments.comment import ReportedFinding, TestReport
from environments.models import Deployment
from environments.selectors import tallies
from testruns.models import Finding, ScenarioResult, TestRun


@dataclass(frozen=True)
class TestsPanel:
    """One TestRun as a page shows it: bugs first, failures first."""

    __test__ = False

    run: TestRun
    findings: tuple[Finding, ...]
    results: tuple[ScenarioResult, ...]


def tests_panel(deployment: Deployment) -> TestsPanel | None:
    """None where no TestRun has begun."""
    run = TestRun.objects.filter(deployment=deployment).first()
    if run is None:
        return None
    order = {"failed": 0, "not_run": 1, "passed": 2}
    results = sorted(run.results.all(), key=lambda result: order[result.outcome])
    return TestsPanel(run, _findings(run), tuple(results))


def _findings(run: TestRun) -> tuple[Finding, ...]:
    """Bugs first. A picture stays in the database until it is asked for; `has_picture` says whether there is one."""
    has_picture = Case(
        When(Q(picture=None) | Q(picture=b""), then=Value(False)), default=Value(True), output_field=BooleanField()
    )
    findings = list(run.findings.annotate(has_picture=has_picture).defer("picture"))
    findings.sort(key=lambda finding: finding.final_verdict != Finding.Verdict.APPLICATION_BUG)
    return tuple(findings)


def picture(finding_id: int) -> bytes | None:
    """PNG of the page when it failed; None where there is none."""
    found = Finding.objects.filter(pk=finding_id).values_list("picture", flat=True).first()
    return bytes(found) if found else None


def report(deployment_id: int) -> TestReport | None:
    """The same for the comment (settings.TEST_REPORTER); None where no TestRun has begun."""
    run = TestRun.objects.filter(deployment=deployment_id).first()
    return report_of(run) if run else None


def report_of(run: TestRun) -> TestReport:
    tally = tallies([run.deployment_id])[run.deployment_id]
    return TestReport(
        passed=tally.passed,
        application_bugs=tally.bugs,
        agent_errors=tally.agent_errors,
        not_run=tally.not_run,
        reason=run.reason if run.state == TestRun.State.NOT_RUN else "",
        over=run.is_over,
        findings=tuple(_reported(finding) for finding in _findings(run)),
    )


def _reported(finding: Finding) -> ReportedFinding:
    path = reverse("finding_picture", args=[finding.pk])
    return ReportedFinding(
        title=finding.title,
        verdict=finding.final_verdict,
        step=finding.step,
        expected=finding.expected,
        seen=finding.seen,
        cause=finding.cause,
        picture=f"{settings.DASHBOARD_URL}{path}" if finding.has_picture else "",  # type: ignore[attr-defined]
        needs_person=finding.needs_person,
    )
