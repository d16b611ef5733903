"""Builder `image`: an image that is there already, pinned to the digest that its tag has now. Nothing is built."""

from __future__ import annotations

import time

from environments.builders.dockerfile import own_command
from environments.builders.registry import Reference, Registry
from environments.ports import Artifact, BuildRequest, Fence, OnLine, UserError


class ImageBuilder:
    """Of `build: {image: ref}`. `platform` as in ImageStore."""

    name = "image"

    def __init__(self, registry: Registry, *, platform: str = "") -> None:
        self.registry = registry
        self.platform = platform

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        """Raises UserError(image_missing), PlatformError(registry_unavailable)."""
        started = time.monotonic()
        fence()
        reference = Reference.parse(request.service.build.image or "")
        digest = self.registry.find(reference)
        if digest is None:
            raise UserError(
                "image_missing",
                f"services.{request.service.name} runs {reference}, which is not in its registry, "
                "or not for us to read.",
                "Check its name and tag; if it is private, an operator adds the registry's credentials.",
            )
        config = self.registry.config(reference, digest, self.platform)
        location = reference.pinned(digest)
        on_line(f"{reference} is {location}" if not reference.digest else f"{location} is there")
        return Artifact(
            digest=digest,
            kind="image",
            location=location,
            start=own_command(config),
            migrate=None,
            seed=None,
            cache_hit=True,
            seconds=time.monotonic() - started,
            user=config.user,
        )
