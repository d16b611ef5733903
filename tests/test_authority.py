"""TLS of an installation: one authority and one wildcard certificate, kept, renewed, and trusted for little."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from previewkit.control_plane import authority
from previewkit.control_plane.authority import Certificates, ensure_certificates

NAMES = ("preview.localhost", "previewkit.localhost")


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def accepted_as(files: Certificates, name: str) -> bool:
    """A real handshake, by a client that trusts this authority only."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(ours, server_side=True).close()
        except (ssl.SSLError, OSError):
            ours.close()  # The client did not like what it saw.

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client = ssl.create_default_context(cafile=str(files.authority))
        with client.wrap_socket(theirs, server_hostname=name):
            return True
    except ssl.SSLCertVerificationError:
        return False
    finally:
        theirs.close()
        thread.join()


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("web-pr-3-shop-1a2b3c4d.preview.localhost", True),
        ("previewkit.localhost", True),
        ("a.b.preview.localhost", False),
        ("example.com", False),
    ],
)
def test_one_certificate_serves_the_dashboard_and_every_preview(tmp_path: Path, name: str, accepted: bool) -> None:
    assert accepted_as(ensure_certificates(tmp_path, *NAMES), name) is accepted


def test_both_are_kept_while_they_are_good(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, *NAMES)
    before = files.authority.read_bytes(), files.certificate.read_bytes(), files.key.read_bytes()
    ensure_certificates(tmp_path, *NAMES)
    assert (files.authority.read_bytes(), files.certificate.read_bytes(), files.key.read_bytes()) == before


def test_the_certificate_is_renewed_before_it_expires_and_the_authority_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a certificate with fewer days left than are wanted
    monkeypatch.setattr(authority, "CERTIFICATE_DAYS", authority.RENEW_BEFORE_DAYS - 1)
    files = ensure_certificates(tmp_path, *NAMES)
    before = serial(files.authority), serial(files.certificate)
    monkeypatch.undo()
    # When it is asked for again
    ensure_certificates(tmp_path, *NAMES)
    # Then there is a new one, of the same authority
    assert serial(files.authority) == before[0]
    assert serial(files.certificate) != before[1]
    renewed = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert renewed.not_valid_after_utc - dt.datetime.now(dt.UTC) > dt.timedelta(days=390)
    assert accepted_as(files, "demo.preview.localhost")


def test_other_names_get_an_authority_that_is_allowed_them(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, *NAMES)
    before = serial(files.authority)
    ensure_certificates(tmp_path, "previews.example.test", "previewkit.example.test")
    assert serial(files.authority) != before
    assert accepted_as(files, "demo.previews.example.test")


@pytest.mark.parametrize("damaged", ["ca.pem", "ca-key.pem", "certificate.pem", "key.pem"])
@pytest.mark.parametrize("content", [None, b"", b"not a key"])
def test_a_damaged_or_missing_file_is_made_anew(tmp_path: Path, damaged: str, content: bytes | None) -> None:
    files = ensure_certificates(tmp_path, *NAMES)
    (tmp_path / damaged).unlink()
    if content is not None:
        (tmp_path / damaged).write_bytes(content)
    ensure_certificates(tmp_path, *NAMES)
    assert accepted_as(files, "previewkit.localhost")


def test_the_authority_may_sign_for_this_installations_names_only(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path, *NAMES)
    own = x509.load_pem_x509_certificate(files.authority.read_bytes())
    allowed = own.extensions.get_extension_for_class(x509.NameConstraints)
    assert allowed.critical
    assert {str(subtree.value) for subtree in allowed.value.permitted_subtrees or ()} == set(NAMES)
    for name in ("ca-key.pem", "key.pem"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
