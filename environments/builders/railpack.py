"""Builder `railpack`, through BuildKit: Railpack itself where it is installed, else the plan as a Dockerfile."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from environments.builders import generated, keys
from environments.builders.buildkit import Solve
from environments.builders.detect.migrations import find_migration
from environments.builders.detect.sources import Sources
from environments.builders.dockerfile import own_command
from environments.builders.generated import BASE_IMAGES, BaseImages
from environments.builders.image_store import Found, ImageStore
from environments.builders.plan import Plan, plan, service_path
from environments.builders.registry import Reference
from environments.builders.steps import Limits, run_step
from environments.ports import Artifact, BuildRequest, Fence, FoundCommand, OnLine, UserError

FRONTEND = "ghcr.io/railwayapp/railpack-frontend:v0.17.1"
"""Of the version that the CLI has: Railpack asks for equal ones."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class RailpackBuilder:
    """Of `build: railpack`. `cli`: Railpack's program, by name or path; `frontend`: its BuildKit front end, of the
    same version. Both have to be there; else `bases` are what images are made from (see BASE_IMAGES)."""

    name = "railpack"

    def __init__(
        self,
        store: ImageStore,
        *,
        bases: BaseImages = BASE_IMAGES,
        cli: str = "railpack",
        frontend: str = FRONTEND,
    ) -> None:
        self.store = store
        self.bases = bases
        self.cli = cli
        self.frontend = frontend

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        """See Builder. Also raises PlatformError(buildkit_unavailable | registry_unavailable | disk_full)."""
        cli = shutil.which(self.cli)
        if cli and self.store.registry.find(Reference.parse(self.frontend)):
            return _ByRailpack(self.store, cli, self.frontend).build(request, on_line, fence)
        if cli:
            on_line(f"Note: {self.frontend} can't be had; PreviewKit's own plan is used.")
        return _ByPlan(self.store, self.bases).build(request, on_line, fence)


# ── PreviewKit's own plan ───────────────────────────────────────────────────────────────────


class _ByPlan:
    def __init__(self, store: ImageStore, bases: BaseImages) -> None:
        self.store = store
        self.bases = bases

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        started = time.monotonic()
        source = service_path(request.tree, request.service)
        planned = _early_modules(plan(request.tree, request.service), source)
        notes = (*generated.base_notes(planned, self.bases), *planned.notes)
        for line in (*planned.why, *(f"Note: {note}" for note in notes)):
            on_line(line)
        arguments = {name: value for name, value in keys.literal_env(request, planned).items() if _is_variable(name)}
        secrets = [name for name in self.store.secrets(request) if _is_variable(name)]
        text = generated.dockerfile(planned, self.bases, arguments=sorted(arguments), secrets=sorted(secrets))
        ignored = generated.dockerignore(planned)
        key = self.store.key(request, kind="plan", dockerfile=text, ignored=ignored, arguments=arguments)
        with tempfile.TemporaryDirectory(prefix="previewkit-plan-") as scratch:
            (Path(scratch) / "Dockerfile").write_text(text)
            (Path(scratch) / "Dockerfile.dockerignore").write_text(ignored)
            solve = Solve(
                service=request.service.name,
                context=source,
                dockerfile=Path(scratch),
                options={f"build-arg:{name}": value for name, value in arguments.items()},
                secrets={name: request.secrets[name] for name in secrets},
            )
            found = self.store.obtain(request, key, lambda limits: solve, on_line, fence)
        return _artifact(
            found,
            started,
            start=generated.static_start(planned) or planned.start,
            planned=planned,
            env=generated.run_env(planned),
        )


def _early_modules(planned: Plan, source: Path) -> Plan:
    """Go's modules can be had before the sources, unless one of them is among these."""
    if planned.language != "go" or re.search(r"=>\s*\.{1,2}/", Sources(source).text("go.mod")):
        return planned
    return planned.with_(layered=True)


# ── Railpack ────────────────────────────────────────────────────────────────────────────────


class _ByRailpack:
    def __init__(self, store: ImageStore, cli: str, frontend: str) -> None:
        self.store = store
        self.cli = cli
        self.frontend = frontend

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        started = time.monotonic()
        source = service_path(request.tree, request.service)
        literals = {name: value for name, value in request.service.env.items() if "{{" not in value}
        literals = {
            name: value for name, value in literals.items() if _is_variable(name) and name not in keys.PROTECTED
        }
        key = self.store.key(request, kind="railpack", frontend=self.frontend, variables=literals)
        with tempfile.TemporaryDirectory(prefix="previewkit-railpack-") as scratch:

            def solve(limits: Limits) -> Solve:
                secrets = self.store.secrets(request)
                self._prepare(request, source, Path(scratch), {**literals, **secrets}, limits, on_line, fence)
                changed = hashlib.sha256(json.dumps(literals, sort_keys=True).encode()).hexdigest()
                return Solve(
                    service=request.service.name,
                    context=source,
                    dockerfile=Path(scratch),
                    frontend="gateway.v0",
                    options={
                        "source": self.frontend,
                        "filename": "railpack-plan.json",
                        "build-arg:cache-key": request.repository,
                        "build-arg:secrets-hash": changed,
                    },
                    secrets=secrets,
                    variables=literals,
                )

            found = self.store.obtain(request, key, solve, on_line, fence)
        return _artifact(found, started, start=own_command(found.config), planned=_ours(request, source))

    def _prepare(
        self,
        request: BuildRequest,
        source: Path,
        scratch: Path,
        variables: Mapping[str, str],
        limits: Limits,
        on_line: OnLine,
        fence: Fence,
    ) -> None:
        """Raises UserError(build_no_plan). Values go by the environment: a command line is read by others."""
        outputs = ("--plan-out", str(scratch / "railpack-plan.json"), "--info-out", str(scratch / "railpack-info.json"))
        named = [part for name in variables for part in ("--env", name)]
        kept = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(scratch), "NO_COLOR": "1", "TERM": "dumb"}
        env = {**variables, **kept}
        ended = run_step((self.cli, "prepare", str(source), *outputs, *named), scratch, env, limits, on_line, fence)
        if ended.code:
            raise UserError(
                "build_no_plan",
                f"Railpack found no way to build services.{request.service.name} (exit code {ended.code}).",
                "The last lines say what it looked for; a railpack.json or a Dockerfile settles it.",
                log_tail=ended.tail,
            )


def _ours(request: BuildRequest, source: Path) -> Plan:
    """What we find in the sources: Railpack says nothing of migrations and seeds, and knows more languages."""
    try:
        return plan(request.tree, request.service)
    except UserError:
        return Plan(language="none", tool="none", why=(), migrate=find_migration(Sources(source), ""))


# ── both ────────────────────────────────────────────────────────────────────────────────────


def _artifact(
    found: Found, started: float, *, start: FoundCommand | None, planned: Plan, env: Mapping[str, str] | None = None
) -> Artifact:
    return Artifact(
        digest=f"sha256:{found.key}",
        kind="image",
        location=found.location,
        start=start,
        migrate=planned.migrate,
        seed=planned.seed,
        cache_hit=not found.built,
        seconds=time.monotonic() - started,
        env=env or {},
        user=found.config.user,
    )


def _is_variable(name: str) -> bool:
    return VARIABLE.fullmatch(name) is not None
