"""pytest plugin: one real Postgres and one real Valkey for the whole session, xdist workers included.

Loaded by `-p tests.servers`, because pytest-django reads the settings before any conftest.py. The main
process starts the servers; its workers inherit DATABASE_URL and REDIS_URL, as they do when a person set
them. Each worker has its own database (pytest-django) and its own key prefix in Valkey (REDIS_PREFIX).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator

import pytest
from cryptography.fernet import Fernet

missing: str = ""
"""Why there is no server to test with; empty when there is."""
_process: subprocess.Popen[str] | None = None


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None]:
    """A wrapper comes before pytest-django's own hook, which loads the settings."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    os.environ.update(
        ENCRYPTION_KEYS=Fernet.generate_key().decode(),
        SECRET_KEY="only-for-tests-" + "0123456789" * 5,
        HOOK_SECRET="only-for-tests",
        # The test client speaks plain HTTP unless told otherwise.
        SECURE_SSL_REDIRECT="false",
        REDIS_PREFIX=f"test-{os.getpid()}-{worker or 'main'}",
        # Never the state directory of a control plane that is in use.
        PREVIEWKIT_HOME="/nonexistent/previewkit-tests",
    )
    if worker is None and not ("DATABASE_URL" in os.environ and "REDIS_URL" in os.environ):
        _start()
    return (yield)


def _start() -> None:
    global _process, missing
    _process = subprocess.Popen(
        [sys.executable, "-m", "tests.server_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    )
    assert _process.stdout is not None
    line = _process.stdout.readline()
    if line:
        addresses = json.loads(line)
        os.environ.setdefault("DATABASE_URL", addresses["database_url"])
        os.environ.setdefault("REDIS_URL", addresses["redis_url"])
        return
    missing = "Postgres and Valkey for the tests did not start; the reason is printed above."
    os.environ["PREVIEWKIT_TESTS_WITHOUT_SERVERS"] = missing
    if os.environ.get("CI") == "true":
        pytest.exit(missing, returncode=1)


def pytest_unconfigure() -> None:
    """After the last test, and after the workers ended."""
    if _process is not None and _process.stdin is not None and _process.stdout is not None:
        _process.stdin.close()
        _process.wait(timeout=60)
        _process.stdout.close()
