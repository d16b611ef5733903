"""The namespace of an environment, and the walls around it: quota, defaults, network, no rights."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.labels import Manifest, meta
from environments.runtimes.manifests.settings import PRIVATE_NETWORKS, PRIVATE_NETWORKS_V6, ClusterSettings, Peer

PULL_SECRET = "previewkit-pull"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Set on every namespace by Kubernetes itself."""


def namespace(settings: ClusterSettings, name: str, labels: Mapping[str, str]) -> Manifest:
    level = settings.pod_security
    security = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn", "audit")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {**lab.environment_labels(settings.owner, labels), **security},
            "annotations": lab.label_texts(settings.owner, labels),
        },
    }


def walls(settings: ClusterSettings, name: str, common: Mapping[str, str]) -> list[Manifest]:
    """Everything that is in the namespace before the first pod."""
    found = [
        *network_policies(settings, name, common),
        resource_quota(settings, name, common),
        limit_range(name, common),
        service_account(settings, name, common),
    ]
    if settings.pull_secret:
        found.insert(0, pull_secret(settings, name, common))
    return found


def resource_quota(settings: ClusterSettings, namespace: str, common: Mapping[str, str]) -> Manifest:
    quota = settings.quota
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": meta(namespace, "previewkit", common),
        "spec": {
            "hard": {
                "pods": str(quota.pods),
                "limits.cpu": quota.cpu,
                "limits.memory": quota.memory,
                "persistentvolumeclaims": str(quota.volumes),
                "requests.storage": quota.storage,
                "services.nodeports": "0",
                "services.loadbalancers": "0",
            }
        },
    }


def limit_range(namespace: str, common: Mapping[str, str]) -> Manifest:
    """Defaults for containers that state no limits, so that the quota counts them too."""
    return {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": meta(namespace, "previewkit", common),
        "spec": {
            "limits": [
                {
                    "type": "Container",
                    "default": {"cpu": "1", "memory": "512Mi"},
                    "defaultRequest": {"cpu": "50m", "memory": "128Mi"},
                }
            ]
        },
    }


def service_account(settings: ClusterSettings, namespace: str, common: Mapping[str, str]) -> Manifest:
    """The account that pods get without asking: it has no token to give them."""
    manifest: Manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta(namespace, "default", common),
        "automountServiceAccountToken": False,
    }
    if settings.pull_secret:
        manifest["imagePullSecrets"] = [{"name": PULL_SECRET}]
    return manifest


def pull_secret(settings: ClusterSettings, namespace: str, common: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": meta(namespace, PULL_SECRET, common),
        "data": {".dockerconfigjson": base64.b64encode(settings.pull_secret.encode()).decode()},
    }


# ── network ─────────────────────────────────────────────────────────────────────────────────


def network_policies(settings: ClusterSettings, namespace: str, common: Mapping[str, str]) -> list[Manifest]:
    """Nothing passes but what one of these allows."""
    everything: Manifest = {}
    own: list[Manifest] = [{"podSelector": {}}]
    public = {"matchLabels": {lab.PUBLIC: "true"}}
    policies = [
        _policy(namespace, common, "default-deny", everything, types=("Ingress", "Egress")),
        _policy(namespace, common, "within", everything, ingress=[{"from": own}], egress=[{"to": own}]),
        _policy(namespace, common, "dns", everything, egress=[_dns(settings)]),
        _policy(namespace, common, "internet", everything, egress=[{"to": _internet(settings)}]),
        _policy(
            namespace,
            common,
            "front-door",
            public,
            ingress=[{"from": [_peer(settings.ingress_controller)], "ports": [{"port": "http", "protocol": "TCP"}]}],
        ),
    ]
    if settings.control_plane:
        allowed = [{"from": [_peer(settings.control_plane)]}]
        policies.append(_policy(namespace, common, "control-plane", everything, ingress=allowed))
    return policies


def _policy(
    namespace: str,
    common: Mapping[str, str],
    name: str,
    pods: Manifest,
    *,
    ingress: Sequence[Manifest] = (),
    egress: Sequence[Manifest] = (),
    types: Sequence[str] = (),
) -> Manifest:
    spec: dict[str, Any] = {"podSelector": pods}
    spec["policyTypes"] = list(types) or [kind for kind, rules in (("Ingress", ingress), ("Egress", egress)) if rules]
    if ingress:
        spec["ingress"] = list(ingress)
    if egress:
        spec["egress"] = list(egress)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta(namespace, name, common),
        "spec": spec,
    }


def _peer(peer: Peer) -> Manifest:
    found: Manifest = {"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: peer.namespace}}}
    if peer.labels:
        found["podSelector"] = {"matchLabels": dict(peer.labels)}
    return found


def _dns(settings: ClusterSettings) -> Manifest:
    return {
        "to": [_peer(settings.dns)],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    }


def _internet(settings: ClusterSettings) -> list[Manifest]:
    blocked = list(settings.blocked_networks)
    four = [*PRIVATE_NETWORKS, *(network for network in blocked if ":" not in network)]
    six = [*PRIVATE_NETWORKS_V6, *(network for network in blocked if ":" in network)]
    return [{"ipBlock": {"cidr": "0.0.0.0/0", "except": four}}, {"ipBlock": {"cidr": "::/0", "except": six}}]
