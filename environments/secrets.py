"""Secrets at rest: authenticated encryption with keys that can be rotated, and redaction from logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from environments.models import Repository, Secret
from environments.ports import PlatformError, UserError

MASK = "•••"
SHORTEST_REDACTED = 4
"""Shorter values would blank ordinary words out of the logs."""


def _box() -> MultiFernet:
    """The first of ENCRYPTION_KEYS encrypts; all of them decrypt."""
    return MultiFernet([Fernet(key) for key in settings.ENCRYPTION_KEYS])


def put(repository: Repository, name: str, value: str) -> None:
    Secret.objects.update_or_create(
        repository=repository, name=name, defaults={"ciphertext": _box().encrypt(value.encode()).decode()}
    )


def values(repository: Repository, names: Iterable[str]) -> dict[str, str]:
    """The named secrets' values. Raises UserError(secret_missing) that lists those without one."""
    wanted = set(names)
    rows = Secret.objects.filter(repository=repository, name__in=wanted)
    try:
        found = {row.name: _box().decrypt(row.ciphertext.encode()).decode() for row in rows}
    except InvalidToken as error:
        raise PlatformError(
            "internal", f"A secret of {repository} can't be decrypted.", "Add its old key to ENCRYPTION_KEYS."
        ) from error
    missing = sorted(wanted - found.keys())
    if missing:
        raise UserError(
            "secret_missing",
            f"{repository} has no value for {', '.join(missing)}.",
            f"Set it: previewkit secret set {repository.name} {missing[0]}",
        )
    return found


def redact(line: str, secrets: Mapping[str, str]) -> str:
    """The line without any secret's value."""
    for value in secrets.values():
        if len(value) >= SHORTEST_REDACTED and value in line:
            line = line.replace(value, MASK)
    return line
