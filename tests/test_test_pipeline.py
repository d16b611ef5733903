"""TestRuns whose tester dies, stalls or breaks: each layer is told how it ended, and by one that knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from environments import services, transitions
from environments.models import Deployment, Environment, LayerRun
from testruns import engine, pipeline, results
from testruns.models import TestRun
from tests.fixtures_reconcile import World, world

__all__ = ["world"]

Phase = Environment.Phase
TESTED = """\
services:
  web: {build: railpack, port: 3000, command: [act, serve, one]}
"""


@pytest.fixture
def run(world: World) -> TestRun:
    """Of an environment that is up and being tested."""
    world.push(world.commit(spec=TESTED), "feature")
    world.deliver(number=1)
    environment = world.work_until_done(world.environment(1))
    assert environment.phase == Phase.TESTING
    # It began a while ago: what is new is left to its own message.
    TestRun.objects.update(created_at=environment.created_at.replace(year=2020))
    return TestRun.objects.get(deployment__environment=environment)


def layer_of(run: TestRun) -> LayerRun:
    return LayerRun.objects.get(deployment=run.deployment, layer="tests")


def phase(run: TestRun) -> str:
    return Environment.objects.get(pk=run.deployment.environment_id).phase


def test_a_tester_killed_before_it_told_the_layer_leaves_nothing_testing(run: TestRun) -> None:
    # Given a tester that stored what it found, and was killed then
    TestRun.objects.filter(pk=run.pk).update(lease_token="dead")
    results.store(run, "dead", engine.Outcome(not_run="no browser", not_run_code="browser_missing"))
    TestRun.objects.filter(pk=run.pk).update(lease_token="", lease_until=None)
    assert phase(run) == Phase.TESTING
    # When the sweeper looks
    for waiting in pipeline.waiting():
        pipeline.run(waiting)
    # Then the layer knows, and nothing is left to do
    assert (phase(run), layer_of(run).error_code) == (Phase.READY, "browser_missing")
    assert pipeline.waiting() == []


def test_a_stalled_tester_does_not_end_the_run_of_the_one_that_took_over(run: TestRun) -> None:
    # Given a tester that lost its lease to another one
    TestRun.objects.filter(pk=run.pk).update(lease_token="another", state=TestRun.State.REPLAYING)
    # When it notices
    results.supersede(run)
    # Then the run and its layer go on
    run.refresh_from_db()
    assert (run.state, layer_of(run).state) == (TestRun.State.REPLAYING, LayerRun.State.RUNNING)


def test_a_newer_commit_ends_the_run(run: TestRun) -> None:
    environment = run.deployment.environment
    services.retry(environment, "ada")
    results.supersede(run)
    run.refresh_from_db()
    assert run.state == TestRun.State.SUPERSEDED


def test_an_unforeseen_error_ends_as_not_run(run: TestRun, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def broken(*_: object) -> Iterator[None]:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(pipeline, "_code", broken)
    for _ in range(pipeline.MAX_ATTEMPTS):
        pipeline.run(run.pk)
    run.refresh_from_db()
    assert (run.state, run.error_code) == (TestRun.State.NOT_RUN, "tests_failed")
    assert (phase(run), layer_of(run).summary) == (Phase.READY, "not run")
    assert Deployment.objects.get(pk=run.deployment_id).outcome == Deployment.Outcome.SUCCEEDED
    assert not transitions.conclude_tests(run.deployment_id, LayerRun.State.DONE, "again")
