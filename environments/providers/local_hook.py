"""What the local provider's git hook does after a push: pull requests follow the branches, PreviewKit is told.

Run by git as `python -S -m environments.providers.local_hook` in the bare repository. Standard library only.
A push never fails because of it: what it could not tell, the sweeper finds.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environments.errors import PreviewError
from environments.providers.local_store import Change, Pull, Store, read_json, usable, write_json

TIMEOUT = 5.0
"""Seconds that a push waits for PreviewKit, for each branch."""
SIGNATURE_HEADER = "X-PreviewKit-Signature"
_NO_SHA = set("0")


@dataclass(frozen=True)
class HookTarget:
    """Where pushes are told; kept in `<git root>/hook.json`, for this user's eyes only."""

    url: str
    """The webhook, e.g. http://127.0.0.1:8000/webhooks/local."""
    secret: str
    dashboard: str
    """The address that a person opens."""

    def write(self, git_root: Path) -> None:
        write_json(git_root / "hook.json", {"url": self.url, "secret": self.secret, "dashboard": self.dashboard})

    @classmethod
    def read(cls, git_root: Path) -> HookTarget | None:
        stored = read_json(git_root / "hook.json", None)
        return cls(**stored) if stored else None


@dataclass(frozen=True)
class Told:
    """What came of telling PreviewKit."""

    delivered: bool
    line: str
    """For the person who pushed."""


NOT_RUNNING = "PreviewKit is not running; it will catch up when it starts (previewkit up)."


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def tell(git_root: Path, repository: str, change: Change) -> Told:
    """One signed POST to the control plane: what changed, never the wish itself."""
    target = HookTarget.read(git_root)
    if target is None:
        return Told(False, NOT_RUNNING)
    body = json.dumps(
        {
            "delivery": uuid.uuid4().hex,
            "event": change.event,
            "repository": repository,
            "number": change.pull.number if change.pull else None,
            "branch": change.branch,
            "before": change.before,
            "after": change.after,
        }
    ).encode()
    headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature(target.secret, body)}
    try:
        status, answer = _post(target.url, body, headers)
    except (OSError, http.client.HTTPException):
        return Told(False, NOT_RUNNING)
    if status >= 400:
        return Told(False, f"PreviewKit answered {status}; it will catch up by itself.")
    return Told(True, f"Follow it at {_address(answer) or target.dashboard}")


def _post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request("POST", parts.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(65536)
    finally:
        connection.close()


def _address(answer: bytes) -> str:
    """The page that the control plane names in its answer: {"address": …}."""
    try:
        content: Any = json.loads(answer)
    except ValueError:
        return ""
    address = content.get("address", "") if isinstance(content, dict) else ""
    return address if isinstance(address, str) else ""


# ── the hook ────────────────────────────────────────────────────────────────────────────────


def after_push(bare: Path, pushed: Iterable[str], say: Callable[[str], None]) -> None:
    """`pushed`: git's lines `old new ref`. Says what came of each branch and tells the control plane."""
    store = Store(bare)
    changes = {change.branch: change for change in store.catch_up()}
    state, default = store.load(), store.default_branch()
    lines: list[str] = []
    for line in pushed:
        before, after, ref = line.rstrip("\n").split(" ", 2)
        branch = ref.removeprefix("refs/heads/")
        if branch == ref:
            continue
        if not usable(branch):
            say(f"{branch!r}: no pull request; its name is too long, or not UTF-8.")
            continue
        # A push at the same moment may have caught up with this one: then it is told again, which is harmless.
        change = changes.pop(branch, None) or _as_pushed(branch, before, after, state.open_for(branch), default)
        say(_sentence(change, default))
        if change.pull or branch == default:
            told = tell(bare.parent, bare.name.removesuffix(".git"), change)
            if told.line not in lines:
                lines.append(told.line)
    for change in changes.values():  # Left by a hook that was killed, or a consequence: merged by this push.
        say(_sentence(change, default))
        tell(bare.parent, bare.name.removesuffix(".git"), change)
    for text in lines:
        say(text)


def _as_pushed(branch: str, before: str, after: str, pull: Pull | None, default: str) -> Change:
    if branch == default:
        return Change("base_moved", branch, before, after)
    return Change("updated", branch, before, after, pull)


def _sentence(change: Change, default: str) -> str:
    pull = change.pull
    if pull is None:
        if change.branch == default:
            return f"{default} is at {change.after[:8]}" if set(change.after) - _NO_SHA else f"{default} is gone"
        return f"{change.branch}: no open pull request (previewkit pr open opens one)."
    if change.event == "opened":
        return f"pull request #{pull.number} opened: {pull.title}"
    if change.event == "closed":
        return f"pull request #{pull.number} {'merged' if pull.merged else 'closed'}; its preview goes away."
    return f"pull request #{pull.number} is at {pull.head_sha[:8]}"


def main() -> None:
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]

    def say(line: str) -> None:
        print(f"PreviewKit: {line}", flush=True)

    try:
        after_push(Path(os.getcwd()), sys.stdin.readlines(), say)
    except PreviewError as error:
        say(f"the push is stored, the pull requests are not up to date: {error.message} It will catch up by itself.")


if __name__ == "__main__":
    main()
