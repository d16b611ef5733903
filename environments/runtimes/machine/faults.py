"""What this machine throws at the runtime, as the errors that the contract names."""

from __future__ import annotations

import errno
import http.client
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

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
        except http.client.HTTPException as error:
            raise PlatformError(
                "runtime_unavailable", f"The environment's supervisor did not answer: {error!r}."
            ) from error

    return reporting


def from_os(error: OSError) -> PlatformError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PlatformError(
            "disk_full",
            f"There is no space left for {error.filename or 'an environment'}.",
            "Free some space, or close environments; it goes on by itself.",
        )
    return PlatformError(
        "runtime_unavailable",
        f"This machine refused: {error}.",
        "It is tried again. If it stays, see that the state directory can be written.",
    )
