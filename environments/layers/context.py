"""What a layer is given, and what it leaves for the next ones."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from environments import transitions, wiring
from environments.leases import Lease
from environments.models import Deployment, Environment, LayerRun
from environments.ports import Artifact, DependencyHandle, ServiceHandle
from environments.reporting import LayerLog
from environments.source import Commit
from environments.spec import Spec
from environments.wiring import Outside


class StartOver(Exception):
    """A seed was cut off half-way: only a fresh namespace is certain to be right."""


@dataclass
class LayerContext:
    """One deployment on its way up."""

    lease: Lease
    environment: Environment
    deployment: Deployment
    outside: Outside
    commit: Commit
    run: LayerRun = field(init=False)
    log: LayerLog = field(init=False)
    hidden: dict[str, str] = field(default_factory=dict)
    """Values that no log line may show."""

    spec: Spec = field(init=False)
    secrets: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    dependencies: dict[str, DependencyHandle] = field(default_factory=dict)
    services: dict[str, ServiceHandle] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.environment.namespace

    def fence(self) -> None:
        """Raises Superseded when somebody has overtaken this deployment."""
        self.log.flush_if_due()
        self.lease.fence()

    def say(self, line: str, source: str = "") -> None:
        """One log line. Raises Superseded like `fence`."""
        self.log.say(line, source)
        self.lease.fence()

    def writing(self) -> AbstractContextManager[None]:
        """A transaction for what the layer found; raises Superseded when it was overtaken."""
        return transitions.fenced(self.lease, told=False)

    def host(self, target: str) -> str:
        return wiring.host(self.environment, target)

    def public_targets(self) -> list[str]:
        """What gets an address: the public services, and each api-gateway."""
        services = [name for name, service in self.spec.services.items() if service.public]
        gateways = [item.name for item in self.spec.dependencies if item.recipe == "api-gateway"]
        return services + gateways

    def preview_url(self) -> str:
        """The address that people are sent to: the first public service, else the first gateway."""
        targets = self.public_targets()
        return wiring.address(self.host(targets[0])) if targets else ""


@dataclass(frozen=True)
class Outcome:
    """How a layer ended when it did not fail."""

    state: str
    summary: str = ""

    @staticmethod
    def done(summary: str = "") -> Outcome:
        return Outcome(LayerRun.State.DONE, summary)

    @staticmethod
    def skipped(why: str) -> Outcome:
        return Outcome(LayerRun.State.SKIPPED, why)

    @staticmethod
    def goes_on(summary: str) -> Outcome:
        """It was handed over, and is concluded by whoever took it."""
        return Outcome(LayerRun.State.RUNNING, summary)
