"""Switches an environment's addresses to a revision, and back to the one that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from environments.ports import PlatformError, Route
from environments.runtimes.kubernetes.api import Api
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests import routes as manifests
from environments.runtimes.manifests.labels import Manifest, revision_name
from environments.runtimes.manifests.routes import Backend
from environments.runtimes.manifests.services import stable_service
from environments.runtimes.manifests.settings import ClusterSettings


def name_service(api: Api, namespace: str, common: Mapping[str, str], service: str, revision: int, port: int) -> None:
    """Makes the plain name of a service that has none yet; who has one keeps it until the routes are switched.

    Not by a POST: what was once created like that stays in the object beside what is applied later.
    """
    if api.get("Service", namespace, service) is None:
        api.apply(stable_service(namespace, common, service, revision, port))


def apply(
    api: Api,
    settings: ClusterSettings,
    namespace: str,
    common: Mapping[str, str],
    revision: int,
    routes: Sequence[Route],
) -> None:
    """The plain names first, by which gateways go; then all addresses by one write."""
    ports = _ports(api, namespace, revision)
    backends = [_backend(api, namespace, route, revision, ports) for route in routes]
    for service, port in ports.items():
        api.apply(stable_service(namespace, common, service, revision, port))
    wanted = manifests.routes(settings, namespace, common, revision, backends)
    for manifest in wanted:
        api.apply(manifest)
    kind = manifests.route_kinds(settings)
    names = {manifest["metadata"]["name"] for manifest in wanted}
    for found in current(api, settings, namespace):
        if found["metadata"]["name"] not in names:
            api.delete(kind, namespace, found["metadata"]["name"])


def current(api: Api, settings: ClusterSettings, namespace: str) -> list[Manifest]:
    ours = lab.selector(**{lab.MANAGED_BY: lab.FIELD_MANAGER})
    return api.list(manifests.route_kinds(settings), namespace, ours)


def return_to(api: Api, settings: ClusterSettings, namespace: str, common: Mapping[str, str], keep: int) -> None:
    """Routes that lead to another revision, which is about to be removed, lead to `keep` again."""
    found = current(api, settings, namespace)
    if found and manifests.routed_revision(found) != keep and _ports(api, namespace, keep):
        routes = [Route(host, target) for host, target in manifests.routed_targets(found).items()]
        apply(api, settings, namespace, common, keep, routes)


def forget_stable(api: Api, namespace: str, keep: int | None) -> None:
    """Plain names of services that `keep` does not have."""
    kept = set(_ports(api, namespace, keep)) if keep is not None else set()
    for service in api.list("Service", namespace, f"{lab.SERVICE},!{lab.REVISION}"):
        routed = service["metadata"].get("annotations", {}).get(lab.ROUTED)
        # 0: a gateway's, made before there was any such service.
        if routed != "0" and service["metadata"]["name"] not in kept:
            api.delete("Service", namespace, service["metadata"]["name"])


def _ports(api: Api, namespace: str, revision: int) -> dict[str, int]:
    """Service → port, of those of this revision that have one."""
    found = api.list("Service", namespace, lab.selector(**{lab.REVISION: str(revision)}))
    return {each["metadata"]["labels"][lab.SERVICE]: int(each["spec"]["ports"][0]["port"]) for each in found}


def _backend(api: Api, namespace: str, route: Route, revision: int, ports: Mapping[str, int]) -> Backend:
    if route.target in ports:
        return Backend(route.host, route.target, revision_name(route.target, revision), ports[route.target])
    found = api.get("Service", namespace, route.target)
    if found is None:
        raise PlatformError(
            "route_failed", f"{route.host} can't lead to {route.target}: {namespace} has no such service with a port."
        )
    return Backend(route.host, route.target, route.target, int(found["spec"]["ports"][0]["port"]))
