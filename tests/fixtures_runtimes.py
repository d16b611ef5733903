"""All runtimes under one set of hands: what a test of the Runtime contract does with each."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from environments.ports import (
    Artifact,
    DependencyHandle,
    Fence,
    Job,
    OnLine,
    Runtime,
    ServiceHandle,
    ServiceRelease,
)
from environments.runtimes.embedded import EmbeddedRuntime
from environments.runtimes.memory import MemoryRuntime
from environments.spec import Dependency, Health, Resources

ACT = '''#!{python} -S
"""Does what its words say: the real-process twin of MemoryRuntime's `act`."""
import http.server, os, sys, time

def serve(port, text):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status = {{"/missing": 404, "/broken": 500}}.get(self.path, 200)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())
        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
    print("serving", flush=True)
    server.serve_forever()

def put(dependency, key, value):
    import site
    site.main()
    import psycopg, redis
    if dependency == "postgres":
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS held (key text PRIMARY KEY, value text)")
            connection.execute("INSERT INTO held VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value))
    else:
        with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
            client.set(key, value)

word, *rest = sys.argv[1:]
if word == "serve":
    serve(int(os.environ["PORT"]), " ".join(rest))
elif word == "listen":
    serve(int(rest[0]), "")
elif word == "hang":
    print("hanging", flush=True)
    time.sleep(600)
elif word == "wait":
    print(f"waiting {{os.getpid()}}", flush=True)
    time.sleep(600)
elif word == "exit":
    print("\\n".join(rest[1:]), flush=True)
    sys.exit(int(rest[0]))
elif word == "put":
    put(*rest)
elif word == "env":
    print(os.environ.get(rest[0], "-"), flush=True)
elif word == "eat":
    print("eating", flush=True)
    eaten = []
    while True:
        eaten.append(b"x" * 1_000_000)
'''  # noqa: E501


def unfenced() -> None:
    """A fence that nobody has overtaken."""


def silent(line: str) -> None:
    """A log that nobody reads."""


class Hands:
    """A runtime, one namespace of it, and what a developer, a visitor and a client do there."""

    def __init__(self, runtime: Runtime, release: Path) -> None:
        self.runtime = runtime
        self.namespace = f"preview-test-{uuid.uuid4().hex[:12]}"
        self.labels = {"environment": "7", "repository": "shop", "owner": "test"}
        self.artifact = Artifact(
            digest="sha256:0",
            kind="release",
            location=str(release),
            start=None,
            migrate=None,
            seed=None,
            cache_hit=True,
            seconds=0.0,
            env={"PATH": "{release}/bin:" + os.environ["PATH"]},
        )

    def ensure(self) -> str:
        return self.runtime.ensure_namespace(self.namespace, self.labels)

    def dependency(self, recipe: str, **facts: object) -> DependencyHandle:
        wanted = Dependency.model_validate({"recipe": recipe, "name": recipe, **facts})
        return self.runtime.apply_dependency(self.namespace, wanted, silent, unfenced)

    def job(
        self,
        *command: str,
        kind: str = "migrate",
        env: dict[str, str] | None = None,
        on_line: OnLine = silent,
        fence: Fence = unfenced,
        timeout: float = 30.0,
        resources: Resources | None = None,
    ) -> None:
        job = Job(
            name=f"web-{kind}-1",
            service="web",
            kind="migrate" if kind == "migrate" else "seed",
            artifact=self.artifact,
            command=command,
            env=env or {},
            secrets={},
            resources=resources or Resources(),
            timeout=timeout,
        )
        self.runtime.run_job(self.namespace, job, on_line, fence)

    def apply(
        self,
        *command: str,
        name: str = "web",
        revision: int = 1,
        port: int | None = 3000,
        env: dict[str, str] | None = None,
        secrets: dict[str, str] | None = None,
        health: Health | None = None,
        resources: Resources | None = None,
        replicas: int = 1,
    ) -> ServiceHandle:
        release = ServiceRelease(
            name=name,
            revision=revision,
            artifact=self.artifact,
            command=command,
            env=env or {},
            secrets=secrets or {},
            port=port,
            public=port is not None,
            health=health or Health(),
            resources=resources or Resources(),
            replicas=replicas,
        )
        return self.runtime.apply_service(self.namespace, release)

    def ready(
        self, name: str = "web", revision: int = 1, timeout: float = 20.0, on_line: OnLine = silent,
        fence: Fence = unfenced,
    ) -> None:  # fmt: skip
        self.runtime.wait_ready(self.namespace, name, revision, timeout, on_line, fence)

    def serve(self, text: str, *, name: str = "web", revision: int = 1) -> ServiceHandle:
        handle = self.apply("act", "serve", text, name=name, revision=revision)
        self.ready(name, revision)
        return handle

    # Differs by runtime:
    def ask(self, name: str = "web", revision: int = 1) -> str | None:
        raise NotImplementedError

    def visit(self, host: str) -> str | None:
        raise NotImplementedError

    def holds(self, handle: DependencyHandle) -> dict[str, str]:
        raise NotImplementedError


class MemoryHands(Hands):
    runtime: MemoryRuntime

    def ask(self, name: str = "web", revision: int = 1) -> str | None:
        return self.runtime.ask(self.namespace, name, revision)

    def visit(self, host: str) -> str | None:
        return self.runtime.visit(host)

    def holds(self, handle: DependencyHandle) -> dict[str, str]:
        return dict(self.runtime.holds(self.namespace, handle.name))


class EmbeddedHands(Hands):
    runtime: EmbeddedRuntime
    root: Path
    routes: Path

    @property
    def directory(self) -> Path:
        return self.root / self.namespace

    def ask(self, name: str = "web", revision: int = 1) -> str | None:
        return _get(self.runtime.address(self.namespace, name, revision))

    def visit(self, host: str) -> str | None:
        """As the front door would: by its route file."""
        file = self.routes / f"{self.namespace}.yml"
        if not file.exists():
            return None
        http = json.loads(file.read_text())["http"]
        for router in http["routers"].values():
            if router["rule"] == f"Host(`{host}`)":
                return _get(http["services"][router["service"]]["loadBalancer"]["servers"][0]["url"])
        return None

    def holds(self, handle: DependencyHandle) -> dict[str, str]:
        if handle.recipe == "postgres":
            with psycopg.connect(handle.fields["url"]) as connection:
                return dict(connection.execute("SELECT key, value FROM held").fetchall())
        with redis.Redis.from_url(handle.fields["url"], decode_responses=True) as client:
            keys = list(client.scan_iter())
            return {key: str(client.get(key)) for key in keys}


def _get(url: str) -> str | None:
    try:
        return httpx.get(url, timeout=5, trust_env=False).text
    except httpx.HTTPError:
        return None


@pytest.fixture(scope="session")
def act_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build's result: a directory with the program `bin/act`."""
    release = tmp_path_factory.mktemp("release")
    (release / "bin").mkdir()
    act = release / "bin" / "act"
    act.write_text(ACT.format(python=sys.executable))
    act.chmod(0o755)
    return release


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Prepared databases, made once for all workers of this test session."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "templates"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture
def embedded(tmp_path: Path, act_release: Path, templates: Path, worker_id: str) -> Iterator[EmbeddedHands]:
    """The embedded runtime in a directory of its own; afterwards nothing of it is left."""
    number = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    runtime = EmbeddedRuntime(
        tmp_path / "environments",
        owner="test",
        routes_dir=tmp_path / "routes",
        port_range=(20000 + 1000 * (number % 10), 20999 + 1000 * (number % 10)),
        templates=templates,
        spares=0,
    )
    hands = EmbeddedHands(runtime, act_release)
    hands.root, hands.routes = tmp_path / "environments", tmp_path / "routes"
    try:
        yield hands
    finally:
        left = {owned.name for owned in runtime.owned()} | {hands.namespace}
        for namespace in left:
            runtime.destroy(namespace)
        problems = [problem for namespace in left for problem in runtime.blockers(namespace)]
        shutil.rmtree(tmp_path, ignore_errors=True)
    assert problems == []


@pytest.fixture
def memory(act_release: Path) -> MemoryHands:
    return MemoryHands(MemoryRuntime(owner="test"), act_release)


@pytest.fixture(params=["memory", "embedded", pytest.param("kubernetes", marks=pytest.mark.cluster)])
def hands(request: pytest.FixtureRequest) -> Hands:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Hands)
    return found


@contextlib.contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Runs `work` beside the block; its error, if any, is in the list afterwards."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
    finally:
        thread.join(timeout=60)
        assert not thread.is_alive()
