"""The Kubernetes API: requests with time-outs and retries, and its refusals in our words. Knows no previews.

The only importer of `kubernetes`, which brings configuration, credentials, TLS and the exec protocol; objects
go in and out as the API writes them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
import websocket
import yaml
from kubernetes import config
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException
from kubernetes.stream.ws_client import ERROR_CHANNEL, WSClient, websocket_call
from urllib3.exceptions import HTTPError, MaxRetryError

from environments.ports import Fence, PlatformError
from environments.runtimes.kubernetes.kinds import KINDS, path_of
from environments.runtimes.kubernetes.refusals import refusal
from environments.runtimes.manifests.labels import FIELD_MANAGER, Manifest

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 45.0
"""An API server under load may take 30 s; one that takes longer is not there."""
STREAM_SILENCE = 330.0
"""Seconds without a byte after which a stream is given up; watches are ended by the server before."""
CONFLICTS = 5
"""Tries to apply what another worker applies in the same moment."""
POOL = 64
"""Connections that are kept; more threads than that open connections of their own."""
RETRIES = urllib3.Retry(
    connect=3,
    read=1,
    status=5,
    other=1,
    total=6,
    status_forcelist=(429, 500, 502, 503, 504),
    # Applying and merging are idempotent, and a second POST of the same name is a 409.
    allowed_methods=None,
    backoff_factor=0.25,
    backoff_max=10,
    backoff_jitter=0.25,
    respect_retry_after_header=True,
    retry_after_max=20,
    raise_on_status=False,
)


@dataclass(frozen=True)
class Executed:
    code: int
    output: str


def connect(kubeconfig: str | None = None, context: str | None = None) -> ApiClient:
    """By a kubeconfig file, by KUBECONFIG or ~/.kube/config, or by the account of the pod that this runs in.

    Raises PlatformError(cluster_credentials) when there is none of them.
    """
    settings = Configuration()
    try:
        if kubeconfig is None and context is None:
            try:
                config.load_incluster_config(client_configuration=settings)
            except ConfigException:
                config.load_kube_config(client_configuration=settings)
        else:
            config.load_kube_config(kubeconfig, context=context, client_configuration=settings)
    except (ConfigException, OSError, yaml.YAMLError) as error:
        raise PlatformError(
            "cluster_credentials",
            f"There is no way into the cluster: {error}.",
            "Set KUBECONFIG to a file with a context, or run PreviewKit in the cluster.",
        ) from error
    settings.connection_pool_maxsize = POOL
    settings.retries = RETRIES
    return ApiClient(settings)


class Api:
    """Thread-safe. Credentials that expired are read anew, once, before giving up."""

    def __init__(self, client: Callable[[], ApiClient] = connect) -> None:
        # Has no other way to bound a websocket's handshake and silence.
        websocket.setdefaulttimeout(READ_TIMEOUT)  # type: ignore[no-untyped-call,unused-ignore]
        self._make = client
        self._client = client()
        self._lock = Lock()
        self.requests = 0
        """How many there were: the benchmark counts them."""

    @property
    def client(self) -> ApiClient:
        """The one in use now."""
        return self._client

    # ── objects ─────────────────────────────────────────────────────────────────────────────

    def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply: makes it, or brings the fields that it states into the stated state."""
        path = path_of(manifest["kind"], manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        for _ in range(CONFLICTS):
            found = self._ask("PATCH", path, query, body=manifest, media="application/apply-patch+yaml", allow=(409,))
            if found.status != 409:
                return _parsed(found.data)
        raise refusal("PATCH", path, 409, found.data)

    def create(self, manifest: Manifest) -> Manifest | None:
        """None: there is one of that name already."""
        kind, namespace = manifest["kind"], manifest["metadata"].get("namespace")
        query = {"fieldManager": FIELD_MANAGER}
        found = self._ask("POST", path_of(kind, namespace), query, body=manifest, allow=(409,))
        if found.status == 409 and _reason(found.data) != "AlreadyExists":
            raise refusal("POST", path_of(kind, namespace), 409, found.data)
        return None if found.status == 409 else _parsed(found.data)

    def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        found = self._ask("GET", path_of(kind, namespace, name), allow=(404,))
        return None if found.status == 404 else _parsed(found.data)

    def list(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Manifest]:
        """In pages of 500; a kind that the cluster does not have has no objects."""
        items: list[Manifest] = []
        query = {"limit": "500", **({"labelSelector": labels} if labels else {})}
        while True:
            found = self._ask("GET", path_of(kind, namespace), query, allow=(404,))
            if found.status == 404:
                return items
            page = _parsed(found.data)
            items += [{"kind": kind, "apiVersion": KINDS[kind].version, **item} for item in page["items"]]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return items

    def merge(self, kind: str, namespace: str | None, name: str, change: Manifest) -> Manifest | None:
        """Changes what is stated of an object that exists; None: it does not."""
        found = self._ask(
            "PATCH",
            path_of(kind, namespace, name),
            {"fieldManager": FIELD_MANAGER},
            body=change,
            media="application/merge-patch+json",
            allow=(404,),
        )
        return None if found.status == 404 else _parsed(found.data)

    def delete(self, kind: str, namespace: str | None, name: str, uid: str | None = None) -> bool:
        """False: it was not there (or, with `uid`, another one is)."""
        body: Manifest = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        found = self._ask("DELETE", path_of(kind, namespace, name), body=body, allow=(404, 409))
        return found.status not in (404, 409)

    def delete_all(self, kind: str, namespace: str, labels: str) -> None:
        query = {"labelSelector": labels}
        self._ask("DELETE", path_of(kind, namespace), query, body={"propagationPolicy": "Background"}, allow=(404,))

    # ── streams ─────────────────────────────────────────────────────────────────────────────

    def read(self, path: str, query: Mapping[str, str], allow: tuple[int, ...] = ()) -> str | None:
        """A text, such as a log; None where the status is one of `allow`."""
        found = self._ask("GET", path, query, allow=allow)
        return None if found.status in allow else found.data.decode("utf-8", errors="replace")

    def open(self, path: str, query: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """An answer that goes on: a watch, a followed log. The caller closes it."""
        response = self._request("GET", path, query, None, "", stream=True)
        if response.status >= 400:
            body = response.read()
            response.close()
            raise refusal("GET", path, response.status, body)
        return response

    def execute(
        self, namespace: str, pod: str, container: str, argv: tuple[str, ...], timeout: float, fence: Fence
    ) -> Executed:
        """Runs a command in a container to its end. Raises PlatformError(runtime_unavailable)."""
        pairs = [("container", container), ("stdout", "true"), ("stderr", "true")]
        pairs += [("command", word) for word in argv]
        url = f"{self._client.configuration.host}{path_of('Pod', namespace, pod)}/exec?{urlencode(pairs)}"
        deadline = time.monotonic() + timeout
        self.requests += 1
        try:
            channel: WSClient = websocket_call(
                self._client.configuration, "GET", url, headers=self._headers(""), _preload_content=False
            )
        except ApiException as error:
            raise _unreachable(f"exec in {namespace}/{pod}", error.reason) from error
        try:
            while channel.is_open():
                fence()
                if time.monotonic() > deadline:
                    raise _unreachable(f"exec in {namespace}/{pod}", f"{argv[0]} took more than {timeout:.0f} s")
                channel.update(timeout=0.5)
            return Executed(_exit_code(channel), str(channel.read_all()))
        except (websocket.WebSocketException, OSError) as error:
            raise _unreachable(f"exec in {namespace}/{pod}", error) from error
        finally:
            channel.close()
            channel.sock.shutdown()  # where the other side closed first, close() leaves the socket open

    # ── requests ────────────────────────────────────────────────────────────────────────────

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Manifest | None = None,
        media: str = "application/json",
        allow: tuple[int, ...] = (),
    ) -> urllib3.BaseHTTPResponse:
        client = self._client
        found = self._request(method, path, query or {}, body, media)
        if found.status == 401:
            self._renew(client)
            found = self._request(method, path, query or {}, body, media)
        if found.status >= 400 and found.status not in allow:
            raise refusal(method, path, found.status, found.data)
        return found

    def _request(
        self, method: str, path: str, query: Mapping[str, str], body: Manifest | None, media: str, stream: bool = False
    ) -> urllib3.BaseHTTPResponse:
        client = self._client
        url = f"{client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        self.requests += 1
        try:
            return client.rest_client.pool_manager.request(
                method,
                url,
                body=json.dumps(body) if body is not None else None,
                headers=self._headers(media if body is not None else ""),
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=STREAM_SILENCE if stream else READ_TIMEOUT),
                retries=RETRIES,
                preload_content=not stream,
            )
        except MaxRetryError as error:
            raise _unreachable(f"{method} {path}", error.reason or error) from error
        except HTTPError as error:
            raise _unreachable(f"{method} {path}", error) from error

    def _headers(self, media: str) -> dict[str, str]:
        headers: dict[str, str] = {"Accept": "application/json", "User-Agent": "previewkit"}
        if media:
            headers["Content-Type"] = media
        self._client.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return headers

    def _renew(self, expired: ApiClient) -> None:
        with self._lock:
            if self._client is expired:
                self._client = self._make()


def log_path(namespace: str, pod: str) -> str:
    return f"{path_of('Pod', namespace, quote(pod))}/log"


def _exit_code(channel: WSClient) -> int:
    """0, the command's own code, or 126 when it could not be started."""
    status = yaml.safe_load(channel.read_channel(ERROR_CHANNEL)) or {}
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or []
    codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
    return int(codes[0]) if codes else 126


def _parsed(body: bytes) -> Manifest:
    found: Manifest = json.loads(body)
    return found


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body).get("reason", ""))
    except (ValueError, AttributeError):
        return ""


def _unreachable(what: str, why: Any) -> PlatformError:
    return PlatformError(
        "runtime_unavailable",
        f"The cluster did not answer ({what}): {why}.",
        "It is tried again. If it goes on: is the API server up, and reachable from PreviewKit?",
    )
