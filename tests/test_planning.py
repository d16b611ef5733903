"""The Planner's pure part: the same pages give the same journeys, under the same keys, the touched ones first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testruns.agents.planner import PlanLimits, plan_from
from testruns.coverage import coverage_of
from testruns.crawl import Crawl, CrawledPage, template_of
from testruns.form_values import CARD, PASSWORD, Entry, entry_for
from testruns.page import Element, FieldSeen, FormSeen, Line, PageLook
from testruns.touched import Change
from testruns.trace import Fingerprint, Locator

FINGERPRINT = Fingerprint(tag="input")
LOCATORS = (Locator(engine="id", value="x", score=75, unique=True),)


def a_field(name: str, type: str = "text", **more: Any) -> FieldSeen:
    given = {"role": "textbox", "name": name, "locators": LOCATORS, "fingerprint": FINGERPRINT}
    return FieldSeen.model_validate(given | {"field": name, "type": type} | more)


def a_button(name: str) -> Element:
    return Element(role="button", name=name, locators=LOCATORS, fingerprint=FINGERPRINT)


def a_form(action: str, button: str, *fields: FieldSeen, method: str = "post") -> FormSeen:
    return FormSeen.model_validate(
        {"action": action, "method": method, "fields": fields, "submits": (a_button(button),), "locators": LOCATORS}
    )


def a_page(path: str, heading: str, *forms: FormSeen, lines: tuple[Line, ...] = (), template: str = "") -> CrawledPage:
    look = PageLook(url=f"http://x{path}", title=heading, headings=(heading,), forms=forms, lines=lines)
    return CrawledPage(path, template or template_of(path), look, 200)


SEARCH = a_form("/search", "Search", a_field("q", "search"), method="get")
ADD = a_form("/cart/add", "Add to cart", a_field("quantity", "number", value="1"))
JOIN = a_form("/join", "Create account", a_field("email", "email"), a_field("password", "password"))
SHOP = Crawl(
    (
        a_page("/", "Shop", SEARCH, lines=(Line(text="Blue mug", kind="item"),)),
        a_page("/products/1", "Blue mug", SEARCH, ADD, template="/products/{n}"),
        a_page("/products/2", "Kettle", SEARCH, ADD, template="/products/{n}"),
        a_page("/join", "Join", SEARCH, JOIN),
        a_page("/about", "About us", SEARCH, a_form("/logout", "Sign out")),
        a_page(
            "/contact", "Contact", SEARCH, a_form("/contact", "Send", a_field("message", "textarea", required=True))
        ),
    ),
    (("/x", "answered 404"),),
)


def test_a_shop_gets_its_journeys() -> None:
    plan = plan_from(SHOP, PlanLimits(), Change())

    assert [scenario.kind for scenario in plan.scenarios[:4]] == ["buy", "cart", "sign_up", "form"]
    assert {scenario.key for scenario in plan.scenarios} >= {
        "buy:/cart/add",
        "cart:/cart/add",
        "sign_up",
        "search:/search",
        "form:post /contact message",
        "empty:post /contact message",
        "visit:/about",
        "visit:/products/{n}",
    }
    assert plan.skipped == (("/x", "answered 404"),)


def test_the_cart_gets_two_of_one_thing_and_one_of_another() -> None:
    plan = plan_from(SHOP, PlanLimits(), Change())
    cart = next(scenario for scenario in plan.scenarios if scenario.kind == "cart")

    assert [(move.do, move.path, move.values) for move in cart.moves] == [
        ("open", "/products/1", {}),
        ("complete", "", {"quantity": "2"}),
        ("open", "/products/2", {}),
        ("complete", "", {"quantity": "1"}),
        ("follow", "", {}),
    ]


def test_no_journey_signs_out_or_deletes_by_itself() -> None:
    forms = (a_form("/logout", "Sign out", a_field("x")), a_form("/notes/1/delete", "Delete", a_field("x")))
    plan = plan_from(Crawl((a_page("/", "Hi", *forms),), ()), PlanLimits(), Change())

    assert [scenario.kind for scenario in plan.scenarios] == ["visit"]


def test_the_same_crawl_gives_the_same_plan_and_a_reordered_one_the_same_keys() -> None:
    one = plan_from(SHOP, PlanLimits(scenarios=50), Change())
    other = plan_from(Crawl(SHOP.pages[:1] + SHOP.pages[:0:-1], ()), PlanLimits(scenarios=50), Change())

    assert one == plan_from(SHOP, PlanLimits(scenarios=50), Change())
    assert {scenario.key for scenario in one.scenarios} == {scenario.key for scenario in other.scenarios}


def test_what_the_change_touches_comes_first_and_says_why() -> None:
    plain = plan_from(SHOP, PlanLimits(), Change())
    touched = plan_from(SHOP, PlanLimits(), Change.read(None, ["web/contact/forms.py", "templates/contact.html"]))

    assert plain.scenarios[0].kind == "buy"
    form = next(scenario for scenario in touched.scenarios if scenario.key.startswith("form:"))
    assert touched.scenarios.index(form) < [s.kind for s in touched.scenarios].index("cart")
    assert any("contact" in reason for reason in form.because)


def test_a_limit_leaves_out_the_least_and_says_so() -> None:
    plan = plan_from(SHOP, PlanLimits(scenarios=3), Change())

    assert len(plan.scenarios) == 3
    assert {scenario.kind for scenario in plan.left_out} >= {"visit"}
    assert min(s.rank for s in plan.scenarios) >= max(s.rank for s in plan.left_out)


def test_a_page_that_another_journey_opens_is_visited_last() -> None:
    plan = plan_from(SHOP, PlanLimits(scenarios=50), Change())
    visits = [scenario.key for scenario in plan.scenarios if scenario.kind == "visit"]

    assert visits.index("visit:/about") < visits.index("visit:/join")


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("/products/17", "/products/{n}"),
        ("/o/3f2b8c1d9e/x", "/o/{n}/x"),
        ("/notes/123e4567-e89b-12d3-a456-426614174000", "/notes/{n}"),
        ("/find?page=2&q=tea", "/find?page&q"),
    ],
)
def test_a_template_is_what_a_journey_is_known_by(path: str, template: str) -> None:
    assert template_of(path) == template


# ── what a change touches ───────────────────────────────────────────────────────────────────


def test_a_changed_file_touches_the_paths_that_its_text_names(tmp_path: Path) -> None:
    (tmp_path / "urls.py").write_text('path("checkout/", view)\n')
    (tmp_path / "link.py").symlink_to("/etc/hostname")

    change = Change.read(tmp_path, ["urls.py", "../secret.py", "/etc/passwd", "link.py", "gone.py"])

    assert change.touches("visit:/checkout") == ["urls.py"]
    assert change.touches("visit:/about") == []


# ── values for forms ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "entry"),
    [
        (a_field("email", "email"), Entry("fill", "visitor-ab12@example.com")),
        (a_field("username"), Entry("fill", "visitorab12")),
        (a_field("password", "password"), Entry("fill", PASSWORD)),
        (a_field("first_name"), Entry("fill", "Ada")),
        (a_field("card_number"), Entry("fill", CARD)),
        (a_field("pin", pattern=r"\d{4}"), Entry("fill", "1234")),
        (a_field("city", max_length=3), Entry("fill", "Ber")),
        (a_field("quantity", "number"), Entry("fill", "2")),
        (a_field("quantity", "number", max="1"), Entry("fill", "1")),
        (a_field("age", "number", min="18"), Entry("fill", "18")),
        (a_field("when", "date"), Entry("fill", "2030-06-15")),
        (a_field("terms", "checkbox", required=True), Entry("check", "on")),
        (a_field("news", "checkbox"), None),
        (a_field("photo", "file"), None),
        (
            a_field("size", "select", options=[{"value": "", "label": "–"}, {"value": "s", "label": "S"}]),
            Entry("select", "s"),
        ),
        (a_field("size", "select", value="m", options=[{"value": "m", "label": "M"}]), None),
        (a_field("note", disabled=True), None),
    ],
)  # fmt: skip
def test_a_field_gets_what_a_visitor_would_write(field: FieldSeen, entry: Entry | None) -> None:
    assert entry_for(field, "ab12", {}) == entry


def test_a_stated_value_wins() -> None:
    assert entry_for(a_field("q"), "ab12", {"q": "mug"}) == Entry("fill", "mug")


def test_coverage_counts_what_is_known_when_nothing_was_done() -> None:
    plan = plan_from(SHOP, PlanLimits(), Change())

    coverage = coverage_of(plan.pages, plan.forms, plan.skipped, ())

    assert (coverage.pages_known, coverage.pages_covered) == (5, 0)
    assert (coverage.forms_known, coverage.forms_covered) == (4, 0)
