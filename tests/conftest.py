"""Fixtures that every test may use: the session's real Postgres and Valkey (started by tests/servers.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis


def _servers_or_skip() -> None:
    missing = os.environ.get("PREVIEWKIT_TESTS_WITHOUT_SERVERS")
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """pytest-django asks for this before it makes the test database: one for each xdist worker."""
    _servers_or_skip()


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    """A client of the session's Valkey. Other workers use it too: start keys with `REDIS_PREFIX`."""
    _servers_or_skip()
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        yield client
