"""Starts the server: who may reach it, how it is encrypted, and what it leaves behind, which is nothing."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from pancreasseg.core.errors import InputError, RunError
from pancreasseg.remote.address import PORT, Address, is_loopback
from pancreasseg.remote.limits import Limits
from pancreasseg.worker.folder import ExchangeFolder


@dataclass(frozen=True)
class ServerSettings:
    """How a server is run.

    Attributes:
        token: who knows it may use the server.
        host: the address to listen on.
        port: 0 for any that is free.
        certificate, key: PEM files for TLS; both or none.
        names: what the server is called, beside this machine's own name.
        unencrypted: serve other machines without TLS all the same.
        limits: of the server.
        parent: where the temporary folder is made; the system's by default.
        worker, environment: how the worker is started, as for `pancreasseg.worker.client.WorkerClient`.
    """

    token: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = PORT
    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()
    unencrypted: bool = False
    limits: Limits = field(default_factory=Limits)
    parent: Path | None = None
    worker: Sequence[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.certificate is not None

    def check(self) -> None:
        """See that a server can be run so.

        Raises:
            InputError: it cannot, or it would send CTs unencrypted over a network.
        """
        if (self.certificate is None) != (self.key is None):
            raise InputError("certificate", "TLS needs a certificate and its key.", "Give both, or none.")
        if self.certificate is not None and self.key is not None:
            _check_certificate(self.certificate, self.key)
        elif not (is_loopback(self.host) or self.unencrypted):
            raise InputError(
                "server-unencrypted",
                f"Listening on {self.host} without TLS, CTs would cross the network unencrypted.",
                "Give --certificate and --key; or listen on 127.0.0.1 and have clients come through an SSH tunnel.",
            )


def _check_certificate(certificate: Path, key: Path) -> None:
    def no_password() -> str:
        raise InputError("certificate", "The key is protected by a password.", "Give a key without one.")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except OSError as error:
        raise InputError(
            "certificate",
            f"The certificate {certificate} and the key {key} cannot be used together.",
            "Both must be PEM files, and the key the certificate's own.",
        ) from error


class RunningServer:
    """A server that listens already; `run` answers.

    Args:
        settings: which have been checked.

    Raises:
        RunError: the address is taken, or is none of this machine's; or a package is missing.
    """

    def __init__(self, settings: ServerSettings) -> None:
        try:
            import uvicorn

            from pancreasseg.remote import app, hurry
        except ModuleNotFoundError as error:
            raise RunError(
                "package-missing",
                f"The Python package {error.name} is not installed.",
                'Install what the server needs: pip install "pancreasseg[serve]"',
            ) from error
        from pancreasseg.remote.device import Device

        self._socket = _listening(settings)
        self.address = Address(settings.host, self._socket.getsockname()[1], settings.encrypted)
        self._folder = ExchangeFolder.create(settings.parent)
        self.device = Device(self._folder, settings.limits, settings.worker, settings.environment)
        self.service = app.Service(self._folder, self.device, settings.limits)
        names = {*settings.names, settings.host, socket.gethostname(), socket.getfqdn()}
        config = uvicorn.Config(
            app.application(self.service, settings.token, names, settings.limits),
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            timeout_graceful_shutdown=2,
            **hurry.options(settings.limits),
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Answer until `stop`, or Ctrl-C; then delete everything."""
        try:
            with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when all is done
                self._server.run(sockets=[self._socket])
        finally:
            self.device.close()
            self._folder.remove()
            self._socket.close()

    @property
    def started(self) -> bool:
        """Whether it answers."""
        return self._server.started

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._server.should_exit = True


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _listening(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With its protocol named, asyncio sends small answers at once instead of waiting for more (Nagle).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise RunError(
            "server-address",
            f"This machine cannot be reached at {settings.host}:{settings.port}: {error.strerror or 'unknown'}.",
            "Choose another --host or --port.",
        ) from error
    return listening


def serve(settings: ServerSettings, say: Callable[[str], None] = print) -> None:
    """Check, listen, say where, and answer until Ctrl-C.

    Raises:
        InputError: the settings cannot be used.
        RunError: the address cannot be listened on.
    """
    settings.check()
    server = RunningServer(settings)
    signal.signal(signal.SIGTERM, _end)  # uvicorn stops on it, and then has it do what it did before
    say(f"Serving on {server.address}")
    server.run()
