"""What a workload's pods, its controller and their events say: is it ready, and if not, why not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from environments.ports import PreviewError
from environments.runtimes.kubernetes.feed import Change
from environments.runtimes.kubernetes.refusals import admission
from environments.runtimes.manifests.labels import Manifest

CRASHES = 2
"""A program may lose one race at its start; twice is a crash."""
PULL_FAILED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
NOT_IN_REGISTRY = re.compile(
    r"not found|manifest unknown|does not exist|denied|unauthorized|authorization failed|"
    r"invalid reference format|InvalidImageName|no match for platform",
    re.IGNORECASE,
)
NOT_STARTED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
NEVER_STARTS = re.compile(
    r"executable file not found|no such file or directory|permission denied|exec format error|non-root|runAsNonRoot",
    re.I,
)
"""Other reasons pass: a node that is too busy to read a Secret in time says so here too."""
VOLUME = re.compile(r"persistentvolumeclaim|volume", re.IGNORECASE)


@dataclass(frozen=True)
class Trouble:
    """Why a workload is not ready. `settled`: it won't get better by waiting."""

    kind: Literal[
        "image_missing", "registry", "crashed", "out_of_memory", "not_started", "unschedulable", "volume", "refused",
        "evicted",
    ]  # fmt: skip
    text: str
    settled: bool
    pod: str = ""
    exit_code: int = 0
    times: int = 1
    error: PreviewError | None = None


@dataclass
class Observed:
    """Everything that is known of one workload, kept up to date by `take`."""

    name: str
    """Of its controller: Deployment, StatefulSet, Job."""
    pods: dict[str, Manifest] = field(default_factory=dict)
    events: dict[str, Manifest] = field(default_factory=dict)
    controller: Manifest | None = None

    def take(self, change: Change) -> None:
        if change.what == "AGAIN":
            self._forget(change.kind)
            return
        manifest, name = change.manifest, change.manifest["metadata"]["name"]
        gone = change.what == "DELETED"
        if change.kind == "Pod":
            self._keep(self.pods, name, manifest, gone)
        elif change.kind == "Event":
            self._keep(self.events, name, manifest, gone)
        elif name == self.name:
            self.controller = None if gone else manifest

    # ── ready ───────────────────────────────────────────────────────────────────────────────

    def ready(self) -> bool:
        """All replicas of the newest template answer, and none is of an older one."""
        if self.controller is None:
            return False
        status, spec = self.controller.get("status", {}), self.controller["spec"]
        if status.get("observedGeneration", 0) < self.controller["metadata"]["generation"]:
            return False
        wanted = spec.get("replicas", 1)
        if self.controller["kind"] == "StatefulSet" and status.get("currentRevision") != status.get("updateRevision"):
            return False
        return wanted > 0 and all(
            status.get(count, 0) >= wanted for count in ("updatedReplicas", "readyReplicas", "availableReplicas")
        ) and status.get("replicas", 0) == wanted  # fmt: skip

    def running(self) -> Iterator[tuple[str, str]]:
        """(pod, container id) of everything that has been started: it has a log."""
        for name, pod in self.pods.items():
            status = main_status(pod)
            if status and status.get("containerID") and {"running", "terminated"} & set(status.get("state", {})):
                yield name, status["containerID"]

    def unready_pods(self) -> list[str]:
        """Pods that run and don't answer."""
        return [
            name
            for name, pod in self.pods.items()
            if (status := main_status(pod)) and "running" in status.get("state", {}) and not status.get("ready")
        ]

    def probe_failure(self) -> str:
        """What the last readiness probe saw."""
        found = [event for event in self._events_of_pods() if event.get("reason") == "Unhealthy"]
        newest = max(found, key=_when, default=None)
        return str(newest["message"]) if newest else ""

    # ── trouble ─────────────────────────────────────────────────────────────────────────────

    def trouble(self) -> Trouble | None:
        for pod in self.pods.values():
            if "deletionTimestamp" in pod["metadata"]:
                continue
            if found := self._of_pod(pod):
                return found
        return self._refused() if not self.pods or self._lacks_pods() else None

    def _of_pod(self, pod: Manifest) -> Trouble | None:
        name = pod["metadata"]["name"]
        if pod["status"].get("reason") == "Evicted":
            return Trouble("evicted", str(pod["status"].get("message", "evicted")), True, name)
        if found := _unschedulable(pod):
            return found
        status = main_status(pod)
        if status is None:
            return None
        return _ended(name, status) or self._not_begun(name, status)

    def _not_begun(self, pod: str, status: Manifest) -> Trouble | None:
        waiting = status.get("state", {}).get("waiting", {})
        reason, message = waiting.get("reason", ""), str(waiting.get("message", ""))
        if reason in PULL_FAILED:
            if reason == "ImagePullBackOff":
                message = self._last_message("Failed", pod) or message
            missing = bool(NOT_IN_REGISTRY.search(message)) or reason == "InvalidImageName"
            return Trouble("image_missing" if missing else "registry", _image(status, message), missing, pod)
        if reason in NOT_STARTED:
            return Trouble("not_started", message or reason, bool(NEVER_STARTS.search(message)), pod)
        if reason == "ContainerCreating" and (message := self._last_message("FailedMount", pod)):
            return Trouble("volume", message, False, pod)
        return None

    def _refused(self) -> Trouble | None:
        """The controller could not make pods: quota, policy."""
        for message in (*self._conditions(), *self._events_of_controllers()):
            if error := admission(message):
                return Trouble("refused", message, True, error=error)
        return None

    def _conditions(self) -> Iterator[str]:
        for condition in (self.controller or {}).get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                yield str(condition.get("message", ""))

    def _events_of_controllers(self) -> Iterator[str]:
        own = re.compile(rf"{re.escape(self.name)}(-[a-z0-9]{{5,10}})?")
        since = str((self.controller or {}).get("metadata", {}).get("creationTimestamp", ""))
        for event in sorted(self.events.values(), key=_when, reverse=True):
            about = event["involvedObject"]
            if event.get("reason") == "FailedCreate" and own.fullmatch(about.get("name", "")) and _when(event) >= since:
                yield str(event.get("message", ""))

    def _events_of_pods(self) -> list[Manifest]:
        uids = {pod["metadata"]["uid"] for pod in self.pods.values()}
        return [event for event in self.events.values() if event["involvedObject"].get("uid") in uids]

    def _last_message(self, reason: str, pod: str) -> str:
        uid = self.pods[pod]["metadata"]["uid"]
        found = [
            event
            for event in self.events.values()
            if event.get("reason") == reason and event["involvedObject"].get("uid") == uid
            and not str(event.get("message", "")).startswith("Error: ")
        ]  # fmt: skip
        newest = max(found, key=_when, default=None)
        return str(newest["message"]) if newest else ""

    def _lacks_pods(self) -> bool:
        wanted = (self.controller or {}).get("spec", {}).get("replicas", 1)
        return len(self.pods) < int(wanted)

    def _forget(self, kind: str) -> None:
        if kind == "Pod":
            self.pods.clear()
        elif kind == "Event":
            self.events.clear()
        else:
            self.controller = None

    @staticmethod
    def _keep(known: dict[str, Manifest], name: str, manifest: Manifest, gone: bool) -> None:
        if gone:
            known.pop(name, None)
        else:
            known[name] = manifest


def main_status(pod: Manifest) -> dict[str, Any] | None:
    statuses = pod["status"].get("containerStatuses") or []
    return dict(statuses[0]) if statuses else None


def _ended(pod: str, status: Manifest) -> Trouble | None:
    """The program ended, now or the last time."""
    state = status.get("state", {})
    ended = state.get("terminated") or status.get("lastState", {}).get("terminated")
    if not ended:
        return None
    if ended.get("reason") == "OOMKilled":
        return Trouble("out_of_memory", "OOMKilled", True, pod, int(ended["exitCode"]))
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        return Trouble("not_started", str(ended.get("message", "")), True, pod, int(ended["exitCode"]))
    times = int(status.get("restartCount", 0)) + (0 if "running" in state else 1)
    waits = state.get("waiting", {}).get("reason") == "CrashLoopBackOff"
    if "running" in state and status.get("ready"):
        return None
    exit_code = int(ended["exitCode"])
    return Trouble("crashed", _exit(exit_code), waits or times >= CRASHES, pod, exit_code, max(times, 1))


def _exit(code: int) -> str:
    return f"exit status {code}" if code < 128 else f"exit status {code}, signal {code - 128}"


def _unschedulable(pod: Manifest) -> Trouble | None:
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = str(condition.get("message", ""))
            kind: Literal["volume", "unschedulable"] = "volume" if VOLUME.search(message) else "unschedulable"
            return Trouble(kind, message, False, pod["metadata"]["name"])
    return None


def _image(status: Manifest, message: str) -> str:
    return message if status["image"] in message else f"{status['image']}: {message}"


def _when(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])
