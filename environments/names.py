"""Names that leave the control plane: namespaces and host labels, DNS-safe and the same every time.

Imports no Django. Every name ends in a hash, so that what is cut off in the middle never makes two names
equal. A name of a pull request ends in 8 hex digits, all others in 12: the two kinds can't meet.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

LABEL_LIMIT = 63
"""Characters of one DNS label (RFC 1035, §2.3.4); also Kubernetes' limit for a namespace."""

SERVICE_LIMIT = 32
"""Characters of a service's name: leaves room for number and hash in its host label."""

NUMBER_LIMIT = 10**10

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_label(text: str) -> bool:
    """Whether `text` can stand as one label of a host name, as it is."""
    return _LABEL.fullmatch(text) is not None


def slug(text: str, limit: int = LABEL_LIMIT) -> str:
    """`text` in the letters of a DNS label, at most `limit` characters; `x` where nothing is left of it.

    Many texts have the same slug: it is for people to read, and needs a hash beside it to be unique.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:limit].rstrip("-") or "x"


def namespace(provider: str, owner: str, repo: str, target: int | str) -> str:
    """The namespace of a pull request (`target` is its number) or of a pinned branch (its name).

    `preview-{repo slug}-{number}-{hash of the repository}`, and
    `preview-{repo slug}-b-{branch slug}-{hash of repository and branch}`.
    """
    repository = _repository(provider, owner, repo)
    if isinstance(target, int):
        return _fit("preview-", repo, f"-{_number(target)}-{_hash(8, repository)}")
    branch = slug(target, 20)
    return _fit("preview-", repo, f"-b-{branch}-{_hash(12, repository, target)}")


def host_label(service: str, provider: str, owner: str, repo: str, target: int | str) -> str:
    """The host's first label for a service of a pull request (`target`: its number) or a branch (its name).

    `{service}-pr-{number}-{repo slug}-{hash of the repository}`, the hash being that of the namespace unless
    something has to be cut; `{service}-{branch slug}-{repo slug}-{hash of all of it}`.
    """
    repository = _repository(provider, owner, repo)
    name = slug(service, SERVICE_LIMIT)
    if isinstance(target, str):
        branch = slug(target, min(20, 42 - len(name)))
        return _fit(f"{name}-{branch}-", repo, f"-{_hash(12, repository, target, service)}")
    whole = f"{name}-pr-{_number(target)}-{slug(repo, 100)}-{_hash(8, repository)}"
    if name == service and len(whole) <= LABEL_LIMIT:
        return whole
    return _fit(f"{name}-pr-{target}-", repo, f"-{_hash(12, repository, str(target), service)}")


def repository_slug(provider: str, owner: str, repo: str) -> str:
    """A repository's name for mirrors and caches: readable, and distinct for distinct repositories."""
    return _fit("", repo, f"-{_hash(12, _repository(provider, owner, repo))}")


def _fit(before: str, repo: str, after: str) -> str:
    return before + slug(repo, LABEL_LIMIT - len(before) - len(after)) + after


def _number(number: int) -> int:
    if not 0 < number < NUMBER_LIMIT:
        raise ValueError(f"{number} can't be the number of a pull request")
    return number


def _repository(provider: str, owner: str, repo: str) -> str:
    # The slash parts them in the hash; only an owner may hold one (a group within a group).
    if not repo or "/" in repo or not provider or "/" in provider:
        raise ValueError(f"{provider}/{owner}/{repo} can't be told apart from another repository")
    return f"{provider}/{owner}/{repo}"


def _hash(digits: int, *parts: str) -> str:
    # NUL is in no name of a repository, branch or service: no two lists of parts join to the same text.
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:digits]
