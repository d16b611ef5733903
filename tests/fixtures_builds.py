"""Fixtures for tests that build: a builder with a store of its own, over caches that all of them share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from environments.builders.local import LocalBuilder
from tests.builds import Bench, MakeBuilder


@pytest.fixture(scope="session")
def build_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Downloads and compilers' caches, kept between test runs where pytest keeps its own."""
    cache = getattr(request.config, "cache", None)
    return cache.mkdir("builds") if cache else tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(tmp_path: Path, build_cache: Path) -> Iterator[Bench]:
    yield Bench(LocalBuilder(tmp_path / "store", cache=build_cache, grace=1.0), tmp_path / "sources")


@pytest.fixture
def make_builder(tmp_path: Path, build_cache: Path) -> MakeBuilder:
    """Builders over one store, with limits of the test's choice."""

    def make(**options: float) -> LocalBuilder:
        return LocalBuilder(tmp_path / "store", cache=build_cache, grace=1.0, **options)  # type: ignore[arg-type]

    return make
