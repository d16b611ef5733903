"""Finds a Chromium on this machine, installs one where there is none, and says how it is started.

Imports neither Django nor playwright: a machine without either can still be told what is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

OnLine = Callable[[str], None]

DOWNLOADS = Path(sys.prefix) / "browsers"
"""Where a browser is downloaded to: with everything else that was installed for this checkout."""
ENV_VAR = "PREVIEWKIT_BROWSER"
SYSTEM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
INSTALL_COMMAND = "previewkit browser install"


@dataclass(frozen=True)
class BrowserFound:
    path: str
    version: str
    """E.g. `Chromium 140.0.7339.80`."""
    because: str
    """Where it was found, for the log."""


@dataclass(frozen=True)
class BrowserMissing:
    why: str
    mend: str
    """What a person does about it."""


def find_browser() -> BrowserFound | BrowserMissing:
    """The first that really starts: $PREVIEWKIT_BROWSER, a system Chromium or Chrome, Playwright's own."""
    stated = os.environ.get(ENV_VAR, "").strip()
    if stated:
        version = _version(stated)
        if version:
            return BrowserFound(stated, version, f"${ENV_VAR}")
        return BrowserMissing(
            f"{ENV_VAR} names {stated}, which does not run.",
            f"Set {ENV_VAR} to the path of a Chromium or Chrome, or unset it.",
        )
    broken: list[str] = []
    for path, because in _candidates():
        version = _version(path)
        if version:
            return BrowserFound(path, version, because)
        broken.append(path)
    why = "No Chromium or Chrome was found on this machine."
    if broken:
        why = f"Found {', '.join(broken)}, but `--version` failed."
    return BrowserMissing(why, f"Run `{INSTALL_COMMAND}`, install the chromium package, or set {ENV_VAR} to its path.")


def _candidates() -> Iterator[tuple[str, str]]:
    for name in SYSTEM_NAMES:
        path = shutil.which(name)
        if path:
            yield path, "the system's"
    for own in _playwright_browsers():
        yield str(own), "Playwright's"


def _playwright_browsers() -> list[Path]:
    """Where `playwright install chromium` puts it, newest first."""
    stated = os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "")
    mac = Path.home() / "Library/Caches/ms-playwright"
    shared = mac if sys.platform == "darwin" else Path.home() / ".cache/ms-playwright"
    roots = [Path(stated)] if stated else [DOWNLOADS, shared]
    found = [
        path
        for pattern in (
            "chromium-*/chrome-linux*/chrome",
            "chromium_headless_shell-*/chrome-*/*headless*shell",
            "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
        )
        for root in roots
        for path in root.glob(pattern)
        if os.access(path, os.X_OK)
    ]
    return sorted(found, key=lambda path: [int(n) for n in re.findall(r"-(\d+)", str(path))], reverse=True)


def _version(path: str) -> str | None:
    """None when it does not run within ten seconds."""
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"(Chromium|Google Chrome|HeadlessChrome|Chrome)\D*(\d+(?:\.\d+)+)", done.stdout)
    return f"{match[1]} {match[2]}" if done.returncode == 0 and match else None


def install_browser(on_line: OnLine) -> BrowserFound | BrowserMissing:
    """Playwright's own download; where that is refused and this is Debian with root, the `chromium` package."""
    attempts: list[Sequence[str]] = [(sys.executable, "-m", "playwright", "install", "chromium")]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        attempts.append(("apt-get", "update", "-q"))
        attempts.append(("apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"))
    for command in attempts:
        on_line(f"$ {' '.join(command)}")
        code = _run(command, on_line)
        found = find_browser()
        if code == 0 and isinstance(found, BrowserFound):
            on_line(f"{found.version} at {found.path}")
            return found
    return BrowserMissing(
        "Neither Playwright's download nor the system's packages gave a browser that runs.",
        f"Install Chromium or Chrome yourself and set {ENV_VAR} to its path.",
    )


def _run(command: Sequence[str], on_line: OnLine) -> int:
    env = {"PLAYWRIGHT_BROWSERS_PATH": str(DOWNLOADS), **os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=env,
        )
    except OSError as error:
        on_line(f"{command[0]} did not start: {error}")
        return 127
    with child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                on_line(line.rstrip())
        except BaseException:
            child.kill()
            raise
    return child.returncode


def launch_flags(hosts: Sequence[str], host_rules: Sequence[str], token: str) -> list[str]:
    """Chromium's arguments: no talk of its own, names outside the environment do not resolve.

    `token` marks the process tree, so that a browser that hangs can be ended without guessing.
    """
    rules = [f"MAP {pattern} 127.0.0.1" for pattern in host_rules]
    # An excluded name is not mapped at all, so those that a rule covers must not be excluded.
    free = [host for host in (*hosts, "127.0.0.1") if not any(fnmatch(host, rule) for rule in host_rules)]
    rules += ["MAP * ~NOTFOUND", *(f"EXCLUDE {host}" for host in dict.fromkeys(free) if host)]
    return [
        f"--previewkit-browser={token}",
        f"--host-resolver-rules={', '.join(rules)}",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-domain-reliability",
        "--disable-sync",
        "--no-pings",
        "--mute-audio",
        "--force-color-profile=srgb",
        "--font-render-hinting=none",
    ]
