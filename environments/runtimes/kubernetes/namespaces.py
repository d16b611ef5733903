"""Namespaces that are ours: made, recognised, deleted, and what holds one that should be gone."""

from __future__ import annotations

from collections.abc import Mapping

from environments.ports import Labels, OwnedNamespace, PlatformError
from environments.runtimes.kubernetes.api import Api
from environments.runtimes.kubernetes.feed import Change, Feed
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests import namespace as manifests
from environments.runtimes.manifests.labels import DOMAIN, Manifest
from environments.runtimes.manifests.settings import ClusterSettings

GONE_TIMEOUT = 90.0
"""Seconds for a deletion: the namespace controller's own 5, and the longest grace period, and some."""
HELD = (
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
)
"""Conditions by which the namespace controller says what it waits for."""


class Namespaces:
    def __init__(self, api: Api, settings: ClusterSettings) -> None:
        self._api = api
        self._settings = settings
        self._owner = lab.label_value(settings.owner)

    def ensure(self, name: str, labels: Labels) -> Manifest:
        found = self._api.get("Namespace", None, name)
        if found is not None and self.is_ours(found) and _terminating(found):
            self.wait_gone(name, str(found["metadata"]["uid"]))
            found = None
        if found is None:
            found = self._api.create(manifests.namespace(self._settings, name, labels))
        if found is None:  # another worker made it just now
            found = self._api.get("Namespace", None, name)
        if found is None or not self.is_ours(found):
            raise _taken(name)
        wanted = manifests.namespace(self._settings, name, labels)
        if not _has(found, wanted):
            wanted["metadata"]["uid"] = found["metadata"]["uid"]  # that very namespace, or none
            found = self._api.apply(wanted)
        self._build_walls(found)
        return found

    def ours(self, name: str) -> Manifest:
        """The namespace. Raises PlatformError(namespace_missing | namespace_taken)."""
        found = self._api.get("Namespace", None, name)
        if found is None or (self.is_ours(found) and _terminating(found)):
            raise PlatformError(
                "namespace_missing",
                f"The namespace {name} is not in the cluster (any more).",
                "Nothing to do: it is made again if it is still wanted.",
            )
        if not self.is_ours(found):
            raise _taken(name)
        return found

    def find(self, name: str) -> Manifest | None:
        """None: there is none, or it is not ours."""
        found = self._api.get("Namespace", None, name)
        return found if found is not None and self.is_ours(found) else None

    def owned(self) -> list[OwnedNamespace]:
        found = self._api.list("Namespace", labels=lab.selector(**{lab.OWNER: self._owner}))
        return [OwnedNamespace(each["metadata"]["name"], each["metadata"]["uid"], labels_of(each)) for each in found]

    def destroy(self, name: str) -> None:
        """One delete; everything in it goes with it. Not there, or not ours: nothing is done."""
        found = self.find(name)
        if found is None:
            return
        uid = str(found["metadata"]["uid"])
        if not _terminating(found):
            self._api.delete("Namespace", None, name, uid=uid)
        self.wait_gone(name, uid)

    def wait_gone(self, name: str, uid: str) -> None:
        """Raises PlatformError(teardown_stuck) with what holds it."""
        waited = 0.0
        with Feed(self._api) as feed:
            feed.watch("Namespace", None, fields=f"metadata.name={name}")
            there = None
            while waited < GONE_TIMEOUT:
                item = feed.next()
                if isinstance(item, Change) and item.what != "AGAIN":
                    there = item.what != "DELETED" and item.manifest["metadata"]["uid"] == uid
                if there is False:
                    return
                if item is None:
                    waited += 0.5
                    # A watch that began after its end says nothing about it.
                    if there is None and self._uid(name) != uid:
                        return
        left = self.blockers(name)
        if left:
            raise PlatformError(
                "teardown_stuck",
                f"The namespace {name} is not gone after {GONE_TIMEOUT:.0f} s: {'; '.join(left)}",
                "It is tried again. An operator mends what is named: a finalizer's controller, an API service.",
            )

    def blockers(self, name: str) -> list[str]:
        found = self.find(name)
        if found is None:
            return []
        status = found.get("status", {})
        held = [
            str(condition["message"])
            for condition in status.get("conditions", [])
            if condition["type"] in HELD and condition["status"] == "True"
        ]
        finalizers = found["metadata"].get("finalizers") or []
        held += [f"finalizer {finalizer} on the namespace itself" for finalizer in finalizers]
        return held or [f"namespace {name} is {status.get('phase', 'there')}"]

    def is_ours(self, namespace: Manifest) -> bool:
        return bool((namespace["metadata"].get("labels") or {}).get(lab.OWNER) == self._owner)

    def _uid(self, name: str) -> str | None:
        found = self._api.get("Namespace", None, name)
        return str(found["metadata"]["uid"]) if found else None

    def _build_walls(self, namespace: Manifest) -> None:
        """All of them, also when it is there already: half of them may be, or of an older version."""
        name = namespace["metadata"]["name"]
        for wall in manifests.walls(self._settings, name, lab.common_labels(namespace)):
            self._api.apply(wall)


def labels_of(namespace: Manifest) -> Mapping[str, str]:
    """As they were given, from the annotations."""
    found = namespace["metadata"].get("annotations") or {}
    prefix = f"{DOMAIN}/"
    own = (lab.ASLEEP,)
    return {name[len(prefix) :]: text for name, text in found.items() if name.startswith(prefix) and name not in own}


def _terminating(namespace: Manifest) -> bool:
    return "deletionTimestamp" in namespace["metadata"]


def _has(found: Manifest, wanted: Manifest) -> bool:
    """Whether all labels and annotations that we want are there."""
    return all(
        (found["metadata"].get(part) or {}).get(name) == text
        for part in ("labels", "annotations")
        for name, text in wanted["metadata"][part].items()
    )


def _taken(name: str) -> PlatformError:
    return PlatformError(
        "namespace_taken",
        f"The cluster has a namespace {name} that is not PreviewKit's.",
        "PreviewKit leaves it alone. An operator renames or removes it, or gives PreviewKit another OWNER_ID.",
    )
