"""Tells the tests layer how its TestRun ended."""

from __future__ import annotations

from environments import transitions
from environments.models import LayerRun
from environments.ports import PlatformError
from testruns.models import TestRun
from testruns.selectors import report_of


def conclude(run_id: int) -> bool:
    """Returns False when a newer wish has overtaken the deployment."""
    run = TestRun.objects.select_related("deployment").get(pk=run_id)
    if run.state == TestRun.State.NOT_RUN:
        error = PlatformError(run.error_code or "tests_failed", run.reason)
        return transitions.conclude_tests(run.deployment_id, LayerRun.State.SKIPPED, "not run", error)
    report = report_of(run)
    parts = [f"{report.passed} passed"]
    if report.application_bugs:
        parts.append(f"{report.application_bugs} application bug{'s' * (report.application_bugs > 1)}")
    if report.agent_errors:
        parts.append(f"{report.agent_errors} agent error{'s' * (report.agent_errors > 1)}")
    if report.not_run:
        parts.append(f"{report.not_run} not run")
    return transitions.conclude_tests(run.deployment_id, LayerRun.State.DONE, ", ".join(parts))
