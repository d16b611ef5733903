"""A service's revision as Deployment, Service and Secret; a job as Job and Secret.

Each revision has a Deployment and a Service of its own (`web-r7`), so that an older revision serves on until
the routes are switched, and so that the services of one revision reach one another and not the old ones. A
second Service (`web`) has the routed revision: the name that other parts (a gateway, a person) can rely on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from environments.ports import Job, ServiceRelease
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests import pods
from environments.runtimes.manifests.labels import Manifest, meta, revision_name
from environments.runtimes.manifests.pods import After
from environments.runtimes.manifests.settings import ClusterSettings

PORT_NAME = "http"
WORKER_ALIVE = 2
"""Seconds that a worker has to stay up to count as ready: it has no port that could say so."""
UNPREPARED = {"HOST": "0.0.0.0", "HOME": "/tmp", "PYTHONUNBUFFERED": "1"}
"""What programs should know of a container: all addresses are theirs, and home is a place they may write to."""


def service_values(release: ServiceRelease) -> dict[str, str]:
    """All of its variables. What the runtime decides wins."""
    values = {**UNPREPARED, **release.artifact.env, **release.env, **release.secrets}
    if release.port is not None:
        values["PORT"] = str(release.port)
    return values


def service_objects(
    settings: ClusterSettings,
    namespace: str,
    common: Mapping[str, str],
    release: ServiceRelease,
    after: After | None = None,
) -> list[Manifest]:
    """In the order in which they are applied."""
    found = [_values_secret(namespace, common, release)]
    if release.port is not None:
        found.append(revision_service(namespace, common, release.name, release.revision, release.port))
    return [*found, deployment(settings, namespace, common, release, after)]


def deployment(
    settings: ClusterSettings,
    namespace: str,
    common: Mapping[str, str],
    release: ServiceRelease,
    after: After | None = None,
) -> Manifest:
    labels = lab.service_labels(common, release.name, release.revision)
    name = revision_name(release.name, release.revision)
    pod_labels = {**labels, **({lab.PUBLIC: "true"} if release.public and release.port else {})}
    checksum = pods.values_checksum(service_values(release))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(namespace, name, labels, {lab.REPLICAS: str(release.replicas)}),
        "spec": {
            "replicas": release.replicas,
            "revisionHistoryLimit": 1,
            "minReadySeconds": 0 if release.port else WORKER_ALIVE,
            "progressDeadlineSeconds": max(int(release.health.timeout), 10),
            "selector": {"matchLabels": _selector(release.name, release.revision)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": pod_labels, "annotations": {lab.CHECKSUM: checksum}},
                "spec": pods.pod_spec(
                    _service_container(settings, release, name),
                    settings,
                    user=release.artifact.user,
                    grace=settings.drain + settings.grace,
                    after=after,
                ),
            },
        },
    }


def _service_container(settings: ClusterSettings, release: ServiceRelease, secret: str) -> dict[str, Any]:
    main = pods.container(release.artifact.location, release.command, release.resources, settings)
    main["envFrom"] = [{"secretRef": {"name": secret}}]
    if release.port is not None:
        main["ports"] = [{"name": PORT_NAME, "containerPort": release.port, "protocol": "TCP"}]
        if settings.drain:
            main["lifecycle"] = {"preStop": {"sleep": {"seconds": settings.drain}}}
        main |= pods.probes(_question(release), int(release.health.timeout) + 60)
    return main


def _question(release: ServiceRelease) -> Manifest:
    path = release.health.path
    if path is None:
        return {"tcpSocket": {"port": PORT_NAME}}
    headers = [
        # Frameworks that check the host name know this one, and not the pod's address.
        {"name": "Host", "value": f"127.0.0.1:{release.port}"},
        {"name": "User-Agent", "value": "PreviewKit-health"},
    ]
    path = path if path.startswith("/") else f"/{path}"
    return {"httpGet": {"path": path, "port": PORT_NAME, "httpHeaders": headers}}


def revision_service(namespace: str, common: Mapping[str, str], service: str, revision: int, port: int) -> Manifest:
    """Where the services of the same revision reach it, from the moment that it is ready."""
    labels = lab.service_labels(common, service, revision)
    return _service(namespace, revision_name(service, revision), labels, _selector(service, revision), port)


def stable_service(namespace: str, common: Mapping[str, str], service: str, revision: int, port: int) -> Manifest:
    """`web`: the routed revision. Has port 80 too, for those who cannot know the other."""
    labels = {**common, lab.SERVICE: service}
    manifest = _service(namespace, service, labels, _selector(service, revision), port)
    if port != 80:
        manifest["spec"]["ports"].append({"name": "plain", "port": 80, "targetPort": PORT_NAME, "protocol": "TCP"})
    manifest["metadata"]["annotations"] = {lab.ROUTED: str(revision)}
    return manifest


def _service(namespace: str, name: str, labels: Mapping[str, str], selector: Mapping[str, str], port: int) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(namespace, name, labels),
        "spec": {
            "type": "ClusterIP",
            "selector": dict(selector),
            "ports": [{"name": PORT_NAME, "port": port, "targetPort": PORT_NAME, "protocol": "TCP"}],
        },
    }


def _selector(service: str, revision: int) -> dict[str, str]:
    return {lab.SERVICE: service, lab.REVISION: str(revision)}


def _values_secret(namespace: str, common: Mapping[str, str], release: ServiceRelease) -> Manifest:
    """Variables too: addresses of dependencies hold passwords, and a Deployment is read by more people."""
    labels = lab.service_labels(common, release.name, release.revision)
    return pods.secret(namespace, revision_name(release.name, release.revision), labels, service_values(release))


# ── jobs ────────────────────────────────────────────────────────────────────────────────────


def job_name(job: Job) -> str:
    return f"job-{job.name}"


def job_objects(
    settings: ClusterSettings, namespace: str, common: Mapping[str, str], job: Job, after: After | None = None
) -> list[Manifest]:
    """Secret and Job. It runs once: what failed half-way is not run again behind anyone's back."""
    labels = {**common, lab.SERVICE: job.service, lab.JOB: lab.label_value(job.name), lab.JOB_KIND: job.kind}
    name = job_name(job)
    main = pods.container(job.artifact.location, job.command, job.resources, settings)
    main["envFrom"] = [{"secretRef": {"name": name}}]
    spec = pods.pod_spec(main, settings, user=job.artifact.user, grace=1, after=after)
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta(namespace, name, labels),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": max(int(job.timeout) + 60, 1),  # should the worker that waits die
            "template": {"metadata": {"labels": labels}, "spec": {**spec, "restartPolicy": "Never"}},
        },
    }
    values = {**UNPREPARED, **job.artifact.env, **job.env, **job.secrets}
    return [pods.secret(namespace, name, labels, values), manifest]
