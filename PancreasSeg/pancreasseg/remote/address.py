"""Where a server is, and whether it may be spoken to without encryption."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from pancreasseg.core.errors import InputError

#: The port that `pancreasseg serve` listens on when nobody says otherwise.
PORT = 8443


def is_loopback(host: str) -> bool:
    """Whether this is the own machine, where nobody listens in."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Address:
    """A server's address.

    Attributes:
        host: name or IP address.
        port: of the server.
        encrypted: whether TLS is spoken.
    """

    host: str
    port: int
    encrypted: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.encrypted else 'http'}://{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``https://gpu.example:8443``; ``https`` and the port may be left out.

        Raises:
            InputError: not an address, or one that would send a CT unencrypted over a network.
        """
        parts = urlsplit(text.strip() if "://" in text else f"https://{text.strip()}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
        if not host or parts.scheme not in ("http", "https") or not plain or not host.isprintable() or " " in host:
            raise InputError(
                "server-address",
                "This is not the address of a server.",
                f"Write it like https://gpu.example:{PORT}, or http://127.0.0.1:{PORT} for an SSH tunnel.",
            )
        if parts.scheme == "http" and not is_loopback(host):
            raise InputError(
                "server-unencrypted",
                f"With http:// the CT would cross the network to {host} unencrypted.",
                "Use https://, or an SSH tunnel and http://127.0.0.1 with its port.",
            )
        return cls(host, port or PORT, parts.scheme == "https")
