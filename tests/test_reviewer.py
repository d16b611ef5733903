"""The gates: each fact that decides, in the order in which they decide. Pure: no browser."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testruns.agents.reviewer import GATES, Evidence, review
from testruns.intent import derived, hunks, intended
from testruns.page import Problem, ProblemKind
from testruns.replay import Check, Heal, ReplayResult, StepOutcome
from testruns.trace import (
    Action,
    Admission,
    Expectation,
    Fingerprint,
    Locator,
    ScenarioRef,
    Source,
    Step,
    Trace,
    TraceError,
)

TRACE = Trace(
    scenario=ScenarioRef(key="cart", title="Open the cart", kind="cart"),
    source=Source(sha="0123456789abcdef"),
    admission=Admission(replays=2, passed=2),
    steps=(
        Step(id="s1", intent="Open the shop", action=Action(name="goto", args={"url": "{base_url}/"})),
        Step(id="s2", intent="Open the cart", action=Action(name="click")),
    ),
).sealed()
PASSED = ReplayResult(TRACE, tuple(StepOutcome(step.id, step.intent, "passed") for step in TRACE.steps), ())
TOTAL = Problem("expectation", "text: expected “Total $24.00”, saw “Total $12.00”.", "Total $24.00", "Total $12.00")
GONE = Problem("target_missing", "button “Add to cart” is not on /.", "button “Add to cart”", "")
CRASH = Problem("http_5xx", "GET {base_url}/cart answered 500.", "no server error", "500 /cart")
SCRIPT = Problem("page_error", "Script error on the page: TypeError", "no script error", "TypeError")


def failed(*problems: Problem, checks: tuple[Check, ...] = ()) -> ReplayResult:
    step = StepOutcome("s2", "Open the cart", "failed", problems, checks)
    return replace(PASSED, steps=(PASSED.steps[0], step))


def evidence(*problems: Problem, diff: str = "", base: ReplayResult | None = None) -> Evidence:
    """Three runs that agree, on a trace that the base branch admitted."""
    run = failed(*problems)
    return Evidence(run, (run, run), base, True, diff)


def a_diff(removed: str, added: str, file: str = "shop/views.py") -> str:
    return f"diff --git a/{file} b/{file}\n--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-{removed}\n+{added}\n"


def test_a_replay_that_passed_needs_no_verdict() -> None:
    assert review(Evidence(PASSED)) is None


@pytest.mark.parametrize(
    ("given", "verdict", "cause", "gate"),
    [
        (replace(evidence(CRASH), environment_reachable=False), "NOT_RUN", "environment_unreachable", "environment"),
        (Evidence(PASSED, trace_error=TraceError("integrity", "changed")), "AGENT_ERROR", "trace_invalid", "trace"),
        (Evidence(failed(TOTAL), (PASSED, failed(TOTAL))), "AGENT_ERROR", "flaky", "agreement"),
        (Evidence(failed(TOTAL), (failed(GONE), failed(TOTAL))), "AGENT_ERROR", "flaky", "agreement"),
        (evidence(TOTAL, base=failed(TOTAL)), "AGENT_ERROR", "stale", "base"),
        (evidence(CRASH, base=failed(CRASH)), "AGENT_ERROR", "stale", "base"),
        (evidence(TOTAL, diff=a_diff("T = 24.00", "T = 12.00 # Total")), "AGENT_ERROR", "intended_change", "intent"),
        (evidence(CRASH), "APPLICATION_BUG", "server_error", "server error"),
        (evidence(CRASH, TOTAL), "APPLICATION_BUG", "server_error", "server error"),
        (evidence(SCRIPT), "APPLICATION_BUG", "script_error", "script error"),
        (evidence(Problem("navigation_timeout", "slow")), "APPLICATION_BUG", "does_not_load", "loading"),
        (evidence(GONE), "APPLICATION_BUG", "missing_element", "element"),
        (evidence(Problem("target_ambiguous", "two")), "APPLICATION_BUG", "missing_element", "element"),
        (evidence(Problem("action_failed", "dead")), "APPLICATION_BUG", "dead_element", "effect"),
        (evidence(TOTAL), "APPLICATION_BUG", "wrong_result", "result"),
        (evidence(TOTAL, base=PASSED), "APPLICATION_BUG", "wrong_result", "result"),
        (evidence(TOTAL, base=failed(GONE)), "AGENT_ERROR", "undecided", "tie"),
        (replace(evidence(TOTAL), is_reference=False), "AGENT_ERROR", "undecided", "tie"),
        (evidence(Problem("never_settled", "ticking")), "AGENT_ERROR", "undecided", "tie"),
    ],
)  # fmt: skip
def test_each_gate_decides_what_is_its_own(given: Evidence, verdict: str, cause: str, gate: str) -> None:
    found = review(given)

    assert found is not None
    assert (found.verdict, found.cause, found.gate) == (verdict, cause, gate)
    assert all(found.evidence)


def test_every_gate_has_decided_in_this_file_or_is_of_healing() -> None:
    tried = {
        mark.args[1][i][3]
        for mark in test_each_gate_decides_what_is_its_own.pytestmark
        for i in range(len(mark.args[1]))
    }

    assert {gate.name for gate in GATES} - tried == {"healed"}


def test_a_missing_visible_element_is_missing_not_a_wrong_result() -> None:
    wanted = Expectation(kind="visible", value="button “Pay”")
    problem = Problem("expectation", "visible: expected “button “Pay””, it is not there.", wanted.value, "")
    run = failed(problem, checks=(Check(wanted, False, ""),))

    found = review(Evidence(run, (run, run)))

    assert found and found.cause == "missing_element"


@pytest.mark.parametrize(
    ("base", "reference", "confidence"), [(PASSED, True, 0.95), (None, True, 0.85)], ids=["live base", "admitted"]
)
def test_confidence_follows_what_speaks_for_the_base(
    base: ReplayResult | None, reference: bool, confidence: float
) -> None:
    found = review(replace(evidence(TOTAL, base=base), is_reference=reference))

    assert found and found.confidence == confidence
    assert not found.needs_person


def test_a_new_scenario_is_a_bug_only_where_the_error_speaks_for_itself() -> None:
    crash = review(replace(evidence(CRASH), is_reference=False))
    endless = Problem("navigation_failed", "Could not open /.", seen="ERR_TOO_MANY_REDIRECTS")
    loop = review(replace(evidence(endless), is_reference=False))
    slow = review(replace(evidence(Problem("navigation_timeout", "slow")), is_reference=False))

    assert crash and crash.verdict == "APPLICATION_BUG" and crash.confidence == 0.8
    assert loop and loop.verdict == "APPLICATION_BUG"
    assert slow and slow.verdict == "AGENT_ERROR" and slow.needs_person


def test_ties_and_flakes_wait_for_a_person() -> None:
    tie = review(evidence(Problem("never_settled", "ticking")))
    flake = review(Evidence(failed(TOTAL), (PASSED, PASSED)))

    assert tie and tie.needs_person
    assert flake and flake.needs_person
    assert flake.evidence[0] == "2 of 3 runs passed."


def test_one_unintended_difference_is_a_bug_beside_any_number_of_intended_ones() -> None:
    words = Problem("expectation", "heading: …", "Your cart", "Your basket")
    diff = a_diff("<h1>Your cart</h1>", "<h1>Your basket</h1>")

    intended_only = review(evidence(words, diff=diff))
    both = review(evidence(words, TOTAL, diff=diff))

    assert intended_only and intended_only.cause == "intended_change"
    assert "shop/views.py" in intended_only.evidence[0]
    assert both and (both.verdict, both.problem) == ("APPLICATION_BUG", TOTAL)


def test_an_error_is_never_intended() -> None:
    diff = a_diff("no server error", "500 /cart")

    found = review(evidence(CRASH, diff=diff))

    assert found and found.verdict == "APPLICATION_BUG"


def test_a_total_that_follows_from_an_intended_price_is_intended() -> None:
    delivery = Problem("expectation", "…", "Delivery $5.00", "Delivery $7.00")
    total = Problem("expectation", "…", "Total $29.00", "Total $31.00")
    wrong = Problem("expectation", "…", "Total $29.00", "Total $19.00")
    diff = a_diff("DELIVERY_CENTS = 500", "DELIVERY_CENTS = 700")

    right = review(evidence(delivery, total, diff=diff))
    not_right = review(evidence(delivery, wrong, diff=diff))

    assert right and right.cause == "intended_change"
    assert not_right and (not_right.verdict, not_right.problem) == ("APPLICATION_BUG", wrong)


def _healed(now: str) -> ReplayResult:
    was, found = (Fingerprint(tag="button", role="button", name=name) for name in ("Add to cart", now))
    by = Locator(engine="id", value="add", score=75, unique=True)
    step = StepOutcome("s2", "Add it", "healed", heal=Heal(was, found, by, (by,)))
    return replace(PASSED, steps=(PASSED.steps[0], step))


def test_a_renamed_button_is_intended_where_the_diff_says_so_and_a_question_where_not() -> None:
    run = _healed("Add to basket")
    told = review(Evidence(run, (run, run), None, True, a_diff("<button>Add to cart", "<button>Add to basket")))
    untold = review(Evidence(run, (run, run)))

    assert told and (told.verdict, told.cause, told.gate) == ("AGENT_ERROR", "intended_change", "intent")
    assert told.heal and told.heal.proposed
    assert untold and (untold.cause, untold.gate, untold.needs_person) == ("renamed", "healed", True)


# ── intent ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expected", "seen", "removed", "added", "meant"),
    [
        ("Your cart", "Your basket", "<h1>Your cart</h1>", "<h1>Your basket</h1>", True),
        ("button “Add to cart”", "button “Add to basket”", "Add to cart: {{ p }}", "Add to basket: {{ p }}", True),
        ("Free over $50", "Free over $40", "FREE_OVER = 5000", "FREE_OVER = 4000", True),
        ("{base_url}/cart", "{base_url}/basket", 'path("cart/", cart)', 'path("basket/", cart)', True),
        ("Open daily from nine", "", "<p>Open daily from nine</p>", "<p>Open daily from ten</p>", True),
        ("button “Pay”", "", "<button>Pay</button>", "<!-- nothing -->", False),
        ("Total $24.00", "Total $12.00", "total += price * quantity", "total += price", False),
        ("Total $24.00", "Total $12.00", "24", "13", False),
        ("Quantity 2", "Quantity 1", "for i in range(2):", "for i in range(1):", False),
        ("Your cart", "Your cart", "cart", "basket", False),
        ("", "Error", "", "Error", False),
    ],
)  # fmt: skip
def test_a_diff_means_what_it_takes_away_and_puts_in_its_place(
    expected: str, seen: str, removed: str, added: str, meant: bool
) -> None:
    assert bool(intended(expected, seen, hunks(a_diff(removed, added)))) is meant


@pytest.mark.parametrize("file", ["tests/test_cart.py", "README.md", "docs/cart.txt", "web/cart.test.js"])
def test_what_tests_and_documents_say_is_not_what_the_application_means(file: str) -> None:
    assert intended("Your cart", "Your basket", hunks(a_diff("Your cart", "Your basket", file))) is None


def test_two_places_of_a_diff_are_not_one_intention() -> None:
    apart = a_diff("Your cart", "", "a.html") + a_diff("", "Your basket", "b.html")

    assert intended("Your cart", "Your basket", hunks(apart)) is None


@pytest.mark.parametrize("diff", ["", "\n\n", "+++ b/x", "-", "@@\n-a", "Binary files differ", "\0" * 50, "-a\n" * 9])
def test_no_diff_however_broken_breaks_the_reading(diff: str) -> None:
    assert intended("a b", "a c", hunks(diff)) is None


def test_a_figure_is_derived_only_by_the_very_amount() -> None:
    known = [("Delivery $5.00", "Delivery $7.00"), ("Tax $1.00", "Tax $1.50")]

    assert derived("Total $29.00", "Total $31.00", known)
    assert derived("Total $29.00", "Total $31.50", known)
    assert derived("Two mugs $29.00", "Two mugs $33.00", known)
    assert not derived("Total $29.00", "Total $29.75", known)
    assert not derived("Total $29.00", "Total $27.00", known)
    assert not derived("Total $29.00", "Sum $31.00", known)
    assert not derived("Total $29.00", "Total $31.00", [])


@pytest.mark.parametrize("kind", ["http_5xx", "page_error", "navigation_timeout", "action_failed", "tab_crashed"])
def test_only_words_places_and_names_can_be_meant(kind: ProblemKind) -> None:
    problem = Problem(kind, "…", "cart", "basket")

    found = review(evidence(problem, diff=a_diff("cart", "basket")))

    assert found and found.verdict == "APPLICATION_BUG"
