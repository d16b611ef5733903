"""What the API server refuses, and what a controller could not make: in our families of errors, with a way out."""

from __future__ import annotations

import json
import re

from environments.ports import PlatformError, PreviewError, UserError

DENIED = re.compile(r'admission webhook "[^"]+" denied|violates PodSecurity|ValidatingAdmissionPolicy')
QUOTA = re.compile(r"exceeded quota")
WEBHOOK_BROKEN = re.compile(r"failed calling webhook")
RBAC = re.compile(r'User "[^"]*" cannot')
TERMINATING = re.compile(r"because it is being terminated")


def refusal(method: str, path: str, status: int, body: bytes) -> PreviewError:
    """The error for an answer of 400 or more."""
    message = _message(body)
    what = f"{method} {path}"
    if status == 401:
        return PlatformError(
            "cluster_credentials",
            f"The cluster does not accept PreviewKit's credentials ({what}).",
            "They have probably expired: renew them, or the kubeconfig that holds them.",
        )
    if TERMINATING.search(message) or (status == 404 and "namespaces" in message):
        return PlatformError("namespace_missing", f"The namespace is not there (any more): {message}")
    known = admission(message)
    if known:
        return known
    if status == 403 and RBAC.search(message):
        return PlatformError(
            "cluster_forbidden",
            f"PreviewKit's account may not do this in the cluster: {message}",
            "Give it the rights of the installation's role; they are written out in full.",
        )
    if status in (400, 403, 422):
        return UserError(
            "admission_rejected", f"The cluster does not accept this: {message}", "Correct what the message names."
        )
    if status == 409:
        return PlatformError("runtime_unavailable", f"Somebody else changed the same object: {message}")
    return PlatformError(
        "runtime_unavailable", f"The cluster answered {status} ({what}): {message}", "It is tried again."
    )


def admission(message: str) -> PreviewError | None:
    """What quota, Pod Security and webhooks say: of our request, or in an event about a controller's."""
    if QUOTA.search(message):
        return UserError(
            "quota_exceeded",
            f"The environment would ask for more than it may have: {_brief(message)}",
            "Lower `resources` or `replicas` of its services, or ask an operator for a larger quota.",
        )
    if WEBHOOK_BROKEN.search(message):
        return PlatformError(
            "runtime_unavailable",
            f"A webhook of the cluster does not answer: {_brief(message)}",
            "An operator mends the webhook, or lets it leave out previews.",
        )
    if DENIED.search(message):
        return UserError(
            "admission_rejected",
            f"The cluster's policy does not allow this: {_brief(message)}",
            "Change what the message names, or ask an operator for an exception.",
        )
    return None


def _brief(message: str) -> str:
    """Without the long subject that API messages begin with."""
    return message[-1500:] if len(message) > 1500 else message


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body).get("message", ""))[:4000] or "no reason given"
    except (ValueError, AttributeError):
        return body.decode("utf-8", errors="replace").strip()[:500] or "no reason given"
