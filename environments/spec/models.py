"""What a .preview.yaml means: frozen, complete with defaults, and the same after a trip through JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Build(Model):
    """How a service becomes runnable. Written `railpack`, `dockerfile`, `{dockerfile: path}` or `{image: ref}`."""

    kind: Literal["railpack", "dockerfile", "image"] = "railpack"
    dockerfile: str | None = None
    """Path within the build context; stated for every build of that kind."""
    target: str | None = None
    args: dict[str, str] = Field(default_factory=dict)
    image: str | None = None


class Health(Model):
    path: str | None = None
    """HTTP path that answers below 400 when ready; None: the TCP port accepts."""
    timeout: float = 120.0
    """Seconds from start to ready; written `120s` or `2m`."""


class Resources(Model):
    cpu: float = 1.0
    """Cores; written `500m` or `1`."""
    memory: int = 1024 * 1024 * 1024
    """Bytes; written `512Mi`."""


class Service(Model):
    name: str
    build: Build = Build()
    path: str = "."
    """Build context, relative to the repository's root."""
    port: int | None = None
    """None: a worker, without address."""
    public: bool = False
    command: tuple[str, ...] | str | None = None
    """A tuple is run as it is; a string by `sh -c`. None: to be found from the code."""
    env: dict[str, str] = Field(default_factory=dict)
    """Values may hold `{{references}}`: see `resolve`."""
    secrets: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    """Services that start before this one: stated ones and those of `{{services.x.…}}` references."""
    health: Health = Health()
    resources: Resources = Resources()
    replicas: int = 1
    migrate: str | Literal[False] | None = None
    """None: to be found from the code; False: none."""
    seed: str | Literal[False] | None = None


class Dependency(Model):
    recipe: str
    version: str | None = None
    name: str
    """What `{{name.field}}` references use; the recipe's name unless stated."""
    options: dict[str, Any] = Field(default_factory=dict)


class Previews(Model):
    drafts: bool = False
    forks: Literal["ask", "never", "always"] = "ask"
    sleep_after: float | None = 1800.0
    """Seconds; None: never."""
    expire_after: float | None = 604800.0


class Tests(Model):
    enabled: bool = True
    start: str = "/"
    scenarios: tuple[str, ...] = ()


class Spec(Model):
    version: Literal[1] = 1
    services: dict[str, Service]
    """In start order: a service comes after all it depends on."""
    dependencies: tuple[Dependency, ...] = ()
    isolation: Literal["namespace", "routing"] = "namespace"
    previews: Previews = Previews()
    tests: Tests = Tests()

    @property
    def public_service(self) -> Service | None:
        """The one that `{{preview.url}}` means: web, app or frontend, else the first public one; None: no address."""
        public = {name: service for name, service in self.services.items() if service.public}
        first = next((public[name] for name in FRONT_NAMES if name in public), None)
        return first or next(iter(public.values()), None)


FRONT_NAMES = ("web", "app", "frontend")
"""Services that are public unless stated otherwise."""


def spec_hash(spec: Spec) -> str:
    """64 hex digits, equal for files that mean the same, however they are written."""
    meaning = json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(meaning.encode()).hexdigest()


def describe(spec: Spec) -> list[str]:
    """One line for each dependency and service, in the order in which they start, as a person would say it."""
    lines = []
    for dependency in spec.dependencies:
        version = f" {dependency.version}" if dependency.version else ""
        name = "" if dependency.name == dependency.recipe else f", as {dependency.name}"
        lines.append(f"{dependency.recipe}{version}{name}")
    for service in spec.services.values():
        made = service.build.image or service.build.kind
        where = "" if service.path == "." else f" in {service.path}"
        port = f"port {service.port}" if service.port else "a worker, no port"
        after = f", after {', '.join(service.depends_on)}" if service.depends_on else ""
        lines.append(f"{service.name}: {made}{where}, {port}{', public' if service.public else ''}{after}")
    return lines
