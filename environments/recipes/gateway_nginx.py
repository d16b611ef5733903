"""The api-gateway in a container: nginx, with one location for each route."""

from __future__ import annotations

from collections.abc import Sequence

from environments.ports import RecipeContext, Workload
from environments.recipes.gateway_routes import GatewayRoute
from environments.spec import Resources

IMAGE = "nginx:1"
PORT = 8080
CONFIG = "/etc/nginx/nginx.conf"
USER_ID = 101
"""`nginx` in the official image."""
HEALTH = "/.previewkit/health"
TEMPLATE = """\
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 1024; }}
http {{
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /dev/stdout;
    client_body_temp_path /tmp/client_body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    client_max_body_size {max_body};
    proxy_request_buffering off;
    proxy_http_version 1.1;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    # What the front door says of the visitor is true; without one, it is what is seen here.
    map $http_x_forwarded_proto $forwarded_proto {{ default $http_x_forwarded_proto; '' $scheme; }}
    server {{
        listen {port};
        add_header X-Gateway {name} always;
        location = {health} {{ access_log off; return 204; }}
{locations}
    }}
}}
"""
LOCATION = """\
        location {match} {{
            proxy_pass http://{service}:80{uri};
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $forwarded_proto;
            proxy_set_header X-Forwarded-Host $http_host;
{headers}        }}
"""


def workload(ctx: RecipeContext, routes: Sequence[GatewayRoute], max_body: int | None) -> Workload:
    """Goes by the services' plain names, which lead to the routed revision: nothing to change when that does."""
    return Workload(
        image=IMAGE,
        command=("nginx", "-g", "daemon off;"),
        files={CONFIG: config(ctx.dependency.name, routes, max_body)},
        scratch=("/tmp",),
        user=USER_ID,
        resources=Resources(cpu=0.5, memory=64 * 1024 * 1024),
        ready_path=HEALTH,
        version=("nginx", "-v"),
        routes_to=tuple(sorted({route.service for route in routes})),
        http=True,
    )


def config(name: str, routes: Sequence[GatewayRoute], max_body: int | None = None) -> str:
    """Longest path first, for people: nginx itself takes the longest. What no route matches is a 404."""
    ordered = sorted(routes, key=lambda route: (-len(route.path), route.path))
    locations = [text for route in ordered for text in _locations(route)]
    if not any(route.path == "" for route in routes):
        locations.append("        location / { return 404; }\n")
    return TEMPLATE.format(
        port=PORT, name=name, health=HEALTH, max_body=max_body or 0, locations="".join(locations).rstrip("\n")
    )


def _locations(route: GatewayRoute) -> list[str]:
    """`/api` matches /api and /api/…, and not /apiary."""
    headers = "".join(
        f'            proxy_set_header {name} "{value}";\n' for name, value in sorted(route.headers.items())
    )
    if not route.path:
        return [LOCATION.format(match="/", service=route.service, uri="", headers=headers)]
    kept = route.prefix is None
    exact, below = ("", "") if kept else (route.prefix or "/", f"{route.prefix}/")
    return [
        LOCATION.format(match=f"= {route.path}", service=route.service, uri=exact, headers=headers),
        LOCATION.format(match=f"{route.path}/", service=route.service, uri=below, headers=headers),
    ]
