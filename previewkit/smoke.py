"""The demo's own check: every demo pull request must end as its example says, and closing must leave nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from environments import front, services, wiring
from environments.models import Environment
from examples import repositories as examples
from examples.repositories import Expectation
from previewkit import demo
from previewkit.demo import Demo
from previewkit.described import environment_document, name_of

CLOSED_WITHIN = 60.0


@dataclass
class Row:
    """One environment: what was expected, what came, and how long it took."""

    name: str
    expected: str
    seen: str = ""
    answered: float | None = None
    tested: str = ""
    gone: float | None = None
    problems: list[str] = field(default_factory=list)


def check(demos: list[Demo]) -> list[Row]:
    """Each environment against its example's expectation. They must have come to rest."""
    rows: list[Row] = []
    for example in demos:
        expectations = {pull.branch: pull.expect for pull in examples.pulls(example.example)}
        main = examples.main(example.example).expect
        found = demo.environments([example.repository])
        for environment in found:
            expected = main if environment.pull is None else expectations.pop(environment.pull.head_ref)
            rows.append(check_one(environment, expected))
        for branch in expectations:
            rows.append(Row(f"{example.example} {branch}", "an environment", "none", problems=["no environment"]))
    return rows


def check_one(environment: Environment, expected: Expectation) -> Row:
    document = environment_document(environment)
    code = _error_code(document)
    row = Row(
        name_of(environment),
        expected.code or expected.phase,
        code or document["phase"],
        (document["deployment"] or {}).get("answered_after_seconds"),
    )
    if document["phase"] != expected.phase:
        row.problems.append(f"phase {document['phase']}, expected {expected.phase}")
    if code != expected.code:
        row.problems.append(f"error {code}, expected {expected.code}")
    if expected.layer and _failed_layer(document) != expected.layer:
        row.problems.append(f"layer {_failed_layer(document)} failed, expected {expected.layer}")
    if expected.phase == "ready":
        row.problems += _wrong_answers(document, expected)
        row.problems += _wrong_verdicts(document, expected)
        tests = document["tests"] or {"passed": 0, "findings": []}
        row.tested = f"{tests['passed']} passed, {len(tests['findings'])} findings"
    return row


def _layers(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (document["deployment"] or {"layers": []})["layers"]


def _error_code(document: dict[str, Any]) -> str | None:
    return next((layer["error"]["code"] for layer in _layers(document) if layer["error"]), None)


def _failed_layer(document: dict[str, Any]) -> str | None:
    return next((layer["layer"] for layer in _layers(document) if layer["state"] == "failed"), None)


def _wrong_answers(document: dict[str, Any], expected: Expectation) -> list[str]:
    problems = []
    with front.client() as http:
        for answer in expected.answers:
            address = _address(document, answer.service)
            host = urlsplit(address).hostname or ""
            try:
                body = front.get(http, host, answer.path).text
            except httpx.HTTPError as error:
                problems.append(f"{address}{answer.path}: {error}")
                continue
            if answer.contains not in body:
                problems.append(f"{address}{answer.path} lacks {answer.contains!r}: {body[:120]!r}")
    return problems


def _address(document: dict[str, Any], service: str | None) -> str:
    rows = [*document["deployment"]["services"], *document["deployment"]["dependencies"]]
    for row in rows:
        if row["address"] and service in (None, row["name"]):
            return str(row["address"])
    return ""


def _wrong_verdicts(document: dict[str, Any], expected: Expectation) -> list[str]:
    tests = document["tests"]
    if tests is None or tests["state"] != "done":
        return [f"tests: {tests['state'] + ': ' + tests['reason'] if tests else 'none'}"]
    problems = [] if tests["passed"] else ["no scenario passed"]
    for verdict, bound in expected.verdicts.items():
        found = [finding for finding in tests["findings"] if finding["verdict"] == verdict]
        if not bound.holds(len(found)):
            said = "; ".join(f"{item['scenario']}: {item['expected']} / {item['seen']}" for item in found)
            problems.append(f"{len(found)} {verdict}: {said}")
    return problems


# ── closing ─────────────────────────────────────────────────────────────────────────────────


def close_all(demos: list[Demo], rows: list[Row]) -> list[str]:
    """Closes everything by the ways that people have, and says what is still there afterwards."""
    environments = demo.environments(item.repository for item in demos)
    by_name = {row.name: row for row in rows}
    began: dict[int, float] = {}
    for environment in environments:
        began[environment.pk] = time.monotonic()
        if environment.pull:
            services.LocalPulls(environment.repository).close(environment.pull.number)
    for item in demos:
        services.remove_repository(item.repository, "smoke")
    waiting = {environment.pk: environment for environment in environments}
    while waiting and time.monotonic() - min(began.values()) < CLOSED_WITHIN:
        for pk, environment in list(waiting.items()):
            environment.refresh_from_db()
            if environment.phase == Environment.Phase.GONE:
                row = by_name.get(name_of(environment))
                if row:
                    row.gone = time.monotonic() - began[pk]
                del waiting[pk]
        time.sleep(0.1)
    left = [f"{environment.namespace} is {environment.phase}" for environment in waiting.values()]
    return left + what_is_left(environments)


def what_is_left(environments: list[Environment]) -> list[str]:
    """Processes, ports, files, routes and leases of environments that are gone; one sentence each."""
    runtime = wiring.runtime()
    left = [sentence for environment in environments for sentence in runtime.blockers(environment.namespace)]
    left += [f"{item.name} is still owned" for item in runtime.owned()]
    held = Environment.objects.exclude(lease_token="").values_list("namespace", flat=True)
    return left + [f"{namespace} is still leased" for namespace in held]


def processes_under(home: str) -> list[str]:
    """Processes that work in, or were started from, the state directory."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        if process.pid != psutil.Process().pid and any(home in word for word in words):
            found.append(f"process {process.pid}: {' '.join(words)[:120]}")
    return found


def table(rows: list[Row]) -> Table:
    shown = Table(title="smoke", box=None, pad_edge=False)
    for heading in ("environment", "expected", "seen", "answered", "tests", "gone", ""):
        shown.add_column(heading, justify="right" if heading in ("answered", "gone") else "left")
    for row in rows:
        shown.add_row(
            row.name, row.expected, row.seen, _s(row.answered), row.tested, _s(row.gone),
            "; ".join(row.problems) or "ok",
        )  # fmt: skip
    return shown


def _s(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def report(console: Console, rows: list[Row], left: list[str]) -> bool:
    """Prints the table and what is left. True: all is as it should be."""
    console.print(table(rows))
    for sentence in left:
        console.print(f"left behind: {sentence}", markup=False)
    failed = sum(bool(row.problems) for row in rows) + bool(left)
    console.print(f"{len(rows) + 1 - failed} passed, {failed} failed", highlight=False)
    return failed == 0
