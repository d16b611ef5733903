"""/admin for the tables of environments. History is read-only: what happened is never edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from environments.models import (
    DeployedDependency,
    DeployedService,
    Deployment,
    Environment,
    Event,
    LayerRun,
    LogChunk,
    PullRequest,
    Repository,
    Secret,
    WebhookDelivery,
)

if TYPE_CHECKING:  # Django's own classes take no type arguments.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline

admin.site.site_header = "PreviewKit"
admin.site.site_title = "PreviewKit"
admin.site.index_title = "All tables"


class ReadOnly(ModelAdmin):
    """Looked at, never written: transitions and workers write it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class Rows(TabularInline):
    """Rows of another table, to look at."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Repository)
class RepositoryAdmin(ModelAdmin):
    list_display = ("__str__", "provider", "default_branch", "fork_policy", "preview_drafts", "removed_at")
    list_filter = ("provider", "fork_policy", "preview_drafts")
    search_fields = ("owner", "name", "url")
    readonly_fields = ("created_at",)


@admin.register(PullRequest)
class PullRequestAdmin(ModelAdmin):
    list_display = ("__str__", "title", "author", "state", "draft", "fork", "updated_at")
    list_filter = ("state", "draft", "fork", "repository")
    list_select_related = ("repository",)
    search_fields = ("title", "author", "head_ref", "=number", "head_sha")
    readonly_fields = ("comment_id", "comment_version", "opened_at", "updated_at")
    autocomplete_fields = ("repository",)


class DeploymentRows(Rows):
    model = Deployment
    fields = ("generation", "sha", "subject", "outcome", "started_at", "finished_at")


@admin.register(Environment)
class EnvironmentAdmin(ReadOnly):
    """Wishes change through the page's buttons, the command line and the provider: each leaves an Event."""

    list_display = (
        "namespace",
        "repository",
        "what",
        "phase",
        "wanted",
        "generation",
        "attempts",
        "created_at",
        "gone_at",
    )
    list_filter = ("phase", "wanted", "kind", "repository")
    list_select_related = ("repository", "pull")
    search_fields = ("namespace", "branch", "pull__title", "=pull__number", "wanted_sha")
    date_hierarchy = "created_at"
    inlines = (DeploymentRows,)

    @admin.display(description="what")
    def what(self, environment: Environment) -> str:
        return environment.title

    def get_queryset(self, request: HttpRequest) -> QuerySet[Environment]:
        found: QuerySet[Environment] = super().get_queryset(request)
        return found.select_related("repository", "pull", "serving__environment")


@admin.register(Event)
class EventAdmin(ReadOnly):
    list_display = ("at", "environment", "actor", "kind", "text", "generation")
    list_filter = ("kind", "actor")
    list_select_related = ("environment",)
    search_fields = ("text", "environment__namespace", "actor")
    date_hierarchy = "at"
    ordering = ("-id",)


class LayerRows(Rows):
    model = LayerRun
    fields = ("layer", "state", "summary", "error_code", "started_at", "finished_at")


class ServiceRows(Rows):
    model = DeployedService
    fields = ("name", "state", "port", "public", "url", "cache_hit", "build_seconds")


class DependencyRows(Rows):
    model = DeployedDependency
    fields = ("name", "recipe", "version_wanted", "version", "note")


@admin.register(Deployment)
class DeploymentAdmin(ReadOnly):
    list_display = ("environment", "generation", "sha", "subject", "outcome", "started_at", "finished_at")
    list_filter = ("outcome", "environment__repository")
    list_select_related = ("environment",)
    search_fields = ("sha", "subject", "environment__namespace")
    date_hierarchy = "started_at"
    inlines = (LayerRows, ServiceRows, DependencyRows)


@admin.register(LayerRun)
class LayerRunAdmin(ReadOnly):
    list_display = ("deployment", "layer", "state", "seconds", "error_code", "summary")
    list_filter = ("layer", "state", "error_code")
    list_select_related = ("deployment__environment",)
    search_fields = ("deployment__environment__namespace", "error_code", "error_message")
    ordering = ("-deployment", "position")


@admin.register(LogChunk)
class LogChunkAdmin(ReadOnly):
    list_display = ("at", "layer_run", "source", "__str__")
    list_filter = ("layer_run__layer",)
    list_select_related = ("layer_run",)
    search_fields = ("=source", "layer_run__deployment__environment__namespace")
    show_full_result_count = False
    ordering = ("-id",)


@admin.register(DeployedService)
class DeployedServiceAdmin(ReadOnly):
    list_display = ("name", "deployment", "state", "port", "public", "url", "cache_hit", "build_seconds")
    list_filter = ("state", "public", "cache_hit")
    list_select_related = ("deployment__environment",)
    search_fields = ("name", "url", "deployment__environment__namespace")


@admin.register(DeployedDependency)
class DeployedDependencyAdmin(ReadOnly):
    list_display = ("name", "deployment", "recipe", "version_wanted", "version", "note")
    list_filter = ("recipe", "version")
    list_select_related = ("deployment__environment",)
    search_fields = ("name", "deployment__environment__namespace")


@admin.register(Secret)
class SecretAdmin(ModelAdmin):
    """Names only. Values are set elsewhere, and are shown nowhere."""

    list_display = ("name", "repository", "updated_at")
    list_filter = ("repository",)
    list_select_related = ("repository",)
    search_fields = ("name", "repository__name")
    fields = ("repository", "name", "updated_at")
    readonly_fields = ("repository", "name", "updated_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnly):
    list_display = ("received_at", "provider", "event", "delivery_id", "interpreted_at", "attempts", "outcome")
    list_filter = ("provider", "event", ("interpreted_at", admin.EmptyFieldListFilter))
    search_fields = ("delivery_id", "outcome")
    date_hierarchy = "received_at"
