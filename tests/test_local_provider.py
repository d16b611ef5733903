"""The local provider through real git: pushes, the hook and what it tells, followed repositories, odd input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from environments.errors import UserError
from environments.ports import RepositoryRef
from environments.providers.local import LocalProvider
from environments.providers.local_hook import SIGNATURE_HEADER, HookTarget, signature
from tests.fixtures_git import WorkingRepository

SECRET = "a shared secret"


class Receiver:
    """The control plane's webhook: keeps what it is told, checks the signature."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.status = 200
        receiver = self

        class Webhook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers[SIGNATURE_HEADER] == signature(SECRET, body)
                receiver.told.append(json.loads(body))
                answer = json.dumps({"address": "https://dashboard.test/shop/1"}).encode()
                self.send_response(receiver.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
        self.target = HookTarget(
            f"http://127.0.0.1:{self.server.server_port}/webhooks/local", SECRET, "https://dashboard.test"
        )
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.stop()


@pytest.fixture
def provider(tmp_path: Path) -> LocalProvider:
    return LocalProvider(tmp_path / "git")


@pytest.fixture
def shop(provider: LocalProvider) -> RepositoryRef:
    return provider.create_bare("shop")


@pytest.fixture
def work(tmp_path: Path, shop: RepositoryRef) -> WorkingRepository:
    """A checkout with a first commit on main, pushed."""
    made = WorkingRepository(tmp_path / "work")
    made.commit("First")
    made.push(shop.url, "main")
    return made


# ── pushing ─────────────────────────────────────────────────────────────────────────────────


def test_a_push_opens_moves_and_closes_a_pull_request_and_tells_each(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, receiver: Receiver
) -> None:
    provider.connect(receiver.target)
    # When a branch is pushed, moved and deleted
    work.on("fix-cart")
    first = work.commit("Fix the cart")
    opened = work.push(shop.url, "fix-cart")
    second = work.commit("Fix it better")
    moved = work.push(shop.url, "fix-cart")
    deleted = work.push(shop.url, ":fix-cart")
    # Then the person who pushed reads it
    assert "PreviewKit: pull request #1 opened: Fix the cart" in opened
    assert "https://dashboard.test/shop/1" in opened
    assert f"pull request #1 is at {second[:8]}" in moved
    assert "pull request #1 closed" in deleted
    # And the control plane was told, in order
    told = [(one["event"], one["repository"], one["number"], one["branch"]) for one in receiver.told]
    assert told == [(event, "shop", 1, "fix-cart") for event in ("opened", "updated", "closed")]
    assert [one["after"] for one in receiver.told] == [first, second, ""]
    assert len({one["delivery"] for one in receiver.told}) == 3


def test_a_push_of_the_default_branch_tells_that_the_base_moved(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, receiver: Receiver
) -> None:
    provider.connect(receiver.target)
    sha = work.commit("Second")
    work.push(shop.url, "main")
    (told,) = receiver.told
    assert (told["event"], told["branch"], told["number"], told["after"]) == ("base_moved", "main", None, sha)


def test_a_force_push_moves_the_head_back(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository
) -> None:
    work.on("fix-cart")
    first = work.commit("One")
    work.commit("Two")
    work.push(shop.url, "fix-cart")
    work.git("reset", "--quiet", "--hard", first)
    work.push(shop.url, "fix-cart")
    (pull,) = provider.open_pull_requests(shop)
    assert pull.head_sha == first


def test_a_merge_into_the_default_branch_closes_the_pull_request_as_merged(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository
) -> None:
    work.on("fix-cart")
    work.commit("Fix the cart")
    work.push(shop.url, "fix-cart")
    work.on("main")
    work.git("merge", "--quiet", "--no-ff", "-m", "Merge", "fix-cart")
    assert "pull request #1 merged" in work.push(shop.url, "main")
    pull = provider.pull_request(shop, 1)
    assert pull and (pull.state, pull.merged) == ("closed", True)


def test_a_push_succeeds_while_the_control_plane_is_down_and_says_so(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, receiver: Receiver
) -> None:
    provider.connect(receiver.target)
    receiver.stop()
    work.on("fix-cart")
    work.commit("Fix the cart")
    output = work.push(shop.url, "fix-cart")
    assert "PreviewKit is not running; it will catch up when it starts" in output
    assert [pull.number for pull in provider.open_pull_requests(shop)] == [1]


def test_a_push_succeeds_when_the_control_plane_answers_with_an_error(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, receiver: Receiver
) -> None:
    provider.connect(receiver.target)
    receiver.status = 503
    work.on("fix-cart")
    work.commit("Fix the cart")
    assert "PreviewKit answered 503; it will catch up by itself." in work.push(shop.url, "fix-cart")


def test_two_pushes_at_once_make_one_pull_request_each(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, tmp_path: Path
) -> None:
    branches = [f"feature-{number}" for number in range(6)]
    for branch in branches:
        work.on(branch)
        work.commit(f"Add {branch}")

    # When all are pushed at the same moment, each twice (git itself refuses the later of two)
    def push(branch: str) -> None:
        work.git("push", shop.url, branch, check=False)

    threads = [threading.Thread(target=push, args=(branch,)) for branch in [*branches, *branches]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then there is one pull request for each branch, with a number of its own
    pulls = provider.open_pull_requests(shop)
    assert sorted(pull.head_ref for pull in pulls) == branches
    assert sorted(pull.number for pull in pulls) == [1, 2, 3, 4, 5, 6]


def test_what_a_killed_hook_missed_is_found_by_the_next_look(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository
) -> None:
    (Path(shop.url) / "hooks" / "post-receive").unlink()
    work.on("fix-cart")
    head = work.commit("Fix the cart")
    work.push(shop.url, "fix-cart")
    (pull,) = provider.open_pull_requests(shop)
    assert (pull.head_sha, pull.title) == (head, "Fix the cart")


def test_a_closed_pull_requests_commit_can_still_be_fetched(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, tmp_path: Path
) -> None:
    work.on("fix-cart")
    head = work.commit("Fix the cart")
    work.push(shop.url, "fix-cart")
    work.push(shop.url, ":fix-cart")
    other = WorkingRepository(tmp_path / "other")
    other.git("fetch", "--quiet", shop.url, "refs/pull/1/head")
    assert other.git("rev-parse", "FETCH_HEAD") == head


def test_nobody_can_push_over_a_pull_requests_ref(shop: RepositoryRef, work: WorkingRepository) -> None:
    output = work.git("push", shop.url, "main:refs/pull/9/head", check=False)
    assert "deny updating a hidden ref" in output


# ── odd input ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "branch", ["feature/cart/α-β", "-dash", "v" * 200, "a/" * 60 + "z", "emoji-🛒", "quote'\"$(x)"]
)
def test_odd_branch_names_open_pull_requests_like_any_other(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, branch: str
) -> None:
    head = work.commit("Odd")
    output = work.push(shop.url, f"HEAD:refs/heads/{branch}")
    assert "pull request #1 opened" in output
    (pull,) = provider.open_pull_requests(shop)
    assert (pull.head_ref, pull.head_sha) == (branch, head)
    assert "#1 closed" in work.push(shop.url, f":refs/heads/{branch}")


def test_branch_names_that_cannot_be_stored_are_said_and_open_nothing(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository
) -> None:
    long_name = "/".join("n" * 90 for _ in range(7))
    not_utf8 = os.fsdecode(b"caf\xe9")
    for branch in (long_name, not_utf8):
        assert "no pull request" in work.push(shop.url, f"HEAD:refs/heads/{branch}")
    assert provider.open_pull_requests(shop) == []


def test_a_subject_of_control_characters_and_great_length_makes_a_plain_title(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository
) -> None:
    work.on("odd")
    work.commit("\x1b[31mred\x07 " + "long " * 500)
    work.push(shop.url, "odd")
    (pull,) = provider.open_pull_requests(shop)
    assert pull.title.startswith("[31mred long") and pull.title.isprintable() and len(pull.title) <= 300


def test_a_branch_pushed_before_the_default_branch_waits_for_it(
    provider: LocalProvider, shop: RepositoryRef, tmp_path: Path
) -> None:
    work = WorkingRepository(tmp_path / "work")
    work.commit("First")
    assert "no open pull request" in work.push(shop.url, "main:feature")
    assert provider.open_pull_requests(shop) == []
    work.push(shop.url, "main")
    assert [pull.head_ref for pull in provider.open_pull_requests(shop)] == ["feature"]


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "x.git", "a" * 101, "ü"])
def test_names_that_make_no_directory_are_refused(provider: LocalProvider, name: str) -> None:
    with pytest.raises(UserError) as refused:
        provider.create_bare(name)
    assert refused.value.code == "repository_refused"


def test_the_hook_takes_little_time(shop: RepositoryRef, work: WorkingRepository) -> None:
    started = time.monotonic()
    subprocess.run([f"{shop.url}/hooks/post-receive"], cwd=shop.url, input="", text=True, check=True)
    assert time.monotonic() - started < 5  # 0.1 s on a machine at rest; Django alone would take a second.


# ── following a repository of the user's own ────────────────────────────────────────────────


@pytest.fixture
def own(tmp_path: Path) -> WorkingRepository:
    made = WorkingRepository(tmp_path / "home" / "project with space", default_branch="trunk")
    made.commit("First")
    made.on("wip", "trunk")
    made.commit("Work in progress")
    return made


def open_heads(provider: LocalProvider, ref: RepositoryRef) -> dict[str, str]:
    return {pull.head_ref: pull.head_sha for pull in provider.open_pull_requests(ref)}


def test_a_followed_repository_needs_nothing_but_adding_and_opening(
    provider: LocalProvider, own: WorkingRepository
) -> None:
    # Given a repository on disk whose checked-out branch is not the default one
    own.git("update-ref", "refs/remotes/origin/trunk", "trunk")
    own.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    config = (own.path / ".git" / "config").read_text()
    ref = provider.add_existing(str(own.path), "project")
    # Then its branches open nothing by themselves
    assert provider.default_branch(ref) == "trunk"
    assert provider.open_pull_requests(ref) == []
    # When a pull request is opened, then commits are followed without a push
    provider.open_pull(ref, "wip", "My title")
    head = own.commit("More")
    assert open_heads(provider, ref) == {"wip": head}
    own.git("commit", "--amend", "--quiet", "-m", "Rewritten")
    assert open_heads(provider, ref) == {"wip": own.git("rev-parse", "HEAD")}
    # When the branch is deleted, it closes; and the repository was only read
    own.git("checkout", "--quiet", "trunk")
    own.git("branch", "--quiet", "-D", "wip")
    assert provider.open_pull_requests(ref) == []
    assert (own.path / ".git" / "config").read_text() == config
    assert not (own.path / ".git" / "hooks" / "post-receive").exists()


def test_a_followed_repository_can_be_pushed_to_as_well(provider: LocalProvider, own: WorkingRepository) -> None:
    own.git("branch", "main", "trunk")
    ref = provider.add_existing(str(own.path), "project", "trunk")
    own.git("checkout", "--quiet", "--detach")
    pushed = own.commit("Only pushed")
    own.push(ref.url, "HEAD:refs/heads/pushed")
    own.git("checkout", "--quiet", "trunk")
    own.commit("Trunk moves")
    # A push opens its pull request, and following the source leaves it alone
    assert open_heads(provider, ref) == {"pushed": pushed}
    assert open_heads(provider, ref) == {"pushed": pushed}


def test_branches_that_replace_one_another_as_file_and_directory_are_followed(
    provider: LocalProvider, own: WorkingRepository
) -> None:
    ref = provider.add_existing(str(own.path), "project", "trunk")
    provider.open_pull(ref, "wip")
    own.git("checkout", "--quiet", "-b", "tmp")
    own.git("branch", "--quiet", "-D", "wip")
    own.git("branch", "--quiet", "-m", "tmp", "wip/two")
    assert provider.open_pull_requests(ref) == []
    assert provider.branch_head(ref, "wip/two") == own.git("rev-parse", "wip/two")


def test_a_url_is_followed_too(provider: LocalProvider, own: WorkingRepository) -> None:
    own.on("trunk")
    ref = provider.add_existing(f"file://{own.path}", "project")
    assert provider.default_branch(ref) == "trunk"
    assert provider.branch_head(ref, "wip") == own.git("rev-parse", "wip")


def test_adding_again_changes_nothing_and_another_source_is_refused(
    provider: LocalProvider, own: WorkingRepository, work: WorkingRepository
) -> None:
    first = provider.add_existing(str(own.path), "project")
    assert provider.add_existing(str(own.path), "project") == first
    for name in ("project", "shop"):  # shop is pushed to
        with pytest.raises(UserError) as refused:
            provider.add_existing(str(work.path), name)
        assert refused.value.code == "repository_refused"


def test_a_followed_repository_that_vanishes_is_gone(provider: LocalProvider, own: WorkingRepository) -> None:
    ref = provider.add_existing(str(own.path), "project", "trunk")
    provider.open_pull(ref, "wip")
    shutil.rmtree(own.path)
    with pytest.raises(UserError) as gone:
        provider.open_pull_requests(ref)
    assert gone.value.code == "repository_gone"
    assert str(own.path) in gone.value.message


@pytest.mark.parametrize("source", ["/nonexistent/repository", "not a repository"])
def test_what_is_no_repository_is_not_added(provider: LocalProvider, source: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as gone:
        provider.add_existing(source, "project")
    assert gone.value.code == "repository_gone"
    assert provider.repositories() == []


def test_an_empty_followed_repository_is_followed_from_its_first_commit_on(
    provider: LocalProvider, tmp_path: Path
) -> None:
    own = WorkingRepository(tmp_path / "own")
    ref = provider.add_existing(str(own.path), "project")
    assert provider.branch_head(ref, "main") is None
    head = own.commit("First")
    assert provider.branch_head(ref, "main") == head


@pytest.mark.parametrize(("branch", "names"), [("main", "default branch"), ("nowhere", "there is no branch nowhere")])
def test_a_pull_request_that_cannot_be_opened_says_why(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, branch: str, names: str
) -> None:
    with pytest.raises(UserError) as refused:
        provider.open_pull(shop, branch)
    assert refused.value.code == "pull_request_refused"
    assert names in refused.value.message


def test_a_closed_pull_request_is_told_in_the_way_of_pushes(
    provider: LocalProvider, shop: RepositoryRef, work: WorkingRepository, receiver: Receiver
) -> None:
    work.on("fix-cart")
    work.commit("Fix the cart")
    work.push(shop.url, "fix-cart")
    provider.connect(receiver.target)
    told = provider.tell(shop, "closed", provider.close_pull(shop, 1))
    assert told.delivered
    assert [(one["event"], one["number"]) for one in receiver.told] == [("closed", 1)]
