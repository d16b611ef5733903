"""What a pull request's tests are held against: the base branch's environment, its newest run, its traces."""

from __future__ import annotations

from environments.models import Environment
from testruns.models import TestRun, Trace


def base_environment(environment: Environment) -> Environment | None:
    """The environment of the branch that a pull request goes to; None for a branch's own."""
    if environment.pull is None:
        return None
    return Environment.objects.filter(
        repository=environment.repository,
        kind=Environment.Kind.BRANCH,
        branch=environment.pull.base_ref,
        wanted=Environment.Wanted.PRESENT,
    ).first()


def reference_run(base: Environment) -> TestRun | None:
    """The newest finished run of the base branch."""
    return (
        TestRun.objects.filter(deployment__environment=base, state=TestRun.State.DONE)
        .select_related("deployment__environment")
        .order_by("-deployment__generation")
        .first()
    )


def traces(run: TestRun) -> list[Trace]:
    return list(run.traces.all())
