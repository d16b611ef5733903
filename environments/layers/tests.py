"""tests: hands the running preview to the test pipeline, which concludes this layer."""

from __future__ import annotations

from django.conf import settings
from django.utils.module_loading import import_string

from environments.layers.context import LayerContext, Outcome


def bring_up(ctx: LayerContext) -> Outcome:
    if not ctx.spec.tests.enabled:
        return Outcome.skipped("turned off in .preview.yaml")
    if not ctx.public_targets():
        return Outcome.skipped("no public service")
    launch = import_string(settings.TEST_LAUNCHER)
    launch(ctx.deployment.pk)
    return Outcome.goes_on("waiting for a tester")
