"""``pancreasseg serve``: compute for workstations that have no graphics card."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pancreasseg.cli import console
from pancreasseg.cli.arguments import Commands, add_command, number_from
from pancreasseg.remote.address import PORT, is_loopback

_DESCRIPTION = """\
Serve 3D Slicer on other computers: there, Advanced -> Compute on names this one. Voxels and grids come over the
network, results go back; no name, path or UID does, and everything is deleted after use.

  pancreasseg serve                                                  for an SSH tunnel, which encrypts
  pancreasseg serve --host 0.0.0.0 --certificate C.pem --key K.pem   for a network, encrypted by TLS

Who wants to use it needs the token: that of --token-file, of the environment variable PANCREASSEG_TOKEN, or the one
that is made on the first start, whose file is named then.
"""


def add_to(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "serve", [common], "compute for Slicer on other computers", _DESCRIPTION)
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine alone)")
    command.add_argument("--port", type=number_from(0, 65_535), default=PORT, help=f"default: {PORT}")
    command.add_argument("--certificate", metavar="FILE", type=Path, help="certificate for TLS, PEM, with its chain")
    command.add_argument("--key", metavar="FILE", type=Path, help="its key, PEM, without a password")
    command.add_argument("--token-file", metavar="FILE", type=Path, help="a text file that holds the token")
    command.add_argument(
        "--name",
        metavar="NAME",
        action="append",
        default=[],
        help="a name of this machine that clients use; repeatable",
    )
    command.add_argument(
        "--sessions", metavar="N", type=number_from(1), default=16, help="clients at the same time (default: 16)"
    )
    command.add_argument(
        "--unencrypted",
        action="store_true",
        help="listen to other machines without TLS, as behind a proxy that speaks it",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from pancreasseg.remote.limits import Limits
    from pancreasseg.remote.serve import ServerSettings, serve

    settings = ServerSettings(
        token=_token(options.token_file),
        host=options.host,
        port=options.port,
        certificate=options.certificate,
        key=options.key,
        names=tuple(options.name),
        unencrypted=options.unencrypted,
        limits=Limits(sessions=options.sessions),
    )
    if options.unencrypted and not is_loopback(options.host):
        console.say("Without TLS whoever is on the network can read the CTs and the token.")
    serve(settings, console.say)


def _token(file: Path | None) -> str:
    from pancreasseg.models.store import Store
    from pancreasseg.remote import secret

    if file is not None:
        return secret.read(file)
    given = os.environ.pop(secret.VARIABLE, "")
    if given:
        return secret.checked(given)
    kept = Store().home / "serve-token"
    console.say(f"The token is in {kept}")
    return secret.kept(kept)
