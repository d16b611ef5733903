"""The two families of errors, and every error code in one table: who can fix it, what it means, the way out.

`message` and `hint` of a raised error are specific; this table is the documentation (docs/errors.md is
generated from it) and the check that no code is raised that nobody explained.
"""

# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class PreviewError(Exception):
    """What went wrong (`message`), under a stable `code` of errors.py, and the way out (`hint`)."""

    def __init__(self, code: str, message: str, hint: str = "", *, log_tail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.log_tail = tuple(log_tail)
        """The last lines of the failing program's output, oldest first."""


class UserError(PreviewError):
    """The author can fix it: shown in the comment, not retried."""


class PlatformError(PreviewError):
    """Ours: retried with backoff, then shown to operators, and to the author in one honest sentence."""


class RetryLater(Exception):
    """Nothing is wrong; come back in `delay` seconds."""

    def __init__(self, delay: float, why: str = "") -> None:
        super().__init__(why)
        self.delay = delay
        self.why = why


class Superseded(Exception):
    """A newer generation, or another worker, has taken over. The caller stops quietly."""


@dataclass(frozen=True)
class Code:
    code: str
    family: Literal["user", "platform"]
    meaning: str
    way_out: str


def _table(*rows: tuple[str, Literal["user", "platform"], str, str]) -> dict[str, Code]:
    return {code: Code(code, family, meaning, way_out) for code, family, meaning, way_out in rows}


# fmt: off
# One row, one line: a table that stays readable, and merges.
CODES = _table(
    ("spec_missing", "user", "The commit has no .preview.yaml.", "Add one; the smallest has six lines."),
    ("spec_invalid", "user", "The .preview.yaml has an error; line and column are given.", "Correct it and push; `previewkit lint` checks it before."),
    ("spec_cycle", "user", "Services depend on one another in a circle.", "Remove one of the dependencies that are printed."),
    ("recipe_unknown", "user", "There is no recipe of that name.", "Use one of the names that are listed."),
    ("recipe_version", "user", "The recipe has no such version.", "Use one of the versions that are listed."),
    ("recipe_option", "user", "The recipe has no such option, or not with that value.", "Use one of the options that are listed."),
    ("secret_missing", "user", "A secret that the file names has no value.", "An operator sets it for the repository."),
    ("build_no_plan", "user", "No way to build the service was recognised.", "Add a start command, a Procfile, or one of the known manifests."),
    ("build_no_start", "user", "It was built, but how to start it was not found.", "Set `command`, or add a Procfile with a `web:` line."),
    ("build_failed", "user", "A build command ended with an error.", "Read the last lines of the build log."),
    ("build_timeout", "user", "The build took longer than allowed.", "Make it shorter, or ask an operator for a longer limit."),
    ("build_output_limit", "user", "The build printed more than is kept.", "Make it quieter; something is probably looping."),
    ("build_tool_missing", "platform", "This machine lacks a tool that the build needs.", "An operator installs it."),
    ("buildkit_unavailable", "platform", "BuildKit, which builds images, did not answer.", "It is tried again; an operator checks the BuildKit daemon."),
    ("build_unsupported", "user", "This runtime has no builder of that kind.", "Use `build: railpack`, or a runtime that runs containers."),
    ("image_missing", "user", "The image is not in its registry.", "Check its name and tag."),
    ("migrate_failed", "user", "The migration command ended with an error.", "Read its last lines."),
    ("seed_failed", "user", "The seed command ended with an error.", "Read its last lines."),
    ("job_timeout", "user", "A migration or seed took longer than allowed.", "Make it shorter; it may be waiting for a lock."),
    ("dependency_not_ready", "platform", "A dependency did not answer in time.", "It is tried again; see the log."),
    ("service_crashed", "user", "The service ended before it was ready.", "Read its last lines."),
    ("service_wrong_port", "user", "The service listens on another port than it was given.", "Listen on the PORT variable."),
    ("service_not_ready", "user", "The service runs but did not become ready in time.", "Check `health`, and what it waits for."),
    ("service_out_of_memory", "user", "The service was ended for using more memory than its limit.", "Raise `resources.memory`, or use less."),
    ("route_failed", "platform", "The address did not answer after it was routed.", "It is tried again."),
    ("repository_gone", "user", "The repository can't be found at its provider.", "Restore it, or remove it from PreviewKit."),
    ("environment_unknown", "user", "No environment has that name.", "See `previewkit env list`."),
    ("wait_timeout", "user", "The environment did not get there in time.", "Look at its page; wait longer with --timeout."),
    ("not_a_home", "user", "The directory is not PreviewKit's.", "Check PREVIEWKIT_HOME; nothing was deleted."),
    ("repository_refused", "user", "The repository can't be added like this.", "Give the path or URL of a git repository, and a plain name."),
    ("pull_request_refused", "user", "The pull request can't be opened, closed or reopened.", "Check its number and its branch."),
    ("commit_gone", "user", "The commit is not in the repository any more.", "Push again; a newer commit is picked up by itself."),
    ("fork_not_approved", "user", "A fork's commit waits for a maintainer.", "A maintainer approves this sha."),
    ("provider_unavailable", "platform", "The provider did not answer.", "It is asked again."),
    ("runtime_unavailable", "platform", "The runtime did not answer.", "It is tried again."),
    ("namespace_missing", "platform", "The environment's place is not in the runtime (any more).", "It is made again if it is still wanted."),
    ("namespace_taken", "platform", "A namespace of that name exists in the cluster and is not PreviewKit's.", "An operator renames or removes it; PreviewKit never touches it."),
    ("cluster_credentials", "platform", "The cluster does not accept PreviewKit's credentials.", "An operator renews them."),
    ("cluster_forbidden", "platform", "PreviewKit's account lacks a right in the cluster.", "An operator gives it the installation's role."),
    ("admission_rejected", "user", "The cluster's own rules do not allow an object of the environment.", "Change what the message names, or ask an operator."),
    ("quota_exceeded", "user", "The environment asks for more than its namespace may have.", "Lower `resources` or `replicas`, or ask an operator."),
    ("unschedulable", "platform", "No node of the cluster has room for a pod.", "It is tried again; an operator adds room."),
    ("volume_pending", "platform", "A volume was not provided.", "An operator checks the storage class."),
    ("registry_unavailable", "platform", "The registry did not hand out, or take in, an image.", "It is tried again; an operator checks the registry."),
    ("recipe_unsupported", "user", "The recipe does not run on this runtime.", "Use another recipe, or RUNTIME=kubernetes."),
    ("disk_full", "platform", "The disk of the machine is full.", "Free some space; it is tried again for some minutes, then by `retry`."),
    ("port_in_use", "platform", "Another program took the port.", "It is tried again with another one."),
    ("database_unavailable", "platform", "PreviewKit's own database does not answer.", "Check DATABASE_URL and the server."),
    ("broker_unavailable", "platform", "PreviewKit's own Valkey does not answer.", "Check REDIS_URL and the server."),
    ("snapshot_missing", "platform", "There is no snapshot of that name.", "The environment is rebuilt."),
    ("teardown_stuck", "platform", "Something of a closed environment is still there.", "It is tried again; what is left is listed."),
    ("browser_missing", "platform", "There is no browser for the tests.", "Install Chromium, or run `previewkit browser install`."),
    ("tests_failed", "platform", "The test run itself broke.", "Run the tests again."),
    ("internal", "platform", "PreviewKit itself failed.", "It is tried again; operators see the details."),
)
# fmt: on
