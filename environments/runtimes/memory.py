"""MemoryRuntime: the Runtime contract in memory, as its documentation and for the reconciler's tests.

Nothing runs. What a program would do is said by its command, `act` and a word (`bin/act` of the conformance
suite does the same in a real process):

    act serve [TEXT]           listens on PORT and answers TEXT
    act listen PORT            listens on PORT instead of the one it was given
    act hang                   runs and never listens
    act exit CODE [LINE …]     prints the lines and ends
    act put DEPENDENCY KEY VALUE   (job) writes into a dependency
    act wait                   (job) runs until it is stopped

Any other command serves its own words, or, as a job, succeeds.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from environments.ports import (
    DependencyHandle,
    Fence,
    Job,
    Labels,
    Observation,
    OnLine,
    OwnedNamespace,
    PlatformError,
    RecipeContext,
    Route,
    ServiceHandle,
    ServiceRelease,
    ServiceState,
    UserError,
)
from environments.recipes import recipe_for
from environments.spec import Dependency

Before = Callable[[str, str], None]
"""Called with (method, namespace) before each method does anything: raises to inject a fault, or waits."""


@dataclass
class _Store:
    """A dependency: what it holds now, and what its snapshots hold."""

    dependency: Dependency
    ports: Mapping[str, int]
    holds: dict[str, str] = field(default_factory=dict)
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class _Service:
    release: ServiceRelease
    port: int | None
    ended: bool = False
    lines: list[str] = field(default_factory=list)


@dataclass
class _Namespace:
    labels: dict[str, str]
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    stores: dict[str, _Store] = field(default_factory=dict)
    services: dict[tuple[str, int], _Service] = field(default_factory=dict)
    hosts: dict[str, tuple[str, int]] = field(default_factory=dict)
    asleep: bool = False


class MemoryRuntime:
    name = "memory"

    def __init__(self, *, owner: str = "memory", before: Before = lambda method, namespace: None) -> None:
        self._owner = owner
        self.before = before
        self._lock = threading.RLock()
        self._ports = itertools.count(20000)
        self._namespaces: dict[str, _Namespace] = {}

    # ── for tests: what a visitor, a client, an accident would see or do ────────────────────

    def visit(self, host: str) -> str | None:
        """What the service that `host` leads to answers; None: nobody answers."""
        with self._lock:
            for namespace in self._namespaces.values():
                if host in namespace.hosts and not namespace.asleep:
                    return _answer(namespace.services.get(namespace.hosts[host]))
        return None

    def ask(self, namespace: str, service: str, revision: int) -> str | None:
        with self._lock:
            return _answer(self._at(namespace).services.get((service, revision)))

    def holds(self, namespace: str, dependency: str) -> dict[str, str]:
        """What the dependency holds; may be changed."""
        return self._store(namespace, dependency).holds

    def crash(self, namespace: str, service: str, revision: int) -> None:
        with self._lock:
            self._service(namespace, service, revision).ended = True

    # ── namespace ───────────────────────────────────────────────────────────────────────────

    def ensure_namespace(self, namespace: str, labels: Labels) -> str:
        self.before("ensure_namespace", namespace)
        with self._lock:
            made = _Namespace({**labels, "owner": self._owner})
            return self._namespaces.setdefault(namespace, made).uid

    def apply_secrets(self, namespace: str, secrets: Mapping[str, str]) -> None:
        self.before("apply_secrets", namespace)
        self._at(namespace)

    def apply_dependency(
        self, namespace: str, dependency: Dependency, on_line: OnLine, fence: Fence
    ) -> DependencyHandle:
        self.before("apply_dependency", namespace)
        fence()
        recipe = recipe_for(dependency.recipe)
        recipe.check(dependency)
        with self._lock:
            stores = self._at(namespace).stores
            fresh = dependency.name not in stores
            if fresh:
                ports = {name: next(self._ports) for name in recipe.port_names}
                stores[dependency.name] = _Store(dependency, ports)
            stores[dependency.name].dependency = dependency
            ctx = RecipeContext(dependency, "127.0.0.1", stores[dependency.name].ports, f"password-{namespace}")
        on_line(f"{dependency.name} is ready")
        return DependencyHandle(
            name=dependency.name,
            recipe=recipe.name,
            version_wanted=dependency.version,
            version=dependency.version or "1",
            fields=recipe.fields(ctx),
            variables=recipe.variables(ctx),
            fresh=fresh,
        )

    # ── jobs and services ───────────────────────────────────────────────────────────────────

    def run_job(self, namespace: str, job: Job, on_line: OnLine, fence: Fence) -> None:
        self.before("run_job", namespace)
        fence()
        self._at(namespace)
        word, rest = _script(job.command)
        if word == "put":
            self.holds(namespace, rest[0])[rest[1]] = rest[2]
        elif word == "exit":
            for line in rest[1:]:
                on_line(line)
            if rest[0] != "0":
                code = "migrate_failed" if job.kind == "migrate" else "seed_failed"
                raise UserError(
                    code,
                    f"{job.kind} of {job.service} ended with exit code {rest[0]}.",
                    "Read its last lines.",
                    log_tail=rest[1:],
                )
        elif word == "wait":
            deadline = time.monotonic() + job.timeout
            while time.monotonic() < deadline:
                fence()
                time.sleep(0.005)
            raise UserError("job_timeout", f"{job.kind} of {job.service} took longer than {job.timeout} s.")

    def apply_service(self, namespace: str, release: ServiceRelease) -> ServiceHandle:
        self.before("apply_service", namespace)
        with self._lock:
            services = self._at(namespace).services
            known = services.get((release.name, release.revision))
            if known is None or known.ended or known.release != release:
                port = known.port if known else next(self._ports) if release.port else None
                services[release.name, release.revision] = known = _Service(release, port)
            self._at(namespace).asleep = False
            return ServiceHandle(release.name, release.revision, "127.0.0.1" if known.port else None, known.port)

    def wait_ready(
        self, namespace: str, service: str, revision: int, timeout: float, on_line: OnLine, fence: Fence
    ) -> None:
        self.before("wait_ready", namespace)
        fence()
        known = self._service(namespace, service, revision)
        word, rest = _script(known.release.command)
        if word == "exit":
            known.ended, known.lines = True, list(rest[1:])
            for line in rest[1:]:
                on_line(line)
            raise UserError(
                "service_crashed",
                f"Service {service} ended before it was ready, 2 times (exit status {rest[0]}).",
                "Read its last lines.",
                log_tail=rest[1:],
            )
        if word == "listen":
            raise UserError(
                "service_wrong_port",
                f"Service {service} listens on {rest[0]}, but was given PORT={known.port}.",
                "Let it listen on the port that the variable PORT names.",
            )
        if word == "hang" and known.port is not None:
            raise UserError(
                "service_not_ready",
                f"Service {service} runs, but was not ready after {timeout:.0f} s: "
                f"port {known.port} takes no connection.",
                "Check what it waits for at its start.",
            )
        known.lines.append("serving")
        on_line("serving")

    def retire_services(self, namespace: str, keep: int | None) -> None:
        self.before("retire_services", namespace)
        with self._lock:
            found = self._at(namespace)
            found.services = {key: service for key, service in found.services.items() if key[1] == keep}

    def logs(self, namespace: str, service: str, revision: int, tail: int = 200) -> Iterator[str]:
        self.before("logs", namespace)
        return iter(self._service(namespace, service, revision).lines[-tail:])

    # ── routing and sleep ───────────────────────────────────────────────────────────────────

    def apply_routes(self, namespace: str, revision: int, routes: Sequence[Route]) -> None:
        self.before("apply_routes", namespace)
        with self._lock:
            for route in routes:
                self.address(namespace, route.target, revision)
            self._at(namespace).hosts = {route.host: (route.target, revision) for route in routes}

    def address(self, namespace: str, target: str, revision: int) -> str:
        self.before("address", namespace)
        stores = self._at(namespace).stores
        if target in stores:
            return f"http://127.0.0.1:{next(iter(stores[target].ports.values()))}"
        port = self._service(namespace, target, revision).port
        if port is None:
            raise PlatformError("runtime_unavailable", f"{target} is a worker: it has no address.")
        return f"http://127.0.0.1:{port}"

    def sleep(self, namespace: str) -> None:
        self.before("sleep", namespace)
        self._at(namespace).asleep = True

    def wake(self, namespace: str) -> None:
        self.before("wake", namespace)
        self._at(namespace).asleep = False

    # ── snapshots ───────────────────────────────────────────────────────────────────────────

    def snapshot(self, namespace: str, dependencies: Sequence[str], name: str) -> None:
        self.before("snapshot", namespace)
        with self._lock:
            for dependency in dependencies:
                store = self._store(namespace, dependency)
                store.snapshots[name] = dict(store.holds)

    def restore(self, namespace: str, dependencies: Sequence[str], name: str) -> None:
        self.before("restore", namespace)
        with self._lock:
            for dependency in dependencies:
                store = self._store(namespace, dependency)
                if name not in store.snapshots:
                    raise PlatformError("snapshot_missing", f"{dependency} has no snapshot {name!r}.")
                store.holds.clear()
                store.holds.update(store.snapshots[name])

    # ── what is there ───────────────────────────────────────────────────────────────────────

    def observe(self, namespace: str) -> Observation:
        self.before("observe", namespace)
        with self._lock:
            found = self._namespaces.get(namespace)
            if found is None:
                return Observation(exists=False)
            return Observation(
                exists=True,
                uid=found.uid,
                services=tuple(_state(key, service, found) for key, service in sorted(found.services.items())),
                dependencies=tuple(
                    ServiceState(name, 0, "stopped" if found.asleep else "running") for name in sorted(found.stores)
                ),
                hosts=tuple(sorted(found.hosts)),
                asleep=found.asleep,
            )

    def destroy(self, namespace: str) -> None:
        self.before("destroy", namespace)
        with self._lock:
            self._namespaces.pop(namespace, None)

    def blockers(self, namespace: str) -> list[str]:
        self.before("blockers", namespace)
        return [f"namespace {namespace} is there"] if namespace in self._namespaces else []

    def owned(self) -> list[OwnedNamespace]:
        self.before("owned", "")
        with self._lock:
            return [OwnedNamespace(name, each.uid, each.labels) for name, each in self._namespaces.items()]

    # ── parts ───────────────────────────────────────────────────────────────────────────────

    def _at(self, namespace: str) -> _Namespace:
        found = self._namespaces.get(namespace)
        if found is None:
            raise PlatformError("namespace_missing", f"The environment {namespace} is not there (any more).")
        return found

    def _store(self, namespace: str, dependency: str) -> _Store:
        found = self._at(namespace).stores.get(dependency)
        if found is None:
            raise PlatformError("runtime_unavailable", f"{namespace} has no dependency {dependency!r}.")
        return found

    def _service(self, namespace: str, service: str, revision: int) -> _Service:
        found = self._at(namespace).services.get((service, revision))
        if found is None:
            raise PlatformError(
                "runtime_unavailable", f"{namespace} has no service {service!r} of revision {revision}."
            )
        return found


def _script(command: tuple[str, ...] | str) -> tuple[str, tuple[str, ...]]:
    """(word, rest) of an `act` command; ("serve", …) for any other."""
    words = tuple(command.split()) if isinstance(command, str) else command
    return (words[1], words[2:]) if len(words) > 1 and words[0] == "act" else ("serve", words)


def _answer(service: _Service | None) -> str | None:
    if service is None or service.ended or service.port is None:
        return None
    word, rest = _script(service.release.command)
    return " ".join(rest) if word == "serve" else None


def _state(key: tuple[str, int], service: _Service, found: _Namespace) -> ServiceState:
    name, revision = key
    if service.ended:
        return ServiceState(name, revision, "crashed", service.port, detail="exit status 1")
    return ServiceState(name, revision, "stopped" if found.asleep else "running", service.port)
