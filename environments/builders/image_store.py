"""Where built images are: their names in the registry, whether one is there, and that it is built once if not.

{prefix}/builds:{key}                        what trusted commits built, shared by all repositories
{prefix}/cache/{repository}/{service}:{branch}    BuildKit's cache
{prefix}/forks/{repository}:{key}            what forks built: nobody else looks there
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from environments.builders.buildkit import BuildKit, Solve
from environments.builders.registry import ImageConfig, Reference, Registry
from environments.builders.steps import Limits, timed_out
from environments.builders.store import Store
from environments.names import slug
from environments.ports import BuildRequest, Fence, OnLine

FORMAT = 1
"""Part of every key: raised when what is built, or how, changes."""


@dataclass(frozen=True)
class Found:
    """An image in the registry."""

    key: str
    location: str
    """Pinned by digest."""
    config: ImageConfig
    built: bool
    """By this very call."""


class ImageStore:
    """Images that this installation builds.

    `address` of the registry as BuildKit and the cluster's nodes name it; `prefix`: path that all names start
    with; `root`: a directory for locks, so that workers of one machine build one thing once (several machines
    are told apart by nobody but BuildKit itself, which runs equal steps once); `platform`: `linux/amd64`, empty
    for the daemon's own. `timeout` (seconds) and `output_limit` (bytes) are for one build. `grace`: seconds
    that buildctl has to take its leave.
    """

    def __init__(
        self,
        buildkit: BuildKit,
        registry: Registry,
        *,
        address: str,
        root: Path,
        prefix: str = "previewkit",
        platform: str = "",
        timeout: float = 1200,
        output_limit: int = 8 << 20,
        grace: float = 3.0,
    ) -> None:
        self.buildkit = buildkit
        self.registry = registry
        self.address = address
        self.prefix = prefix.strip("/")
        self.platform = platform
        self.timeout = timeout
        self.output_limit = output_limit
        self.grace = grace
        self._locks = Store(root)

    # ── names ───────────────────────────────────────────────────────────────────────────────

    def key(self, request: BuildRequest, **settings: object) -> str:
        """64 hex digits: the same for the same tree and settings. Of secrets the names count, not the values.

        The base images' present digests don't: a base that moves builds nothing anew."""
        parts = {
            "format": FORMAT,
            "tree": request.tree_id,
            "platform": self.platform,
            "secrets": sorted(self.secrets(request)),
            "scope": "" if request.trusted else f"fork:{request.repository}",
            **settings,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def reference(self, request: BuildRequest, key: str) -> Reference:
        where = "builds" if request.trusted else f"forks/{request.repository}"
        return Reference.parse(f"{self.address}/{self.prefix}/{where}:{key}")

    def cache(self, request: BuildRequest, branch: str) -> str:
        plain = slug(branch, 60) if branch else "default"
        tag = plain if plain == branch or not branch else f"{plain}.{hashlib.sha256(branch.encode()).hexdigest()[:8]}"
        return f"{self.address}/{self.prefix}/cache/{request.repository}/{slug(request.service.name)}:{tag}"

    @staticmethod
    def secrets(request: BuildRequest) -> Mapping[str, str]:
        """Forks see none, whatever the caller passed."""
        return request.secrets if request.trusted else {}

    # ── find, or build once ─────────────────────────────────────────────────────────────────

    def obtain(
        self,
        request: BuildRequest,
        key: str,
        solve: Callable[[Limits], Solve],
        on_line: OnLine,
        fence: Fence,
    ) -> Found:
        """The image of `key`: from the registry, else built of what `solve` says, which is asked only then.

        Raises what Registry.find, BuildKit.solve and `solve` do."""
        ends_at = time.monotonic() + self.timeout
        limits = Limits(ends_at, self.timeout, self.output_limit, self.output_limit, self.grace)
        reference = self.reference(request, key)
        fence()
        if digest := self.registry.find(reference):
            return self._found(key, reference, digest, on_line, built=False)

        def waiting() -> None:
            fence()
            if time.monotonic() > limits.ends_at:
                raise timed_out(limits, ())

        with self._locks.lock(f"image-{key}", waiting):
            if digest := self.registry.find(reference):  # built by another worker while this one waited
                return self._found(key, reference, digest, on_line, built=False)
            asked = self._complete(solve(limits), request, reference)
            digest = self.buildkit.solve(asked, limits, on_line, fence)
            (self._locks.locks / f"image-{key}").unlink(missing_ok=True)
        return self._found(key, reference, digest, on_line, built=True)

    def _complete(self, solve: Solve, request: BuildRequest, reference: Reference) -> Solve:
        """With caches, platform, and cache mounts that only the same repository's trusted builds share."""
        scope = request.repository if request.trusted else f"fork-{request.repository}-{request.tree_id}"
        options = dict(solve.options) | {"build-arg:BUILDKIT_CACHE_MOUNT_NS": scope}
        if self.platform:
            options["platform"] = self.platform
        default = request.default_branch or request.branch
        branch = request.branch or default
        branches = dict.fromkeys([branch, default] if request.trusted else [default])
        return dataclasses.replace(
            solve,
            image=str(reference),
            options=options,
            cache_from=tuple(self.cache(request, name) for name in branches),
            cache_to=self.cache(request, branch) if request.trusted else "",
            insecure=self.registry.is_insecure(self.address),
        )

    def _found(self, key: str, reference: Reference, digest: str, on_line: OnLine, *, built: bool) -> Found:
        if not built:
            on_line("Unchanged since an earlier build: nothing is built.")
        config = self.registry.config(reference, digest, self.platform)
        return Found(key, reference.pinned(digest), config, built)
