"""What is wanted and what is observed, by table. State changes go through transitions.py only."""

from environments.models.deployment import (
    LAYERS,
    DeployedDependency,
    DeployedService,
    Deployment,
    LayerRun,
    LogChunk,
)
from environments.models.environment import Environment, Event
from environments.models.repository import PullRequest, Repository, Secret, WebhookDelivery

__all__ = [
    "LAYERS",
    "DeployedDependency",
    "DeployedService",
    "Deployment",
    "Environment",
    "Event",
    "LayerRun",
    "LogChunk",
    "PullRequest",
    "Repository",
    "Secret",
    "WebhookDelivery",
]
