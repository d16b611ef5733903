"""The embedded runtime with real processes: diagnoses, limits, ports, accidents, and that nothing is left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from environments.ports import PlatformError, Route, Superseded, UserError
from environments.runtimes.embedded import EmbeddedRuntime
from environments.runtimes.machine.leases import PortLeases
from environments.runtimes.machine.processes import MARKER, is_alive
from environments.spec import Health, Resources
from tests.fixtures_runtimes import EmbeddedHands, act_release, embedded, in_thread, templates

__all__ = ["act_release", "embedded", "templates"]

HOST = "web-pr-3-shop.preview.localhost"


def record(hands: EmbeddedHands) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((hands.directory / "environment.json").read_text())
    return found


def kill_supervisor(hands: EmbeddedHands) -> None:
    process = psutil.Process(record(hands)["supervisor"]["pid"])
    process.kill()
    until(lambda: not psutil.pid_exists(process.pid) or process.status() == psutil.STATUS_ZOMBIE)


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def processes_of(hands: EmbeddedHands) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == str(hands.directory):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def running(hands: EmbeddedHands, word: str) -> list[psutil.Process]:
    """The environment's living programs with this word in their command."""
    found = []
    for process in processes_of(hands):
        with suppress(psutil.NoSuchProcess):
            if word in process.cmdline():
                found.append(process)
    return found


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


# ── diagnoses ───────────────────────────────────────────────────────────────────────────────


def test_a_service_on_another_port_is_told_both_numbers(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    other = PortLeases(embedded.root / ".ports.json", 18000, 18999).take(embedded.namespace, "a port of its own")
    handle = embedded.apply("act", "listen", str(other))

    with pytest.raises(UserError) as raised:
        embedded.ready()

    assert raised.value.code == "service_wrong_port"
    assert f"listens on {other}, but was given PORT={handle.port}" in raised.value.message


def test_a_crash_is_told_long_before_the_timeout(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    embedded.apply("act", "exit", "3", "no such module")
    began = time.monotonic()

    with pytest.raises(UserError):
        embedded.ready(timeout=60)

    assert time.monotonic() - began < 10


def test_a_command_that_does_not_exist_is_named(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    embedded.apply("gunicron", "app")

    with pytest.raises(UserError) as raised:
        embedded.ready()

    assert raised.value.code == "service_crashed"
    assert "gunicron: No such file or directory" in raised.value.log_tail


def test_a_health_path_has_to_answer_below_400(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    embedded.apply("act", "serve", "hello", health=Health(path="/broken"))

    with pytest.raises(UserError) as raised:
        embedded.ready(timeout=1)

    assert raised.value.code == "service_not_ready"
    assert "GET /broken" in raised.value.message
    assert "status 500" in raised.value.message

    embedded.apply("act", "serve", "hello", revision=2, health=Health(path="/healthz"))
    embedded.ready(revision=2)


def test_a_service_beyond_its_memory_is_told_its_limit(embedded: EmbeddedHands) -> None:
    if embedded.runtime.limits_support().kind == "rlimit":
        pytest.skip("control groups can't be written here")
    embedded.ensure()
    embedded.apply("act", "eat", resources=Resources(memory=48 * 2**20))

    with pytest.raises(UserError) as raised:
        embedded.ready()

    assert raised.value.code == "service_out_of_memory"
    assert "48 MiB" in raised.value.message


def test_a_job_beyond_its_memory_is_told_its_limit(embedded: EmbeddedHands) -> None:
    if embedded.runtime.limits_support().kind == "rlimit":
        pytest.skip("control groups can't be written here")
    embedded.ensure()

    with pytest.raises(UserError) as raised:
        embedded.job("act", "eat", resources=Resources(memory=48 * 2**20))

    assert raised.value.code == "migrate_failed"
    assert "48 MiB" in raised.value.message


def test_a_program_that_took_the_port_is_not_the_service(embedded: EmbeddedHands) -> None:
    """It would look ready: something answers."""
    embedded.ensure()
    port = embedded.apply("act", "hang").port
    assert port is not None

    with taken(port), pytest.raises(PlatformError) as raised:
        embedded.ready()

    assert raised.value.code == "port_in_use"
    with taken(port):
        again = embedded.apply("act", "serve", "hello")
        embedded.ready()
    assert again.port != port
    assert embedded.ask() == "hello"


def test_a_port_that_was_taken_while_nothing_ran_is_replaced(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    port = embedded.apply("act", "exit", "1").port
    assert port is not None
    with pytest.raises(UserError):
        embedded.ready()

    with taken(port):
        again = embedded.apply("act", "serve", "hello")

    assert again.port != port


def test_replicas_are_not_silently_dropped(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    lines: list[str] = []
    embedded.apply("act", "serve", "hello", replicas=3)

    embedded.ready(on_line=lines.append)

    assert "3 replicas were asked for" in lines[0]


# ── what a program sees ─────────────────────────────────────────────────────────────────────


def test_programs_see_their_variables_and_none_of_ours(
    embedded: EmbeddedHands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "of the control plane")
    embedded.ensure()
    seen: dict[str, str] = {}
    for name in ("SECRET_KEY", "COLOUR", "HOME", "PREVIEWKIT_NAMESPACE"):
        lines: list[str] = []
        embedded.job("act", "env", name, env={"COLOUR": 'it\'s "50%"\nblue'}, on_line=lines.append)
        seen[name] = "\n".join(lines)

    assert seen == {
        "SECRET_KEY": "-",
        "COLOUR": 'it\'s "50%"\nblue',
        "HOME": str(embedded.directory / "home"),
        "PREVIEWKIT_NAMESPACE": embedded.namespace,
    }


def test_secrets_are_in_no_command_line_and_in_no_readable_file(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    embedded.apply("act", "serve", "hello", secrets={"STRIPE_KEY": "sk_live_123"})
    embedded.ready()

    (served,) = running(embedded, "serve")
    assert served.environ()["STRIPE_KEY"] == "sk_live_123"
    for process in processes_of(embedded):
        assert "sk_live_123" not in " ".join(process.cmdline())
    assert embedded.directory.stat().st_mode & 0o077 == 0
    for file in embedded.directory.rglob("*"):
        if file.is_file() and b"sk_live_123" in file.read_bytes():
            assert file.stat().st_mode & 0o077 == 0, file


def test_a_service_can_not_spoil_the_build_for_others(embedded: EmbeddedHands, act_release: Path) -> None:
    embedded.ensure()

    embedded.job("sh", "-c", "echo spoiled >> bin/act; touch new")

    assert "spoiled" not in (act_release / "bin" / "act").read_text()
    assert not (act_release / "new").exists()


def test_limits_are_those_of_the_service(embedded: EmbeddedHands) -> None:
    if embedded.runtime.limits_support().kind != "cgroup v1":
        pytest.skip("looks at files of control groups v1")
    embedded.ensure()
    embedded.apply("act", "serve", "hello", resources=Resources(cpu=0.5, memory=64 * 2**20))
    embedded.ready()

    (served,) = running(embedded, "serve")
    groups = dict(line.split(":")[1:] for line in Path(f"/proc/{served.pid}/cgroup").read_text().splitlines())
    memory = Path("/sys/fs/cgroup/memory") / groups["memory"].lstrip("/")
    cpu = Path("/sys/fs/cgroup/cpu") / groups["cpu"].lstrip("/")
    assert int((memory / "memory.limit_in_bytes").read_text()) == 64 * 2**20
    assert int((cpu / "cpu.cfs_quota_us").read_text()) == 50_000


# ── jobs ────────────────────────────────────────────────────────────────────────────────────


def test_an_overtaken_job_leaves_no_process(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    lines: list[str] = []
    overtaken = threading.Event()

    def fence() -> None:
        if overtaken.is_set():
            raise Superseded

    with in_thread(lambda: embedded.job("act", "wait", on_line=lines.append, fence=fence)) as errors:
        until(lambda: lines)
        overtaken.set()

    assert [type(error) for error in errors] == [Superseded]
    assert not psutil.pid_exists(int(lines[0].split()[1]))


def test_a_job_whose_worker_died_is_stopped_by_the_next(embedded: EmbeddedHands, tmp_path: Path) -> None:
    # Given a worker in a process of its own, which is killed in the middle of a migration
    embedded.ensure()
    out = tmp_path / "out"
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_WORKER), str(embedded.root), embedded.namespace,
         embedded.artifact.location, str(out)],
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    until(lambda: out.exists() and out.read_text())
    worker.kill()
    worker.wait()
    job = psutil.Process(int(out.read_text().split()[1]))
    assert job.is_running()
    # When
    embedded.job("act", "exit", "0")
    # Then
    assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE


_WORKER = """
    import os, sys
    from pathlib import Path
    from environments.ports import Artifact, Job
    from environments.runtimes.embedded import EmbeddedRuntime
    from environments.spec import Resources
    root, namespace, release, out = sys.argv[1:]
    runtime = EmbeddedRuntime(Path(root), owner="test", routes_dir=Path(root).parent / "routes")
    env = {"PATH": "{release}/bin:" + os.environ["PATH"]}
    artifact = Artifact("sha256:0", "release", release, None, None, None, True, 0.0, env)
    job = Job("web-migrate-1", "web", "migrate", artifact, ("act", "wait"), {}, {}, Resources())
    runtime.run_job(namespace, job, lambda line: Path(out).write_text(line) and None, lambda: None)
"""


def test_a_job_may_leave_a_child_that_holds_its_output(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    began = time.monotonic()

    embedded.job("sh", "-c", "sleep 60 & echo started")

    assert time.monotonic() - began < 10
    assert not running(embedded, "sleep")


def test_a_job_that_prints_megabytes_is_read_to_its_end(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    count = 0

    def on_line(line: str) -> None:
        nonlocal count
        count += 1

    embedded.job("sh", "-c", "seq 1 200000", on_line=on_line)

    assert count == 200000


# ── routes ──────────────────────────────────────────────────────────────────────────────────


def test_the_route_file_is_traefiks(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    handle = embedded.serve("hello")

    embedded.runtime.apply_routes(embedded.namespace, 1, [Route(HOST, "web")])

    http = json.loads((embedded.routes / f"{embedded.namespace}.yml").read_text())["http"]
    (router,) = http["routers"].values()
    assert router["rule"] == f"Host(`{HOST}`)"
    assert router["entryPoints"] == ["websecure"]
    assert router["tls"] == {}
    assert http["services"][router["service"]]["loadBalancer"]["servers"] == [{"url": handle.url}]
    (noindex,) = router["middlewares"]
    assert http["middlewares"][noindex]["headers"]["customResponseHeaders"] == {"X-Robots-Tag": "noindex"}
    assert [file.name for file in embedded.routes.iterdir()] == [f"{embedded.namespace}.yml"]


def test_a_gateway_routes_by_path_to_the_revision_that_is_routed(embedded: EmbeddedHands) -> None:
    # Given
    embedded.ensure()
    gateway = embedded.dependency(
        "api-gateway",
        options={
            "routes": [
                {"path": "/api", "to": "services.api", "strip_prefix": True},
                {"path": "/api/admin", "to": "services.admin"},
            ]
        },
    )

    def through(path: str) -> tuple[int, str]:
        answer = httpx.get(gateway.fields["url"] + path, trust_env=False)
        return answer.status_code, answer.text

    assert through("/api/x")[0] == 404
    for revision in (1, 2):
        # When
        embedded.serve(f"api {revision}", name="api", revision=revision)
        embedded.serve(f"admin {revision}", name="admin", revision=revision)
        embedded.runtime.apply_routes(embedded.namespace, revision, [Route("api.localhost", "api-gateway")])
        embedded.runtime.retire_services(embedded.namespace, keep=revision)
        # Then
        assert through("/api/x") == (200, f"api {revision}")
        assert through("/api/missing") == (404, f"api {revision}"), "the prefix is cut off"
        assert through("/api/admin") == (200, f"admin {revision}"), "the longest path wins"
        assert through("/elsewhere")[0] == 404
        assert embedded.visit("api.localhost") is not None


# ── accidents ───────────────────────────────────────────────────────────────────────────────


def test_a_killed_supervisor_is_seen_and_the_next_call_heals(embedded: EmbeddedHands) -> None:
    # Given
    embedded.ensure()
    stores = [embedded.dependency("postgres"), embedded.dependency("valkey")]
    for store in stores:
        embedded.job("act", "put", store.name, "colour", "blue", env=dict(store.variables))
    embedded.serve("hello")
    # When
    kill_supervisor(embedded)
    # Then
    seen = embedded.runtime.observe(embedded.namespace)
    assert seen.exists
    assert [state.state for state in seen.services] == ["stopped"]
    assert "supervisor" in seen.services[0].detail
    # When
    assert [embedded.dependency(store.name).fresh for store in stores] == [False, False]
    embedded.apply("act", "serve", "hello")
    embedded.ready()
    # Then
    assert embedded.ask() == "hello"
    assert [embedded.holds(store) for store in stores] == [{"colour": "blue"}] * 2
    assert len(running(embedded, "serve")) == 1


@pytest.mark.parametrize("step", ["start", "add", "prepare", "embedded_finish", "copy_release", "write_whole"])
def test_what_a_killed_worker_began_another_finishes(embedded: EmbeddedHands, step: str) -> None:
    """The worker is killed right after a step, before it could write down that it took it."""
    worker = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_KILLED), str(embedded.root), embedded.namespace,
         embedded.artifact.location, str(embedded.routes), str(embedded.runtime._templates.directory), step],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert worker.returncode == -9, worker.stderr

    embedded.ensure()
    store = embedded.dependency("postgres")
    embedded.job("act", "put", "postgres", "colour", "blue", env=dict(store.variables))
    embedded.serve("hello")

    assert embedded.ask() == "hello"
    assert embedded.holds(store) == {"colour": "blue"}
    assert len(running(embedded, "serve")) == 1


_KILLED = """
    import os, signal, sys
    from pathlib import Path
    from environments.ports import Artifact, ServiceRelease
    from environments.recipes.postgres import Postgres
    from environments.runtimes.embedded import EmbeddedRuntime
    from environments.runtimes.machine import place
    from environments.runtimes.machine.dependencies import Dependencies
    from environments.runtimes.machine.services import Services
    from environments.runtimes.machine.supervision import Supervisor
    from environments.spec import Dependency, Health, Resources

    root, namespace, release, routes, templates, step = sys.argv[1:]
    owners = {"start": Supervisor, "add": Supervisor, "prepare": Dependencies, "embedded_finish": Postgres,
              "copy_release": Services, "write_whole": place}
    real = getattr(owners[step], step)

    def and_die(*args, **kwargs):
        real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owners[step], step, and_die)
    runtime = EmbeddedRuntime(
        Path(root), owner="test", routes_dir=Path(routes), templates=Path(templates), spares=0
    )
    artifact = Artifact("sha256:0", "release", release, None, None, None, True, 0.0,
                        {"PATH": "{release}/bin:" + os.environ["PATH"]})
    runtime.ensure_namespace(namespace, {})
    wanted = Dependency(recipe="postgres", name="postgres")
    runtime.apply_dependency(namespace, wanted, lambda line: None, lambda: None)
    runtime.apply_service(namespace, ServiceRelease(
        "web", 1, artifact, ("act", "serve", "hello"), {}, {}, 3000, True, Health(), Resources()))
"""


def test_dependencies_may_come_up_side_by_side(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    names = ("postgres", "valkey", "redis")

    threads = [in_thread(lambda name=name: embedded.dependency(name)) for name in names]  # type: ignore[misc]
    with threads[0] as one, threads[1] as two, threads[2] as three:
        pass

    assert (one, two, three) == ([], [], [])
    assert [state.name for state in embedded.runtime.observe(embedded.namespace).dependencies] == sorted(names)


def test_an_environment_without_supervisor_is_destroyed_whole(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    embedded.dependency("postgres")
    embedded.dependency("valkey")
    embedded.serve("hello")
    kill_supervisor(embedded)

    embedded.runtime.destroy(embedded.namespace)

    assert embedded.runtime.blockers(embedded.namespace) == []


def test_a_program_that_hides_is_found(embedded: EmbeddedHands) -> None:
    """It leaves its session, its directory and its environment, and its parent dies."""
    if embedded.runtime.limits_support().kind == "rlimit":
        pytest.skip("without control groups, such a program is found only while its supervisor lives")
    embedded.ensure()
    embedded.apply("sh", "-c", "setsid env -i sleep 617 & cd /; exec act serve hello")
    embedded.ready()
    (hidden,) = [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "617"]]
    assert hidden.environ() == {}
    kill_supervisor(embedded)

    embedded.runtime.destroy(embedded.namespace)

    assert embedded.runtime.blockers(embedded.namespace) == []
    assert not is_alive(hidden)


def test_half_an_environment_is_destroyed_and_made_again(embedded: EmbeddedHands) -> None:
    """A removal was cut off: the record is gone, a part of the directory is there."""
    embedded.ensure()
    embedded.dependency("postgres")
    (embedded.directory / "environment.json").unlink()

    assert embedded.runtime.blockers(embedded.namespace) != []
    assert [owned.name for owned in embedded.runtime.owned()] == [embedded.namespace]
    embedded.ensure()
    assert embedded.dependency("postgres").fresh is True
    (embedded.directory / "environment.json").write_text("{")
    embedded.runtime.destroy(embedded.namespace)

    assert embedded.runtime.blockers(embedded.namespace) == []


def test_a_dependency_that_is_killed_comes_back(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    store = embedded.dependency("postgres")
    embedded.job("act", "put", "postgres", "colour", "blue", env=dict(store.variables))
    (postmaster,) = [
        each for each in psutil.Process(record(embedded)["supervisor"]["pid"]).children() if each.name() == "postgres"
    ]

    postmaster.kill()
    until(lambda: not postmaster.is_running() or postmaster.status() == psutil.STATUS_ZOMBIE)

    assert embedded.dependency("postgres").fields == store.fields
    assert embedded.holds(store) == {"colour": "blue"}


def test_a_dependencys_port_that_was_taken_is_replaced_the_next_time(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    first = embedded.dependency("valkey")
    embedded.runtime.sleep(embedded.namespace)

    with taken(int(first.fields["port"])):
        with pytest.raises(PlatformError) as raised:
            embedded.dependency("valkey")
        assert raised.value.code == "port_in_use"
        second = embedded.dependency("valkey")

    assert second.fields["port"] != first.fields["port"]


def test_everything_stops_with_previewkit_and_starts_with_it(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    store = embedded.dependency("valkey")
    embedded.job("act", "put", "valkey", "colour", "blue", env=dict(store.variables))
    embedded.serve("hello")

    embedded.runtime.stop_all()
    assert processes_of(embedded) == []
    assert embedded.runtime.observe(embedded.namespace).asleep is False

    embedded.runtime.start_all()
    until(lambda: embedded.ask() == "hello")
    assert embedded.holds(store) == {"colour": "blue"}


def test_a_directory_too_deep_for_a_socket_works(tmp_path: Path, act_release: Path, templates: Path) -> None:
    root = tmp_path / ("deep-" * 12 + "é %(x)s") / ("down-" * 12)
    runtime = EmbeddedRuntime(root, owner="test", routes_dir=tmp_path / "routes", templates=templates)
    hands = EmbeddedHands(runtime, act_release)
    try:
        hands.ensure()
        hands.dependency("postgres")
        hands.dependency("valkey")
        hands.serve("hello")
        assert hands.ask() == "hello"
    finally:
        runtime.destroy(hands.namespace)
    assert runtime.blockers(hands.namespace) == []


def test_a_full_disk_is_called_that_and_cleared_away(tmp_path: Path, act_release: Path, templates: Path) -> None:
    """A disk of 4 MB, mounted where only the worker sees it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "large").write_bytes(b"x" * 6_000_000)
    script = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    words = ["unshare", *as_root, "--mount", "sh", "-c", script, "sh", str(tmp_path / "disk")]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")

    worker = subprocess.run(
        [*words, sys.executable, "-c", textwrap.dedent(_ON_A_FULL_DISK),
         str(tmp_path / "disk"), str(tmp_path / "release"), str(templates)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert worker.stdout.splitlines() == ["disk_full", "disk_full", "[]"], worker.stderr


_ON_A_FULL_DISK = """
    import sys
    from pathlib import Path
    from environments.ports import Artifact, PlatformError, ServiceRelease
    from environments.runtimes.embedded import EmbeddedRuntime
    from environments.spec import Dependency, Health, Resources
    disk, release, templates = map(Path, sys.argv[1:])
    runtime = EmbeddedRuntime(disk / "e", owner="test", routes_dir=disk / "r", templates=templates)
    artifact = Artifact("sha256:0", "release", str(release), None, None, None, True, 0.0)
    wanted = Dependency(recipe="postgres", name="postgres")
    service = ServiceRelease("web", 1, artifact, ("true",), {}, {}, 3000, True, Health(), Resources())
    runtime.ensure_namespace("preview-full", {})
    for attempt in (
        lambda: runtime.apply_dependency("preview-full", wanted, lambda line: None, lambda: None),
        lambda: runtime.apply_service("preview-full", service),
    ):
        try:
            attempt()
        except PlatformError as error:
            print(error.code)
    runtime.destroy("preview-full")
    print(runtime.blockers("preview-full"))
"""


# ── removal, ports ───────────────────────────────────────────────────────────────────────────────────


def test_a_read_only_directory_does_not_stop_removal(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    embedded.job("sh", "-c", 'mkdir -p "$HOME/cache/pkg" && touch "$HOME/cache/pkg/x" && chmod -R a-w "$HOME/cache"')

    embedded.runtime.destroy(embedded.namespace)

    assert embedded.runtime.blockers(embedded.namespace) == []


def test_the_next_environments_database_is_in_stock(tmp_path: Path, act_release: Path, templates: Path) -> None:
    runtime = EmbeddedRuntime(
        tmp_path / "environments", owner="test", routes_dir=tmp_path / "routes", templates=templates, spares=1
    )
    first, second = EmbeddedHands(runtime, act_release), EmbeddedHands(runtime, act_release)
    second.root = tmp_path / "environments"
    try:
        first.ensure()
        version = first.dependency("postgres").version
        spares = templates / f"postgres-{version}" / "spares"
        until(lambda: list(spares.glob("[!.]*")))
        stocked = {(spare / "PG_VERSION").stat().st_ino for spare in spares.glob("[!.]*")}
        second.ensure()
        handle = second.dependency("postgres")
        assert (second.directory / "data" / "postgres" / "PG_VERSION").stat().st_ino in stocked
        with psycopg.connect(handle.fields["url"]) as connection:
            connection.execute("CREATE TABLE mine (id int)")
    finally:
        runtime.destroy(first.namespace)
        runtime.destroy(second.namespace)


def test_a_supervisor_that_nobody_recorded_is_replaced(embedded: EmbeddedHands) -> None:
    """The worker that started it died before it could write its process id down."""
    embedded.ensure()
    embedded.serve("hello")
    stored = record(embedded)
    lost = psutil.Process(stored["supervisor"]["pid"])
    (embedded.directory / "environment.json").write_text(json.dumps({**stored, "supervisor": None}))

    embedded.apply("act", "serve", "hello")
    embedded.ready()

    assert not is_alive(lost)
    assert len(running(embedded, "serve")) == 1


def test_ports_are_leased_to_one_holder_each(tmp_path: Path) -> None:
    leases = PortLeases(tmp_path / "ports.json", 19000, 19199)
    found: list[int] = []

    def take(worker: int) -> None:
        for number in range(10):
            found.append(leases.take(f"preview-{worker}", f"service/{number}"))

    threads = [threading.Thread(target=take, args=(worker,)) for worker in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == len(found) == 50
    leases.drop("preview-3")
    assert leases.held("preview-3") == {}
    assert len(leases.held("preview-4")) == 10


def test_a_range_without_free_ports_is_said(tmp_path: Path) -> None:
    leases = PortLeases(tmp_path / "ports.json", 19500, 19500)
    leases.take("preview-1", "service/web")

    with pytest.raises(PlatformError) as raised:
        leases.take("preview-2", "service/web")

    assert raised.value.code == "port_in_use"
