"""Images are built by a real BuildKit, found in a real registry, and hold what they should and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import psutil
import pytest

from environments.builders.buildkit import BuildKit
from environments.builders.registry import Reference
from environments.ports import (
    Artifact,
    PlatformError,
    ServiceRelease,
    Superseded,
    UserError,
)
from environments.runtimes.kubernetes import KubernetesRuntime
from environments.spec import Health, Resources
from tests.builds import EXAMPLES, Example, never
from tests.images import SLIM, MakeContainerBuilder, Site, image_holds, run_in, serving, token

pytest_plugins = ["tests.fixtures_builds", "tests.fixtures_images", "tests.fixtures_cluster"]
pytestmark = pytest.mark.cluster


@pytest.fixture
def site(make_containers: MakeContainerBuilder, tmp_path: Path) -> Site:
    return Site(make_containers(), tmp_path / "trees")


def free_port() -> Iterator[int]:
    with socket.socket() as held:  # bound and not listening: nobody else gets it, and nobody answers
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


silent_port = pytest.fixture(free_port)


# ── the plan as an image ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES if example.name != "go"], ids=lambda example: example.name
)
def test_an_application_is_built_and_runs_in_its_image(site: Site, tmp_path: Path, example: Example) -> None:
    # Given a small application, When it is built
    artifact = site.build(example.tree)

    # Then its start command finds its packages, as a user that is not root
    assert artifact.kind == "image" and artifact.user == 10001
    assert artifact.start is not None
    printed = run_in(artifact, artifact.start.command, tmp_path / "run")
    assert " ".join(printed.split()) == example.prints


def test_a_source_only_change_installs_nothing(site: Site) -> None:
    # Given a built application
    tree = {"requirements.txt": f"six==1.17.0\n# {token()}\n", "main.py": "import six\n"}
    site.build(tree)
    assert "Installed 1 package" in site.said

    # When a source changes
    site.lines.clear()
    artifact = site.build({**tree, "main.py": "import six  # changed\n"})

    # Then its image is another one, and the installing step was not run
    (install,) = [line for line in site.lines if "RUN uv pip install" in line]
    assert install.endswith("CACHED") and "Installed" not in site.said
    assert not artifact.cache_hit


def test_nothing_changed_runs_no_step(site: Site, make_containers: MakeContainerBuilder, tmp_path: Path) -> None:
    tree = {"index.html": token()}
    first = site.build(tree)

    other = Site(make_containers(BuildKit("tcp://127.0.0.1:1")), tmp_path / "trees")  # where no BuildKit is
    second = other.build(tree)

    assert second.cache_hit and second.location == first.location and second.digest == first.digest
    assert "#1" not in other.said and second.seconds < 5


def test_a_static_site_is_served(site: Site, tmp_path: Path) -> None:
    artifact = site.build({"index.html": "hello from the site"})

    assert artifact.start is not None and isinstance(artifact.start.command, tuple)
    choose = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"
    ask = "import os, urllib.request as u; print(u.urlopen('http://127.0.0.1:' + os.environ['PORT']).read().decode())"
    script = f"""
        export HOST=127.0.0.1 PORT=$(python3 -c "{choose}")
        {" ".join(artifact.start.command)} &
        for try in 1 2 3 4 5 6 7 8 9; do python3 -c "{ask}" && break; sleep 0.3; done; kill $!"""
    printed = run_in(artifact, script, tmp_path / "run")
    assert "hello from the site" in printed


def test_plain_variables_are_known_while_building_and_secrets_in_no_layer(site: Site, tmp_path: Path) -> None:
    # Given a build that uses a variable and sees a secret
    secret = f"hidden-{token()}"
    script = "node -e \"require('fs').writeFileSync('seen', process.env.VITE_NAME); console.log('S', process.env.KEY)\""
    tree = {"package.json": json.dumps({"scripts": {"build": script, "start": "cat seen"}}), "index.js": token()}

    # When it is built
    artifact = site.build(tree, service={"env": {"VITE_NAME": 'a "b", $c\nd'}}, secrets={"KEY": secret})

    # Then the variable came through as it is, and the secret was there and is nowhere
    assert artifact.start is not None
    assert 'a "b", $c' in run_in(artifact, artifact.start.command, tmp_path / "run")
    assert "S ••••" in site.said and secret not in site.said
    assert not image_holds(artifact, secret)


def test_migrations_are_found(site: Site) -> None:
    tree = {
        "requirements.txt": "six==1.17.0\n",
        "manage.py": "print('ok')\n",
        "shop/wsgi.py": "",
        "shop/settings.py": "",
    }
    artifact = site.build(tree)

    assert artifact.migrate is not None and artifact.migrate.command == ("python", "manage.py", "migrate", "--noinput")


def test_another_python_than_the_base_images_have_is_said(site: Site) -> None:
    site.build({"main.py": "", ".python-version": "3.99"})

    assert "Note: Python 3.99 is wanted; there is no base image for it, and 3.11 is used." in site.lines


# ── Dockerfiles ─────────────────────────────────────────────────────────────────────────────


def test_target_arguments_and_path_count(site: Site, tmp_path: Path) -> None:
    dockerfile = f'{SLIM.strip()} AS one\nARG WHO\nRUN printf %s "$WHO" > /who\nFROM one AS two\nRUN exit 1\n'
    build = {"kind": "dockerfile", "dockerfile": "docker/web", "target": "one", "args": {"WHO": "you, me=us\n$HOME"}}

    artifact = site.build({"docker/web": dockerfile}, service={"build": build})

    assert "you, me=us" in run_in(artifact, "cat /who", tmp_path / "run")
    other = site.build({"docker/web": dockerfile}, service={"build": build | {"args": {"WHO": "them"}}})
    assert other.digest != artifact.digest and not other.cache_hit


def test_the_image_says_how_it_starts_and_as_whom(site: Site) -> None:
    artifact = site.docker(f'{SLIM}ENTRYPOINT ["python3"]\nCMD ["-c", "{token()}"]\nUSER 4711:100\n')

    assert artifact.start is not None and artifact.start.command[:2] == ("python3", "-c")
    assert artifact.user == 4711
    assert artifact.location.partition("@")[2].startswith("sha256:")


def test_a_dockerfiles_secret_is_in_no_layer_and_no_line(site: Site) -> None:
    secret = f"hidden-{token()}"
    mount = "--mount=type=secret,id=KEY,env=KEY"

    artifact = site.docker(
        f'{SLIM}RUN {mount} echo one $KEY two >&2; test -n "$KEY" # {token()}\n', secrets={"KEY": secret}
    )

    assert "one •••• two" in site.said and secret not in site.said
    assert not image_holds(artifact, secret)


def test_a_secret_is_not_shown_when_its_step_fails(site: Site) -> None:
    secret = f"hidden-{token()}"
    step = "RUN --mount=type=secret,id=KEY,env=KEY echo $KEY; exit 4"

    error = site.refused(f"{SLIM}{step}\n", secrets={"KEY": secret})

    assert error.code == "build_failed" and secret not in f"{error.message} {error.hint} {error.log_tail}"


def test_a_failing_step_is_named_and_its_last_lines_are_told(site: Site) -> None:
    error = site.refused(f"{SLIM}RUN echo before\nRUN echo {token()} && echo the reason >&2 && exit 7\n")

    assert isinstance(error, UserError) and error.code == "build_failed"
    assert "exit code 7" in error.message and "RUN echo" in error.message
    assert "the reason" in error.log_tail and "before" not in error.log_tail


@pytest.mark.parametrize(
    ("dockerfile", "code", "says"),
    [
        ("FRM python:3.11-slim\n", "build_failed", "unknown instruction"),
        (f"{SLIM}COPY nowhere /x\n", "build_failed", "nowhere"),
        ("FROM no-such-image-anywhere:9\n", "image_missing", "docker.io/library/no-such-image-anywhere:9"),
    ],
)
def test_a_wrong_dockerfile_is_the_authors(site: Site, dockerfile: str, code: str, says: str) -> None:
    error = site.refused(dockerfile)

    assert isinstance(error, UserError) and error.code == code and error.hint
    assert says in error.message


def test_a_missing_dockerfile_or_target_is_the_authors(site: Site) -> None:
    assert site.refused(SLIM, build={"target": "nope"}).code == "build_failed"
    missing = site.refused(SLIM, build={"dockerfile": "other/Dockerfile"})
    assert missing.code == "build_no_plan" and "`other/Dockerfile`" in missing.message


def test_migrations_seen_beside_a_dockerfile_are_mentioned_and_not_run(site: Site) -> None:
    artifact = site.docker(SLIM, more={"manage.py": ""})

    assert artifact.migrate is None
    assert "`migrate: python manage.py migrate --noinput`" in site.said


# ── caches and forks ────────────────────────────────────────────────────────────────────────


def forget(word: str) -> None:
    """Makes the daemon forget the steps that hold this word: what is there afterwards came from the registry."""
    subprocess.run(["buildctl", "prune", "--all", "--filter", f"description~={word}"], check=True, capture_output=True)


def test_a_branch_reads_the_default_branchs_cache_from_the_registry(site: Site) -> None:
    # Given a commit of the default branch that was built, by a daemon that has forgotten it
    word = token()
    slow = f"{SLIM}RUN echo {word} > /slow\nCOPY . /app\n"
    site.docker(slow, more={"a": "1"})
    forget(word)

    # When another branch, which was never built, changes a source
    site.lines.clear()
    site.docker(slow, more={"a": "2"}, branch="feature/Über")

    # Then the step is not run, and the branch has a cache of its own from now on
    (step,) = [line for line in site.lines if "/slow" in line and line.startswith("#")]
    assert step.endswith("CACHED")
    store = site.builder.kinds["dockerfile"].store  # type: ignore[attr-defined]
    request = site.request({"Dockerfile": slow, "a": "2"}, branch="feature/Über")
    assert store.registry.find(Reference.parse(store.cache(request, "feature/Über")))
    assert store.registry.find(Reference.parse(store.cache(request, "main")))
    assert not store.registry.find(Reference.parse(store.cache(request, "another")))


def test_a_fork_builds_aside_without_secrets_and_writes_no_cache(site: Site) -> None:
    # Given a fork's request, whose caller passed a secret all the same
    dockerfile = f'{SLIM}RUN --mount=type=secret,id=KEY,env=KEY test -z "$KEY" # {token()}\n'
    artifact = site.docker(dockerfile, trusted=False, branch="evil", secrets={"KEY": "should-not-be-seen"})

    # Then it is built where only forks look, and nothing of it is in a cache
    assert "/forks/demo-1a2b@" in artifact.location
    store = site.builder.kinds["dockerfile"].store  # type: ignore[attr-defined]
    request = site.request({"Dockerfile": dockerfile}, trusted=False)
    assert [store.registry.find(Reference.parse(store.cache(request, name))) for name in ("evil", "main")] == [None] * 2

    # And the repository's own commit with the same content does not use it
    own = site.docker(dockerfile)
    assert not own.cache_hit and own.digest != artifact.digest
    assert site.docker(dockerfile, trusted=False).cache_hit


def test_a_forks_cache_mounts_are_its_own(site: Site) -> None:
    mount = f"--mount=type=cache,id={token()},target=/shared"
    site.docker(f"{SLIM}RUN {mount} echo poison > /shared/x\n", trusted=False)

    site.docker(f"{SLIM}RUN {mount} test ! -e /shared/x && touch /shared/y\n")
    site.docker(f"{SLIM}RUN {mount} test -e /shared/y\n")  # the repository's own share theirs


# ── limits, and an early end ────────────────────────────────────────────────────────────────


def buildctls() -> list[psutil.Process]:
    mine = psutil.Process().children(recursive=True)
    return [process for process in mine if process.name() == "buildctl"]


def running(word: str) -> bool:
    for process in psutil.process_iter(["cmdline"]):
        if any(word in part for part in process.info["cmdline"] or ()) and process.pid != os.getpid():
            return True
    return False


def test_who_is_overtaken_stops_the_build_at_once(site: Site) -> None:
    word = token()
    lines: list[str] = []

    def fence() -> None:
        if any(line.endswith("it has begun") for line in lines):
            raise Superseded

    tree = {"Dockerfile": f"{SLIM}RUN echo it has begun; sh -c 'sleep 300; : {word}'\n"}
    request = site.request(tree, service={"build": {"kind": "dockerfile", "dockerfile": "Dockerfile"}})
    started = time.monotonic()
    with pytest.raises(Superseded):
        site.builder.build(request, lines.append, fence)

    assert time.monotonic() - started < 60 and buildctls() == []
    eventually(lambda: not running(f": {word}"))  # the daemon's side, where it is this machine


def eventually(holds: object, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < ends
        threading.Event().wait(0.1)


def test_a_build_that_takes_too_long_is_stopped(make_containers: MakeContainerBuilder, tmp_path: Path) -> None:
    site = Site(make_containers(timeout=6.0), tmp_path / "trees")

    error = site.refused(f"{SLIM}RUN echo {token()}; echo waiting; sleep 300\n")

    assert error.code == "build_timeout" and "6 s" in error.message
    assert "waiting" in error.log_tail and buildctls() == []


def test_a_build_that_prints_too_much_is_stopped(make_containers: MakeContainerBuilder, tmp_path: Path) -> None:
    site = Site(make_containers(output_limit=100_000), tmp_path / "trees")

    error = site.refused(f"{SLIM}RUN echo {token()}; while :; do printf '%01000d and again\\n' 7; done\n")

    assert error.code == "build_output_limit" and error.log_tail[-1].endswith("7 and again")
    assert buildctls() == []


# ── what is out of reach ────────────────────────────────────────────────────────────────────


def test_no_buildkit_is_ours(make_containers: MakeContainerBuilder, tmp_path: Path, silent_port: int) -> None:
    site = Site(make_containers(BuildKit(f"tcp://127.0.0.1:{silent_port}")), tmp_path / "trees")

    error = site.refused(f"{SLIM}# {token()}\n")

    assert isinstance(error, PlatformError) and error.code == "buildkit_unavailable"


def test_no_registry_is_ours(make_containers: MakeContainerBuilder, tmp_path: Path, silent_port: int) -> None:
    site = Site(make_containers(address=f"127.0.0.1:{silent_port}"), tmp_path / "trees")

    error = site.refused(f"{SLIM}# {token()}\n")

    assert isinstance(error, PlatformError) and error.code == "registry_unavailable"


def test_a_registry_that_buildkit_can_not_push_to_is_ours(
    make_containers: MakeContainerBuilder, tmp_path: Path, registry_address: str
) -> None:
    # Given a registry that answers us that nothing is there, and takes in nothing
    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404 if "/manifests/" in self.path else 500)
            self.end_headers()

        do_POST = do_GET = do_PUT = do_HEAD

        def log_message(self, *args: object) -> None: ...

    with serving(Refusing) as address:
        site = Site(make_containers(address=address), tmp_path / "trees")
        error = site.refused(f"{SLIM}# {token()}\n")

    assert isinstance(error, PlatformError) and error.code == "registry_unavailable"


def test_no_buildctl_is_the_operators(
    make_containers: MakeContainerBuilder, tmp_path: Path, buildkit_host: str
) -> None:
    site = Site(make_containers(BuildKit(buildkit_host, buildctl="no-such-buildctl")), tmp_path / "trees")

    assert site.refused(f"{SLIM}# {token()}\n").code == "build_tool_missing"


# ── images that are there ───────────────────────────────────────────────────────────────────


def pinned(site: Site, image: str) -> Artifact:
    return site.build({"README": ""}, service={"build": {"kind": "image", "image": image}})


def test_an_image_is_pinned_to_its_digest(site: Site) -> None:
    artifact = pinned(site, "nginx:1")

    name, _, digest = artifact.location.partition("@")
    assert name == "docker.io/library/nginx" and digest == artifact.digest
    assert artifact.cache_hit and artifact.start is not None and artifact.start.command[0] == "nginx"
    assert pinned(site, f"nginx@{digest}").location == artifact.location


@pytest.mark.parametrize("image", ["nginx:no-such-tag", "no-such/image", "Not An Image", "nginx@sha256:" + "0" * 64])
def test_an_image_that_is_not_there_is_the_authors(site: Site, image: str) -> None:
    with pytest.raises(UserError) as caught:
        pinned(site, image)

    assert caught.value.code == "image_missing" and caught.value.hint


# ── Railpack itself ─────────────────────────────────────────────────────────────────────────


def program(folder: Path, text: str) -> str:
    path = folder / "railpack"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_railpack_that_finds_no_plan_is_told_in_its_own_words(
    make_containers: MakeContainerBuilder, tmp_path: Path, registry_address: str
) -> None:
    cli = program(tmp_path, 'test "$1" = prepare && echo "no idea what $(ls "$2") is" && exit 1')
    site = Site(make_containers(railpack=cli, frontend="python:3.11-slim"), tmp_path / "trees")

    with pytest.raises(UserError) as caught:
        site.build({"strange.file": token()})

    assert caught.value.code == "build_no_plan"
    assert "no idea what strange.file is" in caught.value.log_tail


def test_without_its_front_end_our_own_plan_is_used(make_containers: MakeContainerBuilder, tmp_path: Path) -> None:
    site = Site(
        make_containers(railpack=program(tmp_path, "exit 1"), frontend="no-such/frontend:1"), tmp_path / "trees"
    )

    artifact = site.build({"main.py": token()})

    assert artifact.start is not None and artifact.start.command == ("python", "main.py")
    assert any("no-such/frontend:1 can't be had" in line for line in site.lines)


# ── in a cluster ────────────────────────────────────────────────────────────────────────────


SERVER = """import http.server, os, sys
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(f"user {os.getuid()}".encode())
http.server.HTTPServer(("", int(os.environ["PORT"])), Hello).serve_forever()
"""


def test_what_is_built_runs_under_restricted_pod_security(
    site: Site, runtime: KubernetesRuntime, namespace: str
) -> None:
    artifact = site.build({"requirements.txt": "six==1.17.0\n", "main.py": SERVER})
    assert artifact.start is not None

    release = ServiceRelease(
        name="web",
        revision=1,
        artifact=artifact,
        command=artifact.start.command,
        env={},
        secrets={},
        port=3000,
        public=False,
        health=Health(path="/"),
        resources=Resources(cpu=0.5, memory=128 << 20),
    )
    runtime.apply_service(namespace, release)
    runtime.wait_ready(namespace, "web", 1, 90, print, never)

    (state,) = runtime.observe(namespace).services
    assert state.state == "running"
