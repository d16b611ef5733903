"""The command line's groups: each is thin over services.py. Heavy imports happen inside the functions."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")


def with_django(function: Callable[P, R]) -> Callable[P, R]:
    """Loads Django, and shows what went wrong as one sentence and the way out."""

    @wraps(function)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> R:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "previewkit.settings")
        import django
        from django.db.utils import OperationalError
        from redis.exceptions import ConnectionError as NoBroker

        from environments.ports import PreviewError

        django.setup()
        try:
            return function(*args, **kwargs)
        except PreviewError as error:
            for line in error.log_tail:
                click.echo(f"  | {line}", err=True)
            fail(error.code, error.message, error.hint)
        except OperationalError as error:
            why = str(error).splitlines()[0]
            fail("database_unavailable", f"PreviewKit's database does not answer: {why}", START)
        except NoBroker as error:
            fail("broker_unavailable", f"PreviewKit's Valkey does not answer: {error}", START)

    return loaded


START = "Start PreviewKit: previewkit up"


def fail(code: str, message: str, hint: str = "", exit_code: int = 1) -> NoReturn:
    click.echo(f"{code}: {message}", err=True)
    if hint:
        click.echo(hint, err=True)
    sys.exit(exit_code)


def person() -> str:
    """Who is at the keyboard, for the history."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):  # no passwd entry in some containers
        return "command line"
