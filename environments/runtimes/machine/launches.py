"""What a program of an environment is started with: its words, its variables, its limits; one file for each."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from environments.ports import Artifact
from environments.runtimes.machine.files import write_whole
from environments.runtimes.machine.limits import Limit
from environments.runtimes.machine.place import Place
from environments.runtimes.machine.processes import MARKER

LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).parent / "launch.py"))
"""Becomes the program that a launch file describes; see launch.py."""


@dataclass(frozen=True)
class Launch:
    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: str
    join: tuple[str, ...] = ()
    data_limit: int | None = None
    nice: int = 0
    after: tuple[int, ...] = ()
    """Ports that take connections before the program starts."""
    starts: str = ""
    """A file that gets a line at each start."""

    def write(self, file: Path) -> None:
        """For its owner's eyes: it holds credentials."""
        write_whole(file, self.text(), mode=0o600)

    def text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def digest(self) -> str:
        return hashlib.sha256(self.text().encode()).hexdigest()


def for_service(
    place: Place,
    command: tuple[str, ...] | str,
    env: Mapping[str, str],
    release: Path,
    limit: Limit,
    *,
    after: Sequence[int] = (),
    starts: str = "",
) -> Launch:
    return Launch(
        argv=("sh", "-c", command) if isinstance(command, str) else command,
        env={**base_env(place), **env},
        directory=str(release),
        join=limit.join,
        data_limit=limit.data_limit,
        nice=limit.nice,
        after=tuple(after),
        starts=starts,
    )


def service_env(
    artifact: Artifact, env: Mapping[str, str], secrets: Mapping[str, str], release: Path, port: int | None
) -> dict[str, str]:
    """The artifact's variables, then the service's own, then its secrets, then what the runtime decides."""
    merged = {
        name: value.replace("{release}", str(release))
        for name, value in {"HOST": "127.0.0.1", **artifact.env, **env}.items()
    }
    merged.update(secrets)
    if port is not None:
        merged["PORT"] = str(port)
    return merged


def base_env(place: Place) -> dict[str, str]:
    """Nothing of PreviewKit's own environment but PATH; what programs leave at home or in /tmp goes with them."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": str(place.path / "home"),
        "TMPDIR": str(place.path / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "PREVIEWKIT_NAMESPACE": place.namespace,
        MARKER: str(place.path),
    }
