"""One build on this machine: the release, the dependency layer below it, and the package tool that it needs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from environments.builders import keys
from environments.builders import release as releases
from environments.builders.detect.model import RELEASE
from environments.builders.plan import Plan, Step
from environments.builders.steps import MARK, Ended, Limits, kill_marked, run_step, timed_out
from environments.builders.store import Entry, Store
from environments.builders.toolchains import Tools, base_python, host_path, step_env
from environments.ports import BuildRequest, Fence, OnLine, PlatformError, UserError

DISK_FULL = ("no space left on device", "enospc", "disk quota exceeded")


@dataclass(frozen=True)
class Room:
    """Where a step works: the tree that is being made, the directory in it, and what PATH starts with."""

    tree: Path
    app: Path
    venv: Path | None = None
    bin_dirs: tuple[str, ...] = ()


@dataclass(frozen=True)
class LocalBuild:
    """One call of LocalBuilder.build(): what is built, with what, and whom to tell."""

    store: Store
    cache: Path
    request: BuildRequest
    source: Path
    plan: Plan
    tools: Tools
    limits: Limits
    on_line: OnLine
    fence: Fence

    def release(self) -> tuple[Entry, bool]:
        """The release, and whether it was built by this very call."""
        name = keys.release_name(self.request, self.plan, self.tools)
        if entry := self._found(name):
            return entry, False
        self._remove_leftovers()
        with self.store.lock(name, self._waiting):
            if entry := self._found(name):  # built by another worker while this one waited
                return entry, False
            return self._make_release(name), True

    # ── what was built before ───────────────────────────────────────────────────────────────

    def _found(self, name: str) -> Entry | None:
        """The entry with all it stands on: its layer, and the interpreter that a virtualenv points to."""
        entry = self.store.find(name)
        if entry is None:
            return None
        venv = entry.facts["venv"]
        if venv and not (Path(venv) / "bin" / "python").exists():
            return None
        return entry if all(self._found(used) for used in entry.facts["uses"]) else None

    def _remove_leftovers(self) -> None:
        for mark, tree in self.store.leftovers():
            kill_marked(mark)
            self.store.discard(tree)
            self.on_line("Removed what an interrupted build had left.")

    def _waiting(self) -> None:
        self.fence()
        if time.monotonic() > self.limits.ends_at:
            raise timed_out(self.limits, ())

    # ── the three kinds of entries ──────────────────────────────────────────────────────────

    def _make_release(self, name: str) -> Entry:
        tool, layer = self._tool(), None
        if self.plan.layered:
            layer = self._layer(tool)
        below = [entry for entry in (tool, layer) if entry]
        with self._new_tree(name) as room:
            releases.copy_source(self.source, room.app, self.fence)
            room = self._equip(room, tool, layer)
            self._bring_node_modules(layer, room.app)
            for step in () if layer else self.plan.install:
                self._run(step, room, {})
            for step in self.plan.build:
                self._run(step, room, keys.literal_env(self.request, self.plan))
            if self.plan.language == "node":
                releases.set_node_modules_aside(room.app, room.tree / releases.NODE_MODULES)
            self._check_site(room.app)
            return self._publish(name, room, below)

    def _layer(self, tool: Entry | None) -> Entry | None:
        """The dependency layer; None when there is nothing to install and nothing to install into."""
        if not self.plan.install and self.plan.language != "python":
            return None
        name = keys.layer_name(self.request, self.plan, self.tools, self.source)
        if entry := self._found(name):
            self.on_line("The packages are unchanged since an earlier build.")
            return entry
        with self.store.lock(name, self._waiting):
            return self._found(name) or self._make_layer(name, tool)

    def _make_layer(self, name: str, tool: Entry | None) -> Entry:
        with self._new_tree(name) as room:
            room.app.mkdir()
            releases.copy_files(self.source, self.plan.layer_files, room.app)
            room = self._equip(room, tool, None)
            for step in self.plan.install:
                self._run(step, room, {})
            return self._publish(name, room, [])

    def _tool(self) -> Entry | None:
        """pnpm or Yarn, as npm installs it: for the build, and for start commands that call it."""
        if self.plan.tool_package is None:
            return None
        name = keys.tool_name(self.request, self.plan, self.tools)
        if entry := self._found(name):
            return entry
        with self.store.lock(name, self._waiting):
            if entry := self._found(name):
                return entry
            with self._new_tree(name) as room:
                room.app.mkdir()
                package = ("--no-audit", "--no-fund", "--ignore-scripts", self.plan.tool_package)
                self._run(Step(("npm", "install", "--prefix", ".", *package)), room, {})
                room = Room(room.tree, room.app, bin_dirs=(str(room.app / releases.NODE_MODULES / ".bin"),))
                return self._publish(name, room, [])

    # ── a tree, from its beginning to its entry ─────────────────────────────────────────────

    @contextmanager
    def _new_tree(self, name: str) -> Iterator[Room]:
        """A tree that is gone again, with every process that was started for it, unless all went well."""
        tree = self.store.new_tree(name)
        try:
            yield Room(tree, tree / "app")
        except BaseException:
            kill_marked(tree.name)
            self.store.discard(tree)
            raise

    def _publish(self, name: str, room: Room, below: list[Entry]) -> Entry:
        kill_marked(room.tree.name)  # a daemon that a build tool left would write here for ever
        self.store.discard(room.tree / "scratch")
        self.fence()
        facts = {
            "venv": str(room.venv) if room.venv else None,
            "bin_dirs": list(room.bin_dirs),
            "uses": [entry.name for entry in below],
        }
        return self.store.publish(name, room.tree, facts)

    def _equip(self, room: Room, tool: Entry | None, layer: Entry | None) -> Room:
        bin_dirs = tuple(tool.facts["bin_dirs"]) if tool else ()
        if self.plan.language != "python":
            return Room(room.tree, room.app, bin_dirs=bin_dirs)
        venv = Path(layer.facts["venv"]) if layer else self._make_venv(room)
        return Room(room.tree, room.app, venv, bin_dirs)

    def _bring_node_modules(self, layer: Entry | None, app: Path) -> None:
        if self.plan.language != "node" or not self.plan.install:
            return
        if layer is None:
            releases.remove_node_modules(app)
        elif self.plan.build:
            releases.borrow_node_modules(layer.tree / "app" / releases.NODE_MODULES, app)
        else:
            releases.link_node_modules(layer.tree / "app" / releases.NODE_MODULES, app)

    def _check_site(self, app: Path) -> None:
        site = self.plan.site
        if site and not (app / site.root).is_dir():
            raise UserError(
                "build_failed",
                f"The build of {self.request.service.name} ended well but wrote no `{site.root}`, "
                "which is what would be served.",
                f"Let it write to `{site.root}`, or add a `start` script.",
            )

    # ── steps ───────────────────────────────────────────────────────────────────────────────

    def _run(self, step: Step, room: Room, more: Mapping[str, str]) -> None:
        """Raises UserError(build_failed …) unless the step is optional, PlatformError(disk_full)."""
        self.on_line(f"$ {step.title}")
        env = self._env(room) | dict(more) | dict(step.env)
        listener = _unheard if step.optional else self.on_line
        try:
            ended = run_step(step.run, room.app, env, self.limits, listener, self.fence)
        except FileNotFoundError as error:
            raise PlatformError(
                "build_tool_missing",
                f"This machine has no `{step.run[0]}`, which the build needs.",
                "An operator installs it and puts it into PATH; then the build is tried again.",
            ) from error
        if ended.code == 0:
            return
        _refuse_full_disk(ended)
        how = f"exit code {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
        if step.optional:
            why = next((line for line in reversed(ended.tail) if line.strip()), "it said nothing")
            self.on_line(f"Note: that ended with {how} ({why}); the build goes on without it.")
            return
        raise UserError(
            "build_failed",
            f"The build of {self.request.service.name} failed: `{step.title}` ended with {how}.",
            "The last lines say why; the same command in the service's directory shows it on your machine.",
            log_tail=ended.tail,
        )

    def _env(self, room: Room) -> dict[str, str]:
        cache = self.cache if self.request.trusted else room.tree / "scratch" / "cache"
        path = [folder.replace(RELEASE, str(room.app)) for folder in self.plan.bin_dirs]
        path += [str(room.venv / "bin")] if room.venv else []
        path += [*room.bin_dirs, *self.tools.bin_dirs]
        env = step_env(cache, room.tree / "scratch", path) | {MARK: room.tree.name}
        if room.venv:
            env |= {
                "VIRTUAL_ENV": str(room.venv),
                "UV_PROJECT_ENVIRONMENT": str(room.venv),
                "UV_PYTHON": str(room.venv / "bin" / "python"),
            }
        if pythonpath := self.plan.env.get("PYTHONPATH"):
            env["PYTHONPATH"] = pythonpath.replace(RELEASE, str(room.app))
        return env

    def _make_venv(self, room: Room) -> Path:
        """With the Python that is wanted, when the machine has it; else with the one that runs PreviewKit."""
        venv, running = room.tree / "venv", base_python()
        env = self._env(room)
        env["PATH"] = os.pathsep.join([*self.tools.bin_dirs, os.path.dirname(running), host_path()])
        wanted = self.plan.versions.get("python")
        for version in _python_choices(wanted):
            command = ("uv", "venv", "--no-project", "--no-config", "--quiet", "--python", version or running)
            # A Python that is not there is said once, in plain words, not in uv's.
            listener = _unheard if version else self.on_line
            ended = run_step((*command, str(venv)), room.app, env, self.limits, listener, self.fence)
            if ended.code == 0:
                if wanted and not version:
                    used = ".".join(map(str, sys.version_info[:3]))
                    self.on_line(f"Note: Python {wanted} is wanted; this machine lacks it, and {used} is used.")
                return venv
        _refuse_full_disk(ended)
        raise PlatformError(
            "build_tool_missing",
            f"uv could not make a virtualenv with {running}.",
            "An operator reads the last lines and repairs that Python.",
            log_tail=ended.tail,
        )


def _python_choices(wanted: str | None) -> list[str | None]:
    """What to ask uv for, best first; None is the Python that runs PreviewKit."""
    if not wanted:
        return [None]
    minor = ".".join(wanted.split(".")[:2])
    return list(dict.fromkeys([wanted, minor, None])) if wanted[0].isdigit() else [wanted, None]


def _unheard(line: str) -> None:
    pass


def _refuse_full_disk(ended: Ended) -> None:
    if any(sign in line.lower() for line in ended.tail for sign in DISK_FULL):
        raise disk_full()


def disk_full() -> PlatformError:
    return PlatformError(
        "disk_full", "The disk is full: the build could not write.", "Free some space; it is tried again."
    )
