"""What is there of an environment now: each program's state, addresses, use of CPU and memory."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from typing import Literal

import psutil

from environments.ports import Observation, ServiceState
from environments.runtimes.machine.leases import accepts
from environments.runtimes.machine.place import (
    EnvironmentRecord,
    Place,
    dependency_program,
    service_program,
)
from environments.runtimes.machine.supervision import ProgramState, Supervisor

State = Literal["starting", "running", "crashed", "stopped"]
STATES: dict[str, State] = {
    "STARTING": "starting",
    "RUNNING": "running",
    "BACKOFF": "crashed",
    "EXITED": "crashed",
    "FATAL": "crashed",
    "STOPPING": "stopped",
    "STOPPED": "stopped",
}


def observe(place: Place, record: EnvironmentRecord, members: Sequence[psutil.Process]) -> Observation:
    states, why = _states(place, record)
    cpu, memory = _usage(members)
    return Observation(
        exists=True,
        uid=record.uid,
        services=tuple(
            _state(place, name, revision, known.port, service_program(name, revision), states, why)
            for name, revisions in sorted(record.services.items())
            for revision, known in sorted(revisions.items())
        ),
        dependencies=tuple(
            _state(place, name, 0, next(iter(known.ports.values())), dependency_program(name), states, why)
            for name, known in sorted(record.dependencies.items())
        ),
        hosts=tuple(sorted(record.hosts)),
        asleep=record.asleep,
        cpu_seconds=cpu,
        memory_bytes=memory,
    )


def _states(place: Place, record: EnvironmentRecord) -> tuple[dict[str, ProgramState], str]:
    """By program; and why there are none, where there are none."""
    if record.asleep:
        return {}, "asleep"
    supervisor = Supervisor(place)
    if not supervisor.is_running(record.supervisor):
        return {}, "the environment's supervisor is not running; the next deployment or wake starts it"
    try:
        return supervisor.states(), ""
    except (OSError, http.client.HTTPException):
        return {}, "the environment's supervisor does not answer yet"


def _state(
    place: Place,
    name: str,
    revision: int,
    port: int | None,
    program: str,
    states: dict[str, ProgramState],
    why: str,
) -> ServiceState:
    found = states.get(program)
    state: State = STATES.get(found.state, "crashed") if found else "stopped"
    restarts = max(place.start_count(program) - 1, 0)
    if state == "starting" and port is not None and accepts(port):
        state = "running"  # supervisord says so only after a second
    elif state == "starting" and restarts:
        state = "crashed"  # tried again, as long as it does not stay up
    detail = why
    if state == "crashed":
        detail = Supervisor(place).last_exit(program)
    return ServiceState(name, revision, state, port, restarts, detail)


def _usage(members: Sequence[psutil.Process]) -> tuple[float, int]:
    """(CPU seconds, bytes) of the living processes. Shared pages count once (PSS), where Linux says so."""
    cpu, memory = 0.0, 0
    for process in members:
        try:
            times = process.cpu_times()
            cpu += times.user + times.system
            full = process.memory_full_info()
            memory += getattr(full, "pss", 0) or full.rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return cpu, memory
