"""What the local provider keeps inside a bare repository: its pull requests, derived from its branches.

The state is the repository's own, in `<bare>/previewkit/`, as it would be GitHub's: PreviewKit's database may
be lost or wiped and the pull requests stay. Standard library only: the git hook starts in milliseconds.

Pull requests follow the branches as they are now, not the order in which pushes were reported: `catch_up`
may run late, twice, or after a killed hook, and ends in the same state.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from environments.errors import PlatformError, UserError

LONGEST_REF = 500
LONGEST_TITLE = 300
GIT_TIMEOUT = 60.0
"""Seconds, for commands that only read or write this machine's disk."""


@dataclass(frozen=True)
class Pull:
    number: int
    title: str
    author: str
    state: Literal["open", "closed"]
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    merged: bool = False


@dataclass(frozen=True)
class Change:
    """One thing that became different, as the control plane is told of it."""

    event: Literal["opened", "updated", "closed", "reopened", "base_moved"]
    branch: str
    before: str
    after: str
    pull: Pull | None = None
    """None: the default branch itself moved."""


@dataclass(frozen=True)
class State:
    pulls: tuple[Pull, ...] = ()
    seen: dict[str, str] = field(default_factory=dict)
    """Branch → sha at the last look. A branch that is not here is new, and opens a pull request."""

    def open_for(self, branch: str) -> Pull | None:
        return next((p for p in self.pulls if p.state == "open" and p.head_ref == branch), None)

    def with_pull(self, pull: Pull) -> State:
        others = [p for p in self.pulls if p.number != pull.number]
        return replace(self, pulls=tuple(sorted([*others, pull], key=lambda p: p.number)))

    def next_number(self) -> int:
        return max((p.number for p in self.pulls), default=0) + 1


class Store:
    """One bare repository and its pull requests."""

    def __init__(self, bare: Path) -> None:
        self.bare = bare
        self.folder = bare / "previewkit"

    # ── git ──
    def git(self, *args: str, stdin: str | None = None, timeout: float = GIT_TIMEOUT) -> str:
        return run_git(["--git-dir", str(self.bare), *args], stdin=stdin, timeout=timeout)

    def default_branch(self) -> str:
        return self.git("symbolic-ref", "HEAD").strip().removeprefix("refs/heads/")

    def refs(self, prefix: str = "refs/heads/") -> dict[str, str]:
        """Name below `prefix` → sha, of every ref that a pull request may have (see `usable`)."""
        return {name: sha for name, sha in list_refs(self.bare, prefix).items() if usable(name)}

    def is_ancestor(self, older: str, newer: str) -> bool:
        try:
            return self.git("merge-base", older, newer).strip() == older
        except PlatformError:  # No common history.
            return False

    # ── state ──
    @contextmanager
    def locked(self, name: str = "lock") -> Iterator[None]:
        if not (self.bare / "HEAD").exists():
            raise gone(self.bare)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with open(self.folder / name, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def load(self) -> State:
        stored: dict[str, Any] = read_json(self.folder / "pulls.json", {"pulls": [], "seen": {}})
        return State(tuple(Pull(**pull) for pull in stored["pulls"]), dict(stored["seen"]))

    def save(self, state: State) -> None:
        self._keep_heads(state)
        write_json(self.folder / "pulls.json", {"pulls": [asdict(p) for p in state.pulls], "seen": state.seen})

    def _keep_heads(self, state: State) -> None:
        """refs/pull/N/head: the commits of a closed pull request can still be fetched."""
        kept = list_refs(self.bare, "refs/pull/")
        moves = [p for p in state.pulls if kept.get(f"{p.number}/head") != p.head_sha]
        if moves:
            lines = [f"update refs/pull/{p.number}/head {p.head_sha}\n" for p in moves]
            self.git("update-ref", "--stdin", stdin="".join(lines))

    # ── pull requests ──
    def catch_up(self) -> list[Change]:
        """Brings the pull requests to what the branches are now."""
        with self.locked():
            before = self.load()
            after, changes = self._caught_up(before)
            if after != before:
                self.save(after)
            return changes

    def _caught_up(self, state: State) -> tuple[State, list[Change]]:
        branches, base_ref = self.refs(), self.default_branch()
        base = branches.get(base_ref)
        if base is None:  # Nothing to compare with yet, or the default branch is gone for the moment.
            return state, []
        changes: list[Change] = []
        old_base = state.seen.get(base_ref, base)
        if old_base != base:
            changes.append(Change("base_moved", base_ref, old_base, base))
        for pull in [p for p in state.pulls if p.state == "open"]:
            moved, change = self._followed(pull, branches.get(pull.head_ref), old_base, base)
            state = state.with_pull(moved)
            changes += [change] if change else []
        for branch in sorted(branches.keys() - state.seen.keys() - {base_ref}):
            if state.open_for(branch) is None:
                pull = self.new_pull(state, branch, branches[branch], base_ref, base)
                state = state.with_pull(pull)
                changes.append(Change("opened", branch, "", pull.head_sha, pull))
        return replace(state, seen=branches), changes

    def _followed(self, pull: Pull, head: str | None, old_base: str, base: str) -> tuple[Pull, Change | None]:
        """An open pull request, brought to its branch's present head."""
        before = pull.head_sha
        moved = replace(pull, base_sha=base, head_sha=head or before)
        merged = old_base != base and not self.is_ancestor(moved.head_sha, old_base)
        merged = merged and self.is_ancestor(moved.head_sha, base)
        if head is None or merged:
            moved = replace(moved, state="closed", merged=merged)
            return moved, Change("closed", pull.head_ref, before, head or "", moved)
        if head != before:
            return moved, Change("updated", pull.head_ref, before, head, moved)
        return moved, None

    def new_pull(
        self, state: State, branch: str, head: str, base_ref: str, base: str, title: str | None = None
    ) -> Pull:
        author, _, subject = self.git("show", "--no-patch", "--format=%an%x00%s", head).partition("\0")
        return Pull(
            state.next_number(), clean(title or subject) or branch, clean(author), "open", branch, head, base_ref, base
        )


# ── below the store ─────────────────────────────────────────────────────────────────────────


def run_git(args: Sequence[str], *, stdin: str | None = None, timeout: float = GIT_TIMEOUT) -> str:
    """What git prints. Raises PlatformError(provider_unavailable)."""
    # In a hook, GIT_DIR and the like name another repository or are relative to another directory.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            ["git", "-c", "gc.auto=0", *args],
            env=env, capture_output=True, text=True, errors="replace", timeout=timeout, input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise PlatformError("provider_unavailable", "git is not installed.", "Install git.") from error
    except subprocess.TimeoutExpired as error:
        raise PlatformError("provider_unavailable", f"git did not end within {timeout:.0f} s.") from error
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-10:]
        raise PlatformError(
            "provider_unavailable",
            f"git {next((a for a in args if not a.startswith(('-', '/'))), '')} failed: {tail[-1] if tail else ''}",
            log_tail=tail,
        )
    return done.stdout


def list_refs(repository: Path, prefix: str) -> dict[str, str]:
    """Name below `prefix` → sha."""
    listed = run_git(
        ["-c", "safe.directory=*", "-C", str(repository), "for-each-ref", "--format=%(objectname) %(refname)", prefix]
    )
    pairs = (line.split(" ", 1) for line in listed.splitlines())
    return {name.removeprefix(prefix): sha for sha, name in pairs}


def usable(ref: str) -> bool:
    """False for names that can't be stored and shown: not UTF-8 (read with a replacement sign), or too long."""
    return "\N{REPLACEMENT CHARACTER}" not in ref and len(ref) <= LONGEST_REF


def clean(text: str) -> str:
    """One line of printable text."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:LONGEST_TITLE]


def gone(bare: Path) -> UserError:
    return UserError(
        "repository_gone",
        f"There is no git repository at {bare}.",
        "Put it back, or remove the repository from PreviewKit.",
    )


def read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all, also when this process is killed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
