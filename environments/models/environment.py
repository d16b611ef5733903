"""Environment: what is wanted, what is observed, and who is at work on it; and its history."""

from __future__ import annotations

from django.db import models

from environments.models.repository import PullRequest, Repository


class Environment(models.Model):
    """One isolated place for one pull request, branch, reproduction or scenario. Never reused across PRs.

    `wanted`, `wanted_sha` and `generation` are the wish. `phase` is derived by transitions.py alone.
    A write needs the lease's token and the generation, or it changes nothing.
    """

    class Kind(models.TextChoices):
        PULL = "pull", "pull request"
        BRANCH = "branch", "branch"
        REPRODUCTION = "reproduction", "reproduction"
        SCENARIO = "scenario", "scenario"

    class Wanted(models.TextChoices):
        PRESENT = "present", "present"
        ASLEEP = "asleep", "asleep"
        ABSENT = "absent", "absent"

    class Phase(models.TextChoices):
        QUEUED = "queued", "Queued"
        BUILDING = "building", "Building"
        STARTING = "starting", "Starting"
        TESTING = "testing", "Testing"
        READY = "ready", "Ready"
        DEGRADED = "degraded", "Degraded"
        FAILED = "failed", "Failed"
        ASLEEP = "asleep", "Asleep"
        STOPPING = "stopping", "Stopping"
        GONE = "gone", "Gone"

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="environments")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    pull = models.OneToOneField(
        PullRequest, on_delete=models.CASCADE, null=True, blank=True, related_name="environment"
    )
    branch = models.CharField(max_length=500, blank=True)
    namespace = models.CharField(max_length=63, unique=True)

    wanted = models.CharField(max_length=10, choices=Wanted.choices, default=Wanted.PRESENT)
    wanted_sha = models.CharField(max_length=64)
    generation = models.PositiveBigIntegerField(default=1)
    settled_generation = models.PositiveBigIntegerField(
        default=0, help_text="The wish that was last brought about, or given up on."
    )

    phase = models.CharField(max_length=10, choices=Phase.choices, default=Phase.QUEUED)
    phase_changed_at = models.DateTimeField(auto_now_add=True)
    version = models.BigIntegerField(default=0, help_text="Goes up with every change that a person can see.")
    namespace_uid = models.CharField(max_length=100, blank=True)
    seeded = models.JSONField(default=dict, blank=True, help_text="Which seeds ran in which namespace uid.")
    serving = models.ForeignKey(
        "Deployment",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="The deployment that the addresses lead to.",
    )

    lease_token = models.CharField(max_length=40, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(
        default=0, help_text="Tries of this generation that ended in a platform error."
    )
    retry_at = models.DateTimeField(null=True, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["phase"], name="environment_phase")]

    def __str__(self) -> str:
        return self.namespace

    @property
    def title(self) -> str:
        if self.pull:
            return f"#{self.pull.number} {self.pull.title}"
        return self.branch

    @property
    def is_settled(self) -> bool:
        return self.settled_generation >= self.generation


class Event(models.Model):
    """One line of an Environment's history: who or what, when, what changed. Never edited."""

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=200, default="PreviewKit")
    kind = models.CharField(max_length=40)
    text = models.CharField(max_length=1000)
    generation = models.PositiveBigIntegerField(default=0)
    facts = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["environment", "id"], name="event_history")]

    def __str__(self) -> str:
        return self.text
