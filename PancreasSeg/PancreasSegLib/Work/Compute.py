"""Where is computed: on this computer, or on a server that a person has named and agreed to send CTs to."""

from __future__ import annotations

from dataclasses import dataclass, field

from pancreasseg.remote.address import Address
from pancreasseg.remote.secret import VARIABLE, checked
from pancreasseg.worker.client import WorkerClient


@dataclass(frozen=True)
class Place:
    """Where the worker runs.

    Attributes:
        address: of the server; empty for this computer.
        token: the secret that the server wants.
        authority: a PEM file that vouches for the server's certificate; empty for what the system trusts.
    """

    address: str = ""
    token: str = field(default="", repr=False)
    authority: str = ""

    @property
    def remote(self) -> bool:
        """Another machine."""
        return bool(self.address)

    @property
    def host(self) -> str:
        """The name of that machine, for people."""
        return Address.parse(self.address).host if self.remote else ""

    @property
    def machine(self) -> str:
        """What tells it from others: an SSH tunnel's port stands for a machine as well."""
        address = Address.parse(self.address)
        return f"{address.host}:{address.port}"

    @classmethod
    def server(cls, address: str, token: str, authority: str) -> Place:
        """A server, as a person has described it.

        Raises:
            InputError: no address, an unencrypted one, or no token.
        """
        return cls(str(Address.parse(address)), checked(token), authority.strip())

    def client(self, python: str) -> WorkerClient:
        """A client for a worker there.

        Args:
            python: starts the worker, or the bridge to it.
        """
        if not self.remote:
            return WorkerClient([python, "-m", "pancreasseg.worker"])
        trusted = ["--authority", self.authority] if self.authority else []
        return WorkerClient([python, "-m", "pancreasseg.remote", self.address, *trusted], {VARIABLE: self.token})


HERE = Place()
