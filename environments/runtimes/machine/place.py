"""One environment's directory: where everything of it is, and the record that every worker reads."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from environments.ports import PlatformError
from environments.runtimes.machine.files import take_place, write_whole
from environments.runtimes.machine.locks import exclusive
from environments.spec import Dependency, Health, Resources


class DependencyRecord(BaseModel):
    dependency: Dependency
    version: str
    """The one that runs here."""
    note: str = ""
    ports: dict[str, int]
    password: str
    stop_signal: str = "TERM"
    quit_signal: str = "KILL"
    """As in `ports.Program`."""
    finished: bool = False
    """Users, databases and extensions are made: `Recipe.embedded_finish` has run for this `dependency`."""


class ServiceRecord(BaseModel):
    port: int | None
    digest: str
    """Of all that makes the program: another digest, another start."""
    health: Health
    resources: Resources
    replicas: int = 1
    """As wanted; one runs here."""


class SupervisorRecord(BaseModel):
    pid: int
    started: float


class EnvironmentRecord(BaseModel):
    """What is known of an environment. Small, written whole, changed only under the environment's lock."""

    namespace: str
    uid: str
    labels: dict[str, str]
    asleep: bool = False
    supervisor: SupervisorRecord | None = None
    dependencies: dict[str, DependencyRecord] = Field(default_factory=dict)
    services: dict[str, dict[int, ServiceRecord]] = Field(default_factory=dict)
    """By name, then revision."""
    routed_revision: int = 0
    hosts: dict[str, str] = Field(default_factory=dict)
    """Host name → target, as routed now."""

    def dependency_ports(self) -> list[int]:
        return [next(iter(known.ports.values())) for known in self.dependencies.values()]

    def service(self, name: str, revision: int) -> ServiceRecord:
        known = self.services.get(name, {}).get(revision)
        if known is None:
            raise PlatformError(
                "runtime_unavailable", f"{self.namespace} has no service {name!r} of revision {revision}."
            )
        return known

    def endpoints(self, revision: int) -> dict[str, str]:
        """Service → `host:port` in this revision."""
        return {
            name: f"127.0.0.1:{revisions[revision].port}"
            for name, revisions in self.services.items()
            if revision in revisions and revisions[revision].port
        }


class Place:
    """`root/<namespace>/`: environment.json, data/, services/, launch/, logs/, programs/, home/, tmp/."""

    DIRECTORIES = ("data", "services", "launch", "logs", "programs", "home", "tmp", "jobs", "snapshots")

    def __init__(self, root: Path, namespace: str) -> None:
        self.namespace = namespace
        self.path = root / namespace
        self.lock_file = root / ".locks" / f"{namespace}.lock"
        self._record = self.path / "environment.json"

    def create(self, labels: Mapping[str, str]) -> None:
        """Makes the directory with its record, all at once. It may be there already."""
        draft = self.path.with_name(f".{self.namespace}.{uuid.uuid4().hex[:8]}")
        draft.mkdir(mode=0o700, parents=True)
        for name in self.DIRECTORIES:
            (draft / name).mkdir()
        record = EnvironmentRecord(namespace=self.namespace, uid=uuid.uuid4().hex, labels=dict(labels))
        write_whole(draft / self._record.name, record.model_dump_json())
        take_place(draft, self.path)

    def drafts(self) -> list[Path]:
        """What workers that died in `create` left."""
        return list(self.path.parent.glob(f".{self.namespace}.*"))

    def read(self) -> EnvironmentRecord:
        try:
            return EnvironmentRecord.model_validate_json(self._record.read_bytes())
        except FileNotFoundError:
            raise PlatformError(
                "namespace_missing",
                f"The environment {self.namespace} is not on this machine (any more).",
                "Nothing to do: it is made again if it is still wanted.",
            ) from None

    def find(self) -> EnvironmentRecord | None:
        """The record, or None where there is none that can be read."""
        try:
            return self.read()
        except (PlatformError, ValidationError, NotADirectoryError):
            return None

    @contextmanager
    def edit(self) -> Iterator[EnvironmentRecord]:
        """The record under the environment's lock; what is changed of it is kept, also when an error follows."""
        self.read()  # a lock file is made only for what exists
        with exclusive(self.lock_file):
            record = self.read()
            before = record.model_copy(deep=True)
            try:
                yield record
            finally:
                if record != before and self.path.is_dir():
                    write_whole(self._record, record.model_dump_json())

    def data(self, dependency: str) -> Path:
        return self.path / "data" / dependency

    def release(self, service: str, revision: int) -> Path:
        return self.path / "services" / service / str(revision)

    def launch(self, program: str) -> Path:
        return self.path / "launch" / f"{program}.json"

    def starts(self, program: str) -> Path:
        """One line for each start of the program."""
        return self.path / "launch" / f"{program}.starts"

    def log(self, program: str) -> Path:
        return self.path / "logs" / f"{program}.log"

    def start_count(self, program: str) -> int:
        try:
            return self.starts(program).read_text().count("\n")
        except FileNotFoundError:
            return 0


def service_program(service: str, revision: int) -> str:
    return f"service.{service}.r{revision}"


def dependency_program(name: str) -> str:
    return f"dependency.{name}"
