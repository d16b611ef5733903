"""The settings and what they reach: the database, the broker, the pages that need neither."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.test import Client

from previewkit.home import CHECKOUT


@pytest.mark.django_db
def test_the_database_is_a_real_postgres() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int")
        (version,) = cursor.fetchone()
    assert version >= 150000


def test_the_broker_is_a_real_valkey(valkey: redis.Redis) -> None:
    key = f"{settings.REDIS_PREFIX}:probe"
    valkey.set(key, "1", ex=60)
    assert valkey.getdel(key) == b"1"


def test_health_answers_without_a_database(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")


def test_secrets_of_the_settings_file_are_read_but_not_handed_to_child_processes(tmp_path: Path) -> None:
    # Given a state directory with a settings file
    (tmp_path / "control-plane.env").write_text("HOOK_SECRET=from-the-file\nHTTPS_PORT=9443\n")
    program = (
        "import os\nfrom previewkit import settings\n"
        "print(settings.HOOK_SECRET, settings.HTTPS_PORT, 'HOOK_SECRET' in os.environ)"
    )
    environment = {**os.environ, "PREVIEWKIT_HOME": str(tmp_path), "HTTPS_PORT": "10443"}
    del environment["HOOK_SECRET"]
    # When the settings are loaded
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    # Then the file was read, a real environment variable won, and os.environ was left as it was
    assert ran.stdout.split() == ["from-the-file", "10443", "False"]


def test_static_files_are_served_whole_without_collectstatic_and_revalidated(client: Client) -> None:
    first = client.get("/static/previewkit.css")
    assert first.status_code == 200
    assert first.headers["Content-Type"].startswith("text/css")
    assert first.content == (CHECKOUT / "static" / "previewkit.css").read_bytes()
    again = client.get("/static/previewkit.css", headers={"If-Modified-Since": first.headers["Last-Modified"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/static/nothing.css").status_code == 404
