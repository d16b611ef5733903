"""All addresses of an environment in one object, so that switching them is one write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.labels import Manifest, meta
from environments.runtimes.manifests.settings import ClusterSettings

NAME = "preview"


@dataclass(frozen=True)
class Backend:
    """A host name and the Service that answers it."""

    host: str
    target: str
    service: str
    port: int


def route_kinds(settings: ClusterSettings) -> str:
    return "HTTPRoute" if settings.gateway else "Ingress"


def routes(
    settings: ClusterSettings, namespace: str, common: Mapping[str, str], revision: int, backends: Sequence[Backend]
) -> list[Manifest]:
    """One Ingress with all hosts; or, on a Gateway, an HTTPRoute for each host (a route's rules are for all its
    hosts alike)."""
    if settings.gateway:
        return [_http_route(settings, namespace, common, revision, backend) for backend in backends]
    return [ingress(settings, namespace, common, revision, backends)] if backends else []


def ingress(
    settings: ClusterSettings, namespace: str, common: Mapping[str, str], revision: int, backends: Sequence[Backend]
) -> Manifest:
    """TLS by the controller's default certificate, a wildcard: no certificate for each preview."""
    targets = ",".join(f"{backend.host}={backend.target}" for backend in backends)
    notes = {**settings.ingress_annotations, lab.ROUTED: str(revision), lab.TARGETS: targets}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta(namespace, NAME, {**common, lab.REVISION: str(revision)}, notes),
        "spec": {
            "ingressClassName": settings.ingress_class,
            "tls": [{"hosts": [backend.host for backend in backends]}],
            "rules": [_rule(backend) for backend in backends],
        },
    }


def _rule(backend: Backend) -> Manifest:
    service = {"name": backend.service, "port": {"number": backend.port}}
    path: dict[str, Any] = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    return {"host": backend.host, "http": {"paths": [path]}}


def _http_route(
    settings: ClusterSettings, namespace: str, common: Mapping[str, str], revision: int, backend: Backend
) -> Manifest:
    where, _, gateway = settings.gateway.rpartition("/")
    parent = {"name": gateway, **({"namespace": where} if where else {})}
    noindex = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"set": [{"name": "X-Robots-Tag", "value": "noindex"}]},
    }
    notes = {lab.ROUTED: str(revision), lab.TARGETS: f"{backend.host}={backend.target}"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": meta(namespace, f"{NAME}-{backend.target}", {**common, lab.REVISION: str(revision)}, notes),
        "spec": {
            "parentRefs": [parent],
            "hostnames": [backend.host],
            "rules": [{"filters": [noindex], "backendRefs": [{"name": backend.service, "port": backend.port}]}],
        },
    }


def routed_targets(objects: Sequence[Manifest]) -> dict[str, str]:
    """Host → target, of the routes as they are in the cluster."""
    found: dict[str, str] = {}
    for each in objects:
        text = each["metadata"].get("annotations", {}).get(lab.TARGETS, "")
        found.update(dict(pair.split("=", 1) for pair in text.split(",") if pair))
    return found


def routed_revision(objects: Sequence[Manifest]) -> int | None:
    for each in objects:
        text = each["metadata"].get("annotations", {}).get(lab.ROUTED)
        if text:
            return int(text)
    return None
