"""What the dashboard reads: the list, one environment with all that its page shows, its log.

The number of queries is the same for five environments and for fifty. TestRuns are reached through the
reverse relation `Deployment.test_run`, by name: this application doesn't import testruns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

from django.core.paginator import Page, Paginator
from django.db.models import Count, F, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.utils import timezone

from environments.models import (
    LAYERS,
    DeployedDependency,
    DeployedService,
    Deployment,
    Environment,
    Event,
    LayerRun,
    LogChunk,
    Repository,
)
from environments.strips import Strip, strips, total_seconds

PER_PAGE = 50
LOG_CHUNKS = 60
"""Chunks of a log that are loaded at once."""
EVENTS = 100
ALL_LAYERS = "all"


@dataclass(frozen=True)
class Tally:
    """The tests of one deployment in numbers. Nothing that did not run counts as passed."""

    state: str = ""
    """TestRun.state; empty where there is none."""
    passed: int = 0
    failed: int = 0
    not_run: int = 0
    bugs: int = 0
    agent_errors: int = 0
    stale: bool = False
    """It was bound to another commit or another namespace than the one that is there now."""

    @property
    def is_green(self) -> bool:
        return self.state == "done" and self.passed > 0 and not (self.failed or self.bugs or self.stale)

    @property
    def is_going_on(self) -> bool:
        return self.state in ("queued", "planning", "generating", "replaying", "reviewing")


# ── the list ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Listing:
    """Which environments a browser looks at."""

    state: str = "open"
    """open: not gone; gone."""
    search: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, Any]) -> Listing:
        """From a query string's fields; whatever makes no sense is as if it were not there."""
        page = str(query.get("page", ""))
        return cls(
            state="gone" if query.get("state") == "gone" else "open",
            search=str(query.get("q", ""))[:200].strip().replace("\x00", ""),
            page=int(page) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
        )


@dataclass(frozen=True)
class Row:
    """One environment in the list."""

    environment: Environment
    deployment: Deployment | None
    strips: tuple[Strip, ...]
    total: float
    address: str
    is_older: bool
    """The address leads to an older commit than the one that is wanted."""
    tally: Tally


@dataclass(frozen=True)
class Group:
    repository: Repository
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class EnvironmentList:
    listing: Listing
    groups: tuple[Group, ...]
    page: Page[Environment]
    open_count: int
    gone_count: int
    has_repositories: bool


def environment_list(listing: Listing) -> EnvironmentList:
    page = _page(listing)
    counts = Environment.objects.aggregate(
        open=Count("pk", filter=~Q(phase=Environment.Phase.GONE)),
        gone=Count("pk", filter=Q(phase=Environment.Phase.GONE)),
    )
    return EnvironmentList(
        listing, _grouped(_rows(page.object_list)), page, counts["open"], counts["gone"],
        Repository.objects.filter(removed_at=None).exists(),
    )  # fmt: skip


def listed_ids(listing: Listing) -> tuple[int, ...]:
    """The environments on this page of the list, in its order: cheap, to see whether it is still the same."""
    shown = cast("QuerySet[Environment]", _page(listing).object_list)
    return tuple(shown.values_list("pk", flat=True))


def rows(environment_ids: Iterable[int]) -> list[Row]:
    return _rows(_listed().filter(pk__in=list(environment_ids)))


def _listed() -> QuerySet[Environment]:
    newest = Deployment.objects.filter(environment=OuterRef("pk")).order_by("-generation")
    return (
        Environment.objects.select_related("repository", "pull")
        .annotate(newest_id=Subquery(newest.values("pk")[:1]))
        .order_by("repository__owner", "repository__name", "repository_id", "-created_at", "-pk")
    )


def _page(listing: Listing) -> Page[Environment]:
    found = _listed()
    gone = Q(phase=Environment.Phase.GONE)
    found = found.filter(gone if listing.state == "gone" else ~gone)
    for word in listing.search.split():
        found = found.filter(_matches(word))
    return Paginator(found, PER_PAGE).get_page(listing.page)


def _matches(word: str) -> Q:
    fields = ("pull__title", "pull__author", "pull__head_ref", "branch", "repository__owner", "repository__name")
    found = Q()
    for name in fields:
        found |= Q(**{f"{name}__icontains": word})
    number = word.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) < 10:
        found |= Q(pull__number=int(number))
    if len(word) >= 4:
        found |= Q(wanted_sha__startswith=word.lower())
    return found


def _rows(environments: Iterable[Environment]) -> list[Row]:
    shown = list(environments)
    ids: list[int] = [e.newest_id for e in shown if e.newest_id]  # type: ignore[attr-defined]
    serving = [e.serving_id for e in shown if e.serving_id and _is_wanted(e)]
    deployments = {d.pk: d for d in Deployment.objects.filter(pk__in=ids).prefetch_related("layers")}
    addresses = _addresses(serving)
    tested = tallies(ids)
    now = timezone.now()
    found: list[Row] = []
    for environment in shown:
        deployment = _present_attempt(environment, deployments.get(environment.newest_id))  # type: ignore[attr-defined]
        drawn = strips(deployment.layers.all() if deployment else (), now)
        found.append(
            Row(
                environment=environment,
                deployment=deployment,
                strips=drawn,
                total=total_seconds(drawn),
                address=addresses.get(environment.serving_id or 0, ""),
                is_older=deployment is None or environment.serving_id != deployment.pk,
                tally=tested.get(deployment.pk, Tally()) if deployment else Tally(),
            )
        )
    return found


def _grouped(found: Sequence[Row]) -> tuple[Group, ...]:
    by_repository = groupby(found, key=lambda row: row.environment.repository)
    return tuple(Group(repository, tuple(members)) for repository, members in by_repository)


def _present_attempt(environment: Environment, newest: Deployment | None) -> Deployment | None:
    """The newest deployment, unless a newer wish waits for its own: then there is none yet."""
    if newest is None or environment.wanted == Environment.Wanted.ABSENT:
        return newest
    return newest if newest.generation >= environment.generation else None


def _is_wanted(environment: Environment) -> bool:
    """What is being deleted may still answer for a moment; nobody should be sent there."""
    return environment.wanted != Environment.Wanted.ABSENT


def _addresses(deployment_ids: Sequence[int]) -> dict[int, str]:
    """The first public address of each deployment."""
    public = DeployedService.objects.filter(deployment__in=deployment_ids, public=True).exclude(url="")
    return dict(public.order_by("-pk").values_list("deployment_id", "url"))


def tallies(deployment_ids: Sequence[int]) -> dict[int, Tally]:
    def results(outcome: str) -> Count:
        return Count("test_run__results", filter=Q(test_run__results__outcome=outcome), distinct=True)

    def findings(verdict: str) -> Count:
        overruled = Q(test_run__findings__overruled=verdict)
        found = Q(test_run__findings__overruled="", test_run__findings__verdict=verdict)
        return Count("test_run__findings", filter=overruled | found, distinct=True)

    counted = (
        Deployment.objects.filter(pk__in=deployment_ids, test_run__isnull=False)
        .annotate(
            passed=results("passed"),
            failed=results("failed"),
            not_run=results("not_run"),
            bugs=findings("APPLICATION_BUG"),
            agent_errors=findings("AGENT_ERROR"),
            tested_sha=F("test_run__sha"),
            tested_uid=F("test_run__namespace_uid"),
            state=F("test_run__state"),
            uid=F("environment__namespace_uid"),
        )
        .order_by()
        .values("pk", "sha", "uid", "tested_sha", "tested_uid", "state", "passed", "failed", "not_run", "bugs",
                "agent_errors")
    )  # fmt: skip
    return {row["pk"]: _tally(row) for row in counted}


def _tally(row: Mapping[str, Any]) -> Tally:
    # A namespace that is gone has no uid: its result is history, not stale.
    stale = row["tested_sha"] != row["sha"] or bool(row["uid"] and row["tested_uid"] != row["uid"])
    counts = {name: row[name] for name in ("passed", "failed", "not_run", "bugs", "agent_errors")}
    return Tally(state=row["state"], stale=stale, **counts)


# ── one environment ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class EnvironmentPage:
    """One environment, showing one of its deployments (the newest, unless an older one is asked for)."""

    environment: Environment
    deployment: Deployment | None
    """None: the wish is so new that no attempt has begun."""
    is_present: bool
    """False when an older deployment is shown."""
    strips: tuple[Strip, ...]
    total: float
    failure: LayerRun | None
    services: tuple[DeployedService, ...]
    dependencies: tuple[DeployedDependency, ...]
    serving: Deployment | None
    addresses: tuple[DeployedService, ...]
    """The services with an address, of the deployment that serves now."""
    tally: Tally
    deployments: tuple[Deployment, ...]
    events: tuple[Event, ...] = field(repr=False)


def environment_page(environment_id: int, generation: int | None = None) -> EnvironmentPage:
    """Raises Environment.DoesNotExist or Deployment.DoesNotExist."""
    environment = Environment.objects.select_related("repository", "pull", "serving").get(pk=environment_id)
    deployments = tuple(
        environment.deployments.prefetch_related(Prefetch("layers", queryset=LayerRun.objects.defer("facts")))[:30]
    )
    present = _present_attempt(environment, deployments[0] if deployments else None)
    shown = present if generation is None else environment.deployments.get(generation=generation)
    runs = list(shown.layers.all()) if shown else []
    drawn = strips(runs, timezone.now())
    return EnvironmentPage(
        environment=environment,
        deployment=shown,
        is_present=shown == present,
        strips=drawn,
        total=total_seconds(drawn),
        failure=next((run for run in runs if run.state == LayerRun.State.FAILED), None),
        services=tuple(shown.services.all()) if shown else (),
        dependencies=tuple(shown.dependencies.all()) if shown else (),
        serving=environment.serving,
        addresses=_services_with_address(environment.serving if _is_wanted(environment) else None),
        tally=tallies([shown.pk]).get(shown.pk, Tally()) if shown else Tally(),
        deployments=deployments,
        events=tuple(environment.events.order_by("-pk")[:EVENTS]),
    )


def _services_with_address(serving: Deployment | None) -> tuple[DeployedService, ...]:
    if serving is None:
        return ()
    return tuple(serving.services.exclude(url="").order_by("-public", "pk"))


# ── the log ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LogPart:
    """Some of a deployment's log, oldest first; of one layer, or of all."""

    environment_id: int
    generation: int
    deployment_id: int
    layer: str
    chunks: tuple[LogChunk, ...]
    has_earlier: bool = False
    tabs = (ALL_LAYERS, *LAYERS)

    @property
    def last_id(self) -> int:
        return self.chunks[-1].pk if self.chunks else 0


def log_end(deployment: Deployment, layer: str, before: int | None = None) -> LogPart:
    """The last chunks, or the last ones before chunk `before`."""
    found = _log(deployment.environment_id, deployment.pk, layer)
    if before is not None:
        found = found.filter(pk__lt=before)
    newest = list(found.order_by("-pk")[: LOG_CHUNKS + 1])
    chunks = tuple(reversed(newest[:LOG_CHUNKS]))
    return LogPart(
        deployment.environment_id, deployment.generation, deployment.pk, layer, chunks, len(newest) > LOG_CHUNKS
    )


def log_after(environment_id: int, deployment_id: int, layer: str, after: int) -> tuple[LogChunk, ...]:
    """The next chunks after chunk `after`."""
    return tuple(_log(environment_id, deployment_id, layer).filter(pk__gt=after).order_by("pk")[:LOG_CHUNKS])


def log_text(deployment: Deployment, layer: str) -> str:
    parts = _log(deployment.environment_id, deployment.pk, layer).order_by("pk").values_list("text", flat=True)
    return "".join(f"{text}\n" for text in parts)


def _log(environment_id: int, deployment_id: int, layer: str) -> QuerySet[LogChunk]:
    """The environment's id is part of the question: a browser can't read another one's log by a deployment's id."""
    found = LogChunk.objects.filter(
        layer_run__deployment=deployment_id, layer_run__deployment__environment=environment_id
    ).select_related("layer_run")
    return found if layer == ALL_LAYERS else found.filter(layer_run__layer=layer)


def first_log(page: EnvironmentPage) -> str:
    """Which log a person wants to see first: of the layer that failed, else all of them."""
    return page.failure.layer if page.failure else ALL_LAYERS
