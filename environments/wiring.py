"""Which Runtime, Builder, Provider this installation uses: settings become objects here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from environments import front, names
from environments.models import Environment, Repository
from environments.ports import Builder, Fence, PlatformError, Provider, Runtime
from environments.source import Source


@dataclass(frozen=True)
class Outside:
    """The outside world, as the pipeline reaches it."""

    runtime: Runtime
    builder: Builder
    source: Source
    checkouts: Path
    wait_routed: Callable[[str, Fence], None] = front.wait_routed
    """Returns when the front door leads visitors of a host to a service that answers."""

    def provider(self, repository: Repository) -> Provider:
        return provider(repository.provider)


@lru_cache(maxsize=1)
def outside() -> Outside:
    home = Path(settings.PREVIEWKIT_HOME)
    return Outside(runtime(), _builder(home), Source(home / "sources"), home / "checkouts")


@lru_cache(maxsize=1)
def runtime() -> Runtime:
    if settings.RUNTIME == "embedded":
        from environments.runtimes.embedded import EmbeddedRuntime

        home = Path(settings.PREVIEWKIT_HOME)
        return EmbeddedRuntime(home / "environments", owner=settings.OWNER_ID, routes_dir=home / "traefik" / "dynamic")
    if settings.RUNTIME == "kubernetes":
        from environments import wiring_kubernetes

        return wiring_kubernetes.runtime()
    raise PlatformError("runtime_unavailable", f"RUNTIME is {settings.RUNTIME!r}.", "Set it to embedded or kubernetes.")


def _builder(home: Path) -> Builder:
    if settings.RUNTIME == "kubernetes":
        from environments import wiring_kubernetes

        return wiring_kubernetes.builder(home)
    from environments.builders.local import LocalBuilder

    return LocalBuilder(home / "builds")


@lru_cache(maxsize=4)
def provider(name: str) -> Provider:
    if name == "local":
        from environments.providers.local import LocalProvider

        return LocalProvider(Path(settings.PREVIEWKIT_HOME) / "git")
    raise PlatformError("provider_unavailable", f"No provider is called {name!r}.", "This version knows `local`.")


def slug(repository: Repository) -> str:
    """The repository's name for caches and mirrors: readable, and distinct for distinct repositories."""
    return names.repository_slug(repository.provider, repository.owner, repository.name)


def host(environment: Environment, service: str) -> str:
    """The full host name of one of the environment's services."""
    repository = environment.repository
    target = environment.pull.number if environment.pull else environment.branch
    label = names.host_label(service, repository.provider, repository.owner, repository.name, target)
    return f"{label}.{settings.BASE_DOMAIN}"


def address(host_name: str) -> str:
    """The HTTPS address of a host under the base domain."""
    port = "" if settings.PREVIEW_PORT == 443 else f":{settings.PREVIEW_PORT}"
    return f"https://{host_name}{port}"
