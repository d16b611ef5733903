"""`previewkit browser install`: a Chromium for the tests, where the machine has none."""

from __future__ import annotations

import os

import click

from previewkit.commands import fail


@click.group()
def browser() -> None:
    """The browser that the tests run in."""


@browser.command()
def install() -> None:
    """Find Chromium or Chrome, else install it: Playwright's own, or Debian's package where that is refused."""
    from previewkit.home import Home
    from testruns.chromium import BrowserMissing, find_browser, install_browser

    os.environ["PLAYWRIGHT_BROWSERS_PATH"] = str(Home.of_environment().browsers)
    found = find_browser()
    if isinstance(found, BrowserMissing):
        found = install_browser(click.echo)
    if isinstance(found, BrowserMissing):
        fail("browser_missing", found.why, found.mend)
    click.echo(f"The tests run in {found.version}, {found.path}")


COMMANDS = (browser,)
