"""A managed dependency as a workload with Service, Secret and volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from environments.ports import Workload
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests import pods
from environments.runtimes.manifests.labels import Manifest, meta
from environments.runtimes.manifests.settings import ClusterSettings

GRACE = 20
"""Seconds that a database has to write its data when it is put to sleep."""
START_TIMEOUT = 600
"""Seconds after which the node starts a dependency again that never answered; the wait ends before."""
PASSWORD = "password"


@dataclass(frozen=True)
class Placed:
    """A workload and where it goes."""

    name: str
    recipe: str
    ports: Mapping[str, int]
    workload: Workload

    @property
    def first_port(self) -> str:
        """Its name in the objects. `http` is what the front door may reach."""
        return "http" if self.workload.http else next(iter(self.ports))


def credentials_name(dependency: str) -> str:
    return f"{dependency}-credentials"


def credentials(namespace: str, common: Mapping[str, str], dependency: str, recipe: str, password: str) -> Manifest:
    """Made first, once, and never changed: who makes it knows that the dependency is new."""
    labels = {**common, lab.DEPENDENCY: dependency, lab.RECIPE: recipe}
    return pods.secret(namespace, credentials_name(dependency), labels, {PASSWORD: password})


def dependency_objects(
    settings: ClusterSettings, namespace: str, common: Mapping[str, str], placed: Placed
) -> list[Manifest]:
    labels = {**common, lab.DEPENDENCY: placed.name, lab.RECIPE: placed.recipe}
    workload = placed.workload
    found = [_service(namespace, labels, placed)]
    if workload.secret_env or workload.files:
        values = {**workload.secret_env, **{_key(path): text for path, text in workload.files.items()}}
        found.append(pods.secret(namespace, _values_name(placed.name), labels, values))
    if workload.volume:
        found.append(_volume(settings, namespace, labels, placed))
    return [*found, _controller(settings, namespace, labels, placed)]


def _controller(settings: ClusterSettings, namespace: str, labels: Mapping[str, str], placed: Placed) -> Manifest:
    """A StatefulSet where there is data, which two pods must never have at once; else a Deployment."""
    workload = placed.workload
    selector = {lab.DEPENDENCY: placed.name}
    pod_labels = {**labels, **({lab.PUBLIC: "true"} if workload.http else {})}
    checksum = pods.values_checksum({**workload.secret_env, **workload.files, **workload.env})
    manifest: Manifest = {
        "apiVersion": "apps/v1",
        "kind": controller_kind(workload),
        "metadata": meta(namespace, placed.name, labels, {lab.REPLICAS: "1"}),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": pod_labels, "annotations": {lab.CHECKSUM: checksum}},
                "spec": _pod(settings, placed),
            },
        },
    }
    if workload.volume:
        manifest["spec"]["serviceName"] = placed.name
    else:
        manifest["spec"]["strategy"] = {
            "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}
        }  # fmt: skip
    return manifest


def controller_kind(workload: Workload) -> str:
    return "StatefulSet" if workload.volume else "Deployment"


def _pod(settings: ClusterSettings, placed: Placed) -> dict[str, Any]:
    workload = placed.workload
    main = pods.container(workload.image, workload.command, workload.resources, settings)
    if workload.args:
        main["args"] = list(workload.args)
    main["env"] = [{"name": name, "value": value} for name, value in sorted(workload.env.items())]
    main["env"] += [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": _values_name(placed.name), "key": name}}}
        for name in sorted(workload.secret_env)
    ]
    main["ports"] = [
        {"name": placed.first_port if index == 0 else name, "containerPort": port, "protocol": "TCP"}
        for index, (name, port) in enumerate(placed.ports.items())
    ]
    main |= _probes(placed)
    main["volumeMounts"], volumes = _mounts(placed)
    grace = GRACE if workload.volume else settings.grace
    spec = pods.pod_spec(main, settings, user=workload.user, grace=grace)
    spec["securityContext"] |= {"fsGroup": workload.user, "fsGroupChangePolicy": "OnRootMismatch"}
    spec["volumes"] = volumes
    return spec


def _probes(placed: Placed) -> dict[str, Any]:
    """A command is started for each asking: later the port is enough."""
    workload = placed.workload
    accepts = {"tcpSocket": {"port": placed.first_port}}
    if workload.ready:
        return pods.probes({"exec": {"command": list(workload.ready)}}, START_TIMEOUT, accepts)
    if workload.ready_path:
        return pods.probes({"httpGet": {"path": workload.ready_path, "port": placed.first_port}}, START_TIMEOUT)
    return pods.probes(accepts, START_TIMEOUT)


def _mounts(placed: Placed) -> tuple[list[Manifest], list[Manifest]]:
    workload = placed.workload
    mounts: list[Manifest] = []
    volumes: list[Manifest] = []
    if workload.volume:
        mounts.append({"name": "data", "mountPath": workload.volume})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": volume_name(placed.name)}})
    for number, path in enumerate(workload.scratch):
        mounts.append({"name": f"scratch-{number}", "mountPath": path})
        volumes.append({"name": f"scratch-{number}", "emptyDir": {}})
    if workload.files:
        mounts += [
            {"name": "files", "mountPath": path, "subPath": _key(path), "readOnly": True}
            for path in sorted(workload.files)
        ]
        items = [{"key": _key(path), "path": _key(path)} for path in sorted(workload.files)]
        volumes.append({"name": "files", "secret": {"secretName": _values_name(placed.name), "items": items}})
    return mounts, volumes


def _service(namespace: str, labels: Mapping[str, str], placed: Placed) -> Manifest:
    ports = [
        {"name": placed.first_port if index == 0 else name, "port": port, "protocol": "TCP",
         "targetPort": placed.first_port if index == 0 else name}
        for index, (name, port) in enumerate(placed.ports.items())
    ]  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(namespace, placed.name, labels),
        "spec": {"type": "ClusterIP", "selector": {lab.DEPENDENCY: placed.name}, "ports": ports},
    }


def volume_name(dependency: str) -> str:
    return f"{dependency}-data"


def _volume(settings: ClusterSettings, namespace: str, labels: Mapping[str, str], placed: Placed) -> Manifest:
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": placed.workload.storage}},
    }
    if settings.storage_class:
        spec["storageClassName"] = settings.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta(namespace, volume_name(placed.name), labels),
        "spec": spec,
    }


def _values_name(dependency: str) -> str:
    return f"{dependency}-values"


def _key(path: str) -> str:
    """A file's path as a Secret's key."""
    return path.strip("/").replace("/", ".")
