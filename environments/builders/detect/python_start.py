"""Python: the start command and the seed, found by framework and server."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from environments.builders.detect.model import Command
from environments.builders.detect.sources import Sources
from environments.ports import FoundCommand
from environments.spec import Service

HOST = "${HOST:-0.0.0.0}"
"""Servers listen everywhere, as they must in a container, unless the runtime says where (embedded: localhost)."""
ENTRY_FILES = r"(?:[a-z_]+/){0,2}(?:main|app|asgi|wsgi|server|api|application|run|__init__)\.py"
SCRIPTS = ("main.py", "app.py", "server.py", "run.py", "start.py", "bot.py", "hello.py")


@dataclass(frozen=True)
class Start:
    found: FoundCommand | None
    notes: tuple[str, ...] = ()


def find_start(sources: Sources, service: Service, packages: frozenset[str]) -> Start:
    if service.port is None:
        return _worker(sources, packages)
    return (
        _django(sources, packages)
        or _asgi(sources, packages)
        or _flask(sources, packages)
        or _streamlit(sources, packages)
        or _script(sources)
    )


def _found(command: Command, because: str, *notes: str) -> Start:
    return Start(FoundCommand(command, because), notes)


def _django(sources: Sources, packages: frozenset[str]) -> Start | None:
    if not sources.has("manage.py"):
        return None
    wsgi = next(sources.find(r"(?:[\w]+/){1,2}wsgi\.py"), None)
    asgi = next(sources.find(r"(?:[\w]+/){1,2}asgi\.py"), None)
    asgi_server = _server(packages, "daphne", "uvicorn", "hypercorn") if asgi else None
    wsgi_server = _server(packages, "gunicorn", "waitress") if wsgi else None
    if asgi and asgi_server and ("channels" in packages or not wsgi_server):
        return _serve(asgi_server, f"{module_of(asgi)}:application", "manage.py: Django")
    if wsgi and wsgi_server:
        return _serve(wsgi_server, f"{module_of(wsgi)}:application", "manage.py: Django")
    return _found(
        f"python manage.py runserver {HOST}:$PORT --noreload",
        "manage.py: Django, and no production server is among the packages.",
        "Django's development server is used; add gunicorn or uvicorn for one like production's.",
    )


def _asgi(sources: Sources, packages: frozenset[str]) -> Start | None:
    framework = next((name for name in ("fastapi", "starlette", "litestar", "quart") if name in packages), None)
    app = framework and _application(sources, "FastAPI|Starlette|Litestar|Quart")
    if not (framework and app):
        return None
    bundled = {"fastapi[standard]", "fastapi[all]", "litestar[standard]"} & packages
    server = "uvicorn" if bundled else _server(packages, "uvicorn", "hypercorn", "daphne", "granian")
    if server is None:
        script = _script(sources)
        return Start(script.found, (f"{framework} needs a server: add uvicorn to the packages.",))
    return _serve(server, app, f"{framework} is among the packages, its application is {app}")


def _flask(sources: Sources, packages: frozenset[str]) -> Start | None:
    app = _application(sources, "Flask", factory=True) if "flask" in packages else None
    if app is None:
        return None
    because = f"flask is among the packages, its application is {app}"
    if server := _server(packages, "gunicorn", "waitress"):
        return _serve(server, app, because)
    return _found(
        f"flask --app {app.removesuffix('()')} run --host {HOST} --port $PORT",
        f"{because}; no production server is among the packages.",
        "Flask's development server is used; add gunicorn for one like production's.",
    )


def _streamlit(sources: Sources, packages: frozenset[str]) -> Start | None:
    script = sources.first("streamlit_app.py", *SCRIPTS) if "streamlit" in packages else None
    if script is None:
        return None
    command = f"streamlit run {script} --server.port $PORT --server.address {HOST} --server.headless true"
    return _found(command, "streamlit is among the packages.")


def _script(sources: Sources) -> Start:
    if script := sources.first(*SCRIPTS):
        return _found(("python", script), f"{script} is there, and no known framework.")
    return Start(None, ("How to start it was not found: set `command`, or add a Procfile with a `web:` line.",))


def _worker(sources: Sources, packages: frozenset[str]) -> Start:
    if "celery" in packages and (file := next(sources.find(r"\w+/celery\.py"), None)):
        return _found(("celery", "-A", file.split("/")[0], "worker", "-l", "info"), f"{file}: a Celery worker.")
    if "django-dramatiq" in packages and sources.has("manage.py"):
        return _found(("python", "manage.py", "rundramatiq"), "django-dramatiq is among the packages.")
    if script := sources.first("worker.py", *SCRIPTS):
        return _found(("python", script), f"{script} is there; the service has no port, so it is a worker.")
    return Start(None, ("How to start it was not found: set `command`, or add a Procfile with a `worker:` line.",))


# ── servers and applications ────────────────────────────────────────────────────────────────


def _server(packages: frozenset[str], *names: str) -> str | None:
    return next((name for name in names if any(p.split("[")[0] == name for p in packages)), None)


def _serve(server: str, app: str, because: str) -> Start:
    factory, app = app.endswith("()"), app.removesuffix("()")
    command = {
        "gunicorn": f"gunicorn {shlex.quote(app + '()' * factory)} --bind {HOST}:$PORT",
        "waitress": f"waitress-serve --host={HOST} --port=$PORT {'--call ' * factory}{app}",
        "uvicorn": f"uvicorn {app} --host {HOST} --port $PORT{' --factory' * factory}",
        "hypercorn": f"hypercorn {app} --bind {HOST}:$PORT",
        "daphne": f"daphne -b {HOST} -p $PORT {app}",
        "granian": f"granian --interface asgi --host {HOST} --port $PORT {app}",
    }[server]
    return _found(command, f"{because}, and {server} serves it.")


def _application(sources: Sources, classes: str, *, factory: bool = False) -> str | None:
    """`module:variable` of the first file that makes one; `module:create_app()` where only a factory is."""
    made = re.compile(rf"^(\w+)\s*(?::\s*[\w.]+\s*)?=\s*(?:\w+\.)?(?:{classes})\(", re.MULTILINE)
    maker = re.compile(r"^def (create_app|make_app)\(", re.MULTILINE)
    called = re.compile(r"^(\w+)\s*=\s*(?:\w+\.)?(?:create_app|make_app)\(", re.MULTILINE)
    fallback = None
    for name in sources.find(ENTRY_FILES):
        text = sources.text(name)
        if match := made.search(text) or (factory and called.search(text)) or None:
            return f"{module_of(name)}:{match[1]}"
        if factory and fallback is None and (match := maker.search(text)):
            fallback = f"{module_of(name)}:{match[1]}()"
    return fallback


def module_of(file: str) -> str:
    """The module's name as a program that runs beside the file's package imports it; `src/` is no package."""
    return file.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def flask_application(sources: Sources) -> str | None:
    app = _application(sources, "Flask", factory=True)
    return app.removesuffix("()") if app else None


def find_seed(sources: Sources) -> FoundCommand | None:
    command = next(sources.find(r"(?:\w+/)+management/commands/seed\.py", depth=5), None)
    if command and sources.has("manage.py"):
        return FoundCommand(("python", "manage.py", "seed"), f"{command}: a Django command named seed.")
    return None
