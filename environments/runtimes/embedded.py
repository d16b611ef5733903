"""EmbeddedRuntime: an environment is one directory and one process tree on this machine. Imports no Django.

Programs run with this user's rights (Postgres excepted, where that is root): for trusted repositories only.
Every method may be called by several workers at once; an environment's record changes under one file lock.
What the parts do is in `machine/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from environments.ports import (
    DependencyHandle,
    Fence,
    Job,
    Labels,
    Observation,
    OnLine,
    OwnedNamespace,
    PlatformError,
    Route,
    ServiceHandle,
    ServiceRelease,
)
from environments.recipes import recipe_for
from environments.runtimes.machine import jobs, launches, logtail, observing
from environments.runtimes.machine.dependencies import Dependencies
from environments.runtimes.machine.faults import reported
from environments.runtimes.machine.files import remove_tree
from environments.runtimes.machine.leases import PortLeases, is_free
from environments.runtimes.machine.life import Life
from environments.runtimes.machine.limits import Limits, Support
from environments.runtimes.machine.locks import exclusive
from environments.runtimes.machine.place import EnvironmentRecord, Place, dependency_program, service_program
from environments.runtimes.machine.readiness import Wait, Waited
from environments.runtimes.machine.routes import RouteFile
from environments.runtimes.machine.services import WAKE_TIMEOUT, Services, copy_release
from environments.runtimes.machine.supervision import Supervisor
from environments.runtimes.machine.templates import Templates
from environments.spec import Dependency


class EmbeddedRuntime:
    """Environments as directories below `root`; the front door's rules as files in `routes_dir`.

    `middlewares`: names of Traefik middlewares (`name@provider`) that every request passes first.
    `templates`: where prepared data directories are kept between environments; `spares`: how many copies of
    each are held ready, about 30 MB each.
    """

    name = "embedded"

    def __init__(
        self,
        root: Path,
        *,
        owner: str,
        routes_dir: Path,
        port_range: tuple[int, int] = (20000, 29999),
        middlewares: Sequence[str] = (),
        templates: Path | None = None,
        spares: int = 1,
    ) -> None:
        self._root = root.absolute()
        self._templates = Templates(templates or self._root / ".templates", spares)
        self._owner = owner
        self._routes_dir = routes_dir
        self._middlewares = tuple(middlewares)
        self._leases = PortLeases(self._root / ".ports.json", *port_range)
        self._limits = Limits(owner)

    def limits_support(self) -> Support:
        """How CPU and memory limits are enforced on this machine."""
        return self._limits.support()

    # ── namespace ───────────────────────────────────────────────────────────────────────────

    @reported
    def ensure_namespace(self, namespace: str, labels: Labels) -> str:
        place = self._place(namespace)
        if place.find() is None:
            with exclusive(place.lock_file):
                if place.find() is None:
                    self._life(place).clear()  # what is there has no record: half a removal
                    place.create({**labels, "owner": self._owner})
        with place.edit() as record:
            # Not waited for: it comes up while the first dependency's data is copied.
            self._life(place).ensure(record, wait=False)
            return record.uid

    @reported
    def apply_secrets(self, namespace: str, secrets: Mapping[str, str]) -> None:
        """Nothing is kept: each program finds its secrets in its own launch file (see `ServiceRelease.secrets`)."""
        self._place(namespace).read()

    # ── dependencies ────────────────────────────────────────────────────────────────────────

    @reported
    def apply_dependency(
        self, namespace: str, dependency: Dependency, on_line: OnLine, fence: Fence
    ) -> DependencyHandle:
        place = self._place(namespace)
        parts = self._dependencies(place)
        with place.edit() as record:
            self._life(place).ensure(record, wait=False)
            known = parts.register(record, dependency)
            ctx = parts.context(record, dependency.name)
        fence()
        fresh = parts.prepare(ctx)
        with place.edit() as record:
            self._life(place).ensure(record, wait=True)
            parts.write_files(ctx)
            parts.start(record, ctx)
        parts.wait(ctx, on_line, fence)
        if not known.finished:
            recipe_for(dependency.recipe).embedded_finish(ctx, parts.template_password(ctx))
            with place.edit() as record:
                if record.dependencies[dependency.name].dependency == dependency:
                    record.dependencies[dependency.name].finished = True
        return parts.handle(place.read(), dependency.name, fresh)

    # ── jobs and services ───────────────────────────────────────────────────────────────────

    @reported
    def run_job(self, namespace: str, job: Job, on_line: OnLine, fence: Fence) -> None:
        place = self._place(namespace)
        place.read()
        release = place.path / "jobs" / job.name
        copy_release(job.artifact.location, release)
        env = launches.service_env(job.artifact, job.env, job.secrets, release, None)
        try:
            jobs.run(place, self._limits, job, release, env, on_line, fence)
        finally:
            remove_tree(release)

    @reported
    def apply_service(self, namespace: str, release: ServiceRelease) -> ServiceHandle:
        place = self._place(namespace)
        place.read()
        self._services(place).copy_release(release)
        with place.edit() as record:
            self._life(place).ensure(record, wait=True)
            return self._services(place).start(record, release)

    @reported
    def wait_ready(
        self, namespace: str, service: str, revision: int, timeout: float, on_line: OnLine, fence: Fence
    ) -> None:
        place = self._place(namespace)
        known = place.read().service(service, revision)
        if known.replicas > 1:
            on_line(f"PreviewKit: {known.replicas} replicas were asked for; the embedded runtime runs one.")
        waited = Waited(service, revision, known.port, known.health, known.resources)
        try:
            Wait(place, self._limits, waited, on_line, fence).until_ready(timeout)
        except PlatformError as error:
            if error.code == "port_in_use":
                self._services(place).give_up_port(service, revision)
            raise

    @reported
    def retire_services(self, namespace: str, keep: int | None) -> None:
        place = self._place(namespace)
        with place.edit() as record:
            self._life(place).ensure(record, wait=True)
            self._services(place).retire(record, keep)

    @reported
    def logs(self, namespace: str, service: str, revision: int, tail: int = 200) -> Iterator[str]:
        """Of a service's revision, or of a dependency, whatever the revision."""
        place = self._place(namespace)
        is_dependency = service in place.read().dependencies
        program = dependency_program(service) if is_dependency else service_program(service, revision)
        return logtail.last_lines(place.log(program), tail)

    # ── routing ─────────────────────────────────────────────────────────────────────────────

    @reported
    def apply_routes(self, namespace: str, revision: int, routes: Sequence[Route]) -> None:
        place = self._place(namespace)
        with place.edit() as record:
            self._switch_gateways(place, record, revision)
            backends = {route.host: self._address(record, route.target, revision) for route in routes}
            self._route_file(namespace).write(backends)
            record.routed_revision = revision
            record.hosts = {route.host: route.target for route in routes}

    @reported
    def address(self, namespace: str, target: str, revision: int) -> str:
        return self._address(self._place(namespace).read(), target, revision)

    # ── sleep ───────────────────────────────────────────────────────────────────────────────

    @reported
    def sleep(self, namespace: str) -> None:
        self._life(self._place(namespace)).stop(asleep=True)

    @reported
    def wake(self, namespace: str) -> None:
        """Everything that ran runs again, with its data, and answers (or has crashed: see `observe`)."""
        place = self._place(namespace)
        with place.edit() as record:
            self._life(place).ensure(record, wait=True)
            record.asleep = False
        parts = self._dependencies(place)
        for name in record.dependencies:
            parts.wait(parts.context(record, name), _silent, _unfenced, WAKE_TIMEOUT)
        self._services(place).wait(record)

    def stop_all(self) -> None:
        """Stops every environment's processes and keeps its data: PreviewKit itself is being stopped."""
        for owned in self.owned():
            self._life(self._place(owned.name)).stop(asleep=None)

    def start_all(self) -> None:
        """Starts what `stop_all`, or the machine's end, stopped; sleepers go on sleeping. Waits for nothing."""
        for owned in self.owned():
            place = self._place(owned.name)
            if (record := place.find()) and not record.asleep:
                with place.edit() as record:
                    self._life(place).ensure(record, wait=False)

    # ── snapshots ───────────────────────────────────────────────────────────────────────────

    @reported
    def snapshot(self, namespace: str, dependencies: Sequence[str], name: str) -> None:
        for dependency in dependencies:
            self._keep_or_restore(namespace, dependency, name, restore=False)

    @reported
    def restore(self, namespace: str, dependencies: Sequence[str], name: str) -> None:
        for dependency in dependencies:
            self._keep_or_restore(namespace, dependency, name, restore=True)
        place = self._place(namespace)
        # A service that does not survive the loss of a connection is started again: not before it answers.
        self._services(place).wait(place.read(), settle=0.1)

    # ── what is there ───────────────────────────────────────────────────────────────────────

    @reported
    def observe(self, namespace: str) -> Observation:
        place = self._place(namespace)
        record = place.find()
        if record is None:
            return Observation(exists=place.path.exists())
        return observing.observe(place, record, self._life(place).members(record))

    @reported
    def owned(self) -> list[OwnedNamespace]:
        found = []
        for path in sorted(self._root.glob("[!.]*")):
            record = Place(self._root, path.name).find()
            if record is None:  # broken, but below our root: ours
                found.append(OwnedNamespace(path.name, "", {"owner": self._owner}))
            elif record.labels.get("owner") == self._owner:
                found.append(OwnedNamespace(path.name, record.uid, record.labels))
        return found

    @reported
    def destroy(self, namespace: str) -> None:
        place = self._place(namespace)
        with exclusive(place.lock_file, remove=True):
            self._route_file(namespace).remove()
            self._life(place).clear()

    @reported
    def blockers(self, namespace: str) -> list[str]:
        place = self._place(namespace)
        left = [
            f"process {process.pid} ({process.name()}) is running"
            for process in self._life(place).members(place.find())
        ]
        for purpose, port in self._leases.held(namespace).items():
            listening = "" if is_free(port) else ", and something listens on it"
            left.append(f"port {port} ({purpose}) is leased{listening}")
        left += [f"directory {path} is there" for path in (place.path, *place.drafts()) if path.exists()]
        route_file = self._route_file(namespace)
        if route_file.path.exists():
            left.append(f"route file {route_file.path} is there")
        left += [f"control group {group} is there" for group in self._limits.left(namespace)]
        return left

    # ── parts ───────────────────────────────────────────────────────────────────────────────

    def _place(self, namespace: str) -> Place:
        return Place(self._root, namespace)

    def _life(self, place: Place) -> Life:
        return Life(place, self._leases, self._limits)

    def _dependencies(self, place: Place) -> Dependencies:
        return Dependencies(place, self._leases, self._limits, self._templates)

    def _services(self, place: Place) -> Services:
        return Services(place, self._leases, self._limits)

    def _route_file(self, namespace: str) -> RouteFile:
        return RouteFile(self._routes_dir, namespace, self._middlewares)

    def _switch_gateways(self, place: Place, record: EnvironmentRecord, revision: int) -> None:
        """Dependencies that route to services do so to this revision's, before visitors are."""
        parts = self._dependencies(place)
        for name, known in record.dependencies.items():
            ctx = parts.context(record, name, revision)
            if recipe_for(known.dependency.recipe).snapshots == "none" and ctx.directory.exists():
                parts.write_files(ctx)
                parts.wait(ctx, _silent, _unfenced, timeout=10)

    def _address(self, record: EnvironmentRecord, target: str, revision: int) -> str:
        if target in record.dependencies:
            known = record.dependencies[target]
            port = known.ports[recipe_for(known.dependency.recipe).port_names[0]]
            return f"http://127.0.0.1:{port}"
        service_port = record.service(target, revision).port
        if service_port is None:
            raise PlatformError("runtime_unavailable", f"{target} is a worker: it has no address.")
        return f"http://127.0.0.1:{service_port}"

    def _keep_or_restore(self, namespace: str, dependency: str, name: str, *, restore: bool) -> None:
        place = self._place(namespace)
        record, parts = place.read(), self._dependencies(place)
        ctx = parts.context(record, dependency)
        recipe = recipe_for(ctx.dependency.recipe)
        act = recipe.restore if restore else recipe.snapshot
        if recipe.snapshots != "stopped":
            act(ctx, name)
            return
        program = dependency_program(dependency)
        Supervisor(place).pause(program)
        try:
            act(ctx, name)
        finally:
            Supervisor(place).resume(program)
        parts.wait(ctx, _silent, _unfenced)


def _silent(line: str) -> None:
    """For waits whose log nobody reads."""


def _unfenced() -> None:
    """For waits that nobody overtakes."""
