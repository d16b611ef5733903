"""EXECUTION_TRACE v1: what is written is read back the same, and what was changed is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from testruns.trace import (
    MAX_JSON_BYTES,
    Action,
    Admission,
    ConsoleSeen,
    Determinism,
    Dropped,
    ElementTarget,
    Expectation,
    Fingerprint,
    Locator,
    Observed,
    RequestSeen,
    ScenarioRef,
    Source,
    Step,
    Trace,
    TraceError,
    Viewport,
    Wait,
    json_schema,
)

patiently = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

# Lone surrogates are no text: pydantic refuses them, and the browser session replaces them.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
pairs = st.dictionaries(names, text, max_size=3)
locators = st.builds(
    Locator,
    engine=st.sampled_from(["test_id", "role", "label", "placeholder", "text", "id", "css"]),
    value=text,
    score=st.integers(0, 100),
    unique=st.booleans(),
)
fingerprints = st.builds(Fingerprint, tag=text, role=text, name=text, text=text, attributes=pairs)
targets = st.builds(
    ElementTarget,
    locators=st.lists(locators, min_size=1, max_size=3).map(tuple),
    frame=st.none() | text,
    fingerprint=fingerprints,
)
kinds = st.sampled_from(["url", "title", "heading", "text", "visible", "status", "count", "value", "aria"])
expectations = st.builds(
    Expectation,
    kind=kinds,
    locator=st.none() | locators,
    value=text,
    mask=st.none() | text,
    origin=st.sampled_from(["observed", "template", "person"]),
)
requests = st.builds(RequestSeen, method=text, url=text, status=st.none() | st.integers(100, 599), kind=text)
observations = st.builds(
    Observed,
    duration_ms=st.integers(0, 10**6),
    url=text,
    requests=st.lists(requests, max_size=2).map(tuple),
    console=st.lists(st.builds(ConsoleSeen, level=text, text=text), max_size=2).map(tuple),
    page_errors=st.lists(text, max_size=2).map(tuple),
)
steps = st.builds(
    Step,
    id=names,
    intent=text,
    action=st.builds(Action, name=st.sampled_from(["goto", "click", "fill", "submit"]), args=pairs),
    target=st.none() | targets,
    waits=st.lists(st.builds(Wait, kind=st.sampled_from(["load", "url", "quiet"]), value=text), max_size=2).map(tuple),
    expect=st.lists(expectations, max_size=3).map(tuple),
    observed=observations,
    artifacts=pairs,
)
drops = st.builds(Dropped, step=names, kind=kinds, value=text, seen=text, replay=st.integers(1, 2))
traces = st.builds(
    Trace,
    scenario=st.builds(ScenarioRef, key=names, title=text, kind=text),
    source=st.builds(Source, sha=text, spec_hash=text, seed_hash=text),
    determinism=st.builds(Determinism, seed=st.integers(), viewport=st.builds(Viewport, width=st.integers(1, 4000))),
    variables=pairs,
    secrets=st.lists(names, max_size=2).map(tuple),
    admission=st.builds(Admission, replays=st.integers(0, 3), dropped=st.lists(drops, max_size=2).map(tuple)),
    steps=st.lists(steps, min_size=1, max_size=3).map(tuple),
)


def a_trace() -> Trace:
    step = Step(
        id="s1",
        intent="Open the start page",
        action=Action(name="goto", args={"url": "{base_url}/"}),
        expect=(Expectation(kind="status", value="200"), Expectation(kind="text", value="Total $24.00")),
    )
    return Trace(scenario=ScenarioRef(key="visit:/", title="Visit /", kind="visit"), steps=(step,))


@patiently
@given(traces)
def test_what_is_written_is_read_back_the_same(trace: Trace) -> None:
    written = trace.to_json()

    read = Trace.from_json(written)

    assert read == trace.sealed()
    assert read.to_json() == written


@patiently
@given(traces)
def test_every_trace_fits_the_published_schema(trace: Trace) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(trace.to_json()))


def test_a_document_that_went_through_a_database_keeps_its_seal() -> None:
    # jsonb keeps neither the order of keys nor white space.
    document = a_trace().sealed().model_dump(mode="json")
    shuffled = json.dumps(dict(reversed(list(document.items()))), indent=3)

    assert Trace.from_json(shuffled) == a_trace().sealed()


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in _leaves(inner, (*path, index))]
    return [path]


@patiently
@given(traces, st.data())
def test_any_changed_value_is_refused(trace: Trace, draw: st.DataObject) -> None:
    # Given a sealed trace, one value of which somebody changed
    document = json.loads(trace.to_json())
    path = draw.draw(st.sampled_from(_leaves(document)))
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    old = holder[path[-1]]
    holder[path[-1]] = old + 1 if type(old) is int else not old if isinstance(old, bool) else f"{old}x"

    # When it is read / Then it is not taken for the recording
    with pytest.raises(TraceError) as refused:
        Trace.from_json(json.dumps(document))
    assert refused.value.reason in ("integrity", "schema", "version")


def test_a_changed_expectation_is_named_as_tampering() -> None:
    tampered = a_trace().to_json().replace("Total $24.00", "Total $12.00")

    with pytest.raises(TraceError, match="was changed after it was recorded") as refused:
        Trace.from_json(tampered)
    assert refused.value.reason == "integrity"


@pytest.mark.parametrize(
    ("version", "way_out"),
    [(2, "Update PreviewKit"), (0, "Record it again"), (None, "Record it again"), ("1", "Record it again"), (True, "")],
)
def test_another_version_says_which_one_is_read(version: object, way_out: str) -> None:
    document = json.loads(a_trace().to_json()) | {"schema_version": version}

    with pytest.raises(TraceError, match="this PreviewKit reads 1") as refused:
        Trace.from_json(json.dumps(document))
    assert refused.value.reason == "version"
    assert way_out in refused.value.hint


@pytest.mark.parametrize("broken", ["", "{", "nul", "[" * 100_000, b"\xff\xfe", "NaN{"])
def test_what_is_not_json_is_said_to_be_none(broken: str | bytes) -> None:
    with pytest.raises(TraceError) as refused:
        Trace.from_json(broken)
    assert refused.value.reason == "json"


@patiently
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | text,
        lambda inner: st.lists(inner) | st.dictionaries(text, inner),
        max_leaves=8,
    )
)
def test_no_json_whatsoever_gives_anything_but_a_trace_error(value: Any) -> None:
    with pytest.raises(TraceError):
        Trace.from_json(json.dumps(value))


def test_a_huge_document_is_refused_unread() -> None:
    with pytest.raises(TraceError) as refused:
        Trace.from_json(" " * (MAX_JSON_BYTES + 1))
    assert refused.value.reason == "size"


@pytest.mark.parametrize(
    "change",
    [
        {"steps": []},
        {"surprise": 1},
        {"scenario": {"key": "", "title": "", "kind": ""}},
        {"determinism": {"viewport": {"width": 0}}},
    ],
)
def test_a_document_of_another_form_names_the_place(change: dict[str, Any]) -> None:
    document = json.loads(a_trace().to_json()) | change

    with pytest.raises(TraceError, match=next(iter(change))) as refused:
        Trace.from_json(json.dumps(document))
    assert refused.value.reason == "schema"


def test_an_action_outside_the_vocabulary_is_no_action() -> None:
    document = json.loads(a_trace().to_json())
    document["steps"][0]["action"]["name"] = "evaluate"

    with pytest.raises(TraceError, match=r"steps\.0\.action\.name"):
        Trace.from_json(json.dumps(document))


def test_a_trace_is_frozen_and_a_revision_is_sealed_anew() -> None:
    trace = a_trace().sealed()
    before = copy.deepcopy(trace)

    revised = trace.revised(admission=Admission(replays=2, passed=2))

    revised.verify()
    assert revised.admission.admitted
    assert revised.integrity != trace.integrity
    assert trace == before
    with pytest.raises(ValidationError):
        trace.steps = ()  # type: ignore[misc]
