"""Runs one command of a service to its end, as a Job: streamed, limited, and never twice at once."""

from __future__ import annotations

import time
from collections.abc import Mapping

from environments.ports import Fence, Job, OnLine, PlatformError
from environments.runtimes.kubernetes import diagnosis
from environments.runtimes.kubernetes.api import Api
from environments.runtimes.kubernetes.feed import Change, Feed
from environments.runtimes.kubernetes.observed import Trouble, main_status
from environments.runtimes.kubernetes.waiting import Wait
from environments.runtimes.manifests import labels as lab
from environments.runtimes.manifests import services
from environments.runtimes.manifests.labels import Manifest
from environments.runtimes.manifests.pods import After
from environments.runtimes.manifests.settings import ClusterSettings

LOG_GRACE = 5.0
"""Seconds that the rest of a log may take to arrive after its container ended."""
STOP_TIMEOUT = 60.0
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
"""Label that Kubernetes gives the pods of a Job."""


def run(
    api: Api,
    settings: ClusterSettings,
    namespace: str,
    common: Mapping[str, str],
    job: Job,
    after: After | None,
    on_line: OnLine,
    fence: Fence,
) -> None:
    """Raises UserError(migrate_failed | seed_failed | job_timeout) with the last lines."""
    same = lab.selector(**{lab.SERVICE: job.service, lab.JOB_KIND: job.kind})
    stop(api, namespace, same, fence)
    try:
        *others, manifest = services.job_objects(settings, namespace, common, job, after)
        for other in others:
            api.apply(other)
        uid = api.apply(manifest)["metadata"]["uid"]
        wait = Wait(
            api,
            namespace,
            "Job",
            services.job_name(job),
            # Not by our own labels: an older job of the same name may leave a pod for a moment.
            lab.selector(**{CONTROLLER_UID: uid}),
            on_line=on_line,
            fence=fence,
            report=lambda trouble, lines: diagnosis.of_job(job, trouble, lines),
            patience=settings.unschedulable_after,
        )
        with wait.watching():
            _follow(wait, job)
    finally:
        _remove(api, namespace, same)


def stop(api: Api, namespace: str, labels: str, fence: Fence) -> None:
    """Ends what still runs of such a job, and waits for it: its worker may have died."""
    if api.list("Job", namespace, labels):
        _remove(api, namespace, labels)
    running = {name_of(pod) for pod in api.list("Pod", namespace, labels) if _runs(pod)}
    if not running:
        return
    deadline = time.monotonic() + STOP_TIMEOUT
    with Feed(api) as feed:
        feed.watch("Pod", namespace, labels=labels)
        while running and time.monotonic() < deadline:
            fence()
            item = feed.next()
            if isinstance(item, Change) and item.what != "AGAIN":
                ended = item.what == "DELETED" or not _runs(item.manifest)
                running -= {name_of(item.manifest)} if ended else set()
            elif item is None:  # a watch that began after its end says nothing about it
                running &= {name_of(pod) for pod in api.list("Pod", namespace, labels) if _runs(pod)}
    if running:
        raise PlatformError(
            "runtime_unavailable", f"An older job of {namespace} does not end: {', '.join(sorted(running))}."
        )


def name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def _runs(pod: Manifest) -> bool:
    return pod["status"].get("phase") not in ("Succeeded", "Failed")


def _remove(api: Api, namespace: str, labels: str) -> None:
    api.delete_all("Job", namespace, labels)
    api.delete_all("Secret", namespace, labels)


def _follow(wait: Wait, job: Job) -> None:
    """Until its container has ended and its log is complete, or it takes too long."""
    ended_at: float | None = None
    started_at: float | None = None
    while True:
        wait.step()
        status = _status(wait)
        if status and started_at is None:
            started_at = wait.seconds
        if status and "terminated" in status["state"]:
            ended_at = ended_at if ended_at is not None else wait.seconds
            if wait.log_ended or wait.seconds - ended_at > LOG_GRACE:
                _conclude(wait)
                return
            continue
        if not status:
            wait.check()
            _check_lost(wait)
        if wait.seconds - (started_at or 0.0) > job.timeout:
            raise diagnosis.job_timeout(job, job.timeout, list(wait.last))


def _status(wait: Wait) -> dict[str, dict[str, object]] | None:
    """Of the container, once it has been started."""
    for pod in wait.observed.pods.values():
        status = main_status(pod)
        if status and {"running", "terminated"} & set(status.get("state", {})):
            return status
    return None


def _conclude(wait: Wait) -> None:
    wait.finish_log()
    trouble = wait.observed.trouble()
    if trouble is None or (trouble.kind == "crashed" and trouble.exit_code == 0):
        return
    raise wait.diagnosis(trouble)


def _check_lost(wait: Wait) -> None:
    """The Job ended without a container that could say why: evicted, deleted, its node gone."""
    for condition in (wait.observed.controller or {}).get("status", {}).get("conditions", []):
        if condition["type"] == "Failed" and condition["status"] == "True":
            raise wait.diagnosis(Trouble("evicted", str(condition.get("message", "its pod is gone")), True))
