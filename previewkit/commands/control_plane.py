"""`previewkit up`, `down`, `status`: the control plane on this machine."""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from previewkit.control_plane.lifecycle import Running
    from previewkit.home import Home


INTERRUPTED = 130
"""The exit code of a command that a signal ended, as shells have it."""


@click.command()
@click.option("--detach", is_flag=True, help="Return when it is ready, and leave it running.")
def up(detach: bool) -> None:
    """Start PreviewKit. Ctrl-C stops all of it, the previews included; their data stays."""
    from previewkit.home import Home

    with attended(Home.of_environment(), detach):
        pass


@contextlib.contextmanager
def attended(home: Home, detach: bool = False) -> Iterator[Running]:
    """PreviewKit runs in the body, and after it until a signal, which stops all of it.

    Detached, or running before: it goes on running after the body. Otherwise an error in the body stops it too.
    """
    from previewkit.control_plane import lifecycle

    # SIGINT too: a shell that starts it in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    running = None
    try:
        running = lifecycle.up(home, _say)
        _announce(running)
        yield running
        if not detach and not running.was_running:
            click.echo("Ctrl-C stops it.")
            _until_stopped(running)
    except BaseException as error:
        if running and (detach or running.was_running):
            raise
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if running:
            click.echo("\nStopping …")
            lifecycle.down(home)
            click.echo("Stopped. Nothing is left running.")
        if not isinstance(error, KeyboardInterrupt):
            raise
        if running is None:
            sys.exit(INTERRUPTED)  # `up` has undone what it had begun.


@click.command()
def down() -> None:
    """Stop PreviewKit and the previews' processes. Their data stays."""
    from previewkit.control_plane import lifecycle
    from previewkit.home import Home

    stopped = lifecycle.down(Home.of_environment())
    click.echo("Stopped. Nothing is left running." if stopped else "PreviewKit is not running.")


@click.command()
def status() -> None:
    """Every program of the control plane. Exits with 3 when it is not running, 1 when a program is not up."""
    from previewkit.control_plane import lifecycle
    from previewkit.home import Home

    running = lifecycle.running(Home.of_environment())
    if running is None:
        click.echo("PreviewKit is not running. Start it: previewkit up")
        sys.exit(3)
    programs = running.supervisor.programs()
    for program in programs:
        detail = f"pid {program.pid}, {program.seconds:.0f} s" if program.state == "RUNNING" else ""
        click.echo(f"{program.name:<10} {program.state.lower():<9} {detail}")
    click.echo(f"{running.configuration.dashboard_url}")
    sys.exit(0 if all(program.state == "RUNNING" for program in programs) else 1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str, seconds: float | None) -> None:
    click.echo(f"  {line:<60} {seconds:5.1f} s" if seconds is not None else f"  {line}")


def _announce(running: Running) -> None:
    configuration = running.configuration
    click.secho("PreviewKit is running already." if running.was_running else "PreviewKit is running.", bold=True)
    click.echo(f"  Dashboard   {configuration.dashboard_url}")
    click.echo(f"  Sign in     admin / {configuration.admin_password}")
    click.echo(f"  State       {running.home.root}")
    click.echo(f"  Trust       {running.home.tls / 'ca.pem'} (signs this machine's previews, nothing else)")
    if not configuration.embedded_postgres:
        click.echo("  Database    your own, of DATABASE_URL")
    if not configuration.embedded_valkey:
        click.echo("  Broker      your own, of REDIS_URL")


def _until_stopped(running: Running) -> None:
    """Returns when supervisord has ended, e.g. by `previewkit down` in another terminal."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess, OSError):  # It has ended already.
        psutil.Process(running.supervisor.pid()).wait()
    click.echo("PreviewKit was stopped.")


COMMANDS = (up, down, status)
