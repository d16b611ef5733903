"""What every Builder keeps to (ports.Builder), run over each implementation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from environments.builders.local import LocalBuilder
from environments.ports import Artifact, Builder, Superseded, UserError
from tests.builds import Bench, never, overtaken

pytest_plugins = ["tests.fixtures_builds", "tests.fixtures_images"]

MakeAnyBuilder = Callable[[], Builder]
SITE = {"index.html": "hello"}


@pytest.fixture(params=["local", pytest.param("containers", marks=pytest.mark.cluster)])
def make_any(request: pytest.FixtureRequest, tmp_path: Path, build_cache: Path) -> MakeAnyBuilder:
    """Builders over one and the same store, as two workers have them."""
    if request.param == "local":
        return lambda: LocalBuilder(tmp_path / "store", cache=build_cache)
    make: MakeAnyBuilder = request.getfixturevalue("make_containers")
    return make


def test_what_was_built_is_there_and_says_how_it_is_started(make_any: MakeAnyBuilder, bench: Bench) -> None:
    artifact = make_any().build(bench.request(SITE), bench.lines.append, never)

    assert artifact.digest.startswith("sha256:")
    assert artifact.kind == "image" or (Path(artifact.location) / "index.html").read_text() == "hello"
    assert artifact.start is not None and artifact.start.because
    assert (artifact.migrate, artifact.seed) == (None, None)
    assert not artifact.cache_hit and artifact.seconds > 0
    assert bench.lines


def test_another_worker_finds_what_one_has_built(make_any: MakeAnyBuilder, bench: Bench) -> None:
    request = bench.request(SITE)

    first = make_any().build(request, bench.lines.append, never)
    second = make_any().build(request, bench.lines.append, never)

    assert second.cache_hit and not first.cache_hit
    assert (second.digest, second.location, second.start) == (first.digest, first.location, first.start)


def test_another_tree_is_another_artifact(make_any: MakeAnyBuilder, bench: Bench) -> None:
    builder = make_any()

    one = builder.build(bench.request(SITE), bench.lines.append, never)
    other = builder.build(bench.request({"index.html": "changed"}), bench.lines.append, never)

    assert one.digest != other.digest and one.location != other.location


def test_what_is_equal_is_shared_between_repositories_and_services(make_any: MakeAnyBuilder, bench: Bench) -> None:
    builder = make_any()

    builder.build(bench.request(SITE, name="web"), bench.lines.append, never)

    assert builder.build(bench.request(SITE, name="site"), bench.lines.append, never).cache_hit


def test_one_who_is_overtaken_builds_nothing(make_any: MakeAnyBuilder, bench: Bench) -> None:
    request = bench.request(SITE)

    with pytest.raises(Superseded):
        make_any().build(request, bench.lines.append, overtaken)

    assert not make_any().build(request, bench.lines.append, never).cache_hit


def test_a_failed_build_is_not_found_and_is_tried_again(make_any: MakeAnyBuilder, bench: Bench) -> None:
    request = bench.request({"package.json": '{"scripts": {"build": "exit 3"}}', "index.js": ""})
    builder = make_any()

    for _ in range(2):
        with pytest.raises(UserError) as caught:
            builder.build(request, bench.lines.append, never)
        assert caught.value.code == "build_failed"
        assert caught.value.hint and caught.value.log_tail


def test_nothing_recognised_is_the_authors_to_mend(make_any: MakeAnyBuilder, bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        make_any().build(bench.request({"README": ""}), bench.lines.append, never)

    assert caught.value.code == "build_no_plan"


def test_workers_that_build_the_same_at_once_end_with_the_same(make_any: MakeAnyBuilder, bench: Bench) -> None:
    request = bench.request({"requirements.txt": "six==1.17.0\n", "main.py": ""})
    artifacts: list[Artifact] = []

    def work() -> None:
        artifacts.append(make_any().build(request, bench.lines.append, never))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(artifacts) == 4
    assert len({artifact.location for artifact in artifacts}) == 1
    assert sum(not artifact.cache_hit for artifact in artifacts) == 1
