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

import pytest

from environments.ports import Artifact, PlatformError
from environments.runtimes.kubernetes import ClusterSettings, KubernetesRuntime, Peer

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
