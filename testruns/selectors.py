"""What the dashboard reads of one deployment's tests."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import BooleanField, Case, Q, Value, When

from environments.models import Deployment
from testruns.models import Finding, ScenarioResult, TestRun


@dataclass(frozen=True)
class TestsPanel:
    """One TestRun as a page shows it: bugs first, failures first."""

    __test__ = False

    run: TestRun
    findings: tuple[Finding, ...]
    results: tuple[ScenarioResult, ...]


def tests_panel(deployment: Deployment) -> TestsPanel | None:
    """None where no TestRun has begun. Pictures stay in the database until they are asked for."""
    run = TestRun.objects.filter(deployment=deployment).first()
    if run is None:
        return None
    has_picture = Case(
        When(Q(picture=None) | Q(picture=b""), then=Value(False)), default=Value(True), output_field=BooleanField()
    )
    findings = list(run.findings.annotate(has_picture=has_picture).defer("picture"))
    findings.sort(key=lambda finding: finding.final_verdict != Finding.Verdict.APPLICATION_BUG)
    order = {"failed": 0, "not_run": 1, "passed": 2}
    results = sorted(run.results.all(), key=lambda result: order[result.outcome])
    return TestsPanel(run, tuple(findings), tuple(results))


def picture(finding_id: int) -> bytes | None:
    """PNG of the page when it failed; None where there is none."""
    found = Finding.objects.filter(pk=finding_id).values_list("picture", flat=True).first()
    return bytes(found) if found else None
