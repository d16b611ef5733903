"""What people and providers may ask for. Everything that writes goes through here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from environments import actors, wiring, wishes
from environments.models import Environment, PullRequest, Repository, WebhookDelivery
from environments.ports import PullRequestState, UserError

Wanted = Environment.Wanted


# ── repositories ────────────────────────────────────────────────────────────────────────────


def add_repository(source: str, name: str = "") -> Repository:
    """Connects a git repository by path or URL, through the local provider. Adding it again changes nothing."""
    provider = wiring.provider("local")
    name = name or Path(source.rstrip("/")).name.removesuffix(".git")
    ref = provider.add_existing(source, name)  # type: ignore[attr-defined]  # the local provider's own
    repository, _ = Repository.objects.update_or_create(
        provider="local",
        owner=ref.owner,
        name=ref.name,
        defaults={"url": ref.url, "default_branch": provider.default_branch(ref), "removed_at": None},
    )
    wishes.converge_branch(repository, repository.default_branch)
    return repository


def create_repository(name: str) -> Repository:
    """A repository of our own to push to. Creating it again changes nothing."""
    ref = wiring.provider("local").create_bare(name)  # type: ignore[attr-defined]  # the local provider's own
    repository, _ = Repository.objects.update_or_create(
        provider="local",
        owner=ref.owner,
        name=ref.name,
        defaults={"url": ref.url, "removed_at": None},
        create_defaults={"url": ref.url, "default_branch": "main"},
    )
    return repository


def remove_repository(repository: Repository, actor: str) -> None:
    """Its environments are closed; its history stays."""
    Repository.objects.filter(pk=repository.pk).update(removed_at=timezone.now())
    for environment in repository.environments.exclude(phase=Environment.Phase.GONE):
        wishes.wish(environment, Wanted.ABSENT, "", actor, "The repository was removed")


# ── deliveries ──────────────────────────────────────────────────────────────────────────────


def receive_delivery(provider: str, delivery_id: str, event: str, payload: dict[str, Any]) -> bool:
    """Stores a delivery; a worker interprets it later. Returns False for one that is known already."""
    try:
        with transaction.atomic():
            delivery = WebhookDelivery.objects.create(
                provider=provider, delivery_id=delivery_id, event=event, payload=payload
            )
            # Stored is received: without a broker the sweeper interprets it.
            transaction.on_commit(partial(actors.interpret.send, delivery.pk), robust=True)
    except IntegrityError:
        return False
    return True


# ── buttons ─────────────────────────────────────────────────────────────────────────────────


def retry(environment: Environment, actor: str) -> None:
    """The same commit again; what is built and running is kept."""
    _again(environment, actor, "Retry")


def rebuild(environment: Environment, actor: str) -> None:
    """The same commit in a fresh namespace with fresh data."""
    _again(environment, actor, "Rebuild with fresh data", rebuild=True)


def start(environment: Environment, actor: str) -> None:
    """Brings a stopped environment back at the newest commit."""
    _again(environment, actor, "Start")


def stop(environment: Environment, actor: str) -> None:
    """Everything of it goes; a new commit, or `start`, brings it back."""
    wishes.wish(environment, Wanted.ABSENT, "", actor, "Stop", by_person=True)


def _again(environment: Environment, actor: str, why: str, rebuild: bool = False) -> None:
    with wishes.one_at_a_time(environment.repository):
        environment = Environment.objects.select_related("repository", "pull").get(pk=environment.pk)
        _refuse(environment)
        pull = environment.pull
        sha = pull.head_sha if pull else environment.wanted_sha
        wishes.wish(environment, Wanted.PRESENT, sha, actor, why, again=True, rebuild=rebuild)


def _refuse(environment: Environment) -> None:
    """A person may not start what the repository's policy refuses: a fork's commit runs only once it is approved."""
    repository, pull = environment.repository, environment.pull
    if repository.removed_at:
        raise UserError("repository_gone", f"{repository} was removed from PreviewKit.", "Add it again first.")
    if pull and pull.state == PullRequest.State.CLOSED:
        raise UserError("commit_gone", f"{pull} is closed: it has no environment.", "Reopen the pull request first.")
    if pull and (why := wishes.refused(repository, pull)):
        way = "A maintainer approves this commit, or an operator changes the repository's policy."
        raise UserError("fork_not_approved" if pull.fork else "pull_request_refused", f"{pull}: {why}.", way)


# ── pull requests of the local provider ─────────────────────────────────────────────────────


@dataclass(frozen=True)
class LocalPulls:
    """Opening, closing and reopening where there is no website to do it."""

    repository: Repository

    @property
    def _provider(self) -> Any:
        if self.repository.provider != "local":
            raise UserError(
                "pull_request_refused",
                f"{self.repository} lives at {self.repository.provider}.",
                "Open and close its pull requests there.",
            )
        return wiring.provider("local")

    def open(self, branch: str, title: str = "") -> PullRequestState:
        state: PullRequestState = self._provider.open_pull(self.repository.ref, branch, title)
        wishes.converge_pull(self.repository, state.number)
        return state

    def close(self, number: int) -> None:
        self._provider.close_pull(self.repository.ref, number)
        wishes.converge_pull(self.repository, number)

    def reopen(self, number: int) -> None:
        self._provider.reopen_pull(self.repository.ref, number)
        wishes.converge_pull(self.repository, number)


def repository_named(name: str) -> Repository:
    """By `name` or `owner/name`."""
    owner, _, short = name.rpartition("/")
    found = Repository.objects.filter(name=short, removed_at=None, **({"owner": owner} if owner else {}))
    if len(found) == 1:
        return found[0]
    known = ", ".join(str(row) for row in Repository.objects.filter(removed_at=None)) or "none yet"
    reason = "several are called" if found else "no repository is called"
    raise UserError("repository_gone", f"{reason} {name!r}; known: {known}.", "previewkit repo add PATH|URL")


def environment_named(name: str) -> Environment:
    """By id, namespace, `repository#number` or `repository@branch`."""
    rows = Environment.objects.select_related("repository", "pull")
    if name.isdigit():
        found = rows.filter(pk=int(name)).first()
    elif "#" in name:
        repository, _, number = name.rpartition("#")
        found = rows.filter(
            repository=repository_named(repository), pull__number=int(number) if number.isdigit() else -1
        ).first()
    elif "@" in name:
        repository, _, branch = name.partition("@")
        found = rows.filter(repository=repository_named(repository), branch=branch, pull=None).first()
    else:
        found = rows.filter(namespace=name).first()
    if found is None:
        raise UserError(
            "environment_unknown",
            f"No environment is called {name!r}.",
            "Name it by id, namespace, repository#number or repository@branch; see `previewkit env list`.",
        )
    return found
