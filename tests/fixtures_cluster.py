"""A real cluster for tests: any that KUBECONFIG names. Where there is none, these tests are skipped.

| variable | what | without it |
| --- | --- | --- |
| KUBECONFIG | the cluster; the account may make namespaces | skipped; with REQUIRE_CLUSTER set, an error |
| INGRESS_HTTP | `http://host:port` at which the ingress controller of class INGRESS_CLASS (`traefik`) is reached | tests of real routes are skipped |
| INGRESS_CONTROLLER | `namespace/label=value` of its pods | `kube-system/app.kubernetes.io/name=traefik` |

Images that the nodes must be able to pull: python:3.11-slim, postgres:15, valkey/valkey:8, nginx:1,
temporalio/temporal:latest, redis:7. Every namespace has a unique name and is deleted at the end.
"""  # noqa: E501

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from environments.ports import Artifact, DependencyHandle, PlatformError, ServiceHandle
from environments.runtimes.kubernetes import ClusterSettings, KubernetesRuntime, Peer
from environments.runtimes.kubernetes.kinds import path_of
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.labels import revision_name
from environments.runtimes.manifests.pods import CONTAINER
from environments.spec import Resources
from tests.fixtures_runtimes import ACT, Hands, unfenced

IMAGE = "python:3.11-slim"
LABELS = {"environment": "7", "repository": "local/shop", "pull": "3"}


def image(reference: str, user: int | None = None) -> Artifact:
    """What a builder leaves on this runtime."""
    return Artifact(
        digest="sha256:0",
        kind="image",
        location=reference,
        start=None,
        migrate=None,
        seed=None,
        cache_hit=True,
        seconds=0.0,
        user=user,
    )


def unique() -> str:
    return uuid.uuid4().hex[:12]


def ingress_controller() -> Peer:
    where, _, label = os.environ.get("INGRESS_CONTROLLER", "kube-system/app.kubernetes.io/name=traefik").partition("/")
    name, _, value = label.partition("=")
    return Peer(where, {name: value})


def settings(**facts: object) -> ClusterSettings:
    """Of an installation of its own, so that tests beside one another do not see each other's namespaces."""
    defaults: dict[str, object] = {
        "owner": f"test-{unique()}",
        "grace": 1,
        "ingress_class": os.environ.get("INGRESS_CLASS", "traefik"),
        "ingress_controller": ingress_controller(),
    }
    return ClusterSettings(**{**defaults, **facts})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """Path of the cluster's kubeconfig; the cluster answers."""
    path = os.environ.get("KUBECONFIG", "")
    if not path:
        if os.environ.get("REQUIRE_CLUSTER"):
            pytest.fail("REQUIRE_CLUSTER is set, but KUBECONFIG is not")
        pytest.skip("no cluster: KUBECONFIG is not set")
    try:
        KubernetesRuntime(settings(), kubeconfig=path).owned()
    except PlatformError as error:
        if os.environ.get("CI") or os.environ.get("REQUIRE_CLUSTER"):
            raise
        pytest.skip(f"the cluster of KUBECONFIG does not answer: {error}")
    return path


@pytest.fixture
def runtime(kubeconfig: str) -> Iterator[KubernetesRuntime]:
    yield from cleaned(KubernetesRuntime(settings(), kubeconfig=kubeconfig))


def cleaned(runtime: KubernetesRuntime) -> Iterator[KubernetesRuntime]:
    """Afterwards nothing of it is in the cluster."""
    try:
        yield runtime
    finally:
        left = [owned.name for owned in runtime.owned()]
        for name in left:
            runtime.destroy(name)
    assert [problem for name in left for problem in runtime.blockers(name)] == []


@pytest.fixture
def namespace(runtime: KubernetesRuntime) -> str:
    name = f"preview-test-{unique()}"
    runtime.ensure_namespace(name, {**LABELS, "owner": runtime.settings.owner})
    return name


def through_api(runtime: KubernetesRuntime, namespace: str, service: str, port: int) -> str | None:
    """What a Service answers, by the API's proxy: from wherever the cluster's API is reached. None: nothing."""
    client = runtime.api.client
    path = f"{path_of('Service', namespace, f'{service}:{port}')}/proxy/"
    headers: dict[str, str] = {}
    client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
    try:
        answer = client.rest_client.pool_manager.request(
            "GET", client.configuration.host + path, headers=headers, retries=False, timeout=10.0
        )
    except urllib3.exceptions.HTTPError:
        return None
    return str(answer.data.decode()) if answer.status < 500 else None


# ── the Runtime contract's hands ────────────────────────────────────────────────────────────


PROGRAM = ACT.format(python="python3").replace("127.0.0.1", "0.0.0.0")
PUT = {
    "postgres": (
        "postgres:15",
        """psql -q "$DATABASE_URL" -c 'CREATE TABLE IF NOT EXISTS held (key text PRIMARY KEY, value text)' \\
        -c "INSERT INTO held VALUES ('$1', '$2') ON CONFLICT (key) DO UPDATE SET value = excluded.value" """,
    ),
    "valkey": (
        "valkey/valkey:8",
        """address=${REDIS_URL##*@} secret=${REDIS_URL%@*}
        export REDISCLI_AUTH="${secret##*:}"
        valkey-cli -h "${address%%:*}" SET "$1" "$2" | grep -q OK""",
    ),
}
VERSIONS = {"postgres": "15", "valkey": "8"}
HELD = {
    "postgres": """psql -qtAX -F ' ' -U "$POSTGRES_USER" "$POSTGRES_DB" -c 'SELECT key, value FROM held'""",
    "valkey": """for key in $(valkey-cli KEYS '*'); do echo "$key $(valkey-cli GET "$key")"; done""",
}
SMALL = Resources(cpu=0.5, memory=128 * 1024 * 1024)
PATIENCE = 90.0
"""Where a test waits 20 s for a process: the cluster may have images to pull, and other tests to run."""


class KubernetesHands(Hands):
    """`act` runs from the command line in a Python image; what is asked from outside goes by the API's proxy, so
    that any cluster will do."""

    runtime: KubernetesRuntime

    def apply(self, *command: str, **facts: Any) -> ServiceHandle:
        return super().apply(*_in_image(command), **{"resources": SMALL, **facts})

    def job(self, *command: str, **facts: Any) -> None:
        self.artifact = image(IMAGE)
        if command[:2] != ("act", "put"):
            return super().job(*_in_image(command), **{"resources": SMALL, **facts})
        reference, script = PUT[command[2]]
        self.artifact = image(reference)
        try:
            return super().job("sh", "-ec", script, "put", *command[3:], **{"resources": SMALL, **facts})
        finally:
            self.artifact = image(IMAGE)

    def dependency(self, recipe: str, **facts: object) -> DependencyHandle:
        return super().dependency(recipe, **{"version": VERSIONS.get(recipe), **facts})

    def ready(self, name: str = "web", revision: int = 1, timeout: float = PATIENCE, **facts: Any) -> None:
        super().ready(name, revision, timeout, **facts)

    def ask(self, name: str = "web", revision: int = 1) -> str | None:
        found = self.runtime.api.get("Service", self.namespace, revision_name(name, revision))
        if found is None:
            return None
        port = found["spec"]["ports"][0]["port"]
        return through_api(self.runtime, self.namespace, found["metadata"]["name"], port)

    def visit(self, host: str) -> str | None:
        """As the ingress controller would: by the rules of the Ingress."""
        for ingress in self.runtime.api.list("Ingress", self.namespace):
            for rule in ingress["spec"]["rules"]:
                if rule["host"] == host:
                    service = rule["http"]["paths"][0]["backend"]["service"]
                    return through_api(self.runtime, self.namespace, service["name"], service["port"]["number"])
        return None

    def holds(self, handle: DependencyHandle) -> dict[str, str]:
        (pod,) = self.runtime.api.list("Pod", self.namespace, lab.selector(**{lab.DEPENDENCY: handle.name}))
        argv = ("sh", "-ec", HELD[handle.recipe])
        done = self.runtime.api.execute(self.namespace, pod["metadata"]["name"], CONTAINER, argv, 60, unfenced)
        assert done.code == 0, done.output
        return dict(line.split(" ", 1) for line in done.output.splitlines())


def _in_image(command: tuple[str, ...]) -> tuple[str, ...]:
    return ("python3", "-c", PROGRAM, *command[1:]) if command[:1] == ("act",) else command


@pytest.fixture
def kubernetes(kubeconfig: str, act_release: Path) -> Iterator[KubernetesHands]:
    for runtime in cleaned(KubernetesRuntime(settings(), kubeconfig=kubeconfig)):
        hands = KubernetesHands(runtime, act_release)
        hands.artifact = image(IMAGE)
        hands.labels = {**hands.labels, "owner": runtime.settings.owner}
        yield hands
