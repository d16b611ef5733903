"""What a replay found, step by step. Pure values that the Replayer makes and the Reviewer judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from testruns.page import Problem, Window
from testruns.trace import Expectation, Fingerprint, Locator, Trace

StepStatus = Literal["passed", "healed", "failed", "not_run"]


@dataclass(frozen=True)
class Check:
    """One expectation, held against the page."""

    expectation: Expectation
    held: bool
    seen: str


@dataclass(frozen=True)
class Heal:
    """The recorded way to an element led nowhere; another one led to an element that is like it."""

    recorded: Fingerprint
    found: Fingerprint
    by: Locator
    proposed: tuple[Locator, ...]
    """For a person to accept; a trace never changes by itself."""

    def __str__(self) -> str:
        was, now = f"{self.recorded.role} “{self.recorded.name}”", f"{self.found.role} “{self.found.name}”"
        return f"{was} is now {now}" if was != now else f"{was} was found by {self.by.engine} only"


@dataclass(frozen=True)
class StepOutcome:
    step_id: str
    intent: str
    status: StepStatus
    problems: tuple[Problem, ...] = ()
    """Gravest first; empty unless failed."""
    checks: tuple[Check, ...] = ()
    matched: Locator | None = None
    heal: Heal | None = None
    window: Window = field(default_factory=Window)
    url: str = ""
    seconds: float = 0.0
    before: bytes = field(default=b"", repr=False)
    """PNG of the page as the step found it; kept for failed steps."""
    after: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Signature:
    """Two replays failed in the same way when these are equal."""

    step_id: str
    kind: str
    expected: str


@dataclass(frozen=True)
class ReplayResult:
    trace: Trace
    steps: tuple[StepOutcome, ...]
    log: tuple[str, ...]
    """What was done and what came of it, for a person to read."""
    seconds: float = 0.0

    @property
    def failed_step(self) -> StepOutcome | None:
        return next((step for step in self.steps if step.status == "failed"), None)

    @property
    def problem(self) -> Problem | None:
        """The gravest problem of the first step that failed."""
        step = self.failed_step
        return step.problems[0] if step else None

    @property
    def heals(self) -> tuple[Heal, ...]:
        return tuple(step.heal for step in self.steps if step.heal)

    @property
    def status(self) -> Literal["passed", "healed", "failed"]:
        if self.failed_step:
            return "failed"
        return "healed" if self.heals else "passed"

    @property
    def signature(self) -> Signature | None:
        step, problem = self.failed_step, self.problem
        return Signature(step.step_id, problem.kind, problem.expected) if step and problem else None
