"""previewkit demo, demo-reset, smoke: the main job on this machine, shown and checked."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from previewkit.commands import fail, with_django

if TYPE_CHECKING:
    from previewkit.control_plane.lifecycle import Running

DEMO_MINUTES = 30
KEPT = "PREVIEWKIT_SMOKE_KEEP"
"""Set: the smoke run's state directory stays, for a look at what went wrong."""


@click.command()
def demo() -> None:
    """Start PreviewKit, make the example repositories, open their pull requests, and show what comes of them."""
    from previewkit.commands.control_plane import attended
    from previewkit.home import Home

    with attended(Home.of_environment()) as running:
        _find_browser()
        _show(running)


def _find_browser() -> None:
    """Without one the tests layer says "not run", why, and how to mend it; all else works."""
    from testruns.chromium import BrowserMissing, find_browser, install_browser

    if isinstance(find_browser(), BrowserMissing):
        click.echo("No browser for the tests yet; installing one …")
        found = install_browser(click.echo)
        if isinstance(found, BrowserMissing):
            click.echo(f"{found.why} {found.mend}\nGoing on: tests will say that they were not run.")


@with_django
def _show(running: Running) -> None:
    from rich.console import Console

    from previewkit import demo as shown

    console = Console()
    demos = shown.prepare(lambda line: console.print(line, style="dim", markup=False, highlight=False))
    done = shown.watch([item.repository for item in demos], console, DEMO_MINUTES * 60)
    if not done:
        console.print("Some environments have not come to rest; the dashboard shows which.")
    configuration = running.configuration
    text = shown.epilogue(demos, "admin", configuration.admin_password)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@click.command("demo-reset")
def demo_reset() -> None:
    """Stop PreviewKit and delete its state directory: repositories, databases, builds, keys."""
    from previewkit.control_plane import lifecycle
    from previewkit.home import Home

    home = Home.of_environment()
    if home.root.exists() and not home.env_file.exists() and any(home.root.iterdir()):
        fail(
            "not_a_home",
            f"{home.root} is not a state directory of PreviewKit: it has no {home.env_file.name}.",
            "Nothing was deleted. Check PREVIEWKIT_HOME.",
        )
    lifecycle.down(home)
    shutil.rmtree(home.root, ignore_errors=False) if home.root.exists() else None
    click.echo(f"{home.root} is gone.")


@click.command()
def smoke() -> None:
    """Run every demo pull request in a state directory of its own, check each outcome, close all, leave nothing."""
    from previewkit.control_plane import lifecycle
    from previewkit.home import Home

    root = Path(tempfile.mkdtemp(prefix="previewkit-smoke-"))
    os.environ["PREVIEWKIT_HOME"] = str(root)
    home = Home.of_environment()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    passed = False
    try:
        lifecycle.up(home, _plain)
        passed = _run_smoke()
    finally:
        lifecycle.down(home)
        passed = _nothing_runs(root) and passed
        if KEPT in os.environ and not passed:
            click.echo(f"kept for a look: {root}")
        else:
            shutil.rmtree(root)
    sys.exit(0 if passed else 1)


@with_django
def _run_smoke() -> bool:
    from rich.console import Console

    from previewkit import demo as shown
    from previewkit import smoke as checks

    console = Console(width=160)
    demos = shown.prepare(_line)
    shown.watch([item.repository for item in demos], console, DEMO_MINUTES * 60)
    rows = checks.check(demos)
    left = checks.close_all(demos, rows)
    return checks.report(console, rows, left)


def _nothing_runs(root: Path) -> bool:
    from previewkit.smoke import processes_under

    left = processes_under(str(root))
    for sentence in left:
        click.echo(f"left behind: {sentence}")
    return not left


def _plain(line: str, seconds: float | None) -> None:
    click.echo(line if seconds is None else f"{line} ({seconds:.1f} s)")


def _line(line: str) -> None:
    click.echo(line)


COMMANDS = (demo, demo_reset, smoke)
