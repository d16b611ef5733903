"""Makes the example repositories: the same commits every time, pushed by real `git push`.

Used by the demo, the smoke run and the tests. `examples/<name>` is the default branch;
`examples/<name>.pulls/` holds what becomes of it: `main.yaml` (what the default branch should do, and the
pull requests in their order) and a directory per pull request with `pull.yaml` and `change.patch`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent
EXAMPLES = ("minimal", "shop")
NOT_SOURCE = {"node_modules", "__pycache__", ".venv"}
"""Left behind by those who run an example where it is; no part of it."""

OnLine = Callable[[str], None]


class GitFailed(Exception):
    """A git command ended with an error; the message has its words."""


# ── what should become of them ──────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Bound:
    """How many findings of a verdict there may be: written `0` (none) or `at least 1`."""

    at_least: int
    at_most: int | None

    def holds(self, count: int) -> bool:
        return count >= self.at_least and (self.at_most is None or count <= self.at_most)


@dataclass(frozen=True)
class Answer:
    path: str
    contains: str
    """Text that the answer has to this path."""
    service: str | None = None
    """None: the public one; else a service or an HTTP dependency (api-gateway)."""


@dataclass(frozen=True)
class Expectation:
    phase: Literal["ready", "failed"]
    code: str | None
    """An error code of environments/errors.py."""
    layer: str | None
    """The layer that fails."""
    verdicts: Mapping[str, Bound]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Main:
    """The default branch."""

    title: str
    secrets: Mapping[str, str]
    """For the demo to set: of no worth to anyone."""
    pulls: tuple[str, ...]
    """Branches, in the order in which they are opened."""
    expect: Expectation


@dataclass(frozen=True)
class Pull:
    branch: str
    title: str
    author: str
    description: str
    expect: Expectation
    patch: Path


def main(example: str) -> Main:
    read = _read(_pulls_directory(example) / "main.yaml")
    return Main(
        title=read["title"],
        secrets=dict(read.get("secrets", {})),
        pulls=tuple(read["pulls"]),
        expect=_expectation(read["expect"]),
    )


def pulls(example: str) -> list[Pull]:
    return [_pull(_pulls_directory(example) / branch) for branch in main(example).pulls]


def _pull(directory: Path) -> Pull:
    read = _read(directory / "pull.yaml")
    if read["branch"] != directory.name:
        raise ValueError(f"{directory}/pull.yaml names branch {read['branch']}: call the directory like it.")
    return Pull(
        branch=read["branch"],
        title=read["title"],
        author=read["author"],
        description=read["description"].strip(),
        expect=_expectation(read["expect"]),
        patch=directory / "change.patch",
    )


def _expectation(read: Mapping[str, Any]) -> Expectation:
    return Expectation(
        phase=read["phase"],
        code=read.get("code"),
        layer=read.get("layer"),
        verdicts={verdict: _bound(count) for verdict, count in read.get("verdicts", {}).items()},
        answers=tuple(Answer(**answer) for answer in read.get("answers", [])),
    )


def _bound(written: int | str) -> Bound:
    if isinstance(written, int):
        return Bound(written, written)
    least = re.fullmatch(r"at least (\d+)", written)
    if least is None:
        raise ValueError(f"Expected a number or `at least N`, found {written!r}.")
    return Bound(int(least[1]), None)


def _read(path: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(path.read_text(encoding="utf-8")))


def _pulls_directory(example: str) -> Path:
    if example not in EXAMPLES:
        raise ValueError(f"There is no example {example!r}; there are {', '.join(EXAMPLES)}.")
    return HERE / f"{example}.pulls"


# ── the repositories ────────────────────────────────────────────────────────────────────────


def create(example: str, bare: Path, work: Path, on_line: OnLine) -> None:
    """`bare` has the example's default branch, and `work` is a clone of it to change and push from.

    Run again it continues: neither commits that were added nor branches are lost."""
    work = work.resolve()
    if not (bare / "HEAD").exists():
        _run(["init", "--quiet", "--bare", *_INIT, str(bare)])
    if work.exists() and any(work.iterdir()):
        if not (work / ".git").is_dir():
            raise GitFailed(f"{work} is in use and is no git repository: move it away.")
    else:
        _first_commit(example, work)
        on_line(f"Made the repository {example}")
    _git(work, "config", "remote.origin.url", str(bare.resolve()))
    _git(work, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    _push(work, "main", on_line)


def push_branch(example: str, work: Path, branch: str, on_line: OnLine = print) -> str:
    """Commits the pull request's change on its branch, where it isn't yet, and pushes it. Returns its sha."""
    work = work.resolve()
    pull = _pull(_pulls_directory(example) / branch)
    if not _git(work, "for-each-ref", f"refs/heads/{branch}"):
        root = _git(work, "rev-list", "--max-parents=0", "main")
        with tempfile.TemporaryDirectory() as scratch:
            # An index of its own: what is checked out is left alone, and the branch appears complete.
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            _git(work, "read-tree", root, env=index)
            _git(work, "apply", "--cached", "--whitespace=nowarn", str(pull.patch), env=index)
            tree = _git(work, "write-tree", env=index)
        message = f"{pull.title}\n\n{pull.description}\n"
        sha = _commit(work, tree, message, pull.author, "2025-01-07T09:00:00+00:00", parent=root)
        _git(work, "update-ref", f"refs/heads/{branch}", sha, "")
    _push(work, branch, on_line)
    return _git(work, "rev-parse", f"refs/heads/{branch}")


def _first_commit(example: str, work: Path) -> None:
    """Made beside `work` and moved there whole, so that a half-made one is never taken for the real."""
    work.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work.parent, prefix=f".{work.name}-") as scratch:
        made = Path(scratch) / "made"
        _run(["init", "--quiet", *_INIT, str(made)])
        for path in _sources(HERE / example):
            target = made / path.relative_to(HERE / example)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        _git(made, "add", "--all", "--force", ".")
        tree = _git(made, "write-tree")
        sha = _commit(made, tree, f"{main(example).title}\n", "Maren Holt", "2025-01-06T09:00:00+00:00")
        _git(made, "update-ref", "refs/heads/main", sha, "")
        if work.exists():
            work.rmdir()  # It is empty, or this fails.
        shutil.move(made, work)


def _sources(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.is_dir() and path.name not in NOT_SOURCE:
            yield from _sources(path)
        elif path.is_file():
            yield path


def _commit(work: Path, tree: str, message: str, author: str, date: str, parent: str | None = None) -> str:
    email = f"{author.split()[0].lower()}@example.com"
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", author), ("EMAIL", email), ("DATE", date))
    }
    parents = ["-p", parent] if parent else []
    return _git(work, "commit-tree", tree, *parents, "-m", message.strip(), env=who)


def _push(work: Path, branch: str, on_line: OnLine) -> None:
    """Nothing where the bare repository is at this commit already, or has gone on from there."""
    ref = f"refs/heads/{branch}"
    if _git(work, "ls-remote", "origin", ref):
        _git(work, "fetch", "--quiet", "origin", ref)
        if _git(work, "rev-list", "--max-count=1", ref, "^FETCH_HEAD") == "":
            on_line(f"{branch} is pushed already")
            return
    _git(work, "push", "--quiet", "origin", f"{ref}:{ref}", on_line=on_line)
    on_line(f"Pushed {branch}")


# ── git ─────────────────────────────────────────────────────────────────────────────────────

_INIT = ("--initial-branch=main", "--object-format=sha1", "--template=")


def _git(
    work: Path, *arguments: str, env: Mapping[str, str] | None = None, on_line: OnLine | None = None
) -> str:
    # The directory is named, so that git never looks for one further up and finds another repository.
    return _run([f"--git-dir={work / '.git'}", f"--work-tree={work}", *arguments], work, env, on_line)


def _run(
    arguments: list[str],
    directory: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: OnLine | None = None,
) -> str:
    """What git prints. Nothing of this user's or this machine's settings has a say in it."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    settings = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    ran = subprocess.run(
        ["git", "-c", f"core.attributesFile={os.devnull}", *arguments],
        cwd=directory,
        env={**inherited, **settings, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        command = next(argument for argument in arguments if not argument.startswith("-"))
        raise GitFailed(
            f"git {command} ended with {ran.returncode}: {ran.stderr.strip() or ran.stdout.strip()}"
        )
    if on_line is not None:
        for line in ran.stderr.splitlines():
            on_line(line)
    return ran.stdout.strip()
