"""An environment in one document: what `env show --json` prints and the smoke run checks."""

from __future__ import annotations

from typing import Any

from environments.models import LAYERS, Deployment, Environment, LayerRun
from testruns.models import ScenarioResult, TestRun


def environment_document(environment: Environment) -> dict[str, Any]:
    """Shapes: see docs/cli.md. `deployment` is the newest one; null before the first."""
    deployment = environment.deployments.prefetch_related("layers", "services", "dependencies").first()
    return {
        "id": environment.pk,
        "name": name_of(environment),
        "namespace": environment.namespace,
        "kind": environment.kind,
        "repository": str(environment.repository),
        "pull": environment.pull.number if environment.pull else None,
        "title": environment.title,
        "branch": environment.branch,
        "phase": environment.phase,
        "generation": environment.generation,
        "settled": environment.is_settled,
        "wanted": environment.wanted,
        "wanted_sha": environment.wanted_sha,
        "observed_sha": environment.serving.sha if environment.serving else None,
        "page": page_of(environment),
        "deployment": _deployment(environment, deployment) if deployment else None,
        "tests": _tests(deployment) if deployment else None,
    }


def name_of(environment: Environment) -> str:
    """`repository#number` or `repository@branch`: what the commands take."""
    if environment.pull:
        return f"{environment.repository.name}#{environment.pull.number}"
    return f"{environment.repository.name}@{environment.branch}"


def page_of(environment: Environment) -> str:
    from django.conf import settings

    return f"{settings.DASHBOARD_URL}/environments/{environment.pk}/"


def addresses_of(environment: Environment) -> list[str]:
    """HTTPS addresses that lead somewhere now."""
    if environment.serving is None:
        return []
    services = environment.serving.services.exclude(url="").values_list("url", flat=True)
    gateways = environment.serving.dependencies.exclude(url="").values_list("url", flat=True)
    return [*services, *gateways]


def _deployment(environment: Environment, deployment: Deployment) -> dict[str, Any]:
    runs = {run.layer: run for run in deployment.layers.all()}
    serving = environment.serving_id == deployment.pk
    return {
        "sha": deployment.sha,
        "outcome": deployment.outcome,
        "started_at": deployment.started_at.isoformat(),
        "answered_after_seconds": (
            round((deployment.answered_at - deployment.started_at).total_seconds(), 3)
            if deployment.answered_at
            else None
        ),
        "layers": [_layer(runs.get(layer) or LayerRun(layer=layer)) for layer in LAYERS],
        "services": [
            {
                "name": service.name,
                "state": service.state,
                "public": service.public,
                "address": service.url if serving else "",
                "port": service.port,
                "cache_hit": service.cache_hit,
                "build_seconds": service.build_seconds,
                "found": service.found,
            }
            for service in deployment.services.all()
        ],
        "dependencies": [
            {
                "name": dependency.name,
                "recipe": dependency.recipe,
                "version_wanted": dependency.version_wanted or None,
                "version": dependency.version,
                "note": dependency.note,
                "address": dependency.url if serving else "",
            }
            for dependency in deployment.dependencies.all()
        ],
    }


def _layer(run: LayerRun) -> dict[str, Any]:
    error = {
        "code": run.error_code,
        "message": run.error_message,
        "hint": run.error_hint,
        "log_tail": run.log_tail,
    }
    return {
        "layer": run.layer,
        "state": run.state,
        "seconds": run.seconds,
        "summary": run.summary,
        "error": error if run.error_code else None,
    }


def _tests(deployment: Deployment) -> dict[str, Any] | None:
    run = TestRun.objects.filter(deployment=deployment).first()
    if run is None:
        return None
    outcomes = list(run.results.values_list("outcome", flat=True))
    return {
        "state": run.state,
        "reason": run.reason,
        "passed": outcomes.count(ScenarioResult.Outcome.PASSED),
        "failed": outcomes.count(ScenarioResult.Outcome.FAILED),
        "not_run": outcomes.count(ScenarioResult.Outcome.NOT_RUN),
        "findings": [
            {
                "scenario": finding.title,
                "step": finding.step,
                "verdict": finding.final_verdict,
                "cause": finding.cause,
                "gate": finding.gate,
                "confidence": finding.confidence,
                "expected": finding.expected,
                "seen": finding.seen,
                "evidence": finding.evidence,
            }
            for finding in run.findings.defer("picture")
        ],
    }
