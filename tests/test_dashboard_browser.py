"""The dashboard in Chromium: it moves without reloading, works by keyboard, and axe finds nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as NotInTime

from environments import transitions
from environments.models import DeployedService, Deployment, Environment
from environments.reporting import LayerLog
from tests import factories
from tests.fixtures_dashboard import Dashboard, Server
from tests.fixtures_dashboard import dashboard as dashboard
from tests.fixtures_dashboard import dashboard_server as dashboard_server

pytestmark = pytest.mark.browser
expect.set_options(timeout=20_000)

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
LIVE = "#live[data-state=live]"


def open_live(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.locator(LIVE)).to_be_attached()


@contextmanager
def not_reloaded(page: Page) -> Iterator[None]:
    page.evaluate("window.stillTheSame = true")
    yield
    assert page.evaluate("window.stillTheSame") is True


def layer(page: Page, name: str) -> str:
    return page.locator(f"#layers [data-layer={name}]").get_attribute("data-state") or ""


# ── live ────────────────────────────────────────────────────────────────────────────────────


def test_a_page_follows_its_environment_without_reloading(dashboard: Dashboard) -> None:
    # Given a queued environment on the screen
    environment = dashboard.worker(factories.pull_environment, 1, "Gift cards", phase="queued")
    page = dashboard.signed_in(dashboard.worker(factories.user)).new_page()
    open_live(page, f"/environments/{environment.pk}/")
    expect(page.get_by_text("The log begins when a worker has taken this up.")).to_be_visible()

    with not_reloaded(page):
        # When a worker takes it up and prints
        made = dashboard.worker(begin, environment)
        # Then strip, phase and log move
        expect(page.locator("#layers [data-layer=build][data-state=running]")).to_be_visible()
        expect(page.locator("#heading .phase")).to_have_text("Building")
        dashboard.worker(print_lines, made, "Installed 41 packages")
        expect(page.locator("#log .lines")).to_contain_text("Installed 41 packages")
        # And when it is ready, its address is there
        dashboard.worker(finish, made)
        expect(page.locator("#heading .phase")).to_have_text("Ready")
        expect(page.locator("#addresses")).to_contain_text("https://web.example.localhost")
        assert layer(page, "tests") == "done"


def begin(environment: Environment) -> Deployment:
    made = factories.deployment(environment, running="build")
    Environment.objects.filter(pk=environment.pk).update(phase="building")
    transitions.announce(environment.pk)
    return made


def print_lines(made: Deployment, *lines: str) -> None:
    log = LayerLog(made.layers.get(layer="build"), made.environment_id, {})
    for line in lines:
        log.say(line, "web")
    log.flush()


def finish(made: Deployment) -> None:
    made.layers.update(state="done")
    DeployedService.objects.create(
        deployment=made, name="web", public=True, url="https://web.example.localhost", state="running"
    )
    Environment.objects.filter(pk=made.environment_id).update(phase="ready", serving=made)
    transitions.announce(made.environment_id)


def test_the_list_shows_new_environments_and_moves_gone_ones_away(dashboard: Dashboard) -> None:
    first = dashboard.worker(factories.pull_environment, 1, "Gift cards", phase="ready")
    page = dashboard.signed_in(dashboard.worker(factories.user)).new_page()
    open_live(page, "/")
    with not_reloaded(page):
        second = dashboard.worker(factories.pull_environment, 2, "Search by colour", phase="queued")
        dashboard.worker(transitions.announce, second.pk)
        expect(page.get_by_role("link", name="#2 Search by colour")).to_be_visible()
        dashboard.worker(go, first)
        expect(page.get_by_role("link", name="#1 Gift cards")).to_have_count(0)
        expect(page.get_by_role("link", name="Gone 1")).to_be_visible()


def go(environment: Environment) -> None:
    Environment.objects.filter(pk=environment.pk).update(phase="gone", wanted="absent")
    transitions.announce(environment.pk)


def test_a_search_narrows_the_list_and_stays_narrow_while_it_is_live(dashboard: Dashboard) -> None:
    for number, title in ((1, "Gift cards"), (2, "Search by colour")):
        dashboard.worker(factories.pull_environment, number, title)
    page = dashboard.signed_in(dashboard.worker(factories.user)).new_page()
    open_live(page, "/")
    with not_reloaded(page):
        page.get_by_role("searchbox").press_sequentially("gift")
        expect(page.get_by_role("link", name="#2 Search by colour")).to_have_count(0)
        assert page.url.endswith("q=gift")
        third = dashboard.worker(factories.pull_environment, 3, "Gift wrap")
        fourth = dashboard.worker(factories.pull_environment, 4, "Footer")
        dashboard.worker(transitions.announce, fourth.pk)
        dashboard.worker(transitions.announce, third.pk)
        expect(page.get_by_role("link", name="#3 Gift wrap")).to_be_visible()
        expect(page.locator(".row")).to_have_count(2)
        expect(page.get_by_role("searchbox")).to_be_focused()


def test_what_happened_while_the_connection_was_cut_is_there_after_it(
    dashboard: Dashboard, dashboard_server: Server
) -> None:
    environment = dashboard.worker(factories.pull_environment, 1, phase="queued")
    made = dashboard.worker(begin, environment)
    page = dashboard.signed_in(dashboard.worker(factories.user)).new_page()
    open_live(page, f"/environments/{environment.pk}/")
    with not_reloaded(page):
        dashboard_server.stop()
        expect(page.locator("#live-word")).to_have_text("Reconnecting…")
        dashboard.worker(print_lines, made, "printed in the dark")
        dashboard.worker(finish, made)
        dashboard_server.start()
        expect(page.locator("#live-word")).to_have_text("Live")
        expect(page.locator("#heading .phase")).to_have_text("Ready")
        expect(page.locator("#log .lines")).to_contain_text("printed in the dark")


def test_an_idle_page_keeps_its_connection(dashboard: Dashboard) -> None:
    """Channels waits five seconds at a time; a client limit of as much cut every idle browser off."""
    page = dashboard.signed_in(dashboard.worker(factories.user)).new_page()
    open_live(page, "/")
    with pytest.raises(NotInTime):
        page.wait_for_event("websocket", timeout=8_000)
    expect(page.locator("#live-word")).to_have_text("Live")


def test_open_parts_and_focus_survive_a_push(dashboard: Dashboard) -> None:
    environment = dashboard.worker(factories.pull_environment, 1, phase="ready")
    made = dashboard.worker(factories.deployment, environment)
    dashboard.worker(factories.test_run, made, passed=2)
    page = dashboard.signed_in(dashboard.worker(factories.user)).new_page()
    open_live(page, f"/environments/{environment.pk}/")
    summary = page.locator(".scenarios summary").first
    summary.click()
    expect(page.locator(".steps").first).to_be_visible()
    dashboard.worker(change_tests, made)
    expect(page.locator("#tests .tally")).to_have_text("3 passed")
    expect(page.locator(".steps").first).to_be_visible()
    expect(summary).to_be_focused()


def change_tests(made: Deployment) -> None:
    made.test_run.results.create(scenario_key="late", title="A late one", origin="new", outcome="passed")
    transitions.announce(made.environment_id)


# ── the log ─────────────────────────────────────────────────────────────────────────────────


def test_the_log_follows_its_end_until_told_not_to_and_goes_back_in_time(dashboard: Dashboard) -> None:
    environment = dashboard.worker(factories.pull_environment, 1, phase="building")
    made = dashboard.worker(factories.deployment, environment, running="build")
    dashboard.worker(lambda: [factories.say(made, "build", f"line {index}") for index in range(90)])
    page = dashboard.signed_in(dashboard.worker(factories.user)).new_page()
    open_live(page, f"/environments/{environment.pk}/")
    lines = page.locator("#log .lines")
    # Another layer's log, and back
    page.locator("#log").get_by_role("link", name="build").click()
    expect(lines).to_have_attribute("data-layer", "build")
    expect(lines).to_contain_text("line 89")
    expect(lines).not_to_contain_text("line 29")
    # Followed: the newest line is in view
    lines.evaluate("it => it.scrollIntoView({block: 'center'})")
    dashboard.worker(print_lines, made, "the newest line")
    expect(lines.get_by_text("the newest line")).to_be_in_viewport()
    # Earlier lines are fetched, which ends following
    page.get_by_role("button", name="Earlier lines").click()
    expect(lines).to_contain_text("line 0")
    expect(page.get_by_label("Follow")).not_to_be_checked()
    expect(page.get_by_role("button", name="Earlier lines")).to_be_hidden()
    dashboard.worker(print_lines, made, "one more line")
    expect(lines).to_contain_text("one more line")
    expect(lines.get_by_text("one more line")).not_to_be_in_viewport()


# ── buttons and keyboard ────────────────────────────────────────────────────────────────────


def test_a_person_signs_in_and_stops_an_environment_by_keyboard_alone(dashboard: Dashboard) -> None:
    environment = dashboard.worker(factories.pull_environment, 1, "Gift cards", phase="ready")
    dashboard.worker(factories.user, "ada", staff=True, password="a quiet harbour")
    page = dashboard.browser.new_context(base_url=dashboard.url).new_page()
    page.goto(f"/environments/{environment.pk}/")
    page.get_by_label("User name").focus()
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type("a quiet harbour")
    page.keyboard.press("Enter")
    expect(page.locator(LIVE)).to_be_attached()
    with not_reloaded(page):
        tab_to(page, "Stop…")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Stop and delete")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Stop and delete")).to_be_hidden()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#heading .phase")).to_have_text("Stopping")
        expect(page.get_by_role("status").filter(has_text="being deleted")).to_be_visible()
        expect(page.get_by_role("button", name="Start again")).to_be_visible()
        expect(page.locator("#history")).to_contain_text("ada")


def tab_to(page: Page, name: str) -> None:
    seen: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.textContent.trim()")
        seen.append(focused)
        if focused == name:
            return
    raise AssertionError(f"Tab does not reach {name!r}; it reaches {seen}")


def test_every_action_shows_its_focus_and_the_first_stop_skips_to_the_content(dashboard: Dashboard) -> None:
    environment = dashboard.worker(factories.shop)["degraded"]
    page = dashboard.signed_in(dashboard.worker(factories.user, staff=True)).new_page()
    open_live(page, f"/environments/{environment.pk}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        shown = page.evaluate(
            """() => { const it = document.activeElement; if (it === document.body) return null;
            const style = getComputedStyle(it);
            return [it.outerHTML.slice(0, 80), style.outlineStyle, parseFloat(style.outlineWidth)]; }"""
        )
        if shown is None:
            return
        assert shown[1] == "solid" and shown[2] >= 2, shown
    raise AssertionError("Tab goes round and round")


# ── for everybody, everywhere ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    dashboard: Dashboard, scheme: str, viewport: dict[str, int]
) -> None:
    made = dashboard.worker(factories.shop)
    context = dashboard.signed_in(dashboard.worker(factories.user, staff=True), color_scheme=scheme, viewport=viewport)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
    page.on("console", lambda said: problems.extend([f"{page.url}: {said.text}"] if said.type == "error" else []))
    paths = ["/", "/?state=gone", "/?q=nothing-such"]
    paths += [f"/environments/{made[name].pk}/" for name in ("bug", "failed", "testing", "queued", "gone", "main")]
    paths += [f"/environments/{made['degraded'].pk}/deployments/1/"]
    for path in paths:
        open_live(page, path)
        problems += look(page, path, viewport)
    assert not problems, "\n".join(problems)
    page.goto("/environments/987654321/")
    assert look(page, "404", viewport) == []
    context.clear_cookies()
    page.goto("/sign-in/")
    assert look(page, "sign-in", viewport) == []


def look(page: Page, path: str, viewport: dict[str, int]) -> list[str]:
    found = [
        f"{path}: {one['id']}: {[node['html'][:120] for node in one['nodes']]}"
        for one in Axe().run(page).response["violations"]
    ]
    width = page.evaluate("document.documentElement.scrollWidth")
    if width > viewport["width"]:
        found.append(f"{path}: {width} pixels wide")
    return found


def test_without_javascript_all_of_it_can_be_read_and_pressed(dashboard: Dashboard) -> None:
    environment = dashboard.worker(factories.pull_environment, 1, phase="ready")
    made = dashboard.worker(factories.deployment, environment)
    dashboard.worker(factories.say, made, "build", "a printed line")
    admin = dashboard.worker(factories.user, staff=True)
    page = dashboard.signed_in(admin, java_script_enabled=False).new_page()
    page.goto("/")
    page.get_by_role("link", name="#1 A change").click()
    expect(page.locator("#log")).to_contain_text("a printed line")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".notice")).to_contain_text("Retry")
    expect(page.locator("#heading .phase")).to_have_text("Queued")


def test_the_page_itself_says_its_times_in_the_visitors_clock(dashboard: Dashboard) -> None:
    """A visitor whose clock is an hour ahead sees a running layer's true seconds, not an hour."""
    environment = dashboard.worker(factories.pull_environment, 1, phase="building")
    dashboard.worker(factories.deployment, environment, running="build")
    page = dashboard.signed_in(dashboard.worker(factories.user)).new_page()
    page.add_init_script(f"const real = Date.now; Date.now = () => real() + {json.dumps(3_600_000)};")
    open_live(page, f"/environments/{environment.pk}/")
    seconds = page.locator("#layers [data-since]")
    before = seconds.text_content() or ""
    expect(seconds).not_to_have_text(before)
    assert "h" not in (seconds.text_content() or "")
