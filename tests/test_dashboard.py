"""The dashboard's pages, buttons and pushes, without a browser: real Postgres, real Valkey."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from environments import markdown, selectors, transitions
from environments.models import LAYERS, DeployedService, Environment, LayerRun
from environments.reporting import LayerLog
from environments.selectors import Listing
from environments.strips import strips
from environments.templatetags import dashboard as written
from previewkit.asgi import application
from tests import factories

Phase = Environment.Phase


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


# ── who sees what ───────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_nobody_sees_anything_without_signing_in() -> None:
    environment = factories.pull_environment(1)
    made = factories.deployment(environment)
    paths = ["/", f"/environments/{environment.pk}/", f"/environments/{environment.pk}/deployments/1/log/build.txt"]
    for path in [*paths, f"/environments/{environment.pk}/deployments/{made.generation}/", "/findings/1/picture.png"]:
        answer = Client().get(path)
        assert answer.status_code == 302, path
        assert answer["Location"].startswith("/sign-in/?next=")


@pytest.mark.django_db
def test_a_person_signs_in_and_out() -> None:
    factories.user("vera", password="a quiet harbour")
    client = Client()
    wrong = client.post("/sign-in/", {"username": "vera", "password": "nonsense"})
    assert "Please enter a correct username" in wrong.content.decode()
    right = client.post("/sign-in/", {"username": "vera", "password": "a quiet harbour", "next": "/"})
    assert right.status_code == 302
    assert client.get("/").status_code == 200
    client.post("/sign-out/")
    assert client.get("/").status_code == 302


@pytest.mark.django_db
def test_a_viewer_sees_no_buttons_and_cannot_press_them() -> None:
    environment = factories.pull_environment(1, phase=Phase.READY)
    client = signed_in(factories.user())
    assert "Rebuild" not in client.get(f"/environments/{environment.pk}/").content.decode()
    refused = client.post(f"/environments/{environment.pk}/stop/")
    assert refused.status_code == 403
    assert "need more rights" in refused.content.decode()
    environment.refresh_from_db()
    assert environment.wanted == Environment.Wanted.PRESENT


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("button", "wanted", "text"),
    [("retry", "present", "Retry"), ("rebuild", "present", "Rebuild with fresh data"), ("stop", "absent", "Stop")],
)
def test_a_button_makes_a_wish_that_names_the_person(button: str, wanted: str, text: str) -> None:
    # Given a developer with the right to change environments
    developer = factories.user("ines")
    developer.user_permissions.add(Permission.objects.get(codename="change_environment"))
    environment = factories.pull_environment(1, phase=Phase.READY)
    # When they press the button
    answer = signed_in(developer).post(f"/environments/{environment.pk}/{button}/", HTTP_HX_REQUEST="true")
    # Then there is a new wish, an Event with their name, and a notice
    assert answer.status_code == 200
    assert 'hx-swap-oob="true"' in answer.content.decode() and text.split()[0] in answer.content.decode()
    environment.refresh_from_db()
    assert (environment.wanted, environment.generation) == (wanted, 2)
    event = environment.events.get()
    assert (event.actor, event.text) == ("ines", text)


@pytest.mark.django_db(transaction=True)
def test_a_button_that_cannot_work_says_why_and_what_to_do() -> None:
    environment = factories.pull_environment(1, phase=Phase.GONE, wanted="absent")
    client = signed_in(factories.user(staff=True))
    page = client.post(f"/environments/{environment.pk}/start/", follow=True).content.decode()
    assert "is closed: it has no environment. Reopen the pull request first." in page


@pytest.mark.django_db
def test_buttons_take_only_posts_with_a_token() -> None:
    environment = factories.pull_environment(1)
    client = Client(enforce_csrf_checks=True)
    client.force_login(factories.user(staff=True))
    assert client.get(f"/environments/{environment.pk}/stop/").status_code == 405
    assert client.post(f"/environments/{environment.pk}/stop/").status_code == 403


# ── the list ────────────────────────────────────────────────────────────────────────────────


def queries_of(client: Client, path: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


@pytest.mark.django_db
def test_the_list_asks_as_many_questions_for_fifty_environments_as_for_five() -> None:
    client = signed_in(factories.user())

    def grow(first: int, last: int) -> None:
        for number in range(first, last + 1):
            made = factories.deployment(
                factories.pull_environment(number, repository=factories.repository(f"shop-{number % 4}"))
            )
            factories.serve(made)
            factories.test_run(made, passed=2)

    grow(1, 5)
    few = queries_of(client, "/")
    grow(6, 50)
    assert queries_of(client, "/") == few <= 12


@pytest.mark.django_db
def test_the_list_shows_six_layers_with_word_and_time_for_each_environment() -> None:
    factories.fail(factories.pull_environment(7), "app", "service_crashed", "m", "h", [])
    page = signed_in(factories.user()).get("/").content.decode()
    positions = [page.index(f'data-layer="{layer}"') for layer in LAYERS]
    assert positions == sorted(positions)
    assert page.count("</svg>done</span>") == 3
    assert page.count("</svg>failed</span>") == 1
    assert page.count("</svg>not run</span>") == 2
    assert "3.14 s" in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {1, 2}),
        ({"state": "gone"}, {3}),
        ({"q": "gift"}, {1}),
        ({"q": "#2"}, {2}),
        ({"q": "tomas sear"}, {2}),
        ({"q": "nothing such"}, set()),
        ({"q": "%"}, set()),
        ({"q": "\x00", "page": "9" * 40, "state": "odd"}, {1, 2}),
        ({"page": "²"}, {1, 2}),
    ],
)
def test_the_list_is_filtered_by_state_and_search(query: dict[str, str], found: set[int]) -> None:
    factories.pull_environment(1, "Gift cards", phase=Phase.READY)
    factories.pull_environment(2, "Search by colour", phase=Phase.BUILDING, author="tomas")
    factories.pull_environment(3, "Gift wrap", phase=Phase.GONE, wanted="absent")
    shown = selectors.environment_list(Listing.of(query))
    numbers = {row.environment.pull.number for group in shown.groups for row in group.rows if row.environment.pull}
    assert numbers == found
    assert (shown.open_count, shown.gone_count) == (2, 1)


@pytest.mark.django_db
def test_an_empty_list_says_what_to_do() -> None:
    client = signed_in(factories.user())
    page = client.get("/").content.decode()
    assert "previewkit repo add PATH" in page and "previewkit pr open REPOSITORY BRANCH" in page
    factories.repository()
    assert "previewkit repo add" not in client.get("/").content.decode()


@pytest.mark.django_db
def test_what_is_being_deleted_is_not_offered_to_open() -> None:
    environment = factories.pull_environment(1, phase=Phase.STOPPING, wanted="absent")
    factories.serve(factories.deployment(environment))
    page = signed_in(factories.user()).get("/").content.decode()
    assert "preview.localhost" not in page


# ── one environment ─────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_every_phase_has_a_page_and_an_older_deployment_too() -> None:
    client = signed_in(factories.user(staff=True))
    made = factories.shop()
    for environment in made.values():
        page = client.get(f"/environments/{environment.pk}/")
        assert page.status_code == 200
        assert environment.get_phase_display() in page.content.decode()
    older = client.get(f"/environments/{made['degraded'].pk}/deployments/1/").content.decode()
    assert "an older one" in older and "Rebuild" not in older
    assert client.get(f"/environments/{made['ready'].pk}/deployments/99/").status_code == 404
    missing = client.get("/environments/987654321/")
    assert missing.status_code == 404 and "There is nothing here" in missing.content.decode()


@pytest.mark.django_db
def test_a_failure_comes_first_with_message_hint_and_last_lines() -> None:
    environment = factories.pull_environment(5, phase=Phase.FAILED)
    factories.fail(
        environment, "app", "service_wrong_port", "web <listens> on `3000`", "Use PORT", ["a\x1b[31mb", "<c>"]
    )
    page = signed_in(factories.user()).get(f"/environments/{environment.pk}/").content.decode()
    assert "web &lt;listens&gt; on <code>3000</code>" in page
    assert "ab\n&lt;c&gt;\n" in page
    assert page.index("What to do:") < page.index('id="layers-title"')


@pytest.mark.django_db
def test_a_newer_wish_shows_waiting_layers_and_the_address_of_the_older_commit() -> None:
    environment = factories.pull_environment(5, phase=Phase.QUEUED, generation=2)
    older = factories.deployment(environment, generation=1)
    factories.serve(older)
    page = selectors.environment_page(environment.pk)
    assert page.deployment is None
    assert {strip.word for strip in page.strips} == {"waiting"}
    assert [service.name for service in page.addresses] == ["web", "api"]


@pytest.mark.django_db
def test_tests_that_did_not_run_are_never_green() -> None:
    environment = factories.pull_environment(5, phase=Phase.READY)
    made = factories.deployment(environment, tests=LayerRun.State.SKIPPED)
    factories.test_run(made, passed=0, state="not_run", reason="There is no browser. Run `previewkit browser install`.")
    page = signed_in(factories.user()).get(f"/environments/{environment.pk}/").content.decode()
    assert "Not run." in page and "<code>previewkit browser install</code>" in page
    assert 'data-green="no"' in page and 'data-green="yes"' not in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "green"),
    [({}, True), ({"sha": "other"}, False), ({"namespace_uid": "other"}, False), ({"state": "replaying"}, False)],
)
def test_a_result_is_green_only_while_its_binding_holds(fields: dict[str, Any], green: bool) -> None:
    made = factories.deployment(factories.pull_environment(5))
    factories.test_run(made, **fields)
    assert selectors.tallies([made.pk])[made.pk].is_green is green


@pytest.mark.django_db
def test_an_overruled_finding_counts_as_the_person_said() -> None:
    made = factories.deployment(factories.pull_environment(5))
    run = factories.test_run(made, bug=True)
    run.findings.filter(verdict="APPLICATION_BUG").update(overruled="AGENT_ERROR", overruled_by="ines")
    tally = selectors.tallies([made.pk])[made.pk]
    assert (tally.bugs, tally.agent_errors) == (0, 2)


@pytest.mark.django_db
def test_a_finding_shows_its_picture() -> None:
    run = factories.test_run(factories.deployment(factories.pull_environment(5)), bug=True)
    with_picture, without = run.findings.order_by("pk")
    client = signed_in(factories.user())
    answer = client.get(f"/findings/{with_picture.pk}/picture.png")
    assert answer["Content-Type"] == "image/png" and answer.content.startswith(b"\x89PNG")
    assert client.get(f"/findings/{without.pk}/picture.png").status_code == 404


@pytest.mark.django_db
def test_the_comment_is_shown_without_what_could_run() -> None:
    environment = factories.pull_environment(5, phase=Phase.FAILED)
    factories.fail(environment, "build", "build_failed", "<script>alert(1)</script> [x](javascript:alert(2))", "", [])
    page = signed_in(factories.user()).get(f"/environments/{environment.pk}/").content.decode()
    comment = page[page.index('class="comment"') :]
    assert "<script" not in comment and 'href="javascript:' not in comment
    assert "<table>" in comment


def test_markdown_keeps_details_and_drops_scripts() -> None:
    html = markdown.to_html(
        "<details><summary>a</summary>\n\n**b** <img src=x onerror=alert(1)>\n\n</details><script>c</script>"
    )
    assert "<details><summary>a</summary>" in html and "<strong>b</strong>" in html
    assert "onerror" not in html and "script" not in html


@pytest.mark.django_db
def test_pages_allow_nothing_inline() -> None:
    answer = signed_in(factories.user()).get("/")
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]
    page = answer.content.decode()
    assert " style=" not in page and "<script>" not in page and " onclick=" not in page


# ── strips and words ────────────────────────────────────────────────────────────────────────


def test_strips_are_six_in_order_and_share_the_time() -> None:
    now = timezone.now()
    begun, built = now - timedelta(seconds=8), now - timedelta(seconds=6)
    ran = [
        LayerRun(layer="app", state="running", started_at=built),
        LayerRun(layer="build", state="done", started_at=begun, finished_at=built),
    ]
    drawn = strips(ran, now)
    assert [strip.layer for strip in drawn] == list(LAYERS)
    assert [strip.word for strip in drawn] == ["done", "waiting", "waiting", "running", "waiting", "waiting"]
    assert [(strip.offset, strip.share) for strip in drawn if strip.seconds] == [(0, 25), (25, 75)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4249, "0.42 s"), (12.34, "12.3 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_are_written_plainly(seconds: float | None, text: str) -> None:
    assert written.duration(seconds) == text


def test_log_lines_lose_colours_and_what_was_written_over() -> None:
    assert written.plain("\x1b[1;32mok\x1b[0m\r\n 10%\r 90%\rdone\x07\n\ttab\x1b]0;title\x07") == "ok\ndone\n\ttab"


# ── the log ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_the_log_begins_at_its_end_and_gives_earlier_lines_when_asked() -> None:
    made = factories.deployment(factories.pull_environment(5))
    count = selectors.LOG_CHUNKS + 5
    chunks = [factories.say(made, "build", f"line {index}") for index in range(count)]
    client = signed_in(factories.user())
    path = f"/environments/{made.environment_id}/deployments/{made.generation}/log/build/"
    end = client.get(path).content.decode()
    assert f"line {count - 1}<" in end and "line 4<" not in end and "line 5<" in end
    earlier = client.get(path, {"before": chunks[5].pk}).content.decode()
    assert [f"line {index}<" in earlier for index in (0, 4, 5)] == [True, True, False]
    assert " hidden>" in earlier
    whole = client.get(path.removesuffix("/") + ".txt")
    assert whole.content.decode().splitlines() == [f"line {index}" for index in range(count)]


# ── pushes ──────────────────────────────────────────────────────────────────────────────────


class Listening:
    """A browser's socket. Real application, real channel layer."""

    def __init__(self, path: str, client: Client | None) -> None:
        headers = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
        if client:
            name = settings.SESSION_COOKIE_NAME
            headers.append((b"cookie", f"{name}={client.cookies[name].value}".encode()))
        self._scope = {"type": "websocket", "path": path, "headers": headers, "query_string": b"", "subprotocols": []}

    async def __aenter__(self) -> Listening:
        self._socket = ApplicationCommunicator(application, self._scope)
        await self._socket.send_input({"type": "websocket.connect"})
        assert (await self._socket.receive_output(timeout=10))["type"] == "websocket.accept"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._socket.wait(timeout=10)

    async def say(self, **message: Any) -> None:
        await self._socket.send_input({"type": "websocket.receive", "text": json.dumps(message)})

    async def html(self) -> str:
        said = await self._socket.receive_output(timeout=10)
        assert said["type"] == "websocket.send", said
        return str(said["text"])

    async def closed_with(self) -> int:
        said = await self._socket.receive_output(timeout=10)
        assert said["type"] == "websocket.close", said
        return int(said["code"])


def listen(path: str, user: User | None) -> Listening:
    return Listening(path, signed_in(user) if user else None)


def elsewhere(work: Any, *args: Any) -> Any:
    """In a thread that Django may query in, with its connection closed after."""

    def closing() -> Any:
        try:
            return work(*args)
        finally:
            connection.close()

    return asyncio.get_running_loop().run_in_executor(None, closing)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/ws/environments/", "/ws/environments/1/"])
def test_a_socket_without_sign_in_is_closed_with_a_code_that_says_so(path: str) -> None:
    async def watch() -> int:
        async with listen(path, None) as browser:
            return await browser.closed_with()

    assert async_to_sync(watch)() == 4401


@pytest.mark.django_db(transaction=True)
def test_a_socket_that_talks_nonsense_is_closed() -> None:
    listening = listen("/ws/environments/", factories.user())

    async def watch() -> int:
        async with listening as browser:
            await browser.say(kind="page", watch={"deployment": "x"})
            return await browser.closed_with()

    assert async_to_sync(watch)() == 4400


@pytest.mark.django_db(transaction=True)
def test_the_list_gets_the_row_that_changed_and_new_rows() -> None:
    first, second = factories.pull_environment(1), factories.pull_environment(2)
    listening = listen("/ws/environments/", factories.user())

    def build(environment: Environment) -> None:
        factories.deployment(environment, running="build")
        transitions.announce(environment.pk)

    def open_third() -> None:
        transitions.announce(factories.pull_environment(3, "A third one").pk)

    async def watch() -> tuple[str, str, str]:
        async with listening as browser:
            await browser.say(kind="page")
            whole = await browser.html()
            await elsewhere(build, first)
            row = await browser.html()
            await elsewhere(open_third)
            return whole, row, await browser.html()

    whole, row, grown = async_to_sync(watch)()
    assert whole.lstrip().startswith('<div id="list" hx-swap-oob="morph">')
    assert f'<li id="environment-{first.pk}" class="row" hx-swap-oob="morph">' in row and "</svg>running" in row
    assert f'id="environment-{second.pk}"' not in row
    assert "A third one" in grown and 'id="list"' in grown


@pytest.mark.django_db(transaction=True)
def test_a_page_gets_only_the_parts_that_changed() -> None:
    environment = factories.pull_environment(1, phase=Phase.STARTING)
    made = factories.deployment(environment, running="app")
    listening = listen(f"/ws/environments/{environment.pk}/", factories.user(staff=True))

    def add_service() -> None:
        DeployedService.objects.create(deployment=made, name="web", state="starting", port=4000)
        transitions.announce(environment.pk)

    async def watch() -> tuple[str, str]:
        async with listening as browser:
            await browser.say(kind="page", watch={"deployment": made.pk, "layer": "all", "after": 0})
            whole = await browser.html()
            await elsewhere(add_service)
            return whole, await browser.html()

    whole, part = async_to_sync(watch)()
    for name in ("heading", "failure", "layers", "tests", "services", "history"):
        assert f'id="{name}"' in whole
    assert 'id="services"' in part
    for name in ("heading", "history", "dependencies", "deployments"):
        assert f'id="{name}"' not in part


@pytest.mark.django_db(transaction=True)
def test_log_lines_are_pushed_from_where_the_browser_is() -> None:
    environment = factories.pull_environment(1)
    made = factories.deployment(environment, running="build")
    seen = factories.say(made, "build", "seen already")
    missed = factories.say(made, "build", "missed while away")
    listening = listen(f"/ws/environments/{environment.pk}/", factories.user())

    def print_more() -> None:
        log = LayerLog(made.layers.get(layer="build"), environment.pk, {})
        log.say("<b>live</b>", "web")
        log.flush()

    async def watch() -> list[str]:
        async with listening as browser:
            await browser.say(kind="log", watch={"deployment": made.pk, "layer": "build", "after": seen.pk})
            got = [await browser.html(), await browser.html()]
            await elsewhere(print_more)
            got.append(await browser.html())
            return got

    _page, caught_up, live = async_to_sync(watch)()
    assert f'data-chunk="{missed.pk}"' in caught_up and "seen already" not in caught_up
    assert f"beforeend:#lines-{made.pk}-build" in live and "&lt;b&gt;live&lt;/b&gt;" in live


@pytest.mark.django_db
def test_another_environments_log_is_not_read_through_its_deployment() -> None:
    environment = factories.pull_environment(1)
    other = factories.deployment(factories.pull_environment(2))
    factories.say(other, "build", "of another environment")
    assert len(selectors.log_after(other.environment_id, other.pk, "build", 0)) == 1
    assert selectors.log_after(environment.pk, other.pk, "build", 0) == ()
    path = f"/environments/{environment.pk}/deployments/{other.generation}/log/build.txt"
    assert signed_in(factories.user()).get(path).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_person_who_signs_out_gets_no_more_pushes() -> None:
    environment = factories.pull_environment(1)
    client = signed_in(factories.user())
    listening = Listening(f"/ws/environments/{environment.pk}/", client)

    async def watch() -> int:
        async with listening as browser:
            await browser.say(kind="page")
            await browser.html()
            await elsewhere(client.post, "/sign-out/")
            await elsewhere(transitions.announce, environment.pk)
            return await browser.closed_with()

    assert async_to_sync(watch)() == 4401


# ── /admin ──────────────────────────────────────────────────────────────────────────────────

TABLES = {
    "environments": "repository pullrequest secret webhookdelivery environment event deployment layerrun logchunk "
    "deployedservice deployeddependency",
    "testruns": "testrun trace scenarioresult finding",
}


@pytest.mark.django_db
@pytest.mark.parametrize(("app", "table"), [(app, table) for app, tables in TABLES.items() for table in tables.split()])
def test_admin_lists_every_table_with_a_constant_number_of_queries(app: str, table: str) -> None:
    client = signed_in(factories.user(staff=True))
    path = f"/admin/{app}/{table}/"

    def grow(first: int, last: int) -> None:
        for number in range(first, last + 1):
            made = factories.deployment(factories.pull_environment(number))
            factories.serve(made)
            factories.say(made, "build", "a line")
            factories.history(made.environment, "Ready")
            factories.test_run(made, passed=1, bug=True)

    grow(1, 2)
    few = queries_of(client, path)
    grow(3, 9)
    assert queries_of(client, path) == few
    assert client.get(path, {"q": "shop"}).status_code == 200


@pytest.mark.django_db
def test_admin_never_shows_a_secret_and_never_edits_history() -> None:
    environment = factories.pull_environment(1)
    secret = environment.repository.secrets.create(name="STRIPE_KEY", ciphertext="gAAAA-cipher")
    factories.history(environment, "Ready")
    made = factories.deployment(environment)
    client = signed_in(factories.user(staff=True))
    for path in ("", f"{secret.pk}/change/"):
        page = client.get(f"/admin/environments/secret/{path}").content.decode()
        assert "STRIPE_KEY" in page and "gAAAA-cipher" not in page
    for table, pk in (
        ("event", environment.events.get().pk),
        ("deployment", made.pk),
        ("layerrun", made.layers.get(layer="app").pk),
    ):
        assert client.get(f"/admin/environments/{table}/{pk}/change/").status_code == 200
        assert client.post(f"/admin/environments/{table}/{pk}/change/", {}).status_code == 403
        assert client.post(f"/admin/environments/{table}/{pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.django_db
def test_admin_keeps_who_overruled_a_finding() -> None:
    run = factories.test_run(factories.deployment(factories.pull_environment(1)), bug=True)
    finding = run.findings.get(verdict="APPLICATION_BUG")
    client = signed_in(factories.user("ada", staff=True))
    client.post(f"/admin/testruns/finding/{finding.pk}/change/", {"overruled": "AGENT_ERROR"})
    finding.refresh_from_db()
    assert (finding.final_verdict, finding.overruled_by) == ("AGENT_ERROR", "ada")
    assert finding.picture
