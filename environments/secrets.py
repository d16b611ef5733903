"""Secrets at rest: authenticated encryption with keys that can be rotated, and redaction from logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from environments.models import Repository, Secret
from environments.ports import PlatformError, PreviewError, UserError

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
    """The line without any secret's value; of a secret of several lines, without any of its lines."""
    parts = {part.strip() for value in secrets.values() for part in (value, *value.splitlines())}
    # The longest first: one secret may be the beginning of another.
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= SHORTEST_REDACTED:
            line = line.replace(part, MASK)
    return line


def storable(text: str) -> str:
    """Text as Postgres takes it: no NUL, nothing that is not Unicode."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def redact_error(error: PreviewError, secrets: Mapping[str, str]) -> PreviewError:
    """The error, made such that it may be stored and shown: programs print their secrets when they crash."""

    def shown(text: str) -> str:
        return redact(storable(text), secrets)

    error.message, error.hint = shown(error.message), shown(error.hint)
    error.log_tail = tuple(shown(line) for line in error.log_tail)
    error.args = (error.message,)
    return error
