"""The static server answers as a site's visitors expect, and with nothing but the site."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from environments.builders import static_server

Serve = Callable[..., httpx.Client]


@contextmanager
def served(site: Path, *options: str) -> Iterator[httpx.Client]:
    command = [sys.executable, "-I", "-S", str(static_server.__file__), str(site), *options]
    env = {"PORT": "0", "HOST": "127.0.0.1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().rsplit(":", 1)[1].strip()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                yield client
        finally:
            server.terminate()
    assert server.returncode == 0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    site = tmp_path / "site"
    files = {
        "index.html": "<h1>Home</h1>",
        "about.html": "About",
        "docs/index.html": "Docs",
        "assets/app.js": "1",
        ".env": "SECRET=1",
        ".well-known/security.txt": "Contact",
        "empty/keep": "",
    }
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (tmp_path / "outside.txt").write_text("outside")
    os.symlink(tmp_path / "outside.txt", site / "link.txt")
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(served(site, *options))


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "<h1>Home</h1>"),
        ("/index.html", 200, "<h1>Home</h1>"),
        ("/about", 200, "About"),
        ("/docs/", 200, "Docs"),
        ("/assets/app.js?v=1", 200, "1"),
        ("/.well-known/security.txt", 200, "Contact"),
        ("/.env", 404, None),
        ("/link.txt", 404, None),
        ("/%2e%2e/outside.txt", 404, None),
        ("/absent", 404, None),
        ("/absent%00.html", 404, None),
        ("/empty/", 404, None),
    ],
)
def test_paths_of_a_site(serve: Serve, path: str, status: int, text: str | None) -> None:
    answer = serve().get(path)

    assert answer.status_code == status
    assert text is None or answer.text == text


def test_a_single_page_answers_its_own_routes_and_no_missing_files(serve: Serve) -> None:
    client = serve("--single-page")

    assert client.get("/orders/17").text == "<h1>Home</h1>"
    assert client.get("/orders/17").status_code == 200
    assert client.get("/assets/absent.js").status_code == 404


def test_files_are_named_by_their_kind_and_charset(serve: Serve) -> None:
    client = serve()

    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/assets/app.js").headers["content-type"] == "text/javascript; charset=utf-8"


def test_a_page_for_what_is_missing_is_used_where_there_is_one(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "site" / "404.html").write_text("Nothing here")

    answer = serve().get("/absent")

    assert (answer.status_code, answer.text) == (404, "Nothing here")


def test_a_directory_without_its_slash_is_sent_to_it(serve: Serve) -> None:
    answer = serve().get("/docs")

    assert (answer.status_code, answer.headers["location"]) == (301, "/docs/")
