"""app: migrations and seeds run once, in order; services start beside the old ones and become ready."""

from __future__ import annotations

from environments import wiring
from environments.layers.context import LayerContext, Outcome, StartOver
from environments.models import DeployedService, Environment
from environments.ports import Job, ServiceRelease, UserError
from environments.spec import Service, resolve

SNAPSHOT = "seeded"
"""The data as the tests find it before each scenario."""


def bring_up(ctx: LayerContext) -> Outcome:
    _refuse_half_seeded(ctx)
    for service in ctx.spec.services.values():
        ctx.fence()
        env = variables(ctx, service)
        _run_job(ctx, service, "migrate", env)
        _seed(ctx, service, env)
        _start(ctx, service, env)
    stores = [name for name, handle in ctx.dependencies.items() if handle.recipe != "api-gateway"]
    if stores and ctx.spec.tests.enabled:
        ctx.outside.runtime.snapshot(ctx.namespace, stores, SNAPSHOT)
    return Outcome.done(f"{len(ctx.services)} ready")


# ── variables ───────────────────────────────────────────────────────────────────────────────


def variables(ctx: LayerContext, service: Service) -> dict[str, str]:
    """The conventional variables of every dependency and of the preview; `env` wins over them."""
    pull = ctx.environment.pull
    env = {
        "PREVIEW_URL": ctx.preview_url(),
        "PREVIEW_SHA": ctx.deployment.sha,
        "PREVIEW_PR": str(pull.number) if pull else "",
    }
    for handle in ctx.dependencies.values():
        env.update(handle.variables)
    for name, value in service.env.items():
        env[name] = resolve(value, lambda reference: _lookup(ctx, service, reference))
    return env


def _lookup(ctx: LayerContext, service: Service, reference: str) -> str:
    """The value of `{{reference}}`; the spec's parser has checked that the name exists."""
    head, _, rest = reference.partition(".")
    if head == "services":
        return _service_field(ctx, *rest.split(".", 1))
    if head == "pr":
        return _pull_field(ctx, rest)
    if head == "preview":
        return {"url": ctx.preview_url(), "sha": ctx.deployment.sha}[rest]
    fields = ctx.dependencies[head].fields
    if rest not in fields:
        raise UserError(
            "spec_invalid",
            f"services.{service.name}.env: {{{{{reference}}}}} is not known; {head} has {', '.join(sorted(fields))}.",
            "Use one of these fields.",
        )
    return fields[rest]


def _service_field(ctx: LayerContext, name: str, field: str) -> str:
    if field == "public_url":
        return wiring.address(ctx.host(name))
    handle = ctx.services[name]
    value = {"url": handle.url, "host": handle.host, "port": handle.port}[field]
    return "" if value is None else str(value)


def _pull_field(ctx: LayerContext, field: str) -> str:
    pull = ctx.environment.pull
    return {
        "number": str(pull.number) if pull else "",
        "title": pull.title if pull else "",
        "branch": pull.head_ref if pull else ctx.environment.branch,
        "sha": ctx.deployment.sha,
    }[field]


# ── jobs ────────────────────────────────────────────────────────────────────────────────────


def _run_job(ctx: LayerContext, service: Service, kind: str, env: dict[str, str]) -> None:
    """Once per deployment and namespace: a deployment that another worker continues does not run it again."""
    done = _jobs_done(ctx)
    command, key = _job(ctx, service, kind)
    if command is None:
        return
    if key in done:
        ctx.say(f"{kind}: has run in this deployment", service.name)
        return
    ctx.say(f"{kind}: {command if isinstance(command, str) else ' '.join(command)}", service.name)
    name = f"{service.name}-{kind}"
    ctx.outside.runtime.run_job(
        ctx.namespace,
        Job(
            name=f"{name}-{ctx.lease.generation}",
            service=service.name,
            kind="migrate" if kind == "migrate" else "seed",
            artifact=ctx.artifacts[service.name],
            command=command,
            env=env,
            secrets={name: ctx.secrets[name] for name in service.secrets},
            resources=service.resources,
        ),
        lambda line: ctx.say(line, name),
        ctx.fence,
    )
    done.append(key)
    with ctx.writing():
        ctx.run.save(update_fields=["facts"])


def _jobs_done(ctx: LayerContext) -> list[str]:
    """What ran in a namespace that is gone has not run."""
    facts = ctx.run.facts
    if facts.get("uid") != ctx.environment.namespace_uid:
        facts.update(uid=ctx.environment.namespace_uid, jobs=[])
    jobs: list[str] = facts["jobs"]
    return jobs


def _job(ctx: LayerContext, service: Service, kind: str) -> tuple[tuple[str, ...] | str | None, str]:
    """The command, and what makes it the same job: a command found in code that several services share runs once."""
    stated = service.migrate if kind == "migrate" else service.seed
    if stated is False:
        return None, ""
    if stated:
        return stated, f"{service.name}-{kind}"
    artifact = ctx.artifacts[service.name]
    found = artifact.migrate if kind == "migrate" else artifact.seed
    return (found.command, f"{artifact.digest}-{kind}") if found else (None, "")


def _refuse_half_seeded(ctx: LayerContext) -> None:
    seeded = ctx.environment.seeded
    if seeded.get("uid") == ctx.environment.namespace_uid and seeded.get("running"):
        ctx.say(f"the seed of {seeded['running']} was cut off: starting over with fresh data")
        raise StartOver


def _seed(ctx: LayerContext, service: Service, env: dict[str, str]) -> None:
    """Once per fresh database, that is once in a namespace's life."""
    if _job(ctx, service, "seed")[0] is None:
        return
    uid = ctx.environment.namespace_uid
    seeded = ctx.environment.seeded
    if seeded.get("uid") != uid:
        seeded = {"uid": uid, "done": [], "running": ""}
    if service.name in seeded["done"]:
        ctx.say("seed: the data is there from before", service.name)
        return
    _remember_seed(ctx, {**seeded, "running": service.name})
    try:
        _run_job(ctx, service, "seed", env)
    except UserError:
        # The author's next commit finds what this one left; a wrong seed is theirs to mend.
        _remember_seed(ctx, {**seeded, "running": ""})
        raise
    _remember_seed(ctx, {**seeded, "done": [*seeded["done"], service.name], "running": ""})


def _remember_seed(ctx: LayerContext, seeded: dict[str, object]) -> None:
    ctx.environment.seeded = seeded
    with ctx.writing():
        Environment.objects.filter(pk=ctx.environment.pk).update(seeded=seeded)


# ── services ────────────────────────────────────────────────────────────────────────────────


def _start(ctx: LayerContext, service: Service, env: dict[str, str]) -> None:
    artifact = ctx.artifacts[service.name]
    command = service.command or (artifact.start.command if artifact.start else None)
    if not command:
        raise UserError(
            "build_no_start",
            f"How to start service {service.name} was not found.",
            f"Set `services.{service.name}.command`, or add a Procfile with a `web:` line.",
        )
    release = ServiceRelease(
        name=service.name,
        revision=ctx.lease.generation,
        artifact=artifact,
        command=command,
        env=env,
        secrets={name: ctx.secrets[name] for name in service.secrets},
        port=service.port,
        public=service.public,
        health=service.health,
        resources=service.resources,
        replicas=service.replicas,
    )
    handle = ctx.outside.runtime.apply_service(ctx.namespace, release)
    _note(ctx, service, state="starting", port=handle.port)
    try:
        ctx.outside.runtime.wait_ready(
            ctx.namespace,
            service.name,
            release.revision,
            service.health.timeout,
            lambda line: ctx.say(line, service.name),
            ctx.fence,
        )
    except UserError:
        _note(ctx, service, state="failed")
        raise
    ctx.services[service.name] = handle
    _note(ctx, service, state="ready")
    ctx.say(f"ready on port {handle.port}" if handle.port else "running", service.name)


def _note(ctx: LayerContext, service: Service, **facts: object) -> None:
    with ctx.writing():
        DeployedService.objects.filter(deployment=ctx.deployment, name=service.name).update(**facts)
