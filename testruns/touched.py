"""What a change touches: which of its files have to do with a journey. Pure but for reading the files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MOST_FILES = 100
MOST_BYTES = 200_000
_DULL = frozenset(
    [
        "the",
        "and",
        "for",
        "form",
        "visit",
        "page",
        "open",
        "index",
        "main",
        "base",
        "http",
        "https",
        "post",
        "get",
        "html",
        "app",
        "web",
        "src",
        "views",
        "view",
        "models",
        "templates",
        "template",
        "static",
        "test",
        "tests",
        "with",
        "its",
        "add",
        "new",
    ]
)


@dataclass(frozen=True)
class Change:
    files: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Path → the words of its name and of the routes that its text mentions."""

    @classmethod
    def read(cls, tree: Path | None, changed_files: Sequence[str]) -> Change:
        return cls({name: _words(name) | _routes(tree, name) for name in list(changed_files)[:MOST_FILES]})

    def touches(self, text: str) -> list[str]:
        """The changed files that share a telling word with `text`, those that share most first."""
        wanted = _words(text)
        shared = {name: len(words & wanted) for name, words in self.files.items()}
        return sorted((name for name, count in shared.items() if count), key=lambda name: (-shared[name], name))


def _words(text: str) -> frozenset[str]:
    found = set(re.findall(r"[a-z]{3,}", text.lower())) - _DULL
    return frozenset(word.rstrip("s") if len(word) > 4 else word for word in found)


def _routes(tree: Path | None, name: str) -> frozenset[str]:
    """Words of quoted paths in the file (`"/cart/add"`, `path("checkout/", …)`)."""
    path = PurePosixPath(name)
    if tree is None or path.is_absolute() or ".." in path.parts:
        return frozenset()
    file = tree / path
    # A link could lead out of the commit's tree.
    if file.is_symlink() or not file.is_file() or file.stat().st_size > MOST_BYTES:
        return frozenset()
    text = file.read_text("utf-8", errors="replace")
    return _words(" ".join(re.findall(r"""["'`]([\w/<>:{}.-]*/[\w/<>:{}.-]*)["'`]""", text)))
