"""The demo: repositories made from examples/, pull requests opened by real pushes, watched until they rest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from environments import secrets, services
from environments.comment import SHAPES
from environments.models import LAYERS, Deployment, Environment, Event, LayerRun, Repository, WebhookDelivery
from examples import repositories as examples
from previewkit.described import addresses_of, name_of

OnLine = Callable[[str], None]

POLL = 0.3
COLOURS = {"waiting": "dim", "running": "bold cyan", "done": "green", "failed": "bold red", "skipped": "dim"}


@dataclass(frozen=True)
class Demo:
    """Where one example's repository and working clone are."""

    example: str
    work: Path
    repository: Repository

    @property
    def pushed_file(self) -> Path:
        return self.work.parent / f"{self.example}.pushed.json"


def prepare(on_line: OnLine) -> list[Demo]:
    """Repositories, secrets, pushes. Run again it continues: what was pushed once is not pushed again."""
    root = settings.PREVIEWKIT_HOME / "demo"
    root.mkdir(exist_ok=True)
    demos = []
    for example in examples.EXAMPLES:
        repository = services.create_repository(example)
        for name, value in examples.main(example).secrets.items():
            secrets.put(repository, name, value)
        examples.create(example, Path(repository.url), root / example, on_line)
        demos.append(Demo(example, root / example, repository))
    for demo in demos:
        _push_branches(demo, on_line)
    return demos


def _push_branches(demo: Demo, on_line: OnLine) -> None:
    pushed: list[str] = json.loads(demo.pushed_file.read_text()) if demo.pushed_file.exists() else []
    for pull in examples.pulls(demo.example):
        if pull.branch not in pushed:
            examples.push_branch(demo.example, demo.work, pull.branch, on_line)
            pushed.append(pull.branch)
            demo.pushed_file.write_text(json.dumps(pushed))


# ── watching ────────────────────────────────────────────────────────────────────────────────


def environments(repositories: Iterable[Repository]) -> list[Environment]:
    return list(
        Environment.objects.filter(repository__in=list(repositories))
        .select_related("repository", "pull", "serving")
        .order_by("repository", "pull__number")
    )


def at_rest(rows: list[Environment]) -> bool:
    """Every delivery is interpreted, every wish brought about, every test over."""
    waiting = WebhookDelivery.objects.filter(interpreted_at=None).exists()
    return bool(rows) and not waiting and all(row.is_settled and row.phase != row.Phase.TESTING for row in rows)


def watch(repositories: list[Repository], console: Console, timeout: float) -> bool:
    """Shows the six strips of each environment until all of them rest. Returns False when time ran out."""
    deadline = time.monotonic() + timeout
    if not console.is_terminal:
        return _watch_lines(repositories, console, deadline)
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while True:
            rows = environments(repositories)
            live.update(_table(rows))
            if at_rest(rows):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)


def _watch_lines(repositories: list[Repository], console: Console, deadline: float) -> bool:
    began = time.monotonic()
    seen = 0
    while True:
        rows = environments(repositories)
        events = Event.objects.filter(environment__in=rows, pk__gt=seen).select_related(
            "environment__repository", "environment__pull"
        )
        for event in events:
            seen = event.pk
            console.print(
                f"{time.monotonic() - began:6.1f} s  {name_of(event.environment):<12} {event.text}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        if at_rest(rows):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)


def _table(rows: list[Environment]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("name", "strips", "phase", "seconds", "what"):
        table.add_column(column, justify="right" if column == "seconds" else "left", no_wrap=True)
    for row in rows:
        deployment = row.deployments.prefetch_related("layers").first()
        runs = {run.layer: run for run in deployment.layers.all()} if deployment else {}
        strips = Text(" ").join(_strip(runs.get(layer) or LayerRun(layer=layer)) for layer in LAYERS)
        table.add_row(name_of(row), strips, row.phase, _seconds(deployment), _what(row, runs))
    return table


def _strip(run: LayerRun) -> Text:
    return Text(f"{SHAPES[LayerRun.State(run.state)]} {run.layer}", style=COLOURS[run.state])


def _seconds(deployment: Deployment | None) -> str:
    if deployment is None or deployment.answered_at is None:
        return ""
    return f"{(deployment.answered_at - deployment.started_at).total_seconds():.1f} s"


def _what(row: Environment, runs: dict[str, LayerRun]) -> Text:
    failed = next((run for run in runs.values() if run.error_code), None)
    if failed:
        return Text(f"{failed.error_code}: {failed.error_message}"[:80], style="red")
    return Text(row.title[:60], style="dim")


# ── the end ─────────────────────────────────────────────────────────────────────────────────


def epilogue(demos: list[Demo], user: str, password: str) -> str:
    """Addresses, login, and what to try next."""
    lines = ["", f"Dashboard  {settings.DASHBOARD_URL}/", f"Sign in    {user} / {password}", ""]
    rows = environments(demo.repository for demo in demos)
    for row in rows:
        lines.append(f"{name_of(row):<12} {row.title}")
        lines += [f"             {url}" for url in addresses_of(row)]
        if failed := _failure(row):
            lines.append(f"             {row.phase}: {failed}")
        if row.pull:
            lines.append(f"             comment: previewkit comment '{name_of(row)}'")
    first = next((row for row in rows if row.pull and row.phase == row.Phase.READY), None)
    if first and first.pull:
        work = settings.PREVIEWKIT_HOME / "demo" / first.repository.name
        lines += [
            "",
            "Close a pull request, and nothing of it is left:",
            f"  bin/previewkit pr close {first.repository.name} {first.pull.number}",
            f"  or: git -C {work} push origin --delete {first.pull.head_ref}",
        ]
    lines += [
        "",
        f"Browsers warn once about the certificate: its authority is {settings.TLS_AUTHORITY}.",
    ]
    return "\n".join(lines)


def _failure(row: Environment) -> str:
    deployment = row.deployments.first()
    failed = deployment.failed_layer if deployment else None
    return f"{failed.error_code}: {failed.error_message}" if failed else ""
