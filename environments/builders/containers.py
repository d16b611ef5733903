"""The Builder of runtimes that run containers: each kind of build has its own, which this one chooses."""

from __future__ import annotations

from environments.builders.dockerfile import DockerfileBuilder
from environments.builders.generated import BASE_IMAGES, BaseImages
from environments.builders.image import ImageBuilder
from environments.builders.image_store import ImageStore
from environments.builders.railpack import FRONTEND, RailpackBuilder
from environments.ports import Artifact, Builder, BuildRequest, Fence, OnLine


class ContainerBuilder:
    """`bases`, `railpack` and `frontend` are RailpackBuilder's `bases`, `cli` and `frontend`."""

    name = "containers"

    def __init__(
        self,
        store: ImageStore,
        *,
        bases: BaseImages = BASE_IMAGES,
        railpack: str = "railpack",
        frontend: str = FRONTEND,
    ) -> None:
        self.kinds: dict[str, Builder] = {
            "dockerfile": DockerfileBuilder(store),
            "railpack": RailpackBuilder(store, bases=bases, cli=railpack, frontend=frontend),
            "image": ImageBuilder(store.registry, platform=store.platform),
        }

    def build(self, request: BuildRequest, on_line: OnLine, fence: Fence) -> Artifact:
        """See the builder of the service's kind."""
        return self.kinds[request.service.build.kind].build(request, on_line, fence)
