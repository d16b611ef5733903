"""The provider's contract, over the local provider and its twin in memory."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Protocol

import pytest

from environments.errors import UserError
from environments.ports import Provider, PullRequestState, RepositoryRef
from environments.providers.local import LocalProvider
from environments.providers.memory import MemoryProvider
from tests.fixtures_git import WorkingRepository


class Stage(Protocol):
    """What people do at a provider, which the contract itself has no words for."""

    provider: Provider
    repository: RepositoryRef

    def push(self, branch: str) -> str: ...
    def delete_branch(self, branch: str) -> None: ...
    def close(self, number: int) -> PullRequestState: ...
    def reopen(self, number: int) -> PullRequestState: ...
    def comments(self, number: int) -> list[str]: ...
    def vanish(self) -> None: ...


class LocalStage:
    def __init__(self, tmp_path: Path) -> None:
        self.provider = LocalProvider(tmp_path / "git")
        self.repository = self.provider.create_bare("shop")
        self.work = WorkingRepository(tmp_path / "work")
        self.numbers = itertools.count()

    def push(self, branch: str) -> str:
        if branch != "main":
            self.work.on(branch)
        sha = self.work.commit(f"Change {next(self.numbers)}")
        self.work.push(self.repository.url, f"{branch}:refs/heads/{branch}")
        self.work.git("checkout", "--quiet", "main")
        return sha

    def delete_branch(self, branch: str) -> None:
        self.work.push(self.repository.url, f":refs/heads/{branch}")

    def close(self, number: int) -> PullRequestState:
        return self.provider.close_pull(self.repository, number)

    def reopen(self, number: int) -> PullRequestState:
        return self.provider.reopen_pull(self.repository, number)

    def comments(self, number: int) -> list[str]:
        return [comment.body for comment in self.provider.comments(self.repository, number)]

    def vanish(self) -> None:
        self.provider.remove(self.repository)


class MemoryStage:
    def __init__(self, tmp_path: Path) -> None:
        self.provider = MemoryProvider()
        self.repository = self.provider.create("shop")
        self.numbers = itertools.count()

    def push(self, branch: str) -> str:
        sha = hashlib.sha1(f"{branch} {next(self.numbers)}".encode()).hexdigest()
        self.provider.push(self.repository, branch, sha)
        return sha

    def delete_branch(self, branch: str) -> None:
        self.provider.delete_branch(self.repository, branch)

    def close(self, number: int) -> PullRequestState:
        return self.provider.close_pull(self.repository, number)

    def reopen(self, number: int) -> PullRequestState:
        return self.provider.reopen_pull(self.repository, number)

    def comments(self, number: int) -> list[str]:
        return self.provider.comment_bodies(self.repository, number)

    def vanish(self) -> None:
        self.provider.remove(self.repository)


@pytest.fixture(params=[LocalStage, MemoryStage], ids=["local", "memory"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    made: Stage = request.param(tmp_path)
    return made


def only_open(stage: Stage) -> PullRequestState:
    (pull,) = stage.provider.open_pull_requests(stage.repository)
    return pull


def test_an_empty_repository_has_a_default_branch_without_a_head(stage: Stage) -> None:
    assert stage.provider.default_branch(stage.repository) == "main"
    assert stage.provider.branch_head(stage.repository, "main") is None
    assert stage.provider.open_pull_requests(stage.repository) == []


def test_a_new_branch_opens_a_pull_request_against_the_default_branch(stage: Stage) -> None:
    base = stage.push("main")
    head = stage.push("fix-cart")
    pull = only_open(stage)
    assert (pull.number, pull.head_ref, pull.head_sha) == (1, "fix-cart", head)
    assert (pull.base_ref, pull.base_sha, pull.state) == ("main", base, "open")
    assert pull.title and pull.author and not pull.fork
    assert stage.provider.pull_request(stage.repository, 1) == pull


def test_a_moved_branch_moves_the_head_and_a_moved_default_branch_the_base(stage: Stage) -> None:
    stage.push("main")
    stage.push("fix-cart")
    head = stage.push("fix-cart")
    base = stage.push("main")
    assert (only_open(stage).head_sha, only_open(stage).base_sha) == (head, base)
    assert stage.provider.branch_head(stage.repository, "fix-cart") == head


def test_a_deleted_branch_closes_its_pull_request_and_keeps_what_it_was(stage: Stage) -> None:
    stage.push("main")
    head = stage.push("fix-cart")
    stage.delete_branch("fix-cart")
    assert stage.provider.open_pull_requests(stage.repository) == []
    closed = stage.provider.pull_request(stage.repository, 1)
    assert closed and (closed.state, closed.head_sha) == ("closed", head)


def test_a_branch_made_anew_opens_another_pull_request(stage: Stage) -> None:
    stage.push("main")
    stage.push("fix-cart")
    stage.delete_branch("fix-cart")
    stage.push("fix-cart")
    assert only_open(stage).number == 2


def test_close_and_reopen_follow_the_branch(stage: Stage) -> None:
    stage.push("main")
    stage.push("fix-cart")
    assert stage.close(1).state == "closed"
    # A push to the branch of a closed pull request neither moves nor opens one.
    head = stage.push("fix-cart")
    assert stage.provider.open_pull_requests(stage.repository) == []
    assert (stage.reopen(1).state, only_open(stage).head_sha) == ("open", head)
    assert stage.close(1).state == stage.close(1).state == "closed"


def test_reopening_without_a_branch_or_a_number_is_refused(stage: Stage) -> None:
    stage.push("main")
    stage.push("fix-cart")
    stage.delete_branch("fix-cart")
    for number in (1, 99):
        with pytest.raises(UserError) as refused:
            stage.reopen(number)
        assert refused.value.code == "pull_request_refused"


def test_an_unknown_pull_request_is_none(stage: Stage) -> None:
    assert stage.provider.pull_request(stage.repository, 7) is None


def test_one_comment_per_marker_found_by_id_or_by_marker(stage: Stage) -> None:
    stage.push("main")
    stage.push("fix-cart")
    upsert = stage.provider.upsert_comment
    first = upsert(stage.repository, 1, "<!-- previewkit:1 -->", "<!-- previewkit:1 -->\nbuilding")
    assert upsert(stage.repository, 1, "<!-- previewkit:1 -->", "<!-- previewkit:1 -->\nready", first) == first
    # A lost id is found by marker; an id that the provider does not know is lost too.
    assert upsert(stage.repository, 1, "<!-- previewkit:1 -->", "<!-- previewkit:1 -->\ngone") == first
    assert upsert(stage.repository, 1, "<!-- previewkit:1 -->", "<!-- previewkit:1 -->\nback", "no-id") == first
    assert stage.comments(1) == ["<!-- previewkit:1 -->\nback"]


def test_a_status_may_be_set_again(stage: Stage) -> None:
    stage.push("main")
    sha = stage.push("fix-cart")
    for state in ("pending", "pending", "success"):
        stage.provider.set_status(stage.repository, sha, state, "it is so", "https://example.com")


def test_clone_source_carries_no_credentials_in_its_url(stage: Stage) -> None:
    assert "@" not in stage.provider.clone_source(stage.repository).url


def test_a_vanished_repository_is_gone_for_every_question(stage: Stage) -> None:
    stage.push("main")
    stage.vanish()
    questions = (
        lambda: stage.provider.clone_source(stage.repository),
        lambda: stage.provider.default_branch(stage.repository),
        lambda: stage.provider.branch_head(stage.repository, "main"),
        lambda: stage.provider.pull_request(stage.repository, 1),
        lambda: stage.provider.open_pull_requests(stage.repository),
        lambda: stage.provider.upsert_comment(stage.repository, 1, "m", "m"),
        lambda: stage.provider.set_status(stage.repository, "0" * 40, "success", "", ""),
    )
    for question in questions:
        with pytest.raises(UserError) as gone:
            question()
        assert gone.value.code == "repository_gone"
