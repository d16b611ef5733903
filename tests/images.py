"""How tests build images: sources, the builder, and what came of it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import re
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from environments.builders.containers import ContainerBuilder
from environments.builders.registry import Reference
from environments.ports import Artifact, BuildRequest, PreviewError
from environments.spec import Service
from tests.builds import Tree, never, write_tree

MakeContainerBuilder = Callable[..., ContainerBuilder]
SLIM = "FROM python:3.11-slim\n"


@dataclasses.dataclass
class Site:
    """Sources, the builder, and what it said."""

    builder: ContainerBuilder
    root: Path
    lines: list[str] = dataclasses.field(default_factory=list)

    def request(self, tree: Tree, *, service: dict[str, object] | None = None, **facts: object) -> BuildRequest:
        tree_id = hashlib.sha1(json.dumps(sorted(tree.items())).encode()).hexdigest()
        if not (self.root / tree_id).exists():
            write_tree(self.root / tree_id, tree)
        wanted = Service.model_validate({"name": "web", "port": 3000} | (service or {}))
        known = {"repository": "demo-1a2b", "branch": "main", "default_branch": "main"}
        return BuildRequest(self.root / tree_id, tree_id, wanted, **{**known, **facts})  # type: ignore[arg-type]

    def build(self, tree: Tree, **facts: object) -> Artifact:
        return self.builder.build(self.request(tree, **facts), self.lines.append, never)  # type: ignore[arg-type]

    def docker(
        self, dockerfile: str, *, more: Tree | None = None, build: dict[str, object] | None = None, **facts: object
    ) -> Artifact:
        wanted = {"kind": "dockerfile", "dockerfile": "Dockerfile"} | (build or {})
        return self.build({"Dockerfile": dockerfile, **(more or {})}, service={"build": wanted}, **facts)

    def refused(self, *arguments: object, **facts: object) -> PreviewError:
        with pytest.raises(PreviewError) as caught:
            self.docker(*arguments, **facts)  # type: ignore[arg-type]
        return caught.value

    @property
    def said(self) -> str:
        return "\n".join(self.lines)


def token() -> str:
    """Something that the daemon has never seen: nothing of it is cached."""
    return uuid.uuid4().hex


def run_in(artifact: Artifact, command: str | tuple[str, ...], folder: Path) -> str:
    """What the command prints in a container of the image, with the user and variables that it names."""
    folder.mkdir()
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    env = "".join(f"ENV {name}={json.dumps(value)}\n" for name, value in artifact.env.items())
    (folder / "Dockerfile").write_text(f"FROM {artifact.location}\n{env}RUN {json.dumps(argv)}\n")
    return "\n".join(re.findall(r"^#\d+ \d+\.\d+ (.*)$", buildctl(folder, "--no-cache"), re.MULTILINE))


def buildctl(folder: str | Path, *options: str) -> str:
    """Builds the folder's Dockerfile with nothing of ours in between; what it printed."""
    local = ("--frontend=dockerfile.v0", f"--local=context={folder}", f"--local=dockerfile={folder}")
    ended = subprocess.run(
        ["buildctl", "build", "--progress=plain", *local, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def image_holds(artifact: Artifact, word: str) -> bool:
    """Whether the word stands anywhere in the image: manifest, configuration (history), any file of any layer."""
    reference = Reference.parse(artifact.location)
    base = f"http://{reference.host}/v2/{reference.path}"
    accept = {
        "Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    }
    with httpx.Client(timeout=60, trust_env=False) as client:
        manifest = client.get(f"{base}/manifests/{reference.digest}", headers=accept)
        parts = [manifest.json()["config"]["digest"], *(layer["digest"] for layer in manifest.json()["layers"])]
        texts = [manifest.content]
        for part in parts:
            raw = client.get(f"{base}/blobs/{part}").raise_for_status().content
            texts.append(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    assert len(texts) > 2
    return any(word.encode() in text for text in texts)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
