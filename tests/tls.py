"""Certificates of every kind, and TLS in front of a server that speaks none."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_ASKS_FOR_TLS: Final = struct.pack("!ii", 8, 80877103)
"""How a client of PostgreSQL asks for TLS; the server answers with one byte."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, each in a file."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is what clients trust."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        own = x509.BasicConstraints(ca=True, path_length=None)
        self.file.write_bytes(self._signed(name, self._key, own).public_bytes(serialization.Encoding.PEM))

    def pair(self, name: str, *, host: str = "", address: str = "") -> Pair:
        """A certificate of a host name or an address; of neither, one that a client shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(host)] if host else []
        names += [x509.IPAddress(ipaddress.ip_address(address))] if address else []
        extension = x509.SubjectAlternativeName(names) if names else None
        certificate, private = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(self._signed(name, key, extension).public_bytes(serialization.Encoding.PEM))
        private.touch(mode=0o600)
        encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
        private.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password))
        return Pair(certificate, private)

    def _signed(
        self, name: str, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType | None
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        subject, issuer = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, self._name))
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )
        if extension is not None:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())


@contextmanager
def in_front_of(
    port: int,
    shown: Pair,
    *,
    clients: Path | None = None,
    at: tuple[str, int] = ("127.0.0.1", 0),
    host: str = "127.0.0.1",
) -> Iterator[int]:
    """TLS on a port of its own, carried on to a server's; an authority of `clients` must have signed what is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.certificate, shown.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    with socket.create_server(at) as listener:
        threading.Thread(target=_accept, args=(listener, context, (host, port)), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext, server: tuple[str, int]) -> None:
    with suppress(OSError):  # the test is over
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=_carry, args=(peer, context, server), daemon=True).start()


def _carry(peer: socket.socket, context: ssl.SSLContext, server: tuple[str, int]) -> None:
    with suppress(OSError), peer:
        if peer.recv(8, socket.MSG_PEEK) == _ASKS_FOR_TLS:
            peer.recv(8)
            peer.sendall(b"S")
        with (
            context.wrap_socket(peer, server_side=True) as outside,
            socket.create_connection(server) as inside,
        ):
            threading.Thread(target=_copy, args=(inside, outside), daemon=True).start()
            _copy(outside, inside)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # either side has gone
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
