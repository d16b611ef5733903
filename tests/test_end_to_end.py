"""The product as a person meets it: pushes to a git repository, the dashboard in Chromium, the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from previewkit.home import CHECKOUT
from testruns.chromium import BrowserMissing, find_browser
from tests.fixtures_installation import PATIENCE, Installation, eventually

pytestmark = pytest.mark.e2e
expect.set_options(timeout=60_000)

SPEC = """\
services:
  web:
    build: railpack
    port: 3000
    migrate: python migrate.py
dependencies:
  - valkey@8
tests: {enabled: false}
"""
SERVER = """\
import http.server, os
TEXT = "hello one"
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"<!doctype html><title>Shop</title><h1>{TEXT}</h1><p>data in {os.environ['REDIS_URL'][:8]}</p>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""


class Repository:
    """A person's working repository with a small application."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        (folder / ".preview.yaml").write_text(SPEC)
        (folder / "Procfile").write_text("web: python server.py\n")
        (folder / "server.py").write_text(SERVER)
        (folder / "migrate.py").write_text("print('nothing to migrate')\n")
        self.commit("A shop")

    def git(self, *words: str) -> str:
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        done = subprocess.run(["git", *who, *words], cwd=self.folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return (done.stdout + done.stderr).strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def say(self, text: str) -> str:
        path = self.folder / "server.py"
        path.write_text(re.sub(r'TEXT = ".*"', f'TEXT = "{text}"', path.read_text()))
        return self.commit(f"Say {text}")

    def slowly(self) -> None:
        """A migration that takes long enough for something to happen meanwhile."""
        (self.folder / "migrate.py").write_text("import time\nprint('migrating', flush=True)\ntime.sleep(4)\n")
        self.commit("Migrate slowly")


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    root = Path(tempfile.mkdtemp(prefix="previewkit-e2e-"))
    made = Installation(root / "state")
    started = made.run("up", "--detach")
    assert started.returncode == 0, started.stdout + started.stderr
    yield made
    made.run("down")
    assert made.left() == []
    shutil.rmtree(root)


@pytest.fixture
def repository(installation: Installation, tmp_path: Path) -> Repository:
    """Connected by `repo add PATH`, and nothing else."""
    name = f"shop-{uuid.uuid4().hex[:6]}"
    made = Repository(tmp_path / name, name)
    added = installation.run("repo", "add", str(made.folder))
    assert added.returncode == 0, added.stderr
    return made


@pytest.fixture
def pushed(installation: Installation, repository: Repository, tmp_path: Path) -> Repository:
    """A clone of the bare repository: what is committed here arrives by `git push` alone."""
    bare = installation.home.root / "git" / f"{repository.name}.git"
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", str(bare), str(clone))
    repository.folder = clone
    return repository


@pytest.fixture
def browser() -> Iterator[Browser]:
    found = find_browser()
    if isinstance(found, BrowserMissing):
        pytest.skip(f"{found.why} {found.mend}")
    flags = ["--host-resolver-rules=MAP *.localhost 127.0.0.1", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found.path, args=flags)
        yield launched
        launched.close()


def show(installation: Installation, name: str) -> dict[str, Any]:
    done = installation.run("env", "show", name, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def wait(installation: Installation, name: str, state: str = "ready") -> int:
    done = installation.run("wait", name, "--for", state, "--timeout", str(PATIENCE))
    sys.stderr.write(f"{done.stdout}{done.stderr}")
    return done.returncode


def address(installation: Installation, name: str) -> str:
    services = show(installation, name)["deployment"]["services"]
    return str(services[0]["address"])


def signed_in(installation: Installation, browser: Browser) -> Page:
    page = browser.new_context(ignore_https_errors=True).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{installation.configuration.dashboard_url}/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(installation.configuration.admin_password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


# ── the main job ────────────────────────────────────────────────────────────────────────────


def test_a_pull_request_from_push_to_nothing_left(
    installation: Installation, pushed: Repository, browser: Browser
) -> None:
    name = f"{pushed.name}#1"
    # When a branch is pushed
    pushed.git("checkout", "--quiet", "-b", "feature")
    pushed.say("hello feature")
    assert "pull request #1 " in pushed.git("push", "origin", "feature")
    assert wait(installation, name) == 0
    # Then its address shows that commit in a browser, over TLS
    preview = browser.new_context(ignore_https_errors=True).new_page()
    preview.goto(address(installation, name))
    expect(preview.get_by_role("heading", name="hello feature")).to_be_visible()
    # And the dashboard shows it ready
    page = signed_in(installation, browser)
    document = show(installation, name)
    page.goto(document["page"])
    expect(page.get_by_text("Ready").first).to_be_visible()
    # When another commit is pushed
    sha = pushed.say("hello again")
    pushed.git("push", "origin", "feature")
    # Then page and comment change by themselves, and the address shows it
    expect(page.get_by_text(sha[:8]).first).to_be_visible(timeout=PATIENCE * 1000)
    eventually(lambda: show(installation, name)["observed_sha"] == sha, "the new commit is served")
    preview.reload()
    expect(preview.get_by_role("heading", name="hello again")).to_be_visible()
    eventually(lambda: f"`{sha[:8]}` is ready" in installation.run("comment", name).stdout, "the comment says so")
    # When the branch is deleted
    pushed.git("push", "origin", "--delete", "feature")
    assert wait(installation, name, "gone") == 0
    # Then the page says so, and nothing of it is left
    expect(page.get_by_text("Gone").first).to_be_visible(timeout=PATIENCE * 1000)
    assert not (installation.home.environments / document["namespace"]).exists()
    assert not (installation.home.routes / f"{document['namespace']}.yml").exists()
    assert [process for process in psutil.process_iter() if _mentions(process, document["namespace"])] == []
    assert "nothing is left" in installation.run("comment", name).stdout


def _mentions(process: psutil.Process, word: str) -> bool:
    try:
        return any(word in text for text in [*process.cmdline(), process.cwd()])
    except psutil.Error:
        return False


def test_a_repository_of_ones_own_is_followed(installation: Installation, repository: Repository) -> None:
    # Given a connected repository, and a pull request opened from its branch
    repository.git("checkout", "--quiet", "-b", "mine")
    repository.say("hello mine")
    assert installation.run("pr", "open", repository.name, "mine").returncode == 0
    name = f"{repository.name}#1"
    assert wait(installation, name) == 0
    # When a commit is made in it, and nothing is pushed
    sha = repository.say("hello followed")
    # Then the environment follows
    eventually(lambda: show(installation, name)["observed_sha"] == sha, "the new commit is served")
    # And closing and reopening end as they should
    assert installation.run("pr", "close", repository.name, "1").returncode == 0
    assert wait(installation, name, "gone") == 0
    assert installation.run("pr", "reopen", repository.name, "1").returncode == 0
    assert wait(installation, name) == 0
    assert installation.run("pr", "close", repository.name, "1").returncode == 0


def test_a_worker_killed_in_the_middle_is_continued_by_another(
    installation: Installation, repository: Repository
) -> None:
    # Given a worker in the middle of a migration
    repository.git("checkout", "--quiet", "-b", "slow")
    repository.slowly()
    assert installation.run("pr", "open", repository.name, "slow").returncode == 0
    name = f"{repository.name}#1"
    eventually(lambda: "migrating" in installation.run("logs", name, "--layer", "app").stdout, "it migrates")
    # When it is killed
    psutil.Process(installation.pids()["worker"]).kill()
    # Then another one brings the environment up, without a hand
    assert wait(installation, name) == 0
    assert address(installation, name)
    assert installation.run("pr", "close", repository.name, "1").returncode == 0
    assert wait(installation, name, "gone") == 0


def test_the_newest_of_two_pushes_wins(installation: Installation, pushed: Repository) -> None:
    pushed.git("checkout", "--quiet", "-b", "twice")
    pushed.slowly()
    pushed.git("push", "origin", "twice")
    name = f"{pushed.name}#1"
    eventually(lambda: "migrating" in installation.run("logs", name, "--layer", "app").stdout, "it migrates")
    # When two newer commits are pushed while the first is on its way
    pushed.say("hello two")
    pushed.git("push", "origin", "twice")
    sha = pushed.say("hello three")
    pushed.git("push", "origin", "twice")
    # Then the newest one is served
    eventually(lambda: show(installation, name)["observed_sha"] == sha, "the newest commit is served")
    assert wait(installation, name) == 0
    pushed.git("push", "origin", "--delete", "twice")
    assert wait(installation, name, "gone") == 0


def test_closing_during_a_build_leaves_nothing(installation: Installation, repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "short")
    repository.slowly()
    assert installation.run("pr", "open", repository.name, "short").returncode == 0
    name = f"{repository.name}#1"
    eventually(lambda: "migrating" in installation.run("logs", name, "--layer", "app").stdout, "it migrates")
    began = time.monotonic()
    assert installation.run("pr", "close", repository.name, "1").returncode == 0
    assert wait(installation, name, "gone") == 0
    assert time.monotonic() - began < PATIENCE
    assert not (installation.home.environments / show(installation, name)["namespace"]).exists()


# ── what people type wrong ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("repo", "add", "/nowhere/at/all"), "/nowhere/at/all"),
        (("pr", "open", "nobody", "main"), "no repository is called 'nobody'"),
        (("env", "show", "nobody#1"), "no repository is called 'nobody'"),
        (("env", "show", "99999"), "No environment is called '99999'"),
        (("wait", "preview-x", "--for", "ready"), "No environment is called"),
    ],
)
def test_a_wrong_name_is_explained(installation: Installation, words: tuple[str, ...], said: str) -> None:
    done = installation.run(*words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_without_a_control_plane_says_how_to_start_it(tmp_path: Path) -> None:
    done = Installation(tmp_path / "nothing").run("env", "list")
    assert done.returncode == 1
    assert "previewkit up" in done.stderr
    assert "Traceback" not in done.stderr


def test_lint_names_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / ".preview.yaml"
    path.write_text("services:\n  web:\n    prot: 3000\n")
    done = Installation(tmp_path / "nothing").run("lint", str(path))
    assert done.returncode == 1
    assert ":3:5: " in done.stderr and "port" in done.stderr
    path.write_text((CHECKOUT / "examples" / "minimal" / ".preview.yaml").read_text())
    assert Installation(tmp_path / "nothing").run("lint", str(path)).returncode == 0
