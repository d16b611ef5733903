"""Says what to install, build and start for a service, from its files alone: nothing is executed.

Recognition follows Railpack's: Go, Python, Node, static sites, and what a Procfile or `command` names.
The Plan is data: local.py runs it on this machine, and a Dockerfile can be made of it.
"""

from __future__ import annotations

import re
from pathlib import Path

from environments.builders.detect import go, node, python, static
from environments.builders.detect.migrations import find_migration
from environments.builders.detect.model import RELEASE, Command, Plan, Processes, StaticSite, Step
from environments.builders.detect.sources import Sources
from environments.ports import UserError
from environments.spec import Service

__all__ = ["RELEASE", "Command", "Plan", "StaticSite", "Step", "plan"]

LOOKED_FOR = (
    "go.mod, requirements.txt, pyproject.toml, Pipfile, setup.py, manage.py, main.py, app.py, "
    "package.json, index.html, public/index.html, Procfile"
)
OTHER_LANGUAGES = {
    "Gemfile": "Ruby",
    "Cargo.toml": "Rust",
    "composer.json": "PHP",
    "pom.xml": "Java",
    "build.gradle": "Java",
    "build.gradle.kts": "Kotlin",
    "mix.exs": "Elixir",
    "deno.json": "Deno",
    "global.json": ".NET",
    "Package.swift": "Swift",
}


def plan(tree: Path, service: Service) -> Plan:
    """The plan for `service` in the checked-out commit at `tree`.

    Raises UserError(build_no_plan) when nothing is recognised, or a manifest can't be read.
    """
    root = Sources(tree)
    path = service_path(tree, service)
    node.refuse_workspace_member(root, path.relative_to(root.root).as_posix(), service)
    sources = Sources(path)
    processes = _procfile(sources)
    found = go.detect(sources, service) or python.detect(sources, service) or node.detect(sources, service)
    found = found or static.detect(sources) or _named_only(sources, service, processes)
    return _with_processes(found, processes, sources, service)


def service_path(tree: Path, service: Service) -> Path:
    """The service's directory. Raises UserError(build_no_plan) when the commit has none there."""
    root = tree.resolve()
    path = (root / service.path).resolve()
    if not path.is_relative_to(root) or not path.is_dir():
        raise UserError(
            "build_no_plan",
            f"services.{service.name}.path is `{service.path}`, but the commit has no such directory.",
            "Set `path` to the service's directory, relative to the repository's root.",
        )
    return path


def _procfile(sources: Sources) -> Processes:
    lines = re.findall(r"^([A-Za-z0-9_-]+):\s*(\S.*?)\s*$", sources.text("Procfile"), re.MULTILINE)
    return Processes(dict(lines))


def _with_processes(found: Plan, processes: Processes, sources: Sources, service: Service) -> Plan:
    """A Procfile says more plainly than any sign what to run."""
    start = processes.start(service) or found.start
    return found.with_(
        start=start,
        # A program of its own serves the site's files, if any; the Procfile's author knows.
        site=found.site if start is None else None,
        migrate=processes.once("release") or find_migration(sources, found.language),
        seed=processes.once("seed") or found.seed,
        notes=_notes(found, startable=bool(start or service.command)),
    )


def _notes(found: Plan, *, startable: bool) -> tuple[str, ...]:
    """Without the ones about a start command, when the author named it."""
    return tuple(note for note in found.notes if not (startable and note.startswith("How to start it")))


def _named_only(sources: Sources, service: Service, processes: Processes) -> Plan:
    """No manifest is known: what the author named is run as it is, if anything is named."""
    other = next((name for name in OTHER_LANGUAGES if sources.has(name)), None)
    if service.command or processes.start(service):
        source = "`command`" if service.command else "the Procfile"
        language = OTHER_LANGUAGES[other] if other else ""
        return Plan(
            language="none",
            tool="none",
            why=(f"No known manifest: nothing is installed, and what {source} names is run as it is.",),
            notes=(f"{other} is there, but {language} packages are not installed here.",) if other else (),
        )
    where = "the repository's root" if service.path == "." else f"`{service.path}`"
    if other:
        raise UserError(
            "build_no_plan",
            f"{where} holds {other}: {OTHER_LANGUAGES[other]} is not built here.",
            "Use `build: dockerfile` on a runtime that runs containers, or set `command` to a program that "
            "needs no build.",
        )
    raise UserError(
        "build_no_plan",
        f"How to build services.{service.name} was not recognised: {where} has none of {LOOKED_FOR}.",
        "Add one of them, set `path` to the service's directory, or set `command`.",
    )
