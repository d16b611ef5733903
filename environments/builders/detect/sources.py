"""Looks at a service's files, within bounds: nothing is executed, nothing outside its directory is read."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from environments.ports import UserError

LARGEST_MANIFEST = 1 << 20
"""Bytes. A manifest that people write is a few KiB; anything longer is not one."""
SKIPPED = frozenset({".git", "node_modules", ".venv", "venv", "vendor", "dist", "build", "__pycache__"})


class Sources:
    """The files below `root`. Symbolic links that lead out of it are taken as absent."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def _inside(self, name: str) -> Path | None:
        path = (self.root / name).resolve()
        return path if path.is_relative_to(self.root) else None

    def has(self, name: str) -> bool:
        path = self._inside(name)
        return path is not None and path.is_file()

    def has_dir(self, name: str) -> bool:
        path = self._inside(name)
        return path is not None and path.is_dir()

    def first(self, *names: str) -> str | None:
        return next((name for name in names if self.has(name)), None)

    def present(self, *names: str) -> tuple[str, ...]:
        return tuple(name for name in names if self.has(name))

    def text(self, name: str) -> str:
        """The file's text; "" when there is none. Raises UserError(build_no_plan) when it is too large."""
        path = self._inside(name)
        if path is None or not path.is_file():
            return ""
        with path.open("rb") as file:
            raw = file.read(LARGEST_MANIFEST + 1)
        if len(raw) > LARGEST_MANIFEST:
            raise UserError("build_no_plan", f"{name} is larger than 1 MiB.", "Is it the right file?")
        return raw.decode("utf-8-sig", "replace")

    def head(self, name: str) -> str:
        """The first 4 KiB: enough to tell a lock file's version, however long the file is."""
        path = self._inside(name)
        if path is None or not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(4096).decode("utf-8", "replace")

    def json(self, name: str) -> dict[str, Any]:
        return self._parsed(name, json.loads, "JSON")

    def toml(self, name: str) -> dict[str, Any]:
        return self._parsed(name, tomllib.loads, "TOML")

    def _parsed(self, name: str, parse: Any, language: str) -> dict[str, Any]:
        text = self.text(name)
        if not text:
            return {}
        try:
            parsed = parse(text)
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise UserError(
                "build_no_plan", f"{name} is not valid {language}: {why}.", "Correct the file and push."
            ) from error
        if not isinstance(parsed, dict):
            raise UserError("build_no_plan", f"{name} holds no {language} object.", "Correct the file and push.")
        return parsed

    def find(self, pattern: str, *, depth: int = 3, limit: int = 2000, hidden: bool = False) -> Iterator[str]:
        """Names matching the regular expression, nearest to the root first, then alphabetically.

        Looks at no more than `limit` entries in directories at most `depth` deep.
        """
        wanted = re.compile(pattern)
        level, seen = [self.root], 0
        for _ in range(depth):
            below: list[Path] = []
            for directory in level:
                for path in sorted(directory.iterdir()):
                    seen += 1
                    if seen > limit:
                        return
                    if path.is_symlink():
                        continue
                    name = path.relative_to(self.root).as_posix()
                    if path.is_dir():
                        if path.name not in SKIPPED and (hidden or not path.name.startswith(".")):
                            below.append(path)
                    elif wanted.fullmatch(name):
                        yield name
            level = below


def table(of: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The nested object at `keys`; {} where there is none or something else stands there."""
    for key in keys:
        inner = of.get(key)
        if not isinstance(inner, dict):
            return {}
        of = inner
    return of


def strings(of: dict[str, Any], key: str) -> list[str]:
    """The list of strings at `key`; [] where there is none."""
    value = of.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def string(of: dict[str, Any], key: str) -> str:
    value = of.get(key)
    return value if isinstance(value, str) else ""
