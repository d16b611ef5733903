"""The cluster as this installation uses it: what the settings say, as a runtime and its builders."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from environments.builders.buildkit import BuildKit
from environments.builders.containers import ContainerBuilder
from environments.builders.image_store import ImageStore
from environments.builders.registry import Registry
from environments.ports import Builder, PlatformError, Runtime


def runtime() -> Runtime:
    from environments.runtimes.kubernetes import ClusterSettings, KubernetesRuntime, Peer

    namespace, _, label = settings.INGRESS_CONTROLLER.partition("/")
    key, _, value = label.partition("=")
    return KubernetesRuntime(
        ClusterSettings(
            owner=settings.OWNER_ID,
            ingress_class=settings.INGRESS_CLASS,
            ingress_controller=Peer(namespace, {key: value} if key else {}),
            storage_class=settings.STORAGE_CLASS or None,
            pull_secret=settings.REGISTRY_CONFIG,
        ),
        kubeconfig=settings.KUBECONFIG or None,
    )


def builder(home: Path) -> Builder:
    if not settings.REGISTRY or not settings.BUILDKIT_HOST:
        raise PlatformError(
            "buildkit_unavailable",
            "RUNTIME is kubernetes, and REGISTRY or BUILDKIT_HOST is not set.",
            "Set REGISTRY to host:port of a registry that the nodes pull from, and BUILDKIT_HOST to a BuildKit daemon.",
        )
    registry = Registry(docker_config=settings.REGISTRY_CONFIG)
    store = ImageStore(
        BuildKit(settings.BUILDKIT_HOST, docker_config=settings.REGISTRY_CONFIG),
        registry,
        address=settings.REGISTRY,
        root=home / "builds",
    )
    return ContainerBuilder(store)
