"""Node: the start command, the built static site, and the seed."""

from __future__ import annotations

import re
import shlex
from typing import Any

from environments.builders.detect.model import Command, StaticSite
from environments.builders.detect.sources import Sources, string, table
from environments.ports import FoundCommand
from environments.spec import Service

ENTRY_FILES = (
    "server.js", "index.js", "app.js", "main.js", "server.mjs", "index.mjs",
    "src/server.js", "src/index.js", "src/main.js", "src/app.js",
)  # fmt: skip
BUILT_SITES = {
    # package → (what its build writes, whether unknown paths belong to index.html)
    "astro": ("dist", False),
    "gatsby": ("public", False),
    "@docusaurus/core": ("build", False),
    "@11ty/eleventy": ("_site", False),
    "@sveltejs/adapter-static": ("build", True),
    "react-scripts": ("build", True),
    "@vue/cli-service": ("dist", True),
    "parcel": ("dist", True),
    "vite": ("dist", True),
}
BUILT_SERVERS: dict[str, tuple[str, ...]] = {
    "next": ("next", "start"),
    "nuxt": ("node", ".output/server/index.mjs"),
    "@sveltejs/adapter-node": ("node", "build"),
    "@astrojs/node": ("node", "./dist/server/entry.mjs"),
    "@remix-run/serve": ("remix-serve", "build/server/index.js"),
    "@react-router/serve": ("react-router-serve", "./build/server/index.js"),
    "@nestjs/core": ("node", "dist/main"),
}
DEVELOPMENT_SERVERS = re.compile(
    r"^\s*(?:vite(?:\s+(?:dev|serve|preview))?|react-scripts start|vue-cli-service serve|"
    r"astro (?:dev|preview)|gatsby (?:develop|serve)|docusaurus (?:start|serve)|eleventy --serve|"
    r"parcel(?:\s+serve)?)(?:\s|$)"
)


def find_site(sources: Sources, package: dict[str, Any], packages: frozenset[str]) -> StaticSite | None:
    """The static site that the build script writes, unless the project starts a server of its own.

    A `start` script that only runs the tool's development server is no server of its own.
    """
    scripts = table(package, "scripts")
    start = string(scripts, "start")
    own_server = start and not DEVELOPMENT_SERVERS.match(start)
    if "build" not in scripts or own_server or packages & BUILT_SERVERS.keys():
        return None
    if not start and sources.first(*ENTRY_FILES[:6]):
        return None
    for name, (root, single_page) in BUILT_SITES.items():
        if name in packages:
            return StaticSite(_out_dir(sources, string(scripts, "build")) or root, single_page)
    return None


def _out_dir(sources: Sources, build: str) -> str | None:
    """Where Vite or Parcel was told to write, when it is said plainly."""
    flag = re.search(r"--(?:outDir|dist-dir)[= ](\S+)", build)
    config = next(iter(sources.present("vite.config.ts", "vite.config.js", "vite.config.mjs")), None)
    stated = flag or (re.search(r"outDir:\s*['\"]([\w./-]+)['\"]", sources.text(config)) if config else None)
    return stated[1].strip("'\"").removeprefix("./") if stated and not stated[1].startswith("..") else None


def find_start(
    sources: Sources, service: Service, package: dict[str, Any], packages: frozenset[str]
) -> FoundCommand | None:
    scripts = table(package, "scripts")
    names = ("start:prod", "start") if service.port else ("worker", "start:worker", "start")
    for name in names:
        if string(scripts, name):
            return FoundCommand(script(scripts, name), f"package.json has a `{name}` script.")
    for name, command in BUILT_SERVERS.items():
        if name in packages:
            return FoundCommand(command, f"{name} is among the packages.")
    main = string(package, "main")
    if main and (sources.has(main) or "build" in scripts):
        return FoundCommand(("node", main), "package.json names it as `main`.")
    candidates = ENTRY_FILES if service.port else ("worker.js", "worker.mjs", "src/worker.js", *ENTRY_FILES)
    if file := sources.first(*candidates):
        return FoundCommand(("node", file), f"{file} is there, and package.json has no `start` script.")
    return None


def script(scripts: dict[str, Any], name: str) -> Command:
    """A script of package.json as a command: itself where that is the same, as npm between the program and
    whoever watches it costs a third of a second, 60 MB, and the program's signals."""
    line = string(scripts, name)
    if f"pre{name}" in scripts or f"post{name}" in scripts or "npm_" in line:
        return ("npm", "run", name)
    if re.search(r"[$&|;<>()`*?\[\]{}~#\n\\]", line) or re.match(r"\s*\w+=", line):
        return line
    try:
        return tuple(shlex.split(line))
    except ValueError:
        return line


def find_seed(package: dict[str, Any]) -> FoundCommand | None:
    scripts = table(package, "scripts")
    if string(table(package, "prisma"), "seed"):
        return FoundCommand(("prisma", "db", "seed"), "package.json has a `prisma.seed` command.")
    for name in ("seed", "db:seed"):
        if string(scripts, name):
            return FoundCommand(script(scripts, name), f"package.json has a `{name}` script.")
    return None
