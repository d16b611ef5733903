"""Waits for one workload by watching it, says its log, and ends with a diagnosis when it does not come up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from environments.ports import Fence, OnLine, PlatformError, PreviewError
from environments.runtimes.kubernetes.api import Api, log_path
from environments.runtimes.kubernetes.feed import Change, Feed, LogEnd, LogLine
from environments.runtimes.kubernetes.observed import Observed, Trouble
from environments.runtimes.manifests.pods import CONTAINER

TAIL = 30
SETTLE = 2.0
"""A refusal that was there before our last change is gone by then."""
END_SHOWS = 10.0
"""Seconds that a node may take to say that a container ended, after its log did."""
LOG_LIMIT = 512 * 1024


class Wait:
    """One wait for one workload; `report` makes an error of what is wrong."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        kind: str,
        name: str,
        pods: str,
        *,
        on_line: OnLine,
        fence: Fence,
        report: Callable[[Trouble, list[str]], PreviewError],
        patience: float,
    ) -> None:
        self.api = api
        self.namespace = namespace
        self.kind = kind
        self.observed = Observed(name)
        self.last: deque[str] = deque(maxlen=TAIL)
        self.began = time.monotonic()
        self.log_ended = False
        self._ended: dict[str, float] = {}
        """Logs that ended, and when: the first sign that a container did."""
        self._pods = pods
        self._on_line = on_line
        self._fence = fence
        self._report = report
        self._patience = patience
        """Seconds for troubles that may pass by themselves."""
        self._feed: Feed | None = None
        self._followed: dict[tuple[str, str], int] = {}
        """(pod, container) → lines that were said."""
        self._trouble_since: tuple[str, float] | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @contextmanager
    def watching(self) -> Iterator[None]:
        with Feed(self.api) as feed:
            feed.watch(self.kind, self.namespace, fields=f"metadata.name={self.observed.name}")
            feed.watch("Pod", self.namespace, labels=self._pods)
            feed.watch("Event", self.namespace, fields="type=Warning")
            self._feed = feed
            yield

    def step(self) -> bool:
        """Takes what happened next, at most half a second long. True: something did."""
        assert self._feed is not None
        item = self._feed.next()
        self._fence()
        if isinstance(item, Change):
            self.observed.take(item)
            self._follow_new()
        elif isinstance(item, LogLine):
            self._say(item)
        elif isinstance(item, LogEnd):
            self.log_ended = True
            self._ended[item.source] = self.seconds
        return item is not None

    def ready(self) -> bool:
        """As the cluster says; but what the cluster shows as running may have ended a moment ago."""
        just_ended = [
            source
            for pod, container in self.observed.running()
            if "deletionTimestamp" not in self.observed.pods[pod]["metadata"]
            and self.seconds - self._ended.get(source := f"{pod} {container}", -END_SHOWS) < END_SHOWS
        ]
        return not just_ended and self.observed.ready()

    def check(self) -> None:
        """Raises the diagnosis of a trouble that does not pass."""
        trouble = self.observed.trouble()
        if trouble is None:
            self._trouble_since = None
            return
        now = time.monotonic()
        if self._trouble_since is None or self._trouble_since[0] != trouble.kind:
            self._trouble_since = (trouble.kind, now)
        allowed = self._patience if not trouble.settled else SETTLE if trouble.kind == "refused" else 0.0
        if now - self._trouble_since[1] >= allowed and not (trouble.kind == "crashed" and not trouble.settled):
            raise self.diagnosis(trouble)

    def diagnosis(self, trouble: Trouble) -> PreviewError:
        """With the last lines of the program that is in trouble."""
        lines = self._last_lines(trouble.pod) if trouble.kind in ("crashed", "out_of_memory") else []
        return self._report(trouble, lines or list(self.last))

    def finish_log(self) -> None:
        """Says what was written and has not come through the feed yet."""
        assert self._feed is not None
        while (item := self._feed.next(timeout=0.0)) is not None:
            if isinstance(item, LogLine):
                self._say(item)
        for (pod, _), said in list(self._followed.items()):
            text = self.api.read(
                log_path(self.namespace, pod),
                {"container": CONTAINER, "limitBytes": str(LOG_LIMIT)},
                allow=(400, 404),
            )
            for line in (text or "").splitlines()[said:]:
                self.last.append(line)
                self._on_line(line)

    def _follow_new(self) -> None:
        assert self._feed is not None
        for pod, container in self.observed.running():
            if (pod, container) not in self._followed:
                self._followed[pod, container] = 0
                self._feed.follow(f"{pod} {container}", self.namespace, pod, CONTAINER)

    def _say(self, line: LogLine) -> None:
        pod, _, container = line.source.partition(" ")
        self._followed[pod, container] += 1
        self.last.append(line.text)
        self._on_line(line.text)

    def _last_lines(self, pod: str) -> list[str]:
        """Of the container that ended, which may be the one before the present one."""
        status = (self.observed.pods[pod]["status"].get("containerStatuses") or [{}])[0]
        ended_now = "terminated" in status.get("state", {})
        query = {"container": CONTAINER, "tailLines": str(TAIL)}
        if not ended_now and status.get("restartCount"):
            query["previous"] = "true"
        text = self.api.read(log_path(self.namespace, pod), query, allow=(400, 404))
        return (text or "").splitlines()


def wait_ready(wait: Wait, timeout: float, look: Callable[[Wait], None], late: Callable[[Wait], PreviewError]) -> None:
    """Until it is ready. `look` may raise what only this kind of workload can be wrong about; `late` makes the
    error for when time is over."""
    with wait.watching():
        while True:
            wait.step()
            if wait.ready():
                wait.finish_log()
                return
            wait.check()
            look(wait)
            if wait.seconds > timeout:
                trouble = wait.observed.trouble()
                raise wait.diagnosis(trouble) if trouble else late(wait)
            if wait.seconds > 10 and wait.observed.controller is None:
                raise PlatformError(
                    "runtime_unavailable",
                    f"{wait.kind} {wait.observed.name} is not in namespace {wait.namespace} (any more).",
                    "It is made again if it is still wanted.",
                )
