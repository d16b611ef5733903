"""Generation: performs a scenario in Chromium, records its EXECUTION_TRACE, and admits it or says why not.

Admitted is what replays twice on restored data with the same result. What was seen once and not again is dropped
from the expectations, and the drop is recorded.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from testruns.browser import Browser, Fence, Session
from testruns.expectations import expectations_from
from testruns.form_values import Entry, entry_for
from testruns.page import Element, FieldSeen, FormSeen, Limits, PageLook, Problem, StepFailed, Target, Window
from testruns.performing import perform
from testruns.replay import ReplayResult
from testruns.scenario import FormHint, Move, Scenario
from testruns.seeded import SeededData
from testruns.trace import (
    BASE_URL,
    Action,
    Admission,
    Determinism,
    Dropped,
    ElementTarget,
    Fingerprint,
    Locator,
    Observed,
    ScenarioRef,
    Source,
    Step,
    Trace,
    Wait,
)

ADMISSION_REPLAYS = 2


@dataclass(frozen=True)
class Generated:
    scenario: Scenario
    trace: Trace | None
    """Admitted; None when it was not, see `reason`."""
    candidate: Trace | None
    """What was recorded, admitted or not; None when not even the first step could be done."""
    replays: tuple[ReplayResult, ...]
    problem: Problem | None = None
    """What went wrong in the application while it was recorded."""
    reason: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """PNG by step id, as recorded."""


@dataclass
class _Recording:
    scenario: Scenario
    steps: list[Step] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    problem: Problem | None = None


def generate(
    browser: Browser,
    scenario: Scenario,
    target: Target,
    data: SeededData,
    *,
    determinism: Determinism | None = None,
    source: Source | None = None,
    limits: Limits | None = None,
    fence: Fence = lambda: None,
) -> Generated:
    told = determinism or Determinism()
    data.restore()
    try:
        recording = browser.run(target, told, lambda session: _record(session, scenario), limits=limits, fence=fence)
    except BaseException:
        data.unknown()
        raise
    data.used(recording.windows)
    if not recording.steps:
        reason = recording.problem.message if recording.problem else "There was nothing to do."
        return Generated(scenario, None, None, (), recording.problem, reason)
    candidate = Trace(
        scenario=ScenarioRef(key=scenario.key, title=scenario.title[:300], kind=scenario.kind),
        source=source or Source(),
        determinism=told,
        steps=tuple(recording.steps),
    ).sealed()
    replays: list[ReplayResult] = []
    for _ in range(ADMISSION_REPLAYS):
        data.restore()
        result = browser.run(target, told, lambda session: perform(session, candidate), limits=limits, fence=fence)
        data.used(step.window for step in result.steps)
        replays.append(result)
    return _admit(recording, candidate, tuple(replays))


def _admit(recording: _Recording, candidate: Trace, replays: tuple[ReplayResult, ...]) -> Generated:
    problem = recording.problem or next((p for result in replays if (p := _hard_problem(result))), None)
    if problem:
        return Generated(recording.scenario, None, candidate, replays, problem, problem.message, recording.pictures)
    dropped = _unstable(replays)
    gone = {(drop.step, drop.kind, drop.value) for drop in dropped}
    steps = tuple(
        step.model_copy(update={"expect": tuple(e for e in step.expect if (step.id, e.kind, e.value) not in gone)})
        for step in candidate.steps
    )
    if not any(step.expect for step in steps):
        reason = "Nothing that was seen was seen again, so there is nothing to compare."
        return Generated(recording.scenario, None, candidate, replays, None, reason, recording.pictures)
    admission = Admission(replays=len(replays), passed=len(replays), dropped=dropped)
    trace = candidate.revised(steps=steps, admission=admission)
    return Generated(recording.scenario, trace, candidate, replays, pictures=recording.pictures)


def _hard_problem(result: ReplayResult) -> Problem | None:
    """Anything but an expectation that did not hold again."""
    problems = (problem for step in result.steps for problem in step.problems)
    return next((problem for problem in problems if problem.kind != "expectation"), None)


def _unstable(replays: tuple[ReplayResult, ...]) -> tuple[Dropped, ...]:
    dropped: dict[tuple[str, str, str], Dropped] = {}
    for number, result in enumerate(replays, 1):
        for step in result.steps:
            for check in step.checks:
                wanted = check.expectation
                if not check.held:
                    key = (step.step_id, wanted.kind, wanted.value)
                    dropped.setdefault(
                        key,
                        Dropped(step=key[0], kind=wanted.kind, value=key[2], seen=check.seen[:500], replay=number),
                    )
    return tuple(dropped.values())


# ── recording ───────────────────────────────────────────────────────────────────────────────


def _record(session: Session, scenario: Scenario) -> _Recording:
    recording = _Recording(scenario)
    try:
        for move in scenario.moves:
            if not _make(session, recording, move):
                break
    except StepFailed as failure:
        recording.windows.append(session.take_window())
        recording.problem = recording.problem or failure.problem
    return recording


def _make(session: Session, recording: _Recording, move: Move) -> bool:
    """Turns the move into steps. False when the journey ends here."""
    if move.do == "open":
        url = BASE_URL + "/" + move.path.lstrip("/")
        return _step(session, recording, move.intent, Action(name="goto", args={"url": url}), None)
    if move.do == "follow":
        element = _to_follow(session.look(), move)
        if element is None:
            return _absent(recording, move, f"Nothing to follow for “{move.intent}”.")
        intent = f"{move.intent}: “{element.name}”"
        return _step(session, recording, intent, Action(name="click"), element)
    form = _form(session.look(), move.form or FormHint())
    if form is None:
        return _absent(recording, move, f"No form for “{move.intent}”.")
    return _complete(session, recording, move, form)


def _absent(recording: _Recording, move: Move, message: str) -> bool:
    if not move.optional:
        recording.problem = Problem("target_missing", message, expected=move.intent)
    return move.optional


def _to_follow(look: PageLook, move: Move) -> Element | None:
    for element in (*look.buttons, *look.links):
        name_matches = re.search(move.pattern, element.name, re.IGNORECASE)
        avoided = move.unlike and re.search(move.unlike, element.name, re.IGNORECASE)
        if name_matches and not avoided and not element.disabled:
            return element
    hrefs = (element for element in look.links if not re.search(move.unlike or r"(?!)", element.name, re.IGNORECASE))
    return next((link for link in hrefs if re.search(move.pattern, urlsplit(link.href).path, re.IGNORECASE)), None)


def _form(look: PageLook, hint: FormHint) -> FormSeen | None:
    forms = [form for form in look.forms if not hint.method or form.method == hint.method]
    if hint.any_of:
        # A "remove" button or a search box is no place for an order's details.
        def words(form: FormSeen) -> str:
            return f"{form.action} {form.name} {' '.join(button.name for button in form.submits)}"

        fitting = [form for form in forms if re.search(hint.any_of, words(form), re.IGNORECASE)]
        fitting = [form for form in fitting if not re.search(r"add|remove|delete|update|log|sign", words(form), re.I)]
        return max(fitting, key=lambda form: len(form.fields), default=None)
    fitting = [form for form in forms if hint.fields <= {one.field for one in form.fields}]
    exact = [form for form in fitting if form.action == hint.action]
    return next(iter(exact or fitting), None)


def _complete(session: Session, recording: _Recording, move: Move, form: FormSeen) -> bool:
    submit = next((button for button in form.submits if not button.disabled), None)
    if move.leave_empty:
        element = submit or Element(
            role="form", name=form.name, locators=form.locators, fingerprint=_form_fingerprint(form)
        )
        action = Action(name="submit", args={"validate": "no"})
        return _step(session, recording, f"{move.intent}: “{form.name}”", action, element)
    last: FieldSeen | None = None
    for one in form.fields:
        entry = entry_for(one, recording.scenario.seed, move.values)
        if entry and entry.value != one.value:
            last = one
            if not _step(session, recording, _filling(one, entry), _entering(entry), one, look_after=False):
                return False
    if submit:
        return _step(session, recording, f"{move.intent}: “{submit.name}”", Action(name="click"), submit)
    if last is None:
        return _absent(recording, move, f"The form for “{move.intent}” has nothing to press.")
    return _step(session, recording, move.intent, Action(name="press", args={"key": "Enter"}), last)


def _form_fingerprint(form: FormSeen) -> Fingerprint:
    return Fingerprint(tag="form", name=form.name, attributes={"action": form.action, "method": form.method})


def _filling(one: FieldSeen, entry: Entry) -> str:
    name = one.name or one.field
    if entry.action == "check":
        return f"Tick “{name}”"
    shown = "…" if one.type == "password" else entry.value
    return f"Choose “{shown}” for “{name}”" if entry.action == "select" else f"Enter “{shown}” as “{name}”"


def _entering(entry: Entry) -> Action:
    return Action(name=entry.action, args={"state" if entry.action == "check" else "value": entry.value})


def _step(
    session: Session,
    recording: _Recording,
    intent: str,
    action: Action,
    element: Element | None,
    look_after: bool = True,
) -> bool:
    """Does it, and records what was done and seen. False when the application failed: the journey ends."""
    number = f"s{len(recording.steps) + 1}"
    target = _target(session, element) if element else None
    step = Step(id=number, intent=intent[:300], action=action, target=target)
    best = next((one for one in target.locators if one.unique), target.locators[0]) if target else None
    before = time.monotonic()
    try:
        session.act(action, best)
        look = session.look() if look_after else None
    except StepFailed as failure:
        # Kept without expectations: its replay shows whether it fails again.
        recording.steps.append(step)
        recording.problem = failure.problem
        recording.windows.append(session.take_window())
        return False
    window = session.take_window()
    recording.windows.append(window)
    recording.problem = _application_failed(window)
    if recording.problem:
        recording.steps.append(step)
        return False
    observed = Observed(
        duration_ms=round((time.monotonic() - before) * 1000),
        url=session.target.relative(look.url) if look else "",
        requests=window.requests,
        console=window.console,
    )
    update: dict[str, object] = {"observed": observed}
    if look:
        png = session.picture()
        recording.pictures[number] = png
        update |= {
            "expect": expectations_from(look, window, recording.scenario.kind, session.target),
            "waits": (Wait(kind="load"), Wait(kind="url", value=observed.url), Wait(kind="quiet")),
            "artifacts": {"picture": "sha256:" + hashlib.sha256(png).hexdigest()},
        }
    recording.steps.append(step.model_copy(update=update))
    return True


def _application_failed(window: Window) -> Problem | None:
    for request in window.server_errors:
        return Problem(
            "http_5xx", f"{request.method} {request.url} answered {request.status}.", "no server error",
            f"{request.status}",
        )  # fmt: skip
    for message in window.page_errors:
        return Problem("page_error", f"Script error on the page: {message}", "no script error", message)
    return None


def _target(session: Session, element: Element) -> ElementTarget:
    """With its locators as Playwright counts them: names computed in the page are a good guess, no more."""
    checked: list[Locator] = []
    for locator in element.locators[:8]:
        if locator.engine in ("role", "label", "test_id"):
            count = session.count(locator)
            if count == 0:
                continue
            locator = locator.model_copy(update={"unique": count == 1})
        checked.append(locator)
    return ElementTarget(locators=tuple(checked or element.locators[:8]), fingerprint=element.fingerprint)
