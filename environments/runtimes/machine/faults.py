"""What this machine throws at the runtime, as the errors that the contract names."""

from __future__ import annotations

import errno
import http.client
import os
import shutil
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import psutil

from environments.ports import PlatformError

P = ParamSpec("P")
R = TypeVar("R")


def reported(method: Callable[P, R]) -> Callable[P, R]:
    """OSErrors and an unanswering supervisor leave `method` as PlatformErrors that say what to do."""

    @wraps(method)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except OSError as error:
            raise from_os(error) from error
        except psutil.Error as error:
            raise PlatformError("runtime_unavailable", f"A process could not be seen: {error}.") from error
        except http.client.HTTPException as error:
            raise PlatformError(
                "runtime_unavailable", f"The environment's supervisor did not answer: {error!r}."
            ) from error

    return reporting


FULL = (errno.ENOSPC, errno.EDQUOT)


def says_full(output: str) -> bool:
    """Whether a program's output tells of a full disk."""
    return any(os.strerror(number) in output for number in FULL)


def disk_full(what: str) -> PlatformError:
    return PlatformError(
        "disk_full",
        f"There is no space left for {what}.",
        "Free some space, or close environments; it is tried again for some minutes, then retry.",
    )


def from_os(error: OSError) -> PlatformError:
    # shutil.copytree collects the errors of single files as texts.
    if error.errno in FULL or (isinstance(error, shutil.Error) and says_full(str(error))):
        return disk_full(str(error.filename or "an environment's files"))
    return PlatformError(
        "runtime_unavailable",
        f"This machine refused: {error}.",
        "It is tried again. If it stays, see that the state directory can be written.",
    )
