"""The testers' work: the queue `tests` has workers of its own, so that browsers never hold up an environment."""

from __future__ import annotations

import dramatiq

from testruns import pipeline

LONGEST = 3_600_000
"""Milliseconds; a run has a budget of its own, far below."""


@dramatiq.actor(queue_name="tests", max_retries=0, time_limit=LONGEST)
def run_tests(run_id: int) -> None:
    """One try at a TestRun; comes back by itself while it has to wait for the base branch."""
    again = pipeline.run(run_id)
    if again is not None:
        run_tests.send_with_options(args=(run_id,), delay=int(again.total_seconds() * 1000) or None)


@dramatiq.actor(max_retries=0, max_age=10_000)
def sweep_tests() -> None:
    """Queues runs again whose tester died or whose message was lost."""
    for run_id in pipeline.waiting():
        run_tests.send(run_id)
