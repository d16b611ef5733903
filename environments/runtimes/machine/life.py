"""Begins and ends the processes of an environment: its supervisor, orphans of a dead one, sleep, removal."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from environments.ports import PlatformError
from environments.runtimes.machine import processes
from environments.runtimes.machine.files import remove_tree
from environments.runtimes.machine.jobs import JOB_MARKER
from environments.runtimes.machine.leases import PortLeases
from environments.runtimes.machine.limits import Limits
from environments.runtimes.machine.place import EnvironmentRecord, Place, service_program
from environments.runtimes.machine.supervision import SOCKET, Supervisor

REMOVAL_TIMEOUT = 10.0


@dataclass(frozen=True)
class Life:
    place: Place
    leases: PortLeases
    limits: Limits

    def members(self, record: EnvironmentRecord | None) -> list[psutil.Process]:
        """Every living process of the environment."""
        known = record.supervisor if record else None
        session = (known.pid, known.started) if known else None
        return processes.members(self.place.path, session, self.limits.process_ids(self.place.namespace))

    def ensure(self, record: EnvironmentRecord, *, wait: bool) -> None:
        """The supervisor runs, with all programs that are on record. Under the environment's lock."""
        supervisor = Supervisor(self.place)
        if not supervisor.is_running(record.supervisor):
            if record.supervisor is not None or (self.place.path / SOCKET).exists():
                # It was killed, or a worker died as it started it: what runs would hold ports and data.
                # Jobs are their worker's.
                orphans = [each for each in self.members(record) if not _is_job(each)]
                processes.end(orphans, self._signals(record, whole=True), seconds=5)
            for counted in self.place.path.glob("launch/*.starts"):
                counted.unlink()  # restarts are counted from here
            limit = self.limits.open(self.place.namespace, "supervisor", None)
            record.supervisor = supervisor.start(limit.join)
            record.asleep = False
        if wait and record.supervisor:
            supervisor.wait(record.supervisor)

    def stop(self, asleep: bool | None) -> None:
        """Ends all processes so that the data is whole. `asleep` None: as it was."""
        with self.place.edit() as record:
            if record.supervisor:
                services = [
                    service_program(name, revision)
                    for name, revisions in record.services.items()
                    for revision in revisions
                ]
                Supervisor(self.place).stop(record.supervisor, first=services)
            processes.end(self.members(record), self._signals(record, whole=True), seconds=5)
            record.supervisor = None
            record.asleep = record.asleep if asleep is None else asleep

    def clear(self) -> None:
        """Ends and removes all of it, whatever state it is in. Under the environment's lock."""
        record = self.place.find()
        deadline = time.monotonic() + REMOVAL_TIMEOUT
        for draft in self.place.drafts():
            remove_tree(draft)
        while (living := self.members(record)) or self.place.path.exists():
            self._end_at_once(record, living)
            try:
                remove_tree(self.place.path)
            except OSError:  # a late worker writes into it; the next round finds it
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise PlatformError(
                    "teardown_stuck", f"{self.place.namespace} could not be removed.", "It is tried again."
                )
        self.leases.drop(self.place.namespace)
        self.limits.close(self.place.namespace)

    def _end_at_once(self, record: EnvironmentRecord | None, living: list[psutil.Process]) -> None:
        """The supervisor first: it would start again what is ended."""
        leader = record.supervisor.pid if record and record.supervisor else None
        processes.end([each for each in living if each.pid == leader])
        processes.end([each for each in living if each.pid != leader], self._signals(record, whole=False))

    def _signals(self, record: EnvironmentRecord | None, *, whole: bool) -> Callable[[psutil.Process], int | None]:
        """By process: the signal that ends a dependency's server, its data `whole` or just at once; None: KILL."""
        known = record.dependencies if record else {}
        better = {
            self.place.data(name): signal.Signals[f"SIG{dependency.stop_signal if whole else dependency.quit_signal}"]
            for name, dependency in known.items()
        }

        def choose(process: psutil.Process) -> int | None:
            try:
                return better.get(Path(process.cwd()))
            except (psutil.Error, OSError):
                return None

        return choose


def _is_job(process: psutil.Process) -> bool:
    try:
        return JOB_MARKER in process.environ()
    except (psutil.Error, OSError):
        return False
