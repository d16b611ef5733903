"""Repository, its pull requests, its secrets, and the deliveries that its provider sent."""

from __future__ import annotations

from django.db import models

from environments.ports import RepositoryRef


class Repository(models.Model):
    """A connected code repository and its policy."""

    class ForkPolicy(models.TextChoices):
        ASK = "ask", "ask a maintainer"
        NEVER = "never", "never"
        ALWAYS = "always", "always"

    provider = models.CharField(max_length=20, default="local")
    owner = models.CharField(max_length=100)
    name = models.CharField(max_length=100)
    url = models.CharField(max_length=1000)
    installation = models.CharField(max_length=100, blank=True)
    default_branch = models.CharField(max_length=255, default="main")
    preview_default_branch = models.BooleanField(
        default=True,
        help_text="Keep an environment of the default branch; its traces are the tests' reference.",
    )
    fork_policy = models.CharField(max_length=10, choices=ForkPolicy.choices, default=ForkPolicy.ASK)
    preview_drafts = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "repositories"
        ordering = ["provider", "owner", "name"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "owner", "name"], name="repository_identity"),
        ]

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def ref(self) -> RepositoryRef:
        return RepositoryRef(self.owner, self.name, self.url, self.installation)


class PullRequest(models.Model):
    """A pull request as its provider last told it, and the one comment that it carries."""

    class State(models.TextChoices):
        OPEN = "open", "open"
        CLOSED = "closed", "closed"

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="pulls")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=500)
    author = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=10, choices=State.choices)
    head_ref = models.CharField(max_length=500)
    head_sha = models.CharField(max_length=64)
    base_ref = models.CharField(max_length=500)
    base_sha = models.CharField(max_length=64, blank=True)
    draft = models.BooleanField(default=False)
    fork = models.BooleanField(default=False)
    approved_sha = models.CharField(max_length=64, blank=True, help_text="The fork's commit that may run.")
    comment_id = models.CharField(max_length=100, blank=True)
    comment_version = models.BigIntegerField(default=-1, help_text="The environment's version that the comment shows.")
    opened_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["repository", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["repository", "number"], name="pull_request_number"),
        ]

    def __str__(self) -> str:
        return f"{self.repository}#{self.number}"


class Secret(models.Model):
    """A named value for a repository's services, encrypted at rest (secrets.py)."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="secrets")
    name = models.CharField(max_length=100)
    ciphertext = models.TextField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["repository", "name"]
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="secret_name")]

    def __str__(self) -> str:
        return f"{self.repository} {self.name}"


class WebhookDelivery(models.Model):
    """One delivery, stored as it came and interpreted later."""

    provider = models.CharField(max_length=20)
    delivery_id = models.CharField(max_length=100)
    event = models.CharField(max_length=60)
    payload = models.JSONField()
    received_at = models.DateTimeField(auto_now_add=True)
    interpreted_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    outcome = models.CharField(max_length=500, blank=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ["-received_at"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "delivery_id"], name="delivery_identity"),
        ]
        indexes = [
            models.Index(fields=["received_at"], name="delivery_waiting", condition=models.Q(interpreted_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.event} {self.delivery_id}"
