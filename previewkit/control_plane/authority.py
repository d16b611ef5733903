"""TLS of this installation: its own certificate authority, and one wildcard certificate for all previews.

Imports no Django. Both are kept; the certificate is made anew before it expires, or when names change. The
authority is constrained to this installation's names, so that trusting it in a browser puts no other site
at risk.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
"""Browsers refuse certificates that are valid for longer than 398 days."""
RENEW_BEFORE_DAYS = 60


@dataclass(frozen=True)
class Certificates:
    authority: Path
    """What a browser or program has to trust."""
    certificate: Path
    key: Path


def ensure_certificates(folder: Path, base_domain: str, dashboard_host: str) -> Certificates:
    """The certificate for `*.base_domain` and `dashboard_host`, valid for at least RENEW_BEFORE_DAYS."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = Certificates(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
    authority_key_file = folder / "ca-key.pem"
    names = (f"*.{base_domain}", base_domain, dashboard_host)
    authority = _stored(files.authority, authority_key_file)
    if authority is None or not _valid(authority[0]) or not _permits(authority[0], names):
        authority = _make_authority((base_domain, dashboard_host))
        _store(*authority, files.authority, authority_key_file)
    leaf = _stored(files.certificate, files.key)
    if leaf is None or not _valid(leaf[0]) or not _issued(leaf[0], authority[0], names):
        _store(*_make_certificate(names, *authority), files.certificate, files.key)
    return files


# ── is what we have still good? ─────────────────────────────────────────────────────────────


def _stored(certificate: Path, key: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """None where one is missing or damaged, or they do not belong together (a crash between two writes)."""
    try:
        stored = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != stored.public_key():
        return None
    return stored, private


def _valid(certificate: x509.Certificate) -> bool:
    now = dt.datetime.now(dt.UTC)
    renew_at = certificate.not_valid_after_utc - dt.timedelta(days=RENEW_BEFORE_DAYS)
    return certificate.not_valid_before_utc <= now < renew_at


def _permits(authority: x509.Certificate, names: Sequence[str]) -> bool:
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    allowed = {str(subtree.value) for subtree in constraints.permitted_subtrees or ()}
    return all(name.removeprefix("*.") in allowed for name in names)


def _issued(certificate: x509.Certificate, authority: x509.Certificate, names: Sequence[str]) -> bool:
    subject = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    of_authority = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return set(subject.get_values_for_type(x509.DNSName)) == set(names) and issuer == of_authority


# ── making ──────────────────────────────────────────────────────────────────────────────────


def _make_authority(domains: Sequence[str]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"PreviewKit of this machine ({dt.date.today()})")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(name, name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName(domain) for domain in domains], None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _make_certificate(
    names: Sequence[str], authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    certificate = (
        _builder(_name(names[-1]), authority.subject, key, CERTIFICATE_DAYS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return certificate, key


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    # An hour back, for clocks that are a little behind.
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _store(
    certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, certificate_file: Path, key_file: Path
) -> None:
    plain = serialization.NoEncryption()
    _write(key_file, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain), 0o600)
    _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_suffix(".new")
    temporary.touch(mode=mode)
    temporary.write_bytes(content)
    os.replace(temporary, path)
