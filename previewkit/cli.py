"""The `previewkit` command. Its commands are in the modules of previewkit/commands/, each with COMMANDS.

Heavy imports stand inside the functions, so that `previewkit --help` answers at once.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import click

from environments.errors import PreviewError
from previewkit import commands

FAILED = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Every pull request gets its own production-shaped environment, tested and torn down."""


def registered() -> click.Group:
    for module in pkgutil.iter_modules(commands.__path__):
        for command in importlib.import_module(f"previewkit.commands.{module.name}").COMMANDS:
            cli.add_command(command)
    return cli


def main() -> None:
    """An error that is explained is printed in three lines, never as a traceback."""
    try:
        registered()(standalone_mode=True)
    except PreviewError as error:
        for line in error.log_tail:
            click.echo(f"  | {line}", err=True)
        click.secho(f"{error.code}: {error.message}", fg="red", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        sys.exit(FAILED)
