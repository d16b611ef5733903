"""The environment's seeded data: restored before a scenario, when anything was written since the last time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from testruns.page import Window

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SeededData:
    """`reset` brings the data back (by the runtime's snapshot); it is called in the caller's own thread.

    Scenarios that only read leave the data as it was, so nothing is restored after them."""

    def __init__(self, reset: Callable[[], None]) -> None:
        self._reset = reset
        # Whoever used the environment before us may have written.
        self._written = True

    def restore(self) -> None:
        if self._written:
            self._reset()
            self._written = False

    def used(self, windows: Iterable[Window]) -> None:
        """Tells what a visit sent: anything but reading makes the next restore() real."""
        for window in windows:
            if any(request.method not in SAFE_METHODS for request in window.requests):
                self._written = True

    def unknown(self) -> None:
        """A visit broke off: what it wrote is not known."""
        self._written = True
