"""``python -m pancreasseg``: the command line."""

import sys

from pancreasseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
