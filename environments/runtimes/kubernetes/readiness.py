"""Waits until a service answers, and looks for what only a service can be wrong about: its port."""

from __future__ import annotations

from environments.ports import Fence, OnLine, PlatformError, PreviewError
from environments.runtimes.kubernetes import diagnosis, listening
from environments.runtimes.kubernetes.api import Api
from environments.runtimes.kubernetes.diagnosis import Waited
from environments.runtimes.kubernetes.waiting import Wait, wait_ready
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests.labels import revision_name
from environments.runtimes.manifests.settings import ClusterSettings

FIRST_LOOK = 2.0
"""Seconds that it runs without being ready before it is asked where it listens; then twice as long each time."""


def wait(
    api: Api,
    settings: ClusterSettings,
    namespace: str,
    service: str,
    revision: int,
    timeout: float,
    on_line: OnLine,
    fence: Fence,
) -> None:
    name = revision_name(service, revision)
    deployment = api.get("Deployment", namespace, name)
    if deployment is None:
        raise PlatformError("namespace_missing", f"Service {service} of revision {revision} is not in {namespace}.")
    waited = Waited.of(service, deployment)
    one = Wait(
        api,
        namespace,
        "Deployment",
        name,
        lab.selector(**{lab.SERVICE: service, lab.REVISION: str(revision)}),
        on_line=on_line,
        fence=fence,
        report=lambda trouble, lines: diagnosis.of_service(waited, trouble, lines),
        patience=settings.unschedulable_after,
    )
    look = PortLook(waited, fence)
    wait_ready(one, timeout, look, lambda late: _late(late, waited, timeout))


class PortLook:
    """Asks a pod that runs and is not ready where it listens: seen twice, it is said."""

    def __init__(self, waited: Waited, fence: Fence) -> None:
        self._waited = waited
        self._fence = fence
        self._pod = ""
        self._next = 0.0
        self._pause = FIRST_LOOK
        self._seen: list[listening.Listener] | None = None

    def __call__(self, wait: Wait) -> None:
        pods = wait.observed.unready_pods()
        if self._waited.port is None or not pods:
            self._pod = ""
            return
        if pods[0] != self._pod:
            self._pod, self._pause = pods[0], FIRST_LOOK
            self._next = wait.seconds + self._pause
        if wait.seconds < self._next:
            return
        found = listening.listeners(wait.api, wait.namespace, self._pod, self._fence)
        if found and found == self._seen and (error := diagnosis.wrong_port(self._waited, found, list(wait.last))):
            raise error
        self._seen = found
        # A second look soon, where there is something to be sure of.
        wrong = found and diagnosis.wrong_port(self._waited, found, ())
        self._pause = self._pause if wrong else self._pause * 2
        self._next = wait.seconds + (0.5 if wrong else self._pause)


def _late(wait: Wait, waited: Waited, timeout: float) -> PreviewError:
    lines = list(wait.last)
    said = listening.said(lines, waited.port) if waited.port else None
    return diagnosis.not_ready(waited, timeout, wait.observed.probe_failure(), said, lines)
