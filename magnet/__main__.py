"""``python -m magnet``."""

import sys

from magnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
