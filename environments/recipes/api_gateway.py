"""api-gateway: one address for several services, routed by path; a Traefik of the environment's own.

    options: {routes: [{path: /api, to: services.api, strip_prefix: true}], default: services.web, max_body: 10m}

A route may have `rewrite: /v2` (what its path becomes) and `headers: {X-Tenant: demo}`. The longest path wins;
what no route matches goes to `default`, or is a 404.
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
from environments.recipes import checks, gateway_nginx, gateway_routes
from environments.recipes.gateway_routes import GatewayRoute, routes_of
from environments.recipes.programs import beside_python
from environments.spec import Dependency


class ApiGateway:
    name = "api-gateway"
    port_names: tuple[str, ...] = ("http", "admin")
    option_names: tuple[str, ...] = ("default", "max_body", "routes")
    snapshots: Literal["live", "stopped", "none"] = "none"

    def check(self, dependency: Dependency) -> None:
        checks.check_version(dependency, ["3"], "Traefik")
        checks.check_options(dependency, self.option_names)
        gateway_routes.check(dependency)

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
        return gateway_nginx.workload(ctx, routes_of(ctx.dependency), gateway_routes.max_body(ctx.dependency))

    def snapshot(self, ctx: RecipeContext, name: str) -> None:
        """It keeps nothing."""

    def restore(self, ctx: RecipeContext, name: str) -> None:
        """It keeps nothing."""


def _routing(ctx: RecipeContext) -> dict[str, Any]:
    routers: dict[str, Any] = {}
    # In every configuration, so that `ready` can see which one Traefik has taken over.
    marking = {"headers": {"customResponseHeaders": {"X-Gateway": ctx.dependency.name}}}
    middlewares: dict[str, Any] = {_mark(ctx): marking}
    for number, route in enumerate(routes_of(ctx.dependency)):
        if route.service not in ctx.services:
            continue
        path, name = route.path, f"route-{number}"
        rule = f"Path(`{path}`) || PathPrefix(`{path}/`)" if path else "PathPrefix(`/`)"
        # Longest first; the default, `/`, last.
        routers[name] = {"rule": rule, "service": route.service, "entryPoints": ["http"], "priority": len(path) + 1}
        own = _middlewares(name, route, gateway_routes.max_body(ctx.dependency))
        if own:
            routers[name]["middlewares"] = list(own)
            middlewares |= own
    targets = {router["service"] for router in routers.values()}
    services = {
        name: {"loadBalancer": {"servers": [{"url": f"http://{ctx.services[name]}"}]}} for name in sorted(targets)
    }
    routing: dict[str, Any] = {"middlewares": middlewares}
    if routers:  # Traefik refuses an empty table
        routing |= {"routers": routers, "services": services}
    return routing


def _middlewares(name: str, route: GatewayRoute, limit: int | None) -> dict[str, Any]:
    """In the order in which a request passes them."""
    found: dict[str, Any] = {}
    if limit is not None:
        found[f"{name}-limit"] = {"buffering": {"maxRequestBodyBytes": limit}}
    if route.headers:
        found[f"{name}-headers"] = {"headers": {"customRequestHeaders": dict(route.headers)}}
    if route.prefix is not None:
        found[f"{name}-strip"] = {"stripPrefix": {"prefixes": [route.path]}}
        if route.prefix:
            found[f"{name}-prefix"] = {"addPrefix": {"prefix": route.prefix}}
    return found


def _mark(ctx: RecipeContext) -> str:
    return f"revision-{ctx.revision}"


@cache
def _traefik_version() -> str:
    answer = subprocess.run([beside_python("traefik"), "version"], capture_output=True, text=True, check=True)
    found = re.search(r"Version:\s*(\d+(?:\.\d+)+)", answer.stdout)
    return found[1] if found else "3"
