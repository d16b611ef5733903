"""How BuildKit and registries are reached: with TLS, with credentials, by an image's full name. And what progress,
plans and failures read like, which needs neither."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from environments.builders.buildkit import BuildKit, failure
from environments.builders.buildkit_progress import Progress
from environments.builders.generated import BASE_IMAGES, choose_base, dockerfile
from environments.builders.plan import Plan, Step
from environments.builders.registry import Reference, Registry
from environments.ports import PlatformError, UserError
from tests.images import SLIM, MakeContainerBuilder, Site, serving, token

pytest_plugins = ["tests.fixtures_builds", "tests.fixtures_images"]

# ── TLS ─────────────────────────────────────────────────────────────────────────────────────

NAME = "buildkit.test"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Certificate and key of both sides; it is its own authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "tls.crt", tmp_path / "tls.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return files


@pytest.fixture
def tls_buildkit(buildkit_host: str, certificate: tuple[Path, Path]) -> Iterator[str]:
    """The daemon behind TLS that asks for a client's certificate; its address."""
    if not buildkit_host.startswith("tcp://"):
        pytest.skip("BUILDKIT_HOST is no TCP address that could be put behind TLS")
    host, _, port = buildkit_host.removeprefix("tcp://").rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(certificate[0])
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    with socket.create_server(("127.0.0.1", 0)) as listener, accepting(listener, context, (host, int(port))):
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def accepting(listener: socket.socket, context: ssl.SSLContext, target: tuple[str, int]) -> Iterator[None]:
    """Passes each connection on until its end; no thread is left at the end of it."""
    threads: list[threading.Thread] = []
    wake, woken = socket.socketpair()

    def accept() -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(listener, selectors.EVENT_READ)
            ready.register(woken, selectors.EVENT_READ)
            while all(key.fileobj is not woken for key, _ in ready.select()):
                thread = threading.Thread(target=pass_on, args=(listener.accept()[0], context, target, woken))
                threads.append(thread)
                thread.start()

    threads.append(threading.Thread(target=accept))
    threads[0].start()
    with wake, woken:
        try:
            yield
        finally:
            wake.send(b"x")
            for thread in list(threads):
                thread.join()


def pass_on(raw: socket.socket, context: ssl.SSLContext, target: tuple[str, int], woken: socket.socket) -> None:
    with raw:
        raw.settimeout(10)
        try:
            secured = context.wrap_socket(raw, server_side=True)
        except OSError:  # the client was not let in, or did not like what it saw
            return
    with secured, socket.create_connection(target) as plain, selectors.DefaultSelector() as ready:
        for each in (secured, plain, woken):
            ready.register(each, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is woken:
                    return
                source, sink = (secured, plain) if key.fileobj is secured else (plain, secured)
                read = source.recv(1 << 16)
                while isinstance(source, ssl.SSLSocket) and source.pending():
                    read += source.recv(source.pending())
                if not read:
                    return
                sink.sendall(read)


@pytest.mark.cluster
def test_a_daemon_behind_tls_builds_for_those_it_knows(
    make_containers: MakeContainerBuilder, tmp_path: Path, tls_buildkit: str, certificate: tuple[Path, Path]
) -> None:
    crt, key = certificate
    known = BuildKit(tls_buildkit, ca=crt, cert=crt, key=key, server_name=NAME)

    assert not Site(make_containers(known), tmp_path / "trees").docker(f"{SLIM}# {token()}\n").cache_hit


@pytest.mark.cluster
@pytest.mark.parametrize("wrong", ["no certificate", "another name", "no TLS"])
def test_a_daemon_behind_tls_that_does_not_let_us_in_is_ours(
    make_containers: MakeContainerBuilder,
    tmp_path: Path,
    tls_buildkit: str,
    certificate: tuple[Path, Path],
    wrong: str,
) -> None:
    crt, key = certificate
    daemon = {
        "no certificate": BuildKit(tls_buildkit, ca=crt, server_name=NAME),
        "another name": BuildKit(tls_buildkit, ca=crt, cert=crt, key=key, server_name="other.test"),
        "no TLS": BuildKit(tls_buildkit),
    }[wrong]

    error = Site(make_containers(daemon), tmp_path / "trees").refused(f"{SLIM}# {token()}\n")

    assert isinstance(error, PlatformError) and error.code == "buildkit_unavailable"


# ── a registry that wants to know who asks ──────────────────────────────────────────────────

CONFIG = json.dumps({"config": {"Cmd": ["serve"], "User": "0"}}).encode()
MANIFEST = json.dumps({"config": {"digest": f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"}}).encode()
INDEX = json.dumps(
    {
        "manifests": [
            {"digest": "sha256:" + "a" * 64, "platform": {"os": "unknown", "architecture": "unknown"}},
            {"digest": "sha256:" + "b" * 64, "platform": {"os": "linux", "architecture": "arm64"}},
        ]
    }
).encode()
BASIC = base64.b64encode(b"robot:pass:word").decode()


class Private(BaseHTTPRequestHandler):
    """A registry with token authentication, which names no digests in its headers."""

    seen: list[str]

    def do_GET(self) -> None:
        host, url = self.headers["Host"], urlsplit(self.path)
        if url.path == "/token":
            good = self.headers.get("Authorization") == f"Basic {BASIC}"
            scope = parse_qs(url.query)["scope"][0]
            self.answer(200 if good else 401, json.dumps({"token": f"for {scope}"}).encode())
        elif self.headers.get("Authorization") != "Bearer for repository:team/app:pull":
            challenge = f'Bearer realm="http://{host}/token",service="here",scope="repository:team/app:pull"'
            self.answer(401, b"{}", challenge)
        else:
            known = {"1": MANIFEST, "many": INDEX, "broken": b"<html>"}
            name = url.path.rpartition("/")[2]
            blobs = {f"sha256:{hashlib.sha256(part).hexdigest()}": part for part in (CONFIG, *known.values())}
            found = ({"sha256:" + "b" * 64: MANIFEST} | blobs | known).get(name)
            self.answer(200 if found else 404, found or b"{}")

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def private() -> Iterator[str]:
    with serving(Private) as address:
        yield address


def test_a_private_image_is_found_with_its_registrys_credentials(private: str) -> None:
    registry = Registry(docker_config=json.dumps({"auths": {private: {"auth": BASIC}}}))
    reference = Reference.parse(f"{private}/team/app:1")

    digest = registry.find(reference)

    assert digest == f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
    config = registry.config(reference, digest)
    assert (config.command, config.user) == (("serve",), None)


def test_a_private_image_is_not_there_for_strangers(private: str) -> None:
    reference = Reference.parse(f"{private}/team/app:1")

    assert Registry().find(reference) is None
    wrong = {"auths": {private: {"username": "robot", "password": "guessed"}}}
    assert Registry(docker_config=json.dumps(wrong)).find(reference) is None


def test_of_an_image_for_many_platforms_the_wanted_one_is_read(private: str) -> None:
    registry = Registry(docker_config=json.dumps({"auths": {private: {"username": "robot", "password": "pass:word"}}}))
    reference = Reference.parse(f"{private}/team/app:many")
    digest = registry.find(reference)
    assert digest

    assert registry.config(reference, digest, "linux/arm64").command == ("serve",)
    with pytest.raises(UserError) as caught:
        registry.config(reference, digest, "linux/amd64")
    assert caught.value.code == "image_missing" and "linux/amd64" in caught.value.message


def test_a_registry_that_talks_nonsense_is_ours(private: str) -> None:
    registry = Registry(docker_config=json.dumps({"auths": {private: {"auth": BASIC}}}))
    reference = Reference.parse(f"{private}/team/app:broken")

    with pytest.raises(PlatformError) as caught:
        registry.config(reference, registry.find(reference) or "")

    assert caught.value.code == "registry_unavailable"


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1", "docker.io/library/nginx:1"),
        ("bitnami/redis:7", "docker.io/bitnami/redis:7"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ("ghcr.io/o/r@sha256:" + "1" * 64, "ghcr.io/o/r@sha256:" + "1" * 64),
        ("[::1]:5000/a:x", "[::1]:5000/a:x"),
    ],
)
def test_an_images_name_is_read_as_docker_does(written: str, full: str) -> None:
    assert str(Reference.parse(written)) == full


@pytest.mark.parametrize("written", ["", "UPPER/case", "a b", "x" * 600, "nginx:", "nginx@sha256:12", "-a", "a//b"])
def test_what_is_no_images_name_is_refused(written: str) -> None:
    with pytest.raises(UserError) as caught:
        Reference.parse(written)
    assert caught.value.code == "image_missing"


# ── progress and failures ───────────────────────────────────────────────────────────────────


AT = "2026-01-01T00:00:00.1Z"


def vertex(name: str, **facts: object) -> str:
    return json.dumps({"vertexes": [{"digest": name, "name": name, "started": AT, **facts}]})


def log(name: str, text: bytes, stream: int = 1) -> str:
    return json.dumps({"logs": [{"vertex": name, "stream": stream, "data": base64.b64encode(text).decode()}]})


def test_progress_reads_step_by_step() -> None:
    lines: list[str] = []
    progress = Progress(lines.append, secrets=("s3cret-value",))
    for line in (
        vertex("[internal] load .dockerignore"),
        vertex(
            "[1/3] RUN --mount=type=cache,target=/x pip install flask", cached=True, completed="2026-01-01T00:00:00.1Z"
        ),
        vertex("[2/3] RUN make\nmore"),
        log("[2/3] RUN make\nmore", b"one\ntwo s3c"),
        log("[2/3] RUN make\nmore", b"complaint\n", stream=2),
        log("[2/3] RUN make\nmore", b"ret-value\n 10%\r 90%\r100%"),
        vertex("[2/3] RUN make\nmore", completed="2026-01-01T00:00:02.123456789Z"),
    ):
        progress.feed(line)

    assert lines == [
        "#1 [1/3] RUN pip install flask CACHED",
        "#2 [2/3] RUN make",
        "#2 one",
        "#2 complaint",
        "#2 two ••••",
        "#2 100%",
        "#2 done in 2.0 s",
    ]


@pytest.mark.parametrize(
    ("error", "family", "code"),
    [
        ("failed to solve: failed to push r/x:1: unexpected status: 503", PlatformError, "registry_unavailable"),
        (
            "failed to solve: python:3: failed to resolve source metadata for docker.io/library/python:3: failed to do "
            "request: Head: dial tcp: i/o timeout",
            PlatformError,
            "registry_unavailable",
        ),
        (
            "failed to solve: x: failed to resolve source metadata for docker.io/library/x:latest: pull access denied, "
            "repository does not exist or may require authorization",
            UserError,
            "image_missing",
        ),
        ("failed to solve: Unavailable: error reading from server: EOF", PlatformError, "buildkit_unavailable"),
        ("failed to solve: write /a: no space left on device", PlatformError, "disk_full"),
        ('failed to solve: target stage "x" could not be found', UserError, "build_failed"),
        ("open /nowhere: permission denied", PlatformError, "buildkit_unavailable"),
    ],
)
def test_what_failed_is_known_by_buildkits_last_word(error: str, family: type[Exception], code: str) -> None:
    progress = Progress(print)
    progress.feed(f"error: {error}")

    found = failure("web", progress)

    assert isinstance(found, family) and found.code == code and found.hint


def test_a_step_that_was_killed_is_told_as_such() -> None:
    progress = Progress(print)
    progress.feed(vertex("[2/2] RUN npm run build"))
    progress.feed(log("[2/2] RUN npm run build", b"bundling\n"))
    told = 'process "npm" did not complete successfully: exit code: 137'
    progress.feed(vertex("[2/2] RUN npm run build", completed="2026-01-01T00:00:01Z", error=told))
    progress.feed(f"error: failed to solve: {told}")

    found = failure("web", progress)

    assert found.code == "build_failed" and "memory" in found.message and found.log_tail == ("bundling",)


# ── plans ───────────────────────────────────────────────────────────────────────────────────


def test_a_go_program_is_built_in_one_image_and_run_in_another() -> None:
    plan = Plan(
        language="go",
        tool="go",
        why=(),
        install=(Step(("go", "mod", "download")),),
        layer_files=("go.mod", "go.sum"),
        layered=True,
        build=(Step(("go", "build", "-o", "bin/app", ".")),),
        versions={"go": "1.24"},
    )

    text = dockerfile(plan, BASE_IMAGES)

    modules, sources, build = (text.index(part) for part in ('["go.mod", "go.sum", "./"]', '[".", "./"]', "go build"))
    assert text.index("go mod download") in range(modules, sources) and sources < build
    assert text.count("FROM ") == 2 and text.index("FROM debian:bookworm-slim") > build
    assert text.rstrip().endswith("COPY --from=build --chown=10001:10001 /app /app")


@pytest.mark.parametrize(
    ("language", "wanted", "image"),
    [
        ("python", "", "python:3.13-slim-bookworm"),
        ("python", ">=3.9", "python:3.13-slim-bookworm"),
        ("python", "3.11.4", "python:3.11-slim-bookworm"),
        ("python", ">=3.11,<3.13", "python:3.12-slim-bookworm"),
        ("node", ">=20.10 <21", "node:20-bookworm-slim"),
        ("node", "lts/*", "node:22-bookworm-slim"),
        ("go", "1.21", "golang:1.25-bookworm"),
    ],
)
def test_the_base_image_is_one_that_the_sources_allow(language: str, wanted: str, image: str) -> None:
    base = choose_base(BASE_IMAGES, language, wanted)

    assert (base.image, base.note) == (image, "")


def test_a_step_that_looks_like_a_here_document_stays_a_command() -> None:
    plan = Plan(language="none", tool="none", why=(), build=(Step("cat <<EOF > x\nhello\nEOF"),))

    (line,) = [line for line in dockerfile(plan, BASE_IMAGES).splitlines() if "hello" in line]

    assert line.endswith('["sh", "-c", "cat <<EOF > x\\nhello\\nEOF"]')
