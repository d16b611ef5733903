"""The services of an environment: each revision is a copy of its build, a port and a supervised program."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from environments.ports import PlatformError, ServiceHandle, ServiceRelease
from environments.runtimes.machine import launches, processes
from environments.runtimes.machine.files import copy_tree, remove_tree
from environments.runtimes.machine.launches import Launch
from environments.runtimes.machine.leases import PortLeases, accepts, is_free
from environments.runtimes.machine.limits import Limits
from environments.runtimes.machine.place import EnvironmentRecord, Place, ServiceRecord, service_program
from environments.runtimes.machine.supervision import ProgramState, Supervisor

WAKE_TIMEOUT = 60.0
MANY_STARTS = 4
"""A service that was started so often since its deployment or wake is taken as crashed by `wait`."""


@dataclass(frozen=True)
class Services:
    place: Place
    leases: PortLeases
    limits: Limits

    def copy_release(self, release: ServiceRelease) -> None:
        target = self.place.release(release.name, release.revision)
        target.parent.mkdir(exist_ok=True)
        copy_release(release.artifact.location, target)

    def start(self, record: EnvironmentRecord, release: ServiceRelease) -> ServiceHandle:
        """Starts the copied release unless it runs as it is. Under the environment's lock."""
        program = service_program(release.name, release.revision)
        known = record.services.setdefault(release.name, {}).get(release.revision)
        runs = known is not None and self._goes_on(program)
        port = self._port(release) if release.port is not None else None
        launch = self._launch(record, release, program, port)
        if known is None or known.digest != launch.digest() or not runs:
            Supervisor(self.place).remove(program)
            self.place.log(program).unlink(missing_ok=True)
            self.place.starts(program).unlink(missing_ok=True)
            launch.write(self.place.launch(program))
            record.services[release.name][release.revision] = ServiceRecord(
                port=port,
                digest=launch.digest(),
                health=release.health,
                resources=release.resources,
                replicas=release.replicas,
            )
            Supervisor(self.place).add(program, stop_signal="TERM", stop_seconds=5, as_group=True)
        return ServiceHandle(release.name, release.revision, "127.0.0.1" if port else None, port)

    def retire(self, record: EnvironmentRecord, keep: int | None) -> None:
        """Ends every revision but `keep`, all at once. Under the environment's lock."""
        retired = [
            (name, revision)
            for name, revisions in record.services.items()
            for revision in revisions
            if revision != keep
        ]
        Supervisor(self.place).remove(*(service_program(name, revision) for name, revision in retired))
        for name, revision in retired:
            self._forget(name, revision)
            del record.services[name][revision]
        record.services = {name: revisions for name, revisions in record.services.items() if revisions}

    def give_up_port(self, service: str, revision: int) -> None:
        """Another program has it: the next `start` gets another one."""
        with self.place.edit() as record:
            Supervisor(self.place).remove(service_program(service, revision))
            self.leases.drop(self.place.namespace, _purpose(service, revision))
            record.services.get(service, {}).pop(revision, None)

    def wait(self, record: EnvironmentRecord, settle: float = 0.0) -> None:
        """Until each service takes connections or has crashed, for `settle` seconds on end."""
        deadline = time.monotonic() + WAKE_TIMEOUT
        since = time.monotonic()
        while time.monotonic() < deadline:
            states = Supervisor(self.place).states()
            if all(
                known.port is None or accepts(known.port) or self._crashed(states, name, revision)
                for name, revisions in record.services.items()
                for revision, known in revisions.items()
            ):
                if time.monotonic() - since >= settle:
                    return
            else:
                since = time.monotonic()
            time.sleep(0.02)

    def _launch(self, record: EnvironmentRecord, release: ServiceRelease, program: str, port: int | None) -> Launch:
        target = self.place.release(release.name, release.revision)
        return launches.for_service(
            self.place,
            release.command,
            launches.service_env(release.artifact, release.env, release.secrets, target, port),
            target,
            self.limits.open(self.place.namespace, program, release.resources),
            after=record.dependency_ports(),
            starts=str(self.place.starts(program)),
        )

    def _port(self, release: ServiceRelease) -> int:
        """Its lease; another one where something else has taken the port."""
        purpose = _purpose(release.name, release.revision)
        port = self.leases.take(self.place.namespace, purpose)
        if not is_free(port) and not self._listens(release, port):
            self.leases.drop(self.place.namespace, purpose)
            port = self.leases.take(self.place.namespace, purpose)
        return port

    def _listens(self, release: ServiceRelease, port: int) -> bool:
        state = Supervisor(self.place).state(service_program(release.name, release.revision))
        return state is not None and processes.has_listener(state.pid, port)

    def _goes_on(self, program: str) -> bool:
        state = Supervisor(self.place).state(program)
        return state is not None and state.state in ("STARTING", "RUNNING")

    def _crashed(self, states: dict[str, ProgramState], name: str, revision: int) -> bool:
        program = service_program(name, revision)
        state = states.get(program)
        return state is None or state.state == "FATAL" or self.place.start_count(program) >= MANY_STARTS

    def _forget(self, name: str, revision: int) -> None:
        program = service_program(name, revision)
        self.leases.drop(self.place.namespace, _purpose(name, revision))
        self.limits.close(self.place.namespace, program)
        files = (self.place.launch(program), self.place.starts(program))
        for file in (*files, *self.place.path.glob(f"logs/{program}.log*")):
            file.unlink(missing_ok=True)
        remove_tree(self.place.release(name, revision))


def copy_release(source: str, target: Path) -> None:
    if not Path(source).is_dir():
        raise PlatformError(
            "runtime_unavailable", f"The build's result {source} is not there (any more).", "It is built again."
        )
    copy_tree(Path(source), target)


def _purpose(service: str, revision: int) -> str:
    return f"service/{service}/r{revision}"
