"""``python -m vision_suite`` is the command ``vision-suite``."""

import sys

from vision_suite.cli import main

if __name__ == "__main__":
    sys.exit(main())
