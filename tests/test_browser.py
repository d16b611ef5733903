"""Chromium as the agents see it: found or missing, the same twice, shut in, and never waited for without an end."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path

import psutil
import pytest

from testruns.browser import Browser, BrowserGone, Session
from testruns.chromium import BrowserFound, BrowserMissing, find_browser, launch_flags
from testruns.page import Limits, PageLook, ProblemKind, StepFailed, Target, Window
from testruns.trace import Action, Determinism, Locator
from tests.apps.pages import Page, serving

pytest_plugins = ["tests.fixtures_browser"]


# ── finding one ─────────────────────────────────────────────────────────────────────────────


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_stated_browser_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stated = _program(tmp_path / "my-browser", 'echo "Chromium 140.0.1 built on a test"')
    monkeypatch.setenv("PREVIEWKIT_BROWSER", str(stated))

    assert find_browser() == BrowserFound(str(stated), "Chromium 140.0.1", "$PREVIEWKIT_BROWSER")


@pytest.mark.parametrize("script", ["exit 1", "echo hello", 'echo "Chromium 140.0" && exit 3'])
def test_a_stated_browser_that_does_not_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    stated = _program(tmp_path / "my-browser", script)
    monkeypatch.setenv("PREVIEWKIT_BROWSER", str(stated))

    missing = find_browser()

    assert isinstance(missing, BrowserMissing)
    assert str(stated) in missing.why
    assert "PREVIEWKIT_BROWSER" in missing.mend


def test_a_machine_without_a_browser_is_told_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREVIEWKIT_BROWSER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))

    missing = find_browser()

    assert isinstance(missing, BrowserMissing)
    assert "No Chromium" in missing.why
    assert "previewkit browser install" in missing.mend


def test_playwrights_own_browser_is_found_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREVIEWKIT_BROWSER", raising=False)
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setattr("testruns.chromium.SYSTEM_NAMES", ("no-such-browser",))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    for build in ("900", "1200"):
        folder = tmp_path / f"chromium-{build}" / "chrome-linux64"
        folder.mkdir(parents=True)
        _program(folder / "chrome", f'echo "Chromium {build}.0.0"')

    found = find_browser()

    assert isinstance(found, BrowserFound)
    assert found.version == "Chromium 1200.0.0"


def test_a_name_that_a_rule_maps_is_not_excluded_from_it() -> None:
    flags = launch_flags(["web.preview.test", "other.test"], ["*.preview.test"], "token")

    rules = next(flag for flag in flags if flag.startswith("--host-resolver-rules"))
    assert "MAP *.preview.test 127.0.0.1" in rules
    assert "MAP * ~NOTFOUND" in rules
    assert "EXCLUDE other.test" in rules
    assert "EXCLUDE web.preview.test" not in rules


# ── the same twice ──────────────────────────────────────────────────────────────────────────

TELLS = """<h1 id=told></h1><script>
  told.textContent = [new Date().getFullYear(), Math.random(), crypto.randomUUID(),
    crypto.getRandomValues(new Uint32Array(1))[0], navigator.language, new Date().getTimezoneOffset(),
    matchMedia("(prefers-reduced-motion: reduce)").matches, innerWidth, new Date(0) instanceof Date].join("|");
</script>"""


def _look(browser: Browser, url: str, path: str = "/", told: Determinism | None = None) -> PageLook:
    def job(session: Session) -> PageLook:
        session.goto(path)
        return session.look()

    return browser.run(Target(url), told or Determinism(), job)


@pytest.mark.browser
def test_clock_and_chance_are_the_traces(browser: Browser) -> None:
    with serving({"/": TELLS}) as site:
        told = Determinism(clock="2031-05-01T12:00:00Z", seed=7)
        first, second = _look(browser, site.url, told=told), _look(browser, site.url, told=told)
        other = _look(browser, site.url, told=Determinism(seed=8))

    values = first.headings[0].split("|")
    assert values[0] == "2031"
    assert values[4:] == ["en-US", "0", "true", "1280", "true"]
    assert first.headings == second.headings
    assert other.headings[0].split("|")[1:4] != values[1:4]


@pytest.mark.browser
def test_two_pages_of_one_visit_do_not_draw_the_same_numbers(browser: Browser) -> None:
    def job(session: Session) -> list[str]:
        drawn = []
        for _ in range(2):
            session.goto("/")
            drawn.append(session.look().headings[0].split("|")[2])
        return drawn

    with serving({"/": TELLS}) as site:
        drawn = browser.run(Target(site.url), Determinism(), job)

    assert len(set(drawn)) == 2


@pytest.mark.browser
def test_a_debounced_input_still_fires(browser: Browser) -> None:
    page = """<label>Word <input id=word></label><p id=out></p><script>
      let due = 0;
      const later = () => {
        const left = due - Date.now();
        left > 0 ? setTimeout(later, left) : out.textContent = "Found " + word.value;
      };
      word.oninput = () => { due = Date.now() + 60; later(); };
    </script>"""

    def job(session: Session) -> str:
        session.goto("/")
        word = Locator(engine="label", value="Word", score=80, unique=True)
        session.act(Action(name="fill", args={"value": "tea"}), word)
        session.wait_for_change(2)
        return session.look().text

    with serving({"/": page}) as site:
        assert "Found tea" in browser.run(Target(site.url), Determinism(), job)


# ── shut in ─────────────────────────────────────────────────────────────────────────────────


def _visit(browser: Browser, target: Target, path: str = "/") -> Window:
    def job(session: Session) -> Window:
        session.goto(path)
        return session.take_window()

    return browser.run(target, Determinism(), job)


@pytest.mark.browser
def test_nothing_outside_the_environment_is_reached(browser: Browser) -> None:
    with serving({"/secret": "no"}) as ours:
        page = f"<h1>Hi</h1><img src='{ours.url}/secret'><script src='http://tracker.example/t.js'></script>"
        with serving({"/": page}) as site:
            window = _visit(browser, Target(site.url))

    assert ours.asked == []
    assert f"{ours.url}/secret" in window.blocked
    assert "http://tracker.example/t.js" in window.blocked
    assert [request.url for request in window.requests if request.kind == "document"] == ["{base_url}/"]


@pytest.mark.browser
def test_a_redirect_to_another_host_is_not_followed(browser: Browser) -> None:
    away = Page(status=302, location="http://elsewhere.example/")
    with serving({"/": away}) as site, pytest.raises(StepFailed) as failed:
        _visit(browser, Target(site.url))

    assert failed.value.problem.kind in ("unreachable", "navigation_failed")


@pytest.mark.browser
def test_the_environments_own_second_address_is_reached(browser: Browser) -> None:
    with serving({"/": "api"}) as api, serving({"/": f"<h1>Hi</h1><img src='{api.url}/'>"}) as site:
        _visit(browser, Target(site.url, extra_origins=(api.url,)))

        assert any(asked.startswith("GET") for asked in api.asked)


@pytest.mark.browser
def test_the_previews_host_name_leads_to_this_machine(browser: Browser) -> None:
    with serving({"/": "<h1>Preview</h1>"}) as site:
        port = site.url.rsplit(":", 1)[1]
        target = Target(f"http://web-pr-3.preview.test:{port}", host_rules=("*.preview.test",))

        window = _visit(browser, target)

    assert window.status == 200
    assert site.asked[0] == f"GET web-pr-3.preview.test:{port} /"


# ── what happened ───────────────────────────────────────────────────────────────────────────


@pytest.mark.browser
def test_errors_dialogs_and_new_tabs_are_recorded_and_hold_nothing_up(browser: Browser) -> None:
    page = """<h1>Busy</h1><script>
      console.error("careful"); alert("hello"); window.open("/other");
      fetch("/broken"); setTimeout(() => { throw new TypeError("no such thing"); }, 0);
    </script>"""
    with serving({"/": page, "/broken": Page("oops", 503), "/other": "<h1>Other</h1>"}) as site:
        window = _visit(browser, Target(site.url))

    assert window.status == 200
    assert [request.url for request in window.server_errors] == ["{base_url}/broken"]
    assert window.page_errors == ("TypeError: no such thing",)
    assert "careful" in [line.text for line in window.console]
    assert "alert: hello" in window.dialogs
    assert any(line.startswith("new tab") for line in window.dialogs)


@pytest.mark.browser
def test_a_look_names_what_a_visitor_sees(browser: Browser) -> None:
    page = """<title> A  form </title><main><h1>Order</h1><p role=alert>Only 3 left</p>
      <dl><dt>Total</dt><dd>$24.00</dd></dl>
      <form action="/send?x=1" method=post><label>Your e-mail <input type=email name=mail required></label>
        <input name=hidden type=hidden><select name=size><option value=s>Small</option></select>
        <button data-testid=go>Send it</button></form>
      <button hidden>Never</button><a href="/next#part">Next</a></main>"""
    with serving({"/": page}) as site:
        look = _look(browser, site.url)

    form = look.forms[0]
    assert (look.title, look.headings) == ("A form", ("Order",))
    assert [(line.kind, line.text) for line in look.lines] == [("message", "Only 3 left"), ("figure", "Total $24.00")]
    assert (form.action, form.method, form.name) == ("/send?x=1", "post", "Order")
    assert [(field.field, field.type, field.name, field.required) for field in form.fields] == [
        ("mail", "email", "Your e-mail", True),
        ("size", "select", "", False),
    ]
    assert [button.name for button in look.buttons] == ["Send it"]
    assert look.links[0].href == f"{site.url}/next"
    best = form.submits[0].locators
    assert [(locator.engine, locator.value) for locator in best[:2]] == [
        ("test_id", "go"),
        ("role", 'button[name="Send it"]'),
    ]
    assert all(locator.unique for locator in best)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("engine", "value"),
    [
        ("test_id", "go"),
        ("role", 'button[name="Say \\"hi\\""]'),
        ("id", "a:b"),
        ("css", "form > button"),
        ("text", 'Say "hi"'),
    ],
)
def test_each_engine_finds_the_one_visible_element(browser: Browser, engine: str, value: str) -> None:
    page = """<h1>Hi</h1><form onsubmit="return false"><button data-testid=go id="a:b">Say "hi"</button></form>
      <button hidden>Say "hi"</button>"""

    def job(session: Session) -> tuple[int, str]:
        session.goto("/")
        locator = Locator.model_validate({"engine": engine, "value": value, "score": 1, "unique": True})
        return session.count(locator), session.describe(locator).fingerprint.attributes["id"]

    with serving({"/": page}) as site:
        assert browser.run(Target(site.url), Determinism(), job) == (1, "a:b")


@pytest.mark.browser
def test_a_picture_is_a_png_of_the_viewport(browser: Browser) -> None:
    def job(session: Session) -> bytes:
        session.goto("/")
        return session.picture()

    with serving({"/": "<h1>Hi</h1>"}) as site:
        png = browser.run(Target(site.url), Determinism(), job)

    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (1280, 800)


# ── never without an end ────────────────────────────────────────────────────────────────────

RESTLESS = "<h1>Hi</h1><p id=now></p><script>setInterval(() => now.textContent = performance.now(), 10)</script>"


@pytest.mark.browser
@pytest.mark.parametrize(
    ("page", "kind"),
    [
        (Page(status=302, location="/"), "navigation_failed"),
        (Page(stalls=True), "navigation_timeout"),
        (Page("<h1>Hi</h1><img src=/stalls>"), "navigation_timeout"),
        (Page("<h1>Hi</h1><script>onload = () => location.reload()</script>"), "navigation_timeout"),
        (Page(RESTLESS), "never_settled"),
        (Page("<h1>Hi</h1><script>onload = () => setTimeout(() => location = '/loop')</script>"), "navigation_failed"),
    ],
    ids=["redirects", "no answer", "part missing", "reloads", "restless", "script leads into redirects"],
)
def test_a_page_that_does_not_come_to_rest_has_a_named_end(browser: Browser, page: Page, kind: ProblemKind) -> None:
    def job(session: Session) -> None:
        session.goto("/")

    pages = {"/": page, "/stalls": Page(stalls=True), "/loop": Page(status=302, location="/loop")}
    with serving(pages) as site, pytest.raises(StepFailed) as failed:
        browser.run(Target(site.url), Determinism(), job, limits=Limits(navigation=5, quiet=2))

    assert failed.value.problem.kind == kind


@pytest.mark.browser
def test_a_request_that_the_server_holds_open_is_not_waited_for(browser: Browser) -> None:
    page = "<h1>Still here</h1><script>onload = () => fetch('/poll')</script>"

    def job(session: Session) -> PageLook:
        session.goto("/")
        return session.look()

    with serving({"/": page, "/poll": Page(stalls=True)}) as site:
        look = browser.run(Target(site.url), Determinism(), job, limits=Limits(quiet=1))

    assert look.headings == ("Still here",)


@pytest.mark.browser
def test_a_server_that_is_not_there_is_unreachable(browser: Browser) -> None:
    with serving({}) as site:
        gone = site.url

    with pytest.raises(StepFailed) as failed:
        _visit(browser, Target(gone))
    assert failed.value.problem.kind == "unreachable"


@pytest.mark.browser
def test_an_element_that_is_covered_says_what_was_waited_for(browser: Browser) -> None:
    page = "<h1>Hi</h1><button disabled>Go</button>"

    def job(session: Session) -> None:
        session.goto("/")
        session.act(Action(name="click"), Locator(engine="role", value='button[name="Go"]', score=90, unique=True))

    with serving({"/": page}) as site, pytest.raises(StepFailed) as failed:
        browser.run(Target(site.url), Determinism(), job, limits=Limits(element=0.5))

    assert failed.value.problem.kind == "action_failed"
    assert "not enabled" in failed.value.problem.message


# ── one browser, one thread ─────────────────────────────────────────────────────────────────


def _chromiums() -> set[int]:
    """Of this very process, so that other tests' browsers don't count."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            if any(argument.startswith("--previewkit-browser=") for argument in child.cmdline()):
                found.add(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.browser
def test_a_page_that_hangs_costs_one_job_and_the_next_gets_a_new_chromium(found_browser: BrowserFound) -> None:
    hung = "<h1>Hi</h1><script>onload = () => setTimeout(() => { for (;;); })</script>"
    before = _chromiums()
    with serving({"/": hung, "/fine": "<h1>Fine</h1>"}) as site, Browser(found_browser, [Target(site.url)]) as own:
        with pytest.raises(BrowserGone, match="did not answer for 6 s"):
            own.run(Target(site.url), Determinism(), lambda session: session.goto("/"), limits=Limits(job=6))

        assert _look(own, site.url, "/fine").headings == ("Fine",)
    assert _chromiums() == before


@pytest.mark.browser
def test_a_fence_stops_a_visit_and_leaves_no_process(found_browser: BrowserFound) -> None:
    class Superseded(Exception):
        pass

    asked: list[str] = []
    before = _chromiums()
    with serving({"/": Page(stalls=True)}) as site:

        def fence() -> None:
            asked.append(threading.current_thread().name)
            if site.asked:
                raise Superseded

        with pytest.raises(Superseded), Browser(found_browser, [Target(site.url)]) as own:
            own.run(Target(site.url), Determinism(), lambda session: session.goto("/"), fence=fence)

    assert set(asked) == {threading.current_thread().name}
    assert _chromiums() == before


@pytest.mark.browser
def test_the_callers_thread_stays_free_for_other_work(browser: Browser) -> None:
    # Django's ORM refuses to work in a thread that has a running event loop; Playwright's thread has one.
    def job(session: Session) -> bool:
        asyncio.get_running_loop()
        return True

    with serving({"/": ""}) as site:
        assert browser.run(Target(site.url), Determinism(), job)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()


@pytest.mark.browser
def test_a_program_that_is_no_browser_says_so(tmp_path: Path) -> None:
    fake = _program(tmp_path / "chromium", "exit 7")

    with pytest.raises(BrowserGone, match=str(fake)), Browser(BrowserFound(str(fake), "1", ""), []):
        pytest.fail("it started")
