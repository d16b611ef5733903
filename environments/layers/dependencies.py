"""dependencies: each recipe applied and answering, its variables known to the app layer."""

from __future__ import annotations

from functools import partial

from environments.layers.context import LayerContext, Outcome
from environments.models import DeployedDependency
from environments.ports import DependencyHandle


def bring_up(ctx: LayerContext) -> Outcome:
    for dependency in ctx.spec.dependencies:
        ctx.fence()
        on_line = partial(ctx.say, source=dependency.name)
        handle = ctx.outside.runtime.apply_dependency(ctx.namespace, dependency, on_line, ctx.fence)
        _keep(ctx, handle)
        ctx.say(f"{handle.recipe} {handle.version} answers", handle.name)
        if handle.note:
            ctx.say(handle.note, handle.name)
    return Outcome.done(_summary(ctx))


def _keep(ctx: LayerContext, handle: DependencyHandle) -> None:
    ctx.dependencies[handle.name] = handle
    password = handle.fields.get("password")
    if password:
        ctx.hidden[f"{handle.name}.password"] = password
    facts = {
        "recipe": handle.recipe,
        "version_wanted": handle.version_wanted or "",
        "version": handle.version,
        "note": handle.note,
    }
    with ctx.writing():
        DeployedDependency.objects.update_or_create(deployment=ctx.deployment, name=handle.name, defaults=facts)


def _summary(ctx: LayerContext) -> str:
    if not ctx.dependencies:
        return "none asked for"
    return ", ".join(f"{handle.recipe} {handle.version}" for handle in ctx.dependencies.values())
