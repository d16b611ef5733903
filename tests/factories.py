"""Rows for tests of what people see: a shop with an environment in every phase, and many plain ones."""

# ruff: noqa: E501  (tables of rows read best as rows)

from __future__ import annotations

import struct
import zlib
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from environments.models import (
    LAYERS,
    DeployedDependency,
    DeployedService,
    Deployment,
    Environment,
    Event,
    LayerRun,
    LogChunk,
    PullRequest,
    Repository,
)
from testruns.models import Finding, ScenarioResult, TestRun

Phase = Environment.Phase
State = LayerRun.State

SECONDS = {"build": 3.14, "namespace": 0.08, "dependencies": 1.22, "app": 2.41, "routing": 0.31, "tests": 6.4}
SUMMARIES = {
    "build": "2 services, 1 cached",
    "namespace": "made",
    "dependencies": "postgres 16.14, valkey 8.1",
    "app": "migrated, seeded, web and api answer",
    "routing": "2 addresses",
    "tests": "14 passed",
}


def user(name: str = "vera", *, staff: bool = False, password: str = "a quiet harbour") -> User:
    make = User.objects.create_superuser if staff else User.objects.create_user
    return make(name, password=password)


def repository(name: str = "shop", owner: str = "demo") -> Repository:
    found, _ = Repository.objects.get_or_create(
        provider="local", owner=owner, name=name, defaults={"url": f"/srv/git/{name}.git"}
    )
    return found


def sha(seed: object) -> str:
    return f"{zlib.crc32(repr(seed).encode()):08x}" * 5


def pull_environment(number: int, title: str = "A change", **fields: Any) -> Environment:
    """One pull request with its environment; `fields` go to the Environment, `author` and `branch` to the pull."""
    home = fields.pop("repository", None) or repository()
    author, branch = fields.pop("author", "mira"), fields.pop("branch", f"change-{number}")
    closed = fields.get("wanted") == Environment.Wanted.ABSENT
    pull = PullRequest.objects.create(
        repository=home,
        number=number,
        title=title,
        author=author,
        state="closed" if closed else "open",
        head_ref=branch,
        head_sha=sha(number),
        base_ref="main",
        base_sha=sha("main"),
    )
    fields = {"namespace_uid": f"uid-{number}"} | fields
    return Environment.objects.create(
        repository=home,
        kind=Environment.Kind.PULL,
        pull=pull,
        branch=branch,
        namespace=f"preview-{home.name}-{number}-{sha(home.pk)[:8]}",
        wanted_sha=pull.head_sha,
        **fields,
    )


def deployment(
    environment: Environment,
    *,
    running: str = "",
    failed: str = "",
    tests: str = State.DONE,
    generation: int | None = None,
    commit: str = "",
    subject: str = "Let a gift card pay for a part of the order",
) -> Deployment:
    """All layers done, unless one is running or failed: those after it wait, or were not run."""
    made = Deployment.objects.create(
        environment=environment,
        generation=environment.generation if generation is None else generation,
        sha=commit or environment.wanted_sha,
        subject=subject,
        outcome="running" if running else "failed" if failed else "succeeded",
    )
    at = timezone.now() - timedelta(seconds=sum(SECONDS.values()))
    stopped = False
    for position, layer in enumerate(LAYERS):
        run = LayerRun(deployment=made, layer=layer, position=position)
        if stopped:
            run.state = State.SKIPPED if failed else State.WAITING
        else:
            run.started_at = at
            at += timedelta(seconds=SECONDS[layer])
            stopped = layer in (running, failed)
            run.state = State.RUNNING if layer == running else State.FAILED if layer == failed else State.DONE
            run.finished_at = None if layer == running else at
            run.summary = "" if stopped else SUMMARIES[layer]
            if layer == "tests":
                run.state = State.RUNNING if layer == running else tests
        run.save()
    return made


def fail(environment: Environment, layer: str, code: str, message: str, hint: str, tail: list[str]) -> Deployment:
    made = deployment(environment, failed=layer)
    made.layers.filter(layer=layer).update(error_code=code, error_message=message, error_hint=hint, log_tail=tail)
    return made


def serve(made: Deployment) -> None:
    """Its services and dependencies are up, and the environment's addresses lead to it."""
    label = made.environment.namespace.removeprefix("preview-")
    DeployedService.objects.bulk_create(
        [
            DeployedService(
                deployment=made,
                name="web",
                public=True,
                url=f"https://web-pr-{label}.preview.localhost:8443",
                port=41023,
                state="running",
                artifact="sha256:" + sha("web"),
                build_seconds=3.06,
                found={
                    "start": {
                        "command": ["gunicorn", "shop.wsgi", "--bind", "0.0.0.0:41023"],
                        "because": "Procfile, line 1: web",
                    },
                    "migrate": {
                        "command": ["python", "manage.py", "migrate"],
                        "because": "Django: manage.py is there",
                    },
                },
            ),
            DeployedService(
                deployment=made,
                name="api",
                url=f"https://api-pr-{label}.preview.localhost:8443",
                port=41024,
                state="running",
                artifact="sha256:" + sha("api"),
                cache_hit=True,
                found={"start": {"command": "npm start", "because": "package.json: scripts.start"}},
            ),
            DeployedService(deployment=made, name="worker", state="running", artifact="sha256:" + sha("worker")),
        ]
    )
    DeployedDependency.objects.bulk_create(
        [
            DeployedDependency(
                deployment=made,
                name="postgres",
                recipe="postgres",
                version_wanted="15",
                version="16.14",
                note="postgres 15 was wanted; the embedded runtime runs 16.14.",
            ),
            DeployedDependency(deployment=made, name="valkey", recipe="valkey", version_wanted="8", version="8.1.3"),
        ]
    )
    Environment.objects.filter(pk=made.environment_id).update(serving=made)


def say(made: Deployment, layer: str, *lines: str, source: str = "") -> LogChunk:
    run = made.layers.get(layer=layer)
    return LogChunk.objects.create(layer_run=run, source=source, text="\n".join(lines))


def history(environment: Environment, *texts: str, actor: str = "PreviewKit") -> None:
    Event.objects.bulk_create([Event(environment=environment, actor=actor, kind="phase", text=text) for text in texts])


def test_run(made: Deployment, *, passed: int = 5, bug: bool = False, **fields: Any) -> TestRun:
    fields = {"state": "done", "sha": made.sha, "namespace_uid": made.environment.namespace_uid} | fields
    run = TestRun.objects.create(deployment=made, **fields)
    titles = ("Visit the front page", "Search the catalogue", "Sign up", "Add to the cart", "Bad input at sign-in")
    for index in range(passed):
        ScenarioResult.objects.create(
            test_run=run,
            scenario_key=f"scenario-{index}",
            title=titles[index % len(titles)] + (f" {index}" if index >= len(titles) else ""),
            origin="reference" if index % 2 else "new",
            outcome="passed",
            seconds=0.6 + index / 7,
            steps=[
                {"intent": "Open the front page", "action": "goto", "outcome": "passed", "ms": 212},
                {"intent": "See the heading", "action": "expect", "outcome": "passed", "ms": 4},
            ],
        )
    if bug:
        _bug(run)
    return run


test_run.__test__ = False  # type: ignore[attr-defined]  # pytest: a factory, not a test


def _bug(run: TestRun) -> None:
    ScenarioResult.objects.create(
        test_run=run,
        scenario_key="checkout",
        title="Check out with one thing in the cart",
        origin="reference",
        outcome="failed",
        seconds=2.3,
        steps=[
            {"intent": "Open the cart", "action": "goto", "outcome": "passed", "ms": 180},
            {"intent": "Press “Check out”", "action": "click", "outcome": "failed", "ms": 2010},
        ],
    )
    ScenarioResult.objects.create(
        test_run=run,
        scenario_key="order",
        title="See the order in the account",
        origin="reference",
        outcome="not_run",
        reason="It begins where “Check out with one thing in the cart” ends, which failed.",
    )
    Finding.objects.create(
        test_run=run,
        scenario_key="checkout",
        title="Check out with one thing in the cart",
        step="Press “Check out”",
        expected="The heading “Thank you”",
        seen="The heading “Server Error (500)”",
        verdict="APPLICATION_BUG",
        cause="new server error in the step's window",
        gate="first_party_5xx",
        confidence=0.97,
        evidence=[
            "POST /checkout answered 500 while the step ran.",
            "The base commit answers 302 to the same request.",
            "Three replays of three agree.",
        ],
        picture=png(640, 400),
    )
    Finding.objects.create(
        test_run=run,
        scenario_key="search",
        title="Search the catalogue",
        step="See three results",
        expected="3 items",
        seen="2, then 3 items",
        verdict="AGENT_ERROR",
        cause="the replays disagree",
        gate="replays_agree",
        confidence=0.4,
        needs_person=True,
        evidence=["Two replays of three passed."],
    )


def png(width: int, height: int) -> bytes:
    """A grey picture with a darker band, as a real PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\x00" + (b"\xd8" if y > height // 6 else b"\x60") * width for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def shop() -> dict[str, Environment]:
    """demo/shop with a pull request in every phase, and its pinned main branch."""
    home = repository()
    made = {
        "ready": pull_environment(12, "Let a gift card pay for a part of the order", phase=Phase.READY, branch="gift-cards"),
        "bug": pull_environment(13, "Round prices to five cents", phase=Phase.READY, author="tomas", branch="round-prices"),
        "building": pull_environment(14, "Search by colour", phase=Phase.BUILDING, branch="search-colour"),
        "starting": pull_environment(15, "Move carts to Valkey hashes", phase=Phase.STARTING, author="ines"),
        "testing": pull_environment(16, "Shorter sign-up", phase=Phase.TESTING, author="ines", branch="short-sign-up"),
        "failed": pull_environment(17, "Listen on 3000", phase=Phase.FAILED, author="tomas", branch="wrong-port"),
        "degraded": pull_environment(18, "Drop the old price column", phase=Phase.DEGRADED, generation=2),
        "queued": pull_environment(19, "Update the catalogue's pictures", phase=Phase.QUEUED, branch="pictures"),
        "asleep": pull_environment(9, "Footer links", phase=Phase.ASLEEP, wanted="asleep", author="ines"),
        "stopping": pull_environment(8, "Old banner", phase=Phase.STOPPING, wanted="absent"),
        "gone": pull_environment(7, "Faster front page", phase=Phase.GONE, wanted="absent", namespace_uid="", gone_at=timezone.now()),
    }  # fmt: skip
    made["main"] = Environment.objects.create(
        repository=home, kind="branch", branch="main", namespace="preview-shop-main", wanted_sha=sha("main"), phase=Phase.READY,
        namespace_uid="uid-main",
    )  # fmt: skip
    Environment.objects.filter(repository=home).update(phase_changed_at=timezone.now() - timedelta(minutes=4))
    for name in ("ready", "bug", "main", "asleep", "gone", "stopping"):
        done = deployment(made[name])
        if name != "gone":
            serve(done)
        test_run(done, passed=7, bug=name == "bug")
        _logs(done)
    for name, layer in (("building", "build"), ("starting", "app"), ("testing", "tests")):
        on_the_way = deployment(made[name], running=layer)
        _logs(on_the_way)
        if name == "testing":
            serve(on_the_way)
            test_run(on_the_way, passed=2, state="replaying")
    _logs(
        fail(
            made["failed"],
            "app",
            "service_wrong_port",
            "web listens on port 3000, but was given PORT=41037.",
            "Listen on the PORT variable, for instance `app.listen(process.env.PORT)`.",
            ["> shop@1.4.0 start", "> node server.js", "", "shop listens on http://0.0.0.0:3000"],
        )
    )
    older = deployment(made["degraded"], generation=1, commit=sha("older"), subject="Copy prices over")
    serve(older)
    test_run(older)
    fail(
        made["degraded"],
        "app",
        "migrate_failed",
        "`python manage.py migrate` ended with exit code 1.",
        "Read its last lines: the database refused the change.",
        ['psycopg.errors.UndefinedColumn: column "old_price" does not exist', "LINE 1: UPDATE catalogue_item SET"],
    )
    for environment in made.values():
        history(environment, f"Pull request opened at {environment.wanted_sha[:8]}", "Building")
        history(environment, "Retry", actor="ines")
        history(environment, environment.get_phase_display())
    return made


def _logs(made: Deployment) -> None:
    reached = set(made.layers.exclude(state__in=[State.WAITING, State.SKIPPED]).values_list("layer", flat=True))
    said = (
        ("build", "web", ["web: Python 3.12, requirements.txt", "Resolved 41 packages in 212ms", "\x1b[32mInstalled 41 packages\x1b[0m in 1.84s"]),
        ("build", "api", ["api: nothing changed, taken from the cache"]),
        ("namespace", "", ["made"]),
        ("dependencies", "postgres", ["initdb: done", "database system is ready to accept connections"]),
        ("dependencies", "valkey", ["Ready to accept connections tcp"]),
        ("app", "web-migrate", ["Operations to perform:", "  Apply all migrations: accounts, cart, catalogue", "  Applying catalogue.0007_gift_cards... OK"]),
        ("app", "web", ["[INFO] Starting gunicorn 23.0.0", "[INFO] Listening at: http://0.0.0.0:41023"]),
        ("routing", "", ["web-pr-12-shop answers over TLS"]),
        ("tests", "", ["Planning: 7 scenarios", "Replaying: Visit the front page"]),
    )  # fmt: skip
    for layer, source, lines in said:
        if layer in reached:
            say(made, layer, *lines, source=source)
