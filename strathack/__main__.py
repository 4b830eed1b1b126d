"""``python -m strathack``: the same as the ``strathack`` command."""

import sys

from strathack.cli import main

if __name__ == "__main__":
    sys.exit(main())
