"""Builds on this machine: runs a Plan, once for the same tree and settings, and keeps what comes of it.

Two levels: a dependency layer, by manifests and tools; a release, by the source's git tree and the plan.
Builds run with this user's rights: they are for trusted repositories.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from environments.builders import static_server
from environments.builders.local_build import LocalBuild, disk_full
from environments.builders.plan import Plan, plan, service_path
from environments.builders.steps import Limits
from environments.builders.store import Entry, Pruned, Store
from environments.builders.toolchains import base_python, host_path, tools_for
from environments.ports import Artifact, BuildRequest, Fence, FoundCommand, OnLine, UserError


class LocalBuilder:
    """Builder `railpack` where neither Railpack nor BuildKit is: the plan's steps as processes of this machine.

    `root` is the shared store. `timeout` (seconds) and `output_limit` (bytes) are for one build() call.
    `cache` holds downloads and compilers' caches, `root`/cache unless given. `grace`: seconds that a step has
    to end by itself when it must.
    """

    name = "railpack"

    def __init__(
        self,
        root: Path,
        *,
        timeout: float = 1200,
        output_limit: int = 8 << 20,
        grace: float = 3.0,
        cache: Path | None = None,
    ) -> None:
        self.store = Store(root)
        self.cache = cache or self.store.root / "cache"
        self.timeout = timeout
        self.output_limit = output_limit
        self.grace = grace

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        """See Builder. Also raises PlatformError(build_tool_missing | disk_full)."""
        started = time.monotonic()
        _refuse_containers(request)
        planned = plan(request.tree, request.service)
        tools = tools_for(planned.language, planned.versions, self.store.root)
        for line in (*planned.why, *(f"Note: {note}" for note in (*tools.notes, *planned.notes))):
            on_line(line)
        with _disk_full_told():
            build = LocalBuild(
                store=self.store,
                cache=self.cache,
                request=request,
                source=service_path(request.tree, request.service),
                plan=planned,
                tools=tools,
                limits=Limits(started + self.timeout, self.timeout, self.output_limit, self.output_limit, self.grace),
                on_line=on_line,
                fence=fence,
            )
            entry, built = build.release()
        if not built:
            on_line("Unchanged since an earlier build: nothing is built.")
        # Node is needed to run; uv and Go only to build.
        runtime = tools.bin_dirs if planned.language == "node" else ()
        return _artifact(planned, entry, runtime, cache_hit=not built, seconds=time.monotonic() - started)

    def prune(
        self, *, keep_days: float | None = None, max_bytes: int | None = None, in_use: Collection[str] = ()
    ) -> Pruned:
        """Removes the longest unused builds; see Store.prune. `in_use`: digests of artifacts that are running."""
        names = [f"release-{digest.removeprefix('sha256:')}" for digest in in_use]
        return self.store.prune(keep_days=keep_days, max_bytes=max_bytes, in_use=names)


def _artifact(planned: Plan, entry: Entry, runtime: tuple[str, ...], *, cache_hit: bool, seconds: float) -> Artifact:
    venv = entry.facts["venv"]
    path = [*planned.bin_dirs, *([f"{venv}/bin"] if venv else []), *entry.facts["bin_dirs"], *runtime, host_path()]
    env = dict(planned.env) | {"PATH": os.pathsep.join(path)}
    return Artifact(
        digest=f"sha256:{entry.name.removeprefix('release-')}",
        kind="release",
        location=str(entry.tree / "app"),
        start=_static_start(planned) or planned.start,
        migrate=planned.migrate,
        seed=planned.seed,
        cache_hit=cache_hit,
        seconds=seconds,
        env=env | {"VIRTUAL_ENV": venv} if venv else env,
    )


def _static_start(planned: Plan) -> FoundCommand | None:
    if planned.site is None:
        return None
    server = os.path.abspath(static_server.__file__)
    options = ("--single-page",) if planned.site.single_page else ()
    # -I -S: nothing of PreviewKit's virtualenv is loaded, and it starts in a few milliseconds.
    command = (base_python(), "-I", "-S", server, planned.site.root, *options)
    return FoundCommand(command, f"`{planned.site.root}` is a static site.")


def _refuse_containers(request: BuildRequest) -> None:
    kind = request.service.build.kind
    if kind != "railpack":
        written = "`build: {image: …}`" if kind == "image" else "`build: dockerfile`"
        raise UserError(
            "build_unsupported",
            f"services.{request.service.name} asks for {written}, but this machine runs no containers.",
            "Write `build: railpack`, or connect a Kubernetes cluster.",
        )


@contextmanager
def _disk_full_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full() from error
        raise
