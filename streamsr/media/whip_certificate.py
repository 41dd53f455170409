"""The certificate with which a WHIP publisher names itself: made anew for each process, signed by itself, as WebRTC has
it. FFmpeg's own is RSA, with which not every receiver agrees to talk."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec

from streamsr.errors import ConfigError, SinkError

_OPENSSL_S = 20.0
_DAYS = 365


def check_certificates() -> None:
    """Raises ConfigError where no certificate can be made."""
    if not _has_cryptography() and shutil.which("openssl") is None:
        what = "WHIP needs a certificate, and neither the program openssl nor the package cryptography is there"
        raise ConfigError(what, where="whip", remedy="Install openssl, or pip install 'streamsr[web]'.")


@contextlib.contextmanager
def certificate_file() -> Iterator[str]:
    """The path of a nameless file with an EC P-256 key and its certificate, readable by this process and the user's
    own others. Raises ConfigError, SinkError."""
    check_certificates()
    pem = _by_cryptography() if _has_cryptography() else _by_openssl()
    with tempfile.TemporaryFile() as file:
        file.write(pem)
        file.flush()
        yield f"/dev/fd/{file.fileno()}"


def _has_cryptography() -> bool:
    return find_spec("cryptography") is not None


def _by_cryptography() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "streamsr")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


def _by_openssl() -> bytes:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/stdout"
    command += f" -out /dev/stdout -subj /CN=streamsr -days {_DAYS}"
    try:
        done = subprocess.run(command.split(), capture_output=True, timeout=_OPENSSL_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        remedy = "Try the command openssl req by hand."
        raise SinkError(f"openssl made no certificate: {error}", where="whip", remedy=remedy) from error
    return done.stdout
