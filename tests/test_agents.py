"""The four agents on a real shop in real Chromium: what is recorded replays, and each fault gets its verdict."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from testruns import engine
from testruns.agents.generator import Generated, generate
from testruns.agents.planner import Plan, PlanLimits, plan
from testruns.agents.replayer import replay
from testruns.browser import Browser
from testruns.chromium import BrowserFound
from testruns.crawl import CrawlLimits
from testruns.page import Target
from testruns.seeded import SeededData
from testruns.trace import Source, Trace, TraceError
from tests.apps.corner_shop import Shop, serving

pytest_plugins = ["tests.fixtures_browser"]
pytestmark = pytest.mark.browser

ONLY_REFERENCE = engine.Budget(plan=PlanLimits(scenarios=0, crawl=CrawlLimits(pages=1)))
"""Replays what it is given and plans nothing new."""


@dataclass
class Recorded:
    """The faultless shop, its plan, and traces that are recorded when a test first asks for them."""

    browser: Browser
    shop: Shop
    url: str
    plan: Plan
    made: dict[str, Generated] = field(default_factory=dict)

    def generated(self, key: str) -> Generated:
        if key not in self.made:
            scenario = next(s for s in (*self.plan.scenarios, *self.plan.left_out) if s.key == key)
            data = SeededData(self.shop.reset)
            source = Source(sha="abc123")
            self.made[key] = generate(self.browser, scenario, Target(self.url), data, source=source)
        return self.made[key]

    def trace(self, key: str) -> Trace:
        trace = self.generated(key).trace
        assert trace, self.generated(key).reason
        return trace


@pytest.fixture(scope="module")
def recorded(browser: Browser) -> Iterator[Recorded]:
    shop = Shop()
    with serving(shop) as url:
        yield Recorded(browser, shop, url, plan(browser, Target(url)))


def verdict_on(
    recorded: Recorded, key: str, fault: str, *, diff: str = "", base: bool = False
) -> tuple[engine.ScenarioOutcome, engine.Finding | None]:
    """Replays the recorded journey on a shop with the fault."""
    shop = Shop(faults={fault})
    with serving(shop) as url:
        outcome = engine.run(
            engine.Environment(Target(url), shop.reset),
            base=engine.Environment(Target(recorded.url), recorded.shop.reset) if base else None,
            reference=[recorded.trace(key)],
            diff=diff,
            budget=ONLY_REFERENCE,
        )
    assert len(outcome.scenarios) == 1, outcome.not_run
    assert len(outcome.findings) <= 1
    return outcome.scenarios[0], outcome.findings[0] if outcome.findings else None


def a_diff(removed: str, added: str) -> str:
    return f"--- a/shop.py\n+++ b/shop.py\n@@ -1 +1 @@\n-{removed}\n+{added}\n"


# ── planning and generation ─────────────────────────────────────────────────────────────────


def test_the_crawl_finds_the_shops_journeys(recorded: Recorded) -> None:
    keys = {scenario.key for scenario in (*recorded.plan.scenarios, *recorded.plan.left_out)}

    assert keys >= {
        "buy:/cart/add",
        "cart:/cart/add",
        "sign_up",
        "search:/search",
        "form:post /checkout address",
        "empty:post /join email,password",
        "visit:/about",
        "visit:/products/{n}",
    }
    assert recorded.shop.orders == 0


def test_a_second_crawl_plans_the_same_keys(recorded: Recorded, browser: Browser) -> None:
    again = plan(browser, Target(recorded.url))

    assert [scenario.key for scenario in again.scenarios] == [s.key for s in recorded.plan.scenarios]


def test_the_cart_journey_is_admitted_with_its_totals(recorded: Recorded) -> None:
    trace = recorded.trace("cart:/cart/add")

    trace.verify()
    assert trace.admission.admitted
    assert (trace.source.sha, trace.scenario.kind) == ("abc123", "cart")
    assert {step.action.name for step in trace.steps} == {"goto", "fill", "click"}
    last = {(expectation.kind, expectation.value) for expectation in trace.steps[-1].expect}
    assert last >= {
        ("url", "{base_url}/cart"),
        ("status", "200"),
        ("heading", "Your cart"),
        ("text", "Blue mug 2 $24.00"),
        ("text", "Total $59.00"),
        ("count", "2"),
    }
    add = next(step for step in trace.steps if step.intent.endswith("“Add to cart”"))
    assert add.target and add.target.locators[0].value == 'button[name="Add to cart"]'
    assert len(add.target.locators) >= 2
    assert recorded.url not in trace.to_json()


def test_a_page_without_a_form_is_known_by_its_pictures(recorded: Recorded) -> None:
    made = recorded.generated("visit:/about")

    assert made.trace
    assert made.pictures["s1"].startswith(b"\x89PNG")
    assert made.trace.steps[0].artifacts["picture"].startswith("sha256:")


def test_what_changes_from_visit_to_visit_is_dropped_and_the_drop_recorded(browser: Browser) -> None:
    shop = Shop(faults={"flaky_text"})
    with serving(shop) as url:
        target = Target(url)
        about = next(s for s in plan(browser, target).scenarios if s.key == "visit:/about")
        made = generate(browser, about, target, SeededData(shop.reset))

    assert made.trace and made.trace.admission.admitted
    dropped = made.trace.admission.dropped
    assert [drop.kind for drop in dropped] == ["text"]
    assert dropped[0].value.startswith("Visit number")
    assert dropped[0].seen.startswith("Visit number") and dropped[0].seen != dropped[0].value
    assert not any("Visit number" in expectation.value for expectation in made.trace.steps[0].expect)
    assert any("Since 1987" in expectation.value for expectation in made.trace.steps[0].expect)


def test_a_journey_that_meets_an_error_is_not_admitted(browser: Browser) -> None:
    shop = Shop(faults={"cart_500"})
    with serving(shop) as url:
        target = Target(url)
        cart = next(s for s in plan(browser, target).scenarios if s.kind == "cart")
        made = generate(browser, cart, target, SeededData(shop.reset))

    assert made.trace is None
    assert made.candidate
    assert made.problem and made.problem.kind == "http_5xx"
    assert "/cart answered 500" in made.reason
    assert all(result.problem and result.problem.kind == "http_5xx" for result in made.replays)


# ── replay ──────────────────────────────────────────────────────────────────────────────────


def test_a_trace_replays_on_another_address_of_the_same_application(recorded: Recorded, browser: Browser) -> None:
    shop = Shop()
    with serving(shop) as url:
        result = replay(browser, recorded.trace("buy:/cart/add"), Target(url), SeededData(shop.reset))

    assert result.status == "passed", result.log
    assert shop.orders == 1
    assert all(step.matched for step in result.steps if "“Add to cart”" in step.intent)
    assert any("found by role: button" in line for line in result.log)


def test_data_is_restored_before_each_writing_journey_and_not_for_a_reading_one(
    recorded: Recorded, browser: Browser
) -> None:
    shop = Shop()
    data = SeededData(shop.reset)
    counts = []
    with serving(shop) as url:
        for key in ("visit:/about", "visit:/about", "sign_up", "sign_up"):
            assert replay(browser, recorded.trace(key), Target(url), data).status == "passed"
            counts.append(shop.resets)

    # At first nobody knows what was there; then only after something was written.
    assert counts == [1, 1, 1, 2]


def test_a_tampered_trace_is_not_replayed(recorded: Recorded, browser: Browser) -> None:
    trace = recorded.trace("visit:/about")
    tampered = trace.model_copy(update={"scenario": trace.scenario.model_copy(update={"title": "Another"})})

    with pytest.raises(TraceError, match="was changed"):
        replay(browser, tampered, Target(recorded.url), SeededData(recorded.shop.reset))


def test_a_failed_step_has_a_picture_before_and_after(recorded: Recorded, browser: Browser) -> None:
    shop = Shop(faults={"no_button"})
    with serving(shop) as url:
        trace = recorded.trace("cart:/cart/add")
        result = replay(browser, trace, Target(url), SeededData(shop.reset), pictures="all")

    step = result.failed_step
    assert step and step.before.startswith(b"\x89PNG") and step.after.startswith(b"\x89PNG")
    assert [other.status for other in result.steps] == ["passed", "passed", "failed", "not_run", "not_run", "not_run"]
    assert any("✗ button “Add to cart” is not on /products/1" in line for line in result.log)


# ── verdicts ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "fault", "cause", "expected", "seen"),
    [
        ("cart:/cart/add", "wrong_total", "wrong_result", "Total $29.00", "Total $17.00"),
        ("cart:/cart/add", "no_button", "missing_element", "button “Add to cart”", ""),
        ("cart:/cart/add", "cart_500", "server_error", "no server error", "500 /cart"),
        ("cart:/cart/add", "dearer_delivery", "wrong_result", "Delivery $5.00", "Delivery $7.00"),
        ("visit:/about", "page_error", "script_error", "no script error", "TypeError"),
        ("visit:/about", "redirect_loop", "does_not_load", "", "ERR_TOO_MANY_REDIRECTS"),
    ],
)
def test_a_fault_is_an_application_bug(
    recorded: Recorded, key: str, fault: str, cause: str, expected: str, seen: str
) -> None:
    result, finding = verdict_on(recorded, key, fault)

    assert finding
    assert (finding.verdict.verdict, finding.verdict.cause) == ("APPLICATION_BUG", cause)
    assert finding.verdict.confidence >= 0.8 and not finding.verdict.needs_person
    assert finding.expected == expected
    assert seen in finding.seen
    assert finding.after.startswith(b"\x89PNG")
    assert result.outcome == "failed"
    assert "APPLICATION_BUG" in result.reason


def test_a_page_that_answers_too_late_is_an_application_bug(recorded: Recorded) -> None:
    shop = Shop(faults={"slow"})
    budget = replace(ONLY_REFERENCE, limits=replace(ONLY_REFERENCE.limits, navigation=4))
    with serving(shop) as url:
        environment = engine.Environment(Target(url), shop.reset)
        outcome = engine.run(environment, reference=[recorded.trace("visit:/about")], budget=budget)

    assert [finding.verdict.cause for finding in outcome.findings] == ["does_not_load"]


@pytest.mark.parametrize(
    ("key", "fault", "removed", "added"),
    [
        ("cart:/cart/add", "dearer_delivery", "DELIVERY = 5.00", "DELIVERY = 7.00"),
        ("cart:/cart/add", "renamed_button", "<button>Add to cart</button>", "<button>Add to basket</button>"),
        ("visit:/about", "new_copy", '"About us"', '"Our story"'),
    ],
)
def test_what_the_diff_intends_is_no_bug(recorded: Recorded, key: str, fault: str, removed: str, added: str) -> None:
    _, finding = verdict_on(recorded, key, fault, diff=a_diff(removed, added))

    assert finding
    assert (finding.verdict.verdict, finding.verdict.cause) == ("AGENT_ERROR", "intended_change")
    assert "shop.py" in " ".join(finding.verdict.evidence)


def test_a_button_renamed_without_a_word_is_healed_and_shown_to_a_person(recorded: Recorded) -> None:
    result, finding = verdict_on(recorded, "cart:/cart/add", "renamed_button")

    assert result.outcome == "passed"
    assert {step.outcome for step in result.steps} == {"passed", "healed"}
    assert finding and finding.verdict.cause == "renamed" and finding.verdict.needs_person
    assert finding.verdict.heal
    assert 'button[name="Add to basket"]' in [locator.value for locator in finding.verdict.heal.proposed]


def test_a_new_look_is_no_finding(recorded: Recorded) -> None:
    result, finding = verdict_on(recorded, "cart:/cart/add", "restyled")

    assert (result.outcome, finding) == ("passed", None)


def test_a_page_that_differs_every_other_time_is_flaky(recorded: Recorded) -> None:
    _, finding = verdict_on(recorded, "visit:/about", "flaky_text_sometimes")

    # Of two visits one differs: a passing first replay ends the matter, a failing one is not confirmed.
    assert finding is None or (finding.verdict.cause, finding.verdict.needs_person) == ("flaky", True)


def test_what_the_base_does_too_is_not_the_changes_fault(recorded: Recorded) -> None:
    trace = recorded.trace("visit:/about")
    head, base = Shop(faults={"new_copy"}), Shop(faults={"new_copy"})
    with serving(head) as head_url, serving(base) as base_url:
        outcome = engine.run(
            engine.Environment(Target(head_url), head.reset),
            base=engine.Environment(Target(base_url), base.reset),
            reference=[trace],
            budget=ONLY_REFERENCE,
        )

    assert [(f.verdict.verdict, f.verdict.cause) for f in outcome.findings] == [("AGENT_ERROR", "stale")]


def test_a_live_base_that_passes_makes_it_certain(recorded: Recorded) -> None:
    _, finding = verdict_on(recorded, "cart:/cart/add", "wrong_total", base=True)

    assert finding and finding.verdict.confidence == 0.95
    assert "The base branch passes the same trace now." in finding.verdict.evidence


# ── the engine ──────────────────────────────────────────────────────────────────────────────


def test_a_base_branchs_run_records_and_a_pull_requests_adds_what_is_new(found_browser: BrowserFound) -> None:
    shop = Shop()
    lines: list[str] = []
    stages: list[str] = []
    with serving(shop) as url:
        head = engine.Environment(Target(url), shop.reset)
        first = engine.run(head, budget=engine.Budget(plan=PlanLimits(scenarios=3)), on_line=lines.append)
        second = engine.run(
            head, reference=first.traces, budget=engine.Budget(plan=PlanLimits(scenarios=4)), on_stage=stages.append
        )

    assert not first.findings and not second.findings
    assert [s.origin for s in first.scenarios] == ["new"] * 3
    assert [(s.origin, s.outcome) for s in second.scenarios] == [("reference", "passed")] * 3 + [("new", "passed")]
    assert [trace.scenario.key for trace in second.traces] == [second.scenarios[3].key]
    assert (first.coverage.pages_known, first.coverage.forms_known) == (6, 4)
    assert 0 < first.coverage.pages_covered < 6
    assert any(line.startswith("passed: Fill the cart and order") for line in lines)
    assert stages == ["planning", "replaying", "generating"]


def test_an_error_of_a_new_page_is_found_without_a_base(found_browser: BrowserFound) -> None:
    shop = Shop(faults={"page_error"})
    with serving(shop) as url:
        outcome = engine.run(
            engine.Environment(Target(url), shop.reset),
            start_path="/about",
            budget=engine.Budget(plan=PlanLimits(scenarios=50, bad_inputs=0, crawl=CrawlLimits(pages=1))),
        )

    finding = next(finding for finding in outcome.findings if finding.key == "visit:/about")
    assert (finding.verdict.verdict, finding.verdict.cause) == ("APPLICATION_BUG", "script_error")
    assert "The base branch has no such scenario." in finding.verdict.evidence
    assert finding.after.startswith(b"\x89PNG")


def test_an_environment_that_does_not_answer_is_not_run_and_never_green(
    recorded: Recorded, found_browser: BrowserFound
) -> None:
    shop = Shop()
    with serving(shop) as url:
        pass
    outcome = engine.run(engine.Environment(Target(url), shop.reset), reference=[recorded.trace("visit:/about")])

    assert "ERR_CONNECTION_REFUSED" in outcome.not_run
    assert outcome.not_run_code == "tests_failed"
    assert not outcome.findings and not outcome.count("passed")


def test_without_a_browser_nothing_is_run_and_it_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREVIEWKIT_BROWSER", "/no/such/browser")

    outcome = engine.run(engine.Environment(Target("http://127.0.0.1:9"), lambda: None))

    assert outcome.not_run_code == "browser_missing"
    assert "/no/such/browser" in outcome.not_run and "PREVIEWKIT_BROWSER" in outcome.not_run


def test_what_did_not_fit_the_time_is_said_to_be_not_run(recorded: Recorded, found_browser: BrowserFound) -> None:
    outcome = engine.run(
        engine.Environment(Target(recorded.url), recorded.shop.reset),
        reference=[recorded.trace("visit:/about")],
        budget=replace(ONLY_REFERENCE, seconds=0),
    )

    assert [(s.outcome, s.reason) for s in outcome.scenarios] == [
        ("not_run", "The time for this run, 0 s, was used up.")
    ]


def test_a_fence_stops_the_run_in_the_callers_thread(found_browser: BrowserFound) -> None:
    class Superseded(Exception):
        pass

    threads: set[str] = set()
    shop = Shop()

    def fence() -> None:
        threads.add(threading.current_thread().name)
        if shop.resets:
            raise Superseded

    with serving(shop) as url, pytest.raises(Superseded):
        engine.run(engine.Environment(Target(url), shop.reset), fence=fence)

    assert threads == {threading.current_thread().name}
