"""Go: which main package is the service."""

from __future__ import annotations

import re

from environments.builders.detect.model import Plan, Step
from environments.builders.detect.sources import Sources
from environments.ports import FoundCommand
from environments.spec import Service

USUAL_NAMES = ("server", "web", "api", "app", "main")


def detect(sources: Sources, service: Service) -> Plan | None:
    if not sources.has("go.mod"):
        return None
    module = sources.text("go.mod")
    package, because = _main_package(sources, service)
    version = re.search(r"^go\s+([\d.]+)", module, re.MULTILINE)
    vendored = sources.has("vendor/modules.txt")
    build: tuple[Step, ...] = ()
    if package:
        # -buildvcs: the build sees the files of a commit, not its repository.
        build = (Step(("go", "build", "-buildvcs=false", "-trimpath", "-o", "bin/app", package)),)
    return Plan(
        language="go",
        tool="go",
        why=("go.mod: a Go module, built by `go build`.",),
        notes=() if package else (because,),
        install=() if vendored or not sources.has("go.sum") else (Step(("go", "mod", "download")),),
        layer_files=sources.present("go.mod", "go.sum"),
        # Go's own module cache is content-addressed and shared: a layer would only copy it.
        layered=False,
        build=build,
        start=FoundCommand(("./bin/app",), because) if package else None,
        versions={"go": version[1]} if version else {},
    )


def _main_package(sources: Sources, service: Service) -> tuple[str | None, str]:
    """The package to build and why it is that one; None and what to do when it can't be told."""
    if any(_is_main(sources, name) for name in sources.find(r"[^/]+\.go", depth=1)):
        return ".", "The module's root is a main package."
    names = {
        name.rpartition("/")[0]
        for name in sources.find(r"(?:[^/]+/){1,3}[^/]+\.go", depth=4)
        if _is_main(sources, name)
    }
    for wanted in (service.name, *USUAL_NAMES):
        if f"cmd/{wanted}" in names:
            return f"./cmd/{wanted}", f"cmd/{wanted} is a main package."
    if len(names) == 1:
        only = names.pop()
        return f"./{only}", f"{only} is the only main package."
    if names:
        return None, f"Several main packages, none named like the service: {', '.join(sorted(names))}."
    return None, "No main package was found in the Go module."


def _is_main(sources: Sources, name: str) -> bool:
    if name.endswith("_test.go"):
        return False
    text = sources.text(name)
    ignored = re.search(r"^//go:build\s+ignore", text, re.MULTILINE)
    return not ignored and re.search(r"^package main\b", text, re.MULTILINE) is not None
