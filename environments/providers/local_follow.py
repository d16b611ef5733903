"""Follows a repository of the user's own (a path or a URL): its branches come into a bare one.

Imports no Django. Nothing is written to the followed repository, and no hook or remote is set up in it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from environments.providers.local_store import Store, gone, list_refs, run_git, usable

FETCH_TIMEOUT = 300.0
FETCH_EVERY = 10.0
"""Seconds between two looks at a followed repository that is not on this machine."""


def follow(store: Store, source: str) -> None:
    """Moves the bare repository's branches as those of `source` have moved since the last look.

    Branches that were only pushed here are left alone; nothing is written to `source`.
    """
    with store.locked("sync.lock"):
        applied = store.refs("refs/source/heads/")
        if not _fetched(store, source, applied):
            return
        incoming = store.refs("refs/incoming/heads/")
        with store.locked():
            present = store.refs()
            deleted = [b for b, sha in applied.items() if b not in incoming and present.get(b) in (sha, None)]
            moved = {branch: sha for branch, sha in incoming.items() if applied.get(branch) != sha}
            # Deletions first: `a` must be gone before `a/b` can be.
            _update_refs(store, [f"delete refs/heads/{b}" for b in deleted if b in present])
            _update_refs(store, [f"delete refs/source/heads/{b}" for b in applied.keys() - incoming.keys()])
            # Seen before they appear: a branch that was fetched opens no pull request by itself.
            state = store.load()
            new = {branch: sha for branch, sha in moved.items() if branch not in state.seen}
            if new:
                store.save(replace(state, seen={**state.seen, **new}))
            _update_refs(store, [f"update refs/heads/{branch} {sha}" for branch, sha in moved.items()])
            _update_refs(store, [f"update refs/source/heads/{branch} {sha}" for branch, sha in moved.items()])


def _fetched(store: Store, source: str, applied: dict[str, str]) -> bool:
    """False: nothing can have changed since the last look."""
    local = source.startswith("/")
    if local:
        if not os.path.exists(source):
            raise gone(Path(source))
        theirs = {branch: sha for branch, sha in list_refs(Path(source), "refs/heads/").items() if usable(branch)}
        if theirs == applied:
            return False
    last = store.folder / "fetched"
    if not local and last.exists() and time.time() - last.stat().st_mtime < FETCH_EVERY:
        return False
    # The user named this repository, so it may belong to another user of this machine.
    upload_pack = ["--upload-pack=git -c safe.directory=* upload-pack"] if local else []
    words = ["fetch", "--quiet", "--prune", "--no-tags", "--no-auto-maintenance", "--update-shallow", *upload_pack]
    store.git(*words, "--", source, "+refs/heads/*:refs/incoming/heads/*", timeout=FETCH_TIMEOUT)
    last.touch()
    return True


def _update_refs(store: Store, commands: Sequence[str]) -> None:
    if commands:
        store.git("update-ref", "--stdin", stdin="".join(f"{command}\n" for command in commands))


def located(source: str) -> str:
    """A path made absolute, or the URL as it is."""
    path = Path(source).expanduser()
    if path.is_dir():
        path = path.resolve()
        inside = ["-c", "safe.directory=*", "-C", str(path), "rev-parse"]
        if not (path / ".git").exists() and not (path / "HEAD").exists():
            raise gone(path)
        return str(path) if run_git([*inside, "--git-dir"]) else source
    if "://" in source or re.match(r"[\w.-]+@[\w.-]+:", source):
        return source
    raise gone(path)


def default_branch_of(location: str) -> str:
    """What its remote calls the default, else main or master, else the branch that is checked out."""
    if not location.startswith("/"):
        answer = run_git(["ls-remote", "--symref", "--", location, "HEAD"], timeout=FETCH_TIMEOUT)
        found = re.match(r"ref: refs/heads/(\S+)\tHEAD", answer)
        return found.group(1) if found else "main"
    inside = ["-c", "safe.directory=*", "-C", location]
    remote = run_git([*inside, "for-each-ref", "--format=%(symref)", "refs/remotes/origin/HEAD"]).strip()
    branches = list_refs(Path(location), "refs/heads/")
    checked_out = run_git([*inside, "rev-parse", "--symbolic-full-name", "HEAD"]).strip() if branches else ""
    candidates = (
        remote.removeprefix("refs/remotes/origin/"),
        "main",
        "master",
        checked_out.removeprefix("refs/heads/"),
    )
    return next((branch for branch in candidates if branch in branches), "main")
