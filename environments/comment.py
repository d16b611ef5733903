"""The one comment of a pull request: Markdown from the database's present state. Renders, writes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from environments.models import LAYERS, Deployment, Environment, LayerRun

LIMIT = 65_536
"""Characters that GitHub takes (REST, issue comments)."""
TAIL_LINES = 15
SHAPES = {
    LayerRun.State.WAITING: "◌",
    LayerRun.State.RUNNING: "◐",
    LayerRun.State.DONE: "●",
    LayerRun.State.FAILED: "✕",
    LayerRun.State.SKIPPED: "–",
}
Phase = Environment.Phase


@dataclass(frozen=True)
class ReportedFinding:
    """A finding as the comment shows it."""

    title: str
    verdict: str
    step: str
    expected: str
    seen: str
    cause: str
    picture: str
    """Address of the picture; empty: none."""
    needs_person: bool = False


@dataclass(frozen=True)
class TestReport:
    """A deployment's tests in numbers. `reason` says why they were not run."""

    __test__ = False

    passed: int = 0
    application_bugs: int = 0
    agent_errors: int = 0
    not_run: int = 0
    reason: str = ""
    over: bool = False
    findings: tuple[ReportedFinding, ...] = ()


def marker(environment: Environment) -> str:
    """Finds the comment again: it stays the same for the environment's whole life."""
    return f"<!-- previewkit:environment={environment.pk} "


def status(environment: Environment) -> tuple[Literal["pending", "success", "failure", "error"], str]:
    """The commit status beside the comment."""
    phase = Phase(environment.phase)
    report = _report(_current(environment))
    if phase == Phase.READY and report and report.application_bugs:
        return "failure", f"Ready; tests found {report.application_bugs} application bug(s)"
    states: dict[Phase, Literal["success", "failure"]] = {
        Phase.READY: "success", Phase.GONE: "success", Phase.FAILED: "failure", Phase.DEGRADED: "failure",
    }  # fmt: skip
    return states.get(phase, "pending"), str(phase.label)


def render(environment: Environment) -> str:
    """Never more than LIMIT characters: log lines go first, then findings."""
    for tail, findings in ((TAIL_LINES, 20), (5, 10), (0, 3)):
        text = _render(environment, tail, findings)
        if len(text) <= LIMIT:
            return text
    return text[: LIMIT - 1]


def _render(environment: Environment, tail: int, findings: int) -> str:
    deployment = _current(environment)
    parts = [
        f"{marker(environment)}generation={environment.generation} -->",
        _headline(environment, deployment),
    ]
    if environment.phase == Phase.GONE:
        parts += [_life(environment), _last_line(environment, deployment)]
        return "\n\n".join(part for part in parts if part) + "\n"
    failed = deployment.failed_layer if deployment else None
    if failed:
        parts.append(_failure(failed, tail))
    if deployment:
        parts += [_services(environment, deployment), _layers(deployment), _notes(deployment)]
        parts += _tests(deployment, findings)
    parts += [_commands(environment), _last_line(environment, deployment)]
    return "\n\n".join(part for part in parts if part) + "\n"


# ── parts ───────────────────────────────────────────────────────────────────────────────────


def _current(environment: Environment) -> Deployment | None:
    return (
        environment.deployments.prefetch_related("layers", "services", "dependencies").order_by("-generation").first()
    )


def _headline(environment: Environment, deployment: Deployment | None) -> str:
    said = {
        Phase.QUEUED: "is queued",
        Phase.BUILDING: "is being built",
        Phase.STARTING: "is starting",
        Phase.TESTING: "is up and being tested",
        Phase.READY: "is ready",
        Phase.DEGRADED: "of the newest commit failed; an older one is still served",
        Phase.FAILED: "failed",
        Phase.ASLEEP: "is asleep",
        Phase.STOPPING: "is closing",
        Phase.GONE: "is gone: nothing is left of it",
    }[Phase(environment.phase)]
    sha = environment.wanted_sha[:8]
    if environment.phase in (Phase.STOPPING, Phase.GONE):
        return f"### Preview {said}"
    return f"### Preview of `{sha}` {said}"


def _failure(run: LayerRun, tail: int) -> str:
    lines = [f"**{run.layer} failed** (`{run.error_code}`): {escape(run.error_message)}"]
    if run.error_hint:
        lines.append(f"What to do: {escape(run.error_hint)}")
    if tail and run.log_tail:
        lines.append(fence("\n".join(run.log_tail[-tail:])))
    return "\n\n".join(lines)


def _services(environment: Environment, deployment: Deployment) -> str:
    serving = environment.serving_id == deployment.pk
    rows = []
    for service in deployment.services.all():
        where = service.url if serving and service.url else "worker" if service.port is None else "internal"
        rows.append(f"| {escape(service.name)} | {where} | {service.state} |")
    for dependency in deployment.dependencies.all():
        if dependency.url:
            rows.append(f"| {escape(dependency.name)} | {dependency.url if serving else ''} | ready |")
    return "\n".join(["| service | address | state |", "| --- | --- | --- |", *rows]) if rows else ""


def _layers(deployment: Deployment) -> str:
    runs = {run.layer: run for run in deployment.layers.all()}
    rows = []
    for layer in LAYERS:
        run = runs.get(layer) or LayerRun(layer=layer)
        seconds = f"{run.seconds:.1f} s" if run.seconds is not None else ""
        state = LayerRun.State(run.state)
        rows.append(f"| {SHAPES[state]} {layer} | {state.label} | {seconds} | {escape(run.summary)} |")
    return "\n".join(["| layer | state | took | note |", "| --- | --- | ---: | --- |", *rows])


def _notes(deployment: Deployment) -> str:
    notes = [f"- {escape(row.note)}" for row in deployment.dependencies.all() if row.note]
    return "\n".join(notes)


def _tests(deployment: Deployment, limit: int) -> list[str]:
    report = _report(deployment)
    if report is None:
        return []
    if not report.over:
        return ["**Tests** are running."]
    if report.reason:
        return [f"**Tests: not run.** {escape(report.reason)}"]
    counts = [f"{report.passed} passed"]
    if report.application_bugs:
        counts.append(f"{report.application_bugs} failed: application bug")
    if report.agent_errors:
        counts.append(f"{report.agent_errors} failed: agent error")
    if report.not_run:
        counts.append(f"{report.not_run} not run")
    parts = [f"**Tests:** {', '.join(counts)}"]
    parts += [_finding(finding) for finding in report.findings[:limit]]
    more = len(report.findings) - limit
    return [*parts, f"… and {more} more on the environment's page."] if more > 0 else parts


def _finding(finding: ReportedFinding) -> str:
    verdict = finding.verdict.replace("_", " ")
    lines = [
        f"<details><summary>{verdict}: {escape_html(finding.title)}</summary>",
        "",
        f"- step: {escape(finding.step)}",
        f"- expected: {escape(finding.expected)}",
        f"- seen: {escape(finding.seen)}",
        f"- cause: {escape(finding.cause)}",
    ]
    if finding.needs_person:
        lines.append("- not certain: a person should look")
    if finding.picture:
        lines.append(f"- [picture of the page]({finding.picture})")
    return "\n".join([*lines, "", "</details>"])


def _commands(environment: Environment) -> str:
    """What works: nobody reads commands written under a local pull request."""
    if environment.pull is None:
        return ""
    name = f"{environment.repository.name}#{environment.pull.number}"
    commands = (f"`previewkit {command} '{name}'`" for command in ("retry", "rebuild", "stop"))
    return f"<sub>{' · '.join(commands)}</sub>"


def _life(environment: Environment) -> str:
    end = environment.gone_at or timezone.now()
    lived = (end - environment.created_at).total_seconds()
    deployments = environment.deployments.count()
    return f"It lived {spell(lived)} and saw {deployments} deployment{'s' if deployments != 1 else ''}."


def _last_line(environment: Environment, deployment: Deployment | None) -> str:
    page = f"[details]({settings.DASHBOARD_URL}/environments/{environment.pk}/)"
    took = ""
    if deployment and deployment.answered_at:
        took = f" · answered after {spell((deployment.answered_at - deployment.started_at).total_seconds())}"
    at = timezone.now().strftime("%Y-%m-%d %H:%M UTC")
    return f"<sub>`{environment.wanted_sha[:8]}`{took} · {at} · {page}</sub>"


def _report(deployment: Deployment | None) -> TestReport | None:
    if deployment is None:
        return None
    report: TestReport | None = import_string(settings.TEST_REPORTER)(deployment.pk)
    return report


# ── text that people wrote ──────────────────────────────────────────────────────────────────


def escape_html(text: str) -> str:
    """Plain text inside HTML inside Markdown: no tag, no mention, one line."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("@", "@\u200b").replace("`", "&grave;")[:1000]


def escape(text: str) -> str:
    """Plain text inside Markdown: no markup, no tag, no mention, one line."""
    return re.sub(r"([\\*_\[\]|#~!])", r"\\\1", escape_html(text))


def fence(text: str) -> str:
    """A block of log lines; its fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def spell(seconds: float) -> str:
    """4.2 s, 3 min, 2 h 5 min, 3 d 4 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
