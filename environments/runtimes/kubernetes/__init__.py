"""An environment is a namespace of a Kubernetes cluster. What is asked of a cluster is in `manifests/`."""

from environments.runtimes.kubernetes.runtime import KubernetesRuntime
from environments.runtimes.manifests.settings import ClusterSettings, Peer, Quota

__all__ = ["ClusterSettings", "KubernetesRuntime", "Peer", "Quota"]
