""".preview.yaml: parse, validate with line numbers, resolve references.

Imports no Django. Everything here is immutable; the rest of the code only reads these classes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Build(Model):
    """How a service becomes runnable. Written `railpack`, `dockerfile`, `{dockerfile: path}` or `{image: ref}`."""

    kind: Literal["railpack", "dockerfile", "image"] = "railpack"
    dockerfile: str | None = None
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
    command: tuple[str, ...] | None = None
    env: dict[str, str] = Field(default_factory=dict)
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
