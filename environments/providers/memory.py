"""The provider in memory: the contract's twin for tests and reading. Repositories without contents.

Imports no Django.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from environments.errors import UserError
from environments.ports import CloneSource, PullRequestState, RepositoryRef


@dataclass
class _Repository:
    branches: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, PullRequestState] = field(default_factory=dict)
    comments: dict[int, dict[str, str]] = field(default_factory=dict)
    statuses: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))


class MemoryProvider:
    name = "memory"

    def __init__(self) -> None:
        self._repositories: dict[str, _Repository] = {}

    # ── what a person does at the provider ──
    def create(self, name: str) -> RepositoryRef:
        self._repositories.setdefault(name, _Repository())
        return RepositoryRef("memory", name, f"memory:{name}")

    def remove(self, repository: RepositoryRef) -> None:
        self._repositories.pop(repository.name, None)

    def push(self, repository: RepositoryRef, branch: str, sha: str, title: str = "A change") -> None:
        """A branch other than main that is new opens a pull request; one that moves brings it along."""
        found = self._found(repository)
        is_new = branch not in found.branches
        found.branches[branch] = sha
        if branch != "main" and is_new and "main" in found.branches:
            number = len(found.pulls) + 1
            found.pulls[number] = PullRequestState(
                number, title, "someone", "open", branch, sha, "main", found.branches["main"]
            )
        self._follow(found)

    def delete_branch(self, repository: RepositoryRef, branch: str) -> None:
        found = self._found(repository)
        found.branches.pop(branch, None)
        self._follow(found)

    def close_pull(self, repository: RepositoryRef, number: int) -> PullRequestState:
        return self._set_state(repository, number, "closed")

    def reopen_pull(self, repository: RepositoryRef, number: int) -> PullRequestState:
        found = self._found(repository)
        if number in found.pulls and found.pulls[number].head_ref not in found.branches:
            raise UserError("pull_request_refused", f"#{number} can't be reopened: its branch is gone.")
        reopened = self._set_state(repository, number, "open")
        self._follow(found)
        return found.pulls[reopened.number]

    # ── the contract ──
    def clone_source(self, repository: RepositoryRef) -> CloneSource:
        self._found(repository)
        return CloneSource(repository.url)

    def default_branch(self, repository: RepositoryRef) -> str:
        self._found(repository)
        return "main"

    def branch_head(self, repository: RepositoryRef, branch: str) -> str | None:
        return self._found(repository).branches.get(branch)

    def pull_request(self, repository: RepositoryRef, number: int) -> PullRequestState | None:
        return self._found(repository).pulls.get(number)

    def open_pull_requests(self, repository: RepositoryRef) -> list[PullRequestState]:
        return [pull for pull in self._found(repository).pulls.values() if pull.state == "open"]

    def upsert_comment(
        self, repository: RepositoryRef, number: int, marker: str, body: str, comment_id: str = ""
    ) -> str:
        found = self._found(repository)
        comments = found.comments.setdefault(number, {})
        by_marker = next((one for one, text in comments.items() if marker in text), None)
        present = comment_id if comment_id in comments else by_marker or str(next(found.ids))
        comments[present] = body
        return present

    def comment_bodies(self, repository: RepositoryRef, number: int) -> list[str]:
        return list(self._found(repository).comments.get(number, {}).values())

    def set_status(
        self,
        repository: RepositoryRef,
        sha: str,
        state: Literal["pending", "success", "failure", "error"],
        description: str,
        url: str,
    ) -> None:
        self._found(repository).statuses[sha] = (state, description, url)

    def may(self, repository: RepositoryRef, user: str, action: str) -> bool:
        return True

    # ── below ──
    def _found(self, repository: RepositoryRef) -> _Repository:
        if repository.name not in self._repositories:
            raise UserError("repository_gone", f"There is no repository {repository.name}.")
        return self._repositories[repository.name]

    def _set_state(self, repository: RepositoryRef, number: int, state: Literal["open", "closed"]) -> PullRequestState:
        pulls = self._found(repository).pulls
        if number not in pulls:
            raise UserError("pull_request_refused", f"{repository.name} has no pull request #{number}.")
        pulls[number] = replace(pulls[number], state=state)
        return pulls[number]

    def _follow(self, found: _Repository) -> None:
        for number, pull in found.pulls.items():
            if pull.state == "open":
                head = found.branches.get(pull.head_ref)
                found.pulls[number] = replace(
                    pull,
                    head_sha=head or pull.head_sha,
                    base_sha=found.branches.get("main", pull.base_sha),
                    state="open" if head else "closed",
                )
