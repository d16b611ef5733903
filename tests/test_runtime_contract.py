"""The Runtime contract: one suite for every implementation. What `ports.Runtime` promises, and nothing else."""

from __future__ import annotations

import threading

import pytest

from environments.ports import PlatformError, Route, Superseded, UserError
from tests.fixtures_cluster import kubeconfig, kubernetes
from tests.fixtures_runtimes import Hands, act_release, embedded, hands, in_thread, memory, templates

__all__ = ["act_release", "embedded", "hands", "kubeconfig", "kubernetes", "memory", "templates"]

HOST = "web-pr-3-shop.preview.localhost"


# ── namespaces ──────────────────────────────────────────────────────────────────────────────


def test_ensuring_twice_finds_the_same_namespace(hands: Hands) -> None:
    first = hands.ensure()

    assert hands.ensure() == first
    assert hands.runtime.observe(hands.namespace).uid == first


def test_a_namespace_made_anew_is_another_one(hands: Hands) -> None:
    first = hands.ensure()
    hands.runtime.destroy(hands.namespace)

    assert hands.ensure() != first


def test_owned_names_what_carries_our_label(hands: Hands) -> None:
    uid = hands.ensure()

    (owned,) = hands.runtime.owned()
    assert (owned.name, owned.uid) == (hands.namespace, uid)
    assert dict(owned.labels) == hands.labels


def test_nothing_can_be_put_into_a_namespace_that_is_not_there(hands: Hands) -> None:
    for attempt in (
        lambda: hands.runtime.apply_secrets(hands.namespace, {}),
        lambda: hands.dependency("valkey"),
        lambda: hands.apply("act", "serve", "hello"),
        lambda: hands.job("act", "exit", "0"),
        lambda: hands.runtime.apply_routes(hands.namespace, 1, []),
    ):
        with pytest.raises(PlatformError) as raised:
            attempt()
        assert raised.value.code == "namespace_missing"
    assert hands.runtime.blockers(hands.namespace) == []


# ── dependencies ────────────────────────────────────────────────────────────────────────────


def test_a_dependency_is_fresh_once_and_stays_the_same(hands: Hands) -> None:
    hands.ensure()

    first = hands.dependency("postgres")
    second = hands.dependency("postgres")

    assert (first.fresh, second.fresh) == (True, False)
    assert first.fields == second.fields
    assert first.variables == second.variables
    assert {"DATABASE_URL", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"} == set(first.variables)


def test_services_of_one_environment_use_one_database_each_by_name(hands: Hands) -> None:
    hands.ensure()
    first = hands.dependency("postgres")

    second = hands.dependency("postgres", name="analytics")

    assert second.fields["url"] != first.fields["url"]
    assert second.variables["ANALYTICS_DATABASE_URL"] == second.fields["url"]
    assert "DATABASE_URL" not in second.variables


def test_an_unknown_recipe_is_the_authors_error(hands: Hands) -> None:
    hands.ensure()

    with pytest.raises(UserError) as raised:
        hands.dependency("postgre")

    assert raised.value.code == "recipe_unknown"
    assert "postgres" in raised.value.hint


def test_data_comes_back_as_it_was_at_the_snapshot(hands: Hands) -> None:
    # Given
    hands.ensure()
    stores = [hands.dependency("postgres"), hands.dependency("valkey")]
    env = {**stores[0].variables, **stores[1].variables}
    for store in stores:
        hands.job("act", "put", store.name, "colour", "blue", env=env)
    hands.runtime.snapshot(hands.namespace, ["postgres", "valkey"], "seeded")
    # When
    for store in stores:
        hands.job("act", "put", store.name, "colour", "red", env=env)
        hands.job("act", "put", store.name, "size", "large", env=env)
    hands.runtime.restore(hands.namespace, ["postgres", "valkey"], "seeded")
    # Then
    for store in stores:
        assert hands.holds(store) == {"colour": "blue"}


def test_a_snapshot_is_restored_again_and_again_and_replaced_by_a_newer_one(hands: Hands) -> None:
    hands.ensure()
    store = hands.dependency("valkey")
    for colour in ("blue", "green"):
        hands.job("act", "put", "valkey", "colour", colour, env=dict(store.variables))
        hands.runtime.snapshot(hands.namespace, ["valkey"], "seeded")

    for _ in range(2):
        hands.job("act", "put", "valkey", "colour", "red", env=dict(store.variables))
        hands.runtime.restore(hands.namespace, ["valkey"], "seeded")
        assert hands.holds(store) == {"colour": "green"}


def test_a_missing_snapshot_is_said(hands: Hands) -> None:
    hands.ensure()
    hands.dependency("valkey")

    with pytest.raises(PlatformError) as raised:
        hands.runtime.restore(hands.namespace, ["valkey"], "never")

    assert raised.value.code == "snapshot_missing"


# ── jobs ────────────────────────────────────────────────────────────────────────────────────


def test_a_job_streams_what_it_prints(hands: Hands) -> None:
    hands.ensure()
    lines: list[str] = []

    hands.job("act", "exit", "0", "one", "two", on_line=lines.append)

    assert lines == ["one", "two"]


@pytest.mark.parametrize(("kind", "code"), [("migrate", "migrate_failed"), ("seed", "seed_failed")])
def test_a_failing_job_ends_with_its_last_lines(hands: Hands, kind: str, code: str) -> None:
    hands.ensure()

    with pytest.raises(UserError) as raised:
        hands.job("act", "exit", "3", "no such table", kind=kind)

    assert raised.value.code == code
    assert raised.value.log_tail[-1] == "no such table"
    assert "3" in raised.value.message


def test_a_job_that_takes_too_long_is_stopped(hands: Hands) -> None:
    hands.ensure()

    with pytest.raises(UserError) as raised:
        hands.job("act", "wait", timeout=0.6)

    assert raised.value.code == "job_timeout"


def test_an_overtaken_job_stops(hands: Hands) -> None:
    hands.ensure()
    overtaken = threading.Event()

    def fence() -> None:
        if overtaken.is_set():
            raise Superseded

    with in_thread(lambda: hands.job("act", "wait", fence=fence)) as errors:
        overtaken.set()

    assert [type(error) for error in errors] == [Superseded]


# ── services ────────────────────────────────────────────────────────────────────────────────


def test_a_service_answers_once_it_is_ready(hands: Hands) -> None:
    hands.ensure()
    lines: list[str] = []
    handle = hands.apply("act", "serve", "hello")

    hands.ready(on_line=lines.append)

    assert hands.ask() == "hello"
    assert lines == ["serving"]
    assert handle.url == f"http://{handle.host}:{handle.port}"
    assert hands.runtime.address(hands.namespace, "web", 1).startswith("http://")
    assert list(hands.runtime.logs(hands.namespace, "web", 1)) == ["serving"]


def test_applying_a_service_twice_finds_the_first(hands: Hands) -> None:
    hands.ensure()
    first = hands.serve("hello")

    assert hands.apply("act", "serve", "hello") == first
    (state,) = hands.runtime.observe(hands.namespace).services
    assert (state.name, state.revision, state.state, state.restarts) == ("web", 1, "running", 0)


def test_a_worker_has_no_address(hands: Hands) -> None:
    hands.ensure()

    handle = hands.apply("act", "hang", port=None)
    hands.ready()

    assert (handle.host, handle.port, handle.url) == (None, None, None)


def test_a_crash_is_told_with_the_last_lines(hands: Hands) -> None:
    hands.ensure()
    hands.apply("act", "exit", "3", "SECRET_KEY is not set")

    with pytest.raises(UserError) as raised:
        hands.ready()

    assert raised.value.code == "service_crashed"
    assert "exit status 3" in raised.value.message
    assert raised.value.log_tail[-1] == "SECRET_KEY is not set"
    assert hands.runtime.observe(hands.namespace).services[0].state == "crashed"


def test_a_service_that_never_listens_is_not_ready(hands: Hands) -> None:
    hands.ensure()
    handle = hands.apply("act", "hang")

    with pytest.raises(UserError) as raised:
        hands.ready(timeout=1)

    assert raised.value.code == "service_not_ready"
    assert f"port {handle.port}" in raised.value.message


def test_waiting_for_a_service_ends_when_overtaken(hands: Hands) -> None:
    hands.ensure()
    hands.apply("act", "hang")

    def fence() -> None:
        raise Superseded

    with pytest.raises(Superseded):
        hands.ready(fence=fence)


# ── routes ──────────────────────────────────────────────────────────────────────────────────


def test_the_old_revision_serves_until_the_switch(hands: Hands) -> None:
    # Given
    hands.ensure()
    hands.serve("old", revision=1)
    hands.runtime.apply_routes(hands.namespace, 1, [Route(HOST, "web")])
    # When
    hands.serve("new", revision=2)
    # Then
    assert hands.visit(HOST) == "old"
    hands.runtime.apply_routes(hands.namespace, 2, [Route(HOST, "web")])
    assert hands.visit(HOST) == "new"
    hands.runtime.retire_services(hands.namespace, keep=2)
    assert hands.visit(HOST) == "new"
    assert [state.revision for state in hands.runtime.observe(hands.namespace).services] == [2]


def test_routes_are_replaced_as_a_whole(hands: Hands) -> None:
    hands.ensure()
    hands.serve("hello")
    hands.runtime.apply_routes(hands.namespace, 1, [Route(HOST, "web"), Route("demo.localhost", "web")])

    hands.runtime.apply_routes(hands.namespace, 1, [Route("demo.localhost", "web")])
    assert hands.runtime.observe(hands.namespace).hosts == ("demo.localhost",)
    assert hands.visit(HOST) is None

    hands.runtime.apply_routes(hands.namespace, 1, [])
    assert hands.runtime.observe(hands.namespace).hosts == ()
    assert hands.visit("demo.localhost") is None


def test_a_route_to_nothing_is_refused_and_the_others_stay(hands: Hands) -> None:
    hands.ensure()
    hands.serve("hello")
    hands.runtime.apply_routes(hands.namespace, 1, [Route(HOST, "web")])

    with pytest.raises(PlatformError):
        hands.runtime.apply_routes(hands.namespace, 1, [Route(HOST, "api")])

    assert hands.visit(HOST) == "hello"


def test_retiring_all_leaves_no_service(hands: Hands) -> None:
    hands.ensure()
    hands.serve("hello")

    hands.runtime.retire_services(hands.namespace, keep=None)
    hands.runtime.retire_services(hands.namespace, keep=None)

    assert hands.runtime.observe(hands.namespace).services == ()


# ── sleep, end ──────────────────────────────────────────────────────────────────────────────


def test_what_slept_is_the_same_when_it_wakes(hands: Hands) -> None:
    # Given
    hands.ensure()
    store = hands.dependency("valkey")
    hands.job("act", "put", "valkey", "colour", "blue", env=dict(store.variables))
    hands.serve("hello")
    hands.runtime.apply_routes(hands.namespace, 1, [Route(HOST, "web")])
    # When
    hands.runtime.sleep(hands.namespace)
    hands.runtime.sleep(hands.namespace)
    # Then
    seen = hands.runtime.observe(hands.namespace)
    assert (seen.exists, seen.asleep, seen.services[0].state) == (True, True, "stopped")
    assert hands.visit(HOST) is None
    # When
    hands.runtime.wake(hands.namespace)
    hands.runtime.wake(hands.namespace)
    # Then
    seen = hands.runtime.observe(hands.namespace)
    assert (seen.asleep, seen.services[0].state) == (False, "running")
    assert hands.visit(HOST) == "hello"
    assert hands.holds(store) == {"colour": "blue"}


def test_destroying_leaves_nothing_and_may_be_repeated(hands: Hands) -> None:
    hands.ensure()
    hands.dependency("postgres")
    hands.dependency("valkey")
    hands.serve("hello")
    hands.runtime.apply_routes(hands.namespace, 1, [Route(HOST, "web")])
    assert hands.runtime.blockers(hands.namespace) != []

    hands.runtime.destroy(hands.namespace)

    assert hands.runtime.blockers(hands.namespace) == []
    assert hands.runtime.observe(hands.namespace).exists is False
    assert hands.runtime.owned() == []
    assert hands.visit(HOST) is None
    hands.runtime.destroy(hands.namespace)


def test_what_was_never_made_can_be_destroyed(hands: Hands) -> None:
    hands.runtime.destroy(hands.namespace)

    assert hands.runtime.blockers(hands.namespace) == []
    assert hands.runtime.observe(hands.namespace).exists is False


def test_two_workers_at_once_make_one_environment(hands: Hands) -> None:
    uids: list[str] = []
    handles = []

    def bring_up() -> None:
        uids.append(hands.ensure())
        handles.append(hands.dependency("postgres"))
        hands.apply("act", "serve", "hello")
        hands.ready()

    with in_thread(bring_up) as first, in_thread(bring_up) as second:
        pass

    assert (first, second) == ([], [])
    assert len(set(uids)) == 1
    assert handles[0].fields == handles[1].fields
    assert [handle.fresh for handle in handles].count(True) == 1
    assert hands.ask() == "hello"
