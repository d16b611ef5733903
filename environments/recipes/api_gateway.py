"""api-gateway: one address for several services, routed by path; a Traefik of the environment's own.

    options: {routes: [{path: /api, to: services.api, strip_prefix: true}], default: services.web}

The longest path wins; what no route matches goes to `default`, or is a 404.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from environments.ports import Program, RecipeContext, Workload
from environments.recipes import checks, gateway_nginx
from environments.recipes.programs import beside_python
from environments.spec import Dependency

SERVICE = r"services\.([a-z0-9][a-z0-9-]*)"


class ApiGateway:
    name = "api-gateway"
    port_names: tuple[str, ...] = ("http", "admin")
    option_names: tuple[str, ...] = ("default", "routes")
    snapshots: Literal["live", "stopped", "none"] = "none"

    def check(self, dependency: Dependency) -> None:
        checks.check_version(dependency, ["3"], "Traefik")
        checks.check_options(dependency, self.option_names)
        routes = dependency.options.get("routes", [])
        if not isinstance(routes, list | tuple) or not all(_is_route(route) for route in routes):
            raise checks.refuse_option(
                dependency,
                "routes",
                "each has a `path` that begins with `/`, `to`, and perhaps `strip_prefix`",
                "Write `routes: [{path: /api, to: services.api, strip_prefix: true}]`.",
            )
        default = dependency.options.get("default")
        if default is not None and not re.fullmatch(SERVICE, str(default)):
            raise checks.refuse_option(
                dependency, "default", f"{default!r} is not a service", "Write `default: services.web`."
            )

    def fields(self, ctx: RecipeContext) -> dict[str, str]:
        port = str(ctx.ports["http"])
        return {"url": f"http://{ctx.host}:{port}", "host": ctx.host, "port": port}

    def variables(self, ctx: RecipeContext) -> dict[str, str]:
        return checks.conventional(ctx.dependency, {"API_GATEWAY_URL": self.fields(ctx)["url"]})

    def embedded_version(self, dependency: Dependency) -> tuple[str, str]:
        version = _traefik_version()
        return version, checks.note(dependency, version, "Traefik")

    def embedded_template(self, dependency: Dependency) -> str:
        return ""

    def embedded_prepare(self, ctx: RecipeContext) -> list[Program]:
        return []

    def embedded_program(self, ctx: RecipeContext) -> Program:
        return Program((beside_python("traefik"), f"--configFile={ctx.directory / 'traefik.yml'}"))

    def embedded_files(self, ctx: RecipeContext) -> dict[str, str]:
        """`routes.yml` changes with the services' revision; JSON is YAML."""
        static = {
            "entryPoints": {
                "http": {"address": f"{ctx.host}:{ctx.ports['http']}"},
                "traefik": {"address": f"{ctx.host}:{ctx.ports['admin']}"},
            },
            "providers": {
                "file": {"filename": str(ctx.directory / "routes.yml"), "watch": True},
                "providersThrottleDuration": "50ms",
            },
            "api": {"insecure": True, "dashboard": False},
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "WARN"},
        }
        return {
            "traefik.yml": json.dumps(static, indent=2) + "\n",
            "routes.yml": json.dumps({"http": _routing(ctx)}, indent=2) + "\n",
        }

    def embedded_finish(self, ctx: RecipeContext, template_password: str) -> None:
        """Its files are all there is."""

    def ready(self, ctx: RecipeContext) -> bool:
        """Answers with the routes of this revision."""
        connection = http.client.HTTPConnection(ctx.host, ctx.ports["admin"], timeout=1)
        try:
            connection.request("GET", f"/api/http/middlewares/{_mark(ctx)}@file")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def container_ports(self, dependency: Dependency) -> Mapping[str, int]:
        return {"http": gateway_nginx.PORT}

    def workload(self, ctx: RecipeContext) -> Workload:
        routes = [
            gateway_nginx.GatewayRoute(
                route["path"].rstrip("/"), service_of(route["to"]), bool(route.get("strip_prefix"))
            )
            for route in _routes(ctx.dependency)
        ]
        return gateway_nginx.workload(ctx, routes)

    def snapshot(self, ctx: RecipeContext, name: str) -> None:
        """It keeps nothing."""

    def restore(self, ctx: RecipeContext, name: str) -> None:
        """It keeps nothing."""


def _routing(ctx: RecipeContext) -> dict[str, Any]:
    routers: dict[str, Any] = {}
    # In every configuration, so that `ready` can see which one Traefik has taken over.
    marking = {"headers": {"customResponseHeaders": {"X-Gateway": ctx.dependency.name}}}
    middlewares: dict[str, Any] = {_mark(ctx): marking}
    for number, route in enumerate(_routes(ctx.dependency)):
        path, service = route["path"].rstrip("/"), service_of(route["to"])
        if service not in ctx.services:
            continue
        name = f"route-{number}"
        rule = f"Path(`{path}`) || PathPrefix(`{path}/`)" if path else "PathPrefix(`/`)"
        # Longest first; the default, `/`, last.
        routers[name] = {"rule": rule, "service": service, "entryPoints": ["http"], "priority": len(path) + 1}
        if route.get("strip_prefix") and path:
            routers[name]["middlewares"] = [f"{name}-strip"]
            middlewares[f"{name}-strip"] = {"stripPrefix": {"prefixes": [path]}}
    targets = {router["service"] for router in routers.values()}
    services = {
        name: {"loadBalancer": {"servers": [{"url": f"http://{ctx.services[name]}"}]}} for name in sorted(targets)
    }
    routing: dict[str, Any] = {"middlewares": middlewares}
    if routers:  # Traefik refuses an empty table
        routing |= {"routers": routers, "services": services}
    return routing


def service_of(reference: str) -> str:
    """`services.api` → `api`."""
    return reference.removeprefix("services.")


def _routes(dependency: Dependency) -> list[dict[str, Any]]:
    routes = [dict(route) for route in dependency.options.get("routes", [])]
    if dependency.options.get("default"):
        routes.append({"path": "/", "to": dependency.options["default"]})
    return routes


def _mark(ctx: RecipeContext) -> str:
    return f"revision-{ctx.revision}"


def _is_route(route: object) -> bool:
    return (
        isinstance(route, dict)
        and set(route) <= {"path", "to", "strip_prefix"}
        and re.fullmatch(r"/[A-Za-z0-9/_.~-]*", str(route.get("path", ""))) is not None
        and re.fullmatch(SERVICE, str(route.get("to", ""))) is not None
        and isinstance(route.get("strip_prefix", False), bool)
    )


@cache
def _traefik_version() -> str:
    answer = subprocess.run([beside_python("traefik"), "version"], capture_output=True, text=True, check=True)
    found = re.search(r"Version:\s*(\d+(?:\.\d+)+)", answer.stdout)
    return found[1] if found else "3"
