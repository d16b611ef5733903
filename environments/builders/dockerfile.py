"""Builder `dockerfile`: the service's own Dockerfile, through BuildKit, once for the same tree and settings."""

from __future__ import annotations

import time

from environments.builders.buildkit import Solve
from environments.builders.detect.migrations import find_migration
from environments.builders.detect.sources import Sources
from environments.builders.image_store import ImageStore
from environments.builders.plan import service_path
from environments.builders.registry import ImageConfig
from environments.ports import Artifact, BuildRequest, Fence, FoundCommand, OnLine, UserError
from environments.spec import Service


class DockerfileBuilder:
    """Of `build: dockerfile` and `{dockerfile: path, target:, args:}`."""

    name = "dockerfile"

    def __init__(self, store: ImageStore) -> None:
        self.store = store

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        """See Builder. Also raises PlatformError(buildkit_unavailable | registry_unavailable | disk_full)."""
        started = time.monotonic()
        build = request.service.build
        context = service_path(request.tree, request.service)
        filename = build.dockerfile or "Dockerfile"
        sources = Sources(context)
        _require(sources, filename, request.service)
        options = {"filename": filename} | {f"build-arg:{name}": value for name, value in build.args.items()}
        options |= {"target": build.target} if build.target else {}
        solve = Solve(
            service=request.service.name,
            context=context,
            dockerfile=context,
            options=options,
            secrets=self.store.secrets(request),
        )
        key = self.store.key(request, kind="dockerfile", options=options)
        found = self.store.obtain(request, key, lambda limits: solve, on_line, fence)
        _note_migration(sources, request.service, on_line)
        return Artifact(
            digest=f"sha256:{key}",
            kind="image",
            location=found.location,
            start=own_command(found.config),
            migrate=None,
            seed=None,
            cache_hit=not found.built,
            seconds=time.monotonic() - started,
            user=found.config.user,
        )


def own_command(config: ImageConfig) -> FoundCommand | None:
    return FoundCommand(config.command, "The image names it.") if config.command else None


def _require(sources: Sources, filename: str, service: Service) -> None:
    if not sources.has(filename):
        where = "the repository's root" if service.path == "." else f"`{service.path}`"
        raise UserError(
            "build_no_plan",
            f"services.{service.name} is built by `{filename}`, but {where} has no such file.",
            "Add it, or write `build: {dockerfile: path/within/the/service}`, or `build: railpack`.",
        )


def _note_migration(sources: Sources, service: Service, on_line: OnLine) -> None:
    """What a Dockerfile's image holds, and where, its sources don't say: nothing is run unasked."""
    if service.migrate is not None:
        return
    seen = next((found for language in ("python", "node", "") if (found := find_migration(sources, language))), None)
    if seen:
        command = seen.command if isinstance(seen.command, str) else " ".join(seen.command)
        on_line(f"Note: {seen.because} With a Dockerfile it runs only when it is named: `migrate: {command}`.")
