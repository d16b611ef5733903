"""TestRun: one pass of Planning, Generation, Replay, Review against one Deployment, and what it found."""

from __future__ import annotations

from django.db import models

from environments.models import Deployment, Repository


class TestRun(models.Model):
    """Bound to a deployment's sha and namespace uid: when they no longer hold, the result is stale, never green."""

    __test__ = False

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        PLANNING = "planning", "planning"
        GENERATING = "generating", "generating"
        REPLAYING = "replaying", "replaying"
        REVIEWING = "reviewing", "reviewing"
        DONE = "done", "done"
        NOT_RUN = "not_run", "not run"
        SUPERSEDED = "superseded", "superseded"

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, related_name="test_run")
    sha = models.CharField(max_length=64)
    namespace_uid = models.CharField(max_length=100)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    reason = models.TextField(blank=True, help_text="Why it was not run, and how to mend it.")
    error_code = models.CharField(max_length=40, blank=True)
    lease_token = models.CharField(max_length=40, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"tests of {self.deployment}"

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.DONE, self.State.NOT_RUN, self.State.SUPERSEDED)


class Trace(models.Model):
    """An admitted EXECUTION_TRACE. The newest one of the default branch for each scenario is the reference."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="traces")
    test_run = models.ForeignKey(TestRun, on_delete=models.CASCADE, related_name="traces")
    scenario_key = models.CharField(max_length=100)
    title = models.CharField(max_length=300)
    sha = models.CharField(max_length=64)
    document = models.JSONField(help_text="EXECUTION_TRACE v1")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["test_run", "scenario_key"], name="trace_once")]

    def __str__(self) -> str:
        return self.title


class ScenarioResult(models.Model):
    """How one scenario went in one TestRun."""

    class Outcome(models.TextChoices):
        PASSED = "passed", "passed"
        FAILED = "failed", "failed"
        NOT_RUN = "not_run", "not run"

    test_run = models.ForeignKey(TestRun, on_delete=models.CASCADE, related_name="results")
    scenario_key = models.CharField(max_length=100)
    title = models.CharField(max_length=300)
    origin = models.CharField(
        max_length=20, help_text="reference: replayed from the base branch; new: first seen here."
    )
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    reason = models.TextField(blank=True)
    seconds = models.FloatField(default=0)
    steps = models.JSONField(default=list, blank=True, help_text="One row per step: intent, action, outcome, ms.")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["test_run", "scenario_key"], name="result_once")]

    def __str__(self) -> str:
        return f"{self.title}: {self.outcome}"


class Finding(models.Model):
    """One failed expectation with evidence and a verdict."""

    class Verdict(models.TextChoices):
        APPLICATION_BUG = "APPLICATION_BUG", "application bug"
        AGENT_ERROR = "AGENT_ERROR", "agent error"

    test_run = models.ForeignKey(TestRun, on_delete=models.CASCADE, related_name="findings")
    scenario_key = models.CharField(max_length=100)
    title = models.CharField(max_length=300)
    step = models.CharField(max_length=300)
    expected = models.TextField(blank=True)
    seen = models.TextField(blank=True)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    overruled = models.CharField(max_length=20, choices=Verdict.choices, blank=True)
    overruled_by = models.CharField(max_length=200, blank=True)
    cause = models.CharField(max_length=60)
    gate = models.CharField(max_length=60)
    confidence = models.FloatField()
    needs_person = models.BooleanField(default=False)
    evidence = models.JSONField(default=list, blank=True, help_text="Sentences: which fact, from where.")
    picture = models.BinaryField(null=True, blank=True, help_text="PNG of the page when it failed.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.verdict}: {self.title}"

    @property
    def final_verdict(self) -> str:
        return self.overruled or self.verdict
