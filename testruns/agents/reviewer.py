"""Review: deterministic gates that say whose fault a failure is, each naming its evidence.

A gate is a pure function over the Evidence: a Verdict, or None to leave it to the next. Their order and the
confidence of each stand in one table, GATES. Ties go to AGENT_ERROR with low confidence, for a person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from testruns.intent import Hunk, Intent, derived, hunks, intended
from testruns.page import Problem
from testruns.replay import Heal, ReplayResult, StepOutcome
from testruns.trace import Trace, TraceError

VerdictName = Literal["APPLICATION_BUG", "AGENT_ERROR", "NOT_RUN"]
"""NOT_RUN: the environment's trouble, not the application's and not the trace's."""

RUNS_THAT_MUST_AGREE = 3
"""The replay and its re-runs."""
NEEDS_PERSON_BELOW = 0.6
DID_NOT_LOAD = ("navigation_timeout", "navigation_failed", "tab_crashed")
"""Not `never_settled`: a clock on the page is no fault. That one is for a person."""
TARGET_GONE = ("target_missing", "target_ambiguous")


@dataclass(frozen=True)
class Evidence:
    """All that the gates may look at."""

    replay: ReplayResult
    reruns: tuple[ReplayResult, ...] = ()
    base_replay: ReplayResult | None = None
    """The same trace on the live base; None when there is none: then its admission speaks for the base."""
    is_reference: bool = True
    """The trace was admitted on the base branch; False: the scenario is new with this commit."""
    diff: str = ""
    """Unified, base to head."""
    environment_reachable: bool = True
    trace_error: TraceError | None = None
    seen_before: str = ""
    """The scenario of this run whose runs agreed on the very same problems: then this one was not run again."""

    @property
    def trace(self) -> Trace:
        return self.replay.trace

    @property
    def runs(self) -> tuple[ReplayResult, ...]:
        return (self.replay, *self.reruns)

    @property
    def base_is_fine(self) -> bool:
        if self.base_replay is not None:
            return self.base_replay.status != "failed"
        return self.is_reference and self.trace.admission.admitted

    @cached_property
    def hunks(self) -> tuple[Hunk, ...]:
        return hunks(self.diff)

    @cached_property
    def failed_steps(self) -> tuple[StepOutcome, ...]:
        return tuple(step for step in self.replay.steps if step.status == "failed")

    @cached_property
    def sorted_problems(self) -> tuple[tuple[tuple[StepOutcome, Problem], ...], tuple[tuple[Problem, Intent], ...]]:
        """(not intended by the diff, intended by it), both in the order in which they were met."""
        open_ones: list[tuple[StepOutcome, Problem]] = []
        wanted: list[tuple[Problem, Intent]] = []
        for step in self.failed_steps:
            for problem in step.problems:
                by = intended(problem.expected, problem.seen, self.hunks) if _may_be_intended(problem) else None
                if by:
                    wanted.append((problem, by))
                else:
                    open_ones.append((step, problem))
        known = [(problem.expected, problem.seen) for problem, _ in wanted]
        left = [
            (step, problem)
            for step, problem in open_ones
            if not (problem.kind == "expectation" and derived(problem.expected, problem.seen, known))
        ]
        return tuple(left), tuple(wanted)

    @property
    def unintended(self) -> tuple[tuple[StepOutcome, Problem], ...]:
        return self.sorted_problems[0]


@dataclass(frozen=True)
class Verdict:
    verdict: VerdictName
    cause: str
    confidence: float
    evidence: tuple[str, ...]
    gate: str = ""
    problem: Problem | None = None
    """The one that decided; the gravest of those that the diff does not intend."""
    step_id: str = ""
    heal: Heal | None = None
    """Proposed for a person to accept."""

    @property
    def needs_person(self) -> bool:
        return self.confidence < NEEDS_PERSON_BELOW


def review(evidence: Evidence) -> Verdict | None:
    """None: there is nothing to judge, the replay passed."""
    if evidence.environment_reachable and not evidence.trace_error and evidence.replay.status == "passed":
        return None
    for gate in GATES:
        verdict = gate.judge(evidence)
        if verdict:
            return _told(replace(verdict, gate=gate.name), evidence)
    raise AssertionError("the last gate always decides")


def _told(verdict: Verdict, evidence: Evidence) -> Verdict:
    """With the step and problem that it is about, and how often it was seen."""
    if verdict.verdict == "APPLICATION_BUG":
        runs = f"All {len(evidence.runs)} runs agree." if evidence.reruns else ""
        again = f"The runs of “{evidence.seen_before}” agree on the same." if evidence.seen_before else runs
        verdict = replace(verdict, evidence=(*verdict.evidence, *([again] if again else [])))
    if verdict.problem:
        return verdict
    step = evidence.replay.failed_step
    return replace(verdict, problem=evidence.replay.problem, step_id=step.step_id if step else "")


# ── gates ───────────────────────────────────────────────────────────────────────────────────


def environment_unreachable(evidence: Evidence) -> Verdict | None:
    if evidence.environment_reachable:
        return None
    problem = evidence.replay.problem
    said = problem.message if problem else "Its address does not answer."
    return Verdict("NOT_RUN", "environment_unreachable", 1.0, (f"The environment does not answer. {said}",))


def trace_invalid(evidence: Evidence) -> Verdict | None:
    if evidence.trace_error is None:
        return None
    said = (evidence.trace_error.message, evidence.trace_error.hint)
    return Verdict("AGENT_ERROR", "trace_invalid", 1.0, tuple(filter(None, said)))


def runs_disagree(evidence: Evidence) -> Verdict | None:
    signatures = [run.signature for run in evidence.runs]
    if len(set(signatures)) == 1:
        return None
    passed = sum(signature is None for signature in signatures)
    told = tuple(
        f"Run {number}: {run.problem.message if run.problem else 'passed'}"
        for number, run in enumerate(evidence.runs, 1)
    )
    return Verdict("AGENT_ERROR", "flaky", 0.5, (f"{passed} of {len(signatures)} runs passed.", *told))


def base_fails_too(evidence: Evidence) -> Verdict | None:
    base = evidence.base_replay
    if base is None or base.signature is None or base.signature != evidence.replay.signature:
        return None
    assert base.problem
    return Verdict(
        "AGENT_ERROR",
        "stale",
        0.9,
        ("The base branch fails at the same step in the same way.", f"On the base: {base.problem.message}"),
    )


def diff_intends_it(evidence: Evidence) -> Verdict | None:
    left, wanted = evidence.sorted_problems
    heals = [
        (heal, by)
        for heal in evidence.replay.heals
        if (by := intended(heal.recorded.name, heal.found.name, evidence.hunks))
    ]
    if left or not (wanted or heals):
        return None
    said = [f"{problem.message} The diff intends it: {by}." for problem, by in wanted[:5]]
    said += [f"{heal}. The diff intends it: {by}." for heal, by in heals[:5]]
    heal = heals[0][0] if heals else None
    return Verdict("AGENT_ERROR", "intended_change", 0.85, tuple(dict.fromkeys(said)), heal=heal)


def server_error(evidence: Evidence) -> Verdict | None:
    return _new_failure(evidence, "http_5xx", "server_error")


def script_error(evidence: Evidence) -> Verdict | None:
    return _new_failure(evidence, "page_error", "script_error")


def _new_failure(evidence: Evidence, kind: str, cause: str) -> Verdict | None:
    """An error in the failing step's window that the recording did not have speaks for itself, base or not."""
    for step, problem in evidence.unintended:
        if problem.kind == kind:
            said = [problem.message, f"At step {step.step_id}: {step.intent}."]
            said.append(_base_says(evidence))
            return _bug(evidence, cause, said, step, problem, certain=True)
    return None


def does_not_load(evidence: Evidence) -> Verdict | None:
    for step, problem in evidence.unintended:
        endless = problem.kind == "navigation_failed" and "REDIRECT" in problem.seen
        if problem.kind in DID_NOT_LOAD and (evidence.base_is_fine or endless):
            return _bug(evidence, "does_not_load", [problem.message, _base_says(evidence)], step, problem)
    return None


def element_missing(evidence: Evidence) -> Verdict | None:
    for step, problem in evidence.unintended:
        gone = problem.kind in TARGET_GONE or (problem.kind == "expectation" and _is_visible_check(step, problem))
        if gone and evidence.base_is_fine:
            said = [problem.message, _base_says(evidence), "The diff does not say that it was renamed."]
            return _bug(evidence, "missing_element", said, step, problem)
    return None


def action_without_effect(evidence: Evidence) -> Verdict | None:
    for step, problem in evidence.unintended:
        if problem.kind == "action_failed" and evidence.base_is_fine:
            return _bug(evidence, "dead_element", [problem.message, _base_says(evidence)], step, problem)
    return None


def wrong_result(evidence: Evidence) -> Verdict | None:
    for step, problem in evidence.unintended:
        if problem.kind == "expectation" and evidence.base_is_fine:
            said = [problem.message, _base_says(evidence), "The diff does not name the new value."]
            return _bug(evidence, "wrong_result", said, step, problem)
    return None


def healed_only(evidence: Evidence) -> Verdict | None:
    if evidence.replay.status != "healed":
        return None
    heals = evidence.replay.heals
    said = (
        *dict.fromkeys(f"{heal}." for heal in heals),
        "Everything else is as it was; a person accepts the new locator.",
    )
    step = next(step for step in evidence.replay.steps if step.heal)
    problem = Problem("target_missing", said[0], str(heals[0].recorded.name), str(heals[0].found.name))
    return Verdict("AGENT_ERROR", "renamed", 0.55, said, problem=problem, step_id=step.step_id, heal=heals[0])


def tie(evidence: Evidence) -> Verdict:
    problem = evidence.replay.problem
    said = problem.message if problem else "The replay failed."
    return Verdict(
        "AGENT_ERROR", "undecided", 0.3, (said, _base_says(evidence), "No rule decides this: a person looks at it.")
    )


@dataclass(frozen=True)
class Gate:
    name: str
    judge: Callable[[Evidence], Verdict | None]


GATES: tuple[Gate, ...] = (
    Gate("environment", environment_unreachable),
    Gate("trace", trace_invalid),
    Gate("agreement", runs_disagree),
    Gate("base", base_fails_too),
    Gate("intent", diff_intends_it),
    Gate("server error", server_error),
    Gate("script error", script_error),
    Gate("loading", does_not_load),
    Gate("element", element_missing),
    Gate("effect", action_without_effect),
    Gate("result", wrong_result),
    Gate("healed", healed_only),
    Gate("tie", tie),
)

CONFIDENCE = {"live base": 0.95, "admitted on base": 0.85, "no base": 0.75}
"""Of APPLICATION_BUG, by what speaks for the base. An error that speaks for itself gets 0.05 more."""


def _bug(
    evidence: Evidence, cause: str, said: list[str], step: StepOutcome, problem: Problem, certain: bool = False
) -> Verdict:
    confidence = CONFIDENCE[_base_known_by(evidence)] + (0.05 if certain else 0.0)
    if len(evidence.runs) < RUNS_THAT_MUST_AGREE and not evidence.seen_before:
        confidence -= 0.2
    return Verdict(
        "APPLICATION_BUG", cause, round(min(confidence, 0.99), 2), tuple(said), problem=problem, step_id=step.step_id
    )


def _base_known_by(evidence: Evidence) -> str:
    if evidence.base_replay is not None:
        return "live base"
    return "admitted on base" if evidence.base_is_fine else "no base"


def _base_says(evidence: Evidence) -> str:
    base = evidence.base_replay
    if base is not None:
        said = f"fails differently: {base.problem.message}" if base.problem else "passes the same trace now"
        return f"The base branch {said}."
    if evidence.base_is_fine:
        admission = evidence.trace.admission
        sha = evidence.trace.source.sha[:8]
        at = f" at {sha}" if sha else ""
        return f"The base branch passed it{at}, {admission.passed} of {admission.replays} replays."
    return "The base branch has no such scenario."


def _may_be_intended(problem: Problem) -> bool:
    """A diff may mean another text, name or address; it never means an error."""
    return problem.kind in ("expectation", *TARGET_GONE)


def _is_visible_check(step: StepOutcome, problem: Problem) -> bool:
    return any(
        not check.held and check.expectation.kind == "visible" and check.expectation.value == problem.expected
        for check in step.checks
    )
