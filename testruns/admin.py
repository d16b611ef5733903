"""/admin for the tables of testruns. Only a verdict can be overruled; all else is what happened."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from environments.admin import ModelAdmin, ReadOnly, Rows
from testruns.models import Finding, ScenarioResult, TestRun, Trace


class ResultRows(Rows):
    model = ScenarioResult
    fields = ("title", "origin", "outcome", "seconds", "reason")


class FindingRows(Rows):
    model = Finding
    fields = ("title", "step", "verdict", "overruled", "cause", "confidence", "needs_person")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("picture")


@admin.register(TestRun)
class TestRunAdmin(ReadOnly):
    list_display = ("deployment", "sha", "state", "error_code", "attempts", "created_at", "finished_at")
    list_filter = ("state", "error_code")
    list_select_related = ("deployment__environment",)
    search_fields = ("sha", "deployment__environment__namespace")
    date_hierarchy = "created_at"
    inlines = (ResultRows, FindingRows)


@admin.register(Trace)
class TraceAdmin(ReadOnly):
    list_display = ("title", "scenario_key", "repository", "sha", "created_at")
    list_filter = ("repository",)
    list_select_related = ("repository",)
    search_fields = ("title", "scenario_key", "sha")
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Trace]:
        found: QuerySet[Trace] = super().get_queryset(request)
        return found.select_related("test_run__deployment__environment")


@admin.register(ScenarioResult)
class ScenarioResultAdmin(ReadOnly):
    list_display = ("title", "test_run", "origin", "outcome", "seconds")
    list_filter = ("outcome", "origin")
    list_select_related = ("test_run__deployment__environment",)
    search_fields = ("title", "scenario_key")


@admin.register(Finding)
class FindingAdmin(ModelAdmin):
    list_display = ("title", "test_run", "verdict", "overruled", "cause", "gate", "confidence", "needs_person")
    list_filter = ("verdict", "overruled", "needs_person", "cause", "gate")
    list_select_related = ("test_run__deployment__environment",)
    search_fields = ("title", "scenario_key", "step")
    date_hierarchy = "created_at"
    fields = (
        "test_run", "title", "scenario_key", "step", "expected", "seen", "verdict", "overruled", "overruled_by",
        "cause", "gate", "confidence", "needs_person", "evidence", "created_at",
    )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return tuple(name for name in self.fields if name != "overruled")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Finding]:
        found: QuerySet[Finding] = super().get_queryset(request)
        return found.defer("picture")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Finding, form: Any, change: bool) -> None:
        """Who overruled is kept: overrules are the labelled set that the gates are measured by."""
        obj.overruled_by = request.user.get_username() if obj.overruled else ""
        obj.save(update_fields=["overruled", "overruled_by"])
