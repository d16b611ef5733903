"""Sleep and wake: everything scaled to nothing, and back, dependencies first. Data stays."""

from __future__ import annotations

import time

from environments.ports import PlatformError
from environments.runtimes.kubernetes.api import Api
from environments.runtimes.kubernetes.dependencies import Dependencies
from environments.runtimes.kubernetes.feed import Change, Feed
from environments.runtimes.kubernetes.observed import Observed
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.labels import Manifest
from environments.runtimes.manifests.settings import ClusterSettings

WAKE_TIMEOUT = 120.0
SLEEP_TIMEOUT = 60.0
CONTROLLERS = ("Deployment", "StatefulSet")


def sleep(api: Api, namespace: str) -> None:
    """Services first: they should not see their databases go. Returns when no pod is left."""
    api.merge("Namespace", None, namespace, {"metadata": {"annotations": {lab.ASLEEP: "true"}}})
    for label in (lab.SERVICE, lab.DEPENDENCY):
        for kind in CONTROLLERS:
            for found in api.list(kind, namespace, label):
                _scale(api, found, 0)
        _wait_no_pods(api, namespace, label)


def wake(api: Api, settings: ClusterSettings, namespace: str, dependencies: Dependencies) -> None:
    for kind in CONTROLLERS:
        for found in api.list(kind, namespace, lab.DEPENDENCY):
            _scale(api, found, _replicas(found))
    for known in dependencies.all():
        dependencies.wait(known, _silent, _unfenced)
    for found in api.list("Deployment", namespace, lab.SERVICE):
        _scale(api, found, _replicas(found))
    api.merge("Namespace", None, namespace, {"metadata": {"annotations": {lab.ASLEEP: None}}})
    wait_services(api, settings, namespace)


def wait_services(api: Api, settings: ClusterSettings, namespace: str) -> None:
    """Until each service answers, or has crashed (which `observe` says), or time is over."""
    waiting = {each["metadata"]["name"]: Observed(each["metadata"]["name"]) for each in _services(api, namespace)}
    deadline = time.monotonic() + WAKE_TIMEOUT
    with Feed(api) as feed:
        feed.watch("Deployment", namespace, labels=lab.SERVICE)
        feed.watch("Pod", namespace, labels=f"{lab.SERVICE},{lab.REVISION}")
        while waiting and time.monotonic() < deadline:
            item = feed.next()
            if isinstance(item, Change):
                for observed in waiting.values():
                    if item.what == "AGAIN" or _is_of(item, observed.name):
                        observed.take(item)
            for name, observed in list(waiting.items()):
                trouble = observed.trouble()
                if observed.ready() or (trouble and trouble.settled):
                    del waiting[name]


def _services(api: Api, namespace: str) -> list[Manifest]:
    return [each for each in api.list("Deployment", namespace, lab.SERVICE) if each["spec"].get("replicas")]


def _is_of(change: Change, deployment: str) -> bool:
    metadata = change.manifest["metadata"]
    if change.kind == "Deployment":
        return bool(metadata["name"] == deployment)
    labels = metadata["labels"]
    return lab.revision_name(labels[lab.SERVICE], int(labels[lab.REVISION])) == deployment


def _scale(api: Api, found: Manifest, replicas: int) -> None:
    kind, metadata = found["kind"], found["metadata"]
    api.merge(kind, metadata["namespace"], metadata["name"], {"spec": {"replicas": replicas}})


def _replicas(found: Manifest) -> int:
    return int(found["metadata"].get("annotations", {}).get(lab.REPLICAS, "1"))


def _wait_no_pods(api: Api, namespace: str, label: str) -> None:
    pods: set[str] | None = None
    deadline = time.monotonic() + SLEEP_TIMEOUT
    with Feed(api) as feed:
        feed.watch("Pod", namespace, labels=label)
        while time.monotonic() < deadline:
            item = feed.next()
            if isinstance(item, Change) and item.what != "AGAIN":
                name = item.manifest["metadata"]["name"]
                pods = (pods or set()) - {name} if item.what == "DELETED" else (pods or set()) | {name}
            if pods == set() or (pods is None and item is None):
                return
    raise PlatformError("runtime_unavailable", f"Pods of {namespace} do not end: {', '.join(sorted(pods or ()))}.")


def _silent(line: str) -> None:
    """For waits whose log nobody reads."""


def _unfenced() -> None:
    """For waits that nobody overtakes."""
