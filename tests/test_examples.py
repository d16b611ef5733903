"""The examples: their files are what the documentation says, their repositories come out the same every time."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from environments.errors import CODES
from environments.spec import parse

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LAYERS = {"build", "namespace", "dependencies", "app", "routing", "tests"}

DOCUMENTED_MINIMUM = """\
services:
  web:
    build: railpack
    port: 3000
dependencies:
  - postgres@15
  - valkey@7
"""


def load_repositories() -> ModuleType:
    """The examples are no package: the file is loaded from where it is."""
    spec = importlib.util.spec_from_file_location("example_repositories", EXAMPLES / "repositories.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


repositories = load_repositories()
PULLS = [(name, branch) for name in repositories.EXAMPLES for branch in repositories.main(name).pulls]


def git(directory: Path, *arguments: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    ran = subprocess.run(
        ["git", "-C", str(directory), *arguments],
        env=clean,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return ran.stdout.strip()


def heads(bare: Path) -> dict[str, str]:
    listed = git(bare, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
    return dict(line.split() for line in listed.splitlines())


def make_all(example: str, directory: Path) -> tuple[Path, Path]:
    bare, work = directory / "bare.git", directory / "work"
    repositories.create(example, bare, work, lambda line: None)
    for branch in repositories.main(example).pulls:
        repositories.push_branch(example, work, branch, lambda line: None)
    return bare, work


# ── files ───────────────────────────────────────────────────────────────────────────────────


def test_the_minimal_example_is_the_documented_file_and_nothing_more() -> None:
    assert (EXAMPLES / "minimal/.preview.yaml").read_text() == DOCUMENTED_MINIMUM


def test_the_shop_is_a_file_that_is_understood_and_starts_in_the_order_of_its_references() -> None:
    spec = parse((EXAMPLES / "shop/.preview.yaml").read_text())

    assert list(spec.services) == ["api", "web", "worker"]
    assert [name for name, service in spec.services.items() if service.public] == ["web"]
    assert [dependency.recipe for dependency in spec.dependencies] == ["postgres", "valkey", "api-gateway"]


@pytest.mark.parametrize("lock", ["minimal/package-lock.json", "shop/api/package-lock.json"])
def test_node_lock_files_name_packages_and_hashes_and_no_address(lock: str) -> None:
    text = (EXAMPLES / lock).read_text()
    packages = json.loads(text)["packages"]

    assert "://" not in text
    assert len(packages) > 1
    assert [name for name, entry in packages.items() if name and not entry["integrity"].startswith("sha512-")] == []


@pytest.mark.parametrize("lock", ["shop/web/requirements.txt", "shop/worker/requirements.txt"])
def test_python_lock_files_name_packages_and_hashes_and_no_address(lock: str) -> None:
    text = (EXAMPLES / lock).read_text()
    # One requirement is one logical line, continued by backslashes.
    requirements = [line for line in text.replace("\\\n", " ").splitlines() if re.match(r"[a-z]", line)]

    assert "://" not in text
    assert requirements
    assert [line for line in requirements if "==" not in line or "--hash=sha256:" not in line] == []


@pytest.mark.parametrize(
    ("wanted", "lock"),
    [
        ("shop/web/requirements.in", "shop/web/requirements.txt"),
        ("shop/worker/requirements.in", "shop/worker/requirements.txt"),
    ],
)
def test_what_is_wanted_is_locked(wanted: str, lock: str) -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", (EXAMPLES / lock).read_text(), re.MULTILINE))
    names = set(re.findall(r"^([a-z0-9-]+)", (EXAMPLES / wanted).read_text(), re.MULTILINE))

    assert names and names <= locked


# ── pull requests ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("example", repositories.EXAMPLES)
def test_every_directory_of_pulls_is_a_pull_request_that_is_listed(example: str) -> None:
    directories = {path.name for path in (EXAMPLES / f"{example}.pulls").iterdir() if path.is_dir()}

    assert sorted(repositories.main(example).pulls) == sorted(directories)
    assert [pull.branch for pull in repositories.pulls(example)] == list(repositories.main(example).pulls)


@pytest.mark.parametrize(("example", "branch"), PULLS)
def test_a_pull_request_says_what_should_come_of_it(example: str, branch: str) -> None:
    pull = next(pull for pull in repositories.pulls(example) if pull.branch == branch)

    assert pull.title and pull.author and pull.description
    if pull.expect.phase == "failed":
        assert pull.expect.code in CODES
        assert pull.expect.layer in LAYERS
        assert not pull.expect.answers
    else:
        assert pull.expect.code is None and pull.expect.layer is None
        assert pull.expect.answers
        assert "APPLICATION_BUG" in pull.expect.verdicts


def test_the_shop_has_one_pull_request_of_each_kind_of_failure() -> None:
    codes = [pull.expect.code for pull in repositories.pulls("shop") if pull.expect.code]

    assert sorted(codes) == ["build_failed", "migrate_failed", "service_crashed", "service_wrong_port"]


def test_the_demo_sets_every_secret_that_the_shop_asks_for() -> None:
    asked = set(re.findall(r"secrets: \[(\w+)\]", (EXAMPLES / "shop/.preview.yaml").read_text()))

    assert asked == set(repositories.main("shop").secrets)


@pytest.mark.parametrize(
    ("written", "count", "holds"),
    [(0, 0, True), (0, 1, False), ("at least 1", 0, False), ("at least 1", 1, True), ("at least 1", 9, True)],
)
def test_a_bound_says_how_many_findings_there_may_be(written: int | str, count: int, holds: bool) -> None:
    assert repositories._bound(written).holds(count) is holds


def test_an_example_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"no example 'ship'; there are minimal, shop"):
        repositories.pulls("ship")


# ── repositories ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("example", repositories.EXAMPLES)
def test_repositories_are_the_same_every_time_whatever_the_users_git_is_like(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a repository made in this environment, as it is
    first, _ = make_all(example, tmp_path / "first")

    # When it is made again from within another repository's hook, by someone with settings of their own
    home = tmp_path / "home"
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/ignore").write_text("*.css\nmigrations/\n")
    (home / ".gitconfig").write_text(
        "[user]\nname = Somebody\n[commit]\ngpgsign = true\n[core]\nautocrlf = true\n"
        "[init]\ndefaultBranch = trunk\n[push]\ndefault = nothing\n"
    )
    outer = tmp_path / "outer"
    git(tmp_path, "init", "--quiet", str(outer))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(outer / ".git/index"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody")
    second, _ = make_all(example, tmp_path / "second")

    # Then every branch has the same sha, each pull request is one commit on main, and the other has nothing
    assert heads(second) == heads(first)
    assert set(heads(first)) == {"main", *repositories.main(example).pulls}
    for pull in repositories.pulls(example):
        log = git(first, "log", "--format=%an: %s", f"main..{pull.branch}")
        assert log == f"{pull.author}: {pull.title}"
    assert heads(outer) == {}


def test_a_repository_holds_the_example_as_it_is(tmp_path: Path) -> None:
    _, work = make_all("minimal", tmp_path)

    tracked = git(work, "ls-files").splitlines()

    assert {".preview.yaml", "server.js", "migrations/001_notes.sql", "public/style.css"} <= set(tracked)
    assert not any("node_modules" in path for path in tracked)
    for path in tracked:
        assert (work / path).read_bytes() == (EXAMPLES / "minimal" / path).read_bytes()
    assert git(work, "status", "--porcelain") == ""


def test_run_again_it_continues_and_loses_nothing(tmp_path: Path) -> None:
    # Given a clone with a commit of the user's on main, and a branch that somebody else has pushed to
    bare, work = make_all("minimal", tmp_path)
    identity = ("-c", "user.name=Nora", "-c", "user.email=nora@example.com")
    git(work, *identity, "commit", "--quiet", "--allow-empty", "-m", "Mine")
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", "--branch", "where-from", str(bare), str(other))
    git(other, *identity, "commit", "--quiet", "--allow-empty", "-m", "Theirs")
    git(other, "push", "--quiet", "origin", "where-from")
    theirs = git(other, "rev-parse", "HEAD")

    # When all is made again
    make_all("minimal", tmp_path)

    # Then the user's commit is pushed and the other's is still there
    assert heads(bare)["main"] == git(work, "rev-parse", "main")
    assert git(bare, "log", "-1", "--format=%s", "main") == "Mine"
    assert heads(bare)["where-from"] == theirs


def test_a_branch_that_was_deleted_can_be_pushed_again(tmp_path: Path) -> None:
    bare, work = make_all("minimal", tmp_path)
    before = heads(bare)
    git(work, "push", "--quiet", "origin", ":where-from")
    assert "where-from" not in heads(bare)

    sha = repositories.push_branch("minimal", work, "where-from", lambda line: None)

    assert heads(bare) == before
    assert sha == before["where-from"]


def test_what_the_hook_of_the_bare_repository_says_is_passed_on(tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "--quiet", "--bare", str(bare))
    (bare / "hooks").mkdir(exist_ok=True)
    hook = bare / "hooks/post-receive"
    hook.write_text("#!/bin/sh\necho 'pull request 7 is open'\n")
    hook.chmod(0o755)
    lines: list[str] = []

    repositories.create("minimal", bare, tmp_path / "work", lines.append)

    assert any("pull request 7 is open" in line for line in lines)


def test_a_directory_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.txt").write_text("do not lose")

    with pytest.raises(repositories.GitFailed, match="in use"):
        repositories.create("minimal", tmp_path / "bare.git", work, lambda line: None)

    assert [path.name for path in work.iterdir()] == ["thesis.txt"]


def test_a_failing_push_says_what_git_said(tmp_path: Path) -> None:
    bare, work = make_all("minimal", tmp_path)
    hook = bare / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'no room for that' >&2\nexit 1\n")
    hook.chmod(0o755)
    git(work, "push", "--quiet", "--no-verify", "origin", "main")  # Nothing to push: the hook is not asked.
    git(work, "-c", "user.name=N", "-c", "user.email=n@example.com", "commit", "-q", "--allow-empty", "-m", "More")

    with pytest.raises(repositories.GitFailed, match="no room for that"):
        repositories.create("minimal", bare, work, lambda line: None)
