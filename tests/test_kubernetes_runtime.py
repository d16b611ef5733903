"""What is true of the kubernetes runtime alone: diagnoses, walls, rolling over, deletion. On a real cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from environments.ports import DependencyHandle, PlatformError, ServiceHandle, ServiceRelease, UserError
from environments.runtimes.kubernetes import KubernetesRuntime, Quota
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.pods import CONTAINER
from environments.spec import Dependency, Health, Resources
from tests.fixtures_cluster import IMAGE, LABELS, cleaned, image, kubeconfig, namespace, runtime, settings, unique

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
