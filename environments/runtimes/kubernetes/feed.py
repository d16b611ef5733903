"""What happens in a namespace, as one stream: watches that resume, and logs as they are written.

Each source reads in a thread of its own into one queue; the reader of the queue never waits longer than it
likes, so that it can look at its fence.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import urllib3
from urllib3.exceptions import HTTPError

from environments.ports import PlatformError, PreviewError
from environments.runtimes.kubernetes.api import Api, log_path
from environments.runtimes.kubernetes.kinds import path_of
from environments.runtimes.manifests.labels import Manifest

WATCH_SECONDS = 300
"""The server ends a watch after this long; it is resumed where it was."""
LONGEST_LINE = 4000
STEP = 0.5
FAILURES = 4
"""In a row, after which a watch gives up; each was tried several times already."""


@dataclass(frozen=True)
class Change:
    """One object as it is now; `AGAIN`: all objects of the kind follow, forget those that were known."""

    kind: str
    what: Literal["ADDED", "MODIFIED", "DELETED", "AGAIN"]
    manifest: Manifest = field(default_factory=dict)


@dataclass(frozen=True)
class LogLine:
    source: str
    text: str


@dataclass(frozen=True)
class LogEnd:
    source: str


Item = Change | LogLine | LogEnd


class Feed:
    """Use as a context: leaving it ends all its threads."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._items: queue.SimpleQueue[Item | PreviewError] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open: set[urllib3.BaseHTTPResponse] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with self._lock:
            for response in self._open:
                _cut(response)
        for thread in self._threads:
            thread.join(timeout=10)

    def watch(self, kind: str, namespace: str | None, *, labels: str = "", fields: str = "") -> None:
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        query |= {name: text for name, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}
        self._start(f"watch-{kind}", self._watch, kind, path_of(kind, namespace), query)

    def follow(self, source: str, namespace: str, pod: str, container: str) -> None:
        """The lines of a container from its start to its end, then a LogEnd."""
        query = {"container": container, "follow": "true"}
        self._start(f"log-{pod}", self._follow, source, log_path(namespace, pod), query)

    def next(self, timeout: float = STEP) -> Item | None:
        """None: nothing happened in that time. Raises the error that a source ended with."""
        try:
            item = self._items.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(item, PreviewError):
            raise item
        return item

    # ── in their own threads ────────────────────────────────────────────────────────────────

    def _start(self, name: str, run: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=self._guarded, args=(run, arguments), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _guarded(self, run: Any, arguments: tuple[Any, ...]) -> None:
        try:
            run(*arguments)
        except PreviewError as error:
            self._items.put(error)
        except Exception as error:  # noqa: BLE001 -- nobody else would ever hear of it
            self._items.put(PlatformError("internal", f"Watching the cluster failed: {type(error).__name__}: {error}"))

    def _watch(self, kind: str, path: str, query: dict[str, str]) -> None:
        """Without a version the server begins with all objects; with one, where we were."""
        version, failures = "", 0
        while not self._closed:
            if not version:
                self._items.put(Change(kind, "AGAIN"))
            try:
                for event in self._events(path, {**query, **({"resourceVersion": version} if version else {})}):
                    version = self._said(kind, event)
                    failures = 0
                    if not version:
                        break
            except PlatformError:
                failures += 1
                if failures >= FAILURES:
                    raise
                time.sleep(min(0.2 * 2**failures, 3))

    def _said(self, kind: str, event: Manifest) -> str:
        """The version to resume at; empty: it is too old to resume, begin again."""
        what, manifest = event["type"], event["object"]
        if what == "ERROR":
            if manifest.get("code") in (410, 500, 504):
                return ""
            raise PlatformError("runtime_unavailable", f"The cluster ended a watch: {manifest.get('message')}")
        if what != "BOOKMARK":
            self._items.put(Change(kind, what, manifest))
        return str(manifest["metadata"]["resourceVersion"])

    def _events(self, path: str, query: dict[str, str]) -> Iterator[Manifest]:
        for line in self._lines(path, query):
            yield json.loads(line)

    def _follow(self, source: str, path: str, query: dict[str, str]) -> None:
        """A log that breaks off is taken up at its next line; the API can't say where it was, so we count."""
        seen, failures = 0, 0
        while not self._closed:
            try:
                for number, line in enumerate(self._lines(path, query)):
                    if number >= seen:
                        seen, failures = number + 1, 0
                        self._items.put(LogLine(source, line.decode("utf-8", errors="replace")[:LONGEST_LINE]))
                break
            except PlatformError:
                failures += 1
                if failures >= FAILURES:
                    raise
                time.sleep(min(0.2 * 2**failures, 3))
            except PreviewError:
                break  # the container is not there any more
        self._items.put(LogEnd(source))

    def _lines(self, path: str, query: dict[str, str]) -> Iterator[bytes]:
        response = self._api.open(path, query)
        with self._lock:
            self._open.add(response)
        try:
            if not self._closed:
                yield from _split(response)
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            # The last two: what ssl and http.client say when the socket is shut down under them.
            if not self._closed:
                raise PlatformError("runtime_unavailable", f"The cluster broke off {path}: {error}") from error
        finally:
            with self._lock:
                self._open.discard(response)
            response.close()


def _split(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    rest = b""
    # As it comes: read1 does not wait for a buffer to fill.
    while chunk := response.read1(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines)
    if rest:
        yield rest


def _cut(response: urllib3.BaseHTTPResponse) -> None:
    """Ends a read that waits in another thread."""
    try:
        response.shutdown()
    except (ValueError, RuntimeError, OSError):
        return  # it has ended by itself
