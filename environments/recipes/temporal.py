"""temporal: Temporal's development server, with its state in one file."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from environments.ports import PlatformError, Program, RecipeContext, Workload
from environments.recipes import checks, temporal_container
from environments.recipes.programs import beside_python
from environments.spec import Dependency


class Temporal:
    name = "temporal"
    port_names: tuple[str, ...] = ("grpc", "http", "metrics")
    option_names: tuple[str, ...] = ("namespace",)
    snapshots: Literal["live", "stopped", "none"] = (
        "stopped"  # it keeps state in memory that a changed file would contradict
    )

    def check(self, dependency: Dependency) -> None:
        checks.check_version(dependency, ["1"], "Temporal")
        checks.check_options(dependency, self.option_names)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", _namespace(dependency)):
            raise checks.refuse_option(
                dependency, "namespace", "is not a name", "Use letters, digits, `_`, `.` and `-`."
            )

    def fields(self, ctx: RecipeContext) -> dict[str, str]:
        port = str(ctx.ports["grpc"])
        address = f"{ctx.host}:{port}"
        return {
            "url": address,
            "address": address,
            "host": ctx.host,
            "port": port,
            "namespace": _namespace(ctx.dependency),
        }

    def variables(self, ctx: RecipeContext) -> dict[str, str]:
        fields = self.fields(ctx)
        return checks.conventional(
            ctx.dependency,
            {"TEMPORAL_ADDRESS": fields["address"], "TEMPORAL_NAMESPACE": fields["namespace"]},
        )

    def embedded_version(self, dependency: Dependency) -> tuple[str, str]:
        version = _server_version()
        return version, checks.note(dependency, version, "Temporal")

    def embedded_template(self, dependency: Dependency) -> str:
        return ""

    def embedded_prepare(self, ctx: RecipeContext) -> list[Program]:
        return []

    def embedded_program(self, ctx: RecipeContext) -> Program:
        ports = ctx.ports
        return Program(
            (
                beside_python("temporal"), "server", "start-dev", "--headless",
                "--ip", ctx.host,
                "--port", str(ports["grpc"]),
                "--http-port", str(ports["http"]),
                "--metrics-port", str(ports["metrics"]),
                "--db-filename", str(ctx.directory / "temporal.db"),
                "--namespace", _namespace(ctx.dependency),
                "--log-level", "warn",
            )
        )  # fmt: skip

    def embedded_files(self, ctx: RecipeContext) -> dict[str, str]:
        return {}

    def embedded_finish(self, ctx: RecipeContext, template_password: str) -> None:
        """The server makes its namespace itself."""

    def ready(self, ctx: RecipeContext) -> bool:
        connection = http.client.HTTPConnection(ctx.host, ctx.ports["http"], timeout=1)
        try:
            connection.request("GET", f"/api/v1/namespaces/{_namespace(ctx.dependency)}")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def container_ports(self, dependency: Dependency) -> Mapping[str, int]:
        return {"http": 7243, "grpc": 7233, "metrics": 7253}

    def workload(self, ctx: RecipeContext) -> Workload:
        return temporal_container.workload(ctx, _namespace(ctx.dependency))

    def snapshot(self, ctx: RecipeContext, name: str) -> None:
        kept = _kept(ctx, name)
        draft = kept.with_name(f"{kept.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for file in ctx.directory.glob("temporal.db*"):
            shutil.copy2(file, draft / file.name)
        shutil.rmtree(kept, ignore_errors=True)
        draft.rename(kept)

    def restore(self, ctx: RecipeContext, name: str) -> None:
        kept = _kept(ctx, name)
        if not kept.is_dir():
            raise PlatformError("snapshot_missing", f"{ctx.dependency.name} has no snapshot {name!r}.")
        for file in ctx.directory.glob("temporal.db*"):
            file.unlink()
        for file in kept.iterdir():
            shutil.copy2(file, ctx.directory / file.name)


def _namespace(dependency: Dependency) -> str:
    return str(dependency.options.get("namespace", "default"))


def _kept(ctx: RecipeContext, name: str) -> Path:
    return ctx.directory / f"snapshot-{name}"


@cache
def _server_version() -> str:
    answer = subprocess.run([beside_python("temporal"), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"Server (\d+(?:\.\d+)+)", answer.stdout) or re.search(r"\d+(?:\.\d+)+", answer.stdout)
    return found[found.re.groups] if found else "1"
