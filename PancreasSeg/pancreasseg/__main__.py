"""``python -m pancreasseg``: the command line."""

import sys

from pancreasseg.cli.main import main

sys.exit(main())
