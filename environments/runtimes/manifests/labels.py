"""How our objects are named and labelled, so that each is found by what it belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from environments.names import slug

Manifest = dict[str, Any]
"""One Kubernetes object, as the API takes and gives it."""

FIELD_MANAGER = "previewkit"
DOMAIN = "previewkit.dev"
OWNER = f"{DOMAIN}/owner"
SERVICE = f"{DOMAIN}/service"
REVISION = f"{DOMAIN}/revision"
"""The deployment's generation."""
DEPENDENCY = f"{DOMAIN}/dependency"
RECIPE = f"{DOMAIN}/recipe"
JOB = f"{DOMAIN}/job"
JOB_KIND = f"{DOMAIN}/job-kind"
PUBLIC = f"{DOMAIN}/public"
"""On pods that the ingress controller may reach."""
MANAGED_BY = "app.kubernetes.io/managed-by"

REPLICAS = f"{DOMAIN}/replicas"
"""Annotation: how many replicas there are when it is awake."""
ASLEEP = f"{DOMAIN}/asleep"
CHECKSUM = f"{DOMAIN}/checksum"
"""Annotation on pods: another value, another pod."""
ROUTED = f"{DOMAIN}/routed-revision"
TARGETS = f"{DOMAIN}/targets"

_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def label_value(text: str) -> str:
    """`text` itself where it can be a label's value, else something readable that is different for different texts."""
    if _VALUE.fullmatch(text):
        return text
    return f"{slug(text, 50)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def environment_labels(owner: str, labels: Mapping[str, str]) -> dict[str, str]:
    """What every object of an environment carries."""
    ours = {f"{DOMAIN}/{name}": label_value(value) for name, value in labels.items()}
    return {**ours, OWNER: label_value(owner), MANAGED_BY: FIELD_MANAGER}


def label_texts(owner: str, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels' unchanged texts, which may be longer and of more letters than a label's value."""
    return {**{f"{DOMAIN}/{name}": value for name, value in labels.items()}, OWNER: owner}


def common_labels(namespace: Manifest) -> dict[str, str]:
    """Of a namespace that is ours, what all the objects in it carry too."""
    labels: dict[str, str] = namespace["metadata"].get("labels", {})
    return {name: value for name, value in labels.items() if name.startswith(f"{DOMAIN}/") or name == MANAGED_BY}


def meta(
    namespace: str, name: str, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None
) -> Manifest:
    found: Manifest = {"namespace": namespace, "name": name, "labels": dict(labels)}
    if annotations:
        found["annotations"] = dict(annotations)
    return found


def service_labels(common: Mapping[str, str], service: str, revision: int) -> dict[str, str]:
    return {**common, SERVICE: service, REVISION: str(revision)}


def revision_name(service: str, revision: int) -> str:
    """Deployment, Service and Secret of one revision; the name at which services of that revision reach it."""
    return f"{service}-r{revision}"


def selector(**labels: str) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def checksum(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
