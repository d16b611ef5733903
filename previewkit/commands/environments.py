"""previewkit env, logs, comment, retry, rebuild, stop, wait, lint."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from previewkit.commands import fail, person, with_django

if TYPE_CHECKING:
    from environments.models import Environment

POLL = 0.2
ARRIVES_WITHIN = 30.0
"""Seconds between a push and its environment, at most, before `wait` says that there is none."""
FAILED, TIMED_OUT, BUGS = 3, 4, 5
SHAPES = {"waiting": "◌", "running": "◐", "done": "●", "failed": "✕", "skipped": "–"}


@click.group()
def env() -> None:
    """Look at environments. ENV is an id, a namespace, repository#number or repository@branch."""


@env.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are gone.")
@click.option("--json", "as_json", is_flag=True)
@with_django
def list_environments(everything: bool, as_json: bool) -> None:
    """All environments, newest first."""
    from environments.models import Environment
    from previewkit.described import environment_document

    rows = Environment.objects.select_related("repository", "pull", "serving")
    if not everything:
        rows = rows.exclude(phase=Environment.Phase.GONE)
    documents = [environment_document(row) for row in rows]
    if as_json:
        click.echo(json.dumps(documents, indent=2))
        return
    if not documents:
        click.echo("No environments. Connect a repository: previewkit repo add PATH")
    for document in documents:
        click.echo(f"{document['name']:<20} {_strip(document)}  {document['phase']:<9} {document['title'][:60]}")


@env.command("show")
@click.argument("environment", metavar="ENV")
@click.option("--json", "as_json", is_flag=True)
@with_django
def show(environment: str, as_json: bool) -> None:
    """One environment: layers, services, dependencies, findings."""
    from environments import services
    from previewkit.described import environment_document

    document = environment_document(services.environment_named(environment))
    click.echo(json.dumps(document, indent=2) if as_json else "\n".join(_lines(document)))


def _strip(document: dict[str, Any]) -> str:
    deployment = document["deployment"]
    states = [layer["state"] for layer in deployment["layers"]] if deployment else ["waiting"] * 6
    return "".join(SHAPES[state] for state in states)


def _lines(document: dict[str, Any]) -> list[str]:
    lines = [f"{document['name']}  {document['title']}", f"{document['phase']}  {document['page']}", ""]
    deployment = document["deployment"]
    if deployment is None:
        return lines
    for layer in deployment["layers"]:
        seconds = "" if layer["seconds"] is None else f"{layer['seconds']:.1f} s"
        lines.append(
            f"{SHAPES[layer['state']]} {layer['layer']:<13} {layer['state']:<8} {seconds:>8}  {layer['summary']}"
        )
        if layer["error"]:
            error = layer["error"]
            lines += [f"    {error['code']}: {error['message']}", f"    {error['hint']}"]
            lines += [f"    | {line}" for line in error["log_tail"][-15:]]
    lines.append("")
    for row in [*deployment["services"], *deployment["dependencies"]]:
        lines.append(
            f"{row['name']:<15} {row.get('state') or row['version']:<10} {row['address']} {row.get('note', '')}"
        )
    for finding in (document["tests"] or {}).get("findings", []):
        lines.append(
            f"{finding['verdict']}: {finding['scenario']}: expected {finding['expected']}, saw {finding['seen']}"
        )
    return lines


@click.command()
@click.argument("environment", metavar="ENV")
@click.option("--layer", type=click.Choice(["build", "namespace", "dependencies", "app", "routing", "tests"]))
@click.option("-f", "--follow", is_flag=True, help="Go on until the environment has come to rest.")
@with_django
def logs(environment: str, layer: str | None, follow: bool) -> None:
    """The newest deployment's log."""
    from environments import services
    from environments.models import LogChunk

    row = services.environment_named(environment)
    seen = 0
    while True:
        row.refresh_from_db()
        deployment = row.deployments.first()
        chunks = LogChunk.objects.filter(layer_run__deployment=deployment, pk__gt=seen).select_related("layer_run")
        for chunk in chunks.filter(layer_run__layer=layer) if layer else chunks:
            seen = chunk.pk
            head = f"{chunk.layer_run.layer}{' ' + chunk.source if chunk.source else ''}"
            for line in chunk.text.split("\n"):
                click.echo(f"{head} | {line}")
        if not follow or (row.is_settled and row.phase != row.Phase.TESTING):
            return
        time.sleep(POLL)


@click.command()
@click.argument("environment", metavar="ENV")
@with_django
def comment(environment: str) -> None:
    """The pull request's comment as its provider holds it."""
    from environments import services, wiring

    row = services.environment_named(environment)
    pull = row.pull
    if pull is None:
        fail("pull_request_refused", f"{environment} belongs to a branch, not to a pull request: it has no comment.")
    provider = wiring.provider(row.repository.provider)
    comments = provider.comments(row.repository.ref, pull.number)  # type: ignore[attr-defined]
    click.echo(comments[-1].body if comments else "No comment yet.")


def _button(name: str, said: str) -> click.Command:
    @click.command(name, help=said)
    @click.argument("environment", metavar="ENV")
    @with_django
    def press(environment: str) -> None:
        from environments import services

        row = services.environment_named(environment)
        getattr(services, name)(row, person())
        click.echo(f"{environment}: {name} asked for. Watch it: previewkit wait '{environment}'")

    return press


@click.command()
@click.argument("environment", metavar="ENV")
@click.option("--for", "state", type=click.Choice(["ready", "gone", "tested"]), default="ready")
@click.option("--timeout", type=float, default=600.0, help="Seconds.", show_default=True)
@with_django
def wait(environment: str, state: str, timeout: float) -> None:
    """Wait until ENV is ready (answers), tested, or gone.

    Exit code: 0 it is; 3 it failed; 4 time ran out; 5 tested, and an application bug was found.
    """
    deadline = time.monotonic() + timeout
    row = _arriving(environment, min(ARRIVES_WITHIN, timeout))
    while time.monotonic() < deadline:
        row.refresh_from_db()
        code = _reached(row, state)
        if code is not None:
            click.echo(f"{environment}: {row.phase}")
            sys.exit(code)
        time.sleep(POLL)
    fail("wait_timeout", f"{environment} is {row.phase} after {timeout:.0f} s, not {state}.", exit_code=TIMED_OUT)


def _arriving(name: str, seconds: float) -> Environment:
    """The environment, also when the push that brings it has only just happened."""
    from environments import services
    from environments.ports import UserError

    deadline = time.monotonic() + seconds
    while True:
        try:
            return services.environment_named(name)
        except UserError:
            if "#" not in name or time.monotonic() > deadline:
                raise
            services.repository_named(name.partition("#")[0])
        time.sleep(POLL)


def _reached(row: Environment, state: str) -> int | None:
    """The exit code, or None to go on waiting."""
    from previewkit.described import environment_document

    phases = row.Phase
    if state == "gone":
        return 0 if row.phase == phases.GONE else None
    if not row.is_settled:
        return None
    if row.phase in (phases.FAILED, phases.DEGRADED, phases.GONE):
        return FAILED
    if state == "ready":
        return 0 if row.phase in (phases.READY, phases.TESTING) else None
    if row.phase != phases.READY:
        return None
    tests = environment_document(row)["tests"] or {"findings": []}
    bugs = [finding for finding in tests["findings"] if finding["verdict"] == "APPLICATION_BUG"]
    return BUGS if bugs else 0


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=".preview.yaml")
def lint(file: Path) -> None:
    """Check a .preview.yaml; every problem with its line and column. Exit code 1 when there is one."""
    from environments.spec import lint_file

    if file.is_dir():
        file = file / ".preview.yaml"
    if not file.is_file():
        fail("spec_missing", f"{file} is not there.", "Name the file: previewkit lint PATH")
    spec, problems = lint_file(file)
    for problem in problems:
        click.echo(str(problem), err=True)
    if problems:
        sys.exit(1)
    assert spec is not None
    services = ", ".join(spec.services)
    click.echo(f"{file}: fine; services {services}; {len(spec.dependencies)} dependencies")


COMMANDS = (
    env,
    logs,
    comment,
    _button("retry", "The same commit again, with its data."),
    _button("rebuild", "The same commit in a fresh namespace, with fresh data."),
    _button("start", "Bring a stopped environment back."),
    _button("stop", "Delete everything of an environment until the next commit, or `start`."),
    wait,
    lint,
)
