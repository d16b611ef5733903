"""EXECUTION_TRACE v1: schema, validation, integrity.

A trace is what one scenario's performance in Chromium leaves: every step with its ranked locators, waits and
expectations. It is frozen; what is changed is a new trace with a new seal. Addresses are kept relative to the
variable `{base_url}`, so that a trace recorded on one environment replays on another. Imports no Django.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SCHEMA_VERSION = 1
MAX_JSON_BYTES = 8 * 1024 * 1024
"""No trace that we record comes near; a larger one is refused before it is parsed."""

BASE_URL = "{base_url}"
"""Stands for the environment's address in every recorded URL and text."""

ActionName = Literal["goto", "click", "fill", "select", "check", "press", "submit"]
"""The closed vocabulary: nothing outside it can be recorded, written by a person or a model, or replayed."""
LocatorEngine = Literal["test_id", "role", "label", "placeholder", "text", "id", "css"]
ExpectationKind = Literal["url", "title", "heading", "text", "visible", "status", "count", "value", "aria"]
Origin = Literal["observed", "template", "person"]


class TraceError(Exception):
    """A trace that must not be replayed: `reason` says which check it failed, the message what to do."""

    def __init__(
        self, reason: Literal["size", "json", "version", "schema", "integrity"], message: str, hint: str = ""
    ) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.reason = reason
        self.message = message
        self.hint = hint


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScenarioRef(Model):
    """Which journey this is. `key` is the same for the same journey in every run."""

    key: str = Field(min_length=1, max_length=200)
    title: str
    kind: str


class Source(Model):
    """What the trace is bound to; with another sha, spec or seed it is a reference, not a result."""

    sha: str = ""
    spec_hash: str = ""
    seed_hash: str = ""


class Viewport(Model):
    width: int = Field(default=1280, gt=0, le=8192)
    height: int = Field(default=800, gt=0, le=8192)


class Determinism(Model):
    """What the browser is told, so that the same page does the same thing twice."""

    clock: str = "2025-01-15T10:00:00Z"
    """Where the page's clock starts, in UTC; it then goes on at its usual pace, so timers work."""
    seed: int = 1
    """Of Math.random, crypto.randomUUID and crypto.getRandomValues."""
    locale: str = "en-US"
    timezone: str = "UTC"
    viewport: Viewport = Viewport()
    reduced_motion: bool = True


class Locator(Model):
    """One way to find an element."""

    engine: LocatorEngine
    value: str = Field(max_length=2000)
    """role: `button[name="Add to cart"]`, as Playwright writes it; the others: the plain value or selector."""
    score: int = Field(ge=0, le=100)
    unique: bool
    """Whether it matched exactly one element when it was recorded."""


class Fingerprint(Model):
    """What the element was like, to tell whether a fallback locator found the same one."""

    tag: str
    role: str = ""
    name: str = ""
    text: str = ""
    attributes: dict[str, str] = Field(default_factory=dict)


class ElementTarget(Model):
    locators: tuple[Locator, ...] = Field(min_length=1, max_length=12)
    """Best first."""
    frame: str | None = None
    """None: the page itself; else the frame's name or URL."""
    fingerprint: Fingerprint


class Action(Model):
    name: ActionName
    args: dict[str, str] = Field(default_factory=dict)
    """goto: url · fill, select: value · press: key · check: state (on, off) · submit: validate (yes, no)."""


class Wait(Model):
    """What the step waited for. Never a length of time."""

    kind: Literal["load", "url", "quiet"]
    value: str = ""


class Expectation(Model):
    kind: ExpectationKind
    locator: Locator | None = None
    """Of visible, count and value; the others are about the page."""
    value: str = ""
    mask: str | None = None
    """A regular expression; what it matches is made equal on both sides before they are compared."""
    origin: Origin = "observed"


class RequestSeen(Model):
    method: str
    url: str
    status: int | None
    """None: it failed without an answer."""
    kind: str = ""
    """document, xhr, fetch, script, …"""


class ConsoleSeen(Model):
    level: str
    text: str


class Observed(Model):
    duration_ms: int = Field(default=0, ge=0)
    url: str = ""
    requests: tuple[RequestSeen, ...] = ()
    console: tuple[ConsoleSeen, ...] = ()
    page_errors: tuple[str, ...] = ()


class Step(Model):
    id: str
    intent: str
    """In a person's words: "Add “Blue mug” to the cart"."""
    action: Action
    target: ElementTarget | None = None
    waits: tuple[Wait, ...] = ()
    expect: tuple[Expectation, ...] = ()
    observed: Observed = Observed()
    artifacts: dict[str, str] = Field(default_factory=dict)
    """Name → `sha256:…` of a picture or other file kept beside the trace."""


class Dropped(Model):
    """An expectation that did not hold on a replay of the unchanged application."""

    step: str
    kind: ExpectationKind
    value: str
    seen: str
    replay: int


class Admission(Model):
    replays: int = 0
    passed: int = 0
    dropped: tuple[Dropped, ...] = ()

    @property
    def admitted(self) -> bool:
        return self.replays >= 2 and self.passed == self.replays


class Integrity(Model):
    sha256: str = ""


class Trace(Model):
    schema_version: Literal[1] = 1
    scenario: ScenarioRef
    source: Source = Source()
    determinism: Determinism = Determinism()
    variables: dict[str, str] = Field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names only."""
    admission: Admission = Admission()
    steps: tuple[Step, ...] = Field(min_length=1, max_length=200)
    integrity: Integrity = Integrity()

    def seal(self) -> str:
        """sha256 over the canonical JSON of everything but the seal itself."""
        content = self.model_dump(mode="json", exclude={"integrity"})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def sealed(self) -> Self:
        return self.model_copy(update={"integrity": Integrity(sha256=self.seal())})

    def revised(self, **changes: Any) -> Self:
        """A copy with `changes`, sealed anew."""
        return self.model_copy(update=changes).sealed()

    def verify(self) -> None:
        """Raises TraceError(integrity) when the content is not what was sealed."""
        if self.integrity.sha256 != self.seal():
            raise TraceError(
                "integrity",
                f"The trace of “{self.scenario.title}” was changed after it was recorded"
                f" (sha256 {self.integrity.sha256[:12] or 'missing'}, content {self.seal()[:12]}).",
                "Record it again; a trace is never edited by hand.",
            )

    def to_json(self) -> str:
        return json.dumps(self.sealed().model_dump(mode="json"), ensure_ascii=True, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Trace:
        """Parsed, of a known version, of the right form and unchanged; else TraceError."""
        if len(text) > MAX_JSON_BYTES:
            raise TraceError(
                "size",
                f"The trace has {len(text)} bytes; at most {MAX_JSON_BYTES} are read.",
                "Record it again.",
            )
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TraceError("json", f"The trace is not JSON: {error}.", "Record it again.") from error
        _check_version(content)
        try:
            trace = cls.model_validate(content)
        except ValidationError as error:
            raise TraceError(
                "schema", f"The trace is not a valid EXECUTION_TRACE v1: {_first(error)}.", "Record it again."
            ) from error
        trace.verify()
        return trace


def _check_version(content: object) -> None:
    if not isinstance(content, Mapping):
        raise TraceError("schema", "The trace is not a JSON object.", "Record it again.")
    version = content.get("schema_version")
    # `True == 1` in Python, and it is not a version.
    if type(version) is int and version == SCHEMA_VERSION:
        return
    newer = type(version) is int and version > SCHEMA_VERSION
    raise TraceError(
        "version",
        f"The trace has schema_version {json.dumps(version)[:40]}; this PreviewKit reads {SCHEMA_VERSION}.",
        "Update PreviewKit." if newer else "Record it again.",
    )


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"]) or "trace"
    return f"{place}: {problem['msg']}"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of EXECUTION_TRACE v1, for editors and other readers."""
    schema = Trace.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "EXECUTION_TRACE v1"
    return schema
