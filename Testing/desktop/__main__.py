"""Run the tour on an X server of its own and keep its pictures."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from Testing.desktop.xserver import missing, runTour


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the pictures")
    options = parser.parse_args()
    lacking = missing()
    if lacking:
        print(lacking)
        return 1
    with tempfile.TemporaryDirectory(prefix="pancreasseg-desktop-") as home:
        record = runTour(options.output, "--all", home=Path(home))
    print(f"{len(list(options.output.glob('*.png')))} pictures in {options.output}; {record['status']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
