"""A Plan as a Dockerfile: packages before sources, a user that is not root, nothing but files of the commit in it.

Pure: text from data. What changes with the sources alone comes last, so that a change of them installs nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from environments.builders import static_server
from environments.builders.detect.model import RELEASE, Plan, Step
from environments.builders.toolchains import satisfies
from environments.ports import FoundCommand

USER = 10001
APP = "/app"
VENV = "/opt/venv"
TOOL = "/opt/tool"
UV = "/opt/uv"
GO_MODULES = "/opt/go-mod"
CACHE = "/var/cache/build"
STATIC_SERVER = "/opt/previewkit/static_server.py"

BaseImages = Mapping[str, Mapping[str, str]]
"""python, node, go, run (for what needs no language) → version → image; the first version is the default."""

BASE_IMAGES: BaseImages = {
    "python": {f"3.{minor}": f"python:3.{minor}-slim-bookworm" for minor in (13, 14, 12, 11, 10)},
    "node": {version: f"node:{version}-bookworm-slim" for version in ("22", "24", "20")},
    "go": {"1.25": "golang:1.25-bookworm", "1.24": "golang:1.24-bookworm"},
    "run": {"12": "debian:bookworm-slim"},
}

BUILD_ENV = {
    "NO_COLOR": "1",
    "XDG_CACHE_HOME": f"{CACHE}/xdg",
    "XDG_DATA_HOME": f"{CACHE}/data",
    "UV_CACHE_DIR": f"{CACHE}/uv",
    "UV_TOOL_DIR": f"{CACHE}/uv-tools",
    "UV_LINK_MODE": "copy",
    "UV_COMPILE_BYTECODE": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
    "UV_SYSTEM_CERTS": "1",
    "UV_PROJECT_ENVIRONMENT": VENV,
    "PIP_CACHE_DIR": f"{CACHE}/pip",
    "POETRY_CACHE_DIR": f"{CACHE}/poetry",
    "PIPENV_CACHE_DIR": f"{CACHE}/pipenv",
    "PIPENV_VERBOSITY": "-1",
    "npm_config_cache": f"{CACHE}/npm",
    "npm_config_update_notifier": "false",
    "npm_config_progress": "false",
    "YARN_CACHE_FOLDER": f"{CACHE}/yarn",
    "YARN_GLOBAL_FOLDER": f"{CACHE}/yarn-berry",
    "YARN_ENABLE_TELEMETRY": "0",
    "NEXT_TELEMETRY_DISABLED": "1",
    "GOCACHE": f"{CACHE}/go-build",
    "GOMODCACHE": GO_MODULES,
}
"""While building only: of build steps on any machine; see toolchains.step_env, of which it is the container's twin."""
TOOL_ENV = {
    "python": ("UV_", "PIP", "POETRY_", "XDG_"),
    "node": ("npm_", "YARN_", "NEXT_", "XDG_"),
    "go": ("GO",),
}
BUILD_FOLDERS = {"python": (VENV,), "node": (TOOL,), "go": (GO_MODULES,)}


@dataclass(frozen=True)
class Base:
    image: str
    note: str = ""
    """Where it is not what the sources ask for."""


def choose_base(images: BaseImages, language: str, wanted: str) -> Base:
    """The first image whose version the sources allow; else the default, with a note."""
    known = images[language]
    first = next(iter(known))
    kept = r"(\d+)" if language == "node" else r"(\d+\.\d+)"
    plain = re.sub(kept + r"(?:\.\d+)+", r"\1", wanted)  # images are had by these digits alone
    if language == "go" and re.fullmatch(r"[\d.]+", plain):
        plain = f">={plain}"  # go.mod names the oldest that will do
    for version, image in known.items():
        if not plain or satisfies(tuple(int(part) for part in version.split(".") if part.isdigit()), plain):
            return Base(image)
    name = {"python": "Python", "node": "Node", "go": "Go"}.get(language, language)
    return Base(known[first], f"{name} {wanted} is wanted; there is no base image for it, and {first} is used.")


def dockerfile(planned: Plan, images: BaseImages, *, arguments: Sequence[str] = (), secrets: Sequence[str] = ()) -> str:
    """`arguments`: names of build arguments that the build steps (not the installing ones) see as variables;
    `secrets`: names of secrets that every step sees, and no layer keeps."""
    return "\n".join(_Writer(planned, images, tuple(arguments), tuple(secrets)).lines()) + "\n"


def dockerignore(planned: Plan) -> str:
    """What is in the commit and not in the image: packages that somebody committed give way to what manifests say."""
    packages = ["node_modules"] if planned.language == "node" and planned.install else []
    return "\n".join([".git", *packages]) + "\n"


def base_notes(planned: Plan, images: BaseImages) -> tuple[str, ...]:
    language = planned.language if planned.language in images else "run"
    note = choose_base(images, language, planned.versions.get(planned.language, "")).note
    return (note,) if note else ()


def run_env(planned: Plan) -> dict[str, str]:
    return {name: value.replace(RELEASE, APP) for name, value in planned.env.items()}


def static_start(planned: Plan) -> FoundCommand | None:
    if planned.site is None:
        return None
    options = ("--single-page",) if planned.site.single_page else ()
    command = ("python3", "-I", "-S", STATIC_SERVER, f"{APP}/{planned.site.root}", *options)
    return FoundCommand(command, f"`{planned.site.root}` is a static site.")


@dataclass(frozen=True)
class _Writer:
    plan: Plan
    images: BaseImages
    arguments: tuple[str, ...]
    secrets: tuple[str, ...]

    def lines(self) -> list[str]:
        if self.plan.language == "static":
            return [*self._server_stage(), self._copy(".", "./")]
        if self.plan.language == "go":
            return [*self._build_stage(), "", *self._go_final()]
        if self.plan.site:
            root = self.plan.site.root
            copy = f"COPY --from=build --chown={USER}:{USER} {json.dumps([f'{APP}/{root}', f'{APP}/{root}'])}"
            return [*self._build_stage(), self._site_check(root), "", *self._server_stage(), copy]
        return self._build_stage()

    # ── stages ──────────────────────────────────────────────────────────────────────────────

    def _build_stage(self) -> list[str]:
        """Also what runs, where the language runs from its sources: then a changed source is one small layer."""
        return [
            *(self._uv_stage() if self.plan.language == "python" else []),
            f"FROM {self._base(self.plan.language)} AS build",
            *self._user(*BUILD_FOLDERS.get(self.plan.language, ())),
            *self._environment(),
            *self._tools(),
            *self._install(),
            *self._literals(),
            *(self._run(step) for step in self.plan.build),
        ]

    def _uv_stage(self) -> list[str]:
        """Mounted where it is used: uv is no part of the image."""
        version = importlib.metadata.version("uv")
        options = f"--no-cache-dir --disable-pip-version-check --root-user-action=ignore --target {UV}"
        return [f"FROM {self._base('python')} AS uv", f"RUN pip install {options} uv=={version}", ""]

    def _server_stage(self) -> list[str]:
        source = Path(static_server.__file__).read_text()
        return [
            f"FROM {self._base('python')}",
            f"COPY <<'PREVIEWKIT_END' {STATIC_SERVER}",
            *source.rstrip("\n").split("\n"),
            "PREVIEWKIT_END",
            *self._user(),
        ]

    def _go_final(self) -> list[str]:
        authorities = "/etc/ssl/certs/ca-certificates.crt"
        return [
            f"FROM {self._base('run')}",
            f"COPY --from=build {authorities} {authorities}",
            *self._user(),
            f"COPY --from=build --chown={USER}:{USER} {APP} {APP}",
        ]

    def _base(self, language: str) -> str:
        language = language if language in self.images else "run"
        wanted = self.plan.versions.get(language, "") if language == self.plan.language else ""
        return choose_base(self.images, language, wanted).image

    # ── lines ───────────────────────────────────────────────────────────────────────────────

    def _user(self, *more: str) -> list[str]:
        """A name for it, as some programs look one up; and what it may write to."""
        passwd = f"app:x:{USER}:{USER}::/tmp:/bin/sh"
        folders = " ".join([APP, *more])
        return [
            f"RUN echo '{passwd}' >> /etc/passwd && echo 'app:x:{USER}:' >> /etc/group "
            f"&& mkdir -p {folders} && chown {USER}:{USER} {folders}",
            f"WORKDIR {APP}",
            f"USER {USER}:{USER}",
        ]

    def _environment(self) -> list[str]:
        env = {"HOME": "/tmp", "PATH": ":".join([*self._path(), "$PATH"])}
        if pythonpath := self.plan.env.get("PYTHONPATH"):
            env["PYTHONPATH"] = pythonpath.replace(RELEASE, APP)
        env |= {"VIRTUAL_ENV": VENV} if self.plan.language == "python" else {}
        prefixes = ("NO_COLOR", *TOOL_ENV.get(self.plan.language, ()))
        building = {name: value for name, value in BUILD_ENV.items() if name.startswith(prefixes)}
        return [
            *(f"ENV {name}={_quoted(value)}" for name, value in env.items()),
            *(f"ARG {name}={_quoted(value)}" for name, value in building.items()),
        ]

    def _path(self) -> list[str]:
        path = [folder.replace(RELEASE, APP) for folder in self.plan.bin_dirs]
        if self.plan.language == "python":
            path += [f"{VENV}/bin", f"{UV}/bin"]
        return [*path, *([f"{TOOL}/node_modules/.bin"] if self.plan.tool_package else [])]

    def _tools(self) -> list[str]:
        if self.plan.language == "python":
            return [self._run(Step(("uv", "venv", "--no-project", "--no-config", "--quiet", VENV)))]
        if self.plan.tool_package:
            options = ("--no-audit", "--no-fund", "--ignore-scripts")
            return [self._run(Step(("npm", "install", "--prefix", TOOL, *options, self.plan.tool_package)))]
        return []

    def _install(self) -> list[str]:
        steps = [self._run(step) for step in self.plan.install]
        manifests = self.plan.layer_files if self.plan.layered else ()
        if not (manifests and steps):
            return [self._copy(".", "./"), *steps]
        folders: dict[str, list[str]] = {}
        for name in manifests:
            folders.setdefault(f"./{name.rpartition('/')[0]}".rstrip("/") + "/", []).append(name)
        copies = [self._copy(*names, folder) for folder, names in folders.items()]
        return [*copies, *steps, self._copy(".", "./")]

    def _copy(self, *names: str) -> str:
        return f"COPY --chown={USER}:{USER} {json.dumps(names)}"

    def _literals(self) -> list[str]:
        return [f"ARG {name}" for name in self.arguments]

    def _run(self, step: Step) -> str:
        mounts = [f"--mount=type=cache,id=build,target={CACHE},uid={USER},gid={USER}"]
        if self.plan.language == "python":
            mounts.append(f"--mount=from=uv,source={UV},target={UV}")
        mounts += [f"--mount=type=secret,id={name},env={name}" for name in self.secrets]
        return f"RUN {' '.join(mounts)} {_command(step)}"

    def _site_check(self, root: str) -> str:
        message = f"The build ended well but wrote no {root}, which is what would be served."
        return f"RUN {_command(Step(f'test -d {shlex.quote(root)} || {{ echo {shlex.quote(message)}; exit 1; }}'))}"


def _command(step: Step) -> str:
    """A shell line where that is what Docker makes of it; else as JSON, which nothing is read into."""
    line = step.run if isinstance(step.run, str) else shlex.join(step.run)
    if step.env:
        line = f"export {shlex.join(f'{name}={value}' for name, value in step.env.items())} && {line}"
    if step.optional:
        line = f"{line} || echo 'Note: that failed; the build goes on without it.'"
    if re.search(r"<<|[\n\\]|^\s*[\[-]", line):
        return json.dumps(["sh", "-c", line])
    return line


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
