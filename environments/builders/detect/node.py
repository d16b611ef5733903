"""Node: which package manager installs what, what is built, and how the program is started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from environments.builders.detect.model import RELEASE, Plan, Step
from environments.builders.detect.node_start import find_seed, find_site, find_start
from environments.builders.detect.sources import Sources, string, strings, table
from environments.ports import UserError
from environments.spec import Service

PNPM_BY_LOCK = {"5": "7.33.7", "6": "8.15.9", "9": "10.12.1"}
"""lockfileVersion's first number → the pnpm that writes it."""
YARN_CLASSIC, YARN_BERRY = "1.22.22", "4.9.2"
LOCKS = ("package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb")
LIFECYCLE = ("preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare", "prepublish")


@dataclass(frozen=True)
class PackageTool:
    name: str
    package: str | None = None
    """What brings it, unless it comes with Node."""
    command: tuple[str, ...] = ()
    """How it is called; its arguments follow."""
    berry: bool = False
    """Yarn 2 and later, which is another program than Yarn 1."""


def detect(sources: Sources, service: Service) -> Plan | None:
    if not sources.has("package.json"):
        return None
    package = sources.json("package.json")
    tool = _tool(sources, package)
    locked = sources.first(*LOCKS)
    packages = frozenset(table(package, "dependencies")) | frozenset(table(package, "devDependencies"))
    site = find_site(sources, package, packages)
    start = None if site else find_start(sources, service, package, packages)
    return Plan(
        language="node",
        tool=tool.name,
        tool_package=tool.package,
        why=(f"{locked or 'package.json'}: a Node project, its packages are installed by {tool.name}.",),
        notes=_notes(tool, locked, packages, start is None and site is None),
        install=_install(tool, sources, packages, "workspaces" in package),
        layer_files=_layer_files(sources),
        layered=_layered(sources, package, packages),
        build=_build(tool, package, packages),
        start=start,
        seed=find_seed(package),
        versions=_versions(sources, package),
        env={"NODE_ENV": "production"},
        bin_dirs=(f"{RELEASE}/node_modules/.bin",),
        site=site,
    )


def _tool(sources: Sources, package: dict[str, Any]) -> PackageTool:
    """The `packageManager` field decides; else the lock file; else npm."""
    stated = re.match(r"(npm|pnpm|yarn|bun)@(\d+[\w.-]*)", string(package, "packageManager"))
    name, version = (stated[1], stated[2]) if stated else ("", "")
    if not name:
        name = (
            "npm"
            if sources.first("package-lock.json", "npm-shrinkwrap.json")
            else "pnpm"
            if sources.has("pnpm-lock.yaml")
            else "yarn"
            if sources.has("yarn.lock")
            else "bun"
            if sources.first("bun.lock", "bun.lockb")
            else "npm"
        )
    if name == "bun":
        raise UserError(
            "build_no_plan",
            "This is a Bun project; Bun is not built here.",
            "Commit a package-lock.json, pnpm-lock.yaml or yarn.lock, and remove the bun lock file.",
        )
    if name == "pnpm":
        return PackageTool("pnpm", f"pnpm@{version or _pnpm_version(sources)}", ("pnpm",))
    if name == "yarn":
        return _yarn(sources, version)
    return PackageTool("npm", None, ("npm",))


def _pnpm_version(sources: Sources) -> str:
    written = re.match(r"lockfileVersion:\s*['\"]?(\d+)", sources.head("pnpm-lock.yaml"))
    return PNPM_BY_LOCK.get(written[1] if written else "9", PNPM_BY_LOCK["9"])


def _yarn(sources: Sources, version: str) -> PackageTool:
    carried = re.search(r"^yarnPath:\s*['\"]?([\w./@+-]+)", sources.text(".yarnrc.yml"), re.MULTILINE)
    if carried and sources.has(carried[1]):
        return PackageTool("yarn", None, ("node", carried[1]), berry=True)
    modern = sources.has(".yarnrc.yml") or "__metadata:" in sources.head("yarn.lock")
    if version.split(".")[0] not in ("", "0", "1") or (not version and modern):
        return PackageTool("yarn", f"@yarnpkg/cli-dist@{version or YARN_BERRY}", ("yarn",), berry=True)
    return PackageTool("yarn", f"yarn@{version or YARN_CLASSIC}", ("yarn",))


def _install(tool: PackageTool, sources: Sources, packages: frozenset[str], workspaces: bool) -> tuple[Step, ...]:
    if tool.name == "npm":
        if sources.first("package-lock.json", "npm-shrinkwrap.json"):
            return (Step(("npm", "ci", "--include=dev", "--no-audit", "--no-fund")),)
        # npm writes no node_modules at all for nothing, and a lock file is not wanted in the release.
        install = ("npm", "install", "--include=dev", "--no-package-lock", "--no-audit", "--no-fund")
        return (Step(install),) if packages or workspaces else ()
    if tool.name == "pnpm":
        frozen = "--frozen-lockfile" if sources.has("pnpm-lock.yaml") else "--no-frozen-lockfile"
        return (Step((*tool.command, "install", frozen, "--prod=false")),)
    locked = sources.has("yarn.lock")
    if tool.berry:
        return (Step((*tool.command, "install", *["--immutable"] * locked), env=_berry_env(locked)),)
    lock = "--frozen-lockfile" if locked else "--no-lockfile"
    return (Step((*tool.command, "install", lock, "--production=false", "--non-interactive")),)


def _berry_env(locked: bool) -> dict[str, str]:
    """node_modules, as every other tool makes it: then a release is a directory that Node alone can run."""
    linker = {"YARN_NODE_LINKER": "node-modules"}
    return linker if locked else linker | {"YARN_ENABLE_IMMUTABLE_INSTALLS": "false"}


def _build(tool: PackageTool, package: dict[str, Any], packages: frozenset[str]) -> tuple[Step, ...]:
    steps: list[Step] = []
    if "prisma" in packages and "@prisma/client" in packages:
        steps.append(Step(("npx", "prisma", "generate")))
    if "build" in table(package, "scripts"):
        # Yarn 2+ runs scripts only beside its own install state, which a layer keeps to itself.
        command = ("npm",) if tool.berry else tool.command
        steps.append(Step((*command, "run", "build")))
    return tuple(steps)


def _layer_files(sources: Sources) -> tuple[str, ...]:
    named = sources.present(
        "package.json", *LOCKS, ".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-workspace.yaml", ".pnpmfile.cjs"
    )
    carried = tuple(sources.find(r"\.yarn/(?:releases|plugins|patches)/.+", depth=4, hidden=True))
    patches = tuple(sources.find(r"patches/.+", depth=2))
    return tuple(sorted({*named, *carried, *patches}))


def _layered(sources: Sources, package: dict[str, Any], packages: frozenset[str]) -> bool:
    """Not when installing needs more than the manifests: workspaces, paths, scripts of the project itself,
    or Prisma, whose client is generated into node_modules."""
    versions = [*table(package, "dependencies").values(), *table(package, "devDependencies").values()]
    paths = any(str(version).startswith(("file:", "link:", "portal:", "workspace:")) for version in versions)
    scripts = any(name in table(package, "scripts") for name in LIFECYCLE)
    workspace = "workspaces" in package or "packages:" in sources.text("pnpm-workspace.yaml")
    return not (paths or scripts or workspace or "prisma" in packages)


def _versions(sources: Sources, package: dict[str, Any]) -> dict[str, str]:
    wanted = (
        string(table(package, "volta"), "node")
        or string(table(package, "engines"), "node")
        or "".join(sources.text(".nvmrc").split()[:1])
        or "".join(sources.text(".node-version").split()[:1])
    )
    return {"node": wanted.removeprefix("v")} if wanted else {}


def _notes(tool: PackageTool, locked: str | None, packages: frozenset[str], startless: bool) -> tuple[str, ...]:
    notes = []
    if locked is None and packages:
        notes.append(f"There is no lock file: each build may pick newer packages. `{tool.name} install` makes one.")
    if startless:
        notes.append("How to start it was not found: add a `start` script, or set `command`.")
    return tuple(notes)


def refuse_workspace_member(tree: Sources, path: str, service: Service) -> None:
    """A member of a workspace can't be installed without the root, where the lock file is: say what to write.

    Raises UserError(build_no_plan).
    """
    member = Sources(tree.root / path)
    if path == "." or not member.has("package.json") or member.first(*LOCKS):
        return
    lock = tree.first(*LOCKS)
    members = tree.json("package.json").get("workspaces") if tree.has("package.json") else None
    patterns = strings({"w": members.get("packages") if isinstance(members, dict) else members}, "w")
    patterns += re.findall(r"^\s*-\s*['\"]?([^'\"\n#]+)", tree.text("pnpm-workspace.yaml"), re.MULTILINE)
    if lock and any(_matches(pattern.strip(), path) for pattern in patterns):
        name = string(member.json("package.json"), "name") or path
        run = {"pnpm-lock.yaml": f"pnpm --filter {name} start", "yarn.lock": f"yarn workspace {name} start"}
        raise UserError(
            "build_no_plan",
            f"{path} is a member of the workspace whose {lock} is at the root: it can't be installed alone.",
            f"For services.{service.name} write `path: .` and "
            f"`command: {run.get(lock, f'npm start --workspace {name}')}`.",
        )


def _matches(pattern: str, path: str) -> bool:
    """`packages/*` and `apps/**` as workspaces write them."""
    parts = pattern.removeprefix("./").rstrip("/").split("/")
    expression = "/".join(".+" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") for part in parts)
    return re.fullmatch(expression, path) is not None
