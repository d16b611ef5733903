"""What is true of the kubernetes runtime alone: diagnoses, walls, rolling over, deletion. On a real cluster."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from environments.ports import DependencyHandle, Job, PlatformError, Route, ServiceHandle, ServiceRelease, UserError
from environments.runtimes.kubernetes import KubernetesRuntime, Quota
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.pods import CONTAINER
from environments.runtimes.manifests.services import job_objects
from environments.spec import Dependency, Health, Resources
from tests.fixtures_cluster import (
    IMAGE,
    LABELS,
    cleaned,
    image,
    kubeconfig,
    namespace,
    runtime,
    settings,
    through_api,
    unique,
)

__all__ = ["kubeconfig", "namespace", "runtime"]

pytestmark = pytest.mark.cluster

SMALL = Resources(cpu=0.5, memory=96 * 1024 * 1024)
SERVER = """
import http.server, os, sys
host, port = sys.argv[1] or os.environ["HOST"], int(sys.argv[2] or os.environ["PORT"])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.end_headers()
        self.wfile.write((os.environ.get("TEXT", "") + " " + self.path).encode())
    def log_message(self, *args):
        pass
print("serving", flush=True)
http.server.ThreadingHTTPServer((host, port), Answer).serve_forever()
"""


def serve(host: str = "", port: str = "") -> tuple[str, ...]:
    return ("python3", "-c", SERVER, host, port)


def unfenced() -> None:
    """A fence that nobody has overtaken."""


def silent(line: str) -> None:
    """A log that nobody reads."""


def apply(
    runtime: KubernetesRuntime,
    namespace: str,
    command: tuple[str, ...] | str,
    *,
    name: str = "web",
    revision: int = 1,
    port: int | None = 3000,
    reference: str = IMAGE,
    resources: Resources = SMALL,
    env: dict[str, str] | None = None,
    secrets: dict[str, str] | None = None,
    health: Health | None = None,
    replicas: int = 1,
) -> ServiceHandle:
    release = ServiceRelease(
        name=name,
        revision=revision,
        artifact=image(reference),
        command=command,
        env=env or {},
        secrets=secrets or {},
        port=port,
        public=True,
        health=health or Health(),
        resources=resources,
        replicas=replicas,
    )
    return runtime.apply_service(namespace, release)


def ready(
    runtime: KubernetesRuntime, namespace: str, name: str = "web", revision: int = 1, timeout: float = 90
) -> list[str]:
    lines: list[str] = []
    runtime.wait_ready(namespace, name, revision, timeout, lines.append, unfenced)
    return lines


def depend(runtime: KubernetesRuntime, namespace: str, recipe: str, **facts: object) -> DependencyHandle:
    wanted = Dependency.model_validate({"recipe": recipe, "name": recipe, **facts})
    return runtime.apply_dependency(namespace, wanted, silent, unfenced)


def execute(runtime: KubernetesRuntime, namespace: str, labels: dict[str, str], *argv: str) -> tuple[int, str]:
    (pod, *_) = [
        each["metadata"]["name"]
        for each in runtime.api.list("Pod", namespace, lab.selector(**labels))
        if "deletionTimestamp" not in each["metadata"]
    ]
    done = runtime.api.execute(namespace, pod, CONTAINER, argv, 60, unfenced)
    return done.code, done.output.strip()


def from_web(runtime: KubernetesRuntime, namespace: str, code: str, revision: int = 1) -> str:
    """What a Python program in the pod of `web` prints."""
    labels = {lab.SERVICE: "web", lab.REVISION: str(revision)}
    return execute(runtime, namespace, labels, "python3", "-c", code)[1]


def reaches(host: str, port: int) -> str:
    return (
        "import socket\n"
        f"try:\n socket.create_connection(({host!r}, {port}), 3).close(); print('reached')\n"
        "except OSError as error: print('refused', error)\n"
    )


# ── the namespace ───────────────────────────────────────────────────────────────────────────


def test_everything_in_the_namespace_says_whose_it_is(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, serve())

    for kind in ("Deployment", "Service", "Secret", "NetworkPolicy", "ResourceQuota", "LimitRange", "ServiceAccount"):
        found = runtime.api.list(kind, namespace)
        assert found
        for each in found:
            labels = each["metadata"].get("labels", {})
            assert labels.get(lab.OWNER) == runtime.settings.owner, each["metadata"]["name"]
            assert labels["previewkit.dev/pull"] == "3"
            assert labels["previewkit.dev/repository"].startswith("local-shop-")
    (deployment,) = runtime.api.list("Deployment", namespace)
    assert deployment["metadata"]["labels"][lab.REVISION] == "1"


def test_a_foreign_namespace_is_never_touched(runtime: KubernetesRuntime, kubeconfig: str) -> None:
    # Given
    other = KubernetesRuntime(settings(), kubeconfig=kubeconfig)
    name = f"preview-test-{unique()}"
    try:
        uid = other.ensure_namespace(name, LABELS)
        # When
        with pytest.raises(PlatformError) as raised:
            runtime.ensure_namespace(name, LABELS)
        with pytest.raises(PlatformError) as applied:
            apply(runtime, name, serve())
        runtime.destroy(name)
        # Then
        assert raised.value.code == applied.value.code == "namespace_taken"
        assert name in raised.value.message
        assert runtime.blockers(name) == []
        assert not runtime.observe(name).exists
        assert other.observe(name).uid == uid
    finally:
        other.destroy(name)


def test_pods_have_no_token_no_root_and_no_privileges(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, serve())
    ready(runtime, namespace)

    seen = from_web(
        runtime,
        namespace,
        "import os; print(os.getuid(), os.path.exists('/var/run/secrets/kubernetes.io'), "
        "[line.split()[1] for line in open('/proc/self/status') if line.startswith('CapEff')], "
        "'WEB_SERVICE_HOST' in os.environ)",
    )

    assert seen == f"{runtime.settings.run_as} False ['0000000000000000'] False"


def test_a_stuck_deletion_names_what_holds_it(
    runtime: KubernetesRuntime, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setattr("environments.runtimes.kubernetes.namespaces.GONE_TIMEOUT", 12.0)
    held = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "held", "namespace": namespace, "finalizers": ["example.com/never"]},
    }
    runtime.api.create(held)
    try:
        # When
        with pytest.raises(PlatformError) as raised:
            runtime.destroy(namespace)
        # Then
        assert raised.value.code == "teardown_stuck"
        assert "example.com/never" in raised.value.message
        assert any("example.com/never" in sentence for sentence in runtime.blockers(namespace))
        with pytest.raises(PlatformError) as applied:
            apply(runtime, namespace, serve())
        assert applied.value.code == "namespace_missing"
    finally:
        runtime.api.merge("Secret", namespace, "held", {"metadata": {"finalizers": None}})
    monkeypatch.undo()
    runtime.destroy(namespace)
    assert runtime.blockers(namespace) == []


# ── walls ───────────────────────────────────────────────────────────────────────────────────


def test_two_environments_cannot_reach_one_another(runtime: KubernetesRuntime, namespace: str) -> None:
    # Given
    other = f"preview-test-{unique()}"
    runtime.ensure_namespace(other, LABELS)
    for place in (namespace, other):
        apply(runtime, place, serve(), env={"TEXT": "hello"})
    apply(runtime, namespace, serve(), name="api")
    for place, name in ((namespace, "web"), (other, "web"), (namespace, "api")):
        ready(runtime, place, name)
    theirs = runtime.address(other, "web", 1).removeprefix("http://").split(":")[0]
    (pod,) = runtime.api.list("Pod", other)

    # When, Then: its own services answer by name, so does the DNS; the other's don't, by no address
    assert from_web(runtime, namespace, reaches("api-r1", 3000)) == "reached"
    assert from_web(runtime, namespace, reaches("api", 80)) == "reached"
    assert from_web(runtime, namespace, reaches(theirs, 3000)).startswith("refused")
    assert from_web(runtime, namespace, reaches(pod["status"]["podIP"], 3000)).startswith("refused")
    assert from_web(runtime, namespace, reaches(f"web.{other}.svc.cluster.local", 3000)).startswith("refused")


def test_an_environment_cannot_reach_the_api_nor_the_metadata_address(
    runtime: KubernetesRuntime, namespace: str
) -> None:
    apply(runtime, namespace, serve())
    ready(runtime, namespace)

    for host, port in (("kubernetes.default", 443), ("169.254.169.254", 80)):
        assert from_web(runtime, namespace, reaches(host, port)).startswith("refused")


# ── diagnoses ───────────────────────────────────────────────────────────────────────────────


def failure(runtime: KubernetesRuntime, namespace: str, timeout: float = 90) -> UserError | PlatformError:
    with pytest.raises((UserError, PlatformError)) as raised:
        ready(runtime, namespace, timeout=timeout)
    return raised.value


def test_a_crash_ends_with_its_last_lines(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, "echo starting; echo SECRET_KEY is not set; exit 3")

    error = failure(runtime, namespace)

    assert error.code == "service_crashed"
    assert "exit status 3" in error.message
    assert error.log_tail == ("starting", "SECRET_KEY is not set")


def test_a_program_that_is_not_in_the_image_is_told(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, ("no-such-program",))

    error = failure(runtime, namespace)

    assert error.code == "service_crashed"
    assert "no-such-program" in error.message


def test_a_wrong_port_is_told_with_both_numbers(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, serve("0.0.0.0", "8000"))

    error = failure(runtime, namespace)

    assert error.code == "service_wrong_port"
    assert "8000" in error.message
    assert "PORT=3000" in error.message


def test_a_server_that_listens_only_to_itself_is_told(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, serve("127.0.0.1", ""))

    error = failure(runtime, namespace)

    assert error.code == "service_not_ready"
    assert "127.0.0.1:3000 only" in error.message
    assert "0.0.0.0" in error.hint


def test_an_unhealthy_service_is_told_with_what_the_probe_saw(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, serve(), env={"STATUS": "500"}, health=Health(path="/healthz"))

    error = failure(runtime, namespace, timeout=12)

    assert error.code == "service_not_ready"
    assert "/healthz" in error.message
    assert "500" in error.message


def test_an_image_that_is_not_there_is_told_at_once(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, serve(), reference="previewkit-no-such-image:1")

    began = time.monotonic()
    error = failure(runtime, namespace)

    assert error.code == "image_missing"
    assert "previewkit-no-such-image:1" in error.message
    assert time.monotonic() - began < 60


def test_too_much_memory_is_told_with_the_limit(runtime: KubernetesRuntime, namespace: str) -> None:
    eat = "print('eating', flush=True); eaten = []\nwhile True: eaten.append(b'x' * 1000000)"
    apply(runtime, namespace, ("python3", "-c", eat), resources=Resources(cpu=0.5, memory=48 * 1024 * 1024))

    error = failure(runtime, namespace)

    assert error.code == "service_out_of_memory"
    assert "48 MiB" in error.message


def test_more_than_the_quota_is_told(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, serve(), resources=Resources(cpu=0.5, memory=80 * 1024**3))

    error = failure(runtime, namespace)

    assert error.code == "quota_exceeded"
    assert "limits.memory" in error.message
    assert "resources" in error.hint


@pytest.fixture
def roomy(kubeconfig: str) -> Iterator[KubernetesRuntime]:
    """An installation whose quota is larger than the cluster, and that waits for no autoscaler."""
    quota = Quota(cpu="100000", memory="1000Ti")
    yield from cleaned(KubernetesRuntime(settings(unschedulable_after=3.0, quota=quota), kubeconfig=kubeconfig))


def test_a_service_that_fits_on_no_node_is_told(roomy: KubernetesRuntime) -> None:
    name = f"preview-test-{unique()}"
    roomy.ensure_namespace(name, LABELS)
    apply(roomy, name, serve(), resources=Resources(cpu=0.5, memory=100 * 1024**4))

    error = failure(roomy, name)

    assert error.code == "unschedulable"
    assert isinstance(error, PlatformError)
    assert "memory" in error.message


# ── jobs ────────────────────────────────────────────────────────────────────────────────────


def migrate(runtime: KubernetesRuntime, namespace: str, command: str, reference: str = IMAGE, **env: str) -> list[str]:
    lines: list[str] = []
    job = Job("web-migrate-1", "web", "migrate", image(reference), command, env, {}, SMALL, timeout=60)
    runtime.run_job(namespace, job, lines.append, unfenced)
    return lines


def test_a_job_leaves_nothing_and_runs_again_under_the_same_name(runtime: KubernetesRuntime, namespace: str) -> None:
    for word in ("first", "second", "third"):
        assert migrate(runtime, namespace, f"echo {word}") == [word]

    assert runtime.api.list("Job", namespace) == []
    assert runtime.api.list("Secret", namespace) == []


def test_a_job_whose_worker_died_is_stopped_before_the_next(runtime: KubernetesRuntime, namespace: str) -> None:
    # Given
    job = Job("web-migrate-1", "web", "migrate", image(IMAGE), "echo orphan; sleep 600", {}, {}, SMALL)
    common = {lab.OWNER: runtime.settings.owner}
    *_, orphan = [runtime.api.apply(manifest) for manifest in job_objects(runtime.settings, namespace, common, job)]
    # When
    assert migrate(runtime, namespace, "echo next") == ["next"]
    # Then
    left = runtime.api.list("Pod", namespace, f"batch.kubernetes.io/controller-uid={orphan['metadata']['uid']}")
    assert [pod for pod in left if pod["status"]["phase"] == "Running"] == []


def test_a_job_without_its_image_is_told(runtime: KubernetesRuntime, namespace: str) -> None:
    with pytest.raises(UserError) as raised:
        migrate(runtime, namespace, "true", reference="previewkit-no-such-image:1")

    assert raised.value.code == "image_missing"


# ── revisions ───────────────────────────────────────────────────────────────────────────────


def text(runtime: KubernetesRuntime, namespace: str, url: str) -> str:
    """Asked from a pod of its own in the namespace, by the name that services use."""
    return migrate(
        runtime, namespace, f"python3 -c \"import urllib.request as u; print(u.urlopen('{url}').read().decode())\""
    )[-1]


def test_a_failed_revision_that_was_routed_gives_way_to_the_kept_one(
    runtime: KubernetesRuntime, namespace: str
) -> None:
    # Given
    for revision, says in ((1, "old"), (2, "new")):
        apply(runtime, namespace, serve(), revision=revision, env={"TEXT": says})
        ready(runtime, namespace, revision=revision)
    runtime.apply_routes(namespace, 1, [Route("web.localhost", "web")])
    assert text(runtime, namespace, "http://web") == "old /"
    runtime.apply_routes(namespace, 2, [Route("web.localhost", "web")])
    assert text(runtime, namespace, "http://web:3000") == "new /"
    # When
    runtime.retire_services(namespace, keep=1)
    # Then
    assert text(runtime, namespace, "http://web:3000") == "old /"
    (ingress,) = runtime.api.list("Ingress", namespace)
    (rule,) = ingress["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == "web-r1"
    assert [each["metadata"]["name"] for each in runtime.api.list("Deployment", namespace)] == ["web-r1"]


def test_a_changed_secret_rolls_the_pods_with_the_old_one_serving(runtime: KubernetesRuntime, namespace: str) -> None:
    # Given
    apply(runtime, namespace, serve(), secrets={"TEXT": "amber"}, replicas=2)
    ready(runtime, namespace)
    assert len(runtime.api.list("Pod", namespace)) == 2
    seen: list[str | None] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(through_api(runtime, namespace, "web-r1", 3000))

    # When
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        apply(runtime, namespace, serve(), secrets={"TEXT": "green"}, replicas=2)
        ready(runtime, namespace)
    finally:
        stop.set()
        asking.join()
    # Then
    assert set(seen) <= {"amber /", "green /"}
    assert "amber /" in seen
    assert through_api(runtime, namespace, "web-r1", 3000) == "green /"
    assert "green" not in str(runtime.api.list("Deployment", namespace))


def test_a_worker_that_crashes_is_told(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, "echo no queue; sleep 0.2; exit 4", port=None)

    error = failure(runtime, namespace)

    assert error.code == "service_crashed"
    assert error.log_tail == ("no queue",)


# ── the front door ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def front_door() -> str:
    address = os.environ.get("INGRESS_HTTP", "")
    if not address:
        pytest.skip("no ingress controller: INGRESS_HTTP is not set")
    return address


def visit(front_door: str, host: str, path: str = "/", *, until: int = 200, says: str = "") -> httpx.Response:
    """An ingress controller takes routes over when it likes, and offers no event for it."""
    deadline = time.monotonic() + 30
    while True:
        answer = httpx.get(front_door + path, headers={"Host": host}, trust_env=False, timeout=10)
        if (answer.status_code == until and says in answer.text) or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


def test_no_visitor_is_lost_when_the_revision_changes(
    runtime: KubernetesRuntime, namespace: str, front_door: str
) -> None:
    # Given
    host = f"web-{namespace}.preview.localhost"
    for revision in (1, 2):
        apply(runtime, namespace, serve(), revision=revision, env={"TEXT": f"revision {revision}"})
        ready(runtime, namespace, revision=revision)
    runtime.apply_routes(namespace, 1, [Route(host, "web")])
    visit(front_door, host)
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def keep_visiting() -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not stop.is_set():
                answer = client.get(front_door, headers={"Host": host})
                answers.append((answer.status_code, answer.text))

    visiting = threading.Thread(target=keep_visiting)
    visiting.start()
    # When
    try:
        runtime.apply_routes(namespace, 2, [Route(host, "web")])
        runtime.retire_services(namespace, keep=2)
        visit(front_door, host, says="revision 2")
        old = lab.selector(**{lab.SERVICE: "web", lab.REVISION: "1"})
        deadline = time.monotonic() + 30
        while runtime.api.list("Pod", namespace, old):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        stop.set()
        visiting.join()
    # Then
    assert {status for status, _ in answers} == {200}
    assert answers[-1][1] == "revision 2 /"


def test_visitors_come_in_by_the_ingress_and_only_to_public_ports(
    runtime: KubernetesRuntime, namespace: str, front_door: str
) -> None:
    host = f"web-{namespace}.preview.localhost"
    apply(runtime, namespace, serve(), env={"TEXT": "hello"})
    ready(runtime, namespace)

    runtime.apply_routes(namespace, 1, [Route(host, "web")])

    assert visit(front_door, host, "/path?q=1").text == "hello /path?q=1"
    assert runtime.observe(namespace).hosts == (host,)
    runtime.destroy(namespace)
    assert visit(front_door, host, until=404).status_code == 404


def test_a_gateway_routes_by_path_and_follows_the_routed_revision(
    runtime: KubernetesRuntime, namespace: str, front_door: str
) -> None:
    # Given
    routes = [
        {"path": "/api", "to": "services.api", "strip_prefix": True},
        {"path": "/old", "to": "services.api", "rewrite": "/new"},
    ]
    depend(runtime, namespace, "api-gateway", options={"routes": routes, "default": "services.web"})
    host = f"gateway-{namespace}.preview.localhost"
    for revision in (1, 2):
        # When
        for name in ("web", "api"):
            apply(runtime, namespace, serve(), name=name, revision=revision, env={"TEXT": f"{name}{revision}"})
            ready(runtime, namespace, name, revision)
        runtime.apply_routes(namespace, revision, [Route(host, "api-gateway")])
        for path, name in (("/", "web"), ("/api/", "api")):
            visit(front_door, host, path, says=f"{name}{revision} /")
        # Then
        paths = ("/", "/x", "/api/x?q=1", "/apiary", "/old/x")
        seen = [visit(front_door, host, path).text for path in paths]
        web, api = f"web{revision}", f"api{revision}"
        assert seen == [f"{web} /", f"{web} /x", f"{api} /x?q=1", f"{web} /apiary", f"{api} /new/x"]
        runtime.retire_services(namespace, keep=revision)
    assert httpx.get(front_door, headers={"Host": host}, trust_env=False).headers["X-Gateway"] == "api-gateway"


# ── recipes ─────────────────────────────────────────────────────────────────────────────────


def inside(runtime: KubernetesRuntime, namespace: str, name: str, script: str) -> str:
    code, output = execute(runtime, namespace, {lab.DEPENDENCY: name}, "sh", "-ec", script)
    assert code == 0, output
    return output


def test_postgres_has_its_databases_and_extensions(runtime: KubernetesRuntime, namespace: str) -> None:
    options = {"databases": ["shop", "audit-log"], "extensions": ["pgcrypto"]}
    handle = depend(runtime, namespace, "postgres", version="15", options=options)

    psql = 'psql -qtAX -U "$POSTGRES_USER"'
    assert handle.version.startswith("15.")
    assert handle.fields["database"] == "shop"
    for database in ("shop", "audit-log"):
        extensions = inside(runtime, namespace, "postgres", f"{psql} {database} -c 'SELECT extname FROM pg_extension'")
        assert "pgcrypto" in extensions.split()
    # An option that is added later is fulfilled too, and the data stays.
    inside(runtime, namespace, "postgres", f"{psql} shop -c 'CREATE TABLE kept ()'")
    again = depend(runtime, namespace, "postgres", version="15", options={**options, "databases": ["shop", "more"]})
    assert not again.fresh
    assert "kept" in inside(runtime, namespace, "postgres", f"{psql} shop -c '\\dt'")
    assert inside(runtime, namespace, "postgres", f"{psql} more -c 'SELECT 1'") == "1"


@pytest.mark.parametrize(("recipe", "version", "cli"), [("redis", "7", "redis-cli"), ("valkey", "7", "valkey-cli")])
def test_every_version_restores_a_snapshot(
    runtime: KubernetesRuntime, namespace: str, recipe: str, version: str, cli: str
) -> None:
    handle = depend(runtime, namespace, recipe, version=version, options={"maxmemory": "64mb"})
    inside(runtime, namespace, recipe, f"{cli} SET colour blue")
    runtime.snapshot(namespace, [recipe], "seeded")
    inside(runtime, namespace, recipe, f"{cli} SET colour red; {cli} SET size large")

    runtime.restore(namespace, [recipe], "seeded")

    assert inside(runtime, namespace, recipe, f"{cli} GET colour; {cli} EXISTS size").split() == ["blue", "0"]
    assert handle.version.startswith("7.")
    assert "67108864" in inside(runtime, namespace, recipe, f"{cli} CONFIG GET maxmemory")


def test_temporal_has_its_namespace_and_restores_a_snapshot(runtime: KubernetesRuntime, namespace: str) -> None:
    depend(runtime, namespace, "temporal", options={"namespace": "shop"})
    ask = "temporal --address 127.0.0.1:7233"
    start = f"{ask} workflow start -n shop --type Order --task-queue orders --workflow-id"
    inside(runtime, namespace, "temporal", f"{start} kept")
    runtime.snapshot(namespace, ["temporal"], "seeded")
    inside(runtime, namespace, "temporal", f"{start} lost")

    runtime.restore(namespace, ["temporal"], "seeded")

    inside(runtime, namespace, "temporal", f"{ask} workflow describe -n shop -w kept")
    code, _ = execute(
        runtime, namespace, {lab.DEPENDENCY: "temporal"}, "sh", "-c", f"{ask} workflow describe -n shop -w lost"
    )
    assert code != 0
    (state,) = runtime.observe(namespace).dependencies
    assert (state.state, state.restarts) == ("running", 0)


def test_any_image_can_be_a_dependency(runtime: KubernetesRuntime, namespace: str) -> None:
    options = {
        "image": IMAGE,
        "port": 9000,
        "volume": "/kept",
        "command": ["python3", "-c", SERVER, "0.0.0.0", "9000"],
        "secret_env": {"TEXT": "{password}"},
        "variables": {"SEARCH_URL": "http://{host}:{port}", "SEARCH_KEY": "{password}"},
        "ready": {"path": "/health"},
    }
    handle = depend(runtime, namespace, "image", name="search", options=options)
    apply(runtime, namespace, serve(), env=dict(handle.variables))
    ready(runtime, namespace)

    seen = from_web(
        runtime,
        namespace,
        "import os, urllib.request as u; print(u.urlopen(os.environ['SEARCH_URL'] + '/x').read().decode())",
    )

    assert seen == f"{handle.fields['password']} /x"
    assert handle.variables["SEARCH_URL"] == "http://search:9000"


def test_a_version_that_does_not_exist_is_told(runtime: KubernetesRuntime, namespace: str) -> None:
    with pytest.raises(UserError) as raised:
        depend(runtime, namespace, "postgres", version="15.999")

    assert raised.value.code == "image_missing"
    assert "postgres:15.999" in raised.value.message


def test_a_volume_that_nobody_provides_is_told(kubeconfig: str) -> None:
    wanted = settings(storage_class="no-such-class", unschedulable_after=4.0)
    for without in cleaned(KubernetesRuntime(wanted, kubeconfig=kubeconfig)):
        name = f"preview-test-{unique()}"
        without.ensure_namespace(name, LABELS)
        with pytest.raises(PlatformError) as raised:
            depend(without, name, "valkey", version="8")
        assert raised.value.code == "volume_pending"
        assert "storage class" in raised.value.hint
