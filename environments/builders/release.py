"""What a release is made of on disk: the source's copy, and node_modules shared where that is safe."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from environments.ports import Fence, UserError

NODE_MODULES = "node_modules"


def copy_source(source: Path, target: Path, fence: Fence) -> None:
    """The service's files without `.git`. Raises UserError(build_failed) on links that lead out of them."""
    fence = _twice_a_second(fence)
    _refuse_outward_links(source, fence)
    target.parent.mkdir(parents=True, exist_ok=True)

    def copy(file: str, to: str) -> str:
        fence()
        return str(shutil.copy2(file, to, follow_symlinks=False))

    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(".git"), copy_function=copy)


def copy_files(source: Path, names: Sequence[str], target: Path) -> None:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def _twice_a_second(fence: Fence) -> Fence:
    """A fence may ask a database: not once for each of ten thousand files."""
    asked_at = 0.0

    def fenced() -> None:
        nonlocal asked_at
        if time.monotonic() - asked_at > 0.5:
            fence()
            asked_at = time.monotonic()

    return fenced


def _refuse_outward_links(source: Path, fence: Fence) -> None:
    root = os.path.realpath(source)
    for directory, names, files in os.walk(root):
        fence()
        names[:] = [name for name in names if name != ".git"]
        for name in (*names, *files):
            path = os.path.join(directory, name)
            if os.path.islink(path) and _leads_out(path, root):
                raise UserError(
                    "build_failed",
                    f"`{os.path.relpath(path, root)}` is a symbolic link to `{os.readlink(path)}`, which is "
                    "outside the service's directory.",
                    "Replace it by a copy, or set `path` to a directory that holds both.",
                )


def _leads_out(link: str, root: str) -> bool:
    target = os.readlink(link)
    if os.path.isabs(target):
        return True
    # Both as written and as resolved: a chain of links may leave by a detour.
    written = os.path.normpath(os.path.join(os.path.dirname(link), target))
    return any(path != root and not path.startswith(root + os.sep) for path in (written, os.path.realpath(link)))


def borrow_node_modules(layer: Path, app: Path) -> None:
    """A real node_modules that builds may write into, in a fraction of a copy's time and space.

    Files are shared by hard link, as pnpm does by default: tools replace files there, they don't edit them.
    """
    remove_node_modules(app)
    if layer.exists():
        shutil.copytree(layer, app / NODE_MODULES, symlinks=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or more names than a file may have
        shutil.copy2(source, target, follow_symlinks=False)


def set_node_modules_aside(app: Path, aside: Path) -> None:
    """Leaves a link in the release, so that each environment's copy of it is small.

    Not when a package in it is a link to the service's own source (workspaces): it would no longer find it.
    """
    real = app / NODE_MODULES
    if not real.is_dir() or real.is_symlink() or _links_to_source(real):
        return
    real.rename(aside)
    link_node_modules(aside, app)


def link_node_modules(layer: Path, app: Path) -> None:
    remove_node_modules(app)
    if layer.exists():
        (app / NODE_MODULES).symlink_to(layer)


def remove_node_modules(app: Path) -> None:
    """One that was committed gives way to what the manifests say."""
    path = app / NODE_MODULES
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _links_to_source(node_modules: Path) -> bool:
    root = node_modules.resolve()
    packages = [path for path in node_modules.iterdir() if not path.name.startswith(".")]
    packages += [inner for path in packages if path.name.startswith("@") for inner in path.iterdir()]
    return any(path.is_symlink() and not path.resolve().is_relative_to(root) for path in packages)
