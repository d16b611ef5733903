"""The shared build store: directories found by the key of what went into them, and never half-built.

A tree is built where it will stay (a virtualenv names its own path, so it can't be moved) under a name that
nobody looks for. It comes into being for others when its entry, one small file that names it, is renamed into
place. A builder that dies leaves a tree without an entry: the next builder removes it.

    entries/{kind}-{key}.json     what may be found
    trees/{kind}-{key}.{nonce}/   what is, or was being, built
    locks/{kind}-{key}            held by whoever builds that key, for as long as it lives
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL = 0.05
"""Seconds between looks at a lock that another builder holds."""

RECENT = 3600.0
"""Seconds for which whoever was given an entry has it without saying so."""


@dataclass(frozen=True)
class Entry:
    name: str
    """`{kind}-{key}`."""
    tree: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Pruned:
    entries: int
    bytes: int


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.entries, self.trees, self.locks = (self.root / name for name in ("entries", "trees", "locks"))
        for directory in (self.entries, self.trees, self.locks):
            directory.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> Entry | None:
        """The published entry, marked as used now; None when there is none."""
        path = self.entries / f"{name}.json"
        try:
            # First the mark, then the look: prune() sees the mark and leaves it, or took it away before.
            os.utime(path)
            stored = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        return Entry(name, self.trees / stored["tree"], stored["facts"])

    def new_tree(self, name: str) -> Path:
        tree = self.trees / f"{name}.{secrets.token_hex(6)}"
        tree.mkdir()
        return tree

    def publish(self, name: str, tree: Path, facts: Mapping[str, Any]) -> Entry:
        """Makes the tree findable, in one rename. The caller holds the lock of `name`."""
        written = tree / ".entry.json"
        with written.open("w") as file:
            json.dump({"tree": tree.name, "facts": facts}, file)
            file.flush()
            os.fsync(file.fileno())
        written.replace(self.entries / f"{name}.json")
        return Entry(name, tree, facts)

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        """One builder at a time, among threads and processes; `waiting` is called at each look and may raise."""
        while (held := self._try_lock(name)) is None:
            waiting()
            time.sleep(POLL)
        try:
            yield
        finally:
            os.close(held)

    def _try_lock(self, name: str) -> int | None:
        # flock, not lockf as libraries use: a lockf belongs to the process, so two threads would both get it.
        descriptor = os.open(self.locks / name, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = os.stat(self.locks / name)
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)
            return None
        if current.st_ino != os.fstat(descriptor).st_ino:  # prune() removed it in between
            os.close(descriptor)
            return None
        return descriptor

    # ── what is not needed any more ─────────────────────────────────────────────────────────

    def discard(self, tree: Path) -> None:
        remove_tree(tree)

    def leftovers(self) -> Iterator[tuple[str, Path]]:
        """Trees that a dead builder left, each with its lock held while the caller has it: (nonce name, path)."""
        for tree in sorted(self.trees.iterdir()):
            name = tree.name.rpartition(".")[0]
            if self._tree_of(name) == tree.name:
                continue
            held = self._try_lock(name)
            if held is None:
                continue  # its builder lives
            try:
                if self._tree_of(name) != tree.name and tree.exists():
                    yield tree.name, tree
            finally:
                os.close(held)

    def _tree_of(self, name: str) -> str | None:
        try:
            return str(json.loads((self.entries / f"{name}.json").read_bytes())["tree"])
        except FileNotFoundError:
            return None

    def prune(
        self, *, keep_days: float | None = None, max_bytes: int | None = None, in_use: Collection[str] = ()
    ) -> Pruned:
        """Removes the longest unused entries: those unused for `keep_days`, and more until at most `max_bytes`
        are left. `in_use` names entries that stay, with all that they refer to (fact `uses`); so does what was
        used in the last hour, as somebody may be about to copy it."""
        kept = set(in_use)
        for name in in_use:
            kept |= set(self._facts(name).get("uses", ()))
        oldest_first = sorted(
            ((path.stat().st_mtime, path.stem) for path in self.entries.glob("*.json")), key=lambda item: item[0]
        )
        sizes = {name: size_of(self.trees / (self._tree_of(name) or "-")) for _, name in oldest_first}
        total, removed, freed, now = sum(sizes.values()), 0, 0, time.time()
        for used_at, name in oldest_first:
            expired = keep_days is not None and now - used_at > keep_days * 86400
            too_much = max_bytes is not None and total - freed > max_bytes
            recent = now - used_at < RECENT
            if name not in kept and not recent and (expired or too_much) and self._remove(name, used_at):
                removed, freed = removed + 1, freed + sizes[name]
        return Pruned(removed, freed)

    def _facts(self, name: str) -> Mapping[str, Any]:
        try:
            return dict(json.loads((self.entries / f"{name}.json").read_bytes())["facts"])
        except FileNotFoundError:
            return {}

    def _remove(self, name: str, used_at: float) -> bool:
        """Unless it was used meanwhile, or is being built."""
        held = self._try_lock(name)
        if held is None:
            return False
        try:
            path, aside = self.entries / f"{name}.json", self.entries / f"{name}.going"
            path.rename(aside)
            if aside.stat().st_mtime != used_at:
                aside.rename(path)
                return False
            tree = self.trees / json.loads(aside.read_bytes())["tree"]
            aside.unlink()
            remove_tree(tree)
            (self.locks / name).unlink()
            return True
        finally:
            os.close(held)


def remove_tree(tree: Path) -> None:
    """Also where a tool wrote directories that their owner may not write (Go's module cache does)."""
    try:
        shutil.rmtree(tree)
    except FileNotFoundError:
        return
    except PermissionError:
        for directory, _, _ in os.walk(tree):
            os.chmod(directory, stat.S_IRWXU)
        shutil.rmtree(tree)


def size_of(tree: Path) -> int:
    """Bytes on disk below `tree`; a file with several names counts by its share."""
    total = 0
    for directory, _, files in os.walk(tree):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(os.path.join(directory, file))
                total += found.st_blocks * 512 // found.st_nlink
    return total
