"""Talks to a BuildKit daemon through `buildctl`: one solve, its progress, its end, its errors.

buildctl is a process of its own, run as any build step is (steps.py): when the fence, a limit or the caller ends
it, the daemon cancels the solve.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from environments.builders.buildkit_progress import Progress
from environments.builders.steps import Ended, Limits, printed_too_much, run_step
from environments.ports import Fence, OnLine, PlatformError, PreviewError, UserError

LONGEST_PROGRESS = 32 << 20
"""Characters of one line of progress: a whole step's graph, or a chunk of output, stands in one."""
PROGRESS_SHARE = 64
"""How much more progress than output buildctl may print: a small chunk of output comes in a large envelope."""
KEPT = ("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""What buildctl sees of PreviewKit's own environment; the proxies also in small letters."""

_UNREACHABLE = re.compile(
    r"listing workers for Build|failed to list workers|Unavailable: (connection|closing|error)"
    r"|error reading from server|transport is closing|authentication handshake failed|failed to dial"
    r"|no such file or directory.*buildkitd\.sock"
    r"|code = Unavailable|could not read certificate|failed to get client|context deadline exceeded"
)
_BASE = re.compile(r"failed to resolve source metadata for (\S+?): ")
_MISSING = re.compile(
    r"not found|pull access denied|insufficient_scope|401 Unauthorized|403 Forbidden|does not exist"
    r"|no match for platform|invalid reference format"
)
_PUSH = re.compile(r"failed to push (\S+?): ")
_LAYERS = re.compile(r"failed to (?:copy|do request|fetch|open reader)|unexpected status from (?:GET|HEAD|POST|PUT)")
_EXIT = re.compile(r"did not complete successfully: exit code: (\d+)")
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)


@dataclass(frozen=True)
class Solve:
    """What is asked of BuildKit."""

    service: str
    """For messages."""
    context: Path
    dockerfile: Path
    """Directory that holds the file that the option `filename` names."""
    image: str = ""
    """`registry/name:tag` to push to."""
    frontend: str = "dockerfile.v0"
    options: Mapping[str, str] = field(default_factory=dict)
    """The front end's: filename, target, platform, `build-arg:…`."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    """Handed over as secrets are, as Railpack wants it, though nobody needs to hide them. A secret wins."""
    cache_from: Sequence[str] = ()
    cache_to: str = ""
    insecure: bool = False
    """The registry speaks plain HTTP."""

    @property
    def handed(self) -> Mapping[str, str]:
        return {**self.variables, **self.secrets}


@dataclass(frozen=True)
class BuildKit:
    """A daemon: `address` as in BUILDKIT_HOST (tcp://…, unix://…); `ca`, `cert`, `key` for TLS, `server_name` where
    its certificate names another host; `docker_config`: JSON of a Docker config.json, to pull and push with."""

    address: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    buildctl: str = "buildctl"
    docker_config: str = ""

    def solve(self, solve: Solve, limits: Limits, on_line: OnLine, fence: Fence) -> str:
        """Builds and pushes; the pushed image's digest.

        Raises UserError(build_failed | build_timeout | build_output_limit | image_missing),
        PlatformError(buildkit_unavailable | registry_unavailable | build_tool_missing | disk_full)."""
        with tempfile.TemporaryDirectory(prefix="previewkit-solve-") as scratch:
            metadata = Path(scratch) / "metadata.json"
            progress = Progress(on_line, _lines_of(solve.secrets.values()))
            ended = self._run(solve, Path(scratch), metadata, progress, limits, fence)
            if ended.code:
                raise failure(solve.service, progress)
            return str(json.loads(metadata.read_text())["containerimage.digest"])

    def _run(
        self, solve: Solve, scratch: Path, metadata: Path, progress: Progress, limits: Limits, fence: Fence
    ) -> Ended:
        env = self._env(scratch) | {_variable(number): value for number, value in enumerate(solve.handed.values())}
        raw = replace(limits, output=limits.output * PROGRESS_SHARE + LONGEST_PROGRESS)

        def heard(line: str) -> None:
            progress.feed(line)
            if progress.printed > limits.output:
                raise printed_too_much(limits, progress.tail())

        command = self.command(solve, metadata)
        try:
            return run_step(command, scratch, env, raw, heard, fence, longest=LONGEST_PROGRESS)
        except UserError as error:  # a limit: the last lines of output, not of progress
            raise UserError(error.code, error.message, error.hint, log_tail=progress.tail()) from error
        except FileNotFoundError as error:
            raise PlatformError(
                "build_tool_missing",
                f"This machine has no `{self.buildctl}`, which talks to BuildKit.",
                "An operator installs BuildKit's buildctl and puts it into PATH.",
            ) from error
        finally:
            limits.output -= progress.printed

    def command(self, solve: Solve, metadata: Path) -> tuple[str, ...]:
        insecure = ",registry.insecure=true" if solve.insecure else ""
        arguments = [self.buildctl, *self._connection(), "build", "--progress=rawjson"]
        arguments += ["--frontend", solve.frontend, "--metadata-file", str(metadata)]
        arguments += ["--local", f"context={solve.context}", "--local", f"dockerfile={solve.dockerfile}"]
        arguments += ["--output", f"type=image,name={solve.image},push=true{insecure}"]
        for name, value in solve.options.items():
            arguments += ["--opt", f"{name}={value}"]
        for number, name in enumerate(solve.handed):
            arguments += ["--secret", f"id={name},env={_variable(number)}"]
        for reference in solve.cache_from:
            arguments += ["--import-cache", f"type=registry,ref={reference}{insecure}"]
        if solve.cache_to:
            # A build that is pushed is good, whatever becomes of its cache.
            target = f"type=registry,ref={solve.cache_to},mode=max,ignore-error=true{insecure}"
            arguments += ["--export-cache", target]
        return tuple(arguments)

    def _connection(self) -> list[str]:
        stated = {"tlscacert": self.ca, "tlscert": self.cert, "tlskey": self.key, "tlsservername": self.server_name}
        return ["--addr", self.address, *(f"--{name}={value}" for name, value in stated.items() if value)]

    def _env(self, scratch: Path) -> dict[str, str]:
        """Its own home, so that nobody's credentials are used unasked."""
        names = [*KEPT, *(name.lower() for name in KEPT if name.endswith("PROXY"))]
        env = {name: os.environ[name] for name in names if name in os.environ}
        config = scratch / "docker"
        config.mkdir(mode=0o700)
        (config / "config.json").write_text(self.docker_config or "{}")
        return env | {"HOME": str(scratch), "DOCKER_CONFIG": str(config)}


def _variable(number: int) -> str:
    return f"PREVIEWKIT_SECRET_{number}"


def _lines_of(values: Iterable[str]) -> tuple[str, ...]:
    """Output is looked at by line, so a secret of several lines (a key) is too."""
    return tuple(line.strip() for value in values for line in value.splitlines() if line.strip())


# ── why a solve failed ──────────────────────────────────────────────────────────────────────


def failure(service: str, progress: Progress) -> PreviewError:
    """Whose fault it is, by what BuildKit said last."""
    error, tail = progress.error, progress.tail()
    step = progress.failed
    told = " ".join((error, step.error if step else ""))
    if (found := _EXIT.search(told)) is not None:
        if any(_FULL.search(line) for line in tail):
            return _disk_full(tail)
        return _step_failed(service, step.name if step else "a step", int(found[1]), tail)
    if _FULL.search(told):
        return _disk_full(tail)
    if found := _PUSH.search(told):
        return _registry(f"BuildKit could not push {found[1]}", error, tail)
    if found := _BASE.search(told):
        if _MISSING.search(told[found.end() :]):
            return UserError(
                "image_missing",
                f"The build of {service} starts from {found[1]}, which is not in its registry, or not for us to read.",
                "Check the name and tag after FROM; if the image is private, an operator adds the credentials.",
                log_tail=progress.said,
            )
        return _registry(f"BuildKit could not get the base image {found[1]}", error, tail)
    if _UNREACHABLE.search(error) or not error.startswith("failed to solve"):
        return PlatformError(
            "buildkit_unavailable",
            f"BuildKit did not do the build: {_brief(error)}",
            "It is tried again; an operator checks the BuildKit daemon, its address and its certificates.",
            log_tail=tail,
        )
    if _LAYERS.search(told):
        return _registry("BuildKit could not read or write in a registry", error, tail)
    return UserError(
        "build_failed",
        f"The build of {service} failed: {_brief(error.removeprefix('failed to solve: '))}",
        "Correct what the message names; `docker build` shows the same on your machine.",
        log_tail=(*progress.said,),
    )


def _step_failed(service: str, step: str, code: int, tail: Sequence[str]) -> UserError:
    killed = " It was killed, most likely for using too much memory." if code == 137 else ""
    return UserError(
        "build_failed",
        f"The build of {service} failed: `{step}` ended with exit code {code}.{killed}",
        "The last lines say why.",
        log_tail=tail,
    )


def _registry(what: str, error: str, tail: Sequence[str]) -> PlatformError:
    return PlatformError(
        "registry_unavailable",
        f"{what}: {_brief(error)}",
        "It is tried again; an operator checks the registry and its credentials.",
        log_tail=tail,
    )


def _disk_full(tail: Sequence[str]) -> PlatformError:
    return PlatformError(
        "disk_full",
        "The disk of the BuildKit daemon is full: the build could not write.",
        "Free some space (`buildctl prune`); it is tried again.",
        log_tail=tail,
    )


def _brief(text: str) -> str:
    return text if len(text) <= 600 else f"{text[:600]}…"
