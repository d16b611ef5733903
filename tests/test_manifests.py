"""Kubernetes objects from what is wanted: pure, so every rule is looked at without a cluster."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest

from environments.ports import Artifact, Job, RecipeContext, ServiceRelease
from environments.recipes import RECIPES, recipe_for
from environments.recipes.gateway_nginx import config
from environments.recipes.gateway_routes import GatewayRoute
from environments.runtimes.kubernetes.kinds import KINDS, path_of
from environments.runtimes.kubernetes.listening import Listener, parse, said
from environments.runtimes.kubernetes.refusals import refusal
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests import namespace as walls
from environments.runtimes.manifests import routes, services
from environments.runtimes.manifests.dependencies import Placed, dependency_objects
from environments.runtimes.manifests.labels import Manifest
from environments.runtimes.manifests.pods import After
from environments.runtimes.manifests.routes import Backend
from environments.runtimes.manifests.settings import ClusterSettings, Peer
from environments.spec import Dependency, Health, Resources

SETTINGS = ClusterSettings(owner="here")
COMMON = lab.environment_labels("here", {"repository": "local/shop", "environment": "7", "pull": "3"})
NAMESPACE = "preview-shop-3-0123abcd"
ARTIFACT = Artifact("sha256:0", "image", "registry/shop@sha256:1", None, None, None, True, 0.0)
RELEASE = ServiceRelease(
    name="web",
    revision=7,
    artifact=ARTIFACT,
    command=("node", "server.js"),
    env={"DATABASE_URL": "postgresql://preview:hidden@postgres/preview"},
    secrets={"STRIPE_KEY": "sk_1"},
    port=3000,
    public=True,
    health=Health(path="/healthz"),
    resources=Resources(cpu=0.5, memory=512 * 1024 * 1024),
    replicas=2,
)
JOB = Job("web-migrate-7", "web", "migrate", ARTIFACT, "python manage.py migrate", {"A": "b"}, {}, Resources())
AFTER = After("postgres:15", 999, ("postgres:5432",))


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def service_objects(release: ServiceRelease = RELEASE, settings: ClusterSettings = SETTINGS) -> list[Manifest]:
    return services.service_objects(settings, NAMESPACE, COMMON, release, AFTER)


def pod_of(manifest: Manifest) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def dependency(name: str) -> list[Manifest]:
    options = {"image": "busybox", "volume": "/data", "secret_env": {"KEY": "{password}"}} if name == "image" else {}
    recipe, wanted = recipe_for(name), Dependency(recipe=name, name=name, options=options)
    recipe.check(wanted)
    ports = recipe.container_ports(wanted)
    workload = recipe.workload(RecipeContext(wanted, name, ports, "hidden"))
    return dependency_objects(SETTINGS, NAMESPACE, COMMON, Placed(name, name, ports, workload))


def everything() -> list[Manifest]:
    return [
        *walls.walls(SETTINGS, NAMESPACE, COMMON),
        *service_objects(),
        *services.job_objects(SETTINGS, NAMESPACE, COMMON, JOB, AFTER),
        *(manifest for name in RECIPES for manifest in dependency(name)),
        *routes.routes(SETTINGS, NAMESPACE, COMMON, 7, [Backend("web.localhost", "web", "web-r7", 3000)]),
    ]


# ── what all have ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("manifest", everything(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_every_object_is_labelled_and_can_be_applied(manifest: Manifest) -> None:
    labels = manifest["metadata"]["labels"]
    assert COMMON.items() <= labels.items()
    assert manifest["metadata"]["namespace"] == NAMESPACE
    assert KINDS[manifest["kind"]].version == manifest["apiVersion"]
    assert all(len(value) <= 63 for value in labels.values())
    json.dumps(manifest)


@pytest.mark.parametrize(
    "manifest", [each for each in everything() if "template" in each.get("spec", {})], ids=lambda each: each["kind"]
)
def test_every_pod_is_restricted_and_has_no_rights(manifest: Manifest) -> None:
    """Pod Security Standards, restricted."""
    pod = pod_of(manifest)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["containers"], *pod.get("initContainers", [])):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"limits", "requests"} == set(container["resources"])


def test_no_credential_stands_outside_of_a_secret() -> None:
    for manifest in everything():
        if manifest["kind"] != "Secret":
            assert "hidden" not in json.dumps(manifest), manifest["metadata"]["name"]
            assert "sk_1" not in json.dumps(manifest)


# ── labels ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["shop", "7", "", "a.b_c-d"])
def test_a_text_that_can_be_a_label_is_one(text: str) -> None:
    assert lab.label_value(text) == text


def test_texts_that_cannot_be_labels_stay_different() -> None:
    texts = ["acme/shop", "acme-shop!", "acme shop", "x" * 64, "x" * 65, "-", "é"]
    values = {lab.label_value(text) for text in texts}
    assert len(values) == len(texts)
    assert all(lab.label_value(value) == value for value in values)


def test_the_namespace_keeps_the_texts_themselves() -> None:
    manifest = walls.namespace(SETTINGS, NAMESPACE, {"repository": "acme/shop"})
    assert manifest["metadata"]["annotations"]["previewkit.dev/repository"] == "acme/shop"
    assert manifest["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert manifest["metadata"]["labels"][lab.OWNER] == "here"


# ── walls ───────────────────────────────────────────────────────────────────────────────────


def policies(settings: ClusterSettings = SETTINGS) -> dict[str, Manifest]:
    found = walls.network_policies(settings, NAMESPACE, COMMON)
    return {each["metadata"]["name"]: each["spec"] for each in found}


def test_everything_is_denied_but_what_is_needed() -> None:
    found = policies()
    assert set(found) == {"default-deny", "within", "dns", "internet", "front-door"}
    assert found["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert found["front-door"]["podSelector"] == {"matchLabels": {lab.PUBLIC: "true"}}
    assert found["front-door"]["policyTypes"] == ["Ingress"]


def test_the_internet_is_not_the_clusters_own_networks() -> None:
    settings = replace(SETTINGS, blocked_networks=("203.0.113.7/32", "2001:db8::/32"))
    four, six = [each["ipBlock"] for each in policies(settings)["internet"]["egress"][0]["to"]]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "203.0.113.7/32"} <= set(four["except"])
    assert {"fc00::/7", "fe80::/10", "2001:db8::/32"} <= set(six["except"])


def test_the_control_plane_is_let_in_where_it_lives_in_the_cluster() -> None:
    found = policies(replace(SETTINGS, control_plane=Peer("previewkit", {"app": "previewkit"})))["control-plane"]
    (peer,) = found["ingress"][0]["from"]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "previewkit"}}
    assert peer["podSelector"] == {"matchLabels": {"app": "previewkit"}}


def test_a_registrys_credentials_reach_every_pod() -> None:
    found = walls.walls(replace(SETTINGS, pull_secret='{"auths": {}}'), NAMESPACE, COMMON)
    secret, account = of_kind(found, "Secret"), of_kind(found, "ServiceAccount")
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert b64decode(secret["data"][".dockerconfigjson"]) == b'{"auths": {}}'
    assert account["metadata"]["name"] == "default"
    assert account["imagePullSecrets"] == [{"name": secret["metadata"]["name"]}]


# ── services ────────────────────────────────────────────────────────────────────────────────


def test_a_revision_has_objects_of_its_own() -> None:
    found = service_objects()
    assert {each["metadata"]["name"] for each in found} == {"web-r7"}
    deployment = of_kind(found, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert deployment["spec"]["selector"]["matchLabels"] == of_kind(found, "Service")["spec"]["selector"]


def test_a_secrets_value_changes_the_pods_and_nothing_else_does() -> None:
    def template(release: ServiceRelease) -> Manifest:
        found: Manifest = of_kind(service_objects(release), "Deployment")["spec"]["template"]
        return found

    assert template(RELEASE) == template(replace(RELEASE, replicas=3))
    assert template(RELEASE) != template(replace(RELEASE, secrets={"STRIPE_KEY": "sk_2"}))


def test_variables_end_with_what_the_runtime_decides() -> None:
    release = replace(RELEASE, env={"PORT": "1", "HOST": "::", "STRIPE_KEY": "env"})
    values = {
        name: b64decode(text).decode() for name, text in of_kind(service_objects(release), "Secret")["data"].items()
    }
    assert values["PORT"] == "3000"
    assert values["HOST"] == "::"
    assert values["STRIPE_KEY"] == "sk_1"


def test_health_is_asked_as_written_and_else_the_port() -> None:
    asked = pod_of(of_kind(service_objects(), "Deployment"))["containers"][0]
    port = pod_of(of_kind(service_objects(replace(RELEASE, health=Health())), "Deployment"))["containers"][0]
    assert asked["readinessProbe"]["httpGet"]["path"] == "/healthz"
    assert {"name": "Host", "value": "127.0.0.1:3000"} in asked["readinessProbe"]["httpGet"]["httpHeaders"]
    assert port["readinessProbe"]["tcpSocket"] == {"port": "http"}
    assert asked["startupProbe"]["failureThreshold"] > Health().timeout
    assert "livenessProbe" not in asked


def test_a_worker_has_no_address_and_must_stay_up() -> None:
    found = service_objects(replace(RELEASE, port=None))
    deployment = of_kind(found, "Deployment")
    assert [each["kind"] for each in found] == ["Secret", "Deployment"]
    assert deployment["spec"]["minReadySeconds"] == services.WORKER_ALIVE
    assert "ports" not in pod_of(deployment)["containers"][0]
    assert lab.PUBLIC not in deployment["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize(
    ("command", "runs"),
    [(("node", "x y"), ["node", "x y"]), ("echo $PORT", ["sh", "-c", "echo $PORT"]), ((), None)],
)
def test_a_command_is_run_as_it_is_written(command: tuple[str, ...] | str, runs: list[str] | None) -> None:
    deployment = of_kind(service_objects(replace(RELEASE, command=command)), "Deployment")
    assert pod_of(deployment)["containers"][0].get("command") == runs


def test_an_images_own_user_is_kept() -> None:
    release = replace(RELEASE, artifact=replace(ARTIFACT, user=1000))
    assert pod_of(of_kind(service_objects(release), "Deployment"))["securityContext"]["runAsUser"] == 1000


def test_under_baseline_an_image_may_run_as_root() -> None:
    settings = replace(SETTINGS, pod_security="baseline")
    pod = pod_of(of_kind(service_objects(settings=settings), "Deployment"))
    assert "runAsNonRoot" not in pod["securityContext"]
    assert walls.namespace(settings, NAMESPACE, {})["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == (
        "baseline"
    )


def test_programs_wait_for_what_they_need() -> None:
    for manifest in (
        of_kind(service_objects(), "Deployment"),
        services.job_objects(SETTINGS, "n", COMMON, JOB, AFTER)[1],
    ):
        (first,) = pod_of(manifest)["initContainers"]
        assert first["image"] == "postgres:15"
        assert first["command"][-1] == "postgres:5432"
        assert first["securityContext"]["runAsUser"] == 999


def test_a_job_runs_once() -> None:
    job = of_kind(services.job_objects(SETTINGS, NAMESPACE, COMMON, JOB), "Job")
    assert job["spec"]["backoffLimit"] == 0
    assert pod_of(job)["restartPolicy"] == "Never"
    assert pod_of(job)["containers"][0]["command"] == ["sh", "-c", "python manage.py migrate"]


# ── dependencies ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["postgres", "valkey", "redis", "temporal", "mysql", "image"])
def test_data_has_a_volume_and_never_two_pods(name: str) -> None:
    found = dependency(name)
    controller = of_kind(found, "StatefulSet")
    claim = of_kind(found, "PersistentVolumeClaim")
    assert controller["spec"]["replicas"] == 1
    assert {"name": "data", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in pod_of(controller)[
        "volumes"
    ]


def test_a_gateway_keeps_nothing_and_is_public() -> None:
    found = dependency("api-gateway")
    deployment = of_kind(found, "Deployment")
    assert deployment["spec"]["template"]["metadata"]["labels"][lab.PUBLIC] == "true"
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert not [each for each in found if each["kind"] == "PersistentVolumeClaim"]


def test_the_longest_path_of_a_gateway_comes_first() -> None:
    text = config("gateway", [GatewayRoute("", "web"), GatewayRoute("/api", "api"), GatewayRoute("/api/v2", "new", "")])
    found = [line.strip() for line in text.splitlines() if "location" in line and "health" not in line]
    assert found == [
        "location = /api/v2 {", "location /api/v2/ {", "location = /api {", "location /api/ {", "location / {",
    ]  # fmt: skip
    assert "proxy_pass http://new:80/;" in text
    assert "proxy_pass http://api:80;" in text


# ── routes ──────────────────────────────────────────────────────────────────────────────────


def test_all_hosts_are_one_object_without_a_certificate_of_its_own() -> None:
    backends = [Backend("web.localhost", "web", "web-r7", 3000), Backend("api.localhost", "api", "api-r7", 8000)]
    settings = replace(SETTINGS, ingress_annotations={"a.example/b": "c"})
    (found,) = routes.routes(settings, NAMESPACE, COMMON, 7, backends)
    assert found["spec"]["tls"] == [{"hosts": ["web.localhost", "api.localhost"]}]
    assert [rule["host"] for rule in found["spec"]["rules"]] == ["web.localhost", "api.localhost"]
    assert found["metadata"]["annotations"]["a.example/b"] == "c"
    assert routes.routed_targets([found]) == {"web.localhost": "web", "api.localhost": "api"}
    assert routes.routed_revision([found]) == 7
    assert routes.routes(settings, NAMESPACE, COMMON, 7, []) == []


def test_a_gateway_gets_a_route_for_each_host() -> None:
    settings = replace(SETTINGS, gateway="infra/public")
    (found,) = routes.routes(settings, NAMESPACE, COMMON, 7, [Backend("web.localhost", "web", "web-r7", 3000)])
    assert found["kind"] == "HTTPRoute"
    assert found["spec"]["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    assert found["spec"]["hostnames"] == ["web.localhost"]
    (rule,) = found["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "web-r7", "port": 3000}]
    assert rule["filters"][0]["responseHeaderModifier"]["set"] == [{"name": "X-Robots-Tag", "value": "noindex"}]


# ── what the cluster says ───────────────────────────────────────────────────────────────────

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10001 0 1 1 0 100 0 0 10 0
   1: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10001 0 2 1 0 100 0 0 10 0
   2: 0100007F:A1B2 0100007F:0BB8 01 00000000:00000000 00:00000000 00000000 10001 0 3 1 0 100 0 0 10 0
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0 0 0
"""


def test_listening_ports_are_read_from_the_kernels_table() -> None:
    assert parse(TABLE) == [Listener(80, False), Listener(3000, True), Listener(8000, False)]


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("Listening on http://0.0.0.0:8000", 8000),
        ("Server started on port 5000", 5000),
        ("serving at 127.0.0.1:3000", None),
        ("2024-01-01 12:30:00 connecting", None),
    ],
)
def test_a_port_in_the_log_is_a_hint(line: str, port: int | None) -> None:
    assert said([line], 3000) == port


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (401, "Unauthorized", "cluster_credentials"),
        (403, 'secrets is forbidden: User "x" cannot list resource', "cluster_forbidden"),
        (403, 'pods "a" is forbidden: exceeded quota: previewkit, requested: pods=1', "quota_exceeded"),
        (403, 'pods "a" is forbidden: violates PodSecurity "restricted:latest"', "admission_rejected"),
        (400, 'admission webhook "x.example" denied the request: no', "admission_rejected"),
        (403, "unable to create new content in namespace x because it is being terminated", "namespace_missing"),
        (404, 'namespaces "x" not found', "namespace_missing"),
        (422, "Deployment.apps is invalid", "admission_rejected"),
        (500, 'Internal error occurred: failed calling webhook "x"', "runtime_unavailable"),
        (503, "the server is currently unable to handle the request", "runtime_unavailable"),
    ],
)
def test_each_refusal_has_its_code(status: int, message: str, code: str) -> None:
    error = refusal("PATCH", path_of("Secret", "x", "y"), status, json.dumps({"message": message}).encode())
    assert error.code == code
    assert message[:40] in error.message or code == "cluster_credentials"


def test_an_answer_that_is_no_json_is_shown_as_it_is() -> None:
    error = refusal("GET", "/api", 502, b"<html>Bad Gateway</html>")
    assert error.code == "runtime_unavailable"
    assert "Bad Gateway" in error.message
