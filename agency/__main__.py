"""``python -m agency`` is the command line."""

import sys

from agency.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
