"""Waits until a service answers, and says what is wrong in words that its developer can act on when it doesn't."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass

from environments.ports import Fence, OnLine, PlatformError, UserError
from environments.runtimes.machine import processes
from environments.runtimes.machine.leases import accepts
from environments.runtimes.machine.limits import Limits
from environments.runtimes.machine.logtail import LogTail
from environments.runtimes.machine.place import Place, service_program
from environments.runtimes.machine.supervision import ProgramState, Supervisor
from environments.spec import Health, Resources

STEP = 0.025
FENCE_EVERY = 0.5
LOOK_EVERY = 0.5
"""How often the listening ports are looked at: it reads /proc."""
WRONG_PORT_AFTER = 2.0
WORKER_ALIVE = 1.0
ENDED = ("BACKOFF", "EXITED", "FATAL")


@dataclass(frozen=True)
class Waited:
    """The service that is waited for."""

    name: str
    revision: int
    port: int | None
    health: Health
    resources: Resources

    @property
    def program(self) -> str:
        return service_program(self.name, self.revision)


class HealthProbe:
    """Asks the health path again and again in a thread: an answer may take longer than a fence can wait."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path if path.startswith("/") else f"/{path}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True, name=f"health-{port}")
        self.seen = "connection refused"
        self.passed = False

    def __enter__(self) -> HealthProbe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _ask(self) -> None:
        while not self._stop.is_set() and not self.passed:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                connection.request("GET", self._path, headers={"User-Agent": "PreviewKit-health"})
                status = connection.getresponse().status
                self.seen = f"status {status}"
                self.passed = status < 400
            except (OSError, http.client.HTTPException) as error:
                self.seen = _plainly(error)
            finally:
                connection.close()
            self._stop.wait(STEP)


class Wait:
    """One wait for one service."""

    def __init__(self, place: Place, limits: Limits, waited: Waited, on_line: OnLine, fence: Fence) -> None:
        self._place = place
        self._limits = limits
        self._waited = waited
        self._fence = fence
        self._supervisor = Supervisor(place)
        self._log = LogTail(place.log(waited.program), on_line)
        self._wrong_since: float | None = None
        self._looked = 0.0
        self._listening: dict[int, set[str]] = {}

    def until_ready(self, timeout: float) -> None:
        waited = self._waited
        if waited.port is not None and waited.health.path:
            with HealthProbe(waited.port, waited.health.path) as probe:
                self._loop(timeout, probe)
        else:
            self._loop(timeout, None)

    def _loop(self, timeout: float, probe: HealthProbe | None) -> None:
        began = fenced = time.monotonic()
        while True:
            self._log.poll()
            now = time.monotonic()
            if now - fenced > FENCE_EVERY:
                self._fence()
                self._place.read()  # destroyed meanwhile: says so
                fenced = now
            state = self._supervisor.state(self._waited.program)
            if self._answers(state, probe):
                self._log.last()
                return
            self._check_ended(state)
            self._check_port(state)
            if now - began > timeout:
                raise self._not_ready(timeout, probe)
            time.sleep(STEP)

    def _answers(self, state: ProgramState | None, probe: HealthProbe | None) -> bool:
        port = self._waited.port
        if state is None or state.state not in ("STARTING", "RUNNING"):
            return False
        if port is None:
            return state.state == "RUNNING"  # supervisord says so after WORKER_ALIVE seconds (startsecs)
        if probe is not None:
            return probe.passed and self._is_ours(state, port)
        return accepts(port) and self._is_ours(state, port)

    def _is_ours(self, state: ProgramState, port: int) -> bool:
        """Somebody answers: our program, or one that took its port?"""
        if processes.has_listener(state.pid, port):
            return True
        if self._supervisor.state(self._waited.program) != state:
            return False  # it ended just now
        if processes.listens(self._members(), port):
            return True  # a child that left the tree
        raise PlatformError(
            "port_in_use",
            f"Another program took port {port}, which was leased to {self._waited.name}.",
            "It is tried again with another port.",
        )

    # ── what went wrong ─────────────────────────────────────────────────────────────────────

    def _check_ended(self, state: ProgramState | None) -> None:
        """A program may lose one race at its start; twice is a crash."""
        name = self._waited.name
        if state is None:
            raise PlatformError("runtime_unavailable", f"Service {name} is not known to its supervisor.")
        ended = state.state in ENDED
        starts = self._place.start_count(self._waited.program)
        out_of_memory = self._limits.oom_kills(self._place.namespace, self._waited.program) > 0
        if not (state.state == "FATAL" or starts - (0 if ended else 1) >= 2 or (ended and out_of_memory)):
            return
        if out_of_memory:
            raise UserError(
                "service_out_of_memory",
                f"Service {name} was ended for using more than its "
                f"{self._waited.resources.memory // 2**20} MiB of memory.",
                f"Raise `services.{name}.resources.memory`, or use less.",
                log_tail=self._log.last(),
            )
        how = self._supervisor.last_exit(self._waited.program)
        raise UserError(
            "service_crashed",
            f"Service {name} ended before it was ready, {starts} times ({how}).",
            "Read its last lines. It is started with the variables that the environment's page lists.",
            log_tail=self._log.last(),
        )

    def _check_port(self, state: ProgramState | None) -> None:
        """Listens on another port for a while, and on its own not at all."""
        port, now = self._waited.port, time.monotonic()
        if port is None or state is None or not state.pid or now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        self._listening = processes.listeners(self._processes(state))
        others = sorted(other for other in self._listening if other != port)
        if port in self._listening or not others:
            self._wrong_since = None
            return
        if self._wrong_since is None:
            self._wrong_since = now
        if now - self._wrong_since < WRONG_PORT_AFTER:
            return
        name, numbers = self._waited.name, " and ".join(str(other) for other in others)
        raise UserError(
            "service_wrong_port",
            f"Service {name} listens on {numbers}, but was given PORT={port}.",
            "Let it listen on the port that the variable PORT names.",
            log_tail=self._log.last(),
        )

    def _not_ready(self, timeout: float, probe: HealthProbe | None) -> UserError:
        name, port, path = self._waited.name, self._waited.port, self._waited.health.path
        asked, hint = f"port {port} takes no connection", "Check what it waits for at its start."
        if port is None:
            asked = "it does not stay up"
        elif probe is not None:
            asked = f"GET {path} on port {port} gives: {probe.seen}"
            hint = f"Let {path} answer below 400 once it is ready, or change `services.{name}.health.path`."
        elsewhere = self._listening.get(port or 0, set())
        if elsewhere and not elsewhere & {"127.0.0.1", "0.0.0.0", "::"}:
            asked += f"; it listens on {', '.join(sorted(elsewhere))} only"
            hint = "Let it listen on 127.0.0.1 or 0.0.0.0; the variable HOST says so too."
        return UserError(
            "service_not_ready",
            f"Service {name} runs, but was not ready after {timeout:.0f} s: {asked}.",
            f"{hint} `services.{name}.health.timeout` gives it more time.",
            log_tail=self._log.last(),
        )

    def _processes(self, state: ProgramState) -> list[processes.psutil.Process]:
        return processes.tree(state.pid) if state.pid else []

    def _members(self) -> list[processes.psutil.Process]:
        record = self._place.read()
        session = (record.supervisor.pid, record.supervisor.started) if record.supervisor else None
        return processes.members(self._place.path, session, self._limits.process_ids(self._place.namespace))


def _plainly(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in 10 s"
    return f"{type(error).__name__}: {error}"
