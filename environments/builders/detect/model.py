"""What a plan is made of: Plan, Step, StaticSite. Data: a host can run it, a Dockerfile can be made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from environments.ports import FoundCommand
from environments.spec import Service

Command = tuple[str, ...] | str
"""A tuple is run as it is; a string by `sh -c`."""

RELEASE = "{release}"
"""Stands for the directory that the release is run from; see Artifact.env."""


@dataclass(frozen=True)
class Step:
    """One command of a build, run in the service's directory."""

    run: Command
    env: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    """True: it may fail; then its last line is in the log, and the build goes on."""

    @property
    def title(self) -> str:
        return self.run if isinstance(self.run, str) else " ".join(self.run)


@dataclass(frozen=True)
class StaticSite:
    """Files that a web server serves as they are."""

    root: str
    """Directory below the service's path."""
    single_page: bool
    """True: paths that name no file are answered with index.html."""


@dataclass(frozen=True)
class Plan:
    """What to install, build and start."""

    language: str
    """python, node, go, static, or none."""
    tool: str
    """What installs the packages: uv, poetry, pipenv, npm, pnpm, yarn, go, or none."""
    why: tuple[str, ...]
    """Sentences for the log and the environment's page: what was seen, and what follows."""
    notes: tuple[str, ...] = ()
    """Sentences about what the author may want to change."""
    tool_package: str | None = None
    """The npm package, with its version, that brings the tool: `pnpm@10.12.1`. None: it is simply there."""
    install: tuple[Step, ...] = ()
    layer_files: tuple[str, ...] = ()
    """The files that `install` needs and no others: they key the dependency layer. Relative to the path."""
    layered: bool = True
    """False: installing needs the whole source, so there is no dependency layer of its own."""
    build: tuple[Step, ...] = ()
    start: FoundCommand | None = None
    migrate: FoundCommand | None = None
    seed: FoundCommand | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    """Wanted versions as they are written: {"python": ">=3.12"}, {"node": "20"}."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of the running program; may hold `{release}`."""
    bin_dirs: tuple[str, ...] = ()
    """Directories that come first in PATH, also while building; may hold `{release}`."""
    site: StaticSite | None = None

    def with_(self, **changes: object) -> Plan:
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Processes:
    """The process types of a Procfile, by name."""

    commands: Mapping[str, str]

    def start(self, service: Service) -> FoundCommand | None:
        """The line named like the service; else `web:` for one with a port, `worker:` for one without."""
        for name in (service.name, "web" if service.port else "worker"):
            if name in self.commands and name not in ("release", "seed"):
                return FoundCommand(self.commands[name], f"The Procfile has a `{name}:` line.")
        return None

    def once(self, name: str) -> FoundCommand | None:
        if name not in self.commands:
            return None
        return FoundCommand(self.commands[name], f"The Procfile has a `{name}:` line.")
