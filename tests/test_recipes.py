"""The recipes: what they accept, what they promise services, and that what runs is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from environments.ports import DependencyHandle, RecipeContext, UserError
from environments.recipes import RECIPES, recipe_for
from environments.recipes.postgres_binaries import installation, installations
from environments.recipes.programs import beside_python
from environments.spec import Dependency
from tests.fixtures_runtimes import EmbeddedHands, act_release, embedded, templates

__all__ = ["act_release", "embedded", "templates"]


def dependency(recipe: str, version: str | None = None, **options: Any) -> Dependency:
    return Dependency(recipe=recipe, version=version, name=recipe, options=options)


def context(wanted: Dependency, **facts: Any) -> RecipeContext:
    names = recipe_for(wanted.recipe).port_names
    return RecipeContext(wanted, "127.0.0.1", {name: 4000 + n for n, name in enumerate(names)}, "p w", **facts)


# ── what they accept ────────────────────────────────────────────────────────────────────────


CONTAINERS_ONLY = ("image", "mysql")


@pytest.mark.parametrize("name", CONTAINERS_ONLY)
def test_a_recipe_that_needs_containers_says_so_on_this_machine(name: str) -> None:
    with pytest.raises(UserError) as raised:
        recipe_for(name).embedded_version(dependency(name))

    assert raised.value.code == "recipe_unsupported"
    assert "RUNTIME=kubernetes" in raised.value.hint


@pytest.mark.parametrize("name", sorted(set(RECIPES) - set(CONTAINERS_ONLY)))
def test_every_recipe_accepts_its_plainest_form(name: str) -> None:
    recipe = recipe_for(name)

    recipe.check(dependency(name))

    assert recipe.name == name
    assert recipe.embedded_version(dependency(name))[0][0].isdigit()


@pytest.mark.parametrize(
    ("wanted", "code", "says"),
    [
        (dependency("postgres", "9"), "recipe_version", "12, 13"),
        (dependency("postgres", "latest"), "recipe_version", "16"),
        (dependency("postgres", "16; rm -rf /"), "recipe_version", "16"),
        (dependency("valkey", "2"), "recipe_version", "7, 8"),
        (dependency("redis", "99"), "recipe_version", "7"),
        (dependency("temporal", "2"), "recipe_version", "1"),
        (dependency("postgres", extension=["x"]), "recipe_option", "extensions"),
        (dependency("postgres", extensions="vector"), "recipe_option", "[name]"),
        (dependency("postgres", database="postgres"), "recipe_option", "letters"),
        (dependency("postgres", database='x"; DROP'), "recipe_option", "letters"),
        (dependency("valkey", maxmemory="a lot"), "recipe_option", "64mb"),
        (dependency("valkey", maxmemory="1mb\nrequirepass x"), "recipe_option", "64mb"),
        (dependency("temporal", namespace="a b"), "recipe_option", "letters"),
        (dependency("api-gateway", routes="x"), "recipe_option", "strip_prefix"),
        (dependency("api-gateway", routes=[{"path": "api", "to": "services.api"}]), "recipe_option", "strip_prefix"),
        (dependency("api-gateway", routes=[{"path": "/`)", "to": "services.api"}]), "recipe_option", "strip_prefix"),
        (dependency("api-gateway", routes=[{"path": "/api", "to": "http://x"}]), "recipe_option", "strip_prefix"),
        (dependency("api-gateway", default="web"), "recipe_option", "services.web"),
    ],
)  # fmt: skip
def test_what_a_recipe_can_not_do_is_said_with_the_way_out(wanted: Dependency, code: str, says: str) -> None:
    with pytest.raises(UserError) as raised:
        recipe_for(wanted.recipe).check(wanted)

    assert raised.value.code == code
    assert says in raised.value.hint


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError) as raised:
        recipe_for("postgress")

    assert raised.value.code == "recipe_unknown"
    assert raised.value.hint.startswith("Did you mean postgres?")


# ── what runs is said ───────────────────────────────────────────────────────────────────────


def test_the_wanted_major_version_of_postgres_runs_without_a_note() -> None:
    for found in installations():
        version, note = recipe_for("postgres").embedded_version(dependency("postgres", str(found.major)))
        assert (version, note) == (found.version, "")


def test_another_version_of_postgres_is_said_never_silent() -> None:
    missing = next(major for major in range(12, 18) if major not in [each.major for each in installations()])

    version, note = recipe_for("postgres").embedded_version(dependency("postgres", str(missing)))

    assert int(version.split(".")[0]) > missing
    assert note == f"postgres {missing} was asked for; Postgres {version} runs here."


def test_an_exact_version_that_is_not_here_is_said() -> None:
    found = installation("16")

    version, note = recipe_for("postgres").embedded_version(dependency("postgres", "16.0"))

    assert version == found.version
    assert note == f"postgres 16.0 was asked for; Postgres {found.version} runs here."


def test_redis_is_served_by_valkey_and_says_so() -> None:
    version, note = recipe_for("redis").embedded_version(dependency("redis", "7"))

    assert note == f"redis 7 was asked for; Valkey {version} runs here and speaks the same protocol."


def test_an_extension_that_is_not_installed_is_refused_with_those_that_are() -> None:
    wanted = dependency("postgres", "16", extensions=["timescale"])

    with pytest.raises(UserError) as raised:
        recipe_for("postgres").embedded_version(wanted)

    assert raised.value.code == "recipe_option"
    assert "plpgsql" in raised.value.hint


# ── what services get ───────────────────────────────────────────────────────────────────────


def test_the_conventional_variables_of_postgres() -> None:
    variables = recipe_for("postgres").variables(context(dependency("postgres")))

    assert variables == {
        "DATABASE_URL": "postgresql://preview:p%20w@127.0.0.1:4000/preview",
        "PGHOST": "127.0.0.1",
        "PGPORT": "4000",
        "PGUSER": "preview",
        "PGPASSWORD": "p w",
        "PGDATABASE": "preview",
    }


def test_a_second_one_has_its_name_before_its_variables() -> None:
    wanted = Dependency(recipe="valkey", name="job-queue")

    variables = recipe_for("valkey").variables(context(wanted))

    assert set(variables) == {"JOB_QUEUE_REDIS_URL", "JOB_QUEUE_VALKEY_URL"}


def test_a_gateway_without_services_routes_nothing() -> None:
    wanted = dependency("api-gateway", routes=[{"path": "/api", "to": "services.api"}])

    files = recipe_for("api-gateway").embedded_files(context(wanted, data=Path("/nowhere")))

    assert "routers" not in json.loads(files["routes.yml"])["http"]


# ── running ─────────────────────────────────────────────────────────────────────────────────


def test_databases_and_extensions_are_there(embedded: EmbeddedHands) -> None:
    embedded.ensure()

    first = embedded.dependency(
        "postgres", version="16", options={"databases": ["shop", "audit-log"], "extensions": ["vector"]}
    )

    assert first.fields["database"] == "shop"
    for database in ("shop", "audit-log"):
        with psycopg.connect(first.fields["url"].rsplit("/", 1)[0] + f"/{database}") as connection:
            assert connection.execute("SELECT '[1,2]'::vector <-> '[1,3]'").fetchone() == (1.0,)


def test_a_database_that_is_wanted_later_is_added_to_the_data(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    first = embedded.dependency("postgres")
    with psycopg.connect(first.fields["url"]) as connection:
        connection.execute("CREATE TABLE kept (id int)")

    second = embedded.dependency("postgres", options={"databases": ["preview", "audit"]})

    assert second.fresh is False
    with psycopg.connect(second.fields["url"]) as connection:
        connection.execute("SELECT id FROM kept")
    with psycopg.connect(second.fields["url"].rsplit("/", 1)[0] + "/audit") as connection:
        connection.execute("SELECT 1")


def test_another_major_version_is_another_database(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    embedded.dependency("postgres", version="16")

    second = embedded.dependency("postgres", version="18")

    assert second.fresh is True
    with psycopg.connect(second.fields["url"]) as connection:
        assert connection.info.server_version // 10000 == 18


def test_each_dependency_wants_its_own_password(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    stores = [embedded.dependency("postgres"), embedded.dependency("valkey")]
    assert len({store.fields["password"] for store in stores}) == 2

    for wrong in ("", "preview", stores[1].fields["password"]):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(stores[0].fields["url"], password=wrong or "none")
    with (
        redis.Redis(port=int(stores[1].fields["port"])) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.get("x")


def test_redis_and_valkey_stand_side_by_side(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    urls = {embedded.dependency(name).fields["url"] for name in ("redis", "valkey")}

    assert len(urls) == 2
    for url in urls:
        with redis.Redis.from_url(url) as client:
            assert client.ping()


def test_a_database_in_use_is_kept_and_restored(embedded: EmbeddedHands) -> None:
    """A service is connected, and connects again as soon as it is cut off."""
    embedded.ensure()
    store = embedded.dependency("postgres")
    with psycopg.connect(store.fields["url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        embedded.runtime.snapshot(embedded.namespace, ["postgres"], "seeded")
    with psycopg.connect(store.fields["url"], autocommit=True) as connection:
        connection.execute("DROP TABLE kept")
        embedded.runtime.restore(embedded.namespace, ["postgres"], "seeded")

    with psycopg.connect(store.fields["url"]) as connection:
        connection.execute("SELECT id FROM kept")


def test_temporal_runs_and_its_state_comes_back(embedded: EmbeddedHands) -> None:
    # Given
    embedded.ensure()
    store = embedded.dependency("temporal", options={"namespace": "orders"})
    assert store.variables == {
        "TEMPORAL_ADDRESS": store.fields["address"],
        "TEMPORAL_NAMESPACE": "orders",
    }
    temporal(store, "workflow", "start", "--task-queue", "q", "--type", "Order", "--workflow-id", "first")
    embedded.runtime.snapshot(embedded.namespace, ["temporal"], "seeded")
    # When
    temporal(store, "workflow", "start", "--task-queue", "q", "--type", "Order", "--workflow-id", "second")
    embedded.runtime.restore(embedded.namespace, ["temporal"], "seeded")
    # Then
    temporal(store, "workflow", "describe", "--workflow-id", "first")
    with pytest.raises(subprocess.CalledProcessError):
        temporal(store, "workflow", "describe", "--workflow-id", "second")


def temporal(store: DependencyHandle, *words: str) -> str:
    where = ["--address", store.fields["address"], "--namespace", store.fields["namespace"]]
    answer = subprocess.run(
        [beside_python("temporal"), *words, *where], capture_output=True, text=True, check=True, timeout=60
    )
    return answer.stdout


def test_a_gateways_default_takes_what_no_route_matches(embedded: EmbeddedHands) -> None:
    embedded.ensure()
    gateway = embedded.dependency(
        "api-gateway",
        options={"routes": [{"path": "/api", "to": "services.api"}], "default": "services.web"},
    )
    embedded.serve("api", name="api")
    embedded.serve("web", name="web")
    embedded.runtime.apply_routes(embedded.namespace, 1, [])

    seen = [httpx.get(gateway.fields["url"] + path, trust_env=False).text for path in ("/api", "/apiary", "/")]

    assert seen == ["api", "web", "web"]


ECHO = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.path} {self.headers.get('X-Tenant')}".encode())
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""


def test_a_gateway_rewrites_paths_and_sets_headers(embedded: EmbeddedHands) -> None:
    # Given
    embedded.ensure()
    routes = [
        {"path": "/api", "to": "services.web", "rewrite": "/v2", "headers": {"X-Tenant": "demo"}},
        {"path": "/plain", "to": "services.web"},
    ]
    gateway = embedded.dependency("api-gateway", options={"routes": routes})
    embedded.apply(sys.executable, "-c", ECHO)
    embedded.ready()
    # When
    embedded.runtime.apply_routes(embedded.namespace, 1, [])
    # Then
    seen = [httpx.get(gateway.fields["url"] + path, trust_env=False).text for path in ("/api/x?y=1", "/plain/x")]
    assert seen == ["/v2/x?y=1 demo", "/plain/x None"]
