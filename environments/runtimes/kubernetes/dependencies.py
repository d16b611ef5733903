"""Managed dependencies: brought up, finished once, snapshots taken and put back by commands in their pods."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from environments.ports import (
    SNAPSHOT_MISSING,
    DependencyHandle,
    Fence,
    OnLine,
    PlatformError,
    PreviewError,
    Recipe,
    RecipeContext,
    Workload,
)
from environments.recipes import checks, recipe_for
from environments.runtimes.kubernetes import diagnosis
from environments.runtimes.kubernetes.api import Api, Executed
from environments.runtimes.kubernetes.routing import name_service
from environments.runtimes.kubernetes.waiting import Wait, wait_ready
from environments.runtimes.manifests import dependencies as manifests
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.dependencies import PASSWORD, Placed
from environments.runtimes.manifests.labels import DOMAIN, Manifest
from environments.runtimes.manifests.pods import CONTAINER, After
from environments.runtimes.manifests.settings import ClusterSettings
from environments.spec import Dependency

READY_TIMEOUT = 300.0
COMMAND_TIMEOUT = 300.0
FINISHED = f"{DOMAIN}/finished"
VERSION = f"{DOMAIN}/version"
KEPT = f"{DOMAIN}/dependency-spec"
"""Annotation: the dependency as it was asked for, so that a later call knows how to reach into it."""


@dataclass(frozen=True)
class Known:
    """A dependency that is there."""

    dependency: Dependency
    recipe: Recipe
    workload: Workload
    ctx: RecipeContext


class Dependencies:
    def __init__(self, api: Api, settings: ClusterSettings, namespace: str, common: Mapping[str, str]) -> None:
        self._api = api
        self._settings = settings
        self._namespace = namespace
        self.common = common

    def apply(self, dependency: Dependency, on_line: OnLine, fence: Fence) -> DependencyHandle:
        recipe = recipe_for(dependency.recipe)
        recipe.check(dependency)
        credentials, fresh = self._credentials(dependency)
        known = _known(dependency, recipe, credentials)
        for service in known.workload.routes_to:
            # A gateway has to find the names it routes to, from its start.
            name_service(self._api, self._namespace, self.common, service, 0, 80)
        placed = Placed(dependency.name, dependency.recipe, known.ctx.ports, known.workload)
        for manifest in manifests.dependency_objects(self._settings, self._namespace, self.common, placed):
            self._api.apply(manifest)
        self.wait(known, on_line, fence)
        version = self._finish(known, credentials, fence)
        return DependencyHandle(
            name=dependency.name,
            recipe=dependency.recipe,
            version_wanted=dependency.version,
            version=version,
            fields=recipe.fields(known.ctx),
            variables=recipe.variables(known.ctx),
            note=checks.note(dependency, version, known.workload.image.partition(":")[0]),
            fresh=fresh,
        )

    def wait(self, known: Known, on_line: OnLine, fence: Fence) -> None:
        name = known.dependency.name
        wait = Wait(
            self._api,
            self._namespace,
            manifests.controller_kind(known.workload),
            name,
            lab.selector(**{lab.DEPENDENCY: name}),
            on_line=on_line,
            fence=fence,
            report=lambda trouble, lines: diagnosis.of_dependency(name, trouble, lines),
            patience=self._settings.unschedulable_after,
        )
        wait_ready(wait, READY_TIMEOUT, lambda wait: None, lambda wait: _late(wait, name))

    def all(self) -> list[Known]:
        found = self._api.list("Secret", self._namespace, labels=lab.DEPENDENCY)
        return [self._read(secret) for secret in found if KEPT in (secret["metadata"].get("annotations") or {})]

    def one(self, name: str) -> Known:
        found = self._api.get("Secret", self._namespace, manifests.credentials_name(name))
        if found is None:
            raise PlatformError("runtime_unavailable", f"There is no dependency {name} in {self._namespace}.")
        return self._read(found)

    def after(self) -> After | None:
        """What the namespace's programs wait for; None where nothing can be waited for."""
        known = sorted(self.all(), key=lambda each: each.dependency.name)
        addresses = [f"{each.ctx.host}:{port}" for each in known for port in list(each.ctx.ports.values())[:1]]
        borrowed = next((each.workload for each in known if each.workload.has_bash), None)
        return After(borrowed.image, borrowed.user, tuple(addresses)) if borrowed else None

    # ── snapshots ───────────────────────────────────────────────────────────────────────────

    def snapshot(self, name: str, snapshot: str, fence: Fence) -> None:
        known = self.one(name)
        if known.workload.snapshot:
            self._succeed(known, (*known.workload.snapshot, snapshot), "snapshot", fence)

    def restore(self, name: str, snapshot: str, fence: Fence) -> None:
        known = self.one(name)
        if not known.workload.restore:
            return
        done = self.execute(known, (*known.workload.restore, snapshot), fence)
        if done.code == SNAPSHOT_MISSING:
            raise PlatformError("snapshot_missing", f"{name} has no snapshot {snapshot!r}.")
        _check(done, known, "restore")

    # ── inside ──────────────────────────────────────────────────────────────────────────────

    def execute(self, known: Known, argv: tuple[str, ...], fence: Fence) -> Executed:
        return self._api.execute(
            self._namespace, self._pod(known.dependency.name), CONTAINER, argv, COMMAND_TIMEOUT, fence
        )

    def _succeed(self, known: Known, argv: tuple[str, ...], what: str, fence: Fence) -> str:
        done = self.execute(known, argv, fence)
        _check(done, known, what)
        return done.output

    def _pod(self, name: str) -> str:
        for pod in self._api.list("Pod", self._namespace, labels=lab.selector(**{lab.DEPENDENCY: name})):
            conditions = pod["status"].get("conditions", [])
            ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
            if ready and "deletionTimestamp" not in pod["metadata"]:
                return str(pod["metadata"]["name"])
        raise PlatformError("dependency_not_ready", f"Dependency {name} does not run.", "It is tried again.")

    def _finish(self, known: Known, credentials: Manifest, fence: Fence) -> str:
        """Once for each wish: what was done is noted on the credentials."""
        notes = credentials["metadata"].get("annotations") or {}
        workload = known.workload
        done = lab.checksum(workload.image, workload.finish)
        if notes.get(FINISHED) == done and notes.get(KEPT) == known.dependency.model_dump_json():
            return str(notes[VERSION])
        if workload.finish:
            self._succeed(known, workload.finish, "finish", fence)
        version = self._version(known, fence)
        change = {FINISHED: done, VERSION: version, KEPT: known.dependency.model_dump_json()}
        name = credentials["metadata"]["name"]
        self._api.merge("Secret", self._namespace, name, {"metadata": {"annotations": change}})
        return version

    def _version(self, known: Known, fence: Fence) -> str:
        if known.workload.version:
            found = re.search(r"\d+(\.\d+)+", self._succeed(known, known.workload.version, "version", fence))
            if found:
                return found[0]
        return known.workload.image.rpartition("/")[2].partition("@")[0].partition(":")[2] or "latest"

    def _credentials(self, dependency: Dependency) -> tuple[Manifest, bool]:
        """(the Secret, whether this very call made it: then its data is new too)."""
        wanted = manifests.credentials(
            self._namespace, self.common, dependency.name, dependency.recipe, secrets.token_urlsafe(24)
        )
        wanted["metadata"]["annotations"] = {KEPT: dependency.model_dump_json()}
        made = self._api.create(wanted)
        if made is not None:
            return made, True
        found = self._api.get("Secret", self._namespace, wanted["metadata"]["name"])
        if found is None:
            raise PlatformError("namespace_missing", f"The namespace {self._namespace} is being deleted.")
        return found, False

    def _read(self, credentials: Manifest) -> Known:
        dependency = Dependency.model_validate_json(credentials["metadata"]["annotations"][KEPT])
        return _known(dependency, recipe_for(dependency.recipe), credentials)


def _known(dependency: Dependency, recipe: Recipe, credentials: Manifest) -> Known:
    password = b64decode(credentials["data"][PASSWORD]).decode()
    ctx = RecipeContext(dependency, dependency.name, recipe.container_ports(dependency), password, Path("/data"))
    return Known(dependency, recipe, recipe.workload(ctx), ctx)


def _check(done: Executed, known: Known, what: str) -> None:
    if done.code != 0:
        raise PlatformError(
            "dependency_not_ready",
            f"{what} of dependency {known.dependency.name} ended with exit code {done.code}.",
            "It is tried again; its last lines say more.",
            log_tail=done.output.splitlines()[-30:],
        )


def _late(wait: Wait, name: str) -> PreviewError:
    seen = wait.observed.probe_failure() or "no reason seen"
    return PlatformError(
        "dependency_not_ready",
        f"Dependency {name} did not answer in {READY_TIMEOUT:.0f} s: {seen}.",
        "It is tried again.",
        log_tail=list(wait.last),
    )
