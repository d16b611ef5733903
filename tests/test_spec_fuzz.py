"""No .preview.yaml, however broken, gives anything but a Spec or a SpecError, nor costs more than a bounded time."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from fixtures_spec import SMALLEST, WHOLE, plain, web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from environments.errors import CODES
from environments.spec import Spec, SpecError, json_schema, parse, spec_hash
from environments.spec.documents import SIZE_LIMIT
from environments.spec.problems import PROBLEM_LIMIT

SECONDS = 8.0
"""Processor time that any file may cost; the worst known takes below one, on a machine that is twice as fast."""

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
"""Per test; thousands, now and then, find what a hundred of each run don't."""

fuzzing = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
schema = jsonschema.Draft202012Validator(json_schema())


def read_safely(text: str | bytes) -> Spec | SpecError:
    """Parses, and checks what must hold of every outcome."""
    started = time.process_time()
    try:
        spec = parse(text)
    except SpecError as error:
        spent = time.process_time() - started
        check_error(error)
        outcome: Spec | SpecError = error
    else:
        spent = time.process_time() - started
        assert Spec.model_validate_json(spec.model_dump_json()) == spec
        spec_hash(spec)
        outcome = spec
    assert spent < SECONDS
    return outcome


def check_error(error: SpecError) -> None:
    assert error.code in CODES
    assert 1 <= len(error.problems) <= PROBLEM_LIMIT
    for problem in error.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message
        assert "\n" not in str(problem), "one problem is one line"
        assert len(str(problem)) < 4000
        str(problem).encode()
    assert "Traceback" not in error.message


# ── documents ───────────────────────────────────────────────────────────────────────────────

KEYS = """
    version services dependencies isolation previews tests web api worker build
    path port public command env secrets depends_on health resources replicas
    migrate seed dockerfile target args image timeout cpu memory recipe
    name options routes to drafts forks sleep_after expire_after enabled start
    scenarios << A B
""".split()  # noqa: SIM905
WORDS = """
    railpack dockerfile postgres postgres@15 valkey redis@7 temporal api-gateway services.web services.api
    web api {{services.web.url}} {{services.api.public_url}} {{postgres.url}} {{pr.number}} {{x {{}} 500m 512Mi
    30m never namespace routing ask . / /healthz ../x a/b
    true false null ~ yes 0x10 0o7 1.5 .nan -1
    1 3000 99999999999
""".split()  # noqa: SIM905

leaves = st.one_of(
    st.sampled_from(WORDS),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
)
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=8))
trees: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=25,
)
service_trees = st.dictionaries(st.sampled_from(KEYS[9:]), trees, max_size=5)
spec_trees = st.fixed_dictionaries(
    {"services": st.one_of(st.dictionaries(st.sampled_from(["web", "api", "worker"]), service_trees), trees)},
    optional={key: trees for key in KEYS[:6] if key != "services"},
)


def some(**values: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these keys, each with one of its values."""
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(each) for key, each in values.items()})


plausible_services = some(
    build=["railpack", "dockerfile", {"dockerfile": "a/b", "args": {"A": 1.5}}, {"image": "a:1"}, {"target": "x"}],
    path=[".", "apps/web", "./a//b", "a b", "..a", ""],
    port=[1, 3000, 65535, "80"],
    public=[True, False],
    command=["a b", ["a", 1, True], [""], []],
    env=[{}, {"A": 1, "B": False, "C_1": ""}, {"A": "{{pr.number}} {{postgres.url}}"}, {"1": "a"}],
    secrets=[[], ["A_B"], ["c", "c"]],
    depends_on=[[], ["api"], ["web"]],
    health=[{}, {"path": "/", "timeout": "2m"}, {"timeout": "1h"}, {"timeout": "0s"}],
    resources=[{}, {"cpu": 0.5, "memory": "1Gi"}, {"cpu": "250m"}, {"cpu": 64}, {"memory": "16Mi"}],
    replicas=[1, 20, 21],
    migrate=[False, "a", " a\n", True],
    seed=[False, "a"],
)
plausible_specs = st.builds(
    lambda services, others: {"services": services, **others},
    st.dictionaries(st.sampled_from(["web", "api", "a-1", "w"]), plausible_services, min_size=1),
    some(
        version=[1],
        dependencies=[["postgres@15"], ["postgres", {"recipe": "redis", "version": 7, "name": "b"}], ["valkey@"]],
        isolation=["namespace", "routing"],
        previews=[{}, {"drafts": True, "forks": "never", "sleep_after": "never", "expire_after": "90d"}],
        tests=[{}, {"enabled": False, "start": "/a?b=c#d", "scenarios": ["**/*.yaml"]}],
    ),
)


def as_yaml(tree: Any) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_unicode = True
    out = StringIO()
    yaml.dump(tree, out)
    return str(out.getvalue())


class TestFuzz:
    @fuzzing
    @given(st.binary(max_size=400))
    def test_bytes(self, raw: bytes) -> None:
        read_safely(raw)

    @fuzzing
    @given(st.text(max_size=400))
    def test_text(self, text: str) -> None:
        read_safely(text)

    @fuzzing
    @given(st.text(st.sampled_from("abc:-?[]{},#&*!|>'\"%@`~ \n\t\\0x1.<="), max_size=120))
    def test_the_letters_that_mean_something_in_yaml(self, text: str) -> None:
        read_safely(text)

    @fuzzing
    @given(st.lists(st.sampled_from([*KEYS, *WORDS, ":", ": ", "- ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ","])))
    def test_the_words_of_the_format_in_any_order(self, words: list[str]) -> None:
        read_safely("".join(words))

    @fuzzing
    @given(trees)
    def test_any_tree(self, tree: Any) -> None:
        read_safely(as_yaml(tree))

    @fuzzing
    @given(spec_trees)
    def test_trees_that_nearly_are_specs(self, tree: Any) -> None:
        read_safely(as_yaml(tree))

    @fuzzing
    @given(spec_trees)
    def test_trees_as_json_which_is_yaml_too(self, tree: Any) -> None:
        read_safely(json.dumps(tree, default=str, allow_nan=True))

    @fuzzing
    @given(
        st.sampled_from([SMALLEST, WHOLE]),
        st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), st.text(max_size=6)), min_size=1, max_size=4),
    )
    def test_good_files_with_pieces_cut_out_and_put_in(self, text: str, changes: list[tuple[int, int, str]]) -> None:
        for start, length, put in changes:
            start %= len(text) + 1
            text = text[:start] + put + text[start + length :]
        read_safely(text)

    @fuzzing
    @given(st.sampled_from([SMALLEST, WHOLE]), st.randoms(use_true_random=False))
    def test_good_files_with_their_lines_in_another_order(self, text: str, random: Any) -> None:
        lines = text.splitlines(keepends=True)
        random.shuffle(lines)
        read_safely("".join(lines))

    @fuzzing
    @given(st.one_of(plausible_specs, spec_trees))
    def test_what_the_parser_accepts_the_schema_accepts(self, tree: Any) -> None:
        text = as_yaml(tree)
        if isinstance(read_safely(text), Spec):
            assert [each.message for each in schema.iter_errors(plain(text))] == []


# ── cost ────────────────────────────────────────────────────────────────────────────────────


def filled(unit: str, before: str = "", after: str = "") -> str:
    """As many times `unit` as a file can hold."""
    return before + unit * ((SIZE_LIMIT - len(before) - len(after)) // len(unit)) + after


def numbered(unit: str, count: int, before: str = "") -> str:
    return before + "".join(unit.replace("#", str(number)) for number in range(count))


COSTLY: dict[str, Callable[[], str]] = {
    "flow list": lambda: filled("1,", "[", "]"),
    "open lists": lambda: filled("["),
    "open mappings": lambda: filled("{a: "),
    "block lists": lambda: filled("- "),
    "question marks": lambda: filled("? a\n"),
    "one long word": lambda: filled("a "),
    "long quoted": lambda: filled("a\\n", '"', '"'),
    "folded quoted": lambda: filled("a\n\n", '"', '"'),
    "literal": lambda: filled(" a\n", "|\n"),
    "empty lines": lambda: filled("\n"),
    "tag": lambda: filled("!"),
    "directives": lambda: filled("%A b\n"),
    "alias": lambda: filled("a", "*"),
    "duplicate keys": lambda: filled("a: b\n"),
    "many keys": lambda: numbered("k#: 1\n", 4900),
    "unknown keys": lambda: numbered("    ke#: 1\n", 4900, web()),
    "unknown recipes": lambda: numbered("  - postgre#\n", 9900, web(rest="dependencies:\n")),
    "unknown services": lambda: numbered("      - wb#\n", 9900, web("depends_on:")),
    "wrong variables": lambda: numbered("      1A#: b\n", 4900, web("env:")),
    "a chain of services": lambda: numbered("  s#: {depends_on: [s1#]}\n", 1600, "services:\n"),
    "unknown references": lambda: filled("{{a.b}}", web("env: {A: '")[:-1], "'}"),
    "wrong fields": lambda: filled("{{pr.nmber}}", web("env: {A: '")[:-1], "'}"),
    "open references": lambda: filled("{{", web("env: {A: '")[:-1], "'}"),
    "references through aliases": lambda: (
        web("env:", "  A: &a '" + "{{pr.nmber}}" * 8000 + "'") + numbered("      B#: *a\n", 9)
    ),
    "a long path": lambda: filled("../", web("path: '")[:-1], "'"),
    "a long command of spaces": lambda: filled(" ", web("command: '")[:-1], "'"),
    "a long number": lambda: filled("1", web("replicas: ")[:-1]),
    "a long recipe": lambda: filled("postgres", web(rest="dependencies: ['"), "']"),
    "a long service name": lambda: filled("aA_", "services:\n  ? '", "'\n  : {}\n"),
    "laughs": lambda: "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 4000)),
    "one text many times": lambda: web("env:", f"  A: &a {'x' * 100_000}") + numbered("      B#: *a\n", 5000),
}


@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_files_known_are_cheap(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_safely(COSTLY[name]())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024, f"{grown} KiB more memory"
