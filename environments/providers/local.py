"""The local provider: bare git repositories on this machine, whose branches become pull requests.

Imports no Django. A push reaches the control plane through a real hook (local_hook.py); a repository of the
user's own is followed instead: its branches are fetched, and nothing is written to it. The state is in
the bare repositories themselves (local_store.py).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from environments.errors import UserError
from environments.ports import CloneSource, PullRequestState, RepositoryRef
from environments.providers.local_follow import default_branch_of, follow, located
from environments.providers.local_hook import HookTarget, Told, tell
from environments.providers.local_store import (
    Change,
    Pull,
    Store,
    clean,
    gone,
    now,
    read_json,
    run_git,
    write_json,
)

OWNER = "local"
AUTHOR = "previewkit"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Comment:
    id: str
    author: str
    body: str
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class Status:
    state: str
    description: str
    url: str
    at: str


class LocalProvider:
    """`git_root` holds one bare repository, `<name>.git`, for each connected repository."""

    name = "local"

    def __init__(self, git_root: Path) -> None:
        self.git_root = git_root

    # ── repositories ──
    def create_bare(self, name: str, default_branch: str = "main") -> RepositoryRef:
        """A repository to push to. Made already: the same one, with its hook renewed."""
        _check_name(name)
        bare = self._bare(name)
        if not (bare / "HEAD").exists():
            self.git_root.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self.git_root / f".new-{uuid.uuid4().hex}"
            run_git(["init", "--quiet", "--bare", "--template=", f"--initial-branch={default_branch}", str(fresh)])
            # The pull requests' refs are ours to write.
            run_git(["--git-dir", str(fresh), "config", "receive.hideRefs", "refs/pull"])
            try:
                fresh.rename(bare)
            except OSError:  # Another process made it meanwhile.
                shutil.rmtree(fresh)
        _install_hook(bare)
        return self.reference(name)

    def add_existing(self, source: str, name: str, default_branch: str | None = None) -> RepositoryRef:
        """Follows the user's own repository (a path or a URL). Its branches open no pull request by themselves.

        Raises UserError(repository_gone | repository_refused).
        """
        location = located(source)
        ref = self.create_bare(name, default_branch or default_branch_of(location))
        store = self._store(ref)
        known = read_json(store.folder / "source.json", {"source": location})
        if known["source"] != location or (store.refs() and not (store.folder / "source.json").exists()):
            raise UserError(
                "repository_refused",
                f"There is another repository called {name} already.",
                "Give another name with --name.",
            )
        write_json(store.folder / "source.json", {"source": location})
        self.sync(ref)
        return ref

    def reference(self, name: str) -> RepositoryRef:
        return RepositoryRef(OWNER, name, str(self._bare(name)))

    def repositories(self) -> list[RepositoryRef]:
        found = sorted(path for path in self.git_root.glob("*.git") if not path.name.startswith("."))
        return [self.reference(path.name.removesuffix(".git")) for path in found]

    def remove(self, repository: RepositoryRef) -> None:
        """Deletes the bare repository with its pull requests and comments; the followed one is left alone."""
        shutil.rmtree(self._bare(repository.name), ignore_errors=True)

    def connect(self, target: HookTarget) -> None:
        """From now on pushes are told to `target`. Renews the hooks, which name this Python and this checkout."""
        self.git_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.write(self.git_root)
        for repository in self.repositories():
            _install_hook(self._bare(repository.name))

    def sync(self, repository: RepositoryRef) -> list[Change]:
        """Brings branches and pull requests up to date: from the followed repository, and after a killed hook."""
        store = self._store(repository)
        source = read_json(store.folder / "source.json", None)
        if source:
            follow(store, source["source"])
        return store.catch_up()

    # ── pull requests ──
    def open_pull(self, repository: RepositoryRef, branch: str, title: str | None = None) -> PullRequestState:
        """Opens one for a branch; open already: that one. Raises UserError(pull_request_refused)."""
        self.sync(repository)
        store = self._store(repository)
        with store.locked():
            state, branches, base_ref = store.load(), store.refs(), store.default_branch()
            present = state.open_for(branch)
            if present is None:
                head, base = branches.get(branch), branches.get(base_ref)
                if branch == base_ref or head is None or base is None:
                    raise _refused(repository, branch, base_ref, branches)
                present = store.new_pull(state, branch, head, base_ref, base, title)
                state = state.with_pull(present)
                store.save(replace(state, seen={**state.seen, branch: head}))
            elif title and clean(title) != present.title:
                present = replace(present, title=clean(title))
                store.save(state.with_pull(present))
        return _as_state(present)

    def close_pull(self, repository: RepositoryRef, number: int) -> PullRequestState:
        store = self._store(repository)
        with store.locked():
            state, pull = _numbered(store, repository, number)
            closed = replace(pull, state="closed")
            store.save(state.with_pull(closed))
        return _as_state(closed)

    def reopen_pull(self, repository: RepositoryRef, number: int) -> PullRequestState:
        """At the branch's present head. Raises UserError(pull_request_refused): the branch is gone, or taken."""
        self.sync(repository)
        store = self._store(repository)
        with store.locked():
            state, pull = _numbered(store, repository, number)
            branches, other = store.refs(), state.open_for(pull.head_ref)
            if other and other.number != number:
                raise UserError(
                    "pull_request_refused",
                    f"{repository.name} #{number} can't be reopened: #{other.number} is open for {pull.head_ref}.",
                    f"Close #{other.number} first.",
                )
            head = branches.get(pull.head_ref)
            if head is None:
                raise UserError(
                    "pull_request_refused",
                    f"{repository.name} #{number} can't be reopened: its branch {pull.head_ref} is gone.",
                    "Push the branch again; that opens a new pull request.",
                )
            base = branches.get(pull.base_ref, pull.base_sha)
            reopened = replace(pull, state="open", merged=False, head_sha=head, base_sha=base)
            store.save(state.with_pull(reopened))
        return _as_state(reopened)

    def tell(
        self, repository: RepositoryRef, event: Literal["opened", "closed", "reopened"], pull: PullRequestState
    ) -> Told:
        """Tells the control plane of a change that no push made, in the way that pushes are told."""
        stored = next(p for p in self._store(repository).load().pulls if p.number == pull.number)
        return tell(self.git_root, repository.name, Change(event, pull.head_ref, pull.head_sha, pull.head_sha, stored))

    def pull_request(self, repository: RepositoryRef, number: int) -> PullRequestState | None:
        self.sync(repository)
        pulls = self._store(repository).load().pulls
        return next((_as_state(pull) for pull in pulls if pull.number == number), None)

    def open_pull_requests(self, repository: RepositoryRef) -> list[PullRequestState]:
        self.sync(repository)
        return [_as_state(pull) for pull in self._store(repository).load().pulls if pull.state == "open"]

    # ── code ──
    def clone_source(self, repository: RepositoryRef) -> CloneSource:
        return CloneSource(str(self._store(repository).bare))

    def default_branch(self, repository: RepositoryRef) -> str:
        return self._store(repository).default_branch()

    def branch_head(self, repository: RepositoryRef, branch: str) -> str | None:
        self.sync(repository)
        return self._store(repository).refs().get(branch)

    # ── comments and statuses ──
    def upsert_comment(
        self, repository: RepositoryRef, number: int, marker: str, body: str, comment_id: str = ""
    ) -> str:
        store = self._store(repository)
        path = store.folder / "comments" / f"{number}.json"
        with store.locked("comments.lock"):
            comments = [Comment(**stored) for stored in read_json(path, [])]
            present = _found(comments, marker, comment_id)
            if present is None:
                present = Comment(uuid.uuid4().hex, AUTHOR, body, now(), now())
                comments.append(present)
            changed = replace(present, body=body, updated_at=now())
            write_json(path, [asdict(changed if one.id == present.id else one) for one in comments])
        return present.id

    def comments(self, repository: RepositoryRef, number: int) -> list[Comment]:
        stored = read_json(self._store(repository).folder / "comments" / f"{number}.json", [])
        return [Comment(**one) for one in stored]

    def set_status(
        self,
        repository: RepositoryRef,
        sha: str,
        state: Literal["pending", "success", "failure", "error"],
        description: str,
        url: str,
    ) -> None:
        path = self._store(repository).folder / "statuses" / f"{_checked_sha(sha)}.json"
        write_json(path, asdict(Status(state, description, url, now())))

    def status(self, repository: RepositoryRef, sha: str) -> Status | None:
        stored = read_json(self._store(repository).folder / "statuses" / f"{_checked_sha(sha)}.json", None)
        return Status(**stored) if stored else None

    def may(self, repository: RepositoryRef, user: str, action: str) -> bool:
        """Whoever works on this machine may do everything; the dashboard's roles come on top."""
        return True

    # ── below ──
    def _bare(self, name: str) -> Path:
        return self.git_root / f"{name}.git"

    def _store(self, repository: RepositoryRef) -> Store:
        bare = self._bare(repository.name)
        if not (bare / "HEAD").exists():
            raise gone(bare)
        return Store(bare)


# ── hook ────────────────────────────────────────────────────────────────────────────────────


def _install_hook(bare: Path) -> None:
    python, checkout = shlex.quote(sys.executable), shlex.quote(str(CHECKOUT))
    script = f"""#!/bin/sh
# Written by PreviewKit: pull requests follow the branches of this repository.
if [ -x {python} ] && [ -d {checkout} ]; then
    PYTHONPATH={checkout} exec {python} -S -m environments.providers.local_hook
fi
cat > /dev/null
echo "PreviewKit: its checkout has moved; the next \\`previewkit up\\` catches up."
"""
    path = bare / "hooks" / "post-receive"
    if path.exists() and path.read_text() == script:
        return
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".post-receive-{uuid.uuid4().hex}")
    temporary.write_text(script)
    temporary.chmod(0o755)
    os.replace(temporary, path)


# ── small things ────────────────────────────────────────────────────────────────────────────


def _as_state(pull: Pull) -> PullRequestState:
    return PullRequestState(**asdict(pull))


def _numbered(store: Store, repository: RepositoryRef, number: int) -> tuple[Any, Pull]:
    state = store.load()
    for pull in state.pulls:
        if pull.number == number:
            return state, pull
    raise UserError(
        "pull_request_refused",
        f"{repository.name} has no pull request #{number}.",
        f"It has {', '.join(f'#{p.number}' for p in state.pulls) or 'none'}.",
    )


def _refused(repository: RepositoryRef, branch: str, base: str, branches: dict[str, str]) -> UserError:
    others = sorted(branches.keys() - {base})[:20]
    if branch == base:
        why, way = f"{branch} is the default branch.", "Name the branch that holds the change."
    elif branch in branches:
        why, way = f"the default branch {base} is not there.", f"Push {base} first."
    else:
        why, way = f"there is no branch {branch}.", f"Its branches: {', '.join(others) or 'none'}."
    return UserError("pull_request_refused", f"No pull request for {repository.name}: {why}", way)


def _found(comments: Sequence[Comment], marker: str, comment_id: str) -> Comment | None:
    by_id = (one for one in comments if one.id == comment_id)
    by_marker = (one for one in comments if one.author == AUTHOR and marker in one.body)
    return next(by_id, None) or next(by_marker, None)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name.endswith(".git"):
        raise UserError(
            "repository_refused",
            f"{name!r} can't be a repository's name.",
            "Use letters, digits, `.`, `_` and `-`, at most 100, beginning with a letter or digit.",
        )


def _checked_sha(sha: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", sha):
        raise ValueError(f"not a commit's sha: {sha!r}")
    return sha
