"""KubernetesRuntime: an environment is a namespace. Says what is asked of the cluster; the parts do it.

Works with many threads in one worker and many workers at once: nothing is remembered between two calls, and
what is applied twice is the same object. Each method first looks whether the namespace is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from environments.ports import (
    DependencyHandle,
    Fence,
    Job,
    Labels,
    Observation,
    OnLine,
    OwnedNamespace,
    PlatformError,
    Route,
    ServiceHandle,
    ServiceRelease,
)
from environments.runtimes.kubernetes import jobs, observing, readiness, routing, sleeping
from environments.runtimes.kubernetes.api import Api, connect, log_path
from environments.runtimes.kubernetes.dependencies import Dependencies
from environments.runtimes.kubernetes.namespaces import Namespaces
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests import services as manifests
from environments.runtimes.manifests.labels import revision_name
from environments.runtimes.manifests.pods import CONTAINER
from environments.runtimes.manifests.settings import ClusterSettings
from environments.spec import Dependency


class KubernetesRuntime:
    """`settings` say what an operator decides; `kubeconfig` and `context` name the cluster (None: KUBECONFIG,
    ~/.kube/config, or the account of the pod that this runs in)."""

    name = "kubernetes"

    def __init__(self, settings: ClusterSettings, *, kubeconfig: str | None = None, context: str | None = None) -> None:
        self.settings = settings
        self.api = Api(partial(connect, kubeconfig, context))
        self._namespaces = Namespaces(self.api, settings)

    # ── namespace ───────────────────────────────────────────────────────────────────────────

    def ensure_namespace(self, namespace: str, labels: Labels) -> str:
        return str(self._namespaces.ensure(namespace, labels)["metadata"]["uid"])

    def apply_secrets(self, namespace: str, secrets: Mapping[str, str]) -> None:
        """Nothing is kept: a revision's Secret has those that it names (see `ServiceRelease.secrets`), and the
        namespace none that no service asked for."""
        self._namespaces.ours(namespace)

    # ── dependencies, jobs, services ────────────────────────────────────────────────────────

    def apply_dependency(
        self, namespace: str, dependency: Dependency, on_line: OnLine, fence: Fence
    ) -> DependencyHandle:
        return self._dependencies(namespace).apply(dependency, on_line, fence)

    def run_job(self, namespace: str, job: Job, on_line: OnLine, fence: Fence) -> None:
        parts = self._dependencies(namespace)
        jobs.run(self.api, self.settings, namespace, parts.common, job, parts.after(), on_line, fence)

    def apply_service(self, namespace: str, release: ServiceRelease) -> ServiceHandle:
        parts = self._dependencies(namespace)
        common = parts.common
        for manifest in manifests.service_objects(self.settings, namespace, common, release, parts.after()):
            self.api.apply(manifest)
        if release.port is None:
            return ServiceHandle(release.name, release.revision, None, None)
        # On the first deployment nothing is routed yet: its plain name leads to it from the start.
        routing.name_service(self.api, namespace, common, release.name, release.revision, release.port)
        return ServiceHandle(
            release.name, release.revision, revision_name(release.name, release.revision), release.port
        )

    def wait_ready(
        self, namespace: str, service: str, revision: int, timeout: float, on_line: OnLine, fence: Fence
    ) -> None:
        readiness.wait(self.api, self.settings, namespace, service, revision, timeout, on_line, fence)

    def retire_services(self, namespace: str, keep: int | None) -> None:
        common = self._common(namespace)
        if keep is not None:
            routing.return_to(self.api, self.settings, namespace, common, keep)
        others = lab.REVISION if keep is None else f"{lab.REVISION},{lab.REVISION}!={keep}"
        for kind in ("Deployment", "Service", "Secret"):
            self.api.delete_all(kind, namespace, f"{lab.SERVICE},{others}")
        routing.forget_stable(self.api, namespace, keep)

    def logs(self, namespace: str, service: str, revision: int, tail: int = 200) -> Iterator[str]:
        """Of a service's revision, or of a dependency, whatever the revision."""
        labels = lab.selector(**{lab.SERVICE: service, lab.REVISION: str(revision)})
        found = self.api.list("Pod", namespace, labels)
        found = found or self.api.list("Pod", namespace, lab.selector(**{lab.DEPENDENCY: service}))
        lines: list[str] = []
        for pod in sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"])):
            query = {"container": CONTAINER, "tailLines": str(tail)}
            lines += (self.api.read(log_path(namespace, pod["metadata"]["name"]), query, (400, 404)) or "").splitlines()
        return iter(lines[-tail:])

    # ── routing ─────────────────────────────────────────────────────────────────────────────

    def apply_routes(self, namespace: str, revision: int, routes: Sequence[Route]) -> None:
        routing.apply(self.api, self.settings, namespace, self._common(namespace), revision, routes)

    def address(self, namespace: str, target: str, revision: int) -> str:
        """By the Service's cluster address: within the cluster, and from its nodes. A control plane elsewhere goes
        by the routes, as visitors do."""
        name = revision_name(target, revision)
        found = self.api.get("Service", namespace, name) or self.api.get("Service", namespace, target)
        if found is None:
            raise PlatformError("runtime_unavailable", f"{target} of {namespace} has no address.")
        return f"http://{found['spec']['clusterIP']}:{found['spec']['ports'][0]['port']}"

    # ── sleep, data ─────────────────────────────────────────────────────────────────────────

    def sleep(self, namespace: str) -> None:
        self._namespaces.ours(namespace)
        sleeping.sleep(self.api, namespace)

    def wake(self, namespace: str) -> None:
        """Everything that ran runs again, dependencies first, and answers (or has crashed: see `observe`)."""
        sleeping.wake(self.api, self.settings, namespace, self._dependencies(namespace))

    def snapshot(self, namespace: str, dependencies: Sequence[str], name: str) -> None:
        parts = self._dependencies(namespace)
        for dependency in dependencies:
            parts.snapshot(dependency, name, _unfenced)

    def restore(self, namespace: str, dependencies: Sequence[str], name: str) -> None:
        parts = self._dependencies(namespace)
        for dependency in dependencies:
            parts.restore(dependency, name, _unfenced)
        sleeping.wait_services(self.api, self.settings, namespace)

    # ── what is there ───────────────────────────────────────────────────────────────────────

    def observe(self, namespace: str) -> Observation:
        found = self._namespaces.find(namespace)
        if found is None:
            return Observation(exists=False)
        return observing.observe(self.api, self.settings, found)

    def owned(self) -> list[OwnedNamespace]:
        return self._namespaces.owned()

    def destroy(self, namespace: str) -> None:
        self._namespaces.destroy(namespace)

    def blockers(self, namespace: str) -> list[str]:
        return self._namespaces.blockers(namespace)

    # ── parts ───────────────────────────────────────────────────────────────────────────────

    def _common(self, namespace: str) -> dict[str, str]:
        return lab.common_labels(self._namespaces.ours(namespace))

    def _dependencies(self, namespace: str) -> Dependencies:
        return Dependencies(self.api, self.settings, namespace, self._common(namespace))


def _unfenced() -> None:
    """For waits that nobody overtakes."""
