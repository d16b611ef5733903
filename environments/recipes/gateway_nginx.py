"""The api-gateway in a container: nginx, with one location for each route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from environments.ports import RecipeContext, Workload
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
    client_max_body_size 0;
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
        }}
"""


@dataclass(frozen=True)
class GatewayRoute:
    path: str
    """Without a slash at its end; empty: everything."""
    service: str
    strip_prefix: bool = False


def workload(ctx: RecipeContext, routes: Sequence[GatewayRoute]) -> Workload:
    """Goes by the services' plain names, which lead to the routed revision: nothing to change when that does."""
    return Workload(
        image=IMAGE,
        command=("nginx", "-g", "daemon off;"),
        files={CONFIG: config(ctx.dependency.name, routes)},
        scratch=("/tmp",),
        user=USER_ID,
        resources=Resources(cpu=0.5, memory=64 * 1024 * 1024),
        ready_path=HEALTH,
        version=("nginx", "-v"),
        routes_to=tuple(sorted({route.service for route in routes})),
        http=True,
    )


def config(name: str, routes: Sequence[GatewayRoute]) -> str:
    """Longest path first, for people: nginx itself takes the longest. What no route matches is a 404."""
    ordered = sorted(routes, key=lambda route: (-len(route.path), route.path))
    locations = [text for route in ordered for text in _locations(route)]
    if not any(route.path == "" for route in routes):
        locations.append("        location / { return 404; }\n")
    return TEMPLATE.format(port=PORT, name=name, health=HEALTH, locations="".join(locations).rstrip("\n"))


def _locations(route: GatewayRoute) -> list[str]:
    """`/api` matches /api and /api/…, and not /apiary."""
    if not route.path:
        return [LOCATION.format(match="/", service=route.service, uri="")]
    uri = "/" if route.strip_prefix else ""
    return [
        LOCATION.format(match=f"= {route.path}", service=route.service, uri=uri),
        LOCATION.format(match=f"{route.path}/", service=route.service, uri=uri),
    ]
