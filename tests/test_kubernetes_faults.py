"""A cluster that is slow, overloaded, unwilling or gone: the right family of error, retried where it can help."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from environments.ports import PlatformError, Superseded, UserError
from environments.runtimes.kubernetes import KubernetesRuntime, api
from environments.runtimes.kubernetes.api import connect
from environments.runtimes.manifests import labels as lab
from tests.api_proxy import Trouble, misbehaving, with_token, write_kubeconfig
from tests.fixtures_cluster import LABELS, cleaned, kubeconfig, namespace, runtime, settings, unique
from tests.test_kubernetes_runtime import apply, failure, ready, serve, silent

__all__ = ["kubeconfig", "namespace", "runtime"]

pytestmark = pytest.mark.cluster


@pytest.fixture
def proxied(kubeconfig: str, tmp_path: Path) -> Iterator[tuple[KubernetesRuntime, Trouble]]:
    """A runtime whose way to the cluster can be made bad."""
    with misbehaving(kubeconfig, tmp_path) as (config, trouble):
        for runtime in cleaned(KubernetesRuntime(settings(), kubeconfig=config)):
            yield runtime, trouble
            trouble.next.clear()
            trouble.cut_after = None


@pytest.mark.parametrize("storm", [[429, 429], [500, 503, 500], [429, 500, 504]])
def test_a_storm_that_passes_is_not_noticed(proxied: tuple[KubernetesRuntime, Trouble], storm: list[int]) -> None:
    runtime, trouble = proxied
    name = f"preview-test-{unique()}"
    trouble.next.extend(storm)

    uid = runtime.ensure_namespace(name, LABELS)

    assert runtime.observe(name).uid == uid
    assert not trouble.next


def test_a_server_that_asks_for_time_gets_it(proxied: tuple[KubernetesRuntime, Trouble]) -> None:
    runtime, trouble = proxied
    trouble.next.extend([429, 429])

    began = time.monotonic()
    runtime.owned()

    assert time.monotonic() - began >= 2  # Retry-After: 1, twice


def test_a_storm_that_stays_is_the_platforms_error(proxied: tuple[KubernetesRuntime, Trouble]) -> None:
    runtime, trouble = proxied
    trouble.next.extend([503] * 20)

    with pytest.raises(PlatformError) as raised:
        runtime.owned()

    assert raised.value.code == "runtime_unavailable"
    assert "503" in raised.value.message


def test_a_slow_server_is_waited_for_and_a_silent_one_is_not(
    proxied: tuple[KubernetesRuntime, Trouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, trouble = proxied
    monkeypatch.setattr(api, "READ_TIMEOUT", 2.0)
    trouble.next.append(1.0)
    assert runtime.owned() == []

    trouble.next.extend([4.0] * 3)
    with pytest.raises(PlatformError) as raised:
        runtime.owned()

    assert raised.value.code == "runtime_unavailable"


def test_watches_that_break_off_go_on_where_they_were(proxied: tuple[KubernetesRuntime, Trouble]) -> None:
    runtime, trouble = proxied
    trouble.cut_after = 0.5
    name = f"preview-test-{unique()}"
    runtime.ensure_namespace(name, LABELS)
    apply(runtime, name, ("sh", "-c", 'for i in 1 2 3 4; do echo line $i; sleep 1; done; exec "$@"', *serve_words()))

    lines = ready(runtime, name)

    assert lines == ["line 1", "line 2", "line 3", "line 4", "serving"]
    watches = [path for method, path in trouble.seen if "watch=" in path and "/pods" in path]
    assert len(watches) > 3
    assert sum("resourceVersion=" in path for path in watches) >= len(watches) - 2


def serve_words() -> tuple[str, ...]:
    return ("sh", *serve())


def test_a_wait_costs_the_same_however_long_it_takes(proxied: tuple[KubernetesRuntime, Trouble]) -> None:
    """No polling: what is asked does not grow with time."""
    runtime, trouble = proxied
    name = f"preview-test-{unique()}"
    runtime.ensure_namespace(name, LABELS)
    before = len(trouble.seen)
    apply(runtime, name, ("sh", "-c", 'sleep 8; exec "$@"', *serve_words()), port=None)
    ready(runtime, name)

    assert len(trouble.seen) - before <= 14


def test_credentials_that_expired_are_told(kubeconfig: str, tmp_path: Path) -> None:
    config = with_token(kubeconfig, tmp_path / "expired", "expired")

    with pytest.raises(PlatformError) as raised:
        KubernetesRuntime(settings(), kubeconfig=config).owned()

    assert raised.value.code == "cluster_credentials"
    assert "expired" in raised.value.hint


def test_credentials_that_were_renewed_are_read_anew(kubeconfig: str, tmp_path: Path) -> None:
    # Given
    config = with_token(kubeconfig, tmp_path / "renewed", "expired")
    runtime = KubernetesRuntime(settings(), kubeconfig=config)
    # When
    Path(config).write_text(Path(kubeconfig).read_text())
    # Then
    assert runtime.owned() == []


def test_a_cluster_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "RETRIES", api.RETRIES.new(connect=1, total=1))
    config = write_kubeconfig(tmp_path / "gone", "https://127.0.0.1:1", {"token": "x"})

    with pytest.raises(PlatformError) as raised:
        KubernetesRuntime(settings(), kubeconfig=config).owned()

    assert raised.value.code == "runtime_unavailable"
    assert "API server" in raised.value.hint


def test_a_kubeconfig_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as raised:
        KubernetesRuntime(settings(), kubeconfig=str(tmp_path / "none"))

    assert raised.value.code == "cluster_credentials"


# ── admission ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def policy(runtime: KubernetesRuntime) -> Iterator[None]:
    """A policy of the cluster that allows no pod of this installation to be called web."""
    name = f"test-{unique()}"
    selector = {"matchLabels": {lab.OWNER: runtime.settings.owner}}
    client = connect()
    root = f"{client.configuration.host}/apis/admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    denies = f"!('{lab.SERVICE}' in object.metadata.labels) || object.metadata.labels['{lab.SERVICE}'] != 'web'"
    objects = {
        "validatingadmissionpolicies": {
            "failurePolicy": "Fail",
            "matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]},
            "validations": [{"expression": denies, "message": "pods called web are not allowed here"}],
        },
        "validatingadmissionpolicybindings": {"policyName": name, "validationActions": ["Deny"]},
    }
    kinds = {
        "validatingadmissionpolicies": "ValidatingAdmissionPolicy",
        "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
    }
    try:
        for plural, spec in objects.items():
            body = {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kinds[plural],
                "metadata": {"name": name},
                "spec": spec,
            }
            answer = client.rest_client.pool_manager.request("POST", f"{root}/{plural}", json=body)
            assert answer.status == 201, answer.data
        yield
    finally:
        for plural in objects:
            client.rest_client.pool_manager.request("DELETE", f"{root}/{plural}/{name}")
        client.rest_client.close()


def test_what_the_clusters_policy_rejects_is_told(runtime: KubernetesRuntime, namespace: str, policy: None) -> None:
    deadline = time.monotonic() + 60
    # A policy is in force some seconds after it was made.
    for revision in range(1, 60):
        apply(runtime, namespace, serve(), revision=revision)
        try:
            runtime.wait_ready(namespace, "web", revision, 60, silent, lambda: None)
        except UserError as error:
            assert error.code == "admission_rejected"
            assert "pods called web are not allowed here" in error.message
            return
        assert time.monotonic() < deadline, "the policy did not come into force"


# ── many at once ────────────────────────────────────────────────────────────────────────────


def test_a_wait_that_is_overtaken_leaves_no_thread(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, ("sleep", "600"))
    before = threading.active_count()

    def fence() -> None:
        raise Superseded

    with pytest.raises(Superseded):
        runtime.wait_ready(namespace, "web", 1, 60, silent, fence)

    assert threading.active_count() == before


def test_a_namespace_that_goes_during_a_wait_ends_it(runtime: KubernetesRuntime, namespace: str) -> None:
    apply(runtime, namespace, ("sleep", "600"))
    remove = threading.Thread(target=runtime.destroy, args=(namespace,))
    remove.start()
    try:
        error = failure(runtime, namespace, timeout=120)
    finally:
        remove.join()

    assert error.code in ("namespace_missing", "runtime_unavailable")
