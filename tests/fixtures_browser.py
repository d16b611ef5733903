"""Fixtures of the tests that drive Chromium: the browser found on this machine, started once for a module."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testruns.browser import Browser
from testruns.chromium import BrowserFound, BrowserMissing, find_browser
from testruns.page import Target

HERE = Target("http://127.0.0.1:1", host_rules=("*.preview.test",))
"""Stands for every server that a test starts: Chromium is told host names when it starts, not ports."""


@pytest.fixture(scope="session")
def found_browser() -> BrowserFound:
    """Skips where there is none; in CI that is a failure."""
    found = find_browser()
    if isinstance(found, BrowserMissing):
        message = f"{found.why} {found.mend}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def browser(found_browser: BrowserFound) -> Iterator[Browser]:
    with Browser(found_browser, [HERE]) as browser:
        yield browser
