"""Replay: performs a trace on an environment, on its seeded data, and tells what was different.

No model, no edit of an expectation, no network beyond the environment.
"""

from __future__ import annotations

from testruns.browser import Browser, Fence
from testruns.page import Limits, Target
from testruns.performing import Pictures, perform
from testruns.replay import ReplayResult
from testruns.seeded import SeededData
from testruns.trace import Trace


def replay(
    browser: Browser,
    trace: Trace,
    target: Target,
    data: SeededData,
    *,
    pictures: Pictures = "failures",
    to_first_failure: bool = False,
    upto: str = "",
    limits: Limits | None = None,
    fence: Fence = lambda: None,
) -> ReplayResult:
    """Raises TraceError when the trace was tampered with, BrowserGone when Chromium ended."""
    trace.verify()
    data.restore()
    try:
        result = browser.run(
            target,
            trace.determinism,
            lambda session: perform(session, trace, pictures, to_first_failure, upto),
            limits=limits,
            fence=fence,
        )
    except BaseException:
        data.unknown()
        raise
    data.used(step.window for step in result.steps)
    return result
