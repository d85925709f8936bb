"""``python -m pancreasseg.remote URL``: a worker process that has a server compute; PANCREASSEG_TOKEN is its token."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pancreasseg.core.errors import PancreasSegError
from pancreasseg.remote.address import Address
from pancreasseg.remote.bridge import bridge
from pancreasseg.remote.link import ServerAddress
from pancreasseg.remote.secret import VARIABLE


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m pancreasseg.remote", description=__doc__)
    parser.add_argument("address", metavar="URL", help="of the server, like https://gpu.example:8443")
    parser.add_argument("--authority", metavar="FILE", type=Path, help="PEM file of who vouches for its certificate")
    parser.add_argument("--patience", metavar="SECONDS", type=float, default=30.0, help="for a connection that was cut")
    options = parser.parse_args()
    try:
        address = Address.parse(options.address)
    except PancreasSegError as error:
        parser.error(str(error))
    bridge(ServerAddress(address, os.environ.pop(VARIABLE, ""), options.authority, options.patience))


if __name__ == "__main__":
    main()
