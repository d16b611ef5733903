"""Plans, generates, replays and reviews against one environment, within a budget. Knows no Django and no runtime.

A base branch's run plans and records traces: those are the reference. A pull request's run replays the reference,
then plans and records what the reference does not cover.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from testruns.agents.generator import Generated, generate
from testruns.agents.planner import Plan, PlanLimits, plan
from testruns.agents.replayer import replay
from testruns.agents.reviewer import RUNS_THAT_MUST_AGREE, Evidence, Verdict, review
from testruns.browser import Browser, BrowserGone, Fence, Session
from testruns.chromium import BrowserMissing, find_browser
from testruns.coverage import Coverage, coverage_of
from testruns.page import Limits, Problem, StepFailed, Target
from testruns.replay import ReplayResult
from testruns.scenario import Scenario
from testruns.seeded import SeededData
from testruns.trace import Determinism, ScenarioRef, Source, Trace, TraceError

OnLine = Callable[[str], None]
Stage = Literal["planning", "generating", "replaying", "reviewing"]
Origin = Literal["reference", "new"]
OutcomeName = Literal["passed", "failed", "not_run"]

APPLICATION_PROBLEMS = ("http_5xx", "page_error", "navigation_failed")
"""Met while a new scenario is recorded, these are findings; anything else is the generator's own failure."""

MOST_BROWSERS_LOST = 3


@dataclass(frozen=True)
class Budget:
    seconds: float = 120.0
    """What has not begun by then is `not_run`, with the reason."""
    plan: PlanLimits = field(default_factory=PlanLimits)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Environment:
    """Where the tests run: an address, and how its data is brought back to the seed."""

    target: Target
    reset: Callable[[], None]


@dataclass(frozen=True)
class StepRow:
    intent: str
    action: str
    outcome: str
    """passed, healed, failed, not_run"""
    ms: int


@dataclass(frozen=True)
class ScenarioOutcome:
    key: str
    title: str
    origin: Origin
    outcome: OutcomeName
    reason: str = ""
    """Of failed and not_run: in a sentence."""
    seconds: float = 0.0
    steps: tuple[StepRow, ...] = ()
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    key: str
    title: str
    step: str
    """The failing step, in a person's words."""
    expected: str
    seen: str
    verdict: Verdict
    log: tuple[str, ...] = ()
    before: bytes = field(default=b"", repr=False)
    """PNG of the page as the failing step found it."""
    after: bytes = field(default=b"", repr=False)
    """PNG of the page when it failed."""


@dataclass(frozen=True)
class Outcome:
    scenarios: tuple[ScenarioOutcome, ...] = ()
    traces: tuple[Trace, ...] = ()
    """Newly admitted: on a base branch's run, the reference from now on."""
    findings: tuple[Finding, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    not_run: str = ""
    """Why nothing was run, and how to mend it; empty when it was."""
    not_run_code: str = ""
    """browser_missing or tests_failed, of environments/errors.py."""
    seconds: float = 0.0

    def count(self, outcome: OutcomeName) -> int:
        return sum(scenario.outcome == outcome for scenario in self.scenarios)


def run(
    head: Environment,
    *,
    base: Environment | None = None,
    reference: Sequence[Trace] = (),
    start_path: str = "/",
    source: Source | None = None,
    source_tree: Path | None = None,
    changed_files: Sequence[str] = (),
    diff: str = "",
    on_line: OnLine = lambda line: None,
    on_stage: Callable[[Stage], None] = lambda stage: None,
    fence: Fence = lambda: None,
    budget: Budget | None = None,
) -> Outcome:
    """Never raises for what the application or the browser does; lets what `fence` and the resets raise through."""
    began = time.monotonic()
    found = find_browser()
    if isinstance(found, BrowserMissing):
        return Outcome(not_run=f"{found.why} {found.mend}", not_run_code="browser_missing")
    targets = [head.target, *([base.target] if base else [])]
    try:
        with Browser(found, targets) as browser:
            on_line(f"{found.version}, {found.because}")
            engine = _Engine(
                browser, head, base, tuple(reference), diff, on_line, on_stage, fence, budget or Budget(), began,
                source or Source(),
            )  # fmt: skip
            outcome = engine.run(start_path, source_tree, changed_files)
    except BrowserGone as gone:
        outcome = Outcome(not_run=f"The browser was lost: {gone}", not_run_code="tests_failed")
    return replace(outcome, seconds=time.monotonic() - began)


@dataclass
class _Engine:
    browser: Browser
    head: Environment
    base: Environment | None
    reference: tuple[Trace, ...]
    diff: str
    on_line: OnLine
    on_stage: Callable[[Stage], None]
    fence: Fence
    budget: Budget
    began: float
    source: Source
    scenarios: list[ScenarioOutcome] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    agreed: dict[frozenset[Problem], str] = field(default_factory=dict)
    """Problems on which a scenario's runs agreed, and its title."""
    lost: int = 0

    def __post_init__(self) -> None:
        self.data = SeededData(self.head.reset)
        self.base_data = SeededData(self.base.reset) if self.base else None

    def run(self, start_path: str, tree: Path | None, changed: Sequence[str]) -> Outcome:
        self.on_stage("planning")
        planned, failed = self._plan(start_path, tree, changed)
        # What is already known to work may still tell what is wrong with the start page.
        if failed and (failed.kind == "unreachable" or not self.reference):
            return Outcome(
                not_run=f"The environment's start page {start_path} can't be opened: {failed.message}"
                " Open its address, and see the service's log.",
                not_run_code="tests_failed",
            )
        self.on_line(f"planned {len(planned.scenarios)} scenarios from {len(planned.pages)} pages")
        self.on_stage("replaying")
        order = {scenario.key: place for place, scenario in enumerate(planned.scenarios)}
        for trace in sorted(self.reference, key=lambda trace: order.get(trace.scenario.key, len(order))):
            self._guarded(trace.scenario, "reference", partial(self._replay_reference, trace))
        covered = {trace.scenario.key for trace in self.reference}
        self.on_stage("generating")
        for scenario in planned.scenarios:
            if scenario.key not in covered:
                ref = ScenarioRef(key=scenario.key, title=scenario.title[:300], kind=scenario.kind)
                self._guarded(ref, "new", partial(self._generate, scenario, ref))
        return Outcome(tuple(self.scenarios), tuple(self.traces), tuple(self.findings), self._coverage(planned))

    def _plan(self, start_path: str, tree: Path | None, changed: Sequence[str]) -> tuple[Plan, Problem | None]:
        try:
            planned = plan(
                self.browser,
                self.head.target,
                start_path,
                limits=self.budget.plan,
                source_tree=tree,
                changed_files=changed,
                fence=self.fence,
            )
        except StepFailed as failure:
            return Plan(), failure.problem
        except BrowserGone as gone:
            return Plan(), Problem("tab_crashed", str(gone))
        return planned, None

    def _guarded(self, ref: ScenarioRef, origin: Origin, test: Callable[[], None]) -> None:
        """A page that takes the browser down costs its own scenario, not the others."""
        if time.monotonic() - self.began > self.budget.seconds:
            reason = f"The time for this run, {self.budget.seconds:.0f} s, was used up."
            self._add(ref, origin, "not_run", reason, None, time.monotonic())
            return
        began = time.monotonic()
        try:
            test()
        except BrowserGone as gone:
            self.lost += 1
            self._add(ref, origin, "not_run", str(gone), None, began)
            if self.lost >= MOST_BROWSERS_LOST:
                raise

    # ── the reference ───────────────────────────────────────────────────────────────────────

    def _replay_reference(self, trace: Trace) -> None:
        began = time.monotonic()
        try:
            first = self._replay(trace)
        except TraceError as error:
            nothing = ReplayResult(trace, (), (error.message,))
            self._judge(trace.scenario, "reference", Evidence(nothing, trace_error=error), began)
            return
        if first.status == "passed":
            self._add(trace.scenario, "reference", "passed", "", first, began)
            return
        self._judge(trace.scenario, "reference", self._evidence(trace, first), began)

    def _replay(self, trace: Trace, again: bool = False) -> ReplayResult:
        """`again`: to see whether it fails in the same way, with pictures; what comes after does not matter."""
        return replay(
            self.browser,
            trace,
            self.head.target,
            self.data,
            pictures="all" if again else "failures",
            to_first_failure=again,
            limits=self.budget.limits,
            fence=self.fence,
        )

    def _evidence(self, trace: Trace, first: ReplayResult) -> Evidence:
        """As much as is needed: one more look is dear, and what is known already is not looked at again."""
        if not self._reachable():
            return Evidence(first, environment_reachable=False)
        found = Evidence(first, is_reference=True, diff=self.diff)
        problems = frozenset(problem for step in found.failed_steps for problem in step.problems)
        if problems and problems in self.agreed:
            return replace(found, seen_before=self.agreed[problems])
        found = replace(found, reruns=tuple(self._replay(trace, again=True) for _ in range(RUNS_THAT_MUST_AGREE - 1)))
        if len({run.signature for run in found.runs}) == 1:
            self.agreed[problems] = trace.scenario.title
        if self.base and self.base_data and first.failed_step and found.unintended:
            on_base = replay(
                self.browser,
                trace,
                self.base.target,
                self.base_data,
                to_first_failure=True,
                upto=first.failed_step.step_id,
                limits=self.budget.limits,
                fence=self.fence,
            )
            found = replace(found, base_replay=on_base)
        return found

    def _reachable(self) -> bool:
        """Whether the address answers at all, with whatever page."""

        def visit(session: Session) -> Problem | None:
            try:
                session.goto("/")
            except StepFailed as failure:
                return failure.problem
            return None

        problem = self.browser.run(self.head.target, Determinism(), visit, limits=self.budget.limits, fence=self.fence)
        return problem is None or problem.kind != "unreachable"

    # ── what is new ─────────────────────────────────────────────────────────────────────────

    def _generate(self, scenario: Scenario, ref: ScenarioRef) -> None:
        began = time.monotonic()
        clock = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        made = generate(
            self.browser,
            scenario,
            self.head.target,
            self.data,
            determinism=Determinism(clock=clock),
            source=self.source,
            limits=self.budget.limits,
            fence=self.fence,
        )
        if made.trace:
            self.traces.append(made.trace)
            self._add(ref, "new", "passed", "", made.replays[-1], began)
        elif made.problem and made.problem.kind in APPLICATION_PROBLEMS and made.candidate:
            self._judge(ref, "new", self._evidence_of(made), began)
        else:
            self._add(ref, "new", "not_run", f"Not recorded: {made.reason}", None, began)

    def _evidence_of(self, made: Generated) -> Evidence:
        assert made.candidate
        first = made.replays[0]
        reruns = made.replays[1:]
        if first.status == "failed":
            reruns = (*reruns, self._replay(made.candidate, again=True))
        return Evidence(first, reruns, None, False, self.diff, self._reachable())

    # ── results ─────────────────────────────────────────────────────────────────────────────

    def _judge(self, ref: ScenarioRef, origin: Origin, evidence: Evidence, began: float) -> None:
        verdict = review(evidence)
        if verdict is None:
            reason = "Not recorded: it failed once and passed when it was replayed."
            self._add(ref, origin, "not_run", reason, evidence.replay, began)
            return
        if verdict.verdict == "NOT_RUN":
            self._add(ref, origin, "not_run", verdict.evidence[0], evidence.replay, began)
            return
        finding = _finding(ref, evidence, verdict)
        self.findings.append(finding)
        healed = evidence.replay.status == "healed"
        reason = f"{verdict.verdict}: {verdict.evidence[0]}"
        self._add(ref, origin, "passed" if healed else "failed", reason, evidence.replay, began)

    def _add(
        self,
        ref: ScenarioRef,
        origin: Origin,
        outcome: OutcomeName,
        reason: str,
        result: ReplayResult | None,
        began: float,
    ) -> None:
        seconds = time.monotonic() - began
        steps = () if result is None else _rows(result)
        log = () if result is None else result.log
        self.scenarios.append(ScenarioOutcome(ref.key, ref.title, origin, outcome, reason, seconds, steps, log))
        self.on_line(f"{outcome.replace('_', ' ')}: {ref.title} ({seconds:.1f} s){' ' + reason if reason else ''}")

    def _coverage(self, planned: Plan) -> Coverage:
        return coverage_of(planned.pages, planned.forms, planned.skipped, (*self.reference, *self.traces))


def _rows(result: ReplayResult) -> tuple[StepRow, ...]:
    actions = {step.id: step.action.name for step in result.trace.steps}
    return tuple(
        StepRow(step.intent, actions[step.step_id], step.status, round(step.seconds * 1000)) for step in result.steps
    )


def _finding(ref: ScenarioRef, evidence: Evidence, verdict: Verdict) -> Finding:
    """With pictures of a run that took them before each step, where there is one."""
    runs = (*evidence.reruns, evidence.replay)
    steps = [step for run in runs for step in run.steps if step.step_id == verdict.step_id and step.after]
    shown = next((step for step in steps if step.before), steps[0] if steps else None)
    step = next((step for step in evidence.trace.steps if step.id == verdict.step_id), evidence.trace.steps[0])
    return Finding(
        key=ref.key,
        title=ref.title,
        step=step.intent,
        expected=verdict.problem.expected if verdict.problem else "",
        seen=verdict.problem.seen if verdict.problem else "",
        verdict=verdict,
        log=evidence.replay.log,
        before=shown.before if shown else b"",
        after=shown.after if shown else b"",
    )
