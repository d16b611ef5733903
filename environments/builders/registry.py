"""Asks an image registry, over its HTTP API: is an image there, under which digest, and how does it start.

Speaks the OCI Distribution API (v2) with anonymous, basic and token authentication. Imports no Django.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from environments.ports import PlatformError, UserError

MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
LARGEST_DOCUMENT = 4 << 20
"""Bytes of a manifest or an image's configuration; the specification asks registries for no more than 4 MiB."""
DOCKER_HUB = "docker.io"
DOCKER_HUB_API = "registry-1.docker.io"
DOCKER_HUB_CREDENTIALS = "https://index.docker.io/v1/"
_HOST = r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::\d+)?"
_PATH = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
_REFERENCE = re.compile(rf"(?:({_HOST})/)?({_PATH})(?::([\w][\w.-]{{0,127}}))?(?:@(sha256:[0-9a-f]{{64}}))?", re.ASCII)


@dataclass(frozen=True)
class Reference:
    """An image's name in full: `nginx:1` is `docker.io/library/nginx:1`."""

    host: str
    path: str
    tag: str = "latest"
    digest: str = ""
    """Wins over the tag."""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises UserError(image_missing) for what can't be an image's name."""
        found = _REFERENCE.fullmatch(text.strip())
        if found is None or len(text) > 512:
            raise _no_name(text)
        host, path, tag, digest = found[1] or "", found[2], found[3] or "latest", found[4] or ""
        if host and not (re.search(r"[.:\[]", host) or host == "localhost"):  # `library/nginx` has no host
            host, path = "", f"{host}/{path}"
            if not re.fullmatch(_PATH, path):
                raise _no_name(text)
        host = DOCKER_HUB if host in ("", "index.docker.io", DOCKER_HUB_API) else host
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return cls(host, path, tag, digest)

    @property
    def name(self) -> str:
        return f"{self.host}/{self.path}"

    def pinned(self, digest: str) -> str:
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        return self.pinned(self.digest) if self.digest else f"{self.name}:{self.tag}"


@dataclass(frozen=True)
class ImageConfig:
    """What an image says about how it is run."""

    command: tuple[str, ...]
    """Its entry point and default arguments; empty: it names none."""
    user: int | None
    """Its numeric user id; None: it names none, a name, or root."""


class Registry:
    """Registries as this installation reaches them.

    `docker_config`: the JSON of a Docker `config.json` with credentials (`auths`; no credential helpers).
    `insecure`: hosts that speak plain HTTP, beside those on this machine. `mirrors`: host → base address that is
    asked in its place, `{"docker.io": "http://mirror:5000"}`; an image keeps its own name. `ca`: a file of
    certificate authorities to trust in place of the system's. `timeout`: seconds for each answer.
    """

    def __init__(
        self,
        *,
        docker_config: str = "",
        insecure: Collection[str] = (),
        mirrors: Mapping[str, str] | None = None,
        ca: Path | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._auths: Mapping[str, Any] = json.loads(docker_config).get("auths", {}) if docker_config else {}
        self._insecure = frozenset(insecure)
        self._mirrors = dict(mirrors or {})
        self._ca = ca
        self._timeout = timeout

    def is_insecure(self, host: str) -> bool:
        return host in self._insecure or re.fullmatch(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?", host) is not None

    def find(self, reference: Reference) -> str | None:
        """The digest that the reference has now; None when there is no such image, or none that we may read.

        Raises PlatformError(registry_unavailable)."""
        path = f"manifests/{reference.digest or reference.tag}"
        with self._client() as client:
            answer = self._ask(client, "HEAD", reference, path)
            if answer is None:
                return None
            digest = answer.headers.get("Docker-Content-Digest", "")
            if re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                return str(digest)
            answer = self._ask(client, "GET", reference, path)  # the header is optional
            return f"sha256:{hashlib.sha256(answer.content).hexdigest()}" if answer else None

    def config(self, reference: Reference, digest: str, platform: str = "") -> ImageConfig:
        """Of the image for `platform` (`linux/amd64`; empty: that, or the first) under `digest`.

        Raises UserError(image_missing), PlatformError(registry_unavailable)."""
        with self._client() as client:
            manifest = self._document(client, reference, f"manifests/{digest}")
            if "manifests" in manifest:
                chosen = _for_platform(manifest["manifests"], platform, reference)
                manifest = self._document(client, reference, f"manifests/{chosen}")
            config = self._document(client, reference, f"blobs/{manifest['config']['digest']}").get("config") or {}
        command = (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))
        return ImageConfig(tuple(map(str, command)), _user(str(config.get("User") or "")))

    # ── one question ────────────────────────────────────────────────────────────────────────

    def _client(self) -> httpx.Client:
        return httpx.Client(verify=self._trust, timeout=self._timeout, follow_redirects=True)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._ca) if self._ca else None)

    def _document(self, client: httpx.Client, reference: Reference, path: str) -> dict[str, Any]:
        answer = self._ask(client, "GET", reference, path)
        if answer is None:
            raise UserError("image_missing", f"{reference} lacks a part ({path}).", "Push the image again.")
        try:
            found = json.loads(answer.content)
        except ValueError as error:
            raise _unavailable(reference, "it answered with something that is not JSON") from error
        if not isinstance(found, dict):
            raise _unavailable(reference, "it answered with something that is no manifest")
        return found

    def _ask(self, client: httpx.Client, method: str, reference: Reference, path: str) -> httpx.Response | None:
        """None: not there, or not for us."""
        url = f"{self._base(reference.host)}/v2/{reference.path}/{path}"
        try:
            answer = self._fetch(client, method, url, {})
            if answer.status_code == 401:
                headers = self._authorise(client, answer, reference)
                answer = self._fetch(client, method, url, headers) if headers else answer
        except httpx.HTTPError as error:
            raise _unavailable(reference, str(error) or type(error).__name__) from error
        if answer.status_code in (401, 403, 404):
            return None
        if answer.status_code >= 400:
            raise _unavailable(reference, f"it answered {answer.status_code}")
        return answer

    def _fetch(self, client: httpx.Client, method: str, url: str, headers: Mapping[str, str]) -> httpx.Response:
        with client.stream(method, url, headers={"Accept": f"{MANIFESTS}, */*;q=0.1", **headers}) as answer:
            if int(answer.headers.get("Content-Length") or 0) > LARGEST_DOCUMENT and method != "HEAD":
                raise httpx.DecodingError(f"it sent more than {LARGEST_DOCUMENT >> 20} MiB")
            answer.read()
        return answer

    def _base(self, host: str) -> str:
        if host in self._mirrors:
            return self._mirrors[host].rstrip("/")
        if host == DOCKER_HUB:
            return f"https://{DOCKER_HUB_API}"
        return f"{'http' if self.is_insecure(host) else 'https'}://{host}"

    # ── authentication ──────────────────────────────────────────────────────────────────────

    def _authorise(self, client: httpx.Client, refused: httpx.Response, reference: Reference) -> dict[str, str]:
        """Headers that answer the challenge; empty: there are no credentials for it."""
        challenge = refused.headers.get("WWW-Authenticate", "")
        scheme, _, rest = challenge.partition(" ")
        credentials = self._credentials(reference.host)
        if scheme.lower() == "basic":
            return {"Authorization": f"Basic {credentials}"} if credentials else {}
        facts = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in facts:
            return {}
        asked = {"scope": f"repository:{reference.path}:pull"}
        asked |= {"service": facts["service"]} if "service" in facts else {}
        headers = {"Authorization": f"Basic {credentials}"} if credentials else {}
        answer = client.get(facts["realm"], params=asked, headers=headers)
        if answer.status_code in (401, 403):
            return {}
        if answer.status_code >= 400:
            raise _unavailable(reference, f"{facts['realm']} answered {answer.status_code}")
        token = answer.json().get("token") or answer.json().get("access_token")
        return {"Authorization": f"Bearer {token}"}

    def _credentials(self, host: str) -> str:
        """`user:password` in base64, as both the file and the header have it."""
        names = (DOCKER_HUB_CREDENTIALS, DOCKER_HUB) if host == DOCKER_HUB else (host, f"https://{host}")
        for name in names:
            entry = self._auths.get(name) or {}
            if entry.get("auth"):
                return str(entry["auth"])
            if entry.get("username"):
                return base64.b64encode(f"{entry['username']}:{entry['password']}".encode()).decode()
        return ""


def _no_name(text: str) -> UserError:
    return UserError(
        "image_missing",
        f"`{text[:200]}` can't be the name of an image.",
        "Write it as `registry.example.com/team/name:tag`.",
    )


def _for_platform(manifests: list[dict[str, Any]], platform: str, reference: Reference) -> str:
    """The digest of the platform's image in an index. Attestations, which stand beside it, have no platform."""
    wanted = (platform or "linux/amd64").split("/")
    named = {}
    for entry in manifests:
        where = entry.get("platform") or {}
        if where.get("os") not in (None, "unknown"):
            named[(where["os"], where.get("architecture"))] = str(entry["digest"])
    if (wanted[0], wanted[1]) in named:
        return named[(wanted[0], wanted[1])]
    if platform or not named:
        raise UserError(
            "image_missing", f"{reference} is there, but not for {'/'.join(wanted)}.", "Use another image or tag."
        )
    return next(iter(named.values()))


def _user(written: str) -> int | None:
    name = written.partition(":")[0]
    return int(name) if name.isdecimal() and int(name) > 0 else None


def _unavailable(reference: Reference, why: str) -> PlatformError:
    return PlatformError(
        "registry_unavailable",
        f"The registry {reference.host} could not be asked for {reference.path}: {why}.",
        "It is tried again; an operator checks the registry.",
    )
