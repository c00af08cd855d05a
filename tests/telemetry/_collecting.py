"""Programs and certificates for the tests of what is sent to a collector."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROGRAM = Path(__file__).with_name("_program.py")
PROTOCOLS = {"http": "http/protobuf", "grpc": "grpc"}


def run_program(
    way: str, api: str, collector: str, db: Path, timeout_s: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The program to its end, as a user starts it. It is killed and fails after `timeout_s`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, str(PROGRAM), way, api, collector],
        env={**environment, "CLAUDETRACE_DB": str(db), **variables},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def certificate(folder: Path) -> tuple[Path, Path]:
    """The files of a certificate for the loopback address, signed by itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "collector")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "collector.pem", folder / "collector.key"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
