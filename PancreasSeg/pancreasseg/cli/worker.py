"""``pancreasseg worker``: the process behind the Slicer panel."""

from __future__ import annotations

import argparse

from pancreasseg.cli.arguments import Commands, add_command

_DESCRIPTION = """\
Serve requests on standard input, one JSON object a line, and answer on standard output. 3D Slicer starts this by
itself; pancreasseg.worker.protocol describes the lines.
"""


def add_to(commands: Commands, _common: argparse.ArgumentParser) -> None:
    """Add the command to the command line."""
    command = add_command(commands, "worker", [], "serve the Slicer panel (started by it)", _DESCRIPTION)
    command.set_defaults(run=run)


def run(_options: argparse.Namespace) -> None:
    """Run the command."""
    from pancreasseg.worker.server import serve

    serve()
