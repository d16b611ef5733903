"""What an operator decides about every environment in a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PRIVATE_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",  # the cloud's metadata address
    "127.0.0.0/8",
)
"""Where pods, services, nodes and the metadata address live: not the internet. RFC 1918, 6598, 3927."""
PRIVATE_NETWORKS_V6 = ("fc00::/7", "fe80::/10", "::1/128")


@dataclass(frozen=True)
class Peer:
    """Pods of a namespace, as a NetworkPolicy names them."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Empty: all of the namespace's pods."""


@dataclass(frozen=True)
class Quota:
    """The most that one environment may ask for; `ResourceQuota` enforces it."""

    pods: int = 50
    cpu: str = "32"
    memory: str = "48Gi"
    volumes: int = 20
    storage: str = "50Gi"


@dataclass(frozen=True)
class ClusterSettings:
    owner: str
    """This installation's id: what carries it is ours, what doesn't is never touched."""
    ingress_class: str = "traefik"
    ingress_annotations: Mapping[str, str] = field(default_factory=dict)
    """On every Ingress: a Traefik middleware that sets `X-Robots-Tag: noindex` and asks who may see the preview."""
    ingress_controller: Peer = Peer("kube-system", {"app.kubernetes.io/name": "traefik"})
    gateway: str = ""
    """`namespace/name` of a Gateway: HTTPRoutes on it are made instead of an Ingress."""
    dns: Peer = Peer("kube-system", {"k8s-app": "kube-dns"})
    control_plane: Peer | None = None
    """Where PreviewKit itself runs, when it is a pod of this cluster: it may reach every service."""
    blocked_networks: tuple[str, ...] = ()
    """Addresses that environments must not reach, beside the private ones: public addresses of nodes."""
    storage_class: str | None = None
    """None: the cluster's default."""
    pull_secret: str = ""
    """The JSON of a Docker `config.json` with the registry's credentials; empty: none needed."""
    pod_security: str = "restricted"
    """The Pod Security level that the namespace enforces. `baseline` lets images run as root."""
    run_as: int = 10001
    """User id of service containers whose image names none, under `restricted`."""
    quota: Quota = Quota()
    cpu_request: float = 0.1
    """Share of a service's CPU limit that is reserved for it."""
    memory_request: float = 0.5
    drain: int = 3
    """Seconds that a service goes on serving after its removal began: proxies take that long to hear of it. Needs
    Kubernetes 1.30; 0: none."""
    grace: int = 5
    """Seconds between TERM and KILL for services."""
    unschedulable_after: float = 30.0
    """Seconds after which a pod without a node is an error and not an autoscaler at work."""
