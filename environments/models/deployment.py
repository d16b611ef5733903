"""Deployment: one attempt to bring one commit up, its six layers, their logs, services and dependencies."""

from __future__ import annotations

from typing import Any

from django.db import models

from environments.models.environment import Environment

LAYERS = ("build", "namespace", "dependencies", "app", "routing", "tests")
"""Always these six, in this order."""


class Deployment(models.Model):
    """One attempt: sha, generation, frozen spec, six LayerRuns, outcome."""

    class Outcome(models.TextChoices):
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"
        SUPERSEDED = "superseded", "superseded"

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="deployments")
    generation = models.PositiveBigIntegerField()
    sha = models.CharField(max_length=64)
    subject = models.CharField(max_length=500, blank=True, help_text="First line of the commit's message.")
    spec = models.JSONField(null=True, blank=True)
    spec_hash = models.CharField(max_length=80, blank=True)
    outcome = models.CharField(max_length=12, choices=Outcome.choices, default=Outcome.RUNNING)
    started_at = models.DateTimeField(auto_now_add=True)
    answered_at = models.DateTimeField(null=True, blank=True, help_text="When its address first answered.")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-generation"]
        constraints = [
            models.UniqueConstraint(fields=["environment", "generation"], name="deployment_generation"),
        ]

    def __str__(self) -> str:
        return f"{self.environment} {self.sha[:8]} (generation {self.generation})"

    @property
    def failed_layer(self) -> LayerRun | None:
        return next((run for run in self.layers.all() if run.state == LayerRun.State.FAILED), None)


class LayerRun(models.Model):
    """One layer of one deployment: state, duration, error, and the facts that the page shows."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        SKIPPED = "skipped", "not run"

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="layers")
    layer = models.CharField(max_length=12, choices=[(name, name) for name in LAYERS])
    position = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    summary = models.CharField(max_length=300, blank=True, help_text="Few words beside the state.")
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True)
    error_hint = models.TextField(blank=True)
    log_tail = models.JSONField(default=list, blank=True)
    facts = models.JSONField(default=dict, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["deployment", "layer"], name="layer_once")]

    def __str__(self) -> str:
        return f"{self.layer} {self.state}"

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it has not ended."""
        if self.started_at and self.finished_at:
            return round((self.finished_at - self.started_at).total_seconds(), 2)
        return None


class LogChunk(models.Model):
    """Some lines of a layer's log, in the order of `id`."""

    layer_run = models.ForeignKey(LayerRun, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField(auto_now_add=True)
    source = models.CharField(max_length=100, blank=True, help_text="Service or dependency that printed it.")
    text = models.TextField()

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["layer_run", "id"], name="log_order")]

    def __str__(self) -> str:
        return self.text[:80]


class DeployedService(models.Model):
    """One service of one deployment as it was brought up."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="services")
    name = models.CharField(max_length=63)
    public = models.BooleanField(default=False)
    url = models.CharField(max_length=300, blank=True, help_text="The HTTPS address; empty for workers.")
    port = models.PositiveIntegerField(null=True, blank=True)
    state = models.CharField(max_length=20, default="starting")
    artifact = models.CharField(max_length=100, blank=True)
    cache_hit = models.BooleanField(default=False)
    build_seconds = models.FloatField(default=0)
    found: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, blank=True, help_text="Commands that were found in the code, and why."
    )

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["deployment", "name"], name="service_once")]

    def __str__(self) -> str:
        return self.name


class DeployedDependency(models.Model):
    """One dependency of one deployment, with the version that really runs."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="dependencies")
    name = models.CharField(max_length=63)
    recipe = models.CharField(max_length=40)
    version_wanted = models.CharField(max_length=40, blank=True)
    version = models.CharField(max_length=40, blank=True)
    note = models.CharField(max_length=300, blank=True)
    url = models.CharField(max_length=300, blank=True)

    class Meta:
        verbose_name_plural = "deployed dependencies"
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["deployment", "name"], name="dependency_once")]

    def __str__(self) -> str:
        return f"{self.recipe} {self.version}"
