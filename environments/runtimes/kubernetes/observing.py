"""What is there of an environment: the namespace, its services and dependencies, its addresses, what it uses."""

from __future__ import annotations

from collections.abc import Sequence

from environments.ports import Observation, ServiceState
from environments.runtimes.kubernetes.api import Api
from environments.runtimes.kubernetes.observed import Observed, Trouble
from environments.runtimes.kubernetes.routing import current
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.labels import Manifest
from environments.runtimes.manifests.routes import routed_targets
from environments.runtimes.manifests.settings import ClusterSettings

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def observe(api: Api, settings: ClusterSettings, namespace: Manifest) -> Observation:
    """Five requests, however much there is."""
    name = namespace["metadata"]["name"]
    deployments = api.list("Deployment", name)
    sets = api.list("StatefulSet", name)
    pods = api.list("Pod", name, lab.selector(**{lab.MANAGED_BY: lab.FIELD_MANAGER}))
    services = [each for each in deployments if lab.SERVICE in each["metadata"]["labels"]]
    dependencies = [each for each in (*sets, *deployments) if lab.DEPENDENCY in each["metadata"]["labels"]]
    return Observation(
        exists=True,
        uid=str(namespace["metadata"]["uid"]),
        services=tuple(_service(each, pods) for each in services),
        dependencies=tuple(_dependency(each, pods) for each in dependencies),
        hosts=tuple(sorted(routed_targets(current(api, settings, name)))),
        asleep=(namespace["metadata"].get("annotations") or {}).get(lab.ASLEEP) == "true",
        memory_bytes=sum(_memory(each) for each in api.list("PodMetrics", name)),
    )


def _service(deployment: Manifest, pods: Sequence[Manifest]) -> ServiceState:
    labels = deployment["metadata"]["labels"]
    same = {name: labels[name] for name in (lab.SERVICE, lab.REVISION)}
    ports = deployment["spec"]["template"]["spec"]["containers"][0].get("ports") or [{}]
    return _state(
        labels[lab.SERVICE], int(labels[lab.REVISION]), ports[0].get("containerPort"), deployment, _of(pods, same)
    )


def _dependency(controller: Manifest, pods: Sequence[Manifest]) -> ServiceState:
    name = controller["metadata"]["labels"][lab.DEPENDENCY]
    port = controller["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]
    return _state(name, 0, port, controller, _of(pods, {lab.DEPENDENCY: name}))


def _of(pods: Sequence[Manifest], labels: dict[str, str]) -> list[Manifest]:
    return [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]


def _state(name: str, revision: int, port: int | None, controller: Manifest, pods: Sequence[Manifest]) -> ServiceState:
    observed = Observed(controller["metadata"]["name"], {pod["metadata"]["name"]: pod for pod in pods})
    observed.controller = controller
    restarts = sum(
        int(status["restartCount"]) for pod in pods for status in pod["status"].get("containerStatuses") or []
    )
    trouble = observed.trouble()
    state, detail = _words(observed, trouble)
    return ServiceState(name, revision, state, port, restarts, detail)  # type: ignore[arg-type]


def _words(observed: Observed, trouble: Trouble | None) -> tuple[str, str]:
    controller = observed.controller or {}
    if controller["spec"].get("replicas") == 0:
        return "stopped", ""
    if trouble and trouble.kind in ("crashed", "out_of_memory", "not_started"):
        return "crashed", trouble.text
    if observed.ready():
        return "running", ""
    return "starting", trouble.text if trouble else observed.probe_failure()


def _memory(metrics: Manifest) -> int:
    return sum(_bytes(each["usage"]["memory"]) for each in metrics.get("containers", []))


def _bytes(quantity: str) -> int:
    for unit, size in UNITS.items():
        if quantity.endswith(unit):
            return int(float(quantity.removesuffix(unit)) * size)
    return int(quantity)
