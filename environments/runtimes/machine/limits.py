"""CPU and memory limits of programs: control groups (v1 or v2) where this user may write them, else rlimits."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from environments.spec import Resources

Kind = Literal["cgroup v2", "cgroup v1", "rlimit"]
CONTROLLERS = ("memory", "cpu")


@dataclass(frozen=True)
class Limit:
    """What a program does to come under its limit, before it starts."""

    join: tuple[str, ...] = ()
    """Files into which it writes its process id."""
    data_limit: int | None = None
    """RLIMIT_DATA in bytes, where there are no control groups."""
    nice: int = 0


@dataclass(frozen=True)
class Support:
    kind: Kind
    says: str
    """One sentence for operators."""


class Limits:
    """The control groups of one installation: `<base>/previewkit-<owner>/<namespace>/<program>`."""

    def __init__(self, owner: str, mounts: Path = Path("/proc/self/mountinfo")) -> None:
        self._owner = owner
        self._mounts = mounts

    @cached_property
    def kind(self) -> Kind:
        return self._found[0]

    def support(self) -> Support:
        sentences = {
            "cgroup v2": "CPU and memory limits are enforced by control groups (v2).",
            "cgroup v1": "CPU and memory limits are enforced by control groups (v1).",
            "rlimit": "No control group can be written here: memory is limited roughly (twice the wanted size, "
            "per process), CPU only by a lower priority.",
        }
        return Support(self.kind, sentences[self.kind])

    def open(self, namespace: str, program: str, resources: Resources | None) -> Limit:
        """Makes the program's group; `resources` None: no limit, only so that its processes can be found."""
        if self.kind == "rlimit":
            if resources is None:
                return Limit()
            # RLIMIT_DATA counts what is written to, unlike RLIMIT_AS, which V8 and Go exceed at start by
            # reserving addresses. Twice: thread stacks count in full, and it is there against runaways only.
            return Limit(data_limit=2 * resources.memory, nice=5)
        groups = list(self._groups(namespace, program))
        for controller, group in groups:
            self._make(group)
            if resources is not None:
                self._set(controller, group, resources)
        return Limit(join=tuple(str(group / "cgroup.procs") for _, group in groups))

    def process_ids(self, namespace: str, program: str | None = None) -> set[int]:
        found: set[int] = set()
        for _, top in self._groups(namespace, program):
            for procs in top.rglob("cgroup.procs"):
                try:
                    found.update(int(line) for line in procs.read_text().split())
                except OSError:
                    continue  # removed in between
        return found

    def oom_kills(self, namespace: str, program: str) -> int:
        """How often the kernel ended one of the program's processes for its memory."""
        name = "memory.events" if self.kind == "cgroup v2" else "memory.oom_control"
        for controller, group in self._groups(namespace, program):
            if controller != "cpu" and (group / name).exists():
                counts = dict(line.split() for line in (group / name).read_text().splitlines())
                return int(counts.get("oom_kill", 0))
        return 0

    def close(self, namespace: str, program: str | None = None, seconds: float = 2.0) -> None:
        """Removes the group, or all of the namespace; its processes are dead or about to be."""
        deadline = time.monotonic() + seconds
        while (left := self._remove(namespace, program)) and time.monotonic() < deadline:
            time.sleep(0.01)  # a dying process leaves its group a moment later
        if left and program is None:
            raise OSError(f"control group {left[0]} is still in use")
        if program is None:
            for _, group in self._groups(namespace, None):
                with suppress(OSError):  # others are in it
                    group.parent.rmdir()

    def left(self, namespace: str) -> list[Path]:
        return [group for _, group in self._groups(namespace, None) if group.exists()]

    def _remove(self, namespace: str, program: str | None) -> list[Path]:
        left = []
        for _, top in self._groups(namespace, program):
            inner = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
            for group in (*inner, top):
                try:
                    group.rmdir()
                except FileNotFoundError:
                    continue
                except OSError:
                    left.append(group)
        return left

    def _groups(self, namespace: str, program: str | None) -> Iterator[tuple[str, Path]]:
        for controller, base in self._found[1].items():
            group = base / f"previewkit-{self._owner}" / namespace
            yield controller, group / program if program else group

    def _set(self, controller: str, group: Path, resources: Resources) -> None:
        quota = max(int(resources.cpu * 100_000), 1_000)
        if controller == "cpu":
            _write(group / "cpu.cfs_period_us", "100000")
            _write(group / "cpu.cfs_quota_us", str(quota))
        elif controller == "memory":
            _write(group / "memory.limit_in_bytes", str(resources.memory))
        else:
            _write(group / "cpu.max", f"{quota} 100000")
            _write(group / "memory.max", str(resources.memory))
            _write(group / "memory.oom.group", "1")

    def _make(self, group: Path) -> None:
        while not group.is_dir():
            with suppress(FileNotFoundError):  # the last other environment just took the installation's group away
                group.mkdir(parents=True, exist_ok=True)
        if self.kind == "cgroup v2":
            for parent in (group.parent.parent, group.parent):
                _write(parent / "cgroup.subtree_control", "+memory +cpu")

    @cached_property
    def _found(self) -> tuple[Kind, dict[str, Path]]:
        """The kind, and where our groups begin, by controller ("" for v2, which has one tree)."""
        unified, separate = _mounted(self._mounts)
        for base in unified:
            if self._delegates(base):
                return "cgroup v2", {"": base}
        if set(separate) >= set(CONTROLLERS) and all(os.access(path, os.W_OK) for path in separate.values()):
            return "cgroup v1", {controller: separate[controller] for controller in CONTROLLERS}
        return "rlimit", {}

    def _delegates(self, base: Path) -> bool:
        """Whether groups below `base` may get the controllers (v2 refuses where `base` has processes itself)."""
        group = base / f"previewkit-{self._owner}"
        try:
            if not set(CONTROLLERS) <= set((base / "cgroup.controllers").read_text().split()):
                return False
            group.mkdir(exist_ok=True)
            _write(base / "cgroup.subtree_control", "+memory +cpu")
            _write(group / "cgroup.subtree_control", "+memory +cpu")
            return _can_enter(group / "probe")
        except OSError:
            return False


def _mounted(mountinfo: Path) -> tuple[list[Path], dict[str, Path]]:
    """(bases for v2, best first; v1 controller → base). The bases don't depend on which of our processes asks:
    a worker must find the groups that another one made."""
    unified: list[Path] = []
    separate: dict[str, Path] = {}
    try:
        lines = mountinfo.read_text().splitlines()
    except OSError:
        return [], {}
    for line in lines:
        before, _, after = line.partition(" - ")
        point, kind = Path(before.split()[4]), after.split()[0]
        if kind == "cgroup2":
            unified.append(point)
            user = point / f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"
            if user.is_dir():
                unified.insert(0, user)
        elif kind == "cgroup":
            for controller in set(after.split()[2].split(",")) & set(CONTROLLERS):
                separate[controller] = point
    return unified, separate


def _can_enter(group: Path) -> bool:
    """A user may own groups and still not be allowed to move processes into them: tried with one."""
    group.mkdir(exist_ok=True)
    entered = subprocess.run(["sh", "-c", 'echo $$ > "$0"', str(group / "cgroup.procs")], stderr=subprocess.DEVNULL)
    group.rmdir()
    return entered.returncode == 0


def _write(file: Path, text: str) -> None:
    file.write_text(text)
