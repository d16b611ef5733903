"""A world for the reconciler: a real local provider over real git, a real database, the in-memory runtime."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from environments import pipeline, services, sweeper, wiring, wishes
from environments.builders.memory import MemoryBuilder
from environments.models import Environment, Repository
from environments.providers.local import LocalProvider
from environments.runtimes.memory import MemoryRuntime
from environments.source import Source

SPEC = """\
services:
  web:
    build: railpack
    port: 3000
    command: ["act", "serve", "{text}"]
    migrate: {migrate}
    seed: {seed}
dependencies:
  - postgres@16
tests: {{enabled: false}}
"""


class Killed(BaseException):
    """kill -9, as near as a test comes to it: nothing that the worker would still have done happens."""


@dataclass
class World:
    """One repository, and workers that the test runs by hand."""

    provider: LocalProvider
    runtime: MemoryRuntime
    builder: MemoryBuilder
    repository: Repository
    work: Path
    outside: wiring.Outside
    commits: list[str] = field(default_factory=list)

    # ── what people do ──
    def commit(self, text: str = "hello", *, migrate: str = "false", seed: str = "false", spec: str = "") -> str:
        """A commit on no branch yet; returns its sha."""
        (self.work / ".preview.yaml").write_text(spec or SPEC.format(text=text, migrate=migrate, seed=seed))
        (self.work / "note.txt").write_text(uuid.uuid4().hex)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", f"Say {text}")
        sha = self.git("rev-parse", "HEAD")
        self.commits.append(sha)
        return sha

    def push(self, sha: str, branch: str, force: bool = True) -> None:
        self.git("push", "--quiet", *(["--force"] if force else []), "origin", f"{sha}:refs/heads/{branch}")

    def delete_branch(self, branch: str) -> None:
        self.git("push", "--quiet", "origin", "--delete", branch)

    def git(self, *args: str) -> str:
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        done = subprocess.run(["git", *who, *args], cwd=self.work, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    # ── what arrives ──
    def deliver(self, number: int | None = None, branch: str = "", delivery: str = "") -> None:
        payload: dict[str, object] = {"repository": self.repository.name}
        payload |= {"number": number} if number else {"branch": branch}
        delivery = delivery or uuid.uuid4().hex
        services.receive_delivery("local", delivery, "push", payload)
        for row in wishes.WebhookDelivery.objects.filter(interpreted_at=None):
            wishes.interpret_delivery(row.pk)

    # ── what workers do ──
    def work_once(self, environment: Environment) -> timedelta | None:
        return pipeline.reconcile(environment.pk, self.outside)

    def work_until_done(self, environment: Environment, tries: int = 20) -> Environment:
        for _ in range(tries):
            again = self.work_once(environment)
            environment.refresh_from_db()
            if again is None:
                return environment
            Environment.objects.filter(pk=environment.pk).update(retry_at=None)
        raise AssertionError(f"{environment} did not come to rest: {environment.phase}")

    def die_at(self, nth: int) -> None:
        """The worker is killed at the nth call to the runtime from now."""
        left = [nth]

        def before(method: str, namespace: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        self.runtime.before = before

    def work_and_die(self, environment: Environment, nth: int) -> bool:
        """Returns whether the worker came to its end before the nth call. A dead one's lease is still there."""
        self.die_at(nth)
        try:
            self.work_once(environment)
        except Killed:
            Environment.objects.filter(pk=environment.pk).update(
                lease_token="dead", lease_until=timezone.now() - timedelta(seconds=1)
            )
            return False
        finally:
            self.runtime.before = lambda method, namespace: None
        return True

    def sweep_until_done(self, passes: int = 20) -> None:
        """The scheduler and one worker, until nothing is left to do."""
        for _ in range(passes):
            Environment.objects.filter(retry_at__isnull=False).update(retry_at=timezone.now())
            sweeper.ask_provider(self.repository)
            waiting = sweeper.sweep()
            if not waiting:
                return
            for environment in Environment.objects.filter(pk__in=waiting):
                self.work_once(environment)
        raise AssertionError("the sweeper did not come to rest")

    # ── what is seen ──
    def environment(self, number: int | None = None) -> Environment:
        rows = Environment.objects.filter(repository=self.repository)
        return rows.get(pull__number=number) if number else rows.get(pull=None)

    def seen_at(self, environment: Environment) -> str | None:
        """What a visitor of the environment's address sees; None: nothing answers."""
        return self.runtime.visit(wiring.host(environment, "web"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: object, transactional_db: None) -> Iterator[World]:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(settings, "PREVIEWKIT_HOME", home, raising=False)
    monkeypatch.setattr(settings, "OWNER_ID", "test", raising=False)
    provider = LocalProvider(home / "git")
    runtime = MemoryRuntime(owner="test")
    builder = MemoryBuilder()
    outside = wiring.Outside(
        runtime, builder, Source(home / "sources"), home / "checkouts", lambda host, fence: fence()
    )
    monkeypatch.setattr(wiring, "runtime", lambda: runtime)
    monkeypatch.setattr(wiring, "provider", lambda name: provider)
    monkeypatch.setattr(wiring, "outside", lambda: outside)
    name = f"shop-{uuid.uuid4().hex[:8]}"
    repository = services.create_repository(name)
    work = tmp_path / "work"
    work.mkdir()
    made = World(provider, runtime, builder, repository, work, outside)
    made.git("init", "--quiet", "--initial-branch=scratch")
    made.git("remote", "add", "origin", repository.url)
    made.push(made.commit("main"), "main")
    yield made
