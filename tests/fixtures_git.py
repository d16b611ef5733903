"""A person's working repository for tests: real git, nothing of the machine's own git settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

GIT_ENV = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "LC_ALL": "C.UTF-8",
}


class WorkingRepository:
    """One directory with a checked-out branch."""

    def __init__(self, path: Path, default_branch: str = "main") -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", f"--initial-branch={default_branch}")

    def git(self, *args: str, check: bool = True) -> str:
        """What git printed, both streams: a hook's lines come on the second."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | GIT_ENV
        done = subprocess.run(
            ["git", *args],
            cwd=self.path,
            env=env,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"git {' '.join(args)}: {done.stdout}")
        return done.stdout.strip()

    def commit(self, subject: str, content: str | None = None) -> str:
        """A new commit on the branch that is checked out; its sha."""
        (self.path / "file.txt").write_text(content if content is not None else subject)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def on(self, branch: str, start: str = "main") -> None:
        """Checks the branch out, made from `start` when it is new."""
        exists = self.git("rev-parse", "--quiet", "--verify", f"refs/heads/{branch}", check=False)
        self.git("checkout", "--quiet", *([branch] if exists else ["-b", branch, start]))

    def push(self, url: str, *refspecs: str) -> str:
        return self.git("push", "--force", url, *refspecs)
