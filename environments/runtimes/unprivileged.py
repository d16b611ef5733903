"""Runs a program that refuses to be root (Postgres) as `nobody`, where PreviewKit itself runs as root.

Imports no Django. Not root: both functions do nothing.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from environments.ports import PlatformError

USER = "nobody"
_TRAVERSING = (("dac_read_search", 2), ("dac_override", 1))
"""Capabilities (name, bit) that let `nobody` pass through a directory that only root may enter, such as a
checkout under /root. The weaker one first; many containers keep only the second."""


def as_unprivileged(argv: Sequence[str]) -> list[str]:
    """`argv`, prefixed so that it runs as a user that is not root and still reaches its files.

    The prefix replaces itself by the program: the process id, signals and exit code are the program's own.
    """
    return [*_prefix(), *argv] if os.geteuid() == 0 else list(argv)


def give_to_unprivileged(path: Path) -> None:
    """Makes `path` and all in it belong to the user of `as_unprivileged`."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam(USER)
    os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    for directory, subdirectories, files in os.walk(path):
        for name in (*subdirectories, *files):
            os.chown(os.path.join(directory, name), user.pw_uid, user.pw_gid, follow_symlinks=False)


@cache
def _prefix() -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise PlatformError(
            "runtime_unavailable",
            "Postgres refuses to run as root, and there is no `setpriv` here to run it as another user.",
            "Install util-linux, or start PreviewKit as an ordinary user.",
        )
    user = pwd.getpwnam(USER)
    words = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    capability = _traversing_capability()
    if capability:
        words += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
    return (*words, "--")


def _traversing_capability() -> str | None:
    status = Path("/proc/self/status").read_text().splitlines()
    permitted = next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm:"))
    return next((name for name, bit in _TRAVERSING if permitted >> bit & 1), None)
