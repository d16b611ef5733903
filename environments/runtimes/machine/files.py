"""Files that are whole or not there: atomic writes, copies of releases, removal of whole trees."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

PACKAGE_DIRECTORIES = frozenset({"node_modules", ".venv", "venv"})
"""Installed packages: programs add to them (caches, bytecode) but do not write into their files, so that hard
links save the copy of tens of thousands of files. Everything else of a release is copied."""


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Replaces `path`; a reader sees the old text or the new one."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def copy_tree(source: Path, target: Path) -> bool:
    """Copies a directory so that `target` is complete or not there. False: it was there already."""
    if target.exists():
        return False
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        shutil.copytree(source, draft, symlinks=True, copy_function=_copy)
        return take_place(draft, target)
    except BaseException:
        remove_tree(draft)
        raise


def take_place(draft: Path, target: Path) -> bool:
    """Renames a complete directory to its place; False when another one was there first (`draft` is removed)."""
    try:
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        remove_tree(draft)
        return False
    return True


def remove_tree(path: Path) -> None:
    """Removes a directory whatever its permissions; not there is fine."""
    shutil.rmtree(path, ignore_errors=True)
    if not os.path.lexists(path):
        return
    for directory, _, _ in os.walk(path):  # read-only directories, such as Go's module cache
        os.chmod(directory, 0o700)
    shutil.rmtree(path)


def _copy(source: str, target: str) -> None:
    if not PACKAGE_DIRECTORIES.isdisjoint(Path(source).parts):
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:  # another file system, or one without hard links
            shutil.copy2(source, target, follow_symlinks=False)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
