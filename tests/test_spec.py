""".preview.yaml: what it means, and what is said when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fixtures_spec import SMALLEST, WHOLE, plain, web

from environments import ports
from environments.errors import CODES, UserError
from environments.spec import (
    RECIPE_FIELDS,
    RECIPES,
    Build,
    Service,
    Spec,
    SpecError,
    SpecProblem,
    describe,
    json_schema,
    lint_file,
    load,
    parse,
    references,
    resolve,
    spec_hash,
    written,
)
from environments.spec.parsing import FORMS

DOCS = Path(__file__).parent.parent / "docs" / "preview-yaml.md"


def problems(text: str | bytes) -> tuple[SpecProblem, ...]:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return caught.value.problems


def problem(text: str | bytes) -> SpecProblem:
    found = problems(text)
    assert len(found) == 1, [str(each) for each in found]
    return found[0]


class TestMeaning:
    def test_the_smallest_file(self) -> None:
        spec = parse(SMALLEST)
        assert spec.services["web"] == Service(name="web", port=3000, public=True)
        assert [(each.recipe, each.version, each.name) for each in spec.dependencies] == [
            ("postgres", "15", "postgres"),
            ("valkey", "7", "valkey"),
        ]

    def test_the_whole_surface(self) -> None:
        spec = parse(WHOLE)
        service = spec.services["web"]
        assert (service.path, service.command, service.replicas) == ("apps/web", ("node", "server.js"), 1)
        assert (service.health.path, service.health.timeout) == ("/healthz", 120)
        assert (service.resources.cpu, service.resources.memory) == (0.5, 512 * 1024**2)
        assert (service.migrate, service.seed) == (
            "python manage.py migrate",
            "python manage.py loaddata demo",
        )
        assert (service.secrets, service.depends_on) == (("STRIPE_KEY",), ("api",))
        assert spec.dependencies[1].name == "analytics"
        assert spec.dependencies[1].options == {"extensions": ["pgcrypto"]}
        assert spec.dependencies[3].options["routes"][0]["strip_prefix"] is True
        assert (spec.previews.sleep_after, spec.previews.expire_after) == (1800, 7 * 86400)
        assert spec.tests.scenarios == ("tests/preview/*.yaml",)

    @pytest.mark.parametrize("text", [SMALLEST, WHOLE])
    def test_survives_a_trip_through_json(self, text: str) -> None:
        spec = parse(text)
        assert Spec.model_validate(spec.model_dump(mode="json")) == spec
        assert Spec.model_validate_json(spec.model_dump_json()) == spec

    def test_bytes_with_a_byte_order_mark_and_windows_line_ends(self) -> None:
        assert parse(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode()) == parse(SMALLEST)

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("railpack", Build()),
            ("dockerfile", Build(kind="dockerfile", dockerfile="Dockerfile")),
            ("{dockerfile: ./ci/Dockerfile}", Build(kind="dockerfile", dockerfile="ci/Dockerfile")),
            (
                "{dockerfile: Dockerfile, target: run, args: {V: 1.10}}",
                Build(kind="dockerfile", dockerfile="Dockerfile", target="run", args={"V": "1.10"}),
            ),
            ("{image: 'ghcr.io/acme/shop:1.4'}", Build(kind="image", image="ghcr.io/acme/shop:1.4")),
        ],
    )
    def test_build(self, written: str, meant: Build) -> None:
        assert parse(web(f"build: {written}")).services["web"].build == meant

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("[node, server.js, 80, true]", ("node", "server.js", "80", "true")),
            ("node server.js && echo", "node server.js && echo"),
        ],
    )
    def test_command(self, written: str, meant: Any) -> None:
        assert parse(web(f"command: {written}")).services["web"].command == meant

    @pytest.mark.parametrize("key", ["migrate", "seed"])
    def test_a_job_can_be_turned_off(self, key: str) -> None:
        assert getattr(parse(web(f"{key}: false")).services["web"], key) is False
        assert getattr(parse(web()).services["web"], key) is None

    @pytest.mark.parametrize(
        ("written", "meant"), [("1s", 1), ("120s", 120), ("2m", 120), ("1h", 3600), ("0h", None), ("2h", None)]
    )
    def test_ready_timeout(self, written: str, meant: float | None) -> None:
        text = web(f"health: {{timeout: {written}}}")
        if meant is None:
            assert "from 1s to 1h" in problem(text).message
        else:
            assert parse(text).services["web"].health.timeout == meant

    @pytest.mark.parametrize(("written", "meant"), [("never", None), ("90m", 5400), ("7d", 604800)])
    def test_spans_of_a_preview(self, written: str, meant: float | None) -> None:
        spec = parse(web(rest=f"previews: {{sleep_after: {written}, expire_after: {written}}}\n"))
        assert (spec.previews.sleep_after, spec.previews.expire_after) == (meant, meant)

    @pytest.mark.parametrize(("written", "meant"), [("500m", 0.5), ("1", 1), ("0.25", 0.25), ("'2'", 2), ("64", 64)])
    def test_cpu(self, written: str, meant: float) -> None:
        assert parse(web(f"resources: {{cpu: {written}}}")).services["web"].resources.cpu == meant

    @pytest.mark.parametrize(
        ("written", "meant"), [("512Mi", 512 * 1024**2), ("2Gi", 2 * 1024**3), ("256M", 256 * 1000**2)]
    )
    def test_memory(self, written: str, meant: int) -> None:
        assert parse(web(f"resources: {{memory: {written}}}")).services["web"].resources.memory == meant

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            *((same, same) for same in ("8080", "1.10", "0x1F", "1e3", "yes", "2024-01-01", ".inf", "9" * 400)),
            ("True", "true"),
            ("''", ""),
        ],
    )
    def test_variables_are_text_as_they_are_written(self, written: str, meant: str) -> None:
        assert parse(web(f"env: {{A: {written}}}")).services["web"].env == {"A": meant}

    def test_options_are_plain_json(self) -> None:
        options = parse(web(rest="dependencies: [{recipe: redis, options: {a: 0x10, b: [1.5, ~, no]}}]\n"))
        assert options.dependencies[0].options == {"a": 16, "b": [1.5, None, "no"]}
        assert type(options.dependencies[0].options["a"]) is int

    def test_the_version_of_a_dependency_may_be_a_number(self) -> None:
        spec = parse(web(rest="dependencies: [{recipe: postgres, version: 15}, {recipe: redis, version: 7.10}]\n"))
        assert [each.version for each in spec.dependencies] == ["15", "7.10"]

    def test_an_alias_stands_for_its_value(self) -> None:
        spec = parse("services:\n  a: &same {env: {X: y}}\n  b: *same\n")
        assert spec.services["a"].env == spec.services["b"].env == {"X": "y"}

    def test_paths_are_tidied(self) -> None:
        assert parse(web("path: ./apps//web/")).services["web"].path == "apps/web"


class TestPublic:
    @pytest.mark.parametrize(
        ("services", "public"),
        [
            ("{server: {port: 1}, worker: {}}", {"server"}),
            ("{web: {port: 1}, api: {port: 2}}", {"web"}),
            ("{web: {port: 1}, app: {port: 2}, frontend: {port: 3}, x: {port: 4}}", {"web", "app", "frontend"}),
            ("{web: {port: 1, public: false}, api: {port: 2, public: true}}", {"api"}),
            ("{a: {port: 1}, b: {port: 2}}", set()),
            ("{web: {}, api: {port: 2}}", {"api"}),
            ("{web: {}}", set()),
        ],
    )
    def test_is_what_is_alone_or_named_like_a_front_end_unless_stated(self, services: str, public: set[str]) -> None:
        spec = parse(f"services: {services}")
        assert {name for name, service in spec.services.items() if service.public} == public

    def test_the_preview_is_its_front_end(self) -> None:
        spec = parse("services: {api: {port: 2, public: true}, web: {port: 1}}")
        assert spec.public_service == spec.services["web"]
        assert parse("services: {a: {}}").public_service is None


class TestOrder:
    def test_is_the_files_where_nothing_else_is_said(self) -> None:
        assert list(parse("services: {c: {}, a: {}, b: {}}").services) == ["c", "a", "b"]

    def test_follows_depends_on_and_references(self) -> None:
        spec = parse(
            "services:\n  web: {port: 1, env: {A: '{{services.api.url}}'}, depends_on: [worker]}\n"
            "  api: {port: 2, env: {A: '{{ services.auth.host }}'}}\n  worker: {}\n  auth: {port: 3}\n"
        )
        assert list(spec.services) == ["auth", "api", "worker", "web"]
        assert spec.services["web"].depends_on == ("api", "worker")

    def test_public_addresses_are_known_beforehand_and_make_no_order(self) -> None:
        spec = parse(
            "services:\n  web: {port: 1, env: {A: '{{services.api.public_url}}', ME: '{{services.web.public_url}}'}}\n"
            "  api: {port: 2, public: true, env: {A: '{{services.web.public_url}}'}}\n"
        )
        assert list(spec.services) == ["web", "api"]

    def test_a_circle_is_printed(self) -> None:
        found = problem("services:\n  web: {env: {A: '{{services.api.url}}'}}\n  api: {port: 1, depends_on: [web]}\n")
        assert "web → api → web" in found.message
        assert (found.code, found.line, found.column) == ("spec_cycle", 3, 31)

    def test_a_service_can_not_start_after_itself(self) -> None:
        found = problem("services: {web: {depends_on: [web]}}")
        assert found.code == "spec_cycle"
        assert "web → web" in found.message


class TestReferences:
    def test_are_found_and_filled_in(self) -> None:
        value = "a {{services.api.url}} b {{ pr.number }}{{postgres.url}}"
        assert [each.name for each in references(value)] == ["services.api.url", "pr.number", "postgres.url"]
        assert resolve(value, lambda name: f"<{name}>") == "a <services.api.url> b <pr.number><postgres.url>"

    def test_what_was_filled_in_is_not_looked_at_again(self) -> None:
        assert resolve("{{pr.title}}", lambda name: "{{postgres.password}}") == "{{postgres.password}}"

    def test_a_value_without_any_stays(self) -> None:
        assert resolve('{"a": {"b": 1}}', lambda name: "x") == '{"a": {"b": 1}}'

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_each_field_of_each_recipe(self, recipe: str) -> None:
        env = ", ".join(f"V{i}: '{{{{it.{field}}}}}'" for i, field in enumerate(RECIPE_FIELDS[recipe]))
        parse(web(f"env: {{{env}}}", rest=f"dependencies: [{{recipe: {recipe}, name: it}}]\n"))

    @pytest.mark.parametrize(
        ("value", "said", "hint"),
        [
            ("{{servces.api.url}}", 'unknown name "servces"', 'did you mean "services"?'),
            ("{{services.wep.url}}", 'unknown service "wep"', 'did you mean "web"?'),
            ("{{services.web.public_uri}}", "unknown field", 'did you mean "{{services.web.public_url}}"?'),
            ("{{services.web}}", 'unknown field ""', ""),
            ("{{web.url}}", 'unknown name "web"', 'did you mean "{{services.web.url}}"?'),
            ("{{postgres.ur}}", "allowed: url, host, port", 'did you mean "{{postgres.url}}"?'),
            ("{{valkey.url}}", 'unknown name "valkey"', "add valkey to `dependencies`"),
            ("{{pr.nmber}}", "number, title, branch, sha", 'did you mean "{{pr.number}}"?'),
            ("{{preview.urls}}", "allowed: url, sha", 'did you mean "{{preview.url}}"?'),
            ("{{services.worker.url}}", "which has no port", "set `port` on worker"),
            ("{{services.worker.public_url}}", "which is not public", "set `public: true` on worker"),
            ("{{nothing}}", "references such as", ""),
            ("{{pr.number", "references such as", "close it with }}"),
        ],
    )
    def test_that_mean_nothing_are_errors(self, value: str, said: str, hint: str) -> None:
        found = problem(web(f"env: {{A: '{value}'}}", rest="  worker: {}\ndependencies: [postgres]\n"))
        assert said in found.message
        assert found.hint == hint
        assert (found.line, found.column, found.path) == (4, 14, "services.web.env.A")

    def test_an_unknown_recipe_is_one_problem_and_not_one_per_reference(self) -> None:
        found = problem(web("env: {A: '{{mongodb.url}}'}", rest="dependencies: [mongodb]\n"))
        assert found.code == "recipe_unknown"


class TestNames:
    @pytest.mark.parametrize(
        ("rest", "said"),
        [
            ("dependencies: [postgres@15, postgres@16]", "again"),
            ("dependencies: [{recipe: redis, name: web}]", "a service too"),
            ("dependencies: [{recipe: redis, name: pr}]", "a name other than services, pr, preview"),
        ],
    )
    def test_clash(self, rest: str, said: str) -> None:
        assert said in problem(web(rest=rest)).message

    def test_two_of_a_recipe_by_different_names(self) -> None:
        spec = parse(web(rest="dependencies: [postgres, {recipe: postgres, name: analytics}]"))
        assert [each.name for each in spec.dependencies] == ["postgres", "analytics"]

    @pytest.mark.parametrize(
        ("name", "hint"),
        [("Web_App", 'did you mean "web-app"?'), ("1a", ""), ("a" * 33, f'did you mean "{"a" * 32}"?'), ("-", "")],
    )
    def test_of_services_are_dns_labels(self, name: str, hint: str) -> None:
        found = problem(f"services: {{{name}: {{}}}}")
        assert "lower-case letters, digits and dashes" in found.message
        assert found.hint == hint

    def test_a_variable_is_either_open_or_secret(self) -> None:
        assert "in `env` and in `secrets`" in problem(web("env: {A: b}", "secrets: [A]")).message

    def test_depends_on_a_dependency_says_that_it_is_not_needed(self) -> None:
        found = problem(web("depends_on: [postgres]", rest="dependencies: [postgres]"))
        assert found.hint == "remove it: all dependencies start before all services"

    @pytest.mark.parametrize(
        ("to", "hint"),
        [
            ("services.wep", 'did you mean "services.web"?'),
            ("web", 'did you mean "services.web"?'),
            ("services.worker", "worker has no port: set `port`"),
            ("postgres", ""),
            ("3", ""),
        ],
    )
    def test_a_route_leads_to_a_service_with_a_port(self, to: str, hint: str) -> None:
        routes = f"[{{path: /api, to: services.web}}, {{path: /x, to: {to}}}]"
        gateway = f"{{recipe: api-gateway, options: {{routes: {routes}}}}}"
        found = problem(web(rest=f"  worker: {{}}\ndependencies: [{gateway}]"))
        assert found.path == "dependencies[0].options.routes[1].to"
        assert "allowed: services.web" in found.message
        assert found.hint == hint


# Each with its place and what is said; the same files are given to the JSON Schema below.
MALFORMED: list[tuple[str, int, int, str, str]] = [
    ("[]", 1, 1, "found a list, allowed: a mapping", ""),
    ("services:", 1, 1, "found nothing, allowed: a mapping", "remove the key, or give it a value"),
    ("services: {}", 1, 11, "at least one", ""),
    ("version: 1", 1, 1, "found no key `services`", ""),
    ("services: {web: }", 1, 12, "found nothing, allowed: a mapping", "remove the key, or give it a value"),
    (web("prot: 3"), 4, 5, 'unknown key "prot", allowed: build, path, port', 'did you mean "port"?'),
    (web("build: docker"), 4, 12, 'found "docker"', 'did you mean "dockerfile"?'),
    (web("build: 3"), 4, 12, "allowed: railpack, dockerfile, {dockerfile: path} or {image: reference}", ""),
    (web("build: {}"), 4, 12, "found no key `dockerfile`", ""),
    (web("build: {image: a, target: b}"), 4, 23, 'unknown key "target", allowed: image', ""),
    (web("build: {dockerfile: ../x}"), 4, 25, "a path within the repository", ""),
    (web("build: {image: 'a b'}"), 4, 20, "a reference such as", ""),
    (web("path: /etc"), 4, 11, "a path within the repository", ""),
    (web("path: a/../../b"), 4, 11, "a path within the repository", ""),
    (web("path: .."), 4, 11, "a path within the repository", ""),
    (web(r"path: a\b"), 4, 11, "a path within the repository", ""),
    (web("public: yes"), 4, 13, "true or false", "did you mean true?"),
    (web("command: []"), 4, 14, "at least one", ""),
    (web("command: '  '"), 4, 14, "a command line", ""),
    (web("command: {}"), 4, 14, "or a list of a program", ""),
    (web("command: [a, [b]]"), 4, 18, "found a list, allowed: text", ""),
    (web("env: [A]"), 4, 10, "found a list, allowed: a mapping", ""),
    (web("env: {1A: b}"), 4, 11, "a variable's name", ""),
    (web("env: {A: {}}"), 4, 14, "found a mapping, allowed: text", ""),
    (web("env: {A: }"), 4, 11, "found nothing", "remove the key, or give it a value"),
    (web("secrets: KEY"), 4, 14, "allowed: a list", "write [KEY]"),
    (web("secrets: [a-b]"), 4, 15, "a variable's name", ""),
    (web("health: /"), 4, 13, "allowed: a mapping", ""),
    (web("health: {path: healthz}"), 4, 20, "begins with one /", ""),
    (web("health: {timeout: 120}"), 4, 23, "a duration such as 120s", 'did you mean "120s"?'),
    (web("health: {timeout: 2 minutes}"), 4, 23, "a duration", 'did you mean "2m"?'),
    (web("health: {timeout: never}"), 4, 23, "a duration", ""),
    (web("resources: {cpu: 0}"), 4, 22, "cores such as 500m", ""),
    (web("resources: {cpu: 65}"), 4, 22, "at most 64", ""),
    (web("resources: {cpu: 1 core}"), 4, 22, "cores such as 500m", ""),
    (web("resources: {memory: 512MB}"), 4, 25, "bytes with a unit", 'did you mean "512Mi"?'),
    (web("resources: {memory: 512}"), 4, 25, "bytes with a unit", 'did you mean "512Mi"?'),
    (web("replicas: 0"), 4, 15, "a whole number from 1 to 20", ""),
    (web("replicas: '2'"), 4, 15, "a whole number", "write it without quotes"),
    (web("migrate: true"), 4, 14, "or false for none", ""),
    (web("migrate: ''"), 4, 14, "a command line", ""),
    ("services: {web: {port: 70000}}", 1, 24, "a whole number from 1 to 65535", ""),
    ("services: {web: {port: 3.5}}", 1, 24, "a whole number from 1 to 65535", ""),
    ("services: {web: {port: true}}", 1, 24, "a whole number from 1 to 65535", ""),
    (web(rest="dependencies: postgres"), 4, 15, "allowed: a list", "write [postgres]"),
    (web(rest="dependencies: [3]"), 4, 16, "a recipe such as", ""),
    (web(rest="dependencies: [{version: 3}]"), 4, 16, "found no key `recipe`", ""),
    (web(rest="dependencies: [{recipe: redis, version: a b}]"), 4, 41, "a version such as", ""),
    (web(rest="dependencies: [{recipe: redis, options: [a]}]"), 4, 41, "a mapping", ""),
    (web(rest="isolation: namespaces"), 4, 12, "namespace, routing", 'did you mean "namespace"?'),
    (web(rest="previews: {forks: no}"), 4, 19, "ask, never, always", ""),
    (web(rest="previews: {sleep_after: 30}"), 4, 25, "or never", 'did you mean "30s"?'),
    (web(rest="previews: {drafts: 1}"), 4, 20, "true or false", ""),
    (web(rest="tests: {start: shop}"), 4, 16, "begins with one /", ""),
    (web(rest="tests: {start: //evil.example}"), 4, 16, "begins with one /", ""),
    (web(rest="tests: {scenarios: [../*]}"), 4, 21, "a path within the repository", ""),
    (web(rest="version: 2"), 4, 10, "1, the only version so far", ""),
    (web(rest="version: '1'"), 4, 10, "1, the only version so far", "did you mean 1?"),
]
UNKNOWN_RECIPES = [
    (web(rest="dependencies: [postgrs@15]"), 'did you mean "postgres@15"?'),
    (web(rest="dependencies: [mongodb]"), ""),
    (web(rest="dependencies: [{recipe: valky}]"), 'did you mean "valkey"?'),
]


class TestMalformed:
    @pytest.mark.parametrize(("text", "line", "column", "said", "hint"), MALFORMED)
    def test_is_told_with_its_place_and_the_way_out(
        self, text: str, line: int, column: int, said: str, hint: str
    ) -> None:
        found = problem(text)
        assert (found.line, found.column) == (line, column)
        assert said in found.message
        assert found.hint == hint
        assert found.code == "spec_invalid"

    @pytest.mark.parametrize(("text", "hint"), UNKNOWN_RECIPES)
    def test_an_unknown_recipe_has_its_own_code(self, text: str, hint: str) -> None:
        with pytest.raises(SpecError) as caught:
            parse(text)
        assert caught.value.code == "recipe_unknown"
        assert "postgres, valkey, redis, temporal, api-gateway" in caught.value.message
        assert caught.value.problems[0].hint == hint

    def test_a_colon_before_the_version_is_understood(self) -> None:
        assert problem(web(rest="dependencies: ['postgres:15']")).hint == 'did you mean "postgres@15"?'

    def test_a_port_is_needed_to_be_public(self) -> None:
        assert "true without a port" in problem("services: {a: {public: true}}").message

    def test_all_problems_are_told_at_once_in_the_order_of_the_file(self) -> None:
        found = problems(
            web(
                "prot: 3",
                "env: {A: '{{nowhere.url}}', 'B C': d}",
                "depends_on: [nobody]",
                rest="dependencies: [oracle, redis, redis]\nisolation: all\n",
            )
        )
        assert [(each.line, each.path) for each in found] == [
            (4, "services.web.prot"),
            (5, "services.web.env.A"),
            (5, "services.web.env.B C"),
            (6, "services.web.depends_on[0]"),
            (7, "dependencies[0]"),
            (7, "dependencies[2]"),
            (8, "isolation"),
        ]

    def test_of_very_many_the_first_fifty_are_told(self) -> None:
        with pytest.raises(SpecError) as caught:
            parse(web(*(f"wrong{number}: 1" for number in range(60))))
        assert len(caught.value.problems) == 50
        assert caught.value.message.endswith("and 10 more")

    def test_the_message_is_one_a_person_and_an_editor_can_read(self) -> None:
        with pytest.raises(UserError) as caught:
            parse(web("buld: railpack"), filename="apps/.preview.yaml")
        assert caught.value.message == (
            'apps/.preview.yaml:4:5: services.web.buld: found the unknown key "buld", allowed: build, path, port, '
            "public, command, env, secrets, depends_on, health, resources, replicas, migrate, seed, "
            'did you mean "build"?'
        )
        assert ports.describe(caught.value)["code"] == "spec_invalid"

    def test_every_code_is_in_the_table(self) -> None:
        assert {"spec_invalid", "spec_missing", "spec_cycle", "recipe_unknown"} <= set(CODES)


class TestDocuments:
    @pytest.mark.parametrize(
        ("text", "line", "column", "said"),
        [
            ("", 1, 1, "an empty file"),
            ("# nothing\n", 1, 1, "an empty file"),
            ("null\n", 1, 1, "an empty file"),
            (SMALLEST + "---\nservices: {}\n", 8, 1, "a second document"),
            (SMALLEST + "services: {}\n", 8, 1, 'found "services" again'),
            ("services:\n  web:\n    port: 1\n    port: 2\n", 4, 5, 'found "port" again'),
            ("services:\n\tweb: {}\n", 2, 1, "found a tab, allowed: spaces"),
            ("services:\n  web: {}\n \tapi: {}\n", 3, 2, "found a tab, allowed: spaces"),
            ("services:\n  web: {}\0\n", 2, 10, "control character U+0000"),
            ("services:\n  web: {}\n  \x1b[31m", 3, 3, "control character U+001B"),
            ("services: {web: {path: '\ud800'}}", 1, 25, "control character U+D800"),
            (b"services:\n  web: {path: \xff}", 2, 15, "the byte 0xff, allowed: text in UTF-8"),
            (SMALLEST.encode("utf-16"), 1, 1, "allowed: text in UTF-8"),
            ('services: {web: {path: "\\0"}}', 1, 24, "the escape of U+0000"),
            ('services: {web: {path: "\\ud800"}}', 1, 24, "the escape of U+D800"),
            ("services: {web: {path: 'a}}", 1, 28, "not YAML"),
            ("a: b: c", 1, 5, "mapping values are not allowed"),
            ("services: {web: *base}", 1, 17, "the alias *base without its anchor"),
            ("services: &all {web: *all}", 1, 22, "the alias *all inside of what it stands for"),
            ("services: " + "[" * 50, 1, 30, "more than 20 levels"),
            (f"services: {{web: {{path: {'x' * 300_000}}}}}", 1, 1, "allowed: at most 262,144"),
            ("%YAML 3.0\n---\nservices: {}", 1, 1, "not YAML"),
        ],
    )
    def test_that_can_not_be_read(self, text: str | bytes, line: int, column: int, said: str) -> None:
        found = problem(text)
        assert said in found.message
        assert (found.line, found.column) == (line, column)

    @pytest.mark.parametrize("tag", ["!!python/object:os.system", "!include", "!!int"])
    def test_tags_run_nothing(self, tag: str) -> None:
        assert any("found the tag" in each.message for each in problems(web(f"path: {tag} '1'")))

    def test_an_explicit_text_is_text(self) -> None:
        assert parse(web("path: !!str 1")).services["web"].path == "1"

    @pytest.mark.parametrize("key", ["? [a, b]\n: c", "? {a: b}\n: c", "~: c", ": c"])
    def test_keys_are_words(self, key: str) -> None:
        assert any("as a key, allowed: a word" in each.message for each in problems(key))

    def test_merge_keys_are_explained(self) -> None:
        text = "services:\n  a: &a {port: 1}\n  b: {<<: *a}\n"
        assert problem(text).hint == "merge keys are not part of YAML 1.2; aliases are"

    def test_aliases_can_not_multiply_values_without_bound(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
        assert "more than 10,000 values" in problem("\n".join(lines)).message

    def test_aliases_can_not_multiply_text_without_bound(self) -> None:
        long = web(f"env:\n      A: &long {'x' * 200_000}", *(f"  B{n}: *long" for n in range(50)))
        assert "more than 1,048,576 characters" in problem(long).message

    def test_very_many_services_are_refused_before_their_order_is_sought(self) -> None:
        chain = "".join(f"  s{n}: {{depends_on: [s{n + 1}]}}\n" for n in range(1200))
        assert any("found 1200, allowed: at most 200" in each.message for each in problems("services:\n" + chain))


class TestFiles:
    def test_lint_gives_the_spec_or_all_problems(self, tmp_path: Path) -> None:
        file = tmp_path / "preview.yaml"
        file.write_text(SMALLEST)
        assert lint_file(file) == (parse(SMALLEST), [])
        file.write_text(web("a: 1", "b: 1"))
        spec, found = lint_file(file)
        assert spec is None
        assert [str(each).split(" ")[0] for each in found] == [f"{file}:4:5:", f"{file}:5:5:"]

    def test_a_missing_file_has_its_own_code(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError) as caught:
            load(tmp_path)
        assert caught.value.code == "spec_missing"
        assert lint_file(tmp_path / "x.yaml")[1][0].code == "spec_missing"

    def test_a_nearly_right_name_is_pointed_out(self, tmp_path: Path) -> None:
        (tmp_path / ".preview.yml").write_text(SMALLEST)
        with pytest.raises(SpecError) as caught:
            load(tmp_path)
        assert caught.value.problems[0].hint == "rename .preview.yml"

    def test_a_directory_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / ".preview.yaml").mkdir()
        with pytest.raises(SpecError, match="found no file"):
            load(tmp_path)

    def test_loads_the_file_of_a_commit(self, tmp_path: Path) -> None:
        (tmp_path / ".preview.yaml").write_text(SMALLEST)
        assert load(tmp_path) == parse(SMALLEST)

    def test_a_link_out_of_the_repository_shows_nothing(self, tmp_path: Path) -> None:
        outside = tmp_path / "secret"
        outside.write_text("hunter2: [")
        root = tmp_path / "root"
        root.mkdir()
        (root / ".preview.yaml").symlink_to(outside)
        with pytest.raises(SpecError, match="a link out of the repository") as caught:
            load(root)
        assert "hunter2" not in caught.value.message

    def test_an_endless_file_is_read_no_further_than_allowed(self) -> None:
        spec, found = lint_file(Path("/dev/zero"))
        assert spec is None
        assert found[0].message.startswith("found no file")


class TestHash:
    def test_is_the_same_for_the_same_meaning(self) -> None:
        other = "dependencies: ['postgres@15', {recipe: valkey, version: 7}]\nservices: {web: {port: 3000}}  # same"
        assert spec_hash(parse(other)) == spec_hash(parse(SMALLEST))
        assert re.fullmatch(r"[0-9a-f]{64}", spec_hash(parse(SMALLEST)))

    def test_differs_for_another_meaning(self) -> None:
        assert spec_hash(parse(SMALLEST.replace("3000", "3001"))) != spec_hash(parse(SMALLEST))

    def test_survives_a_trip_through_json(self) -> None:
        spec = parse(WHOLE)
        assert spec_hash(Spec.model_validate_json(spec.model_dump_json())) == spec_hash(spec)


def test_a_spec_is_described_in_the_order_in_which_it_starts() -> None:
    assert describe(parse(WHOLE)) == [
        "postgres 15",
        "postgres 15, as analytics",
        "temporal",
        "api-gateway",
        "api: railpack, port 8000",
        "web: railpack in apps/web, port 3000, public, after api",
    ]


class TestSchema:
    validator = jsonschema.Draft202012Validator(json_schema())

    def test_is_a_valid_schema(self) -> None:
        jsonschema.Draft202012Validator.check_schema(json_schema())

    @pytest.mark.parametrize(
        "text",
        [SMALLEST, WHOLE]
        + [web(f"build: {build}") for build in ("dockerfile", "{dockerfile: a, target: b, args: {C: 1}}", "{image: a}")]
        + [web(f"command: {command}") for command in ("a b", "[a, 1, true]")]
        + [web(f"resources: {{cpu: {cpu}}}") for cpu in ("500m", "1", "1.5", "'2'")]
        + [web("migrate: false", "seed: a", "env: {A: 1, B: true, C: 1.5, D: ''}", "secrets: []", "path: .")]
        + [web(rest=f"previews: {{sleep_after: {span}}}") for span in ("never", "90m")]
        + [web(rest="dependencies: [redis, {recipe: redis, name: a, version: 7}]")],
    )
    def test_accepts_what_the_parser_accepts(self, text: str) -> None:
        parse(text)
        assert [each.message for each in self.validator.iter_errors(plain(text))] == []

    @pytest.mark.parametrize(
        "text", [text for text, *_ in MALFORMED] + [text for text, *_ in UNKNOWN_RECIPES] + ["services: {A_b: {}}"]
    )
    def test_refuses_what_is_malformed(self, text: str) -> None:
        assert not self.validator.is_valid(plain(text))

    def test_every_key_has_a_description(self) -> None:
        schema = json_schema()
        for name, form in [("", schema), *schema["$defs"].items()]:
            for key, value in form["properties"].items():
                assert value.get("description"), f"{name}.{key}"

    def test_every_form_is_known_to_the_messages_about_unknown_keys(self) -> None:
        forms = {each for each in vars(written).values() if isinstance(each, type)}
        forms = {each for each in forms if issubclass(each, written.Written)} - {written.Written}
        assert forms == set(FORMS.values())


class TestDocumentation:
    text = DOCS.read_text()

    def test_every_example_parses(self) -> None:
        examples = re.findall(r"```yaml\n(.*?)```", self.text, re.DOTALL)
        assert len(examples) >= 2
        for example in examples:
            parse(example)

    def test_shows_what_an_error_looks_like(self) -> None:
        wrong, said = re.findall(r"```(?:yml|text)\n(.*?)```", self.text, re.DOTALL)[:2]
        with pytest.raises(SpecError) as caught:
            parse(wrong)
        assert caught.value.message.split() == said.split()

    @pytest.mark.parametrize("form", FORMS.values())
    def test_has_every_key(self, form: type[written.Written]) -> None:
        missing = [key for key in form.model_fields if f"`{key}`" not in self.text]
        assert missing == []

    def test_has_every_recipe_with_its_fields(self) -> None:
        for recipe, fields in RECIPE_FIELDS.items():
            row = next(line for line in self.text.splitlines() if line.startswith(f"| `{recipe}` |"))
            assert re.findall(r"`([a-z_]+)`", row.split("|")[2]) == list(fields)
