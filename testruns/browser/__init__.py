"""Drives Chromium: the only importer of playwright."""

from testruns.browser.process import Browser, BrowserGone, Fence
from testruns.browser.session import Session

__all__ = ["Browser", "BrowserGone", "Fence", "Session"]
