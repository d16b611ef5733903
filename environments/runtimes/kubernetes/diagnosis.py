"""What is wrong with a service, a dependency or a job, in words that its developer can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from environments.ports import Job, PlatformError, PreviewError, UserError
from environments.runtimes.kubernetes.listening import Listener
from environments.runtimes.kubernetes.observed import Trouble
from environments.runtimes.manifests.labels import Manifest


@dataclass(frozen=True)
class Waited:
    """The service that is waited for, as its Deployment has it."""

    name: str
    port: int | None
    path: str | None
    memory: int

    @staticmethod
    def of(name: str, deployment: Manifest) -> Waited:
        main = deployment["spec"]["template"]["spec"]["containers"][0]
        ports = main.get("ports") or [{}]
        path = main.get("readinessProbe", {}).get("httpGet", {}).get("path")
        return Waited(name, ports[0].get("containerPort"), path, int(main["resources"]["limits"]["memory"]))


def of_service(waited: Waited, trouble: Trouble, lines: Sequence[str]) -> PreviewError:
    name = waited.name
    if trouble.kind == "crashed":
        return UserError(
            "service_crashed",
            f"Service {name} ended before it was ready, {_times(trouble.times)} ({trouble.text}).",
            f"Read its last lines. {_rights(lines)}It is started with the variables that the environment's page lists.",
            log_tail=lines,
        )
    if trouble.kind == "not_started":
        return UserError(
            "service_crashed",
            f"Service {name} could not be started: {trouble.text}",
            f"Check `services.{name}.command`: the program has to be in the image.",
            log_tail=lines,
        )
    if trouble.kind == "out_of_memory":
        return UserError(
            "service_out_of_memory",
            f"Service {name} was ended for using more than its {waited.memory // 2**20} MiB of memory.",
            f"Raise `services.{name}.resources.memory`, or use less.",
            log_tail=lines,
        )
    return of_pod(f"Service {name}", trouble)


def of_pod(what: str, trouble: Trouble) -> PreviewError:
    """What can be wrong with any pod before its program runs."""
    if trouble.error is not None:
        return type(trouble.error)(trouble.error.code, f"{what}: {trouble.error.message}", trouble.error.hint)
    if trouble.kind == "image_missing":
        return UserError(
            "image_missing",
            f"{what}: its image can't be had: {trouble.text}",
            "Check the image's name and tag; a private registry needs a pull secret, which an operator sets.",
        )
    if trouble.kind == "registry":
        return PlatformError(
            "registry_unavailable",
            f"{what}: the registry did not hand out its image: {trouble.text}",
            "It is tried again. If it goes on: is the registry up, and reachable from the nodes?",
        )
    if trouble.kind == "unschedulable":
        return PlatformError(
            "unschedulable",
            f"{what}: no node has room for it: {trouble.text}",
            "It is tried again. Lower `resources`, close previews that nobody needs, or add nodes.",
        )
    if trouble.kind == "volume":
        return PlatformError(
            "volume_pending",
            f"{what}: its volume was not provided: {trouble.text}",
            "It is tried again. An operator checks the storage class and its provisioner.",
        )
    if trouble.kind == "evicted":
        return PlatformError(
            "unschedulable",
            f"{what}: its node ended it: {trouble.text}",
            "It is tried again; the node is short of disk or memory.",
        )
    return PlatformError("runtime_unavailable", f"{what}: {trouble.text}", "It is tried again.")


def wrong_port(waited: Waited, found: Sequence[Listener], lines: Sequence[str]) -> UserError | None:
    """Listens elsewhere, or only to itself; None: neither."""
    name, port = waited.name, waited.port
    own = [each for each in found if each.port == port]
    if own and own[0].local:
        return UserError(
            "service_not_ready",
            f"Service {name} listens on 127.0.0.1:{port} only, where nothing outside of its container reaches it.",
            "Let it listen on 0.0.0.0; the variable HOST says so too.",
            log_tail=lines,
        )
    if own or not found:
        return None
    numbers = " and ".join(str(each.port) for each in found)
    return UserError(
        "service_wrong_port",
        f"Service {name} listens on {numbers}, but was given PORT={port}.",
        "Let it listen on the port that the variable PORT names.",
        log_tail=lines,
    )


def not_ready(waited: Waited, timeout: float, seen: str, said: int | None, lines: Sequence[str]) -> UserError:
    """It runs, and time is over."""
    name, port, path = waited.name, waited.port, waited.path
    asked, hint = f"port {port} takes no connection", "Check what it waits for at its start."
    if port is None:
        asked = "it does not stay up"
    elif path:
        asked = f"GET {path} on port {port} does not answer below 400"
        hint = f"Let {path} answer below 400 once it is ready, or change `services.{name}.health.path`."
    if seen:
        asked += f" ({seen})"
    if said:
        hint = f"Its log speaks of port {said}: let it listen on the port that the variable PORT names. {hint}"
    return UserError(
        "service_not_ready",
        f"Service {name} runs, but was not ready after {timeout:.0f} s: {asked}.",
        f"{hint} `services.{name}.health.timeout` gives it more time.",
        log_tail=lines,
    )


# ── dependencies and jobs ───────────────────────────────────────────────────────────────────


def of_dependency(name: str, trouble: Trouble, lines: Sequence[str]) -> PreviewError:
    if trouble.kind in ("crashed", "not_started", "out_of_memory"):
        return PlatformError(
            "dependency_not_ready",
            f"Dependency {name} does not stay up ({trouble.text}).",
            "It is tried again; its last lines say more.",
            log_tail=lines,
        )
    return of_pod(f"Dependency {name}", trouble)


def of_job(job: Job, trouble: Trouble, lines: Sequence[str]) -> PreviewError:
    words = job.command if isinstance(job.command, str) else " ".join(job.command)
    what = f"{job.kind} of {job.service} (`{words}`)"
    code = "migrate_failed" if job.kind == "migrate" else "seed_failed"
    if trouble.kind == "out_of_memory":
        return UserError(
            code,
            f"{what} was ended for using more than its {job.resources.memory // 2**20} MiB of memory.",
            f"Raise `services.{job.service}.resources.memory`, or use less.",
            log_tail=lines,
        )
    if trouble.kind == "not_started":
        return UserError(
            code, f"{what} could not be started: {trouble.text}", "The program has to be in the image.", log_tail=lines
        )
    if trouble.kind == "crashed":
        return UserError(
            code,
            f"{what} ended with {trouble.text}.",
            f"Read its last lines. {_rights(lines)}The same command in the same image with the same variables "
            "shows the same.",
            log_tail=lines,
        )
    return of_pod(what, trouble)


def job_timeout(job: Job, seconds: float, lines: Sequence[str]) -> UserError:
    words = job.command if isinstance(job.command, str) else " ".join(job.command)
    return UserError(
        "job_timeout",
        f"{job.kind} of {job.service} (`{words}`) was stopped after {seconds:.0f} s.",
        "Make it shorter; it may be waiting for a lock or for input.",
        log_tail=lines,
    )


def _rights(lines: Sequence[str]) -> str:
    denied = any("permission denied" in line.lower() or "EACCES" in line for line in lines)
    return "It does not run as root here, and may write to /tmp and to what its user owns. " if denied else ""


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times} times"
