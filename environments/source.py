"""Commits on disk: a mirror per repository, a checkout per deployment, differences between commits. Runs git.

Imports no Django. Hooks, filters and the user's own git settings never run: a pull request's tree is data here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from environments.errors import PlatformError, UserError
from environments.ports import CloneSource
from environments.runtimes.machine.locks import exclusive

TIMEOUT = 300.0
DIFF_LIMIT = 2 * 1024 * 1024
"""Characters of a difference that are looked at."""
SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=true", "-c", "protocol.ext.allow=never")
FAILURES = (
    (
        "No space left on device",
        PlatformError,
        "disk_full",
        "The disk is full; the commit could not be fetched.",
    ),
    ("not our ref", UserError, "commit_gone", "The commit is not in the repository any more."),
    ("couldn't find remote ref", UserError, "commit_gone", "The commit is not in the repository any more."),
    (
        "does not appear to be a git repository",
        UserError,
        "repository_gone",
        "There is no git repository there.",
    ),
    ("does not exist", UserError, "repository_gone", "There is no git repository there."),
    ("not found", UserError, "repository_gone", "The repository was not found."),
)


@dataclass(frozen=True)
class Commit:
    """A commit checked out at `tree`."""

    sha: str
    subject: str
    tree: Path
    mirror: Path

    def tree_id(self, path: str) -> str:
        """Git's object id of a folder in the commit: equal content, equal id."""
        spec = f"{self.sha}^{{tree}}" if path in (".", "") else f"{self.sha}:{path.strip('/')}"
        return git(self.mirror, "rev-parse", spec).strip()


class Source:
    """Fetches into `root/<slug>.git`, one writer at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def mirror(self, slug: str) -> Path:
        path = self.root / f"{slug}.git"
        if not (path / "HEAD").exists():
            with exclusive(self.root / f".{slug}.lock"):
                if not (path / "HEAD").exists():
                    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
                    git(fresh, "init", "--quiet", "--bare", "--template=", ".")
                    fresh.rename(path)
        return path

    def fetch(self, slug: str, origin: CloneSource, sha: str) -> Path:
        """The mirror, with `sha` in it. Raises UserError(commit_gone | repository_gone)."""
        mirror = self.mirror(slug)
        if has(mirror, sha):
            return mirror
        with exclusive(self.root / f".{slug}.lock"):
            if not has(mirror, sha):
                # The ref keeps the commit from being collected.
                git(
                    mirror, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options",
                    origin.url, f"+{sha}:refs/commits/{sha}", env=origin.env,
                )  # fmt: skip
        return mirror

    def checkout(self, slug: str, origin: CloneSource, sha: str, into: Path) -> Commit:
        """The commit's files under `into`, which is made anew."""
        mirror = self.fetch(slug, origin, sha)
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        index = into.with_name(f"{into.name}.index")
        env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(into)}
        try:
            git(mirror, "read-tree", sha, env=env)
            git(mirror, "checkout-index", "--all", "--quiet", env=env, cwd=into)
        finally:
            index.unlink(missing_ok=True)
        subject = git(mirror, "show", "--no-patch", "--format=%s", sha).strip()[:500]
        return Commit(sha, subject, into, mirror)

    def diff(self, slug: str, origin: CloneSource, base: str, head: str) -> str:
        """What is different at `head`, as a unified diff; at most DIFF_LIMIT characters."""
        mirror = self.fetch(slug, origin, head)
        self.fetch(slug, origin, base)
        return git(mirror, "diff", "--no-color", "--no-ext-diff", base, head, "--")[:DIFF_LIMIT]

    def changed_files(self, slug: str, origin: CloneSource, base: str, head: str) -> list[str]:
        mirror = self.fetch(slug, origin, head)
        self.fetch(slug, origin, base)
        return git(mirror, "diff", "--name-only", "-z", base, head, "--").split("\0")[:-1]

    def forget(self, slug: str) -> None:
        """Removes the mirror of a repository that is no longer connected."""
        shutil.rmtree(self.root / f"{slug}.git", ignore_errors=True)


def has(mirror: Path, sha: str) -> bool:
    return (
        subprocess.run(
            ["git", "cat-file", "-e", f"{sha}^{{commit}}"],
            cwd=mirror, env=_environment({}, mirror), capture_output=True, timeout=TIMEOUT, check=False,
        ).returncode
        == 0
    )  # fmt: skip


def git(mirror: Path, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs git in a bare repository and returns what it prints."""
    try:
        done = subprocess.run(
            ["git", *SAFE, *args],
            cwd=cwd or mirror, env=_environment(env or {}, mirror), capture_output=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PlatformError("provider_unavailable", f"git {args[0]} took longer than {TIMEOUT:.0f} s.") from error
    except FileNotFoundError as error:
        raise PlatformError("runtime_unavailable", "git is not installed.", "Install git.") from error
    if done.returncode:
        raise _failure(args[0], done.stderr.decode(errors="replace").strip())
    return done.stdout.decode(errors="replace")


def _failure(command: str, stderr: str) -> Exception:
    for sign, family, code, message in FAILURES:
        if sign in stderr:
            return family(code, message, log_tail=stderr.splitlines()[-5:])
    last = stderr.splitlines()[-1] if stderr else "no output"
    return PlatformError("provider_unavailable", f"git {command} failed: {last}", log_tail=stderr.splitlines()[-5:])


def _environment(extra: Mapping[str, str], mirror: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
    }
    return {
        **kept, "GIT_DIR": str(mirror), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **extra,
    }  # fmt: skip
