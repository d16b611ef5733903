"""Python: which tool installs what, and how the program is started."""

from __future__ import annotations

import re
from typing import Any

from environments.builders.detect.model import RELEASE, Plan, Step
from environments.builders.detect.python_start import find_seed, find_start
from environments.builders.detect.sources import Sources, string, strings, table
from environments.spec import Service

POETRY = "poetry==2.5.1"
POETRY_EXPORT = "poetry-plugin-export==1.10.0"
PIPENV = "pipenv@2026.10.3"
EXPORTED = ".previewkit.requirements.txt"
"""A lock file in the words that uv reads: then one tool installs everything, with one cache and one index."""
BARE_SCRIPTS = ("main.py", "app.py", "start.py", "bot.py", "hello.py", "server.py", "worker.py", "manage.py")
REQUIREMENTS = (
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/base.txt",
)
SITE = ".previewkit/site"
"""Where the project itself is installed in a release, when it is a package that must be."""


def detect(sources: Sources, service: Service) -> Plan | None:
    pyproject = sources.toml("pyproject.toml")
    plan = (
        _requirements(sources)
        or _uv(sources, pyproject)
        or _poetry(sources, pyproject)
        or _pipfile(sources)
        or _pyproject(sources, pyproject)
        or _setup_py(sources)
        or _bare(sources)
    )
    if plan is None:
        return None
    packages = dependencies(sources)
    start = find_start(sources, service, packages)
    notes = plan.notes + start.notes
    if sources.has("package.json"):
        notes += ("package.json is there too; as this is taken for a Python project, it is not used.",)
    return plan.with_(
        notes=notes,
        build=plan.build + _package(pyproject, sources, plan) + _collected_static(sources, packages),
        start=start.found,
        seed=find_seed(sources),
        versions=_versions(sources, pyproject),
        env={"PYTHONUNBUFFERED": "1"} | _package_env(pyproject, sources, plan),
        bin_dirs=(f"{RELEASE}/{SITE}/bin",) if _package(pyproject, sources, plan) else (),
    )


# ── what installs the packages ──────────────────────────────────────────────────────────────


def _requirements(sources: Sources) -> Plan | None:
    name = sources.first(*REQUIREMENTS)
    if name is None:
        return None
    files, local = _requirement_files(sources, name)
    locks = sources.present("uv.lock", "poetry.lock", "Pipfile")
    return Plan(
        language="python",
        tool="uv",
        why=(f"{name}: a Python project, its packages are installed by `uv pip install`.",),
        notes=tuple(f"{lock} is there too; {name} goes first, as with Railpack." for lock in locks),
        install=(Step(("uv", "pip", "install", "-r", name)),),
        layer_files=files,
        layered=not local,
    )


def _requirement_files(sources: Sources, first: str) -> tuple[tuple[str, ...], bool]:
    """All files that `first` includes with -r and -c, and whether any names a path of this repository."""
    todo, found, local = [first], [], False
    while todo:
        name = todo.pop()
        if name in found or not sources.has(name):
            continue
        found.append(name)
        for line in sources.text(name).splitlines():
            line = line.strip()
            if match := re.match(r"(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)", line):
                folder = name.rpartition("/")[0]
                todo.append(f"{folder}/{match[1]}" if folder else match[1])
            elif re.match(r"(-e\b|--editable\b|\.|/|file:)", line) or re.search(r"@\s*(file:|\.)", line):
                local = True
    return tuple(sorted(found)), local


def _uv(sources: Sources, pyproject: dict[str, Any]) -> Plan | None:
    if not (pyproject and sources.has("uv.lock")):
        return None
    # Members and path sources are part of the tree: the packages can't be installed without it.
    local = bool(table(pyproject, "tool", "uv", "workspace")) or any(
        isinstance(source, dict) and ("path" in source or "workspace" in source)
        for source in table(pyproject, "tool", "uv", "sources").values()
    )
    command = ("uv", "sync", "--frozen", "--no-dev", "--no-install-project")
    return Plan(
        language="python",
        tool="uv",
        why=("uv.lock: a Python project, exactly the locked packages are installed by `uv sync`.",),
        install=(Step(command),),
        layer_files=sources.present("pyproject.toml", "uv.lock", "uv.toml"),
        layered=not local,
    )


def _poetry(sources: Sources, pyproject: dict[str, Any]) -> Plan | None:
    has_table, locked = bool(table(pyproject, "tool", "poetry")), sources.has("poetry.lock")
    if not (pyproject and (locked or (has_table and not table(pyproject, "project")))):
        return None
    return Plan(
        language="python",
        tool="poetry",
        why=(f"{'poetry.lock' if locked else '[tool.poetry]'}: a Python project, its packages are Poetry's.",),
        notes=() if locked else ("There is no poetry.lock: each build may pick newer packages.",),
        install=_poetry_locked() if locked else _poetry_unlocked(),
        layer_files=sources.present("pyproject.toml", "poetry.lock", "poetry.toml"),
        layered="path =" not in sources.text("pyproject.toml"),
    )


def _poetry_locked() -> tuple[Step, ...]:
    export = ("uv", "tool", "run", "--from", POETRY, "--with", POETRY_EXPORT, "poetry", "export", "--only", "main")
    return (
        Step((*export, "--no-interaction", "--output", EXPORTED)),
        Step(("uv", "pip", "install", "-r", EXPORTED)),
    )


def _poetry_unlocked() -> tuple[Step, ...]:
    install = ("poetry", "install", "--no-root", "--only", "main", "--no-interaction")
    return (Step(("uv", "tool", "run", "--from", POETRY, *install)),)


def _pipfile(sources: Sources) -> Plan | None:
    if not sources.has("Pipfile"):
        return None
    locked = sources.has("Pipfile.lock")
    unlocked = (Step(("uv", "tool", "run", PIPENV, "install", "--skip-lock")),)
    exported = (
        Step(f"uv tool run {PIPENV} requirements --hash > {EXPORTED}"),
        Step(("uv", "pip", "install", "-r", EXPORTED)),
    )
    return Plan(
        language="python",
        tool="pipenv",
        why=(f"{'Pipfile.lock' if locked else 'Pipfile'}: a Python project, its packages are Pipenv's.",),
        notes=() if locked else ("There is no Pipfile.lock: each build may pick newer packages.",),
        install=exported if locked else unlocked,
        layer_files=sources.present("Pipfile", "Pipfile.lock"),
        layered="path =" not in sources.text("Pipfile"),
    )


def _pyproject(sources: Sources, pyproject: dict[str, Any]) -> Plan | None:
    project = table(pyproject, "project")
    if not project:
        return None
    unlocked = ("There is no lock file: each build may pick newer packages. `uv lock` makes one.",)
    if "dependencies" in strings(project, "dynamic"):
        return Plan(
            language="python",
            tool="uv",
            why=("pyproject.toml: a Python project whose packages its own build names; installed whole by uv.",),
            notes=unlocked,
            install=(Step(("uv", "pip", "install", ".")),),
            layer_files=("pyproject.toml",),
            layered=False,
        )
    return Plan(
        language="python",
        tool="uv",
        why=("pyproject.toml: a Python project, its dependencies are installed by `uv pip install`.",),
        notes=unlocked if strings(project, "dependencies") else (),
        install=(Step(("uv", "pip", "install", "-r", "pyproject.toml")),),
        layer_files=sources.present("pyproject.toml", "uv.toml"),
    )


def _setup_py(sources: Sources) -> Plan | None:
    if not sources.has("setup.py"):
        return None
    return Plan(
        language="python",
        tool="uv",
        why=("setup.py: a Python package, installed whole by uv.",),
        install=(Step(("uv", "pip", "install", ".")),),
        layered=False,
    )


def _bare(sources: Sources) -> Plan | None:
    script = sources.first(*BARE_SCRIPTS)
    if script is None or sources.has("package.json"):
        return None
    return Plan(
        language="python",
        tool="none",
        why=(f"{script}: a Python program without a list of packages; nothing is installed.",),
    )


# ── the project itself ──────────────────────────────────────────────────────────────────────


def _package(pyproject: dict[str, Any], sources: Sources, plan: Plan) -> tuple[Step, ...]:
    """Installs the project beside its source, where running from the source would not find it:
    it lives below src/, or has commands of its own."""
    project = table(pyproject, "project")
    packaged = bool(table(pyproject, "build-system")) and bool(project or table(pyproject, "tool", "poetry"))
    whole = any(step.run[-1:] == (".",) for step in plan.install)
    scripts = table(project, "scripts") or table(pyproject, "tool", "poetry", "scripts")
    if not packaged or whole or not (scripts or sources.has_dir("src")):
        return ()
    return (Step(("uv", "pip", "install", "--no-deps", "--target", SITE, ".")),)


def _package_env(pyproject: dict[str, Any], sources: Sources, plan: Plan) -> dict[str, str]:
    if _package(pyproject, sources, plan):
        return {"PYTHONPATH": f"{RELEASE}/{SITE}"}
    return {"PYTHONPATH": f"{RELEASE}/src"} if sources.has_dir("src") else {}


def _collected_static(sources: Sources, packages: frozenset[str]) -> tuple[Step, ...]:
    """Django with WhiteNoise serves what was collected. Optional: settings may need what a build lacks."""
    if sources.has("manage.py") and "whitenoise" in packages:
        return (Step(("python", "manage.py", "collectstatic", "--noinput"), optional=True),)
    return ()


def _versions(sources: Sources, pyproject: dict[str, Any]) -> dict[str, str]:
    pinned = sources.text(".python-version").split()
    runtime = re.match(r"python-(\d+(?:\.\d+)*)", sources.text("runtime.txt"))
    pipfile = table(sources.toml("Pipfile"), "requires")
    wanted = (
        (pinned[0] if pinned else "")
        or (runtime[1] if runtime else "")
        or string(table(pyproject, "project"), "requires-python")
        or _poetry_version(pyproject)
        or string(pipfile, "python_full_version")
        or string(pipfile, "python_version")
    )
    return {"python": wanted.removeprefix("python-").strip()} if wanted else {}


def _poetry_version(pyproject: dict[str, Any]) -> str:
    """Poetry's caret and tilde in the words of everybody else: `^3.11` is `>=3.11,<4`."""
    wanted = string(table(pyproject, "tool", "poetry", "dependencies"), "python")
    caret = re.fullmatch(r"([\^~])(\d+)\.(\d+)(?:\.\d+)?", wanted)
    if caret is None:
        return "" if wanted == "*" else wanted
    ceiling = str(int(caret[2]) + 1) if caret[1] == "^" else f"{caret[2]}.{int(caret[3]) + 1}"
    return f">={wanted[1:]},<{ceiling}"


# ── which packages it uses ──────────────────────────────────────────────────────────────────


def dependencies(sources: Sources) -> frozenset[str]:
    """Names of the packages that the manifests ask for, normalised: `flask-migrate`, `fastapi[standard]`."""
    pyproject = sources.toml("pyproject.toml")
    lines = strings(table(pyproject, "project"), "dependencies")
    lines += list(table(pyproject, "tool", "poetry", "dependencies"))
    lines += list(table(sources.toml("Pipfile"), "packages"))
    if first := sources.first(*REQUIREMENTS):
        for name in _requirement_files(sources, first)[0]:
            lines += sources.text(name).splitlines()
    found: set[str] = set()
    for line in lines:
        if match := re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?", line):
            name = re.sub(r"[-_.]+", "-", match[1]).lower()
            found |= {name, name + (match[2] or "").replace(" ", "")}
    return frozenset(found)
