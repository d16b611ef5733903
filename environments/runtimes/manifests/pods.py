"""What every pod of an environment has: no rights, no token, limits, and its variables from a Secret."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from environments.runtimes.manifests.labels import Manifest, checksum, meta
from environments.runtimes.manifests.settings import ClusterSettings
from environments.spec import Resources

CONTAINER = "main"
REACHED_TIMEOUT = 60
"""Seconds, after which the program starts all the same, and says itself what it misses."""
REACH = """
for address in "$@"; do
  for try in $(seq 1 %d); do
    (exec 3<>"/dev/tcp/${address%%%%:*}/${address##*:}") 2>/dev/null && break
    sleep 0.1
  done
done
"""


@dataclass(frozen=True)
class After:
    """What a pod waits for before its program starts: dependencies that it reaches.

    Not only for a wake, when all starts at once: the network takes a moment to learn that a new pod is of this
    namespace, and a migration that comes first would be refused."""

    image: str
    """Of a dependency, so that the node has it already; it has `bash`."""
    user: int
    addresses: tuple[str, ...]
    """`host:port`"""


def container(
    image: str, command: tuple[str, ...] | str, resources: Resources, settings: ClusterSettings
) -> dict[str, Any]:
    """`command`: a tuple is run as it is, a string by `sh -c`, an empty one leaves the image's own."""
    found: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "resources": limits(resources, settings),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if command:
        found["command"] = ["sh", "-c", command] if isinstance(command, str) else list(command)
    if settings.pod_security != "restricted":
        del found["securityContext"]["capabilities"]  # a root image may need those that baseline allows
    return found


def probes(start: Manifest, seconds: int, later: Manifest | None = None) -> dict[str, Any]:
    """Asked each second while it starts, then each five. No liveness probe: a preview that hangs is to be seen, not
    to be restarted away. `later`: something cheaper to ask from then on."""
    often = {"periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": seconds}
    rarely = {"periodSeconds": 5, "timeoutSeconds": 10, "failureThreshold": 3}
    return {"startupProbe": {**often, **start}, "readinessProbe": {**rarely, **(later or start)}}


def limits(resources: Resources, settings: ClusterSettings) -> Manifest:
    cpu, memory = round(resources.cpu * 1000), resources.memory
    return {
        "limits": {"cpu": f"{cpu}m", "memory": str(memory)},
        "requests": {
            "cpu": f"{max(round(cpu * settings.cpu_request), 1)}m",
            "memory": str(int(memory * settings.memory_request)),
        },
    }


def pod_spec(
    main: dict[str, Any], settings: ClusterSettings, *, user: int | None, grace: int, after: After | None = None
) -> dict[str, Any]:
    security: dict[str, Any] = {
        "seccompProfile": {"type": "RuntimeDefault"},
        # Any user may listen on port 80 here, as in the containers that developers know.
        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
    }
    if settings.pod_security == "restricted":
        security |= {"runAsNonRoot": True, "runAsUser": user or settings.run_as}
    elif user:
        security["runAsUser"] = user
    return {
        **({"initContainers": [wait_container(after, settings)]} if after else {}),
        "containers": [main],
        "automountServiceAccountToken": False,
        # Docker-style variables such as WEB_PORT=tcp://… would overwrite what programs read as their own.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": security,
    }


def secret(namespace: str, name: str, labels: Mapping[str, str], values: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": meta(namespace, name, labels),
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in sorted(values.items())},
    }


def wait_container(after: After, settings: ClusterSettings) -> dict[str, Any]:
    script = REACH % (REACHED_TIMEOUT * 10)
    resources = Resources(cpu=0.2, memory=32 * 1024 * 1024)
    found = container(after.image, ("bash", "-c", script, "reach", *after.addresses), resources, settings)
    return {**found, "name": "reach", "securityContext": {**found["securityContext"], "runAsUser": after.user}}


def values_checksum(values: Mapping[str, str]) -> str:
    """Changes when a value does; says nothing about it."""
    return checksum(sorted(values.items()))
