"""Starts the TestRun of a deployment whose address answers. Called by the tests layer, by dotted path."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from environments.models import Deployment
from testruns import conclusion
from testruns.models import TestRun


def launch(deployment_id: int) -> None:
    """Safe to call again: a run that is over concludes the layer again, any other is queued again."""
    deployment = Deployment.objects.select_related("environment").get(pk=deployment_id)
    with transaction.atomic():
        run, made = TestRun.objects.get_or_create(
            deployment=deployment,
            defaults={"sha": deployment.sha, "namespace_uid": deployment.environment.namespace_uid},
        )
        if not made and run.namespace_uid != deployment.environment.namespace_uid:
            # What was found belongs to data that is no longer there.
            run.delete()
            run = TestRun.objects.create(
                deployment=deployment, sha=deployment.sha, namespace_uid=deployment.environment.namespace_uid
            )
        if run.is_over:
            transaction.on_commit(partial(conclusion.conclude, run.pk))
        else:
            # Without a broker the sweeper queues it.
            transaction.on_commit(partial(_queue, run.pk), robust=True)


def _queue(run_id: int) -> None:
    from testruns.actors import run_tests

    run_tests.send(run_id)
