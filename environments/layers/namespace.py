"""namespace: the place where everything of this environment lives, and nothing else."""

from __future__ import annotations

from django.conf import settings

from environments.layers.context import LayerContext, Outcome
from environments.models import Environment


def bring_up(ctx: LayerContext) -> Outcome:
    labels = {
        "owner": settings.OWNER_ID,
        "environment": str(ctx.environment.pk),
        "repository": str(ctx.environment.repository),
    }
    uid = ctx.outside.runtime.ensure_namespace(ctx.namespace, labels)
    kept = uid == ctx.environment.namespace_uid
    ctx.environment.namespace_uid = uid
    with ctx.writing():
        Environment.objects.filter(pk=ctx.environment.pk).update(namespace_uid=uid)
    ctx.say(f"{ctx.namespace} {'is there' if kept else 'made'}")
    ctx.outside.runtime.apply_secrets(ctx.namespace, ctx.secrets)
    return Outcome.done("kept" if kept else "new")
