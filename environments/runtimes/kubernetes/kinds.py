"""Where the API keeps each kind of object that we use. Written out: no discovery, no request for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    version: str
    plural: str
    namespaced: bool = True


KINDS = {
    "Namespace": Kind("v1", "namespaces", namespaced=False),
    "Pod": Kind("v1", "pods"),
    "Service": Kind("v1", "services"),
    "Secret": Kind("v1", "secrets"),
    "ServiceAccount": Kind("v1", "serviceaccounts"),
    "PersistentVolumeClaim": Kind("v1", "persistentvolumeclaims"),
    "ResourceQuota": Kind("v1", "resourcequotas"),
    "LimitRange": Kind("v1", "limitranges"),
    "Event": Kind("v1", "events"),
    "Deployment": Kind("apps/v1", "deployments"),
    "StatefulSet": Kind("apps/v1", "statefulsets"),
    "Job": Kind("batch/v1", "jobs"),
    "NetworkPolicy": Kind("networking.k8s.io/v1", "networkpolicies"),
    "Ingress": Kind("networking.k8s.io/v1", "ingresses"),
    "HTTPRoute": Kind("gateway.networking.k8s.io/v1", "httproutes"),
    "PodMetrics": Kind("metrics.k8s.io/v1beta1", "pods"),
}


def path_of(kind: str, namespace: str | None, name: str = "") -> str:
    """The API's path of one object, or of all in the namespace, or (None) of all there are."""
    found = KINDS[kind]
    root = f"/api/{found.version}" if "/" not in found.version else f"/apis/{found.version}"
    place = f"/namespaces/{namespace}" if found.namespaced and namespace else ""
    return f"{root}{place}/{found.plural}" + (f"/{name}" if name else "")
