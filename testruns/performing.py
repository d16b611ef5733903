"""Performs a trace's steps in a browser session: finds the element, acts, waits, compares.

Shared by the Generator (admission) and the Replayer, so that what was admitted is replayed by the same code.
Uses no model, edits no expectation, never sleeps.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from testruns.browser import Session
from testruns.likeness import ALIKE, likeness, nearest, text_likeness
from testruns.page import PageLook, Problem, StepFailed, Window
from testruns.replay import Check, Heal, ReplayResult, StepOutcome
from testruns.trace import BASE_URL, ElementTarget, Expectation, Locator, Step, Trace

Pictures = Literal["failures", "all"]
"""`all`: also as each step found the page, so that a failure has a picture before and after."""

STRONG_ENGINES = ("test_id", "role", "label")
"""Who matches by these is the element, whatever else changed."""


@dataclass(frozen=True)
class Match:
    locator: Locator
    heal: Heal | None = None


def perform(
    session: Session, trace: Trace, pictures: Pictures = "failures", to_first_failure: bool = False, upto: str = ""
) -> ReplayResult:
    """All steps in order, or those up to the step `upto`. After a step that could not be done the rest is not run;
    after one that was done but showed something else the journey goes on, as a visitor's would, unless
    `to_first_failure`."""
    began = time.monotonic()
    outcomes: list[StepOutcome] = []
    log: list[str] = []
    stopped = False
    before = b""
    for step in trace.steps:
        if stopped:
            outcomes.append(StepOutcome(step.id, step.intent, "not_run"))
            continue
        patient = not any(outcome.status == "failed" for outcome in outcomes)
        outcome, done = _perform_step(session, step, log, patient)
        failed = outcome.status == "failed"
        shown = failed or outcome.heal is not None
        after = session.picture() if shown or pictures == "all" else b""
        outcomes.append(replace(outcome, before=before if shown else b"", after=after if shown else b""))
        before = after
        stopped = not done or (failed and to_first_failure) or step.id == upto
    return ReplayResult(trace, tuple(outcomes), tuple(log), time.monotonic() - began)


def _perform_step(session: Session, step: Step, log: list[str], patient: bool) -> tuple[StepOutcome, bool]:
    """The step's outcome, and whether its action was done."""
    began = time.monotonic()
    match: Match | None = None
    log.append(f"{step.id}  {step.intent}")
    try:
        if step.target:
            match = find(session, step.target)
            log.append(f"    found by {match.locator.engine}: {match.locator.value}")
        session.act(step.action, match.locator if match else None)
        checks, look = check(session, step.expect, patient)
    except StepFailed as failure:
        window = session.take_window()
        problems = (failure.problem, *_window_problems(step, window))
        log.extend(f"    ✗ {problem.message}" for problem in problems)
        seconds = time.monotonic() - began
        locator = match.locator if match else None
        outcome = StepOutcome(step.id, step.intent, "failed", problems, matched=locator, window=window, seconds=seconds)
        return outcome, False
    window = session.take_window()
    checks = tuple(_with_status(one, window) for one in checks)
    problems = (*_window_problems(step, window), *_check_problems(checks))
    log.append(f"    {session.target.relative(look.url)}  {window.status or ''}".rstrip())
    log.extend(f"    ✗ {problem.message}" for problem in problems)
    heal = match.heal if match else None
    if heal:
        log.append(f"    healed: {heal}")
    return (
        StepOutcome(
            step.id,
            step.intent,
            "failed" if problems else "healed" if heal else "passed",
            problems,
            checks,
            match.locator if match else None,
            heal,
            window,
            session.target.relative(look.url),
            time.monotonic() - began,
        ),
        True,
    )


# ── finding ─────────────────────────────────────────────────────────────────────────────────


def find(session: Session, target: ElementTarget) -> Match:
    """The best locator that matches exactly one visible element which is still the recorded one."""
    usable = [locator for locator in target.locators if locator.unique] or list(target.locators)
    several = 0
    if session.wait_for_any(usable):
        for locator in usable:
            count = session.count(locator)
            if count > 1:
                several = max(several, count)
            if count == 1 and (match := _accepted(session, target, locator, first=locator == usable[0])):
                return match
    raise StepFailed(_not_found(session.look(), target, several))


def _accepted(session: Session, target: ElementTarget, locator: Locator, first: bool) -> Match | None:
    if first and locator.engine in STRONG_ENGINES:
        return Match(locator)
    element = session.describe(locator)
    alike = likeness(target.fingerprint, element.fingerprint)
    if locator.engine not in STRONG_ENGINES and alike < ALIKE:
        return None
    if first or element.fingerprint.name == target.fingerprint.name:
        return Match(locator)
    return Match(locator, Heal(target.fingerprint, element.fingerprint, locator, element.locators))


def _not_found(look: PageLook, target: ElementTarget, several: int) -> Problem:
    wanted = f"{target.fingerprint.role or target.fingerprint.tag} “{target.fingerprint.name}”"
    if several:
        return Problem(
            "target_ambiguous",
            f"{wanted} matches {several} elements.",
            expected=wanted,
            seen=f"{several} elements",
        )
    fields = [one for form in look.forms for one in form.fields]
    like = nearest(target.fingerprint, [*look.buttons, *look.links, *fields])
    seen = f"{like.role} “{like.name}”" if like else ""
    after = f" The nearest is {seen}." if like else ""
    return Problem("target_missing", f"{wanted} is not on {look.path}.{after}", expected=wanted, seen=seen)


# ── comparing ───────────────────────────────────────────────────────────────────────────────


def check(
    session: Session, expectations: Sequence[Expectation], patient: bool = True
) -> tuple[tuple[Check, ...], PageLook]:
    """Each expectation against the page; what does not hold yet is looked at again whenever the page changes."""
    deadline = time.monotonic() + (session.limits.expectation if patient else 0.0)
    while True:
        look = session.look()
        checks = tuple(_check_one(session, look, expectation) for expectation in expectations)
        left = deadline - time.monotonic()
        pending = [one for one in checks if not one.held and one.expectation.kind != "status"]
        if not pending or left <= 0 or not session.wait_for_change(left):
            return checks, look


def _check_one(session: Session, look: PageLook, wanted: Expectation) -> Check:
    locator = wanted.locator
    match wanted.kind:
        case "url":
            seen = session.target.relative(look.url)
            return Check(wanted, _same(wanted, seen), seen)
        case "title":
            return Check(wanted, _same(wanted, look.title), look.title)
        case "heading":
            return _check_heading(wanted, look)
        case "text":
            return _check_text(wanted, look, session.target.relative(look.text))
        case "visible" if locator:
            return _check_visible(session, look, wanted, locator)
        case "count" if locator:
            seen = str(session.count(locator))
            return Check(wanted, seen == wanted.value, seen)
        case "value" if locator:
            seen = session.value_of(locator) if session.count(locator) == 1 else "(no such field)"
            return Check(wanted, _same(wanted, seen), seen)
        case "aria":
            tree = session.aria()
            return Check(wanted, wanted.value in tree, "" if wanted.value not in tree else wanted.value)
        case _:
            # status: known only when the step's window is closed.
            return Check(wanted, wanted.kind == "status", "")


def _with_status(one: Check, window: Window) -> Check:
    if one.expectation.kind != "status":
        return one
    seen = str(window.status) if window.status else "no document"
    return Check(one.expectation, seen == one.expectation.value, seen)


def _masked(text: str, mask: str | None) -> str:
    text = " ".join(text.split())
    return re.sub(mask, "⋯", text) if mask else text


def _same(wanted: Expectation, seen: str) -> bool:
    return _masked(wanted.value, wanted.mask) == _masked(seen, wanted.mask)


def _check_heading(wanted: Expectation, look: PageLook) -> Check:
    for heading in look.headings:
        if _same(wanted, heading):
            return Check(wanted, True, heading)
    ranked = sorted(look.headings, key=lambda heading: text_likeness(heading, wanted.value), reverse=True)
    return Check(wanted, False, ranked[0] if ranked else "")


def _check_text(wanted: Expectation, look: PageLook, text: str) -> Check:
    """Somewhere in the page's text, whatever its case and wherever its lines break (both are style)."""
    value = _masked(wanted.value, wanted.mask)
    if value.casefold() in _masked(text, wanted.mask).casefold():
        return Check(wanted, True, value)
    return Check(wanted, False, in_its_place(wanted.value, text) or _nearest_line(wanted.value, look))


def _nearest_line(expected: str, look: PageLook) -> str:
    """What stands for a text whose label is another now: “Basket (2)” for “Cart (2)”."""
    lines = [line.text for line in look.lines] + [one.name for one in (*look.links, *look.buttons)]
    ranked = sorted(lines, key=lambda line: text_likeness(expected, line), reverse=True)
    return ranked[0] if ranked and text_likeness(expected, ranked[0]) >= 0.5 else ""


def in_its_place(expected: str, text: str) -> str:
    """What the page says where `expected` was: the text after the same label; empty when that is gone too."""
    label = re.match(r"\D*[^\W\d]", expected)
    if not label or len(label[0]) < 3:
        return ""
    if label[0] == expected:
        return ""
    rest = len(expected) - label.end() + 8
    found = re.search(rf"\b{re.escape(label[0])}(?!\w).{{0,{rest}}}", text, re.IGNORECASE)
    return " ".join(found[0].split(" ")[: len(expected.split(" "))]) if found else ""


def _check_visible(session: Session, look: PageLook, wanted: Expectation, locator: Locator) -> Check:
    if session.count(locator):
        return Check(wanted, True, wanted.value)
    ranked = sorted(
        (f"{one.role} “{one.name}”" for one in (*look.buttons, *look.links)),
        key=lambda name: text_likeness(name, wanted.value),
        reverse=True,
    )
    alike = ranked and text_likeness(ranked[0], wanted.value) >= 0.6
    return Check(wanted, False, ranked[0] if alike else "")


# ── problems ────────────────────────────────────────────────────────────────────────────────


def _window_problems(step: Step, window: Window) -> tuple[Problem, ...]:
    """Server errors and script errors that the recording of this step did not have."""
    known = {(request.method, _path(request.url)) for request in step.observed.requests if (request.status or 0) >= 500}
    errors = [r for r in window.server_errors if (r.method, _path(r.url)) not in known]
    problems = [
        Problem(
            "http_5xx",
            f"{r.method} {r.url} answered {r.status}.",
            "no server error",
            f"{r.status} {_path(r.url)}",
        )
        for r in errors
    ]
    for message in window.page_errors:
        if message not in step.observed.page_errors:
            problems.append(Problem("page_error", f"Script error on the page: {message}", "no script error", message))
    return tuple(problems)


def _path(url: str) -> str:
    return url.removeprefix(BASE_URL).split("?")[0]


def _check_problems(checks: Sequence[Check]) -> tuple[Problem, ...]:
    problems = []
    for one in checks:
        if one.held:
            continue
        wanted = one.expectation
        seen = f"saw “{one.seen}”" if one.seen else "it is not there"
        problems.append(
            Problem("expectation", f"{wanted.kind}: expected “{wanted.value}”, {seen}.", wanted.value, one.seen)
        )
    return tuple(problems)
