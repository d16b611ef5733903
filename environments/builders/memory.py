"""MemoryBuilder: the Builder contract without building, as its documentation and for the reconciler's tests.

An artifact is its digest; every service starts with the command that its file states.
"""

from __future__ import annotations

import hashlib
import threading

from environments.ports import Artifact, BuildRequest, Fence, OnLine, UserError


class MemoryBuilder:
    name = "memory"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.built: list[str] = []
        """Digests, in the order in which they were built; each once."""

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        fence()
        settings = request.service.model_dump_json(include={"build", "path"})
        digest = "sha256:" + hashlib.sha256(f"{request.tree_id}\n{settings}".encode()).hexdigest()
        if (request.tree / request.service.path / "broken-build").exists():
            raise UserError("build_failed", f"The build of {request.service.name} failed.", log_tail=["broken-build"])
        with self._lock:
            known = digest in self.built
            if not known:
                on_line(f"building {request.service.name}")
                self.built.append(digest)
        return Artifact(digest, "release", "/nowhere", None, None, None, cache_hit=known, seconds=0.0)
