"""``python -m recsys_lib``."""

import sys

from recsys_lib.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
