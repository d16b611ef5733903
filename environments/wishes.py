"""From what a provider shows to what is wished: the environment of each pull request and pinned branch.

Deliveries only say where to look. Late, repeated and reordered ones end in the same wish, because the wish is
computed from the provider's present state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.utils import timezone

from environments import names, transitions, wiring
from environments.models import Environment, PullRequest, Repository, WebhookDelivery
from environments.ports import PullRequestState

Wanted = Environment.Wanted


def interpret_delivery(delivery_id: int) -> None:
    """A delivery says only where to look: what is wished is what the provider shows now."""
    delivery = WebhookDelivery.objects.get(pk=delivery_id)
    if delivery.interpreted_at:
        return
    payload = delivery.payload
    repository = _named(delivery.provider, str(payload.get("repository", "")))
    if repository is None:
        outcome = "no such repository here"
    elif isinstance(payload.get("number"), int):
        outcome = converge_pull(repository, payload["number"])
    elif payload.get("branch"):
        outcome = converge_branch(repository, str(payload["branch"]))
    else:
        outcome = "nothing to do"
    WebhookDelivery.objects.filter(pk=delivery_id).update(interpreted_at=timezone.now(), outcome=outcome[:500])


def _named(provider: str, name: str) -> Repository | None:
    """By `owner/name`, or by the name alone where the provider has one owner."""
    owner, _, short = name.rpartition("/")
    rows = Repository.objects.filter(provider=provider, name=short, removed_at=None)
    return (rows.filter(owner=owner) if owner else rows).first()


# ── wishes ──────────────────────────────────────────────────────────────────────────────────


def converge_pull(repository: Repository, number: int, listed: PullRequestState | None = None) -> str:
    """The pull request's environment is wished to be what the provider shows. Any order, any repetition.

    `listed`: as a list showed it a while ago. Where that is news, the provider is asked again.
    """
    with one_at_a_time(repository):
        if listed is None or not _is_known(repository, listed):
            listed = wiring.provider(repository.provider).pull_request(repository.ref, number)
        pull = _remember_pull(repository, number, listed)
        if pull is None:
            return "no such pull request"
        refusal = refused(repository, pull)
        environment = Environment.objects.filter(pull=pull).first()
        if refusal:
            if environment is None:
                return refusal
            # Closing also ends what a person's stop meant, so that reopening starts it again.
            return wish(environment, Wanted.ABSENT, "", "provider", refusal, again=_stopped_by_person(environment))
        if environment is None:
            environment = _new_environment(repository, pull=pull)
            _first_wish(environment, f"Pull request opened at {pull.head_sha[:8]}")
            return f"wanted at {pull.head_sha[:8]}"
        reopened = environment.wanted == Wanted.ABSENT
        if environment.wanted_sha == pull.head_sha and _stopped_by_person(environment):
            return "stopped by a person; a new commit starts it again"
        why = f"{'Pull request reopened' if reopened else 'New commit'}: {pull.head_sha[:8]}"
        return wish(environment, Wanted.PRESENT, pull.head_sha, "provider", why)


def converge_branch(repository: Repository, branch: str) -> str:
    """The default branch has an environment of its own: its traces are what pull requests are held against."""
    if branch != repository.default_branch or not repository.preview_default_branch:
        return "not a pinned branch"
    with one_at_a_time(repository):
        sha = wiring.provider(repository.provider).branch_head(repository.ref, branch)
        environment = Environment.objects.filter(
            repository=repository, kind=Environment.Kind.BRANCH, branch=branch
        ).first()
        if sha is None:
            return wish(environment, Wanted.ABSENT, "", "provider", "Branch deleted") if environment else "no branch"
        if environment is None:
            environment = _new_environment(repository, branch=branch, sha=sha)
            _first_wish(environment, f"Branch {branch} pinned at {sha[:8]}")
            return f"wanted at {sha[:8]}"
        if environment.wanted_sha == sha and _stopped_by_person(environment):
            return "stopped by a person; a new commit starts it again"
        return wish(environment, Wanted.PRESENT, sha, "provider", f"New commit: {sha[:8]}")


@contextmanager
def one_at_a_time(repository: Repository) -> Iterator[None]:
    """The provider is read inside: what was read earlier may be older than what another one has wished since."""
    with transaction.atomic():
        Repository.objects.select_for_update().get(pk=repository.pk)
        yield


def _is_known(repository: Repository, state: PullRequestState) -> bool:
    return PullRequest.objects.filter(repository=repository, number=state.number, **_facts(state)).exists()


def _facts(state: PullRequestState) -> dict[str, Any]:
    return {
        "title": state.title[:500],
        "author": state.author[:200],
        "state": state.state,
        "head_ref": state.head_ref[:500],
        "head_sha": state.head_sha,
        "base_ref": state.base_ref[:500],
        "base_sha": state.base_sha,
        "draft": state.draft,
        "fork": state.fork,
    }


def _remember_pull(repository: Repository, number: int, state: PullRequestState | None) -> PullRequest | None:
    if state is None:
        PullRequest.objects.filter(repository=repository, number=number).update(state=PullRequest.State.CLOSED)
        return PullRequest.objects.filter(repository=repository, number=number).first()
    pull, _ = PullRequest.objects.update_or_create(repository=repository, number=number, defaults=_facts(state))
    return pull


def refused(repository: Repository, pull: PullRequest) -> str:
    """Why this pull request has no environment; empty: it has one."""
    if pull.state == PullRequest.State.CLOSED:
        return "Pull request closed"
    if pull.draft and not repository.preview_drafts:
        return "Drafts have no preview here"
    if pull.fork and repository.fork_policy == Repository.ForkPolicy.NEVER:
        return "Forks have no preview here"
    if pull.fork and repository.fork_policy == Repository.ForkPolicy.ASK and pull.approved_sha != pull.head_sha:
        return "A fork's commit waits for a maintainer"
    return ""


def _new_environment(
    repository: Repository, *, pull: PullRequest | None = None, branch: str = "", sha: str = ""
) -> Environment:
    return Environment.objects.create(
        repository=repository,
        kind=Environment.Kind.PULL if pull else Environment.Kind.BRANCH,
        pull=pull,
        branch=pull.head_ref if pull else branch,
        namespace=names.namespace(
            repository.provider, repository.owner, repository.name, pull.number if pull else branch
        ),
        wanted_sha=pull.head_sha if pull else sha,
        generation=0,
    )


def _first_wish(environment: Environment, why: str) -> None:
    wish(environment, Wanted.PRESENT, environment.wanted_sha, "provider", why, again=True)


def wish(
    environment: Environment,
    wanted: str,
    sha: str,
    actor: str,
    why: str,
    *,
    again: bool = False,
    **facts: bool,
) -> str:
    """What came of it, in a few words."""
    changed = transitions.wish(environment.pk, wanted, sha, actor=actor, why=why, again=again, **facts)
    return why if changed else "as wished already"


def _stopped_by_person(environment: Environment) -> bool:
    if environment.wanted != Wanted.ABSENT:
        return False
    last = environment.events.filter(kind="wish").last()
    return bool(last and last.facts.get("by_person"))
