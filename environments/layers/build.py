"""build: the commit's .preview.yaml is read and frozen, and each service becomes an artifact."""

from __future__ import annotations

import os
from pathlib import Path

from environments import secrets, wiring
from environments.layers.context import LayerContext, Outcome
from environments.models import DeployedService, Deployment
from environments.ports import BuildRequest, UserError
from environments.spec import Service, load, spec_hash

FILE = ".preview.yaml"


def bring_up(ctx: LayerContext) -> Outcome:
    ctx.say(f"commit {ctx.commit.sha[:8]} {ctx.commit.subject}")
    ctx.spec = load(ctx.commit.tree)
    _freeze(ctx)
    named = [name for service in ctx.spec.services.values() for name in service.secrets]
    if named:
        _no_secrets_for_forks(ctx, named)
        ctx.secrets = secrets.values(ctx.environment.repository, named)
        ctx.hidden.update(ctx.secrets)
    for service in ctx.spec.services.values():
        ctx.fence()
        _build(ctx, service)
    built = [artifact for artifact in ctx.artifacts.values() if not artifact.cache_hit]
    count = len(ctx.artifacts)
    if not built:
        return Outcome.done(f"{count} of {count} from cache")
    return Outcome.done(f"{len(built)} built, {count - len(built)} from cache")


def _no_secrets_for_forks(ctx: LayerContext, named: list[str]) -> None:
    pull = ctx.environment.pull
    if pull and pull.fork:
        raise UserError(
            "secret_missing",
            f"A fork's commit never sees secrets, and this file names {', '.join(sorted(set(named)))}.",
            "Push the branch to the repository itself, or make the service start without the secret.",
        )


def _freeze(ctx: LayerContext) -> None:
    with ctx.writing():
        Deployment.objects.filter(pk=ctx.deployment.pk).update(
            spec=ctx.spec.model_dump(mode="json"), spec_hash=spec_hash(ctx.spec), subject=ctx.commit.subject
        )


def _build(ctx: LayerContext, service: Service) -> None:
    pull = ctx.environment.pull
    request = BuildRequest(
        tree=ctx.commit.tree,
        tree_id=_tree_id(ctx, service),
        service=service,
        repository=wiring.slug(ctx.environment.repository),
        trusted=not (pull and pull.fork),
        branch=ctx.environment.branch,
        default_branch=ctx.environment.repository.default_branch,
        secrets={name: ctx.secrets[name] for name in service.secrets},
    )
    artifact = ctx.outside.builder.build(request, lambda line: ctx.say(line, service.name), ctx.fence)
    ctx.artifacts[service.name] = artifact
    ctx.say("from cache" if artifact.cache_hit else f"built in {artifact.seconds:.1f} s", service.name)
    found = {"start": artifact.start, "migrate": artifact.migrate, "seed": artifact.seed}
    facts = {
        "public": service.public,
        "artifact": artifact.digest,
        "cache_hit": artifact.cache_hit,
        "build_seconds": artifact.seconds,
        "state": "built",
        "found": {
            what: {"command": _shown(command.command), "because": command.because}
            for what, command in found.items()
            if command
        },
    }
    with ctx.writing():
        DeployedService.objects.update_or_create(deployment=ctx.deployment, name=service.name, defaults=facts)


def _tree_id(ctx: LayerContext, service: Service) -> str:
    root = ctx.commit.tree.resolve()
    folder = root / service.path
    # Not through a symbolic link, which may lead out of the commit.
    if not folder.is_dir() or folder.resolve() != Path(os.path.normpath(folder)):
        raise UserError(
            "build_no_plan",
            f"Service {service.name}: path {service.path!r} is not a folder of the commit.",
            f"Correct `services.{service.name}.path` in {FILE}; it is relative to the repository's root.",
        )
    return ctx.commit.tree_id(service.path)


def _shown(command: tuple[str, ...] | str) -> str:
    return command if isinstance(command, str) else " ".join(command)
