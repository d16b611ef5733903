"""The contracts: Runtime, Builder, Provider, Recipe. (The errors live in errors.py and can be had from here.)

What the pipeline knows of the outside world is written here and nowhere else. Imports no Django.
Each contract has one conformance suite in tests/, run over every implementation; the in-memory
ones (`runtimes/memory.py`, `providers/memory.py`) ship as documentation of the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from environments.errors import PlatformError as PlatformError
from environments.errors import PreviewError as PreviewError
from environments.errors import RetryLater as RetryLater
from environments.errors import Superseded as Superseded
from environments.errors import UserError as UserError
from environments.spec import Dependency, Health, Resources, Service

OnLine = Callable[[str], None]
"""Takes one log line without its newline. May raise Superseded: the callee stops its child, passes it on."""
Fence = Callable[[], None]
"""Raises Superseded when a newer wish has overtaken the caller. Cheap; waits call it every second."""


# ── builds ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class FoundCommand:
    """A command that was found in the code, and why: shown on the environment's page."""

    command: tuple[str, ...] | str
    """A tuple is run as it is; a string by `sh -c`."""
    because: str


@dataclass(frozen=True)
class BuildRequest:
    tree: Path
    """The checked-out commit's root."""
    tree_id: str
    """Git's object id of the service's `path` in the commit: equal content, equal id."""
    service: Service
    repository: str
    """Slug of the repository, for cache scopes."""
    trusted: bool = True
    """False for forks: no secret, no write to a shared cache."""
    branch: str = ""
    """Whose build cache is read first, and written; empty: the default branch's."""
    default_branch: str = ""
    """Whose build cache is read where the branch has none."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Values that build steps may read; never in what is built, or in its log."""


@dataclass(frozen=True)
class Artifact:
    """Something runnable, the same for the same tree and settings."""

    digest: str
    """`sha256:…` of what went in."""
    kind: Literal["release", "image"]
    location: str
    """release: an absolute directory; image: a reference pinned by digest."""
    start: FoundCommand | None
    migrate: FoundCommand | None
    seed: FoundCommand | None
    cache_hit: bool
    """True: nothing was built."""
    seconds: float
    env: Mapping[str, str] = field(default_factory=dict)
    """What the program needs to find its packages (PATH, VIRTUAL_ENV, NODE_PATH …); may hold `{release}`,
    the directory that the runtime copied the release to."""
    user: int | None = None
    """image: the user id that it names; None: none, or root."""


class Builder(Protocol):
    """Makes a commit's service runnable. Content-addressed: the same tree and settings are never built twice,
    also when two workers ask at once or one dies half-way (nothing half-built is ever found)."""

    name: str

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        """Raises UserError(build_failed | build_no_plan | build_timeout | …) with a log tail."""
        ...


# ── dependencies ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class DependencyHandle:
    """A running dependency as services see it."""

    name: str
    recipe: str
    version_wanted: str | None
    version: str
    """The version that really runs, e.g. `16.14`."""
    fields: Mapping[str, str]
    """What `{{name.field}}` resolves to: url, host, port, user, password, database …"""
    variables: Mapping[str, str]
    """The conventional variables: DATABASE_URL, PGHOST, REDIS_URL …"""
    note: str = ""
    """One sentence for the page and the comment where `version` differs from what was wanted."""
    fresh: bool = False
    """True when its data store was created by this very call: seeds are due."""


# ── services ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ServiceRelease:
    """One service of one deployment, everything resolved."""

    name: str
    revision: int
    """The deployment's generation. Another revision of the same service may be serving meanwhile."""
    artifact: Artifact
    command: tuple[str, ...] | str
    env: Mapping[str, str]
    """Complete, without PORT, which the runtime adds."""
    secrets: Mapping[str, str]
    port: int | None
    public: bool
    health: Health
    resources: Resources
    replicas: int = 1


@dataclass(frozen=True)
class ServiceHandle:
    name: str
    revision: int
    host: str | None
    """Where other services of the environment reach it; None for a worker."""
    port: int | None
    """The port that it has to listen on: its `PORT`."""

    @property
    def url(self) -> str | None:
        return f"http://{self.host}:{self.port}" if self.host else None


@dataclass(frozen=True)
class Job:
    """A command that runs to its end in a service's release: migrate, seed."""

    name: str
    """Unique in the namespace and deployment, e.g. `web-migrate-3`."""
    service: str
    kind: Literal["migrate", "seed"]
    artifact: Artifact
    command: tuple[str, ...] | str
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    resources: Resources
    timeout: float = 900.0


@dataclass(frozen=True)
class Route:
    host: str
    """The full host name, e.g. `web-pr-3-shop-1a2b3c4d.preview.localhost`."""
    target: str
    """Name of a service or of a dependency with an HTTP port (api-gateway)."""


@dataclass(frozen=True)
class ServiceState:
    name: str
    revision: int
    state: Literal["starting", "running", "crashed", "stopped"]
    port: int | None = None
    restarts: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Observation:
    exists: bool
    uid: str | None = None
    services: tuple[ServiceState, ...] = ()
    dependencies: tuple[ServiceState, ...] = ()
    hosts: tuple[str, ...] = ()
    """Host names that are routed now."""
    asleep: bool = False
    cpu_seconds: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class OwnedNamespace:
    name: str
    uid: str
    labels: Mapping[str, str]


Labels = Mapping[str, str]
"""`repository`, `environment` (id), `owner` (this installation's id): what is ours carries all of them."""


class Runtime(Protocol):
    """Where environments live. Every method may be called again after a crash, late, or twice: the second
    call finds the first one's work. "Not there" on removal and "already there" on creation are success.
    A namespace is named by `names.namespace()`; `uid` changes when it is deleted and made anew."""

    name: str

    def ensure_namespace(self, namespace: str, labels: Labels) -> str:
        """The namespace's uid. Raises PlatformError(runtime_unavailable | disk_full | …)."""
        ...

    def apply_secrets(self, namespace: str, secrets: Mapping[str, str]) -> None: ...

    def apply_dependency(
        self, namespace: str, dependency: Dependency, on_line: OnLine, fence: Fence
    ) -> DependencyHandle:
        """Brought up and answering. Raises UserError(recipe_unknown | recipe_version | recipe_option |
        dependency_not_ready …)."""
        ...

    def run_job(self, namespace: str, job: Job, on_line: OnLine, fence: Fence) -> None:
        """Streams the job's output. Raises UserError(migrate_failed | seed_failed | job_timeout), log tail
        included. A job of the same name that is still running (its worker died) is stopped first."""
        ...

    def apply_service(self, namespace: str, release: ServiceRelease) -> ServiceHandle:
        """Starts it beside an older revision, which goes on serving. Does not wait."""
        ...

    def wait_ready(
        self, namespace: str, service: str, revision: int, timeout: float, on_line: OnLine, fence: Fence
    ) -> None:
        """Streams the service's output until it is ready. Raises UserError with a diagnosis that a developer
        can act on: service_crashed (last lines), service_wrong_port (both numbers), service_not_ready,
        service_out_of_memory, image_missing, …"""
        ...

    def apply_routes(self, namespace: str, revision: int, routes: Sequence[Route]) -> None:
        """All of the namespace's routes, to this revision's services: one atomic switch. `[]` removes all."""
        ...

    def retire_services(self, namespace: str, keep: int | None) -> None:
        """Stops and removes every service revision but `keep` (None: all)."""
        ...

    def logs(self, namespace: str, service: str, revision: int, tail: int = 200) -> Iterator[str]: ...

    def address(self, namespace: str, target: str, revision: int) -> str:
        """`http://host:port` at which the control plane itself reaches a service or HTTP dependency."""
        ...

    def sleep(self, namespace: str) -> None: ...

    def wake(self, namespace: str) -> None: ...

    def snapshot(self, namespace: str, dependencies: Sequence[str], name: str) -> None:
        """Keeps the dependencies' present data under `name`, replacing an older snapshot of that name."""
        ...

    def restore(self, namespace: str, dependencies: Sequence[str], name: str) -> None:
        """Data as it was at `snapshot(name)`. Services stay up; their connections may be cut.
        Raises PlatformError(snapshot_missing)."""
        ...

    def observe(self, namespace: str) -> Observation: ...

    def destroy(self, namespace: str) -> None:
        """Processes, data, routes, directory: all gone when this returns. Safe in any state and twice."""
        ...

    def blockers(self, namespace: str) -> list[str]:
        """What is still there of a namespace that should be gone, one sentence each; empty: nothing."""
        ...

    def owned(self) -> list[OwnedNamespace]:
        """All that carries this installation's `owner` label."""
        ...


# ── providers ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class RepositoryRef:
    """A repository as its provider knows it."""

    owner: str
    name: str
    url: str
    """What git clones; local: the absolute path of the bare repository."""
    installation: str = ""


@dataclass(frozen=True)
class PullRequestState:
    number: int
    title: str
    author: str
    state: Literal["open", "closed"]
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    draft: bool = False
    fork: bool = False
    merged: bool = False


@dataclass(frozen=True)
class CloneSource:
    url: str
    env: Mapping[str, str] = field(default_factory=dict)
    """Credentials for git, as environment variables; never part of the url."""


class Provider(Protocol):
    """Where code and comments live. Raises PlatformError(provider_unavailable) when it can't answer,
    and UserError(repository_gone) when it answers that the repository is not there."""

    name: str

    def clone_source(self, repository: RepositoryRef) -> CloneSource: ...

    def default_branch(self, repository: RepositoryRef) -> str: ...

    def branch_head(self, repository: RepositoryRef, branch: str) -> str | None:
        """Sha, or None when there is no such branch."""
        ...

    def pull_request(self, repository: RepositoryRef, number: int) -> PullRequestState | None: ...

    def open_pull_requests(self, repository: RepositoryRef) -> list[PullRequestState]: ...

    def upsert_comment(
        self, repository: RepositoryRef, number: int, marker: str, body: str, comment_id: str = ""
    ) -> str:
        """Creates or updates the one comment with `marker`; returns its id. A lost id is found by it."""
        ...

    def set_status(
        self,
        repository: RepositoryRef,
        sha: str,
        state: Literal["pending", "success", "failure", "error"],
        description: str,
        url: str,
    ) -> None: ...

    def may(self, repository: RepositoryRef, user: str, action: str) -> bool: ...


# ── recipes ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Program:
    """A server program of a dependency, for the embedded runtime."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    drop_root: bool = False
    """Refuses to run as root (Postgres): run as an unprivileged user when the runtime is root."""
    stop_signal: str = "TERM"
    """Ends it so that its data is whole."""
    quit_signal: str = "KILL"
    """Ends it at once where its data is thrown away; Postgres wants QUIT, to free its shared memory."""


SNAPSHOT_MISSING = 44
"""Exit code of a Workload's `restore` when there is no snapshot of that name."""


@dataclass(frozen=True)
class Workload:
    """A dependency's server as a container, for the kubernetes runtime. Commands run inside it."""

    image: str
    command: tuple[str, ...] = ()
    """Empty: the image's own."""
    args: tuple[str, ...] = ()
    """For the image's own command; empty: its own."""
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Absolute path → text, read-only. It is started anew when one changes."""
    volume: str = ""
    """Where its data is kept; empty: it keeps none."""
    storage: str = "2Gi"
    scratch: tuple[str, ...] = ()
    """Directories that it writes to and that are lost with it."""
    user: int = 10001
    resources: Resources = field(default_factory=Resources)
    ready: tuple[str, ...] = ()
    """Ends with 0 once it answers; empty: its first port accepts connections."""
    ready_path: str = ""
    """Or: an HTTP path on its first port that answers below 400."""
    finish: tuple[str, ...] = ()
    """Users, databases, extensions, once it answers. May run twice."""
    version: tuple[str, ...] = ()
    """Prints the version that runs, among other words."""
    snapshot: tuple[str, ...] = ()
    """Keeps its data under the name that is its last argument; empty: there is nothing to keep."""
    restore: tuple[str, ...] = ()
    """Ends with SNAPSHOT_MISSING where there is no snapshot of that name."""
    routes_to: tuple[str, ...] = ()
    """Services that it passes requests on to, on port 80 of their names."""
    http: bool = False
    """Its first port speaks HTTP and may be routed to."""
    has_bash: bool = False
    """Its image has `bash`: other pods borrow it to wait until they reach what they need."""


@dataclass(frozen=True)
class RecipeContext:
    """Where a dependency lives: the same for both runtimes, so that variables are computed once."""

    dependency: Dependency
    host: str
    ports: Mapping[str, int]
    """By the recipe's port names."""
    password: str
    data: Path | None = None
    """Its data directory (embedded: on this machine; kubernetes: in the container)."""
    services: Mapping[str, str] = field(default_factory=dict)
    """Service name → `host:port`, for recipes that route to services; empty before the app layer."""
    revision: int = 0
    """The deployment that `services` are of."""

    @property
    def directory(self) -> Path:
        """`data`, where the recipe can't do without."""
        assert self.data is not None
        return self.data


class Recipe(Protocol):
    """How a managed dependency is run. One file each in recipes/. It says what to run; the runtime runs it. What
    it asks of the running server (`ready`, `embedded_finish`, `snapshot` …) it asks over the network.

    `embedded_*` serve the embedded runtime; the kubernetes runtime adds its own methods here."""

    name: str
    port_names: tuple[str, ...]
    """The first is the one that services use."""
    option_names: tuple[str, ...]
    snapshots: Literal["live", "stopped", "none"]
    """Whether `snapshot` and `restore` work on the running server, on the data of a stopped one, or there is
    nothing to keep."""

    def check(self, dependency: Dependency) -> None:
        """Raises UserError(recipe_version | recipe_option)."""
        ...

    def fields(self, ctx: RecipeContext) -> dict[str, str]: ...

    def variables(self, ctx: RecipeContext) -> dict[str, str]:
        """The conventional variables; prefixed (`ANALYTICS_DATABASE_URL`) where the dependency has another name
        than its recipe."""
        ...

    def embedded_version(self, dependency: Dependency) -> tuple[str, str]:
        """(version that really runs, note where it is not what was wanted). Raises UserError(recipe_option) for
        what can't be had on this machine."""
        ...

    def embedded_template(self, dependency: Dependency) -> str:
        """Name of the data directory that `embedded_prepare` makes: equal names, equal content but for the
        password, so that it is made once and copied. Empty: nothing is prepared."""
        ...

    def embedded_prepare(self, ctx: RecipeContext) -> list[Program]:
        """Commands that fill the empty directory `data` of the template (initdb)."""
        ...

    def embedded_program(self, ctx: RecipeContext) -> Program: ...

    def embedded_files(self, ctx: RecipeContext) -> dict[str, str]:
        """Files (relative to `data`) written before start, and again, atomically, when `services` change."""
        ...

    def embedded_finish(self, ctx: RecipeContext, template_password: str) -> None:
        """Users, databases, extensions, once the server answers. May run twice, also at the same time."""
        ...

    def ready(self, ctx: RecipeContext) -> bool:
        """Asks the server itself (PING)."""
        ...

    def snapshot(self, ctx: RecipeContext, name: str) -> None: ...

    def restore(self, ctx: RecipeContext, name: str) -> None:
        """Raises PlatformError(snapshot_missing)."""
        ...

    # ── kubernetes ──────────────────────────────────────────────────────────────────────────

    def container_ports(self, dependency: Dependency) -> Mapping[str, int]:
        """Where it listens in its container, by port name. The first is the one that is routed to and asked."""
        ...

    def workload(self, ctx: RecipeContext) -> Workload:
        """Raises UserError(recipe_option)."""
        ...


def describe(error: BaseException) -> dict[str, Any]:
    """An error as it is stored on a LayerRun."""
    if isinstance(error, PreviewError):
        return {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "log_tail": list(error.log_tail),
        }
    return {"code": "internal", "message": "PreviewKit failed here.", "hint": "", "log_tail": []}
