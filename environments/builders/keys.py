"""What makes two builds the same: the keys under which the store keeps releases, layers and tools."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from environments.builders.plan import Plan
from environments.builders.steps import MARK
from environments.builders.toolchains import Tools
from environments.ports import BuildRequest

FORMAT = 1
"""Part of every key: raised when what is kept, or how it is made, changes."""
PROTECTED = frozenset({"PATH", "HOME", "TMPDIR", MARK})


def release_name(request: BuildRequest, plan: Plan, tools: Tools) -> str:
    """Not of the start command and its like: two services of one directory share a release."""
    return _name(
        "release",
        tree=request.tree_id,
        layered=plan.layered,
        layer_files=plan.layer_files,
        build=[dataclasses.asdict(step) for step in plan.build],
        env=literal_env(request, plan),
        site=dataclasses.asdict(plan.site) if plan.site else None,
        **_common(request, plan, tools),
    )


def layer_name(request: BuildRequest, plan: Plan, tools: Tools, source: Path) -> str:
    files = {name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in plan.layer_files}
    return _name("layer", files=files, **_common(request, plan, tools))


def tool_name(request: BuildRequest, plan: Plan, tools: Tools) -> str:
    return _name("tool", package=plan.tool_package, tools=tools.identity, scope=_scope(request))


def literal_env(request: BuildRequest, plan: Plan) -> dict[str, str]:
    """What the file says in plain words is known while building (VITE_…, NEXT_PUBLIC_…); references are not.

    Only where there is something to build: elsewhere a changed value would rebuild for nothing."""
    if not plan.build:
        return {}
    env = request.service.env
    return {name: value for name, value in env.items() if "{{" not in value and name not in PROTECTED}


def _common(request: BuildRequest, plan: Plan, tools: Tools) -> dict[str, object]:
    return {
        "language": plan.language,
        "tool_package": plan.tool_package,
        "install": [dataclasses.asdict(step) for step in plan.install],
        "versions": dict(plan.versions),
        "tools": tools.identity,
        "scope": _scope(request),
    }


def _scope(request: BuildRequest) -> str:
    """Forks share nothing with anybody else: what they build, only they find."""
    return "" if request.trusted else f"fork:{request.repository}"


def _name(kind: str, **parts: object) -> str:
    written = json.dumps({"format": FORMAT, **parts}, sort_keys=True, default=_plain)
    return f"{kind}-{hashlib.sha256(written.encode()).hexdigest()}"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a key")
